"""New jobs: whether they may be queued, and what to do about those that are there.

A part of the engine, which is the door.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from jobengine.core import lifecycle
from jobengine.core.access import Caller
from jobengine.core.job import INPROGRESS, Job, NewJob
from jobengine.core.queues import MadeQueue, QueueRules, Rulebook
from jobengine.errors import DuplicateJob, Refused, Unavailable
from jobengine.gate import Gate
from jobengine.store.port import Store, Ticket, Transaction
from jobengine.upkeep import let_pass


class Conflict(Enum):
    """What to do about a live job of the same unique key."""

    REFUSE = "unique"
    KEEP = "ignore"
    REPLACE = "replace"


class Receipt:
    """What a verb that was given one says of its commit, once that is durable."""

    ticket: Ticket | None = None

    @property
    def commit(self) -> tuple[int, int] | None:
        """(epoch, seq); None: nothing was written, or it is not durable yet."""
        return None if self.ticket is None else self.ticket.commit


class Intake(Gate):
    """The verbs that bring jobs in.

    Verbs that write take a *receipt* from callers that want to know their commit.
    """

    def __init__(
        self,
        store: Store,
        *,
        new_uid: Callable[[], str],
        new_uids: Callable[[], Iterator[str]],
        rules: Rulebook,
    ) -> None:
        super().__init__(rules)
        self._store = store
        self._new_uid = new_uid
        self._new_uids = new_uids  # for one transaction, and no longer

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
            DuplicateJob: one of its unique key is there.
            InvalidJob, JobTooLarge, TransactionTooLarge: it cannot be kept as it is.
            QueueFull, MemoryFull: there is no room for it.
        """
        with self._store.transaction() as tx:
            # Within the block, where no reload can take the queue away meanwhile.
            rules = self.admit_writer(tx, caller, queue)
            job = self._add(tx, rules, new, Conflict.REFUSE, self._new_uid)
            if rules.name not in self.rules.queues:
                self.use([rules])
        note(receipt, tx)
        assert job is not None, "it would have been refused"
        return job

    def enqueue_batch(
        self,
        caller: Caller,
        news: Iterable[tuple[str, NewJob]],
        *,
        conflict: Conflict = Conflict.REFUSE,
        receipt: Receipt | None = None,
    ) -> list[Job | None]:
        """Queue all these jobs, or none; None stands for what is there and is kept.

        Raises:
            As `enqueue`, for the first that cannot be queued.
        """
        with self._store.transaction() as tx:
            jobs = self.add_all(tx, caller, news, conflict)
        note(receipt, tx)
        return jobs

    def enqueue_each(
        self,
        caller: Caller,
        news: Iterable[tuple[str, NewJob]],
        *,
        conflict: Conflict = Conflict.REFUSE,
        receipt: Receipt | None = None,
    ) -> list[Job | Refused | Unavailable | None]:
        """Queue those of these jobs that can be; an error stands for each other."""
        with self._store.transaction() as tx:
            jobs = [self._try(tx, caller, *new, conflict) for new in news]
        note(receipt, tx)
        return jobs

    def _try(
        self,
        tx: Transaction,
        caller: Caller,
        queue: str,
        new: NewJob,
        conflict: Conflict,
    ) -> Job | Refused | Unavailable | None:
        try:
            return self.add_all(tx, caller, [(queue, new)], conflict)[0]
        except (Refused, Unavailable) as error:
            # A queue that was to be made for a job that is refused is not made.
            made = tx.record(MadeQueue, queue)
            if made is not None and queue not in self.rules.queues:
                tx.drop_record(made)
            return error

    def add_all(
        self,
        tx: Transaction,
        caller: Caller,
        news: Iterable[tuple[str, NewJob]],
        conflict: Conflict,
    ) -> list[Job | None]:
        """What `enqueue_batch` does, in a transaction that does nothing after it."""
        known: dict[str, QueueRules] = {}
        new_uid = self._new_uids().__next__
        jobs = []
        for queue, new in news:
            rules = known.get(queue)
            if rules is None:
                rules = known[queue] = self.admit_writer(tx, caller, queue)
            jobs.append(self._add(tx, rules, new, conflict, new_uid))
        # What `admit_writer` has made is in force from the end of the block on.
        made = known.keys() - self.rules.queues.keys()
        if made:
            self.use(known[name] for name in made)
        return jobs

    def _add(
        self,
        tx: Transaction,
        rules: QueueRules,
        new: NewJob,
        conflict: Conflict,
        new_uid: Callable[[], str],
    ) -> Job | None:
        queue, now = rules.name, tx.now
        there = None
        if new.unique_key is not None:
            there = at_last(tx, rules, tx.find(queue, new.unique_key))
        if there is not None and conflict is Conflict.KEEP:
            return None
        if there is not None and conflict is Conflict.REFUSE:
            raise DuplicateJob(
                f"queue {queue!r} has a live job of this unique key: {there.uid}"
            )
        self.check_room(tx, rules, len(new.content), there)
        if there is not None:
            job = lifecycle.overwrite(there, new, now=now)
            tx.put(job)
            return job
        job = lifecycle.create(
            new, uid=new_uid(), queue=queue, seq=tx.next_seq(), now=now
        )
        tx.add(job)
        return job


def at_last(tx: Transaction, rules: QueueRules, job: Job | None) -> Job | None:
    """The job, where time has left it live; else its key is free."""
    after = job and let_pass(tx, job, rules)
    return after if after is not None and after.state <= INPROGRESS else None


def ring_for(tx: Transaction, rules: QueueRules, uid: str) -> None:
    """Where only so many may be in progress, the end of one is the turn of another.

    To be called before the job's row is changed: time may have ended its run unseen.
    """
    if rules.max_inprogress is not None:
        job = tx.get(rules.name, uid)
        if job is not None and job.state is INPROGRESS:
            tx.ring(rules.name)


def note(receipt: Receipt | None, tx: Transaction) -> None:
    if receipt is not None:
        receipt.ticket = tx.ticket
