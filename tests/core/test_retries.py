"""What becomes of a job whose runs go wrong, and how it starts anew."""

import pytest
from msgspec.structs import asdict, replace

from jobengine.core import lifecycle
from jobengine.core.backoff import AT_ONCE, Backoff
from jobengine.core.job import (
    INSTANT_MAX,
    OWN,
    PROGRESS_BYTES_MAX,
    Job,
    Keys,
    NewJob,
    Renewal,
    State,
    Terms,
)
from jobengine.core.lifecycle import (
    FAILURES,
    RESCHEDULES_MAX,
    UNWANTED,
    due_at,
    tick,
)
from jobengine.core.past import ERROR_CHARS_MAX, RUNS_KEPT, Past, Run
from jobengine.core.queues import QueueRules
from jobengine.errors import InvalidJob

WAIT = Backoff("linear", 70)
RULES = QueueRules(
    "q",
    lease_ms=1000,
    keep_ms=5000,
    dead_keep_ms=9000,
    max_attempts=2,
    backoff=WAIT,
    poison_after=2,
)
DAY = 86_400_000
# What the originals agree on: no poison, and a lost job returns at once.
AS_RELAY = Terms(max_attempts=4, keep_ms=0, backoff=AT_ONCE, dead_keep_ms=OWN)
AS_V1 = Terms(max_attempts=1)
# What is agreed where the queue says all.
AS_QUEUE = Terms(max_attempts=OWN, poison_after=OWN, dead_keep_ms=OWN)
ENDLESS = Terms(poison_after=3, backoff=AT_ONCE)


def created(new: NewJob | None = None, *, now: int = 100) -> Job:
    return lifecycle.create(new or NewJob(b"{}"), uid="u", queue="q", seq=3, now=now)


def claimed(job: Job, *, now: int = 200) -> Job:
    return lifecycle.claim(job, now=now, token="t", holder="h", rules=RULES)


def run_of(terms: Terms, **fields: object) -> Job:
    return replace(claimed(created(NewJob(b"{}", terms=terms))), **fields)


def lost(job: Job) -> Job:
    """The job as the end of its lease leaves it."""
    assert job.lease is not None
    after = tick(job, now=job.lease.until, rules=RULES)
    assert after is not None
    return after


def failed(job: Job, now: int = 300, **how: object) -> Job:
    return lifecycle.fail(job, now=now, rules=RULES, **how)  # type: ignore[arg-type]


def rescheduled(job: Job, renewal: Renewal | None = None, now: int = 300) -> Job:
    return lifecycle.reschedule(job, renewal or Renewal(), now=now, rules=RULES)


def changes(before: Job, after: Job) -> dict[str, object]:
    """The fields in which *after* differs, with what they are now."""
    old, new = asdict(before), asdict(after)
    return {field: new[field] for field in new if new[field] != old[field]}


# --- waiting for its time ---------------------------------------------------------


def test_a_new_job_waits_for_its_instant_or_for_its_delay_or_not_at_all() -> None:
    assert created(NewJob(b"{}")).run_at == 100
    assert created(NewJob(b"{}", run_at=5000)).run_at == 5000
    assert created(NewJob(b"{}", delay_ms=50)).run_at == 150
    # Long gone is now, and its place is before those of today.
    assert created(NewJob(b"{}", run_at=0)).run_at == 0


def test_a_new_job_expires_at_its_instant_or_after_its_time() -> None:
    assert created(NewJob(b"{}", expires_at=70)).expires_at == 70
    assert created(NewJob(b"{}", valid_for_ms=70)).expires_at == 170


def test_a_delay_ends_within_the_calendar() -> None:
    new = NewJob(b"{}", delay_ms=INSTANT_MAX)

    assert created(new, now=0).run_at == INSTANT_MAX
    with pytest.raises(InvalidJob, match="delay: must end before"):
        created(new, now=1)


def test_a_new_job_has_the_keys_and_the_progress_it_was_given() -> None:
    new = NewJob(b"{}", unique_key="k", fingerprint="f", progress=b"7")

    job = created(new)

    assert (job.keys, job.progress) == (Keys("k", "f"), b"7")
    assert created(NewJob(b"{}", fingerprint="f")).keys == Keys(None, "f")
    assert created().keys is None


