"""What verbs and time make of a job. Pure: values in, values out.

`BECOMES` rules the verbs. `update` is a writer's override, any state to any state
(JE1-S1), and goes through `enter`. `tick` is what time alone does, and `due_at` the
instant at which it next does anything.
"""

from enum import IntEnum, auto
from typing import Protocol

from msgspec.structs import replace

from jobengine.core.agreed import (
    chosen,
    delay_ms,
    kept_until,
    leased_until,
    may_run_again,
    poison_after,
)
from jobengine.core.job import (
    CANCELLED,
    COMPLETE,
    FAILED,
    FINISHED,
    INPROGRESS,
    INSTANT_MAX,
    QUEUED,
    Change,
    Job,
    Keys,
    Lease,
    NewJob,
    Renewal,
    State,
    Terms,
    instant_faults,
    progress_faults,
)
from jobengine.core.past import Past, Run, as_told, forgiven, remember
from jobengine.core.queues import QueueRules
from jobengine.errors import InvalidJob, WrongState


class Verb(IntEnum):
    """What is done with a job: by its worker, and by a writer the last four."""

    CLAIM = auto()
    BEAT = auto()
    COMPLETE = auto()
    FAIL = auto()
    RELEASE = auto()
    RESCHEDULE = auto()
    OVERWRITE = auto()
    PATCH = auto()
    CANCEL = auto()
    RETRY = auto()


# With attempts left FAIL leads back to QUEUED, of what is UNWANTED to CANCELLED; one
# RESCHEDULE too many leads to FAILED.
BECOMES = {
    (QUEUED, Verb.CLAIM): INPROGRESS,
    (INPROGRESS, Verb.BEAT): INPROGRESS,
    (INPROGRESS, Verb.COMPLETE): COMPLETE,
    (INPROGRESS, Verb.FAIL): FAILED,
    (INPROGRESS, Verb.RELEASE): QUEUED,
    (INPROGRESS, Verb.RESCHEDULE): QUEUED,
    (QUEUED, Verb.OVERWRITE): QUEUED,
    (INPROGRESS, Verb.OVERWRITE): QUEUED,
    (QUEUED, Verb.PATCH): QUEUED,
    (INPROGRESS, Verb.PATCH): INPROGRESS,
    (QUEUED, Verb.CANCEL): CANCELLED,
    (INPROGRESS, Verb.CANCEL): CANCELLED,
    (FAILED, Verb.RETRY): QUEUED,
    (CANCELLED, Verb.RETRY): QUEUED,
}

# Why a failed job failed. A dead letter is a failed job with a reason.
LEASE_LOST = "lease_lost"
ATTEMPTS = "attempts"
POISON = "poison"
# What a worker may say of a run: all but the first leave no other attempt.
CRITICAL = "critical"
UNPROCESSABLE = "unprocessable"
FAILURES = (ATTEMPTS, CRITICAL, UNPROCESSABLE)
UNWANTED = "cancelled"  # no failure: nobody is to do the work any more

# How often a run may be put off without counting: then nobody wants it (SQ-R9).
RESCHEDULES_MAX = 100


def create(new: NewJob, *, uid: str, queue: str, seq: int, now: int) -> Job:
    """The queued job that *new* asks for.

    Raises:
        InvalidJob: it would begin or expire after the year 9999.
    """
    run_at, expires_at = new.times(now)
    return Job(
        uid,
        queue,
        seq,
        new.priority,
        QUEUED,
        new.content,
        now,
        now,
        run_at,
        expires_at,
        0,
        new.terms,
        None,
        None,
        None,
        None,
        new.keys,
        new.progress,
    )


