"""Who holds a job reports on it; nobody else does, and nobody who has lost it."""

from collections.abc import Callable

import pytest
from asking import (
    GONE,
    ME,
    ONCE,
    OTHER,
    READER,
    STRANGER,
    TWICE,
    WRITER,
    Desk,
    each_verb,
    refusal,
    say,
    token,
)

from jobengine.core.backoff import Backoff
from jobengine.core.events import Event
from jobengine.core.job import (
    INSTANT_MAX,
    PROGRESS_BYTES_MAX,
    Change,
    Job,
    Renewal,
    State,
    Terms,
)
from jobengine.core.lifecycle import RESCHEDULES_MAX
from jobengine.core.past import ERROR_CHARS_MAX
from jobengine.engine import LiveKey
from jobengine.errors import (
    Forbidden,
    InvalidJob,
    JobCancelled,
    JobNotFound,
    QueueNotFound,
    StaleLease,
    WrongState,
)
from jobengine.testing import SimDisk

# --- who --------------------------------------------------------------------------


@each_verb
def test_its_holder_reports_by_name(desk: Desk, verb: str) -> None:
    job = desk.held(READER if verb != "requeue" else ME)

    say(desk, verb, job, READER if verb != "requeue" else ME)

    assert desk.row(job) != job


@each_verb
def test_whoever_shows_the_token_reports_under_any_name(desk: Desk, verb: str) -> None:
    job = desk.held(READER)

    say(desk, verb, job, OTHER, lease=token(job))

    assert desk.row(job) != job


@each_verb
def test_somebody_else_is_refused_though_it_may_read_and_write(
    desk: Desk, verb: str
) -> None:
    job = desk.held(OTHER)

    with pytest.raises(Forbidden, match="held by another"):
        say(desk, verb, job)

    assert desk.rows() == {job.uid: job}


@each_verb
def test_a_token_opens_nothing_to_those_who_may_not_read(desk: Desk, verb: str) -> None:
    job = desk.held()

    with pytest.raises(Forbidden):
        say(desk, verb, job, WRITER, lease=token(job))
    with pytest.raises(QueueNotFound):
        say(desk, verb, job, STRANGER, lease=token(job))

    assert desk.rows() == {job.uid: job}


@each_verb
def test_a_job_that_nobody_holds_is_in_the_wrong_state(desk: Desk, verb: str) -> None:
    queued = desk.put()
    done = desk.held(priority=99)
    desk.engine.complete(ME, "q", done.uid)
    before = desk.rows()

    for job in (queued, done):
        with pytest.raises(WrongState, match="not held"):
            say(desk, verb, job)

    assert desk.rows() == before


@each_verb
def test_a_job_that_is_not_there_is_not_found(desk: Desk, verb: str) -> None:
    job = desk.held()
    desk.engine.delete(ME, "q", job.uid)

    for how in ({}, {"lease": token(job)}):
        with pytest.raises(JobNotFound):
            say(desk, verb, job, **how)


# --- a stale token has no effect --------------------------------------------------

LOST: dict[str, Callable[[Desk, Job], object]] = {
    "lost, and taken again": lambda d, _: (d.clock.advance(minutes=1), d.take(OTHER)),
    "lost, and taken again by its own name": lambda d, _: (
        d.clock.advance(minutes=1),
        d.take(),
    ),
    "lost": lambda d, _: d.clock.advance(minutes=1),
    "lost and swept": lambda d, _: (d.clock.advance(minutes=1), d.sweep()),
    "given back": lambda d, job: d.engine.release(ME, "q", job.uid),
    "completed": lambda d, job: d.engine.complete(ME, "q", job.uid),
    "failed": lambda d, job: d.engine.fail(ME, "q", job.uid, reason="critical"),
    "taken over by a writer": lambda d, job: d.engine.update(
        WRITER, "q", job.uid, Change(state=State.INPROGRESS)
    ),
    "queued again by a writer": lambda d, job: d.engine.update(
        WRITER, "q", job.uid, Change(state=State.QUEUED)
    ),
}


@each_verb
@pytest.mark.parametrize("how", LOST)
def test_a_stale_token_has_no_effect(desk: Desk, verb: str, how: str) -> None:
    job = desk.held(terms=TWICE)
    LOST[how](desk, job)
    before = desk.rows()

    with pytest.raises(StaleLease):
        say(desk, verb, job, lease=token(job))

    assert desk.rows() == before


