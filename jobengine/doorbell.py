"""Who waits for what, in the order in which they came; rung by the store.

Those who wait for work stand in the line of their queue, which has its name; those who
wait until a job is settled, in the line of that job. A ring wakes the head of the line
and takes nobody out of it. Whoever is awake asks until there is nothing, and who leaves
the line passes the ring on. So no job lies there while somebody waits for it, whatever
made it claimable, and each wakes one; and of the end of a job all are told.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobengine.errors import Overloaded


class Place:
    """A place in one line."""

    __slots__ = ("line", "service", "wake")

    def __init__(self, line: str, service: str, wake: Callable[[], None]) -> None:
        self.line = line
        self.service = service
        self.wake = wake  # called outside the lock, by whoever rings


class Doorbell:
    """All lines, by their names. *monotonic* gives seconds."""

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

    def count(self, line: str) -> int:
        """How many wait in this line."""
        with self._lock:
            return len(self._lines.get(line, ()))

    def check(self, service: str, most: int) -> None:
        """Refuse one more of the service.

        Raises:
            Overloaded: *most* of them wait already.
        """
        if self._waiters[service] >= most:
            raise Overloaded(
                f"{most} requests of {service!r} wait already "
                "(limits.waiters_per_service in config.yml): try again soon"
            )

    def join(
        self, line: str, service: str, most: int, wake: Callable[[], None]
    ) -> Place:
        """The last place in the line.

        Raises:
            Overloaded: *most* of the service wait already.
        """
        place = Place(line, service, wake)
        with self._lock:
            self.check(service, most)
            self._waiters[service] += 1
            self._lines.setdefault(line, OrderedDict())[place] = None
        return place

    def leave(self, place: Place) -> None:
        """Give up the place. Who was woken must then ring for the next."""
        with self._lock:
            line = self._lines.get(place.line)
            if line is None or place not in line:
                return
            del line[place]
            if not line:
                del self._lines[place.line]
            self._waiters[place.service] -= 1
            if not self._waiters[place.service]:
                del self._waiters[place.service]

    def head(self, line: str) -> Place | None:
        """Who is to be served next."""
        with self._lock:
            places = self._lines.get(line)
            return None if places is None else next(iter(places))

    def ring(self, line: str) -> None:
        """There may be what they wait for: wake the head of the line."""
        # Before looking, without the lock: who joins looks at it afterwards.
        self.rings += 1
        if line in self._lines and (place := self.head(line)) is not None:
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
    def waiting(self, line: str, service: str, most: int) -> "Iterator[Bell]":
        """A place for a thread, while it is used.

        Raises:
            Overloaded: *most* of the service wait already.
        """
        bell = Bell(self)
        place = self.join(line, service, most, bell.rung.set)
        try:
            yield bell
        finally:
            self.leave(place)
            self.ring(line)


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