def overwrite(job: Job, new: NewJob, *, now: int) -> Job:
    """The same job as if it had been made by *new*: whoever holds it loses it.

    Raises:
        WrongState: it is finished.
        InvalidJob: it would begin or expire after the year 9999.
    """
    _may(job, Verb.OVERWRITE)
    run_at, expires_at = new.times(now)
    return replace(
        _requeued(job, now, attempt=0),
        priority=new.priority,
        content=new.content,
        run_at=run_at,
        expires_at=expires_at,
        # What the file has of a job it keeps.
        terms=_durable(new.terms, job.terms.durable or new.terms.durable),
        keys=Keys(new.unique_key, new.fingerprint, new.trace),
        progress=new.progress,
        past=None,
    )


def claim(job: Job, *, now: int, token: str, holder: str, rules: QueueRules) -> Job:
    """Hand the job to *holder* until the lease runs out.

    Raises:
        WrongState: it is not queued.
    """
    _may(job, Verb.CLAIM)
    return replace(
        job,
        state=INPROGRESS,
        attempt=job.attempt + 1,
        lease=Lease(token, holder, leased_until(job, now, rules), now),
        updated_at=now,
    )


def beat(
    job: Job, *, now: int, rules: QueueRules, progress: bytes | None = None
) -> Job:
    """The holder is alive: its lease starts over. *progress*, where given, is how far
    it has come; JSON's null forgets that (D5).

    Raises:
        WrongState: nobody holds it.
        InvalidJob: it has come too far to tell.
    """
    _may(job, Verb.BEAT)
    if progress is not None:
        if faults := progress_faults(progress):
            raise InvalidJob(*faults)
        job = replace(job, progress=None if progress == b"null" else progress)
    return _refreshed(replace(job, updated_at=now), now, rules)


def complete(
    job: Job, *, now: int, rules: QueueRules, result: bytes | None = None
) -> Job:
    """The holder has done the work; *result* is what came of it, and takes the place of
    its progress.

    Raises:
        WrongState: nobody holds it.
        InvalidJob: more came of it than is kept.
    """
    _may(job, Verb.COMPLETE)
    if result is not None:
        if faults := progress_faults(result, "result"):
            raise InvalidJob(*faults)
        job = replace(job, progress=None, result=result)
    return _finished(job, COMPLETE, now, rules)


def fail(
    job: Job,
    *,
    now: int,
    rules: QueueRules,
    reason: str = ATTEMPTS,
    error: str | None = None,
    retry_at: int | None = None,
) -> Job:
    """The holder could not do the work: another attempt, or failed for good; where it
    is UNWANTED, cancelled.

    The next attempt waits until *retry_at*, where that is given, or backs off.

    Raises:
        WrongState: nobody holds it.
        InvalidJob: *retry_at* is no instant.
    """
    _may(job, Verb.FAIL)
    if faults := instant_faults("retry_at", retry_at):
        raise InvalidJob(*faults)
    # A worker that can tell what went wrong has not crashed: the row of crashes ends.
    job = _went_wrong(job, reason, now, error, lost=0)
    if reason == UNWANTED:
        return _finished(job, CANCELLED, now, rules)
    if reason != ATTEMPTS or not may_run_again(job, rules):
        return _finished(job, FAILED, now, rules, reason)
    return _backed_off(job, now, rules, retry_at)


def release(
    job: Job,
    *,
    now: int,
    rules: QueueRules,  # noqa: ARG001 a row of SETTLE
    run_at: int | None = None,
) -> Job:
    """The holder gives the job back untouched: no attempt is used. Its place is kept,
    but where it is to wait until *run_at*.

    Raises:
        WrongState: nobody holds it.
        InvalidJob: *run_at* is no instant.
    """
    _may(job, Verb.RELEASE)
    if faults := instant_faults("run_at", run_at):
        raise InvalidJob(*faults)
    again = _requeued(job, now, attempt=job.attempt - 1)
    return again if run_at is None else replace(again, run_at=run_at)


