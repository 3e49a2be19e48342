"""The sweeper over a house without a file, with time in the test's hands."""

import threading

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from jobengine.core.access import Caller
from jobengine.core.job import NewJob, State, Terms
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.core.schedules import NewSchedule, begun
from jobengine.daemon.sweeper import BATCH, REST_S, SLEEP_S, Sweeper
from jobengine.errors import StoreFailed, StoreFull
from jobengine.testing import SimClock, memory_house
from jobengine.upkeep import FIRINGS_MAX, Swept, Upkeep

SHOP, MAILER = Caller("shop"), Caller("mailer")
RULES = Rulebook(
    queues={"mail": QueueRules("mail", frozenset({"mailer"}), frozenset({"shop"}))}
)


class Site:
    """A house, its clock, and a sweeper that nobody has started."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.house = memory_house(RULES, self.clock)
        self.sweeper = Sweeper(self.house.upkeep, self.house.store, self.clock)

    def enqueue(self, count: int = 1, *, valid_for_ms: int | None = None) -> None:
        for _ in range(count):
            new = NewJob(b"{}", valid_for_ms=valid_for_ms, terms=Terms(max_attempts=1))
            self.house.engine.enqueue(SHOP, "mail", new)

    def states(self) -> list[State]:
        with self.house.store.transaction() as tx:
            return [job.state for job in tx.jobs("mail")]


@pytest.fixture
def site() -> Site:
    return Site()


def test_with_nothing_due_it_sleeps_as_long_as_it_may(site: Site) -> None:
    site.enqueue(valid_for_ms=3_600_000)

    assert site.sweeper.until_due() == SLEEP_S


def test_it_sleeps_until_the_next_due_instant(site: Site) -> None:
    site.enqueue(valid_for_ms=400)

    # The store knows an instant this near only once it has looked closer.
    site.sweeper.sweep()

    assert site.sweeper.until_due() == pytest.approx(0.4, abs=0.002)


def test_it_does_not_sleep_once_something_is_due(site: Site) -> None:
    site.enqueue(valid_for_ms=400)

    site.clock.advance(seconds=5)

    assert site.sweeper.until_due() == 0


def test_an_expired_job_leaves_and_the_log_counts_it(site: Site) -> None:
    site.enqueue(2, valid_for_ms=1000)
    site.enqueue()
    site.clock.advance(seconds=2)

    with capture_logs() as lines:
        rest = site.sweeper.sweep()

    assert site.states() == [State.QUEUED]
    assert rest == REST_S
    assert lines == [
        {
            "event": "jobs removed",
            "log_level": "info",
            "queue": "mail",
            "count": 2,
            "reason": "expired",
        }
    ]


def test_a_job_whose_holder_went_silent_is_failed(site: Site) -> None:
    site.enqueue()
    site.house.engine.claim(MAILER, "mail")
    site.clock.advance(minutes=11)

    with capture_logs() as lines:
        site.sweeper.sweep()

    assert site.states() == [State.FAILED]
    assert [line["reason"] for line in lines] == ["lease_lost"]


def test_a_finished_job_goes_when_it_has_been_kept_long_enough(site: Site) -> None:
    site.enqueue()
    site.house.engine.claim(MAILER, "mail")
    site.clock.advance(minutes=11)
    site.sweeper.sweep()
    site.clock.advance(minutes=61)

    with capture_logs() as lines:
        site.sweeper.sweep()

    assert site.states() == []
    assert [line["reason"] for line in lines] == ["kept_long_enough"]


def test_a_large_number_goes_in_batches(site: Site) -> None:
    site.enqueue(BATCH + 1, valid_for_ms=1000)
    site.clock.advance(seconds=2)

    site.sweeper.sweep()
    left = len(site.states())
    site.sweeper.sweep()

    assert left == 1
    assert site.states() == []


def test_schedules_fire_without_a_rest_and_the_log_counts_their_jobs(
    site: Site,
) -> None:
    new = NewSchedule("s", "0 * * * *", b"{}")
    with site.house.store.transaction() as tx:
        for number in range(FIRINGS_MAX + 1):
            named = replace(new, title=f"s{number}")
            tx.put_record(begun(named, queue="mail", now=tx.now))
    site.clock.advance(minutes=60)

    with capture_logs() as lines:
        rests = [site.sweeper.sweep() for _ in range(3)]

    assert rests == [0, REST_S, REST_S]
    assert [(line["event"], line["count"]) for line in lines] == [
        ("jobs made", FIRINGS_MAX),
        ("jobs made", 1),
    ]


def test_what_a_schedule_could_not_make_is_in_the_log(site: Site) -> None:
    with site.house.store.transaction() as tx:
        new = NewSchedule("s", "0 * * * *", b"{}")
        tx.put_record(begun(new, queue="mail", now=tx.now))
    site.clock.advance(minutes=90)

    with capture_logs() as lines:
        site.sweeper.sweep()

    assert [(line["event"], line["reason"]) for line in lines] == [
        ("jobs not made", "schedule")
    ]


def test_a_new_job_that_is_due_soon_rings_the_thread_awake() -> None:
    site, swept = Site(), threading.Event()
    upkeep = Told(site.house.upkeep, swept)
    sweeper = Sweeper(upkeep, site.house.store, site.clock)
    sweeper.start()

    site.enqueue(valid_for_ms=1)
    site.clock.advance(seconds=2)
    happened = swept.wait(10)
    sweeper.stop()

    assert happened
    assert site.states() == []


def test_a_sweep_that_breaks_is_logged_and_tried_again() -> None:
    site, swept = Site(), threading.Event()
    upkeep = Told(site.house.upkeep, swept, first=ValueError("a bug"))
    sweeper = Sweeper(upkeep, site.house.store, site.clock)
    site.enqueue(valid_for_ms=1)
    site.clock.advance(seconds=2)

    with capture_logs() as lines:
        sweeper.start()
        happened = swept.wait(10)
        sweeper.stop()

    assert happened
    assert lines[0]["code"] == "sweep_failed"


@pytest.mark.parametrize(
    ("error", "code", "level"),
    [
        (StoreFull("no room"), "storage_full", "warning"),  # no fault of ours
        (StoreFailed("no disk"), "storage_failed", "error"),  # the sweeper ends
    ],
)
def test_what_the_disk_refuses_is_told_without_a_traceback(
    error: Exception, code: str, level: str
) -> None:
    site = Site()
    upkeep = Told(site.house.upkeep, threading.Event(), first=error)
    sweeper = Sweeper(upkeep, site.house.store, site.clock)
    site.enqueue(valid_for_ms=1)
    site.clock.advance(seconds=2)

    with capture_logs() as lines:
        sweeper.start()
        upkeep.tried.wait(10)
        sweeper.stop()

    assert [(line["code"], line["log_level"]) for line in lines] == [(code, level)]


class Told(Upkeep):
    """The house's upkeep, which tells when it has swept; the first try may fail."""

    def __init__(
        self, real: Upkeep, swept: threading.Event, first: Exception | None = None
    ) -> None:
        self._real = real
        self._swept = swept
        self._first = first
        self.tried = threading.Event()

    def next_due(self) -> int | None:
        return self._real.next_due()

    def sweep(self, limit: int = 500) -> Swept:
        self.tried.set()
        if self._first is not None:
            error, self._first = self._first, None
            raise error
        swept = self._real.sweep(limit)
        if swept:
            self._swept.set()
        return swept