# --- progress ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "known"), [(None, b"1"), (b"2", b"2"), (b"null", None), (b"{}", b"{}")]
)
def test_a_beat_tells_how_far_it_has_come_and_null_forgets_it(
    told: bytes | None, known: bytes | None
) -> None:
    """D5."""
    job = run_of(AS_RELAY, progress=b"1")

    after = lifecycle.beat(job, now=300, rules=RULES, progress=told)

    assert after.progress == known
    assert after.lease is not None
    assert after.lease.until == 1300


def test_progress_that_no_row_can_hold_is_refused() -> None:
    with pytest.raises(InvalidJob, match="progress"):
        lifecycle.beat(
            run_of(AS_RELAY),
            now=300,
            rules=RULES,
            progress=b"x" * (PROGRESS_BYTES_MAX + 1),
        )


def test_the_next_run_is_told_how_far_the_last_had_come() -> None:
    """RL-9."""
    job = run_of(AS_RELAY, progress=b"1")

    assert lost(job).progress == failed(job).progress == b"1"


# --- another attempt --------------------------------------------------------------


def test_a_failed_job_waits_as_its_queue_says() -> None:
    job = run_of(Terms())

    first = failed(job, now=300)
    second = failed(claimed(first, now=400), now=500)

    assert (first.state, first.run_at) == (State.QUEUED, 300 + 70)
    assert (second.state, second.run_at) == (State.QUEUED, 500 + 2 * 70)


def test_a_failed_job_waits_as_was_agreed_whatever_its_queue_says() -> None:
    job = run_of(Terms(backoff=Backoff("list", delays_ms=(5, 6))))

    assert failed(job, now=300).run_at == 305
    assert lost(job).run_at == 1205


def test_a_job_that_need_not_wait_returns_to_its_old_place() -> None:
    """RL-9."""
    job = run_of(AS_RELAY)

    for after in (failed(job), lost(job)):
        assert after.state is State.QUEUED
        assert (after.run_at, after.seq) == (job.run_at, job.seq)


def test_a_holder_may_say_when_the_next_attempt_is_to_be() -> None:
    """SQ-R3: sooner than it would be otherwise, too."""
    assert failed(run_of(Terms()), retry_at=301).run_at == 301
    assert failed(run_of(AS_RELAY), retry_at=DAY).run_at == DAY


def test_the_next_attempt_is_at_an_instant_of_the_calendar() -> None:
    late = run_of(Terms())
    late = replace(late, lease=replace(late.lease, until=INSTANT_MAX))

    for wrong in (-1, INSTANT_MAX + 1):
        with pytest.raises(InvalidJob, match="retry_at"):
            failed(run_of(Terms()), retry_at=wrong)
    assert failed(late, now=INSTANT_MAX).run_at == INSTANT_MAX
    assert lost(late).run_at == INSTANT_MAX
    assert rescheduled(late, now=INSTANT_MAX).run_at == INSTANT_MAX


@pytest.mark.parametrize(
    ("terms", "runs"), [(AS_V1, 1), (AS_RELAY, 4), (AS_QUEUE, RULES.max_attempts)]
)
def test_there_are_as_many_runs_as_were_agreed_on(terms: Terms, runs: int) -> None:
    """D8, RL-14."""
    for end in (failed, lost):
        job = created(NewJob(b"{}", terms=replace(terms, poison_after=None)))
        count = 0
        while job.state is State.QUEUED:
            job = end(claimed(job))
            count += 1
        assert count == runs
        assert job.state is State.FAILED
        assert job.reason == {failed: "attempts", lost: "lease_lost"}[end]


@pytest.mark.parametrize("reason", FAILURES)
def test_a_run_that_says_so_is_the_last(reason: str) -> None:
    after = failed(run_of(Terms()), reason=reason)

    assert after.state is (State.QUEUED if reason == "attempts" else State.FAILED)
    assert after.reason == (None if reason == "attempts" else reason)


