"""The one door: what a caller may have done to jobs. No wire words, no files.

The caller is always the first argument, and every verb asks first whether it may. A
verb returns, or refuses, only when what it tells is durable: that is the store's first
law.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice

from jobengine.core import lifecycle
from jobengine.core.access import READ, WRITE, Caller, Right, allows, holds, rights
from jobengine.core.job import INPROGRESS, Change, Job, NewJob
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.errors import Forbidden, JobNotFound, QueueNotFound, StaleLease
from jobengine.store.port import Store, Ticket, Transaction
from jobengine.upkeep import sweep_in

# Work done on a listing between two pauses: about half a millisecond.
LISTING_SLICE = 500

# Due rows a claim settles at a time when it finds nothing to hand out.
CLAIM_SWEEP = 100


class Receipt:
    """What a verb that was given one says of its commit, once that is durable."""

    ticket: Ticket | None = None

    @property
    def commit(self) -> tuple[int, int] | None:
        """(epoch, seq); None: nothing was written, or it is not durable yet."""
        return None if self.ticket is None else self.ticket.commit


class Engine:
    """The queues, as one caller at a time may use them.

    Verbs that write take a *receipt* from callers that want to know their commit.
    """

    def __init__(
        self, store: Store, *, new_uid: Callable[[], str], rules: Rulebook
    ) -> None:
        self._store = store
        self._new_uid = new_uid
        self.rules = rules  # swapped whole by upkeep.reconfigure

    def check(self, caller: Caller, queue: str) -> frozenset[Right]:
        """The caller's rights on the queue.

        Raises:
            QueueNotFound: there is no such queue, or none it may know of.
        """
        return self._seen(caller, queue)[1]

    def enqueue(
        self,
        caller: Caller,
        queue: str,
        new: NewJob,
        *,
        receipt: Receipt | None = None,
    ) -> Job:
        """Queue a job.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
            InvalidJob, TransactionTooLarge: the job cannot be kept as it is.
        """
        with self._store.transaction() as tx:
            # Within the block, where no reload can take the queue away meanwhile.
            self._admit(caller, queue, WRITE)
            job = lifecycle.create(
                new, uid=self._new_uid(), queue=queue, seq=tx.next_seq(), now=tx.now
            )
            tx.add(job)
        _note(receipt, tx)
        return job

    def claim(
        self,
        caller: Caller,
        queue: str,
        limit: int = 1,
        *,
        receipt: Receipt | None = None,
    ) -> list[Job]:
        """Take up to *limit* jobs, each under a lease of its own; [] if there is none.

        Raises:
            QueueNotFound, Forbidden: the caller may not read the queue.
        """
        rules = self._admit(caller, queue, READ)
        while True:
            with self._store.transaction() as tx:
                taken = [
                    lifecycle.claim(
                        job,
                        now=tx.now,
                        token=self._new_uid(),
                        holder=caller.name,
                        rules=rules,
                    )
                    for job in tx.ready(queue, limit)
                ]
                tx.put(*taken)
                # A lost lease that the sweeper has not met may be handed out as well:
                # look for it a part at a time, since one frame might not hold them all.
                swept = None if taken else sweep_in(tx, self.rules, CLAIM_SWEEP)
            if not swept:
                _note(receipt, tx)
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

    def update(
        self,
        caller: Caller,
        queue: str,
        uid: str,
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
        """
        rules, held = self._seen(caller, queue)
        if not self._may_update(held, change):
            raise _forbidden(caller, queue, WRITE)
        with self._store.transaction() as tx:
            job = self._present(tx, rules, uid)
            if lease is not None and (job.lease is None or job.lease.token != lease):
                raise StaleLease(
                    f"job {uid} is no longer held under the lease shown: drop the work"
                )
            settle = _settling(caller, held, job, change)
            if settle is not None:
                after = settle(job, now=tx.now, rules=rules)
            elif WRITE in held:
                after = self._overridden(caller, job, change, tx.now, rules)
            else:
                raise _forbidden(caller, queue, WRITE)
            if after is not job:
                tx.put(after)
        _note(receipt, tx)
        return after

    def delete(
        self, caller: Caller, queue: str, uid: str, *, receipt: Receipt | None = None
    ) -> None:
        """Forget a job, whatever its state.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
            JobNotFound: there is no such job.
        """
        rules = self._admit(caller, queue, WRITE)
        with self._store.transaction() as tx:
            tx.drop(self._present(tx, rules, uid))
        _note(receipt, tx)

    def listing(self, caller: Caller, queue: str) -> "Listing":
        """The queue's jobs as they stand now.

        Raises:
            QueueNotFound, Forbidden: the caller may not read the queue.
        """
        rules = self._admit(caller, queue, READ)
        with self._store.transaction() as tx:
            return Listing(tx.jobs(queue), now=tx.now, rules=rules)

    def _seen(self, caller: Caller, queue: str) -> tuple[QueueRules, frozenset[Right]]:
        rules = self.rules.queues.get(queue)
        held = frozenset() if rules is None else rights(caller, rules)
        if rules is None or not held:
            # The same words for both: a caller without rights must not learn which.
            raise QueueNotFound(
                f"no queue {queue!r} for {caller.name!r}: "
                "config.yml lists the queues and who may use them"
            )
        return rules, held

    def _admit(self, caller: Caller, queue: str, right: Right) -> QueueRules:
        rules = self.rules.queues.get(queue)
        if rules is None or not allows(caller, rules, right):
            self._seen(caller, queue)
            raise _forbidden(caller, queue, right)
        return rules

    def _overridden(
        self, caller: Caller, job: Job, change: Change, now: int, rules: QueueRules
    ) -> Job:
        return lifecycle.update(
            job,
            change,
            now=now,
            token=self._new_uid(),
            holder=caller.name,
            rules=rules,
        )

    def _may_update(self, held: frozenset[Right], change: Change) -> bool:
        if WRITE in held:
            return True
        return not self.rules.strict_acl and change.state_alone

    def _present(self, tx: Transaction, rules: QueueRules, uid: str) -> Job:
        """The job as time has left it, whether or not the sweeper has been by."""
        job = tx.get(rules.name, uid)
        job = job and lifecycle.tick(job, now=tx.now, rules=rules)
        if job is None:
            raise JobNotFound(f"queue {rules.name!r} has no job {uid}")
        return job


