"""How many jobs a worker has at once: in all, and of each queue. Pure but for its lock.

A permit is had before a job is asked for, so no job is taken that could not be run. The
third permit, which looks at the job, is a handler's strategy.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

# simple_queue's defaults.
PERMITS = 500
QUEUE_PERMITS = 100

# Where hardly any are free, more may be soon, and one request for many is cheaper: so
# long, and so often, is waited while a tenth of them becomes free each time.
LINGER_S = 0.001
LINGER_MAX = 5


class Permits:
    """Permits of two kinds: a job needs one of all, and one of its queue.

    Who waits for one of all stands in line, so that no queue starves another.
    """

    def __init__(self, most: int, each: int, own: Mapping[str, int]) -> None:
        if min((most, each, *own.values())) < 1:
            raise ValueError("permits must be at least 1")
        self._each = each
        self._own = own
        self._lock = threading.Lock()  # guards all below
        self._changed = threading.Condition(self._lock)
        self._free = most
        self._used: dict[str, int] = {}
        self._line: OrderedDict[str, None] = OrderedDict()
        self._closed = False

    def limit(self, queue: str) -> int:
        """How many jobs of the queue there may be at once."""
        return self._own.get(queue, self._each)

    def take(self, queue: str, most: int) -> int:
        """Wait for permits, and take *most* of them, or those that are free; 0 when
        there will be none any more. One thread a queue."""
        with self._changed:
            self._wait(queue)
        self._linger(queue)
        with self._changed:
            self._wait(queue)
            self._line.pop(queue, None)
            taken = min(most, self._free_of(queue))
            self._give(queue, taken)
            # Who is next may be waiting for what is left.
            self._changed.notify_all()
            return taken

    def wait(self, queue: str) -> bool:
        """Wait until there is one, and take none; False when there will be none."""
        with self._changed:
            self._wait(queue)
            self._line.pop(queue, None)
            self._changed.notify_all()
            return not self._closed

    def try_one(self, queue: str) -> bool:
        """Take one, if one is free."""
        with self._lock:
            taken = min(1, self._free_of(queue))
            self._give(queue, taken)
            return taken == 1

    def give_back(self, queue: str, count: int = 1) -> None:
        """So many are free again."""
        with self._lock:
            self._used[queue] -= count
            self._free += count
            if self._line:
                self._changed.notify_all()

    def close(self) -> None:
        """There will be none any more."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def used(self, queue: str) -> int:
        """How many jobs of the queue there are."""
        return self._used.get(queue, 0)

    def _give(self, queue: str, count: int) -> None:
        self._used[queue] = self._used.get(queue, 0) + count
        self._free -= count

    def _free_of(self, queue: str) -> int:
        if self._closed:
            return 0
        return min(self._free, self.limit(queue) - self._used.get(queue, 0))

    def _linger(self, queue: str) -> None:
        """Let some more become free, if they do so quickly. Without the lock."""
        limit, free = self.limit(queue), self._free_of(queue)
        for _ in range(LINGER_MAX):
            if self._closed or free >= limit // 2:
                return
            time.sleep(LINGER_S)
            before, free = free, self._free_of(queue)
            if free - before < max(1, limit // 10):
                return

    def _wait(self, queue: str) -> None:
        """In line, until it is this queue's turn and there is one."""
        self._line.setdefault(queue)
        while not self._closed and not (
            self._free_of(queue) > 0 and self._is_next(queue)
        ):
            self._changed.wait()

    def _is_next(self, queue: str) -> bool:
        """Whether nobody before it in the line could have one. A queue that is full
        by its own limit holds up no other."""
        could = (
            each for each in self._line if each == queue or self._free_of(each) > 0
        )
        return next(could) == queue
