"""What the holder of a job says of it: that it is alive, how far it is, how it went.

A part of the engine, which is the door.
"""

from collections.abc import Iterable
from functools import partial
from typing import Protocol

from msgspec import Struct

from jobengine.core import lifecycle
from jobengine.core.access import READ, Caller, holds
from jobengine.core.job import (
    CANCELLED,
    INPROGRESS,
    KEY_CHARS_MAX,
    Job,
    NewJob,
    Renewal,
)
from jobengine.core.queues import QueueRules
from jobengine.errors import (
    Forbidden,
    JobCancelled,
    JobNotFound,
    Refused,
    StaleLease,
    Unavailable,
    WrongState,
)
from jobengine.intake import Conflict, Intake, Kept, Receipt, at_last, note, ring_for
from jobengine.store.port import Transaction


class LiveKey(Struct, frozen=True):
    """A job that is queued or in progress, by its unique key, or else by its uid."""

    text: str


class Said(Struct, frozen=True):
    """What a holder says of one of many jobs: *told* is its progress, or its result."""

    uid: str
    lease: str | None = None
    told: bytes | None = None


# How a job is named: by its uid, whatever its state, or by its key.
Ref = str | LiveKey


class Outcome(Protocol):
    """What a verb makes of a job."""

    def __call__(self, job: Job, *, now: int, rules: QueueRules) -> Job: ...


class Reports(Intake):
    """The verbs of whoever holds a job."""

    def report(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        outcome: Outcome,
        *,
        lease: str | None = None,
        receipt: Receipt | None = None,
    ) -> Job:
        """Make of a job that the caller holds what *outcome* makes of it.

        *lease* fences: where it is shown, it must be the one that holds the job now.
        Without, the name of the holder is the fence (D1).

        Raises:
            QueueNotFound, JobNotFound: the caller cannot see such a job.
            Forbidden: it may not read the queue, or somebody else holds the job.
            StaleLease: the job went on to somebody else, or ended.
            JobCancelled: it was cancelled meanwhile.
            WrongState: nobody holds it.
        """
        with self._store.transaction() as tx:
            # Within the block, where no reload can take the queue away meanwhile.
            rules = self.admit(caller, queue, READ)
            after = self._report(tx, caller, rules, ref, outcome, lease)
        note(receipt, tx)
        return after

    def _report(
        self,
        tx: Transaction,
        caller: Caller,
        rules: QueueRules,
        ref: Ref,
        outcome: Outcome,
        lease: str | None,
    ) -> Job:
        job = self._held(tx, caller, rules, ref, lease)
        after = outcome(job, now=tx.now, rules=rules)
        if after.content is not job.content:
            self.check_room(tx, rules, len(after.content), job)
        keep(tx, rules, after)
        return after

    def beat_each(
        self,
        caller: Caller,
        queue: str,
        said: Iterable[Said],
        *,
        receipt: Receipt | None = None,
    ) -> list[Job | Refused | Unavailable]:
        """The caller is still at all these; an error stands for each that it has no
        more. See `beat`.

        Raises:
            QueueNotFound, Forbidden: the caller may not read the queue.
        """
        outcomes = [(one, partial(lifecycle.beat, progress=one.told)) for one in said]
        return self._report_each(caller, queue, outcomes, receipt)

    def complete_each(
        self,
        caller: Caller,
        queue: str,
        said: Iterable[Said],
        *,
        receipt: Receipt | None = None,
    ) -> list[Job | Refused | Unavailable]:
        """The work on all these is done; an error stands for each that the caller has
        no more. See `complete`.

        Raises:
            QueueNotFound, Forbidden: the caller may not read the queue.
        """
        outcomes = [(one, partial(lifecycle.complete, result=one.told)) for one in said]
        return self._report_each(caller, queue, outcomes, receipt)

    def _report_each(
        self,
        caller: Caller,
        queue: str,
        outcomes: list[tuple[Said, "partial[Job]"]],
        receipt: Receipt | None,
    ) -> list[Job | Refused | Unavailable]:
        found: list[Job | Refused | Unavailable] = []
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, READ)
            for said, outcome in outcomes:
                try:
                    lease = said.lease
                    after = self._report(tx, caller, rules, said.uid, outcome, lease)
                except (Refused, Unavailable) as error:
                    found.append(error)
                else:
                    found.append(after)
        note(receipt, tx)
        return found

    def beat(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        *,
        progress: bytes | None = None,
        lease: str | None = None,
        receipt: Receipt | None = None,
    ) -> Job:
        """The caller is still at it: its lease starts over. See `report`.

        *progress* is JSON, kept with the job; null forgets what is kept.
        """
        outcome = partial(lifecycle.beat, progress=progress)
        return self.report(caller, queue, ref, outcome, lease=lease, receipt=receipt)

    def complete(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        *,
        result: bytes | None = None,
        lease: str | None = None,
        receipt: Receipt | None = None,
    ) -> Job:
        """The work is done. See `report`. *result* is JSON, kept with the job."""
        outcome: Outcome = lifecycle.complete
        if result is not None:
            outcome = partial(lifecycle.complete, result=result)
        return self.report(caller, queue, ref, outcome, lease=lease, receipt=receipt)

    def fail(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        *,
        error: str | None = None,
        reason: str = lifecycle.ATTEMPTS,
        retry_at: int | None = None,
        lease: str | None = None,
        receipt: Receipt | None = None,
    ) -> Job:
        """The work could not be done: another attempt, or a dead letter. See `report`.

        *reason* is one of lifecycle.FAILURES, or lifecycle.UNWANTED: then the job is
        cancelled. *error* says what went wrong.
        """
        outcome = partial(lifecycle.fail, error=error, reason=reason, retry_at=retry_at)
        return self.report(caller, queue, ref, outcome, lease=lease, receipt=receipt)

    def release(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        *,
        run_at: int | None = None,
        lease: str | None = None,
        receipt: Receipt | None = None,
    ) -> Job:
        """The caller gives the job back untouched: to its old place, or to wait until
        *run_at*. See `report`."""
        outcome = partial(lifecycle.release, run_at=run_at)
        return self.report(caller, queue, ref, outcome, lease=lease, receipt=receipt)

    def reschedule(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        renewal: Renewal,
        *,
        lease: str | None = None,
        receipt: Receipt | None = None,
    ) -> Job:
        """The job is to be run again, later or otherwise.

        Raises:
            As `report`; JobTooLarge, QueueFull, MemoryFull: its payload has grown, and
                there is no room for it.
        """
        outcome = partial(lifecycle.reschedule, renewal=renewal)
        return self.report(caller, queue, ref, outcome, lease=lease, receipt=receipt)

    def requeue(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        news: Iterable[tuple[str, NewJob]],
        *,
        conflict: Conflict = Conflict.REFUSE,
        lease: str | None = None,
        receipt: Receipt | None = None,
    ) -> list[Job | Kept]:
        """The work is done, and these jobs follow it: all of that, or nothing.

        Raises:
            As `report` and `enqueue_batch`.
        """
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, READ)
            job = self._held(tx, caller, rules, ref, lease)
            keep(tx, rules, lifecycle.complete(job, now=tx.now, rules=rules))
            jobs = self.add_all(tx, caller, list(news), conflict)
        note(receipt, tx)
        return jobs

    def _held(
        self,
        tx: Transaction,
        caller: Caller,
        rules: QueueRules,
        ref: Ref,
        lease: str | None,
    ) -> Job:
        job = present(tx, rules, ref)
        if lease is not None:
            check_lease(job, lease)
        elif not holds(caller, job):
            if job.lease is not None:
                raise Forbidden(f"job {job.uid} is held by another service")
            if job.state is CANCELLED:
                raise was_cancelled(job)
            raise WrongState(f"job {job.uid} is {job.state.name.lower()}: not held")
        return job