@each_verb
def test_a_made_up_token_has_no_effect(desk: Desk, verb: str) -> None:
    job = desk.held()

    for shown in ("", "no such", token(job).upper()):
        with pytest.raises(StaleLease):
            say(desk, verb, job, lease=shown)

    assert desk.rows() == {job.uid: job}


@each_verb
def test_tokens_outlive_a_restart(verb: str) -> None:
    desk = Desk(disk=SimDisk())
    job = desk.held()
    desk.restart()

    with pytest.raises(StaleLease):
        say(desk, verb, job, lease="no such")
    say(desk, verb, job, lease=token(job))

    assert desk.row(job) != job
    desk.house.close()


# --- what becomes of it -----------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "event"),
    [
        (lambda d, uid: d.engine.complete(ME, "q", uid), Event.COMPLETED),
        (lambda d, uid: d.engine.fail(ME, "q", uid, reason="critical"), Event.FAILED),
        (lambda d, uid: d.engine.cancel(ME, "q", uid), Event.CANCELLED),
        (
            lambda d, uid: d.engine.fail(ME, "q", uid, reason="cancelled"),
            Event.CANCELLED,
        ),
        (
            lambda d, uid: d.engine.update(ME, "q", uid, Change(state=State.COMPLETE)),
            Event.COMPLETED,
        ),
        (lambda d, uid: d.engine.requeue(ME, "q", uid, []), Event.COMPLETED),
    ],
)
def test_what_is_not_to_be_kept_is_told_of_and_gone_at_once(
    desk: Desk, end: Callable[[Desk, str], object], event: Event
) -> None:
    """D10."""
    job = desk.held(terms=GONE)
    desk.events.clear()

    end(desk, job.uid)

    assert desk.rows() == {}
    assert desk.events == [event, Event.FORGOTTEN]
    assert desk.sweep() == {}


def test_a_cancelled_group_that_is_not_to_be_kept_is_gone_at_once(desk: Desk) -> None:
    desk.put(fingerprint="f", terms=GONE)

    sum(desk.admin.cancel_group(ME, "q", "f"))

    assert desk.rows() == {}


def test_a_dead_letter_has_a_keep_of_its_own(desk: Desk) -> None:
    job = desk.held(terms=Terms(max_attempts=1, keep_ms=0, dead_keep_ms=5000))

    dead = desk.engine.fail(ME, "q", job.uid, error="no")

    assert desk.rows() == {job.uid: dead}
    assert dead.keep_until == desk.clock.now() + 5000


def test_a_failure_with_an_attempt_left_queues_the_job_in_its_old_place(
    desk: Desk,
) -> None:
    """RL-9."""
    job = desk.held(terms=TWICE)
    desk.put()

    after = desk.engine.fail(ME, "q", job.uid, error="no")

    assert (after.state, after.error) == (State.QUEUED, "no")
    assert desk.take().uid == job.uid


def test_a_failure_without_one_is_a_dead_letter(desk: Desk) -> None:
    job = desk.held(terms=ONCE)

    after = desk.engine.fail(ME, "q", job.uid, error="e" * 5000)

    assert (after.state, after.reason) == (State.FAILED, "attempts")
    assert after.error == "e" * ERROR_CHARS_MAX


@pytest.mark.parametrize("reason", ["critical", "unprocessable"])
def test_what_cannot_be_done_is_not_tried_again(desk: Desk, reason: str) -> None:
    job = desk.held()

    after = desk.engine.fail(ME, "q", job.uid, reason=reason)

    assert (after.state, after.reason) == (State.FAILED, reason)


def test_a_reader_calls_off_what_it_holds_and_a_writer_may_open_it_again(
    desk: Desk,
) -> None:
    job = desk.held(READER, unique_key="k", terms=ONCE)

    after = desk.engine.fail(READER, "q", job.uid, reason="cancelled", error="void")

    assert (after.state, after.reason, after.error) == (State.CANCELLED, None, "void")
    assert desk.events[-1] is Event.CANCELLED
    # Its key is free, and who knew it learns what became of it.
    other = desk.put(unique_key="k")
    with pytest.raises(JobCancelled):
        desk.engine.beat(READER, "q", job.uid, lease=token(job))
    desk.engine.delete(ME, "q", other.uid)
    assert desk.engine.retry(WRITER, "q", job.uid).attempt == 0


