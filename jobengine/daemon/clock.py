"""The daemon's clock. The only reader of the real time; knows nothing of jobs."""

import threading
import time
from collections.abc import Callable

import structlog

MS = 1_000_000  # nanoseconds
# Two readings are never of one instant: a thread may be set aside between them. A wall
# clock less than this behind is not worth a word.
BEHIND_NS = 2_000 * MS

log = structlog.get_logger()


def _since_boot() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class SystemClock:
    """Runs with the time since boot, from the later of the wall and the file.

    It never goes back and never stands still. A wall clock that jumps forward is
    followed: the time has passed (the machine slept, or was set right). One that jumps
    back is not: the clock runs on, ahead of the wall, and says so once.

    *wall* and *since_boot* give nanoseconds.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], int] = time.time_ns,
        since_boot: Callable[[], int] = _since_boot,
    ) -> None:
        self._wall = wall
        self._since_boot = since_boot
        self._lock = threading.Lock()
        # Guarded by the lock where they change; read without it.
        self._start = wall() - since_boot()
        self._warned = False

    def now(self) -> int:
        """Milliseconds since the epoch."""
        # The wall first: a pause between the two must not look like a jump forward.
        wall = self._wall()
        boot = self._since_boot()
        ahead = wall - boot - self._start
        if ahead > 0:
            self._follow(wall - boot)
        elif ahead < -BEHIND_NS and not self._warned:
            self._warn(-ahead)
        return (boot + self._start) // MS

    def monotonic(self) -> float:
        """Seconds since the machine started."""
        return self._since_boot() / 1e9

    def start_from(self, newest: int) -> None:
        """Be at *newest* (milliseconds since the epoch) or later from now on."""
        self._follow(newest * MS - self._since_boot())

    def _follow(self, start: int) -> None:
        with self._lock:
            # Another thread may have seen a later wall: never take that back.
            self._start = max(self._start, start)

    def _warn(self, behind: int) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            log.warning(
                "the wall clock is behind: going on without it",
                code="clock_behind",
                behind_ms=behind // MS,
            )
