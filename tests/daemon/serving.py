"""The event loop for tests: real sockets of loopback, a house that the test holds.

The loop runs in a thread of the test's own process. With `StoppedLoop` its time stands
until the test moves it, so a deadline costs no waiting.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BufferedReader
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import uvloop

from jobengine.api.app import ENDPOINTS, create_app
from jobengine.api.health import Status
from jobengine.api.lane import HotLane
from jobengine.build import House
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.daemon.connection import Connection
from jobengine.daemon.settings import Limits, RelaySettings
from jobengine.daemon.turns import Turns
from jobengine.daemon.wsgi import Gateway

T = TypeVar("T")

# For what must come, on a machine that is busy besides.
PATIENCE_S = 20.0

LIMITS = Limits(
    body_bytes=1 << 20,
    connections=1000,
    connections_per_address=1000,
    waiters_per_service=1000,
    wait_seconds=60,
    read_seconds=10,
    header_seconds=5,
    idle_seconds=75,
    pipeline=32,
    buffered_bytes=2 << 20,
    inflight_bytes=256 << 20,
)
BOTH = frozenset({"mailer", "shop"})
RULES = Rulebook(
    {
        "mail": QueueRules(
            "mail", read=frozenset({"mailer", "printer"}), write=frozenset({"shop"})
        ),
        "both": QueueRules("both", read=BOTH, write=BOTH),
    }
)
NO_RELAY = RelaySettings()
DIALECTS = frozenset({"v1", "v1_keys", "relay", "v2"})
JOB = b'{"content":{"n":1},"priority":50,"valid_for":600}'


@dataclass(frozen=True)
class Settings:
    """What the application and the turns need of the settings."""

    limits: Limits = LIMITS
    auth_mode: str | None = None
    hosts: tuple[str, ...] = ()
    relay: RelaySettings = NO_RELAY
    dialects: frozenset[str] = DIALECTS


def request(
    method: str,
    path: str,
    name: str = "",
    *fields: str,
    queue: str = "mail",
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """One request, as *name* where one is given, with more *fields* of its head."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost"]
    if name:
        lines += [f"X-Name: {name}", f"X-Queue: {queue}"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + body


def create(content: str = '{"n":1}', *fields: str, queue: str = "mail") -> bytes:
    """The request of the shop that queues a job."""
    body = f'{{"content":{content},"priority":50,"valid_for":600}}'.encode()
    path = "/api/v1/jobs/create"
    return request("PUT", path, "shop", *fields, queue=queue, body=body)


def take(
    *fields: str, name: str = "mailer", wait: int = 0, queue: str = "mail"
) -> bytes:
    """The request for the next job, waiting for one if *wait* says so."""
    path = "/api/v1/jobs/next" + (f"?wait={wait}" if wait else "")
    return request("GET", path, name, *fields, queue=queue)


LIVE = request("GET", "/livez")  # plain: Flask's
TEST = request("GET", "/api/v1/test")  # hot


class Heard(NamedTuple):
    """An answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection."""

    def __init__(self, port: int, host: str = "127.0.0.1", **how: Any) -> None:
        self.wire = socket.create_connection((host, port), PATIENCE_S, **how)
        self._file: BufferedReader = self.wire.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, *data: bytes) -> "Client":
        self.wire.sendall(b"".join(data))
        return self

    def hear(self, *, head: bool = False) -> Heard:
        """The next answer; *head*: to a HEAD."""
        line = self._file.readline()
        assert line, "the connection has ended"
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while (line := self._file.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        if head or status in {100, 204, 304}:
            return Heard(status, headers, b"")
        return Heard(status, headers, self._body(headers))

    def rest(self) -> bytes:
        """All that comes before the connection ends."""
        return self._file.read()

    def ended(self) -> bool:
        """Whether it ends without another byte, cleanly or not."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True

    def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing has come, and the connection stands."""
        self.wire.settimeout(seconds)
        try:
            self.wire.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.wire.settimeout(PATIENCE_S)
        return False

    def hang_up(self) -> None:
        """Say no more; listen on."""
        self.wire.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._file.close()
        self.wire.close()

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self._file.readline(), 16):
                parts.append(self._file.read(size))
                assert self._file.readline() == b"\r\n"
            assert self._file.readline() == b"\r\n"
            return b"".join(parts)
        if "content-length" in headers:
            return self._file.read(int(headers["content-length"]))
        return self._file.read()


class StoppedLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands, but for what a test lets pass."""

    def __init__(self) -> None:
        super().__init__()
        self._stands_at: float | None = 1000.0
        self._ahead = 0.0

    def time(self) -> float:
        if self._stands_at is None:
            return time.monotonic() + self._ahead
        return self._stands_at

    def skip(self, seconds: float) -> None:
        """Let time pass. On the loop's thread."""
        assert self._stands_at is not None
        self._stands_at += seconds

    def go(self) -> None:
        """Have time pass by itself from now on."""
        if self._stands_at is not None:
            self._ahead = self._stands_at - time.monotonic()
            self._stands_at = None


@dataclass
class Serving:
    """One house served by a loop, from `with` to its end."""

    house: House
    settings: Settings = field(default_factory=Settings)
    loop: asyncio.AbstractEventLoop = field(default_factory=uvloop.new_event_loop)
    lane: Callable[..., HotLane] = HotLane
    drain_s: float = 5.0

    def __enter__(self) -> "Serving":
        self.status = Status()
        self.broken = threading.Event()  # told that a turn could not be ended
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        assert kind is not None or not self.broken.is_set(), "a turn broke off"

    def connect(self, **how: Any) -> Client:
        return Client(self.port, **how)

    def ask(self, said: bytes) -> Heard:
        """One exchange on a connection of its own."""
        with self.connect() as client:
            return client.say(said).hear()

    def run(self, call: Callable[[], T]) -> T:
        """What *call* gives on the loop's thread."""

        async def made() -> T:
            return call()

        found = asyncio.run_coroutine_threadsafe(made(), self.loop)
        return found.result(PATIENCE_S)

    def skip(self, seconds: float) -> None:
        """Let time pass for the loop, and return when it has done what is due."""
        assert isinstance(self.loop, StoppedLoop)
        self.run(lambda: self.loop.skip(seconds))
        self.rest()

    def rest(self) -> None:
        """Return when what is under way, and what comes of it, is done."""
        for _ in range(4):
            self.run(lambda: None)

    def limit(self, **limits: int) -> None:
        """As a reload does it."""

        def change() -> None:
            self.turns.use_limits(replace(self.turns.limits, **limits))
            self.settings = replace(self.settings, limits=self.turns.limits)
            self.app.extensions["jobengine"].settings = self.settings

        self.run(change)

    def waiting(self, count: int) -> None:
        """Return when so many requests wait for work."""
        self.until(lambda: self.house.doorbell.waiters == count, f"{count} wait")

    def until(self, look: Callable[[], object], what: str) -> None:
        """Return when *look* gives something true."""
        ends = time.monotonic() + PATIENCE_S
        while not look():
            assert time.monotonic() < ends, f"not within {PATIENCE_S} s: {what}"
            time.sleep(0.002)

    def hold(self) -> "Held":
        """Stop the loop while the block lasts: what comes then is read in one turn."""
        return Held(self)

    def stop(self) -> None:
        """Drain, as for SIGTERM; return when the loop has ended."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            self.house.close()
            self.loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self.app = create_app(self.house, self.settings, self.status)
        desk = self.app.extensions["jobengine"]
        self.turns = Turns(
            self.loop,
            house=self.house,
            lane=self.lane(desk, ENDPOINTS.values()),
            gateway=Gateway(self.app, ("127.0.0.1", "6010"), "http"),
            meter=desk.meter,
            limits=self.settings.limits,
            broken=self.broken.set,
        )
        self.turns._telling = False  # nobody reads a test's requests
        server = await self.loop.create_server(
            lambda: Connection(self.turns), "127.0.0.1", 0, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        if isinstance(self.loop, StoppedLoop):
            self.loop.go()
        server.close()
        await self.turns.drain(self.drain_s)
        self.turns.close()


class Held:
    """A loop that does nothing until the block ends."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._go = threading.Event()

    def __enter__(self) -> None:
        stands = threading.Event()

        def stand() -> None:
            stands.set()
            self._go.wait(PATIENCE_S)

        self._serving.loop.call_soon_threadsafe(stand)
        assert stands.wait(PATIENCE_S)

    def __exit__(self, *_: object) -> None:
        self._go.set()
