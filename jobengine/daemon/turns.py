"""The turns of the event loop: what is asked within one is committed once, at its end,
and answered after that.

Everything here runs on the loop's thread, but for `wake` and the slow lane's work.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Protocol

import structlog

from jobengine.api.endpoint import House
from jobengine.api.exchange import Reply
from jobengine.api.lane import Head, HotLane, Incoming
from jobengine.daemon.connection import Connection
from jobengine.daemon.heads import Heads
from jobengine.daemon.seats import Seats
from jobengine.daemon.slow import SlowLane
from jobengine.daemon.waiters import Found, Waiter, Waiters
from jobengine.daemon.wire import Wire
from jobengine.daemon.wsgi import Answer, Gateway
from jobengine.errors import JobEngineError, Overloaded
from jobengine.store.port import Committer
from jobengine.telemetry.logs import path_shown
from jobengine.telemetry.metrics import Meter

# Flask's share of a turn. What does not fit waits for the next, behind what came in.
PLAIN_S = 0.005
# Flask takes a thread of its own for a larger body: it is a millisecond's work. What
# the lane takes is up to its forms.
BODY_BYTES_MAX = 64 << 10
# How often deadlines are looked at.
TICK_S = 1.0
# How often a drain looks who is still there.
DRAIN_LOOK_S = 0.02

log = structlog.get_logger()


class Limits(Protocol):
    """What the turns and their connections need of the settings."""

    @property
    def body_bytes(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def connections_per_address(self) -> int: ...
    @property
    def waiters_per_service(self) -> int: ...
    @property
    def read_seconds(self) -> int: ...
    @property
    def header_seconds(self) -> int: ...
    @property
    def idle_seconds(self) -> int: ...
    @property
    def pipeline(self) -> int: ...
    @property
    def buffered_bytes(self) -> int: ...
    @property
    def inflight_bytes(self) -> int: ...


class Turns:
    """One loop's turns.

    *broken* is told when a turn could not be ended: nobody knows what was answered.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        house: House,
        lane: HotLane,
        gateway: Gateway,
        meter: Meter,
        limits: Limits,
        broken: Callable[[], None],
    ) -> None:
        self.limits = limits
        self.now = loop.time()
        self.held = 0  # bytes of memory that requests take
        self.draining = False
        self._loop = loop
        self._thread = threading.get_ident()
        self._store = house.store
        self._doorbell = house.doorbell
        self._lane = lane
        self._gateway = gateway
        self._wire = Wire()
        self._meter = meter
        self._broken = broken
        self._slow = SlowLane(loop)
        self._waiters = Waiters(loop, house.doorbell, self)
        self.heads = Heads()
        self.seats = Seats()
        self._plain: deque[tuple[Connection, Incoming]] = deque()
        self._out: list[tuple[Connection, Incoming, Found]] = []
        # Who goes on after this turn, and whether with what kept it busy done.
        self._later: dict[Connection, bool] = {}
        self._streams: dict[Connection, Callable[[], None]] = {}  # their readers rest
        self._telling = log.is_enabled_for(logging.DEBUG)
        self._ending = self._tending = False  # what is scheduled
        self._committer: Committer = house.store.take_turns(self.wake)
        loop.call_later(TICK_S, self._tick)

    # --- the connections' side

    def admit(self, connection: Connection) -> bool:
        """Whether there is a place for one more."""
        return self.seats.take(connection, self.limits)

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self.seats.leave(connection)
        self._waiters.leave(connection)
        self.drained(connection)

    def leave(self, connection: Connection) -> bool:
        """It waits no more for work; False when it did not."""
        return self._waiters.leave(connection)

    def drained(self, connection: Connection) -> None:
        """Its client has read what was written, or has gone."""
        pull = self._streams.pop(connection, None)
        if pull is not None:
            pull()

    def begin(self, connection: Connection, asked: Incoming) -> bool:
        """Have *asked* answered: in this turn, True; or in a later one."""
        asked.began = perf_counter()
        if self._waiters.rung:
            # They came first.
            self._waiters.serve()
        if not self._ending:
            self._end_soon()
        rings = self._doorbell.rings
        reply = self._lane.answer(asked)
        if reply is None:
            if len(asked.body_bytes) > BODY_BYTES_MAX or self._lane.is_slow(asked):
                return self._begin_slow(connection, asked)
            self._plain.append((connection, asked))
            return False
        if reply.wait is None or self.draining:
            self._out.append((connection, asked, reply))
            return True
        try:
            self._waiters.park(connection, asked, reply, rings, self.limits)
        except Overloaded:
            self._plain.append((connection, asked))
        return False

    def refuse(
        self, connection: Connection, status: int, title: str, detail: str
    ) -> None:
        """Answer what is no request."""
        log.debug("not a request", status=status)
        asked = Incoming(Head(b"", b"", [], {}, connection.peer), b"")
        raw = self._wire.refusal(status, title, detail)
        self._out.append((connection, asked, Answer.raw(raw)))
        self._end_soon()

    def later(self, connection: Connection) -> None:
        """Have it go on in the next turn."""
        self._later.setdefault(connection, False)
        self._end_soon()

    def use_limits(self, limits: Limits) -> None:
        """Hold to these from now on."""
        self.limits = limits
        self.heads.forget()

    def ask_waiters_again(self) -> None:
        """The rules have changed: somebody may wait in vain."""
        self._waiters.doubt()

    # --- anybody's side

    def wake(self) -> None:
        """There is something to commit, or somebody to serve. From any thread."""
        if threading.get_ident() == self._thread:
            self._end_soon()
        else:
            self._loop.call_soon_threadsafe(self._end_soon)

    async def drain(self, seconds: float) -> None:
        """Answer what is under way, at once what waits, and end every connection."""
        self.draining = True
        self._waiters.dismiss()
        ends = self._loop.time() + seconds
        while len(self.seats) and self._loop.time() < ends:
            for connection in list(self.seats):
                connection.retire()
            await asyncio.sleep(DRAIN_LOOK_S)
        for connection in list(self.seats):
            connection.transport.abort()

    def close(self) -> None:
        """End the slow lane's thread."""
        self._slow.close()

    # --- the end of a turn

    def _end_soon(self) -> None:
        if not self._ending:
            self._ending = True
            self._loop.call_soon(self._end)

    def _end(self) -> None:
        try:
            self._end_turn()
        except Exception:  # the outermost loop
            log.exception("a turn broke off", code="bug")
            self._broken()

    def _end_turn(self) -> None:
        """Commit what was asked, then answer it."""
        self._work_plain()
        self._waiters.serve()
        self._waiters.tell()
        rest = self._committer.commit()
        self._ending = False  # until here this turn took it all
        if self._plain or self._waiters.rung or self._waiters.ended:
            self._end_soon()
        if rest is not None and self._committer.behind:
            # The disk is full, and what was staged waits for room: so does all that
            # was answered since.
            self._loop.call_later(rest, self._end_soon)
            return
        if rest is not None and not self._tending:
            self._tending = True
            self._loop.call_later(rest, self._tend, self._committer.frames)
        out, self._out = self._out, []
        later, self._later = self._later, {}
        failed = self._store.failure is not None
        now, answers = perf_counter(), []
        for connection, asked, found in out:
            if failed and asked.head.method:
                # What was answered before is not true: the application says so.
                self._send(connection, asked, self._ask_flask(asked))
            else:
                self._send(connection, asked, found)
                if isinstance(found, Reply) or found.wait is not None:
                    answers.append(_counted(asked, found, now))
            connection.served = 0
            if connection.stirred:
                later.setdefault(connection, False)
        if answers:
            self._meter.answered(*answers)
        for connection, done in later.items():
            connection.go_on(done=done)

    def _work_plain(self) -> None:
        """Have Flask answer for as long as a turn allows."""
        ends = perf_counter() + PLAIN_S
        while self._plain:
            connection, asked = self._plain.popleft()
            rings = self._doorbell.rings
            answer = self._ask_flask(asked)
            if answer.wait is not None and not self.draining:
                self._waiters.park(connection, asked, answer, rings, self.limits)
            else:
                self.finish(connection, asked, answer)
            if perf_counter() > ends:
                return

    def _ask_flask(self, asked: Incoming, **how: bool) -> Answer:
        try:
            return self._gateway.answer(asked, **how)
        except Exception:  # the outermost loop of a request
            log.exception("request failed", code="internal_error")
            return Answer.raw(self._wire.refusal(500, "Internal server error", "a bug"))

    def finish(self, connection: Connection, asked: Incoming, found: Found) -> None:
        """*found* is the answer to what kept the connection busy."""
        self._out.append((connection, asked, found))
        self._later[connection] = True
        self._end_soon()

    def ask_again(self, waiter: Waiter) -> Found:
        if isinstance(waiter.nothing, Reply):
            reply = self._lane.answer(waiter.asked)
            if reply is not None:
                return reply
        return self._ask_flask(waiter.asked, again=True)

    def _send(self, connection: Connection, asked: Incoming, found: Found) -> None:
        reply = found if isinstance(found, Reply) else found.reply
        if connection.lost or (asked.waited and connection.gone()):
            connection.owed -= 1
            if reply is not None and reply.undo is not None:
                # Where that cannot be written, its lease will run out.
                with suppress(JobEngineError):
                    reply.undo()
            return
        close = asked.head.close or self.draining
        if isinstance(found, Reply):
            data = self._wire.reply(found, asked.head.version, close=close)
        else:
            data = found.on_the_wire(self._wire, asked, close=close)
            close = close or found.closes
        connection.send(data, close=close)
        if self._telling and asked.head.method:
            _tell(asked, data)

    def _tend(self, frames: int) -> None:
        """Nothing may have been committed for a while."""
        self._tending = False
        if frames == self._committer.frames:
            self._committer.tend()
        # Has it said again when it wants to be tended next.
        self._end_soon()

    def _tick(self) -> None:
        self.now = self._loop.time()
        self._wire.tick()
        for connection in list(self.seats):
            if connection.deadline < self.now:
                connection.expire()
        if turned_away := self.seats.turned_away():
            log.warning(
                "connections turned away", count=turned_away, open=len(self.seats)
            )
        self._loop.call_later(TICK_S, self._tick)

    # --- the slow lane

    def _begin_slow(self, connection: Connection, asked: Incoming) -> bool:
        ask = partial(self._ask_flask, asked, whole=False)
        self._slow.do(ask, partial(self._slow_done, connection, asked))
        return False

    def _slow_done(
        self, connection: Connection, asked: Incoming, answer: Answer | None
    ) -> None:
        if answer is None:
            connection.transport.abort()
        elif answer.wait is not None:
            self._plain.append((connection, asked))
            self._end_soon()
        elif answer.rest is None:
            self.finish(connection, asked, answer)
        else:
            close = asked.head.close or self.draining
            data = answer.on_the_wire(self._wire, asked, close=close)
            if self._telling:
                _tell(asked, data)
            self._stream(connection, asked, answer, data)

    def _stream(
        self, connection: Connection, asked: Incoming, answer: Answer, data: bytes
    ) -> None:
        """Write a part, and see to the next once this one has been taken."""
        if connection.lost:
            self._slow.do(answer.close, lambda _none: None)
            return
        connection.transport.write(data)
        done = partial(self._streamed, connection, asked, answer)
        pull = partial(self._slow.do, answer.next, done)
        if connection.choked:
            self._streams[connection] = pull
        else:
            pull()

    def _streamed(
        self,
        connection: Connection,
        asked: Incoming,
        answer: Answer,
        part: bytes | None,
    ) -> None:
        if part is None:
            # It broke off, and only an end that is missing tells the client.
            connection.transport.abort()
        elif answer.rest is not None:
            self._stream(connection, asked, answer, answer.framed(part))
        else:
            connection.send(answer.framed(part), close=answer.closes)
            connection.go_on(done=True)


def _counted(asked: Incoming, found: Found, now: float) -> tuple[str, str, int, float]:
    """An answer, for the meter: of the lane, or of what was waited for in vain. All
    else that Flask answers it counts itself."""
    took = now - asked.began
    if not isinstance(found, Reply):
        return found.path, asked.head.method.decode("latin-1"), found.status, took
    row = asked.head.row
    assert row is not None, "the lane answers from its rows"
    return row.path, row.method, found.status, took


def _tell(asked: Incoming, data: bytes) -> None:
    """Log a request: never what it carries, nor what follows the question mark."""
    log.debug(
        "request",
        method=asked.head.method.decode("latin-1"),
        path=path_shown(asked.target.partition(b"?")[0].decode("latin-1")),
        status=int(data[9:12]),
        bytes=len(data),
        ms=round((perf_counter() - asked.began) * 1000, 1),
    )
