"""Who waits for which queue, in the order in which they came; rung by the store.

A ring wakes the head of the line and takes nobody out of it. Whoever is awake asks for
work until there is none, and who leaves the line passes the ring on. So no job lies
there while somebody waits for it, whatever made it claimable, and each wakes one.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobengine.errors import Overloaded


class Place:
    """A place in the line of one queue."""

    __slots__ = ("queue", "service", "wake")

    def __init__(self, queue: str, service: str, wake: Callable[[], None]) -> None:
        self.queue = queue
        self.service = service
        self.wake = wake  # called outside the lock, by whoever rings


class Doorbell:
    """The lines of all queues. *monotonic* gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self.closed = False
        self.rings = 0  # any other number than before: it has rung since
        self._lock = threading.Lock()  # guards the lines and the counts
        self._lines: dict[str, OrderedDict[Place, None]] = {}
        self._waiters: Counter[str] = Counter()

    @property
    def waiters(self) -> int:
        """How many wait."""
        return sum(self._waiters.values())

    def join(
        self, queue: str, service: str, most: int, wake: Callable[[], None]
    ) -> Place:
        """The last place in the queue's line.

        Raises:
            Overloaded: *most* of the service wait already.
        """
        place = Place(queue, service, wake)
        with self._lock:
            if self._waiters[service] >= most:
                raise Overloaded(
                    f"{most} requests of {service!r} wait already "
                    "(limits.waiters_per_service in config.yml): try again soon"
                )
            self._waiters[service] += 1
            self._lines.setdefault(queue, OrderedDict())[place] = None
        return place

    def leave(self, place: Place) -> None:
        """Give up the place. Who was woken must then ring for the next."""
        with self._lock:
            line = self._lines.get(place.queue)
            if line is None or place not in line:
                return
            del line[place]
            if not line:
                del self._lines[place.queue]
            self._waiters[place.service] -= 1
            if not self._waiters[place.service]:
                del self._waiters[place.service]

    def head(self, queue: str) -> Place | None:
        """Who is to be served next."""
        with self._lock:
            line = self._lines.get(queue)
            return None if line is None else next(iter(line))

    def ring(self, queue: str) -> None:
        """The queue may have work: wake the head of its line."""
        # Before looking, without the lock: who joins looks at it afterwards.
        self.rings += 1
        if queue in self._lines and (place := self.head(queue)) is not None:
            place.wake()

    def ring_all(self) -> None:
        """Something has changed that may matter to anybody who waits."""
        with self._lock:
            places = [place for line in self._lines.values() for place in line]
        for place in places:
            place.wake()

    def close(self) -> None:
        """Have everybody leave, and nobody wait any more."""
        self.closed = True
        self.ring_all()

    @contextmanager
    def waiting(self, queue: str, service: str, most: int) -> "Iterator[Bell]":
        """A place for a thread, while it is used.

        Raises:
            Overloaded: *most* of the service wait already.
        """
        bell = Bell(self)
        place = self.join(queue, service, most, bell.rung.set)
        try:
            yield bell
        finally:
            self.leave(place)
            self.ring(queue)


class Bell:
    """What a thread that has a place waits on."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self.rung = threading.Event()
        # It may have rung after the thread looked and before it had its place.
        self.rung.set()

    def wait(self, seconds: float) -> bool:
        """Return when it has rung: True; or when the time is up: False."""
        if self._doorbell.closed or seconds <= 0 or not self.rung.wait(seconds):
            return False
        self.rung.clear()
        return not self._doorbell.closed
