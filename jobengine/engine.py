"""The one door: what a caller may have done to jobs. No wire words, no files.

The caller is always the first argument, and every verb asks first whether it may. A
verb returns, or refuses, only when what it tells is durable: that is the store's first
law. The door has four leaves: intake.py brings jobs in, reports.py has the verbs of
those who hold one, views.py what can be seen, the others are here. What is done to
whole queues is in admin.py.
"""

from collections.abc import Callable

from jobengine.core import lifecycle
from jobengine.core.access import READ, WRITE, Caller, Right, by_key, holds, opens
from jobengine.core.job import CANCELLED, INPROGRESS, QUEUED, Change, Job
from jobengine.core.queues import NAME_CHARS_MAX, QueueRules
from jobengine.errors import PreconditionFailed, QueueNotFound, WrongKey
from jobengine.gate import forbidden
from jobengine.intake import Conflict, Kept, Receipt, note, ring_for
from jobengine.reports import (
    LiveKey,
    Outcome,
    Ref,
    Said,
    check_lease,
    keep,
    present,
    was_cancelled,
)
from jobengine.store.port import Transaction
from jobengine.upkeep import sweep_in
from jobengine.views import Seen, Stats, Views, in_one_answer, offered

__all__ = [
    "Conflict",
    "Engine",
    "Kept",
    "LiveKey",
    "Receipt",
    "Ref",
    "Said",
    "Seen",
    "Stats",
    "in_one_answer",
    "keep",
    "ring_for",
]

# Due rows a claim settles at a time when it finds nothing to hand out.
CLAIM_SWEEP = 100

# Of payloads and progress, handed out at once: an answer is made whole, in memory,
# while everybody waits. No body that can be sent is larger.
CLAIM_BYTES = 8 << 20


