"""Requests that wait: parked, and asked again when the doorbell has rung.

Some wait for work, each for some of its own; others until a job is settled, and all of
those have the same answer.

Everything here runs on the loop's thread, but for the ring.
"""

import asyncio
from collections import deque
from functools import partial
from time import perf_counter
from typing import Protocol, TypeAlias

from jobengine.api.exchange import Reply
from jobengine.api.lane import Incoming
from jobengine.daemon.connection import Connection
from jobengine.daemon.wsgi import Answer
from jobengine.doorbell import Doorbell, Place

Found: TypeAlias = Reply | Answer

# Waiters of one line that are served in one turn. The rest are next: nobody else's
# request waits for all of them.
SERVED_MAX = 256
# For how long of a turn those are told who compete with nobody: it is Flask that
# answers them.
TELL_S = 0.005


class Cap(Protocol):
    """What the settings say of waiters."""

    @property
    def waiters_per_service(self) -> int: ...


class Waiter:
    """A request that waits. `nothing` is its answer when the time is up."""

    __slots__ = ("asked", "connection", "nothing", "place", "timer")

    def __init__(
        self, connection: Connection, asked: Incoming, nothing: Found, place: Place
    ) -> None:
        self.connection = connection
        self.asked = asked
        self.nothing = nothing
        self.place = place
        self.timer: asyncio.TimerHandle


class Server(Protocol):
    """Who answers them."""

    def wake(self) -> None:
        """There is somebody to serve. From any thread."""

    def ask_again(self, waiter: Waiter) -> Found:
        """What there is for it now."""

    def finish(self, connection: Connection, asked: Incoming, found: Found) -> None:
        """Give one its answer."""


class Waiters:
    """All of them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        doorbell: Doorbell,
        server: Server,
    ) -> None:
        self.rung: set[str] = set()  # queues that may have work
        self.ended: set[str] = set()  # the lines of jobs that may be settled
        self._doubted: deque[Waiter] = deque()  # who may wait in vain
        self._loop = loop
        self._doorbell = doorbell
        self._server = server
        self._by_place: dict[Place, Waiter] = {}
        self._by_connection: dict[Connection, Waiter] = {}

    def park(
        self,
        connection: Connection,
        asked: Incoming,
        nothing: Found,
        rings: int,
        cap: Cap,
    ) -> None:
        """Have the request wait. *rings* is how often the doorbell had rung before it
        was found that there is nothing.

        Raises:
            Overloaded: too many of its service wait already.
        """
        wait = nothing.wait
        assert wait is not None
        ring = partial(
            self._ring, self.rung if wait.watch is None else self.ended, wait.queue
        )
        place = self._doorbell.join(
            wait.queue, wait.service, cap.waiters_per_service, wake=ring
        )
        waiter = Waiter(connection, asked, nothing, place)
        waiter.timer = self._loop.call_later(wait.seconds, self._time_is_up, waiter)
        asked.waited = True
        self._by_place[place] = self._by_connection[connection] = waiter
        if self._doorbell.rings != rings:
            ring()

    def serve(self) -> None:
        """Ask again for those whose queues may have work, in the order they came."""
        for queue in list(self.rung):
            self.rung.discard(queue)
            if self._serve(queue, SERVED_MAX):
                self._ring(self.rung, queue)

    def tell(self) -> None:
        """Ask again for those whose jobs may be settled, as long as a turn allows."""
        ends = perf_counter() + TELL_S
        while self.ended and perf_counter() < ends:
            line = self.ended.pop()
            if self._serve(line, 1):
                self.ended.add(line)

    def doubt(self) -> None:
        """Ask everybody again, some at a time: what may be done has changed."""
        self._doubted = deque(self._by_connection.values())
        self._settle_doubts()

    def leave(self, connection: Connection) -> bool:
        """It waits no more; False when it did not."""
        waiter = self._by_connection.get(connection)
        if waiter is None:
            return False
        self._take_out(waiter)
        return True

    def dismiss(self) -> None:
        """Tell everybody that there is nothing."""
        for waiter in list(self._by_connection.values()):
            self._time_is_up(waiter)

    def _serve(self, line: str, most: int) -> bool:
        """Answer *most* of a line, in its order; whether there may be more of them."""
        for _ in range(most):
            place = self._doorbell.head(line)
            if place is None:
                return False
            waiter = self._by_place[place]
            if waiter.connection.gone():
                self._take_out(waiter)
                waiter.connection.transport.close()
                continue
            found = self._server.ask_again(waiter)
            if found.wait is not None:
                return False
            self._take_out(waiter)
            self._server.finish(waiter.connection, waiter.asked, found)
        return True

    def _settle_doubts(self) -> None:
        ends = perf_counter() + TELL_S
        while self._doubted and perf_counter() < ends:
            waiter = self._doubted.popleft()
            if waiter.place in self._by_place:
                found = self._server.ask_again(waiter)
                if found.wait is None:
                    self._take_out(waiter)
                    self._server.finish(waiter.connection, waiter.asked, found)
        if self._doubted:
            self._loop.call_soon(self._settle_doubts)

    def _ring(self, lines: set[str], line: str) -> None:
        """From any thread."""
        lines.add(line)
        self._server.wake()

    def _take_out(self, waiter: Waiter) -> None:
        waiter.timer.cancel()
        self._doorbell.leave(waiter.place)
        del self._by_place[waiter.place]
        del self._by_connection[waiter.connection]

    def _time_is_up(self, waiter: Waiter) -> None:
        self._take_out(waiter)
        self._server.finish(waiter.connection, waiter.asked, waiter.nothing)
