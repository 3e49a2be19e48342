"""All jobs and records in dicts, and the indexes over them. Knows no transaction."""

from jobengine.core.job import INPROGRESS, QUEUED, Job, State
from jobengine.core.lifecycle import due_at
from jobengine.store.index import DueIndex, ReadyIndex
from jobengine.store.port import Record


class Rows:
    """All jobs and records, and the indexes over them. Guarded by the store's lock."""

    def __init__(self) -> None:
        self.shelves: dict[str, Shelf] = {}
        self.records: dict[tuple[type[Record], str], Record] = {}
        self.due: DueIndex[Job | Record] = DueIndex(self._is_current, _due_of)
        self.next_seq = 0
        self.counts = [0] * len(State)
        self.content_bytes = 0
        self.name_bytes = 0  # of queues and holders, in every job's row

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
                self.content_bytes += len(new.content) - len(old.content)
            if old.lease is not new.lease:
                self.name_bytes += _holder_bytes(new) - _holder_bytes(old)
        state = new.state
        shelf.jobs[new.uid] = new
        shelf.counts[state] += 1
        self.counts[state] += 1
        due = due_at(new)
        earliest = due is not None and self.due.push(new, due)
        if state is not QUEUED:
            return earliest
        shelf.ready.push(new, now)
        return earliest or new.run_at > now

    def _weigh(self, job: Job, sign: int) -> None:
        self.content_bytes += sign * len(job.content)
        self.name_bytes += sign * (len(job.queue) + _holder_bytes(job))

    def replace_record(self, old: Record | None, new: Record | None) -> bool:
        """The same for a record."""
        if old is not None:
            del self.records[type(old), old.name]
            if old.due_at is not None:
                self.due.gone(old.due_at)
        if new is None:
            return False
        self.records[type(new), new.name] = new
        return new.due_at is not None and self.due.push(new, new.due_at)

    def next_due(self) -> int | None:
        instants = [self.due.next()]
        instants += [shelf.ready.next_run() for shelf in self.shelves.values()]
        return min((at for at in instants if at is not None), default=None)

    def _take_off(self, old: Job) -> None:
        shelf = self.shelves[old.queue]
        state = old.state
        shelf.counts[state] -= 1
        self.counts[state] -= 1
        if state is QUEUED:
            shelf.ready.gone(old)
        due = due_at(old)
        if due is not None:
            self.due.gone(due)

    def _is_current(self, entry: Job | Record) -> bool:
        if isinstance(entry, Job):
            return self.shelves[entry.queue].jobs.get(entry.uid) is entry
        return self.records.get((type(entry), entry.name)) is entry


class Shelf:
    """One queue's jobs, and what finds the next of them."""

    __slots__ = ("counts", "jobs", "ready")

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.counts = [0] * len(State)
        self.ready = ReadyIndex(self.jobs)


def _holder_bytes(job: Job) -> int:
    return 0 if job.lease is None else len(job.lease.holder)


def _due_of(entry: Job | Record) -> int | None:
    return due_at(entry) if isinstance(entry, Job) else entry.due_at