@pytest.mark.parametrize("seconds", [0, 5])
def test_a_job_given_back_for_later_waits_and_the_run_does_not_count(
    desk: Desk, seconds: int
) -> None:
    job = desk.held(terms=ONCE)
    later = desk.clock.now() + seconds * 1000

    back = desk.engine.release(ME, "q", job.uid, run_at=later)

    assert (back.state, back.attempt, back.run_at) == (State.QUEUED, 0, later)
    assert (desk.engine.claim(ME, "q") == []) is (seconds > 0)
    desk.clock.advance(seconds=seconds)
    assert seconds == 0 or desk.take().uid == job.uid


def test_a_job_given_back_for_later_is_a_run_put_off_to_who_listens(
    desk: Desk,
) -> None:
    job = desk.held()

    desk.engine.release(ME, "q", job.uid, run_at=job.run_at + 1)

    assert desk.events[-1] is Event.RESCHEDULED


@pytest.mark.parametrize("run_at", [-1, INSTANT_MAX + 1])
def test_a_job_given_back_for_no_instant_is_still_held(desk: Desk, run_at: int) -> None:
    job = desk.held()

    assert refusal(desk.engine.release, ME, "q", job.uid, run_at=run_at) is InvalidJob

    assert desk.rows() == {job.uid: job}


def test_a_worker_may_say_when_to_try_again(desk: Desk) -> None:
    later = desk.clock.now() + 5000
    job = desk.held(terms=Terms(backoff=Backoff(base_ms=60_000)))

    desk.engine.fail(ME, "q", job.uid, retry_at=later)

    desk.clock.advance(ms=4999)
    assert desk.engine.claim(ME, "q") == []
    desk.clock.advance(ms=1)
    assert desk.take().attempt == 2


def test_a_job_waits_as_its_backoff_says(desk: Desk) -> None:
    job = desk.held(terms=Terms(backoff=Backoff("linear", 1000)))

    first = desk.engine.fail(ME, "q", job.uid)
    assert first.run_at == desk.clock.now() + 1000
    desk.clock.advance(seconds=1)
    second = desk.engine.fail(ME, "q", desk.take().uid)

    assert second.run_at == desk.clock.now() + 2000


def test_it_cannot_be_tried_again_beyond_the_calendar(desk: Desk) -> None:
    job = desk.held()

    with pytest.raises(InvalidJob):
        desk.engine.fail(ME, "q", job.uid, retry_at=INSTANT_MAX + 1)

    assert desk.rows() == {job.uid: job}


def test_a_job_that_kills_its_workers_is_poison(desk: Desk) -> None:
    """SQ-B1: the original tried it for ever."""
    desk.put(terms=Terms(max_attempts=10, poison_after=3))
    for _ in range(3):
        desk.take()
        desk.clock.advance(minutes=1)
        desk.sweep()

    [job] = desk.rows().values()

    assert (job.state, job.reason, job.attempt) == (State.FAILED, "poison", 3)
    assert [run.outcome for run in job.past.runs] == [  # type: ignore[union-attr]
        "lease_lost",
        "lease_lost",
        "poison",
    ]


# --- how far it has come ----------------------------------------------------------


def test_progress_is_kept_until_something_else_is_told(desk: Desk) -> None:
    """D5."""
    job = desk.held()

    told = [
        desk.engine.beat(ME, "q", job.uid, progress=progress).progress
        for progress in (None, b"[1]", None, b"2", b"null", None)
    ]

    assert told == [None, b"[1]", b"[1]", b"2", None, None]


def test_progress_is_there_for_the_next_who_takes_the_job(desk: Desk) -> None:
    """RL-9."""
    job = desk.held()
    desk.engine.beat(ME, "q", job.uid, progress=b"[1]")
    desk.clock.advance(minutes=1)

    assert desk.take(OTHER).progress == b"[1]"


def test_a_heartbeat_starts_the_lease_over(desk: Desk) -> None:
    job = desk.held()
    for _ in range(3):
        desk.clock.advance(ms=59_999)
        job = desk.engine.beat(ME, "q", job.uid, lease=token(job))

    assert desk.sweep() == {}
    assert job.lease is not None
    assert job.lease.until == desk.clock.now() + 60_000


def test_too_much_progress_is_refused_and_is_no_heartbeat(desk: Desk) -> None:
    job = desk.held()
    desk.clock.advance(seconds=1)

    with pytest.raises(InvalidJob, match="progress"):
        desk.engine.beat(ME, "q", job.uid, progress=bytes(PROGRESS_BYTES_MAX + 1))

    assert desk.rows() == {job.uid: job}


