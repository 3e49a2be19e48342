"""The meter counts what happens, once, under names that are known."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from jobengine.core.access import Caller
from jobengine.core.backoff import AT_ONCE
from jobengine.core.events import Event
from jobengine.core.job import Change, Job, NewJob, Renewal, State, Terms
from jobengine.core.queues import MadeQueue, QueueRules, Rulebook
from jobengine.intake import Conflict
from jobengine.telemetry import exposition, families
from jobengine.telemetry.exposition import Buckets, Family, Histogram
from jobengine.telemetry.metrics import METHODS, Level, Meter
from jobengine.testing import SimClock, memory_house

ME = Caller("me")
ROUTES = ("/jobs", "/jobs/{uid}")
Series = tuple[str, frozenset[tuple[str, str]]]


def new_meter(*queues: str, services: Iterable[str] = ("me",)) -> Meter:
    meter = Meter(routes=ROUTES, version="1.2.3", now=lambda: 1_800_000_000_500)
    meter.use_names(queues or ("q",), services)
    return meter


def page(meter: Meter, *levels: Level) -> str:
    return b"".join(meter.text([levels])).decode()


def values(text: str) -> dict[Series, float]:
    """Every line of the page."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.startswith("process_")
    }


def value(text: str, name: str, **labels: str) -> float:
    return values(text)[name, frozenset(labels.items())]


def told_apart(labels: dict[str, str]) -> str:
    return labels.get("outcome", "") + labels.get("reason", "")


