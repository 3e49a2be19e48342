"""What happened: told to listeners once it is durable, read off the rows themselves.

Pure, and quick: it runs for every change of every job. Knows no verb and no caller. A
change is what was there and what is there now, so a store that only finds and keeps
can say what happened to whoever listens.
"""

from collections.abc import Sequence
from enum import IntEnum, auto
from typing import TypeAlias

from jobengine.core.job import Job
from jobengine.core.lifecycle import due_at
from jobengine.core.once import Answer
from jobengine.core.queues import MadeQueue, PausedQueue, RemovedQueue
from jobengine.core.schedules import Schedule

Row: TypeAlias = Job | RemovedQueue | PausedQueue | MadeQueue | Schedule | Answer
Change: TypeAlias = tuple[Row | None, Row | None]
Changes: TypeAlias = Sequence[Change]


class Event(IntEnum):
    """What one change of one job was. The numbers are places in lists, and no more."""

    ENQUEUED = 0
    CLAIMED = auto()
    BEAT = auto()  # the holder said that it is alive
    COMPLETED = auto()
    FAILED = auto()
    CANCELLED = auto()
    RELEASED = auto()  # given back, without using an attempt
    RETRIED = auto()  # an attempt failed, and there is another
    RESCHEDULED = auto()  # its holder put it off: the run does not count
    OVERWRITTEN = auto()  # a new job of its unique key took its place
    LOST_RETRIED = auto()  # the lease ran out, and there is another attempt
    LOST_FAILED = auto()  # the lease ran out, and there is none
    EXPIRED = auto()  # nobody claimed it in time
    FORGOTTEN = auto()  # finished, and its keep has ended
    DELETED = auto()  # gone before its time: by a caller, or with its queue
    REVIVED = auto()  # it was finished, and is no more
    UPDATED = auto()  # changed otherwise


def event_of(old: Row | None, new: Row | None, now: int) -> Event | None:
    """What the change was, at the instant *now*; None: it was none of a job.

    Where a lease had run out before anything else befell the job, that is the event.
    """
    if not isinstance(new, Job):
        return _gone(old, now) if isinstance(old, Job) else None
    if not isinstance(old, Job):
        return _ENQUEUED
    lease = old.lease
    if lease is None:
        return _UNHELD[old.state][new.state] or _changed(old, new)
    # A holder's own change always comes while its lease runs: else time came first.
    if lease.until <= new.updated_at:
        return _LOST[new.state]
    return _HELD[new.state] or _kept_or_returned(old, new)


def waited_ms(old: Job, new: Job) -> int:
    """How long the job that *new* claims was there to be claimed.

    From its run_at, or from its last change where that is later, as relay has it.
    """
    # Calls of max() would take longer than all the rest.
    ready_at = old.run_at if old.run_at > old.updated_at else old.updated_at
    waited = new.updated_at - ready_at
    return waited if waited > 0 else 0


def ran_ms(old: Job, new: Job) -> int | None:
    """How long the run took that *new* settles; None: nobody had the job."""
    lease = old.lease
    return None if lease is None else new.updated_at - lease.since


def _gone(old: Job, now: int) -> Event:
    due = due_at(old)
    return _ENDED_BY_TIME[old.state] if due is not None and due <= now else _DELETED


def _kept_or_returned(old: Job, new: Job) -> Event:
    """What became of a held job that is not finished."""
    if new.lease is None:
        return _returned(old, new)
    assert old.lease is not None
    same = (
        old.lease.token == new.lease.token
        and old.content is new.content
        and old.priority == new.priority
        and old.expires_at == new.expires_at
        and old.run_at == new.run_at
    )
    return _BEAT if same else _UPDATED


def _returned(old: Job, new: Job) -> Event:
    """What became of a held job that is queued again."""
    if new.keys is not old.keys:
        return _OVERWRITTEN
    if new.attempt == old.attempt:
        return _RETRIED
    # A release takes the attempt back, and so does a writer who starts it anew.
    moved = new.run_at != old.run_at or new.terms is not old.terms
    return _RESCHEDULED if moved or _put_off(new) > _put_off(old) else _RELEASED


def _put_off(job: Job) -> int:
    return 0 if job.past is None else job.past.rescheduled


def _changed(old: Job, new: Job) -> Event:
    """What became of a job that was queued and still is."""
    # Keys are what its maker calls a job: no verb but a new job changes them.
    return _UPDATED if new.keys is old.keys else _OVERWRITTEN


# Members looked up in their class would cost more than all else here.
_ENQUEUED, _CLAIMED, _BEAT = Event.ENQUEUED, Event.CLAIMED, Event.BEAT
_RELEASED, _RETRIED, _UPDATED = Event.RELEASED, Event.RETRIED, Event.UPDATED
_REVIVED, _DELETED = Event.REVIVED, Event.DELETED
_RESCHEDULED, _OVERWRITTEN = Event.RESCHEDULED, Event.OVERWRITTEN
_FINISHED = (Event.COMPLETED, Event.FAILED, Event.CANCELLED)

# The tables are lists by state: it is a small number, and nothing is looked up quicker.
# Of jobs that nobody held, by the old and the new state; None: they do not say. One in
# progress always has a holder: it is here for its place in the list.
_FROM_QUEUED: list[Event | None] = [None, _CLAIMED, *_FINISHED]
_FROM_FINISHED: list[Event | None] = [_REVIVED, _REVIVED, *[_UPDATED] * 3]
_UNHELD = [_FROM_QUEUED, _FROM_QUEUED, *[_FROM_FINISHED] * 3]

# Of jobs that somebody held, by the new state; None: the state alone does not say.
_HELD = [None, None, *_FINISHED]
_LOST = [Event.LOST_RETRIED, *[Event.LOST_FAILED] * 4]

# Of jobs that are gone since their time had come, by the state they were in.
_ENDED_BY_TIME = [Event.EXPIRED, Event.LOST_FAILED, *[Event.FORGOTTEN] * 3]
