"""Carries what a client asks to a house in the same process, and the answers back.

No socket and no parser: the hot lane is asked first, then the application, as a WSGI
server would. So every verb is what it is over the wire. Knows no verb, and not where
the house comes from.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from jobengine.api.app import ENDPOINTS, create_app
from jobengine.api.endpoint import Desk, House, Settings
from jobengine.api.exchange import VARYING, Reply, Wait
from jobengine.api.health import Status
from jobengine.api.lane import Head, HotLane, Incoming
from jobengine.client.transport import Answer, Request
from jobengine.daemon.wsgi import Gateway
from jobengine.doorbell import Bell
from jobengine.errors import Overloaded, StoreFailed, Unanswered, Unreachable

# As a request has it that came over a Unix socket: from this machine, and from nowhere
# else.
_PEER, _HOST = "", b"localhost"


class Site:
    """A house and its API, for the Locals of one process.

    *down* takes the house down, once nobody can ask any more.
    """

    def __init__(
        self, house: House, settings: Settings, *, down: Callable[[], object]
    ) -> None:
        app = create_app(house, settings, Status())
        self.gateway = Gateway(app, (_HOST.decode(), "0"), "http")
        self.desk: Desk = app.extensions["jobengine"]
        self.lane = HotLane(self.desk, ENDPOINTS.values())
        self.house = house
        self.engine: object = None  # what the program calls it
        self._down = down
        self._lock = threading.Lock()  # guards `_closed` where it changes, and the end
        self._closed = False
        self._pid = os.getpid()

    @property
    def ours(self) -> bool:
        """Whether this is the process that opened it, and no fork of that."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raises: Unreachable, StoreFailed, when nothing can be asked here."""
        if not self.ours:
            raise Unreachable("another process opened the engine: open it after a fork")
        if self._closed:
            raise Unreachable("the engine is closed")
        # Some answers ask no store, and nobody here ends the process.
        failure = self.house.store.failure
        if failure is not None:
            raise StoreFailed(str(failure))

    def close(self) -> None:
        """Let nobody wait any more, or ask, and take the house down. Returns when that
        is done, whoever does it."""
        if not self.ours:
            return  # nothing of it was forked but its memory
        with self._lock:
            if not self._closed:
                self._closed = True
                self.house.doorbell.close()
                self._down()


class _Found(NamedTuple):
    """An answer, and the reply it was made of, which holds what is watched."""

    answer: Answer
    reply: Reply | None

    @property
    def wait(self) -> Wait | None:
        """What is to be waited for before it is given."""
        return None if self.reply is None else self.reply.wait


class Local:
    """The transport within a process. See client.transport.Transport."""

    def __str__(self) -> str:
        return "an engine in this process"

    def __init__(self, site: Site) -> None:
        self.site = site
        self._lock = threading.Lock()  # guards the two below
        self._bells: set[Bell] = set()  # of those who wait
        self._interrupted = False

    def send(self, request: Request) -> Answer:
        """Carry the request, once. It is answered when what the answer tells is
        durable.

        Raises:
            Unreachable: the engine is closed, or another process's.
            StoreFailed: nothing is acknowledged any more.
            Unanswered: `interrupt` was called.
        """
        self._check()
        asked = _incoming(request)
        found = self._ask(asked)
        if found.wait is None:
            return found.answer
        try:
            return self._waited(asked, found, found.wait)
        except Overloaded:
            # It is the application that refuses, as always.
            return self._ask_flask(asked, again=False).answer

    def another(self) -> "Local":
        """One of its own to interrupt."""
        return Local(self.site)

    def hang_up(self) -> None:
        """The same: what waits is told in this process, and at once."""
        self.interrupt()

    def interrupt(self) -> None:
        """Have all that wait raise Unanswered, and whatever is sent from now on."""
        if not self.site.ours:
            return  # the lock may be held by a thread that was not forked
        with self._lock:
            self._interrupted = True
            bells = list(self._bells)
        for bell in bells:
            bell.rung.set()

    def close(self) -> None:
        """The same. The house stays open."""
        self.interrupt()

    def _check(self) -> None:
        self.site.check()
        if self._interrupted:
            raise Unanswered("interrupted")

    def _ask(self, asked: Incoming, *, again: bool = False) -> _Found:
        """What there is to be said now."""
        site = self.site
        if len(asked.body_bytes) <= site.desk.settings.limits.body_bytes:
            reply = site.lane.answer(asked)
            if reply is not None:
                return _Found(_of_reply(reply), reply)
        return self._ask_flask(asked, again=again)

    def _ask_flask(self, asked: Incoming, *, again: bool) -> _Found:
        found = self.site.gateway.answer(asked, again=again)
        answer = Answer(found.status, _lower(found.headers), found.body)
        return _Found(answer, found.reply)

    def _waited(self, asked: Incoming, found: _Found, wait: Wait) -> Answer:
        """The answer once there is no more to wait for: that holds this thread.

        Raises:
            Overloaded: too many wait already.
        """
        doorbell = self.site.house.doorbell
        most = self.site.desk.settings.limits.waiters_per_service
        with (
            doorbell.waiting(wait.queue, wait.service, most) as bell,
            self._interruptible(bell),
        ):
            ends = doorbell.monotonic() + wait.seconds
            while bell.wait(ends - doorbell.monotonic()):
                self._check()
                found = self._ask(asked, again=True)
                if found.wait is None:
                    return found.answer
        self._check()
        return found.answer

    @contextmanager
    def _interruptible(self, bell: Bell) -> Iterator[None]:
        with self._lock:
            self._bells.add(bell)
        try:
            self._check()
            yield
        finally:
            with self._lock:
                self._bells.discard(bell)


def _incoming(request: Request) -> Incoming:
    """The request as the event loop's parser would have it."""
    fields, apart = [b"host", _HOST], {}
    for name, text in request.headers.items():
        key, value = name.lower().encode(), text.encode(errors="replace")
        if key in VARYING:
            apart[key] = value
        else:
            fields += (key, value)
    method, target = request.method.encode(), request.target.encode(errors="replace")
    head = Head(method, target, fields, apart, _PEER)
    return Incoming(head, request.body or b"")


def _of_reply(reply: Reply) -> Answer:
    body = reply.body
    whole = body if isinstance(body, bytes) else _whole(body, reply.on_close)
    kind = () if reply.kind is None else (("content-type", reply.kind),)
    headers = (*kind, *reply.headers, *reply.commit_header())
    return Answer(reply.status, _lower(headers), whole)


def _lower(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): text for name, text in headers}


def _whole(parts: Iterable[bytes], close: Callable[[], object] | None) -> bytes:
    try:
        return b"".join(parts)
    finally:
        if close is not None:
            close()