def present(tx: Transaction, rules: QueueRules, ref: Ref) -> Job:
    """The job as time has left it, whether or not the sweeper has been by."""
    if isinstance(ref, str):
        job = tx.get(rules.name, ref)
    else:
        job = tx.find(rules.name, ref.text) or tx.get(rules.name, ref.text)
    job = job and lifecycle.tick(job, now=tx.now, rules=rules)
    if job is None or (not isinstance(ref, str) and job.state > INPROGRESS):
        named = ref if isinstance(ref, str) else ref.text
        raise JobNotFound(f"queue {rules.name!r} has no job {named[:KEY_CHARS_MAX]}")
    return job


def keep(tx: Transaction, rules: QueueRules, after: Job) -> None:
    """Keep what became of a job, or nothing where it is not to be kept."""
    if after.state is not INPROGRESS:
        ring_for(tx, rules, after.uid)
    key = None if after.keys is None else after.keys.unique
    if key is not None and after.state <= INPROGRESS:
        # It may be the key of another that only nobody has noticed the end of.
        other = tx.find(rules.name, key)
        if other is not None and other.uid != after.uid:
            at_last(tx, rules, other)
    if after.keep_until is not None and after.keep_until <= tx.now:
        tx.bury(after)
    else:
        tx.put(after)


def check_lease(job: Job, token: str) -> None:
    if job.lease is not None and job.lease.token == token:
        return
    if job.state is CANCELLED:
        raise was_cancelled(job)
    raise StaleLease(
        f"job {job.uid} is no longer held under the lease shown: drop the work"
    )


def was_cancelled(job: Job) -> JobCancelled:
    return JobCancelled(f"job {job.uid} was cancelled: drop the work")
