"""Threads that run the jobs of one handler, as few as will do. See work.Runner.

Work that waits, for a network or a disk, wants a thread for each job in hand; work that
computes is only slowed down by a second thread. Which of the two a handler does shows
in what its jobs leave of the processor: so threads are added while jobs wait and the
interpreter has time to spare.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from jobengine.worker.work import Work

# Between two looks at whether jobs wait that have no thread.
LOOK_S = 0.002
# Jobs that will all have begun within so many looks are not worth a thread.
SOON = 5
# Of one processor, the share that counts as time to spare.
BUSY = 0.8
# A thread that has had nothing to do for so long ends.
IDLE_S = 10.0

Start = Callable[[str, Callable[[], None]], object]


class Crew:
    """The threads of one handler. *start* starts one by a name."""

    def __init__(self, name: str, start: Start, stoker: "Stoker") -> None:
        self._name = name
        self._start = start
        self._stoker = stoker
        self._lock = threading.Lock()  # guards all below
        self._more = threading.Condition(self._lock)
        self._line: deque[Work] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False
        self._taken = self._looked_at = 0  # jobs, so far and at the last look
        stoker.crews.append(self)

    def submit(self, works: list[Work]) -> None:
        """See work.Runner."""
        with self._more:
            self._line.extend(works)
            self._one_more()
        self._stoker.look()

    def take_back(self) -> list[Work]:
        """See work.Runner."""
        with self._lock:
            left = list(self._line)
            self._line.clear()
            return left

    def stop(self) -> None:
        """See work.Runner. Threads end with what they are at."""
        with self._more:
            self._closed = True
            self._more.notify_all()

    def waits(self) -> bool:
        """Whether jobs wait for a thread."""
        return bool(self._line)

    def grow(self, *, spare: bool) -> None:
        """More threads, unless those there are keep up: as many again where the
        interpreter has time to spare, one where there are processors that it may leave
        alone."""
        with self._more:
            taken, self._looked_at = self._taken - self._looked_at, self._taken
            if taken * SOON >= len(self._line):
                return
            active = self._threads - self._idle
            more = max(1, active) if spare else int(active < self._stoker.processors)
            for _ in range(min(more, len(self._line))):
                self._one_more()

    def _one_more(self) -> None:
        """Wake a thread, or start one where none is idle. Under the lock."""
        if self._idle:
            self._more.notify()
        else:
            self._threads += 1
            self._start(f"{self._name}-{self._threads}", self._run)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work.run()
            del work  # it holds the payload

    def _next(self) -> Work | None:
        self._taken += 1  # about: two threads may count as one
        while True:
            try:
                return self._line.popleft()
            except IndexError:
                if not self._wait():
                    return None

    def _wait(self) -> bool:
        """Wait for a job; False when the thread is to end."""
        with self._more:
            while not self._line:
                if self._closed:
                    break
                self._idle += 1
                rung = self._more.wait(IDLE_S)
                self._idle -= 1
                # One of them stays, so that the next job need not wait for a start.
                if not rung and not self._line and self._threads > 1:
                    break
            else:
                return True
            self._threads -= 1
            return False


class Stoker:
    """One thread that looks after all crews, while jobs wait for threads."""

    def __init__(
        self,
        processors: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        self.processors = processors
        self.crews: list[Crew] = []
        self._monotonic = monotonic
        self._used = used
        self._wanted = threading.Event()
        self._closed = False

    def look(self) -> None:
        """Jobs may wait."""
        if not self._wanted.is_set():
            self._wanted.set()

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._wanted.set()

    def run(self) -> None:
        """Look until closed."""
        while True:
            self._wanted.wait()
            if self._closed:
                return
            self._wanted.clear()
            began, used = self._monotonic(), self._used()
            while not self._closed and any(crew.waits() for crew in self.crews):
                time.sleep(LOOK_S)
                now, now_used = self._monotonic(), self._used()
                spare = now_used - used < BUSY * (now - began)
                began, used = now, now_used
                for crew in self.crews:
                    if crew.waits():
                        crew.grow(spare=spare)