def test_what_its_holder_calls_off_is_cancelled_and_no_dead_letter() -> None:
    job = run_of(Terms())

    after = failed(job, reason=UNWANTED, error="the order is void")

    assert changes(job, after) == {
        "state": State.CANCELLED,
        "lease": None,
        "finished_at": 300,
        "keep_until": 5300,
        "updated_at": 300,
        "past": Past(runs=(Run(1, 200, 300, "cancelled", "the order is void"),)),
    }
    assert after.reason is None


# --- poison -----------------------------------------------------------------------


def test_leases_lost_in_a_row_are_poison() -> None:
    job = claimed(lost(claimed(lost(run_of(ENDLESS)))))

    after = lost(job)

    assert (after.state, after.reason) == (State.FAILED, "poison")
    assert after.past is not None
    assert [run.outcome for run in after.past.runs] == [*["lease_lost"] * 2, "poison"]


def test_the_queue_says_what_is_poison_where_it_was_left_to_it() -> None:
    job = run_of(Terms(poison_after=OWN))

    assert lost(job).state is State.QUEUED
    assert lost(claimed(lost(job))).reason == "poison"
    none = replace(RULES, poison_after=None)
    assert tick(claimed(lost(job)), now=DAY, rules=none).state is State.QUEUED  # type: ignore[union-attr]


def test_a_worker_that_can_tell_what_went_wrong_has_not_crashed() -> None:
    job = claimed(lost(claimed(lost(run_of(ENDLESS)))))

    told = failed(job)

    assert told.past is not None
    assert told.past.lost == 0
    assert lost(claimed(lost(claimed(told)))).state is State.QUEUED


def test_a_reschedule_ends_the_row_of_crashes_too_and_a_release_does_not() -> None:
    job = claimed(lost(claimed(lost(run_of(ENDLESS)))))

    later = rescheduled(job)
    back = lifecycle.release(job, now=300, rules=RULES)

    assert lost(claimed(later)).state is State.QUEUED
    assert lost(claimed(back)).reason == "poison"


@pytest.mark.parametrize("terms", [AS_RELAY, replace(AS_RELAY, max_attempts=None)])
def test_nothing_is_poison_where_nobody_agreed_that_it_can_be(terms: Terms) -> None:
    """D9: relay and JobEngine know no poison."""
    job = run_of(terms, attempt=2, past=Past(lost=1000))

    assert lost(job).state is State.QUEUED


def test_a_job_without_attempts_left_has_lost_its_lease_and_is_no_poison() -> None:
    job = run_of(Terms(max_attempts=3, poison_after=3), attempt=3, past=Past(lost=2))

    assert lost(job).reason == "lease_lost"


# --- put off ----------------------------------------------------------------------


def test_a_reschedule_with_new_terms_is_as_good_as_new() -> None:
    """RL-7."""
    job = run_of(AS_RELAY, attempt=3, progress=b"1", past=Past(2, 50))
    terms = replace(AS_RELAY, max_attempts=9)

    after = rescheduled(job, Renewal(7000, b"[]", terms, b"2"))

    assert changes(job, after) == {
        "state": State.QUEUED,
        "content": b"[]",
        "attempt": 0,
        "run_at": 7000,
        "terms": terms,
        "lease": None,
        "progress": b"2",
        "past": None,
        "updated_at": 300,
    }


def test_what_such_a_reschedule_does_not_say_is_now_and_nothing() -> None:
    """RL-7."""
    job = run_of(AS_RELAY, progress=b"1")

    after = rescheduled(job, Renewal(terms=AS_RELAY))

    assert (after.run_at, after.content, after.progress) == (300, b"{}", None)


def test_a_reschedule_without_terms_does_not_count_as_a_run() -> None:
    """SQ-R4."""
    job = run_of(Terms(), progress=b"1", attempt=2)

    after = rescheduled(job, Renewal(run_at=DAY))

    assert (after.state, after.attempt, after.run_at) == (State.QUEUED, 1, DAY)
    assert (after.content, after.progress) == (b"{}", b"1")
    assert after.past == Past(rescheduled=1)


