"""New jobs: whether they may be queued, and what to do about those that are there.

A part of the engine, which is the door.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

from msgspec import Struct

from jobengine.core import lifecycle
from jobengine.core.access import Caller
from jobengine.core.job import INPROGRESS, Job, NewJob
from jobengine.core.once import ANSWER_BYTES_MAX, ANSWERS_MAX, Answer, Once
from jobengine.core.queues import MadeQueue, QueueRules, Rulebook
from jobengine.errors import (
    DuplicateJob,
    JobEngineError,
    KeyReused,
    MemoryFull,
    Refused,
    TransactionTooLarge,
    Unavailable,
)
from jobengine.gate import Gate
from jobengine.store.port import Store, Ticket, Transaction
from jobengine.upkeep import let_pass


class Conflict(Enum):
    """What to do about a live job of the same unique key."""

    REFUSE = "unique"
    KEEP = "ignore"
    REPLACE = "replace"


class Kept(Struct, frozen=True):
    """What is there, and was kept, where a new job was asked for."""

    job: Job


class Receipt:
    """What a verb that was given one says of its commit, once that is durable."""

    ticket: Ticket | None = None

    @property
    def commit(self) -> tuple[int, int] | None:
        """(epoch, seq); None: nothing was written, or it is not durable yet."""
        return None if self.ticket is None else self.ticket.commit


class Intake(Gate):
    """The verbs that bring jobs in.

    Verbs that write take a *receipt* from callers that want to know their commit. With
    *once*, what was done before is not done again: `once.answer` says what was answered
    then, and what the verb gives back is nothing.
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
        assert isinstance(job, Job), "it would have been refused"
        return job

    def enqueue_batch(
        self,
        caller: Caller,
        news: Iterable[tuple[str, NewJob]],
        *,
        conflict: Conflict = Conflict.REFUSE,
        receipt: Receipt | None = None,
        once: Once | None = None,
    ) -> list[Job | Kept]:
        """Queue all these jobs, or none.

        Raises:
            As `enqueue`, for the first that cannot be queued.
            KeyReused: something else was asked for with the key of *once*.
        """
        news = list(news)
        with self._store.transaction() as tx:
            if self._was_done(tx, once, caller, news):
                return []
            before = self.rules
            jobs = self.add_all(tx, caller, news, conflict)
            self._remember_jobs(tx, once, jobs, before)
        note(receipt, tx)
        return jobs

    def enqueue_each(
        self,
        caller: Caller,
        news: Iterable[tuple[str, NewJob]],
        *,
        conflict: Conflict = Conflict.REFUSE,
        receipt: Receipt | None = None,
        once: Once | None = None,
    ) -> list[Job | Kept | Refused | Unavailable]:
        """Queue those of these jobs that can be; an error stands for each other.

        Raises:
            KeyReused: something else was asked for with the key of *once*.
            QueueNotFound, Forbidden: with *once*, where any queue refuses the caller.
        """
        news = list(news)
        with self._store.transaction() as tx:
            if self._was_done(tx, once, caller, news):
                return []
            before = self.rules
            known: dict[str, QueueRules] = {}
            new_uid = self._new_uids().__next__
            jobs = [
                self._try(tx, caller, *new, conflict, known, new_uid) for new in news
            ]
            self._use_made(known)
            self._remember_jobs(tx, once, jobs, before)
        note(receipt, tx)
        return jobs

    def _was_done(
        self,
        tx: Transaction,
        once: Once | None,
        caller: Caller,
        news: list[tuple[str, NewJob]],
    ) -> bool:
        """See `was_done`; for whoever may still ask for it.

        Raises:
            QueueNotFound, Forbidden: it may not: a right that is taken away is gone
                for what was done before, too.
        """
        if once is None:
            return False
        for queue in {queue for queue, _ in news}:
            self.check_writer(caller, queue)
        return was_done(tx, once)

    def _remember_jobs(
        self, tx: Transaction, once: Once | None, jobs: object, before: Rulebook
    ) -> None:
        try:
            self.remember(tx, once, jobs)
        except JobEngineError:
            # The queues that were made for the jobs go with the rest of the block.
            self.rules = before
            raise

    def remember(self, tx: Transaction, once: Once | None, what: Any) -> None:
        """Keep what is answered to *what* was done, for when it is asked for again.

        Raises:
            MemoryFull: as many answers are kept as may be.
            TransactionTooLarge: this one is too large to be kept.
        """
        if once is None:
            return
        if tx.count_records(Answer) >= ANSWERS_MAX:
            raise MemoryFull(
                f"{ANSWERS_MAX} requests with an Idempotency-Key are remembered: send "
                "this one without, or wait until some are forgotten"
            )
        answer = once.done(what, tx.now)
        if len(answer.body) > ANSWER_BYTES_MAX:
            raise TransactionTooLarge(
                f"its answer is larger than is remembered ({ANSWER_BYTES_MAX} bytes): "
                "send fewer jobs with an Idempotency-Key"
            )
        self.check_memory(tx, len(answer.body))
        tx.put_record(answer)

    def _try(
        self,
        tx: Transaction,
        caller: Caller,
        queue: str,
        new: NewJob,
        conflict: Conflict,
        known: dict[str, QueueRules],
        new_uid: Callable[[], str],
    ) -> Job | Kept | Refused | Unavailable:
        try:
            rules = known.get(queue)
            if rules is None:
                rules = self.admit_writer(tx, caller, queue)
            job = self._add(tx, rules, new, conflict, new_uid)
        except (Refused, Unavailable) as error:
            # A queue that was to be made for a job that is refused is not made.
            made = tx.record(MadeQueue, queue)
            if (
                made is not None
                and queue not in known
                and queue not in self.rules.queues
            ):
                tx.drop_record(made)
            return error
        known[queue] = rules
        return job

    def add_all(
        self,
        tx: Transaction,
        caller: Caller,
        news: Sequence[tuple[str, NewJob]],
        conflict: Conflict,
    ) -> list[Job | Kept]:
        """What `enqueue_batch` does, in a transaction that does nothing after it."""
        known: dict[str, QueueRules] = {}
        new_uid = self._new_uids().__next__
        jobs = []
        for number, (queue, new) in enumerate(news):
            try:
                rules = known.get(queue)
                if rules is None:
                    rules = known[queue] = self.admit_writer(tx, caller, queue)
                jobs.append(self._add(tx, rules, new, conflict, new_uid))
            except (Refused, Unavailable) as error:
                error.at = number if len(news) > 1 else None
                raise
        self._use_made(known)
        return jobs

    def _use_made(self, known: dict[str, QueueRules]) -> None:
        """What `admit_writer` has made is in force from the end of the block on."""
        made = known.keys() - self.rules.queues.keys()
        if made:
            self.use(known[name] for name in made)

    def _add(
        self,
        tx: Transaction,
        rules: QueueRules,
        new: NewJob,
        conflict: Conflict,
        new_uid: Callable[[], str],
    ) -> Job | Kept:
        queue, now = rules.name, tx.now
        there = None
        if new.unique_key is not None:
            there = at_last(tx, rules, tx.find(queue, new.unique_key))
        if there is not None and conflict is Conflict.KEEP:
            return Kept(there)
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


def was_done(tx: Transaction, once: Once | None) -> bool:
    """Whether it was; `once.answer` is then what was answered.

    Raises:
        KeyReused: with its key something else was asked for.
    """
    known = None if once is None else tx.record(Answer, once.name)
    if once is None or known is None or is_past(known, tx.now):
        return False
    if known.digest != once.digest:
        raise KeyReused(
            "the Idempotency-Key was sent with another request before: use a new one"
        )
    once.answer, once.replayed = known, True
    return True


def is_past(answer: Answer, now: int) -> bool:
    """Whether it is no longer remembered, swept or not."""
    return answer.due_at is not None and answer.due_at <= now


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
