"""All jobs and records in dicts, and the indexes over them. Knows no transaction."""

from collections import defaultdict
from typing import TypeVar

from jobengine.core.job import (
    FAILED,
    INPROGRESS,
    QUEUED,
    Job,
    Keys,
    State,
    rare_bytes,
    row_bytes,
)
from jobengine.core.lifecycle import due_at
from jobengine.core.schedules import Schedule
from jobengine.store.index import DueIndex, ReadyIndex
from jobengine.store.port import (
    ROW_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
    Record,
    record_bytes,
)


class Rows:
    """All jobs and records, and the indexes over them. Guarded by the store's lock."""

    def __init__(self) -> None:
        self.shelves: dict[str, Shelf] = {}
        # Those of them that may have jobs whose run_at is still to come.
        self.scheduled: dict[str, Shelf] = {}
        self.records: dict[tuple[type, str], Record] = {}
        # The same by kind: of some there are a million, of others a few.
        self.kinds: dict[type, dict[str, Record]] = defaultdict(dict)
        self.due: DueIndex[Job | Record] = DueIndex(self._is_current, _due_of)
        self.next_seq = 0
        self.counts = [0] * len(State)
        self.content_bytes = 0
        self.row_bytes = 0  # of names, keys, progress and past, in every job's row
        self.record_bytes = 0  # of what records have beyond ROW_BYTES_MAX

    @property
    def jobs(self) -> int:
        """How many jobs there are."""
        return sum(self.counts)

    @property
    def unfinished(self) -> int:
        """How many of them are queued or in progress."""
        return self.counts[QUEUED] + self.counts[INPROGRESS]

    def copy(self) -> list[Record | Job]:
        """Every row, as it is now: a shallow copy."""
        rows: list[Record | Job] = list(self.records.values())
        for shelf in self.shelves.values():
            rows += shelf.jobs.values()
        return rows

    def replace_job(self, old: Job | None, new: Job | None, now: int) -> bool:
        """Put *new* where *old* was; True when it is due before everything else."""
        if old is not None:
            self._take_off(old)
        if new is None:
            assert old is not None, "nothing for nothing"
            del self.shelves[old.queue].jobs[old.uid]
            self._weigh(old, -1)
            return False
        shelf = self.shelves.get(new.queue)
        if shelf is None:
            shelf = self.shelves[new.queue] = Shelf()
        if old is None:
            self._weigh(new, 1)
        else:
            if old.content is not new.content:
                grown = len(new.content) - len(old.content)
                self.content_bytes += grown
                shelf.content_bytes += grown
            if old.lease is not new.lease:
                self.row_bytes += _holder_bytes(new) - _holder_bytes(old)
            if rare_differs(old, new):
                self.row_bytes += rare_bytes(new) - rare_bytes(old)
        state = new.state
        if new.keys is not None and state <= INPROGRESS:
            shelf.note(new.keys, new.uid)
        shelf.jobs[new.uid] = new
        shelf.counts[state] += 1
        self.counts[state] += 1
        if state is FAILED and new.reason is not None:
            shelf.dead += 1
        due = due_at(new)
        earliest = due is not None and self.due.push(new, due)
        if state is not QUEUED:
            return earliest
        shelf.ready.push(new, now)
        if new.run_at <= now:
            return earliest
        self.scheduled[new.queue] = shelf
        return True

    def _weigh(self, job: Job, sign: int) -> None:
        size = sign * len(job.content)
        self.content_bytes += size
        self.shelves[job.queue].content_bytes += size
        self.row_bytes += sign * row_bytes(job)

    def replace_record(self, old: Record | None, new: Record | None) -> bool:
        """The same for a record."""
        if old is not None:
            del self.records[type(old), old.name]
            del self.kinds[type(old)][old.name]
            self.record_bytes -= record_bytes(old)
            if old.due_at is not None:
                self.due.gone(old.due_at)
        if new is None:
            assert old is not None, "nothing for nothing"
            self._clear_away(old.name)
            return False
        self.records[type(new), new.name] = new
        self.kinds[type(new)][new.name] = new
        self.record_bytes += record_bytes(new)
        return new.due_at is not None and self.due.push(new, new.due_at)

    def next_due(self) -> int | None:
        instants = [self.due.next()]
        for name, shelf in list(self.scheduled.items()):
            instants.append(at := shelf.ready.next_run())
            if at is None:
                del self.scheduled[name]
        return min((at for at in instants if at is not None), default=None)

    def _clear_away(self, name: str) -> None:
        """Keep no empty shelf for a queue that may be gone for good."""
        shelf = self.shelves.get(name)
        if shelf is not None and not shelf.jobs:
            del self.shelves[name]
            self.scheduled.pop(name, None)

    def _take_off(self, old: Job) -> None:
        shelf = self.shelves[old.queue]
        state = old.state
        shelf.counts[state] -= 1
        self.counts[state] -= 1
        if state is FAILED and old.reason is not None:
            shelf.dead -= 1
        if old.keys is not None and state <= INPROGRESS:
            shelf.forget(old.keys, old.uid)
        if state is QUEUED:
            shelf.ready.gone(old)
        due = due_at(old)
        if due is not None:
            self.due.gone(due)

    def _is_current(self, entry: Job | Record) -> bool:
        if isinstance(entry, Job):
            shelf = self.shelves.get(entry.queue)
            return shelf is not None and shelf.jobs.get(entry.uid) is entry
        return self.records.get((type(entry), entry.name)) is entry


