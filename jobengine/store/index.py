"""Finds the next job: by order within a queue, by due instant over everything.

Both indexes hold the very rows that the store holds. A row that changed is another
object, so an entry counts while the store still has that same object; the rest is
stale, skipped when met and swept out when half of a list is stale. A row that is put
back, as by a transaction undone, may have several entries: the first one counts.
Nothing here is more than O(log n), and a job that arrives in order costs one pointer in
each index.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from jobengine.core.job import Job

E = TypeVar("E")

# Lists shorter than this are not worth sweeping.
STALE_MIN = 64


class ReadyIndex:
    """The queued jobs of one queue, in (-priority, run_at, seq) order."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        self._jobs = jobs
        self._lanes: dict[int, _Lane] = {}
        self._mask = 0  # bit p is set while lane p may hold a job
        self._waiting: list[tuple[int, int, Job]] = []  # run_at is still to come
        self._ahead: set[str] = set()  # the uids of those jobs
        self._ticks = count()

    def push(self, job: Job, now: int) -> None:
        """Note a job that has just become queued."""
        if job.run_at > now:
            heappush(self._waiting, (job.run_at, next(self._ticks), job))
            self._ahead.add(job.uid)
            return
        lane = self._lanes.get(job.priority)
        if lane is None:
            lane = self._lanes[job.priority] = _Lane()
        self._mask |= 1 << job.priority
        lane.push(job, self._ticks)

    def gone(self, job: Job) -> None:
        """Note that a queued job is no longer what it was."""
        if self._ahead:
            self._ahead.discard(job.uid)
        lane = self._lanes.get(job.priority)
        if lane is not None:
            lane.gone(self._jobs)

    def take(self, now: int, limit: int) -> list[Job]:
        """The first *limit* jobs that were claimable at the last `wake`; they stay here
        until they change."""
        mask = self._mask
        found: list[Job] = []
        while mask and len(found) < limit:
            priority = mask.bit_length() - 1
            lane = self._lanes[priority]
            found += lane.take(self._jobs, now, limit - len(found))
            mask ^= 1 << priority
            if not lane:
                self._mask ^= 1 << priority
        return found

    def oldest(self, now: int) -> Job | None:
        """The claimable job that has been so for longest, whatever its priority."""
        heads = [
            job
            for lane in self._lanes.values()
            for job in lane.take(self._jobs, now, 1)
        ]
        return min(heads, key=lambda job: (job.run_at, job.seq), default=None)

    def next_run(self) -> int | None:
        """When the next scheduled job becomes claimable."""
        while self._waiting and not _is_current(self._jobs, self._waiting[0][2]):
            heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def wake(self, now: int) -> bool:
        """Make claimable what was scheduled for an instant that has passed; True when
        there was any."""
        woken = False
        while self._waiting and self._waiting[0][0] <= now:
            job = heappop(self._waiting)[2]
            if _is_current(self._jobs, job):
                self._ahead.discard(job.uid)
                self.push(job, now)
                woken = True
        return woken

    @property
    def waiting(self) -> int:
        """How many jobs were not claimable at the last `wake`."""
        return len(self._ahead)


