"""One transaction over rows in memory: undone or journalled as a whole.

Changes apply at once, under the store's one lock, and leaving the block either stages
them in the journal's open group or takes them back. Applying before the sync is right
because every answer waits for its group and a failed sync ends the process.
"""

from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING

from jobengine.core.job import (
    FINISHED,
    INPROGRESS,
    QUEUED,
    RARE_BYTES,
    RUN_BYTES,
    Job,
    State,
    rare_bytes,
)
from jobengine.core.once import Answer
from jobengine.core.queues import MadeQueue
from jobengine.core.schedules import Schedule
from jobengine.errors import DuplicateJob, StoreFailed, TransactionTooLarge
from jobengine.store.port import (
    JOB_BYTES,
    RECORD_BYTES,
    ROW_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
    Change,
    R,
    Record,
    Ticket,
    record_bytes,
)
from jobengine.store.rows import in_one_block, rare_differs

if TYPE_CHECKING:
    from jobengine.store.memory import MemoryStore


def _adds_work(old: Job | Record | None, new: Job | Record | None) -> bool:
    """Whether it is more than what must be done about jobs already accepted."""
    if not isinstance(new, Job):
        # What an operator does about trouble is none; nor is that something is gone.
        return isinstance(new, Schedule | Answer | MadeQueue)
    if not isinstance(old, Job):
        return True
    again = old.state in FINISHED and new.state not in FINISHED
    if again or old.content is not new.content:
        return True
    # A run may be remembered: more than that is luxury.
    return rare_bytes(new) - rare_bytes(old) > ROW_GROWTH


# What the reserve holds for a job besides its row as it is, and a holder's name.
ROW_GROWTH = RARE_BYTES + RUN_BYTES