def reschedule(job: Job, renewal: Renewal, *, now: int, rules: QueueRules) -> Job:
    """The holder wants it to be run again, later or otherwise.

    With new terms it starts anew (RL-7). Without, the run does not count, it waits no
    less than it would after a failure (SQ-R4), and the RESCHEDULES_MAXth time it is
    poison (SQ-R9).

    Raises:
        WrongState: nobody holds it.
    """
    _may(job, Verb.RESCHEDULE)
    run_at = now if renewal.run_at is None else renewal.run_at
    content = job.content if renewal.content is None else renewal.content
    if renewal.terms is not None:
        return replace(
            _requeued(job, now, attempt=0),
            run_at=run_at,
            content=content,
            progress=renewal.progress,
            terms=_durable(renewal.terms, job.terms.durable),
            past=None,
        )
    past = job.past or Past()
    past = replace(past, rescheduled=past.rescheduled + 1, lost=0)
    wait = delay_ms(job, rules)
    job = replace(
        job,
        past=past,
        content=content,
        progress=chosen(renewal.progress, job.progress),
        run_at=max(run_at, min(now + wait, INSTANT_MAX)) if wait else run_at,
    )
    if past.rescheduled >= RESCHEDULES_MAX and poison_after(job, rules) is not None:
        return _finished(job, FAILED, now, rules, POISON)
    return _requeued(job, now, attempt=job.attempt - 1)


def cancel(job: Job, *, now: int, rules: QueueRules) -> Job:
    """Nobody is to do the work any more. Who is at it learns so when it next reports.

    Raises:
        WrongState: it is finished.
    """
    _may(job, Verb.CANCEL)
    return _finished(job, CANCELLED, now, rules)


def retry(job: Job, *, now: int, rules: QueueRules) -> Job:  # noqa: ARG001 as all verbs
    """A dead letter, or a cancelled job, starts from nothing; its past is remembered.

    Where it would have expired by now, its time starts over.

    Raises:
        WrongState: it is neither.
    """
    _may(job, Verb.RETRY)
    expires_at = job.expires_at
    if expires_at is not None and expires_at <= now:
        expires_at = min(now + max(expires_at - job.created_at, 1), INSTANT_MAX)
    return replace(
        _requeued(job, now, attempt=0),
        expires_at=expires_at,
        run_at=min(job.run_at, now),
        past=forgiven(job.past),
    )


class Settle(Protocol):
    """A verb of whoever holds a job."""

    def __call__(self, job: Job, *, now: int, rules: QueueRules) -> Job: ...


# What a holder's bare status means, by the state it names.
SETTLE: dict[State, Settle] = {
    INPROGRESS: beat,
    COMPLETE: complete,
    FAILED: fail,
    QUEUED: release,
}


def update(
    job: Job, change: Change, *, now: int, token: str, holder: str, rules: QueueRules
) -> Job:
    """The job as a writer wants it. An empty change returns *job* itself (JE1-V7).

    Whatever is applied moves `updated_at`, and with it a running lease or keep: an
    update is a heartbeat too (JE1-T7).
    """
    if change == _NOTHING:
        return job
    job = replace(_changed(job, change), updated_at=now)
    if change.state is None:
        return _refreshed(job, now, rules)
    return enter(job, change.state, now=now, token=token, holder=holder, rules=rules)


def patch(job: Job, change: Change, *, now: int) -> Job:
    """The job with what *change* says but for a state. Its lease goes on as it is.

    Raises:
        WrongState: it is finished.
    """
    _may(job, Verb.PATCH)
    return replace(_changed(job, change), updated_at=now)


def enter(
    job: Job, state: State, *, now: int, token: str, holder: str, rules: QueueRules
) -> Job:
    """Put the job into *state* whatever it was: the one place where that is allowed.

    In progress, *holder* has it under a new lease; queued, it starts from nothing;
    finished, its keep begins. Its attempts are counted anew, and what went wrong.
    """
    job = replace(job, past=forgiven(job.past))
    if state is QUEUED:
        return _requeued(job, now, attempt=0)
    if state in FINISHED:
        return _finished(job, state, now, rules)
    lease = Lease(token, holder, leased_until(job, now, rules), now)
    return replace(_requeued(job, now, attempt=1), state=state, lease=lease)