def test_jobs_with_much_progress_are_claimed_as_many_as_a_frame_holds(
    desk: Desk,
) -> None:
    for _ in range(400):
        desk.put(progress=bytes(PROGRESS_BYTES_MAX))

    parts = [len(desk.engine.claim(ME, "q", 1000)) for _ in range(5)]

    assert sum(parts) == 400
    assert parts[0] > 100


# --- put off ----------------------------------------------------------------------


def test_a_job_put_off_waits_and_the_run_does_not_count(desk: Desk) -> None:
    job = desk.held(terms=ONCE)
    later = desk.clock.now() + 5000

    after = desk.engine.reschedule(
        ME, "q", job.uid, Renewal(run_at=later, content=b"[9]", progress=b"1")
    )

    assert (after.state, after.attempt, after.run_at) == (State.QUEUED, 0, later)
    assert (after.content, after.progress) == (b"[9]", b"1")
    assert desk.engine.claim(ME, "q") == []
    desk.clock.advance(seconds=5)
    assert desk.take().attempt == 1


def test_with_new_terms_it_is_as_good_as_new(desk: Desk) -> None:
    """RL-7."""
    desk.put(terms=TWICE, progress=b"1")
    desk.engine.fail(ME, "q", desk.take().uid)
    job = desk.take()

    after = desk.engine.reschedule(ME, "q", job.uid, Renewal(terms=ONCE))

    assert (after.attempt, after.past, after.progress) == (0, None, None)
    assert after.terms == ONCE
    assert after.created_at == job.created_at


def test_what_is_put_off_for_ever_is_poison(desk: Desk) -> None:
    """SQ-R9."""
    desk.put(terms=Terms(poison_after=3))
    for _ in range(RESCHEDULES_MAX):
        job = desk.take()
        job = desk.engine.reschedule(ME, "q", job.uid, Renewal())

    assert (job.state, job.reason) == (State.FAILED, "poison")


def test_what_is_put_off_by_relays_terms_never_is(desk: Desk) -> None:
    desk.put()
    for _ in range(RESCHEDULES_MAX + 1):
        job = desk.take()
        job = desk.engine.reschedule(ME, "q", job.uid, Renewal(terms=ONCE))

    assert job.state is State.QUEUED


# --- looked at --------------------------------------------------------------------


def test_a_peek_shows_what_a_claim_would_take_and_takes_nothing(desk: Desk) -> None:
    desk.put(run_at=desk.clock.now() + 1000)
    later = desk.put()
    first = desk.put(priority=90)

    assert desk.engine.peek(READER, "q") == first
    assert desk.engine.peek(READER, "q") == first
    desk.take()
    assert desk.engine.peek(READER, "q") == later
    desk.take()
    assert desk.engine.peek(READER, "q") is None


def test_only_readers_look(desk: Desk) -> None:
    job = desk.put()

    for look in (
        lambda who: desk.engine.peek(who, "q"),
        lambda who: desk.engine.get(who, "q", job.uid),
        lambda who: desk.engine.get(who, "q", LiveKey(job.uid)),
    ):
        assert refusal(look, READER) is None
        assert refusal(look, WRITER) is Forbidden
        assert refusal(look, STRANGER) is QueueNotFound


def test_a_job_is_got_as_time_has_left_it(desk: Desk) -> None:
    expired = desk.put(valid_for_ms=1000)
    lost = desk.held(priority=90, terms=ONCE)
    desk.clock.advance(minutes=1)

    with pytest.raises(JobNotFound):
        desk.engine.get(READER, "q", expired.uid)
    seen = desk.engine.get(READER, "q", lost.uid)

    assert (seen.state, seen.reason) == (State.FAILED, "lease_lost")
    assert desk.row(lost) == lost


def test_what_was_handed_out_to_nobody_is_as_it_was(desk: Desk) -> None:
    first, second = desk.put(terms=ONCE), desk.put(terms=ONCE)
    taken = desk.engine.claim(ME, "q", 2)
    desk.engine.complete(ME, "q", second.uid)

    desk.engine.take_back(taken)

    row = desk.row(first)
    assert row is not None
    assert (row.state, row.attempt, row.run_at) == (State.QUEUED, 0, first.run_at)
    assert desk.engine.get(ME, "q", second.uid).state is State.COMPLETE