def test_a_reschedule_without_terms_may_bring_content_and_progress() -> None:
    after = rescheduled(run_of(Terms()), Renewal(content=b"[]", progress=b"2"))

    assert (after.content, after.progress) == (b"[]", b"2")


@pytest.mark.parametrize(("run_at", "becomes"), [(None, 370), (301, 370), (371, 371)])
def test_a_reschedule_waits_no_less_than_it_would_after_a_failure(
    run_at: int | None, becomes: int
) -> None:
    """SQ-R4."""
    assert rescheduled(run_of(Terms()), Renewal(run_at=run_at)).run_at == becomes


def test_a_reschedule_without_a_wait_runs_when_it_is_told_to() -> None:
    assert rescheduled(run_of(ENDLESS), Renewal(run_at=301)).run_at == 301
    assert rescheduled(run_of(ENDLESS)).run_at == 300


def test_a_job_that_is_put_off_for_ever_is_poison() -> None:
    """SQ-R9."""
    job = run_of(ENDLESS)
    for _ in range(RESCHEDULES_MAX - 1):
        job = claimed(rescheduled(job))

    after = rescheduled(job)

    assert job.state is State.INPROGRESS
    assert (after.state, after.reason) == (State.FAILED, "poison")
    # Not where nobody agreed on that, and with new terms it is as good as new.
    assert rescheduled(replace(job, terms=AS_RELAY)).state is State.QUEUED
    assert rescheduled(job, Renewal(terms=ENDLESS)).past is None


# --- dead letters -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("dead_keep_ms", "kept_ms"), [(None, 5000), (OWN, 9000), (77, 77), (0, 0)]
)
def test_a_dead_letter_is_kept_for_its_own_time(
    dead_keep_ms: int | None, kept_ms: int
) -> None:
    job = run_of(Terms(max_attempts=1, dead_keep_ms=dead_keep_ms))

    dead = failed(job)

    assert dead.keep_until == 300 + kept_ms
    # All other ends keep to the time of any finished job.
    done = lifecycle.complete(job, now=300, rules=RULES)
    cancelled = lifecycle.cancel(job, now=300, rules=RULES)
    assert done.keep_until == cancelled.keep_until == 300 + 5000


def test_a_job_kept_for_no_time_is_kept_as_a_dead_letter_where_that_was_agreed() -> (
    None
):
    """D9: relay forgets what is done, and keeps what is dead."""
    job = run_of(replace(AS_RELAY, max_attempts=1))

    assert lifecycle.complete(job, now=300, rules=RULES).keep_until == 300
    assert lost(job).keep_until == 1200 + 9000


def test_only_the_last_runs_that_went_wrong_are_remembered() -> None:
    job = run_of(Terms(backoff=AT_ONCE))
    for n in range(RUNS_KEPT + 5):
        job = claimed(failed(job, now=300 + n, error=f"no {n}"), now=300 + n)

    assert job.past is not None
    told = [(run.attempt, run.began_at, run.error) for run in job.past.runs]
    assert told == [(n + 1, 299 + n, f"no {n}") for n in range(5, RUNS_KEPT + 5)]
    assert job.error == "no 14"


def test_an_error_is_cut_where_it_gets_long() -> None:
    after = failed(run_of(Terms()), error="x" * (ERROR_CHARS_MAX + 1))

    assert after.error == "x" * ERROR_CHARS_MAX


def test_an_error_that_is_no_text_the_file_can_hold_is_told_as_far_as_it_is() -> None:
    after = failed(run_of(Terms()), error="half a pair: \ud83d")

    assert after.error == "half a pair: ?"
    assert failed(run_of(Terms()), error="").error == ""


# --- cancelled, retried, overwritten ----------------------------------------------


@pytest.mark.parametrize("job", [created(), run_of(Terms())])
def test_a_cancelled_job_is_nobodys_and_is_kept(job: Job) -> None:
    after = lifecycle.cancel(job, now=300, rules=RULES)

    assert after.state is State.CANCELLED
    assert (after.lease, after.reason, after.attempt) == (None, None, job.attempt)
    assert (after.finished_at, after.keep_until) == (300, 5300)


def retried(job: Job, now: int) -> Job:
    return lifecycle.retry(job, now=now, rules=RULES)