class Shelf:
    """One queue's jobs, and what finds the next of them."""

    __slots__ = ("content_bytes", "counts", "dead", "groups", "jobs", "keyed", "ready")

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.counts = [0] * len(State)
        self.dead = 0  # letters: those that failed for good
        self.content_bytes = 0
        self.ready = ReadyIndex(self.jobs)
        # Of the jobs that are queued or in progress, uids.
        self.keyed: dict[str, str] = {}
        self.groups: dict[str, dict[str, None]] = {}

    @property
    def live(self) -> int:
        """How many jobs are queued or in progress."""
        return self.counts[QUEUED] + self.counts[INPROGRESS]

    def note(self, keys: Keys, uid: str) -> None:
        """Find the job, which is live now, by its keys."""
        if keys.unique is not None:
            self.keyed[keys.unique] = uid
        if keys.fingerprint is not None:
            self.groups.setdefault(keys.fingerprint, {})[uid] = None

    def forget(self, keys: Keys, uid: str) -> None:
        """Find it by its keys no more."""
        if keys.unique is not None:
            del self.keyed[keys.unique]
        if keys.fingerprint is not None:
            group = self.groups[keys.fingerprint]
            del group[uid]
            if not group:
                del self.groups[keys.fingerprint]


# Rows that may be changed in one block whatever they are: each has at most a progress,
# or a result, 10 errors and 2 keys, 112 KiB in all, and a schedule half as much twice.
FEW_ROWS = 100

E = TypeVar("E", Job, Job | Record)


def in_one_block(rows: list[E]) -> list[E]:
    """As many of *rows*, from the first on, as a block can change."""
    if len(rows) <= FEW_ROWS:
        return rows
    size = 0
    for at, row in enumerate(rows):
        size += ROW_BYTES_MAX + _changed_bytes(row)
        if size > TRANSACTION_BYTES_MAX * 3 // 4:
            return rows[:at]
    return rows


def _changed_bytes(row: Job | Record) -> int:
    if isinstance(row, Job):
        return rare_bytes(row)
    # A schedule that makes a job is written, and so is the job; an answer just goes.
    return 2 * record_bytes(row) if isinstance(row, Schedule) else 0


def rare_differs(old: Job, new: Job) -> bool:
    """Whether anything may differ that core.job.rare_bytes counts."""
    return (
        old.progress is not new.progress
        or old.result is not new.result
        or old.past is not new.past
        or old.keys is not new.keys
        or old.terms is not new.terms
    )


def _holder_bytes(job: Job) -> int:
    return 0 if job.lease is None else len(job.lease.holder)


def _due_of(entry: Job | Record) -> int | None:
    return due_at(entry) if isinstance(entry, Job) else entry.due_at