class Listing:
    """A queue's jobs at one instant, in order, worked out a slice at a time.

    Iterating gives lists of (place in the whole queue, job). Every slice is bounded
    work, so whoever iterates can pause in between; a slice may be empty.
    """

    def __init__(self, jobs: list[Job], *, now: int, rules: QueueRules) -> None:
        self._jobs = jobs
        self._now = now
        self._rules = rules

    def __iter__(self) -> Iterator[list[tuple[int, Job]]]:
        by_priority: dict[int, list[Job]] = defaultdict(list)
        for part in _parts(self._jobs):
            for job in part:
                # Time is applied to the view alone: reading changes nothing.
                seen = lifecycle.tick(job, now=self._now, rules=self._rules)
                if seen is not None:
                    by_priority[seen.priority].append(seen)
            yield []
        place = 0
        for priority in sorted(by_priority, reverse=True):
            # Nearly sorted already, which costs the sort next to nothing.
            lane = sorted(by_priority.pop(priority), key=lambda j: (j.run_at, j.seq))
            for part in _parts(lane):
                yield list(enumerate(part, place))
                place += len(part)


def _parts(jobs: list[Job]) -> Iterator[list[Job]]:
    rest = iter(jobs)
    while part := list(islice(rest, LISTING_SLICE)):
        yield part


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


def _note(receipt: Receipt | None, tx: Transaction) -> None:
    if receipt is not None:
        receipt.ticket = tx.ticket


def _forbidden(caller: Caller, queue: str, right: Right) -> Forbidden:
    return Forbidden(
        f"queue {queue!r} refuses {caller.name!r}: it has no {right.name.lower()} right"
    )
