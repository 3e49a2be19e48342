"""What verbs and time make of a job. Pure: values in, values out.

`BECOMES` rules the verbs of whoever holds a job. `update` is a writer's override, any
state to any state (JE1-S1), and goes through `enter`. `tick` is what time alone does,
and `due_at` the instant at which it next does anything.
"""

from enum import IntEnum, auto
from typing import Protocol, TypeVar

from msgspec.structs import replace

from jobengine.core.job import (
    FINISHED,
    INSTANT_MAX,
    Change,
    Job,
    Lease,
    NewJob,
    State,
)
from jobengine.core.queues import QueueRules
from jobengine.errors import InvalidJob, WrongState


class Verb(IntEnum):
    """What a worker does with a job."""

    CLAIM = auto()
    BEAT = auto()
    COMPLETE = auto()
    FAIL = auto()
    RELEASE = auto()


BECOMES = {
    (State.QUEUED, Verb.CLAIM): State.INPROGRESS,
    (State.INPROGRESS, Verb.BEAT): State.INPROGRESS,
    (State.INPROGRESS, Verb.COMPLETE): State.COMPLETE,
    (State.INPROGRESS, Verb.FAIL): State.FAILED,
    (State.INPROGRESS, Verb.RELEASE): State.QUEUED,
}

# Why a failed job failed. A dead letter is a failed job with a reason.
LEASE_LOST = "lease_lost"
ATTEMPTS = "attempts"


def create(new: NewJob, *, uid: str, queue: str, seq: int, now: int) -> Job:
    """The queued job that *new* asks for.

    Raises:
        InvalidJob: it would expire after the year 9999.
    """
    expires_at = None if new.valid_for_ms is None else now + new.valid_for_ms
    if expires_at is not None and expires_at > INSTANT_MAX:
        raise InvalidJob(("valid_for", "must end before the year 10000"))
    return Job(
        uid,
        queue,
        seq,
        new.priority,
        State.QUEUED,
        new.content,
        now,
        now,
        now,
        expires_at,
        0,
        new.terms,
    )


def claim(job: Job, *, now: int, token: str, holder: str, rules: QueueRules) -> Job:
    """Hand the job to *holder* until the lease runs out.

    Raises:
        WrongState: it is not queued.
    """
    _may(job, Verb.CLAIM)
    return replace(
        job,
        state=State.INPROGRESS,
        attempt=job.attempt + 1,
        lease=Lease(token, holder, now + _lease_ms(job, rules), now),
        updated_at=now,
    )


def beat(job: Job, *, now: int, rules: QueueRules) -> Job:
    """The holder is alive: its lease starts over.

    Raises:
        WrongState: nobody holds it.
    """
    _may(job, Verb.BEAT)
    return _refreshed(replace(job, updated_at=now), now, rules)


def complete(job: Job, *, now: int, rules: QueueRules) -> Job:
    """The holder has done the work.

    Raises:
        WrongState: nobody holds it.
    """
    _may(job, Verb.COMPLETE)
    return _finished(job, State.COMPLETE, now, rules)


def fail(job: Job, *, now: int, rules: QueueRules) -> Job:
    """The holder could not do the work: another attempt, or failed for good.

    Raises:
        WrongState: nobody holds it.
    """
    _may(job, Verb.FAIL)
    return _retried_or_failed(job, ATTEMPTS, now, rules)


def release(job: Job, *, now: int, rules: QueueRules) -> Job:  # noqa: ARG001 a row of SETTLE
    """The holder gives the job back untouched: no attempt is used, its place is kept.

    Raises:
        WrongState: nobody holds it.
    """
    _may(job, Verb.RELEASE)
    return _requeued(job, now, attempt=job.attempt - 1)


class Settle(Protocol):
    """A verb of whoever holds a job."""

    def __call__(self, job: Job, *, now: int, rules: QueueRules) -> Job: ...


# What a holder's bare status means, by the state it names.
SETTLE: dict[State, Settle] = {
    State.INPROGRESS: beat,
    State.COMPLETE: complete,
    State.FAILED: fail,
    State.QUEUED: release,
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
    job = replace(
        job,
        priority=_or(change.priority, job.priority),
        content=_or(change.content, job.content),
        expires_at=_or(change.expires_at, job.expires_at),
        updated_at=now,
    )
    if change.state is None:
        return _refreshed(job, now, rules)
    return enter(job, change.state, now=now, token=token, holder=holder, rules=rules)


def enter(
    job: Job, state: State, *, now: int, token: str, holder: str, rules: QueueRules
) -> Job:
    """Put the job into *state* whatever it was: the one place where that is allowed.

    In progress, *holder* has it under a new lease; queued, it starts from nothing;
    finished, its keep begins. Its attempts are counted anew.
    """
    if state is State.QUEUED:
        return _requeued(job, now, attempt=0)
    if state in FINISHED:
        return _finished(job, state, now, rules)
    lease = Lease(token, holder, now + _lease_ms(job, rules), now)
    return replace(_requeued(job, now, attempt=1), state=state, lease=lease)


def tick(job: Job, *, now: int, rules: QueueRules) -> Job | None:
    """What time has made of the job by *now*: itself, a new row, or None if it is gone.

    A queued job past its expiry is gone (JE1-T2), a lost lease gives another attempt or
    a failed job (JE1-T3), a finished job is gone when its keep ends (JE1-T4).
    """
    while (due := due_at(job)) is not None and due <= now:
        if job.state is not State.INPROGRESS:
            return None
        # What a lost lease leaves may itself be past its expiry, or not be kept at all.
        job = _retried_or_failed(job, LEASE_LOST, now, rules)
    return job


def due_at(job: Job) -> int | None:
    """The next instant at which time alone changes the job; None: never."""
    if job.state is State.QUEUED:
        return job.expires_at
    if job.lease is not None:
        return job.lease.until
    return job.keep_until


_NOTHING = Change()
T = TypeVar("T")


def _or(wanted: T | None, present: T) -> T:
    return present if wanted is None else wanted


def _may(job: Job, verb: Verb) -> None:
    if (job.state, verb) not in BECOMES:
        raise WrongState(
            f"job {job.uid} is {job.state.name.lower()}: it cannot {verb.name.lower()}"
        )


def _lease_ms(job: Job, rules: QueueRules) -> int:
    return _or(job.terms.lease_ms, rules.lease_ms)


def _keep_ms(job: Job, rules: QueueRules) -> int:
    return _or(job.terms.keep_ms, rules.keep_ms)


def _refreshed(job: Job, now: int, rules: QueueRules) -> Job:
    """The job with its running lease or keep started over."""
    if job.lease is not None:
        lease = replace(job.lease, until=now + _lease_ms(job, rules))
        return replace(job, lease=lease)
    if job.state in FINISHED:
        return replace(job, keep_until=now + _keep_ms(job, rules))
    return job


def _requeued(job: Job, now: int, *, attempt: int) -> Job:
    """Queued again: run_at and seq stay, so it returns to its old place (D20)."""
    return replace(
        job,
        state=State.QUEUED,
        attempt=attempt,
        lease=None,
        finished_at=None,
        keep_until=None,
        reason=None,
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
        keep_until=now + _keep_ms(job, rules),
        reason=reason,
        updated_at=now,
    )


def _retried_or_failed(job: Job, reason: str, now: int, rules: QueueRules) -> Job:
    limit = job.terms.max_attempts
    if limit is None or job.attempt < limit:
        return _requeued(job, now, attempt=job.attempt)
    return _finished(job, State.FAILED, now, rules, reason)