@dataclass
class Life:
    """A house with a meter that listens, and what that has counted."""

    clock: SimClock = field(default_factory=SimClock)
    meter: Meter = field(default_factory=new_meter)
    before: dict[Series, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = frozenset({"me"})
        rules = QueueRules("q", read=names, write=names, lease_ms=1000, keep_ms=5000)
        self.house: Any = memory_house(Rulebook({"q": rules}), self.clock)
        self.engine = self.house.engine
        self.house.store.listen(
            lambda changes, now, *_: self.meter.commit(changes, now)
        )
        self.before = values(page(self.meter))

    def enqueue(self, *, attempts: int = 1, valid_for_ms: int | None = None) -> Job:
        terms = Terms(max_attempts=attempts, backoff=AT_ONCE)
        new = NewJob(b"{}", valid_for_ms=valid_for_ms, terms=terms)
        made: Job = self.engine.enqueue(ME, "q", new)
        return made

    def claim(self) -> Job:
        (job,) = self.engine.claim(ME, "q")
        return job

    def __getattr__(self, verb: str) -> Any:
        """A verb of the engine."""
        return partial(getattr(self.engine, verb), ME, "q")

    def say(self, job: Job, state: State) -> None:
        self.engine.update(ME, "q", job.uid, Change(state=state))

    def moved(self) -> dict[str, float]:
        """The counters that are not what they were, by name and outcome or reason."""
        now = values(page(self.meter))
        return {
            name.removeprefix("jobengine_") + told_apart(dict(labels)): moved
            for (name, labels), count in now.items()
            if name.endswith("_total")
            and (moved := count - self.before.get((name, labels), 0))
        }

    def seconds(self, name: str) -> tuple[float, float]:
        """How many there were in the histogram, and their sum."""
        text = page(self.meter)
        return (
            value(text, f"jobengine_{name}_count", queue="q"),
            value(text, f"jobengine_{name}_sum", queue="q"),
        )


# --- jobs -------------------------------------------------------------------------


def test_a_whole_life_moves_the_counters_of_what_happened_and_no_others() -> None:
    life = Life()

    life.enqueue()
    life.clock.advance(ms=250)
    job = life.claim()
    life.clock.advance(ms=400)
    life.say(job, State.INPROGRESS)
    life.clock.advance(ms=800)
    life.say(job, State.COMPLETE)
    life.clock.advance(ms=5000)
    life.house.upkeep.sweep()

    assert life.moved() == {
        "jobs_enqueued_total": 1,
        "jobs_claimed_total": 1,
        "heartbeats_total": 1,
        "jobs_settled_totalcomplete": 1,
        "jobs_forgotten_total": 1,
    }
    assert life.seconds("job_wait_seconds") == (1, 0.25)
    assert life.seconds("job_run_seconds") == (1, 1.2)


def test_a_lost_lease_a_release_and_a_failure_are_told_apart() -> None:
    life = Life()
    for _ in range(6):
        life.enqueue(attempts=2)

    life.say(life.claim(), State.QUEUED)
    life.say(life.claim(), State.FAILED)
    life.say(life.claim(), State.FAILED)
    life.claim()
    life.clock.advance(ms=1000)
    life.house.upkeep.sweep()
    life.claim()
    life.clock.advance(ms=1000)
    life.house.upkeep.sweep()

    assert life.moved() == {
        "jobs_enqueued_total": 6,
        "jobs_claimed_total": 5,
        "jobs_settled_totalreleased": 1,
        "jobs_settled_totalretried": 1,
        "jobs_settled_totalfailed": 1,
        "leases_lost_totalretried": 1,
        "leases_lost_totalfailed": 1,
        "jobs_dead_totalattempts": 1,
        "jobs_dead_totallease_lost": 1,
    }
    # A run of which nobody said how it went has no length.
    assert life.seconds("job_run_seconds") == (3, 0)


def test_what_is_cancelled_put_off_or_overwritten_is_told_apart() -> None:
    life, keyed = Life(), NewJob(b"{}", unique_key="k")

    life.cancel(life.enqueue().uid)
    life.enqueue()
    life.reschedule(life.claim().uid, Renewal())
    life.complete(life.claim().uid)
    for _ in range(2):
        life.engine.enqueue_batch(ME, [("q", keyed)], conflict=Conflict.REPLACE)

    assert life.moved() == {
        "jobs_enqueued_total": 3,
        "jobs_claimed_total": 2,
        "jobs_settled_totalcancelled": 1,
        "jobs_settled_totalrescheduled": 1,
        "jobs_settled_totalcomplete": 1,
        "jobs_overwritten_total": 1,
    }


@pytest.mark.parametrize("keep_ms", [0, 5000])
def test_a_dead_letter_is_counted_once_by_why_it_died(keep_ms: int) -> None:
    life = Life()
    terms = Terms(keep_ms=keep_ms)
    life.engine.enqueue(ME, "q", NewJob(b"{}", terms=terms))

    life.fail(life.claim().uid, reason="critical")
    life.clock.advance(ms=5000)
    life.house.upkeep.sweep()

    moved = life.moved()
    assert moved["jobs_settled_totalfailed"] == 1
    assert moved["jobs_dead_totalcritical"] == 1


def test_what_a_writer_calls_failed_is_no_dead_letter() -> None:
    life = Life()

    life.say(life.enqueue(), State.FAILED)

    assert life.moved() == {"jobs_enqueued_total": 1, "jobs_settled_totalfailed": 1}


def test_what_time_takes_is_told_from_what_a_caller_takes() -> None:
    life = Life()
    life.enqueue(valid_for_ms=100)
    uid = life.enqueue().uid

    life.engine.delete(ME, "q", uid)
    life.clock.advance(ms=100)
    life.house.upkeep.sweep()

    assert life.moved() == {
        "jobs_enqueued_total": 2,
        "jobs_deleted_total": 1,
        "jobs_expired_total": 1,
    }


def test_what_was_refused_is_not_counted() -> None:
    life = Life()

    with pytest.raises(Exception, match="no queue"):
        life.engine.enqueue(Caller("you"), "q", NewJob(b"{}"))
    assert life.engine.claim(ME, "q") == []

    assert life.moved() == {}


def test_every_event_is_counted_in_one_place() -> None:
    counted = [event for events in families.COUNTED.values() for event in events]

    assert sorted(counted) == sorted(Event)


def test_jobs_of_a_queue_that_left_are_shown_together() -> None:
    meter = new_meter("here")

    text = page(
        meter,
        Level("here", {"queued": 2, "failed": 0}, 1500),
        Level("gone", {"queued": 3}, 9000),
        Level("gone too", {"queued": 4}, None),
    )

    assert value(text, "jobengine_jobs", queue="here", state="queued") == 2
    assert value(text, "jobengine_jobs", queue="here", state="failed") == 0
    assert value(text, "jobengine_jobs", queue="_other", state="queued") == 7
    ages = {v for (n, _), v in values(text).items() if "oldest" in n}
    assert ages == {1.5}


def test_queues_that_callers_made_share_one_name() -> None:
    meter, job = new_meter("here"), Life().enqueue()
    meter.tell_made(lambda queue: queue.startswith("made"))

    meter.commit([(None, replace(job, queue=f"made {n}")) for n in range(1000)], 1)
    meter.denied("made 7", "me")

    text = page(
        meter,
        Level("here", {"queued": 1}, 100, paused=True),
        Level("gone", {"queued": 2}, 9000, paused=True),
        Level("made 1", {"queued": 3}, 2500, paused=True),
        Level("made 2", {"queued": 4}, 1500),
    )
    assert value(text, "jobengine_jobs_enqueued_total", queue="(made)") == 1000
    denied = {"queue": "(made)", "service": "me"}
    assert value(text, "jobengine_requests_denied_total", **denied) == 1
    assert value(text, "jobengine_jobs", queue="(made)", state="queued") == 7
    assert value(text, "jobengine_jobs", queue="_other", state="queued") == 2
    age = "jobengine_oldest_ready_age_seconds"
    assert value(text, age, queue="(made)") == 2.5
    paused = {k: v for k, v in values(text).items() if k[0] == "jobengine_queue_paused"}
    assert [v for _, v in sorted(paused.items(), key=str)] == [1, 1]
    assert '"made' not in text


def test_a_queue_that_is_made_or_paused_is_no_event_of_a_job() -> None:
    meter = new_meter()
    before = page(meter)

    meter.commit([(None, MadeQueue("m", 1)), (MadeQueue("m", 1), None)], 1)

    assert values(page(meter)) == values(before)


# --- names ------------------------------------------------------------------------

HOSTILE = [
    'q"} 1\njobengine_jobs{queue="x',
    "q\\",
    "\x00",
    "\ud800",
    "é" * 1000,
    "",
    "_total",
    *(f"queue {n}" for n in range(1000)),
]


def test_no_name_that_is_not_known_makes_a_series() -> None:
    meter = new_meter()
    job = Life().enqueue()
    meter.denied("nobody's", "nobody")
    meter.answered(("/nowhere", "BREW", 404, 0.1))
    meter.commit([(None, job)], 1)
    known = values(page(meter)).keys()

    for name in HOSTILE:
        meter.denied(name, name)
        meter.answered((name, name, 404, 0.1))
        meter.commit([(None, replace(job, uid=name, queue=name))], 1)
    text = page(meter)

    assert values(text).keys() == known
    times = len(HOSTILE) + 1
    denied = {"queue": "_other", "service": "_other"}
    assert value(text, "jobengine_requests_denied_total", **denied) == times
    asked = {"route": "_other", "method": "_other", "code": "4xx"}
    assert value(text, "jobengine_http_requests_total", **asked) == times
    others = value(text, "jobengine_jobs_enqueued_total", queue="_other")
    assert others == len(HOSTILE)


def test_a_known_name_is_counted_beside_one_that_is_not() -> None:
    meter = new_meter("q", services=["me"])

    meter.denied("q", "nobody")
    meter.denied("nowhere", "me")
    meter.denied("q", "me")

    text = page(meter)
    for queue, service in (("q", "_other"), ("_other", "me"), ("q", "me")):
        labels = {"queue": queue, "service": service}
        assert value(text, "jobengine_requests_denied_total", **labels) == 1


def test_names_that_leave_take_their_series_and_those_that_stay_keep_them() -> None:
    meter, job = new_meter("q", "gone", services=["me", "you"]), Life().enqueue()
    meter.commit([(None, job)], 1)
    for service in ("me", "you"):
        meter.denied("q", service)

    meter.use_names(["q", "new"], ["me"])

    text = page(meter)
    assert value(text, "jobengine_jobs_enqueued_total", queue="q") == 1
    assert value(text, "jobengine_jobs_enqueued_total", queue="new") == 0
    denied = {"queue": "q", "service": "me"}
    assert value(text, "jobengine_requests_denied_total", **denied) == 1
    assert '"gone"' not in text
    assert '"you"' not in text


def test_routes_methods_and_statuses_are_counted_by_their_kind() -> None:
    meter = new_meter()

    meter.answered(("/jobs", "GET", 200, 0.002), ("/jobs", "GET", 204, 0.002))
    meter.answered(("/jobs/{uid}", "POST", 503, 3.0))

    text = page(meter)
    got = {"route": "/jobs", "method": "GET"}
    assert value(text, "jobengine_http_requests_total", code="2xx", **got) == 2
    time = "jobengine_http_request_duration_seconds"
    assert value(text, f"{time}_bucket", le="0.001", **got) == 0
    assert value(text, f"{time}_bucket", le="0.0025", **got) == 2
    posted = {"route": "/jobs/{uid}", "method": "POST"}
    assert value(text, "jobengine_http_requests_total", code="5xx", **posted) == 1
    assert value(text, f"{time}_sum", **posted) == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_there_is_goes_by_its_name(method: str) -> None:
    meter = new_meter()

    meter.answered(("/nowhere", method, 405, 0.1))

    asked = {"route": "_other", "method": method, "code": "4xx"}
    assert value(page(meter), "jobengine_http_requests_total", **asked) == 1


# --- the house --------------------------------------------------------------------


def test_commits_and_sweeps_are_measured() -> None:
    meter = new_meter()

    meter.committed(size_bytes=300, rows=2, seconds=0.0002)
    meter.committed(size_bytes=5000, rows=40, seconds=0.02)
    meter.swept(0.3)

    text = page(meter)
    assert value(text, "jobengine_commit_duration_seconds_count") == 2
    assert value(text, "jobengine_commit_size_bytes_sum") == 5300
    assert value(text, "jobengine_commit_size_bytes_bucket", le="1024.0") == 1
    assert value(text, "jobengine_commit_rows_sum") == 42
    assert value(text, "jobengine_sweep_lag_seconds_bucket", le="0.25") == 0
    assert value(text, "jobengine_sweep_lag_seconds_bucket", le="0.5") == 1


def test_a_rejected_configuration_shows_until_one_is_in_force() -> None:
    now = [1000]
    meter = Meter(routes=ROUTES, version="1", now=lambda: now[0])

    def seen() -> tuple[float, float]:
        prefix, text = "jobengine_config_last_reload_success", page(meter)
        return value(text, f"{prefix}ful"), value(text, f"{prefix}_timestamp_seconds")

    assert seen() == (1, 1)
    now[0] = 2000
    meter.reloaded(accepted=False)
    assert seen() == (0, 1)
    now[0] = 3000
    meter.reloaded(accepted=True)
    assert seen() == (1, 3)
    for outcome in ("accepted", "rejected"):
        reloads = "jobengine_config_reloads_total"
        assert value(page(meter), reloads, outcome=outcome) == 1


def test_what_is_watched_is_asked_when_somebody_looks() -> None:
    meter, waiting = new_meter(), [3]
    meter.watch(waiters=lambda: waiting[0], file_bytes=lambda: 4096)

    waiting[0] = 5

    text = page(meter)
    assert value(text, "jobengine_waiters") == 5
    assert value(text, "jobengine_file_bytes") == 4096
    assert "\njobengine_connections " not in text


def test_what_there_is_no_metric_for_cannot_be_watched() -> None:
    with pytest.raises(AssertionError):
        new_meter().watch(secrets=lambda: 1)


def test_the_version_is_told() -> None:
    assert value(page(new_meter()), "jobengine_build_info", version="1.2.3") == 1


def test_nothing_is_lost_when_threads_tell_at_once() -> None:
    meter, job = new_meter(), Life().enqueue()

    def tell() -> None:
        for _ in range(3000):
            meter.commit([(None, job)], 1)
            meter.answered(("/jobs", "GET", 200, 1))

    often = sys.getswitchinterval()
    threads = [threading.Thread(target=tell) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(often)

    text = page(meter)
    assert value(text, "jobengine_jobs_enqueued_total", queue="q") == 12_000
    time = "jobengine_http_request_duration_seconds_sum"
    assert value(text, time, route="/jobs", method="GET") == 12_000


# --- as it is written -------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "within"),
    [(0, "0.001"), (1, "0.001"), (2, "0.01"), (10, "0.01"), (11, "+Inf")],
)
def test_a_bound_is_within_itself(observed: int, within: str) -> None:
    histogram = Histogram(Buckets((1, 10), per=1000))
    histogram.observe(observed)

    told = list(histogram.samples("t", {}))

    ends = [s.labels["le"] for s in told if s.name == "t_bucket" and s.value]
    assert ends[0] == within
    assert [s.value for s in told[-2:]] == [observed / 1000, 1]


def full() -> Meter:
    """A meter of many queues in which everything has happened."""
    names = [f"queue {n}" for n in range(100)]
    meter, life = new_meter(*names), Life()
    made, taken = life.enqueue(), life.claim()
    for name in names:
        old, new = replace(made, queue=name), replace(taken, queue=name)
        dead = replace(new, state=State.FAILED, lease=None, reason="attempts")
        meter.commit([(None, old), (old, new), (new, dead), (dead, old)], 1)
        meter.denied(name, "me")
    for method in METHODS:
        meter.answered(("/jobs", method, 200, 1))
    meter.committed(1, 1, 1)
    meter.swept(1)
    meter.reloaded(accepted=True)
    meter.watch(**{name: lambda: 1 for name in families.WATCHED})
    return meter


def test_a_page_comes_in_small_slices() -> None:
    levels = [[Level(f"queue {n}", {"queued": 1}, 1)] for n in range(100)]

    slices = list(full().text(levels))

    # Two lines more say what a family is.
    assert max(slice_.count(b"\n") for slice_ in slices) <= exposition.SLICE_LINES + 2
    assert len(values(b"".join(slices).decode())) > 4000


def test_every_family_is_said_once_and_whole() -> None:
    text = page(full(), Level("queue 1", {"queued": 1}, 1))

    heads = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    ours = [name for name in heads if name.startswith("jobengine_")]
    assert ours == [family.name for family in families.FAMILIES]
    assert len(heads) == len(set(heads))
    for family in text_string_to_metric_families(text):
        assert family.samples, family.name


def test_a_family_without_series_still_says_that_it_is_there() -> None:
    (only,) = exposition.text(Family("a_total", "counter", "None yet."), [])

    assert only == b"# HELP a_total None yet.\n# TYPE a_total counter\n"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
def test_promtool_finds_nothing_to_say() -> None:
    text = page(full(), Level("queue 1", {"queued": 1}, 1))

    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