class _Lane:
    """Jobs of one priority: a deque for what arrives in order, a heap for the rest."""

    __slots__ = ("_heap", "_in_order", "_stale")

    def __init__(self) -> None:
        self._in_order: deque[Job] = deque()
        self._heap: list[tuple[int, int, int, Job]] = []
        self._stale = 0

    def __bool__(self) -> bool:
        return bool(self._in_order or self._heap)

    def push(self, job: Job, ticks: Iterator[int]) -> None:
        last = self._in_order[-1] if self._in_order else None
        if last is None or (last.run_at, last.seq) < (job.run_at, job.seq):
            self._in_order.append(job)
        else:
            heappush(self._heap, (job.run_at, job.seq, next(ticks), job))

    def gone(self, jobs: Mapping[str, Job]) -> None:
        self._stale += 1
        if self._stale > STALE_MIN and self._stale * 2 > self._size():
            self._in_order = deque(j for j in self._in_order if _is_current(jobs, j))
            self._heap = [entry for entry in self._heap if _is_current(jobs, entry[3])]
            heapify(self._heap)
            self._stale = 0

    def _size(self) -> int:
        return len(self._in_order) + len(self._heap)

    def take(self, jobs: Mapping[str, Job], now: int, limit: int) -> list[Job]:
        if limit == 1 and not self._heap:
            return self._first(jobs, now)
        found: list[Job] = []
        taken: list[tuple[int, int, int, Job] | None] = []  # None: from the deque
        while len(found) < limit:
            entry = self._heap_first()
            if entry is not None:
                job = heappop(self._heap)[3]
            elif self._in_order:
                job = self._in_order.popleft()
            else:
                break
            # Entries of the same job stand side by side.
            if not _is_current(jobs, job) or (found and found[-1] is job):
                self._stale -= 1
            elif job.expires_at is None or job.expires_at > now:
                found.append(job)
                taken.append(entry)
        for job, entry in zip(reversed(found), reversed(taken), strict=True):
            if entry is None:
                self._in_order.appendleft(job)
            else:
                heappush(self._heap, entry)
        return found

    def _first(self, jobs: Mapping[str, Job], now: int) -> list[Job]:
        """What `take` gives for the commonest call, in a third of the time."""
        in_order = self._in_order
        while in_order:
            job = in_order[0]
            if jobs.get(job.uid) is not job:
                self._stale -= 1
            elif job.expires_at is None or job.expires_at > now:
                return [job]
            in_order.popleft()
        return []

    def _heap_first(self) -> tuple[int, int, int, Job] | None:
        """The heap's head where it comes before the deque's."""
        if not self._heap:
            return None
        entry = self._heap[0]
        if self._in_order:
            head = self._in_order[0]
            if (head.run_at, head.seq) < (entry[0], entry[1]):
                return None
        return entry


def _is_current(jobs: Mapping[str, Job], job: Job) -> bool:
    return jobs.get(job.uid) is job


# Entries that fall due within the same 1.024 s share a list, unsorted until its time
# comes: a pointer an entry, where a heap of tuples would take a hundred bytes.
BUCKET_BITS = 10


class DueIndex(Generic[E]):
    """Everything that time will change, by the instant at which it does."""

    def __init__(
        self, is_current: Callable[[E], bool], due_of: Callable[[E], int | None]
    ) -> None:
        self._is_current = is_current
        self._due_of = due_of
        self._buckets: dict[int, list[E]] = {}
        self._stale: dict[int, int] = {}
        self._heads: list[int] = []  # a heap of the numbers of the buckets
        self._near: list[tuple[int, int, E]] = []  # a heap of the buckets opened so far
        self._opened = -1
        self._ticks = count()

    def push(self, entry: E, due_at: int) -> bool:
        """Note an entry; True when it is due before everything else here."""
        number = due_at >> BUCKET_BITS
        if number <= self._opened:
            heappush(self._near, (due_at, next(self._ticks), entry))
            return self._near[0][2] is entry
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket.append(entry)
            return False
        self._buckets[number] = [entry]
        heappush(self._heads, number)
        return not self._near and self._heads[0] == number

    def gone(self, due_at: int) -> None:
        """Note that an entry of this instant is no longer what it was."""
        number = due_at >> BUCKET_BITS
        bucket = self._buckets.get(number)
        if bucket is None:
            return
        stale = self._stale[number] = self._stale.get(number, 0) + 1
        if stale > STALE_MIN and stale * 2 > len(bucket):
            bucket[:] = [entry for entry in bucket if self._is_current(entry)]
            self._stale[number] = 0

    def take(self, now: int, limit: int) -> list[E]:
        """The first *limit* due entries; they stay here until they change."""
        while self._heads and self._heads[0] << BUCKET_BITS <= now:
            self._open()
        found: dict[int, tuple[int, int, E]] = {}  # by identity: each row once
        while self._near and self._near[0][0] <= now and len(found) < limit:
            item = heappop(self._near)
            if self._is_current(item[2]):
                found[id(item[2])] = item
        for item in found.values():
            heappush(self._near, item)
        return [item[2] for item in found.values()]

    def next(self) -> int | None:
        """No later than the earliest due instant; None when nothing is ever due."""
        while self._near and not self._is_current(self._near[0][2]):
            heappop(self._near)
        if self._near:
            return self._near[0][0]
        return self._heads[0] << BUCKET_BITS if self._heads else None

    def _open(self) -> None:
        number = heappop(self._heads)
        self._opened = number
        self._stale.pop(number, None)
        for entry in self._buckets.pop(number):
            due_at = self._due_of(entry)
            if due_at is not None and self._is_current(entry):
                heappush(self._near, (due_at, next(self._ticks), entry))