def tick(job: Job, *, now: int, rules: QueueRules) -> Job | None:
    """What time has made of the job by *now*: itself, a new row, or None if it is gone.

    A queued job past its expiry is gone (JE1-T2), a lost lease gives another attempt or
    a failed job (JE1-T3), a finished job is gone when its keep ends (JE1-T4).
    """
    while (due := due_at(job)) is not None and due <= now:
        if job.state is not INPROGRESS:
            return None
        # What a lost lease leaves may itself be past its expiry, or not be kept at all.
        job = lost(job, now=now, rules=rules)
    return job


def due_at(job: Job) -> int | None:
    """The next instant at which time alone changes the job; None: never."""
    if job.state is QUEUED:
        return job.expires_at
    if job.lease is not None:
        return job.lease.until
    return job.keep_until


_NOTHING = Change()


def _changed(job: Job, change: Change) -> Job:
    return replace(
        job,
        priority=chosen(change.priority, job.priority),
        content=chosen(change.content, job.content),
        expires_at=chosen(change.expires_at, job.expires_at),
        run_at=chosen(change.run_at, job.run_at),
    )


def _may(job: Job, verb: Verb) -> None:
    if (job.state, verb) not in BECOMES:
        raise WrongState(
            f"job {job.uid} is {job.state.name.lower()}: it cannot {verb.name.lower()}"
        )


def _refreshed(job: Job, now: int, rules: QueueRules) -> Job:
    """The job with its running lease or keep started over."""
    if job.lease is not None:
        return replace(
            job, lease=replace(job.lease, until=leased_until(job, now, rules))
        )
    if job.state in FINISHED:
        return replace(job, keep_until=kept_until(job, job.state, now, rules))
    return job


def _requeued(job: Job, now: int, *, attempt: int) -> Job:
    """Queued again: run_at and seq stay, so it returns to its old place (D20)."""
    return replace(
        job,
        state=QUEUED,
        attempt=attempt,
        lease=None,
        finished_at=None,
        keep_until=None,
        reason=None,
        result=None,
        updated_at=now,
    )


def _finished(
    job: Job, state: State, now: int, rules: QueueRules, reason: str | None = None
) -> Job:
    # Fixed here, so that a reload moves only jobs that finish after it (D30).
    return replace(
        job,
        state=state,
        lease=None,
        finished_at=now,
        keep_until=kept_until(job, state, now, rules),
        reason=reason,
        updated_at=now,
    )


def lost(job: Job, *, now: int, rules: QueueRules) -> Job:
    """The lease ran out: another attempt, or failed for good."""
    row = 1 + (job.past.lost if job.past else 0)
    again, limit = may_run_again(job, rules), poison_after(job, rules)
    poison = again and limit is not None and row >= limit
    reason = POISON if poison else LEASE_LOST
    job = _went_wrong(job, reason, now, None, lost=row)
    if poison or not again:
        return _finished(job, FAILED, now, rules, reason)
    return _backed_off(job, now, rules)


def _backed_off(
    job: Job, now: int, rules: QueueRules, retry_at: int | None = None
) -> Job:
    """Queued again after its wait; where there is none, in its old place (RL-9)."""
    if retry_at is None and (wait := delay_ms(job, rules)):
        retry_at = min(now + wait, INSTANT_MAX)
    again = _requeued(job, now, attempt=job.attempt)
    return again if retry_at is None else replace(again, run_at=retry_at)


def _went_wrong(
    job: Job, outcome: str, now: int, error: str | None, *, lost: int
) -> Job:
    """The job, remembering a run that ends now."""
    assert job.lease is not None
    run = Run(job.attempt, job.lease.since, now, outcome, as_told(error))
    return replace(job, past=remember(job.past, run, lost=lost))


def _durable(terms: Terms, durable: bool) -> Terms:
    return terms if terms.durable == durable else replace(terms, durable=durable)