def test_a_dead_letter_starts_from_nothing_and_remembers_its_past() -> None:
    dead = lost(claimed(lost(claimed(lost(run_of(ENDLESS, progress=b"1"))))))
    assert dead.reason == "poison"

    after = retried(dead, DAY)

    assert after.state is State.QUEUED
    assert (after.attempt, after.lease, after.reason) == (0, None, None)
    assert (after.finished_at, after.keep_until) == (None, None)
    assert after.past is not None
    assert dead.past is not None
    assert after.past == Past(runs=dead.past.runs)
    assert (after.progress, after.run_at) == (b"1", dead.run_at)


def test_a_dead_letter_that_waited_to_be_run_is_run_now() -> None:
    waiting = created(NewJob(b"{}", run_at=2 * DAY))

    after = retried(lifecycle.cancel(waiting, now=300, rules=RULES), DAY)

    assert after.run_at == DAY


def test_a_retried_job_that_would_have_expired_has_its_time_again() -> None:
    new = NewJob(b"{}", valid_for_ms=500)
    dead = lifecycle.cancel(created(new), now=300, rules=RULES)

    assert retried(dead, 599).expires_at == 600
    assert retried(dead, 600).expires_at == 1100
    assert retried(dead, INSTANT_MAX).expires_at == INSTANT_MAX
    # A time that had ended before the job was made is the shortest there is.
    old = lifecycle.cancel(created(NewJob(b"{}", expires_at=1)), now=9, rules=RULES)
    assert retried(old, 300).expires_at == 301


@pytest.mark.parametrize("job", [created(), run_of(Terms(), past=Past(1, 2))])
def test_an_overwritten_job_is_as_new_but_for_its_name_and_place(job: Job) -> None:
    new = NewJob(
        b"[]",
        9,
        70,
        AS_RELAY,
        delay_ms=5,
        unique_key="k",
        fingerprint="f",
        progress=b"7",
    )

    after = lifecycle.overwrite(job, new, now=300)

    made = lifecycle.create(new, uid="u", queue="q", seq=3, now=300)
    assert after == replace(made, created_at=100)


def test_what_the_file_has_of_a_job_it_keeps() -> None:
    brief = replace(AS_RELAY, durable=False)
    durable, memory = run_of(AS_RELAY), run_of(brief)

    for before, terms, after in [
        (durable, brief, True),
        (durable, AS_RELAY, True),
        (memory, AS_RELAY, True),
        (memory, brief, False),
    ]:
        new = NewJob(b"{}", terms=terms, unique_key="k")
        assert lifecycle.overwrite(before, new, now=300).terms.durable is after
    # A reschedule leaves it where it is.
    assert rescheduled(durable, Renewal(terms=brief)).terms.durable
    assert not rescheduled(memory, Renewal(terms=AS_RELAY)).terms.durable


# --- time -------------------------------------------------------------------------


def test_time_alone_does_not_change_a_job_that_waits_for_its_instant() -> None:
    waiting = created(NewJob(b"{}", run_at=DAY))

    assert due_at(waiting) is None
    assert tick(waiting, now=2 * DAY, rules=RULES) is waiting


def test_a_job_that_waits_for_its_next_attempt_may_expire_before_it() -> None:
    job = claimed(created(NewJob(b"{}", valid_for_ms=1120, terms=Terms())))

    again = lost(job)

    assert (again.run_at, due_at(again)) == (1270, 1220)
    assert tick(again, now=1219, rules=RULES) is again
    assert tick(again, now=1220, rules=RULES) is None


def test_a_lost_job_whose_time_is_over_leaves_nothing_but_a_dead_letter_stays() -> None:
    new = NewJob(b"{}", valid_for_ms=500, terms=replace(AS_RELAY, max_attempts=1))
    job = claimed(created(new))

    dead = tick(job, now=DAY, rules=RULES)

    assert dead is not None
    assert dead.past == Past(lost=1, runs=(Run(1, 200, DAY, "lease_lost"),))
    assert due_at(dead) == DAY + 9000
    assert tick(replace(job, attempt=0), now=DAY, rules=RULES) is None
