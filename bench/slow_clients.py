"""What clients that drip a byte a second cost honest ones from the same address.

    python -m bench.slow_clients [--seconds 20] [--folder var]

A third of them drips the head of a request, a third a body, and a third reads a long
listing a byte at a time. Who is dropped comes again at once.
"""

import argparse
import asyncio
import multiprocessing
import selectors
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench import daemon, engine
from bench.load import CREATE, request
from bench.table import markdown, progress

ATTACKERS = 200
HONEST = 8
# Jobs of the queue that is listed: some 17 MB, more than any buffer takes.
LISTED = 50_000
# How long an attack is looked at, and from when on it should not matter.
CALM_S, SETTLE_S, SECONDS = 5.0, 5.0, 20.0
DRIP_S = 1.0
# So small that the daemon has to wait for its reader, as over a slow line.
WINDOW_BYTES = 4096
# After being dropped, or with no answer at all: a client that tries again at once, for
# ever, would measure how fast the system makes connections.
AGAIN_S = 0.1

HEAD = b"GET /api/v1/test HTTP/1.1\r\nHost: localhost\r\nX-Drip: " + b"x" * 4096
BODY_BEGINS = (
    b"PUT /api/v1/jobs/create HTTP/1.1\r\nHost: localhost\r\nX-Name: bench\r\n"
    b"X-Queue: bench\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n"
)
LISTING = request("GET", "/api/v1/jobs").replace(b"X-Queue: bench", b"X-Queue: big")

Drip = Callable[[socket.socket], Awaitable[None]]
# When a create was answered, or given up at the end, and how long it took; seconds.
Taken = tuple[float, float]


# --- the attack


async def _drip_head(wire: socket.socket) -> None:
    await _drip(wire, b"", HEAD)


async def _drip_body(wire: socket.socket) -> None:
    await _drip(wire, BODY_BEGINS, b" " * 4096)


async def _drip(wire: socket.socket, first: bytes, rest: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(wire, first)
    for at in range(len(rest)):
        await loop.sock_sendall(wire, rest[at : at + 1])
        with suppress(TimeoutError):
            # Whatever comes says that it is over.
            await asyncio.wait_for(loop.sock_recv(wire, 4096), DRIP_S)
            return


async def _sip(wire: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(wire, LISTING)
    while await loop.sock_recv(wire, 1):
        await asyncio.sleep(DRIP_S)


KINDS: tuple[Drip, ...] = (_drip_head, _drip_body, _sip)


async def _attacker(port: int, drip: Drip) -> None:
    loop = asyncio.get_running_loop()
    while True:
        with socket.socket() as wire, suppress(OSError):
            wire.setblocking(False)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
            await loop.sock_connect(wire, ("127.0.0.1", port))
            await drip(wire)
        await asyncio.sleep(AGAIN_S)


async def _attack(port: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(ATTACKERS):
            group.create_task(_attacker(port, KINDS[number % len(KINDS)]))


def _attacking(port: int) -> None:
    asyncio.run(_attack(port))


@contextmanager
def attack(port: int) -> Iterator[None]:
    """Slow clients, in a process of their own, until the block ends."""
    process = multiprocessing.get_context("spawn").Process(
        target=_attacking, args=(port,), daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


# --- who suffers from it


class Honest:
    """One connection that makes one job after another."""

    def __init__(self, port: int, selector: selectors.BaseSelector) -> None:
        self.taken: list[Taken] = []
        self._port = port
        self._selector = selector
        self._connect()

    def receive(self) -> None:
        """Take what has come. An answer: ask again. The end: connect again."""
        try:
            data = self._wire.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(self._wire)
            self._wire.close()
            self._connect()
            return
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
        if found and len(body) >= int(length):
            assert head.startswith(b"HTTP/1.1 201 "), head
            self.give_up()
            self._ask()

    def give_up(self) -> None:
        """Note how long the present create has taken by now."""
        now = time.perf_counter()
        self.taken.append((now, now - self._began))

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    def _connect(self) -> None:
        self._wire = socket.create_connection(("127.0.0.1", self._port))
        self._selector.register(self._wire, selectors.EVENT_READ, self)
        self._ask()

    def _ask(self) -> None:
        self._got = b""
        self._began = time.perf_counter()
        self._wire.sendall(CREATE)


def honest(port: int, seconds: float) -> list[Taken]:
    """What honest clients find for *seconds*. What is not answered then counts as
    having taken until then."""
    selector = selectors.DefaultSelector()
    everyone = [Honest(port, selector) for _ in range(HONEST)]
    ends = time.perf_counter() + seconds
    while (left := ends - time.perf_counter()) > 0:
        for key, _ in selector.select(left):
            key.data.receive()
    for one in everyone:
        one.give_up()
        one.close()
    return [taken for one in everyone for taken in one.taken]


# --- the table


def measure(folder: Path, server: str, seconds: float) -> Iterator[list[str]]:
    """Rows: what honest clients find before an attack, in its beginning, and then."""
    path = folder / f"slow-{server}.queuedb"
    house = engine.open_at(path)
    engine.fill(house, LISTED, queue=engine.BIG)
    house.close()
    with daemon.running(folder, path, server=server) as ours:
        yield _row(server, "before", CALM_S, honest(ours.port, CALM_S))
        with attack(ours.port):
            began = time.perf_counter()
            taken = honest(ours.port, SETTLE_S + seconds)
        first = [each for each in taken if each[0] < began + SETTLE_S]
        later = [each for each in taken if each[0] >= began + SETTLE_S]
        yield _row(server, f"in the first {SETTLE_S:.0f} s", SETTLE_S, first)
        yield _row(server, "after that", seconds, later)


def _row(server: str, when: str, seconds: float, taken: list[Taken]) -> list[str]:
    times = sorted(took * 1e3 for _, took in taken)
    if not times:
        return [server, when, "0", "-", "-", "-"]
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    figures = [f"{ms:,.2f}" for ms in (p50, p99, times[-1])]
    return [server, when, f"{len(times) / seconds:,.0f}", *figures]


def slow(folder: Path, _rounds: int, _seconds: float, after: float = SECONDS) -> None:
    """The attack on each server."""
    rows: list[list[str]] = []
    for server in daemon.SERVERS:
        progress(f"{ATTACKERS} slow clients, {server}")
        rows += measure(folder, server, after)
    head = (
        "server",
        f"{ATTACKERS} slow clients",
        "creates/s",
        "p50",
        "p99",
        "most, ms",
    )
    markdown(head, rows)


def main() -> None:
    """Run the attack on each server, and print what became of the honest."""
    parser = argparse.ArgumentParser(prog="bench.slow_clients", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--folder", type=Path, default=Path("var"))
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="slow-", dir=options.folder)).resolve()
    try:
        slow(folder, 1, 0, options.seconds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