class MemoryTransaction:
    """One block under the store's lock. Not to be kept or shared."""

    __slots__ = (
        *("_ahead", "_alarm", "_changes", "_claimable", "_rows", "_size", "_store"),
        *("now", "ticket"),
    )

    def __init__(self, store: "MemoryStore") -> None:
        self._store = store
        self._rows = store.rows
        self._changes: list[Change] = []
        self._size = 0
        self._ahead = 0  # bytes of blocks before this one that are not staged yet
        self._alarm = False
        self._claimable: list[str] = []  # lines to ring: queues that have got work
        self.now = 0
        self.ticket: Ticket | None = None

    def __enter__(self) -> "MemoryTransaction":
        self._lock()
        return self

    def _lock(self) -> None:
        store = self._store
        store.lock.acquire()
        failure = store.failure
        if failure is not None:
            store.lock.release()
            raise StoreFailed(str(failure))
        now = store.clock.now()
        # The clock promises as much; a store must not depend on it (law 7).
        self.now = store.now = max(now, store.now)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        store = self._store
        try:
            ticket = self.ticket = self._leave(undo=kind is not None)
        finally:
            store.lock.release()
        self._tell()
        if ticket is not None:
            ticket.wait()
        if store.listener is not None and kind is None and self._changes:
            store.listener(self._changes, self.now, 0, 0.0)

    def _tell(self) -> None:
        """Ring for those who wait for what has been done."""
        # Whoever is woken by this has an answer that waits for the same commit.
        store = self._store
        if self._claimable and store.bell is not None:
            for queue in dict.fromkeys(self._claimable):
                store.bell(queue)
        if self._alarm and store.alarm is not None:
            store.alarm()

    def _leave(self, *, undo: bool) -> Ticket | None:
        journal = self._store.journal
        if undo:
            self._undo()
        elif self._changes:
            self._show()
            if journal is not None:
                return journal.stage(self._changes, self._size)
        return None if journal is None else journal.pending()

    def _show(self, since: int = 0) -> None:
        """Let those who watch jobs see what the block has changed."""
        witness = self._store.witness
        if witness is not None and witness.watched:
            self._claimable += witness.heed(self._changes[since:])

    def get(self, queue: str, uid: str) -> Job | None:
        """The job, or None."""
        shelf = self._rows.shelves.get(queue)
        return None if shelf is None else shelf.jobs.get(uid)

    def find(self, queue: str, key: str) -> Job | None:
        """The live job of this unique key, or None."""
        shelf = self._rows.shelves.get(queue)
        uid = None if shelf is None else shelf.keyed.get(key)
        return None if shelf is None or uid is None else shelf.jobs[uid]

    def group(self, queue: str, fingerprint: str, limit: int) -> list[Job]:
        """Up to *limit* live jobs of this fingerprint."""
        shelf = self._rows.shelves.get(queue)
        uids = () if shelf is None else shelf.groups.get(fingerprint, ())
        if shelf is None:
            return []
        return in_one_block([shelf.jobs[uid] for uid in islice(uids, limit)])

    def next_seq(self) -> int:
        """The next place in the order of creation, over all queues."""
        seq = self._rows.next_seq
        self._rows.next_seq = seq + 1
        return seq

    def add(self, job: Job) -> None:
        """Keep a new job.

        Raises:
            DuplicateJob: the queue has a job of this uid.
            TransactionTooLarge: the block's changes no longer fit one frame.
        """
        if self.get(job.queue, job.uid) is not None:
            raise DuplicateJob(f"job {job.uid} is already in queue {job.queue!r}")
        self._change(None, job)

    def put(self, *jobs: Job) -> None:
        """Keep what became of jobs got in this block."""
        for job in jobs:
            self._change(self._rows.shelves[job.queue].jobs[job.uid], job)

    def drop(self, *jobs: Job) -> None:
        """Forget jobs got in this block."""
        for job in jobs:
            self._change(self._rows.shelves[job.queue].jobs[job.uid], None)

    def bury(self, job: Job) -> None:
        """Tell what became of a job got in this block, and keep nothing of it."""
        old = self._rows.shelves[job.queue].jobs[job.uid]
        self._change(old, None)
        self._changes[-1:] = [(old, job), (job, None)]

    def ring(self, queue: str) -> None:
        """Say that the queue may have work."""
        self._claimable.append(queue)

    def ready(self, queue: str, limit: int) -> list[Job]:
        """The queue's first *limit* claimable jobs, in order (law 4)."""
        shelf = self._rows.shelves.get(queue)
        if shelf is None:
            return []
        if shelf.ready.wake(self.now):
            self._claimable.append(queue)
        return in_one_block(shelf.ready.take(self.now, limit))

    def oldest_ready(self, queue: str) -> Job | None:
        """The queue's claimable job that has been so for longest."""
        shelf = self._rows.shelves.get(queue)
        if shelf is None:
            return None
        if shelf.ready.wake(self.now):
            self._claimable.append(queue)
        return shelf.ready.oldest(self.now)

    def due(self, limit: int) -> list[Job | Record]:
        """Up to *limit* jobs and records that time has changed, earliest first."""
        for queue, shelf in self._rows.scheduled.items():
            if shelf.ready.wake(self.now):
                self._claimable.append(queue)
        return in_one_block(self._rows.due.take(self.now, limit))

    def jobs(self, queue: str, limit: int | None = None) -> list[Job]:
        """The queue's jobs, nearly in the order of creation: a shallow copy."""
        shelf = self._rows.shelves.get(queue)
        return [] if shelf is None else list(islice(shelf.jobs.values(), limit))

    def counts(self, queue: str) -> dict[State, int]:
        """How many jobs of the queue are in each state."""
        shelf = self._rows.shelves.get(queue)
        return {state: shelf.counts[state] if shelf else 0 for state in State}

    def dead(self, queue: str) -> int:
        """How many of the queue's jobs are dead letters."""
        shelf = self._rows.shelves.get(queue)
        return 0 if shelf is None else shelf.dead

    def scheduled(self, queue: str) -> int:
        """How many of the queue's queued jobs have a run_at still to come."""
        shelf = self._rows.shelves.get(queue)
        if shelf is None:
            return 0
        if shelf.ready.wake(self.now):
            self._claimable.append(queue)
        return shelf.ready.waiting

    def live(self, queue: str) -> int:
        """How many of the queue's jobs are queued or in progress."""
        shelf = self._rows.shelves.get(queue)
        return 0 if shelf is None else shelf.live

    def content_bytes(self, queue: str) -> int:
        """Of all payloads in the queue."""
        shelf = self._rows.shelves.get(queue)
        return 0 if shelf is None else shelf.content_bytes

    def memory_bytes(self) -> int:
        """What all jobs and records take in memory, about."""
        rows = self._rows
        jobs = rows.content_bytes + rows.row_bytes + JOB_BYTES * rows.jobs
        return jobs + rows.record_bytes + RECORD_BYTES * len(rows.records)

    def queues(self) -> list[str]:
        """The queues that have jobs."""
        return [name for name, shelf in self._rows.shelves.items() if shelf.jobs]

    def record(self, kind: type[R], name: str) -> R | None:
        """The record of this kind and name, or None."""
        record = self._rows.records.get((kind, name))
        assert record is None or isinstance(record, kind)
        return record

    def put_record(self, record: Record) -> None:
        """Keep a record in place of the one of its kind and name."""
        self._change_record(self.record(type(record), record.name), record)

    def drop_record(self, record: Record) -> None:
        """Forget a record."""
        self._change_record(self.record(type(record), record.name), None)

    def records(self, kind: type[R]) -> list[R]:
        """Every record of a kind."""
        return list(self._rows.kinds[kind].values())  # type: ignore[arg-type]

    def count_records(self, kind: type[Record]) -> int:
        """How many there are of a kind."""
        return len(self._rows.kinds[kind])

    def _change(self, old: Job | None, new: Job | None) -> None:
        size = ROW_BYTES_MAX
        if new is not None:
            if old is None or old.content is not new.content:
                size += len(new.content)
            if new.keys is not None:
                self._check_key(new)
            rare = rare_bytes(new)
            if rare:
                # What is new of it the reserve will have to hold twice more.
                grown = rare if old is None else 0
                if old is not None and rare_differs(old, new):
                    grown = max(rare - rare_bytes(old), 0)
                size += rare + 2 * grown
        self._admit(old, new, size)
        self._changes.append((old, new))
        if self._rows.replace_job(old, new, self.now):
            self._alarm = True
        if new is not None and new.state is QUEUED:
            self._claimable.append(new.queue)

    def _admit(
        self, old: Job | Record | None, new: Job | Record | None, size: int
    ) -> None:
        """Count a change of *size* bytes; what is refused takes no room from others."""
        size += self._size
        if size > TRANSACTION_BYTES_MAX:
            raise _too_large()
        journal = self._store.journal
        if journal is not None and self._ahead + size > journal.create_room:
            journal.admit(self._ahead + size, create=_adds_work(old, new))
        self._size = size

    def _check_key(self, new: Job) -> None:
        """Refuse a second live job of one unique key (law 6)."""
        key = None if new.keys is None else new.keys.unique
        if key is None or new.state > INPROGRESS:
            return
        shelf = self._rows.shelves.get(new.queue)
        other = None if shelf is None else shelf.keyed.get(key)
        if other is not None and other != new.uid:
            raise DuplicateJob(
                f"queue {new.queue!r} has a live job of this unique key: {other}"
            )

    def _change_record(self, old: Record | None, new: Record | None) -> None:
        size = ROW_BYTES_MAX + (0 if new is None else record_bytes(new))
        self._admit(old, new, size)
        self._changes.append((old, new))
        self._alarm |= self._rows.replace_record(old, new)

    def _undo(self, since: int = 0) -> None:
        for old, new in reversed(self._changes[since:]):
            if isinstance(old, Job) or isinstance(new, Job):
                self._rows.replace_job(new, old, self.now)  # type: ignore[arg-type]
            else:
                self._rows.replace_record(new, old)


def _too_large() -> TransactionTooLarge:
    return TransactionTooLarge(
        "the change is larger than one transaction may be "
        f"({TRANSACTION_BYTES_MAX} bytes): send it in smaller parts"
    )