class Engine(Views):
    """The queues, as one caller at a time may use them."""

    def claim(
        self,
        caller: Caller,
        queue: str,
        limit: int = 1,
        *,
        receipt: Receipt | None = None,
    ) -> list[Job]:
        """Take up to *limit* jobs, each under a lease of its own, but for the first no
        more than CLAIM_BYTES of them; [] if there is none, or none to be handed out.

        Raises:
            QueueNotFound, Forbidden: the caller may not read the queue.
        """
        if self.sees_empty(caller, queue):
            return []
        while True:
            with self._store.transaction() as tx:
                rules = self.admit(caller, queue, READ)
                ready = in_one_answer(offered(tx, rules, limit), CLAIM_BYTES)
                few = len(ready) == 1
                new_token = self._new_uid if few else self._new_uids().__next__
                taken = [
                    lifecycle.claim(
                        job,
                        now=tx.now,
                        token=new_token(),
                        holder=caller.name,
                        rules=rules,
                    )
                    for job in ready
                ]
                tx.put(*taken)
                # A lost lease that the sweeper has not met may be handed out as well:
                # look for it a part at a time, since one frame might not hold them all.
                swept = None if taken else sweep_in(tx, self.rules, CLAIM_SWEEP)
            if not swept:
                note(receipt, tx)
                return taken

    def take_back(self, jobs: list[Job]) -> None:
        """Queue again, as if never claimed, what was handed out to nobody."""
        with self._store.transaction() as tx:
            for job in jobs:
                now = tx.get(job.queue, job.uid)
                # Whatever has happened to it since is somebody's will.
                if now is not None and now.lease == job.lease:
                    rules = self.rules.queues.get(job.queue) or QueueRules(job.queue)
                    tx.put(lifecycle.release(now, now=tx.now, rules=rules))

    # --- what writers may do ----------------------------------------------------

    def update(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        change: Change,
        *,
        lease: str | None = None,
        receipt: Receipt | None = None,
    ) -> Job:
        """Change a job: a holder's bare state settles it, a writer may set anything.

        *lease* fences: where it is shown, it must be the one that holds the job now.

        Raises:
            QueueNotFound, JobNotFound: the caller cannot see such a job.
            Forbidden: it neither writes to the queue nor holds the job (D1).
            StaleLease: the job went on to somebody else, or ended.
            JobCancelled: a bare state came too late.
        """
        with self._store.transaction() as tx:
            rules, held = self.seen(caller, queue)
            if not self._may_update(held, change):
                raise forbidden(caller, queue, WRITE)
            job = present(tx, rules, ref)
            if lease is not None:
                check_lease(job, lease)
            if change.content is not None:
                self.check_room(tx, rules, len(change.content), job)
            settle = _settling(caller, held, job, change)
            if settle is not None:
                after = settle(job, now=tx.now, rules=rules)
            else:
                after = self._overridden(tx, caller, rules, job, change)
            if after is not job:
                keep(tx, rules, after)
        note(receipt, tx)
        return after

    def _overridden(
        self,
        tx: Transaction,
        caller: Caller,
        rules: QueueRules,
        job: Job,
        change: Change,
    ) -> Job:
        """The job as a writer wants it, who does not hold it."""
        if _too_late(job, change):
            raise was_cancelled(job)
        self.admit(caller, rules.name, WRITE)
        return lifecycle.update(
            job,
            change,
            now=tx.now,
            token=self._new_uid(),
            holder=caller.name,
            rules=rules,
        )

    def patch(
        self,
        caller: Caller,
        queue: str,
        uid: str,
        change: Change,
        *,
        when: Callable[[Job], bool] | None = None,
        receipt: Receipt | None = None,
    ) -> Job:
        """Change what a job says, and not its state, where *when* says so of it.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
            JobNotFound: there is no such job.
            PreconditionFailed: *when* says no.
            WrongState: it is finished.
            JobTooLarge, QueueFull, MemoryFull: its payload has grown, and there is no
                room for it.
        """
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, WRITE)
            job = present(tx, rules, uid)
            _check(job, when)
            after = lifecycle.patch(job, change, now=tx.now)
            if change.content is not None:
                self.check_room(tx, rules, len(change.content), job)
            keep(tx, rules, after)
        note(receipt, tx)
        return after

    def _may_update(self, held: frozenset[Right], change: Change) -> bool:
        if WRITE in held:
            return True
        return not self.rules.strict_acl and change.state_alone

    def delete(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        *,
        when: Callable[[Job], bool] | None = None,
        receipt: Receipt | None = None,
    ) -> None:
        """Forget a job, whatever its state, where *when* says so of it.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
            JobNotFound: there is no such job.
            PreconditionFailed: *when* says no.
        """
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, WRITE)
            job = present(tx, rules, ref)
            _check(job, when)
            ring_for(tx, rules, job.uid)
            tx.drop(job)
        note(receipt, tx)

    def cancel(
        self, caller: Caller, queue: str, ref: Ref, *, receipt: Receipt | None = None
    ) -> Job:
        """Nobody is to do the work any more; who is at it is told when it reports.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
            JobNotFound: there is no such job.
            WrongState: it is finished.
        """
        return self._written(caller, queue, ref, lifecycle.cancel, receipt)

    def retry(
        self, caller: Caller, queue: str, ref: Ref, *, receipt: Receipt | None = None
    ) -> Job:
        """A failed or cancelled job starts anew.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
            JobNotFound: there is no such job.
            WrongState: it is neither.
            DuplicateJob: another live job has its unique key by now.
        """
        return self._written(caller, queue, ref, lifecycle.retry, receipt)

    def _written(
        self,
        caller: Caller,
        queue: str,
        ref: Ref,
        outcome: Outcome,
        receipt: Receipt | None,
    ) -> Job:
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, WRITE)
            job = present(tx, rules, ref)
            after = outcome(job, now=tx.now, rules=rules)
            keep(tx, rules, after)
        note(receipt, tx)
        return after

    # --- queues with an access key ----------------------------------------------

    def unlock(self, queue: str, access_key: str) -> Caller:
        """Whoever shows the access key of a queue, as a caller.

        Raises:
            QueueNotFound: there is no queue of this name that has a key.
            WrongKey: this is not it.
        """
        rules = self.rules.queues.get(queue)
        made = None if rules is None else rules.made
        if made is None or made.digest is None:
            named = queue[:NAME_CHARS_MAX]
            raise QueueNotFound(f"no queue {named!r} that an access key opens")
        if not opens(access_key, made):
            raise WrongKey(f"this is not the access key of queue {queue!r}")
        return by_key(made)


def _check(job: Job, when: Callable[[Job], bool] | None) -> None:
    if when is not None and not when(job):
        raise PreconditionFailed(
            f"job {job.uid} has changed since: get it again, and see if it still holds"
        )


def _settling(
    caller: Caller, held: frozenset[Right], job: Job, change: Change
) -> lifecycle.Settle | None:
    """How the job's holder says what became of its run (D1); None: it is not that."""
    if (
        READ in held
        and change.state is not None
        and change.state_alone
        and job.state is INPROGRESS
        and holds(caller, job)
    ):
        return lifecycle.SETTLE.get(change.state)
    return None


def _too_late(job: Job, change: Change) -> bool:
    """Whether it is what a worker says that has not heard of the cancellation."""
    return job.state is CANCELLED and change.state_alone and change.state != QUEUED
