"""What a worker has done, in numbers."""

import threading
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct, structs

from jobengine.worker.held import Held


class Counts(Struct):
    """Of one queue, since the worker was made. `lost` runs ended too late, or not
    before somebody else decided: what they said does not count."""

    claimed: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    rescheduled: int = 0
    cancelled: int = 0
    critical: int = 0
    unprocessable: int = 0
    released: int = 0
    lost: int = 0


class Tally:
    """The counts of all queues. A job is running from its claim until its run ends."""

    def __init__(self, queues: Iterable[str]) -> None:
        self._lock = threading.Lock()  # guards the counts
        self._counts = {queue: Counts() for queue in queues}
        self.queues = frozenset(self._counts)

    def claimed(self, queue: str, count: int) -> None:
        """So many were taken."""
        with self._lock:
            counts = self._counts[queue]
            counts.claimed += count
            counts.running += count

    def ended(self, held: Held) -> bool:
        """Its run is over. Whether that is news: of its ends, the first counts."""
        with self._lock:
            if held.hold.ended:
                return False
            held.hold.ended = True
            self._counts[held.queue].running -= 1
            return True

    def told(self, columns: Iterable[tuple[str, str]]) -> None:
        """Of these queues, runs came to this."""
        with self._lock:
            for (queue, column), count in Counter(columns).items():
                counts = self._counts[queue]
                setattr(counts, column, getattr(counts, column) + count)

    def read(self) -> dict[str, Counts]:
        """All of it, as it is now."""
        with self._lock:
            return {
                queue: structs.replace(each) for queue, each in self._counts.items()
            }
