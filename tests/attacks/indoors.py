"""The event loop's side of the daemon without sockets and without waiting.

A test turns the loop by hand, says what a client sends and when, and sees every byte
that goes back. One thread runs everything, so the same steps give the same outcome.
"""

import heapq
import socket
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from serving import LIMITS, RULES, Settings

from jobengine.api.app import ENDPOINTS, create_app
from jobengine.api.health import Status
from jobengine.api.lane import HotLane
from jobengine.daemon.connection import Connection
from jobengine.daemon.settings import Limits
from jobengine.daemon.turns import Turns
from jobengine.daemon.wsgi import Gateway
from jobengine.testing import SimClock, memory_house

Call = tuple[Callable[..., Any], tuple[Any, ...]]
# Turns that one request may take. More, and the loop never comes to rest.
ROUNDS_MAX = 10_000


class Timer:
    """What call_later gives."""

    def __init__(self) -> None:
        self.off = False

    def cancel(self) -> None:
        self.off = True


class HandLoop:
    """As much of an event loop as is used, and its time stands."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._ready: deque[Call] = deque()
        self._timers: list[tuple[float, int, Timer, Call]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[..., Any], *how: Any) -> None:
        self._ready.append((call, how))

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, call: Callable[..., Any], *how: Any) -> Timer:
        timer = Timer()
        entry = (self.now + delay, next(self._numbers), timer, (call, how))
        heapq.heappush(self._timers, entry)
        return timer

    def turn(self) -> bool:
        """Make the calls that are due now; False when there was none."""
        calls = len(self._ready)
        for _ in range(calls):
            call, how = self._ready.popleft()
            call(*how)
        return calls > 0

    def rest(self) -> None:
        """Turn until nothing is due."""
        for _ in range(ROUNDS_MAX):
            if not self.turn():
                return
        raise AssertionError("the loop never comes to rest")

    def advance(self, seconds: float) -> None:
        """Let time pass, and all happen that is due in it."""
        ends = self.now + seconds
        self.rest()
        while self._timers and self._timers[0][0] <= ends:
            self.now, _, timer, (call, how) = heapq.heappop(self._timers)
            if not timer.off:
                call(*how)
                self.rest()
        self.now = ends


class SlowLaneOfHand:
    """The slow lane without its thread."""

    def __init__(self, loop: HandLoop) -> None:
        self._loop = loop

    def do(self, work: Callable[[], Any], done: Callable[[Any], Any]) -> None:
        self._loop.call_soon(lambda: done(work()))

    def close(self) -> None: ...


class Line:
    """One client's connection: its transport, and the client at its other end.

    As strict as uvloop's: writing behind the end, or on what is gone, is an error.
    """

    def __init__(self, loop: HandLoop, protocol: Connection, peer: str) -> None:
        self.got = bytearray()  # what the client has been sent
        self.gone = False
        self.protocol = protocol
        self._loop = loop
        self._peer = (peer, 40_000)
        self._closing = self._ended = self._paused = False
        self._stalled = self._choked = False
        self._unread: list[bytes] = []  # sent, and not read; b"" is the end
        protocol.connection_made(self)  # type: ignore[arg-type]

    # --- the client's side

    def send(self, data: bytes) -> None:
        """Send *data*; b"": say that there is no more."""
        self._unread.append(data)
        self._deliver()

    def choke(self) -> None:
        """Read nothing more for now: the next answer stays where it is."""
        self._stalled = True

    def unchoke(self) -> None:
        """Read all there is."""
        self._stalled = False
        if self._choked and not self.gone:
            self._choked = False
            self.protocol.resume_writing()
            if self._closing:
                self._loop.call_soon(self._lose)

    def vanish(self) -> None:
        """Be gone without a word."""
        self._closing = True
        self._lose()

    # --- the transport's side

    def get_extra_info(self, name: str) -> Any:
        return {"peername": self._peer, "socket": _OPEN[0]}.get(name)

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert not self.gone, "a write to what is gone"
        assert not self._ended, "a write behind the end"
        if self._closing:
            return
        self.got += data
        if self._stalled and not self._choked:
            self._choked = True
            self.protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        assert not self._ended
        self._ended = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._choked:
                self._loop.call_soon(self._lose)

    def abort(self) -> None:
        self._closing = True
        self._loop.call_soon(self._lose)

    def pause_reading(self) -> None:
        assert not self._paused
        self._paused = True

    def resume_reading(self) -> None:
        assert self._paused
        self._paused = False
        self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._unread and not (self._paused or self._closing):
            data = self._unread.pop(0)
            if data:
                self.protocol.data_received(data)
            elif not self.protocol.eof_received():
                self.close()

    def _lose(self) -> None:
        if not self.gone:
            self.gone = True
            self.protocol.connection_lost(None)


# A socket that is open, for who asks the system whether the client is still there.
_OPEN = socket.socketpair()


def light(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """An application that costs nothing: for where what it says is not the point."""
    body = environ["REQUEST_METHOD"].encode() + environ["wsgi.input"].read()
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Indoors:
    """A house in memory and its turns; the application is real unless it is *light*."""

    def __init__(self, limits: Limits = LIMITS, *, lightly: bool = False) -> None:
        self.loop = HandLoop()
        self.house = memory_house(RULES, SimClock())
        app = create_app(self.house, Settings(limits), Status())
        self.desk = app.extensions["jobengine"]
        self.turns = Turns(
            self.loop,  # type: ignore[arg-type]
            house=self.house,
            meter=self.desk.meter,
            lane=HotLane(self.desk, ENDPOINTS.values()),
            gateway=Gateway(light if lightly else app, ("localhost", "1"), "http"),
            limits=limits,
            broken=_broken,
        )
        self.turns._slow.close()
        self.turns._slow = SlowLaneOfHand(self.loop)  # type: ignore[assignment]

    def connect(self, peer: str = "127.0.0.1") -> Line:
        """A new client."""
        return Line(self.loop, Connection(self.turns), peer)

    def check_nothing_is_left(self) -> None:
        """Now that everybody has gone, everything that they took is given back."""
        turns = self.turns
        self.loop.rest()
        assert turns.held == 0, f"{turns.held} bytes are held for nobody"
        assert len(turns.seats) == 0
        assert not turns.seats._addresses
        assert self.house.doorbell.waiters == 0
        unfinished = [*turns._plain, *turns._out, *turns._later, *turns._streams]
        assert not unfinished
        places = [self.desk.listings.acquire(blocking=False) for _ in range(2)]
        assert all(places), "a listing that nobody reads keeps its place"
        self.desk.listings.release(2)


def _broken() -> None:
    raise AssertionError("a turn broke off")
