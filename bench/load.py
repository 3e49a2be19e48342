"""The load client for where no C compiler is: what load.c does for HTTP, in Python.

Several processes of its own, each with one epoll and no threads:

    python -m bench.load http creates 6010 16 3

prints what load.c prints. It costs more than the fastest server does, so figures that
were taken with it are a floor.
"""

import multiprocessing
import selectors
import socket
import sys
import time
from collections.abc import Callable

PROCESSES = 2
# A worker that has not answered by then never will.
PATIENCE_S = 60
_HEADERS = "Host: localhost\r\nX-Name: bench\r\nX-Queue: bench\r\n"

# Acts done, seconds, microseconds of every first exchange.
Found = tuple[int, float, list[float]]


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """The bytes of one request."""
    head = f"{method} {path} HTTP/1.1\r\n{_HEADERS}"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


HELLO = request("GET", "/")
CREATE = request(
    "PUT",
    "/api/v1/jobs/create",
    b'{"content":{"pad":"%b"},"valid_for":86400,"priority":50}' % (b"x" * 190),
)
NEXT = request("GET", "/api/v1/jobs/next")
DONE = b'{"status":"complete"}'


def complete(body: bytes) -> bytes:
    """The report on the job that *body* is."""
    uid = body[body.rindex(b'"uid":"') + 7 :][:36].decode()
    return request("POST", f"/api/v1/jobs/{uid}", DONE)


# What each step sends, given the answer before, and the status that must come.
Step = tuple[Callable[[bytes], bytes], int]
STEPS: dict[str, list[Step]] = {
    "hello": [(lambda _: HELLO, 200)],
    "creates": [(lambda _: CREATE, 201)],
    "lifecycles": [(lambda _: CREATE, 201), (lambda _: NEXT, 200), (complete, 200)],
}


class Connection:
    """One keep-alive connection that goes through its steps for ever."""

    def __init__(self, port: int, kind: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.done = 0
        self.first_us: list[float] = []
        self._steps = STEPS[kind]
        self._step = 0
        self._buffer = b""
        self._ask(b"")

    def receive(self) -> None:
        """Take what has come; when an answer is whole, go on."""
        self._buffer += self.socket.recv(65536)
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n"):
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        if len(rest) < length:
            return
        self._buffer = b""
        self._advance(int(head[9:12]), rest)

    def _advance(self, status: int, body: bytes) -> None:
        expected = self._steps[self._step][1]
        if status != expected:
            raise ConnectionError(f"{status} where {expected} was expected: {body!r}")
        if self._step == 0:
            self.first_us.append((time.perf_counter() - self._began) * 1e6)
        self._step = (self._step + 1) % len(self._steps)
        self.done += self._step == 0
        self._ask(body)

    def _ask(self, answer: bytes) -> None:
        if self._step == 0:
            self._began = time.perf_counter()
        self.socket.sendall(self._steps[self._step][0](answer))


def run(port: int, kind: str, connections: int, seconds: float) -> Found:
    """What *connections* connections of one process get done."""
    selector = selectors.DefaultSelector()
    everyone = [Connection(port, kind) for _ in range(connections)]
    for connection in everyone:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for key, _ in selector.select(1):
            key.data.receive()
    took = time.perf_counter() - began
    for connection in everyone:
        connection.socket.close()
    firsts = [us for connection in everyone for us in connection.first_us]
    return sum(connection.done for connection in everyone), took, firsts


def main(kind: str, port: int, connections: int, seconds: float) -> None:
    """Load from as many processes as there is use for, and print what they found."""
    processes = min(PROCESSES, connections)
    shares = [
        (port, kind, (connections + n) // processes, seconds) for n in range(processes)
    ]
    with multiprocessing.Pool(processes) as pool:
        found = pool.starmap(run, shares)
    took = max(each[1] for each in found)
    firsts = sorted(us for each in found for us in each[2])
    print(
        sum(each[0] for each in found),
        round(took * 1e9),
        *(firsts[int(len(firsts) * share)] for share in (0.5, 0.99)),
        firsts[-1],
    )


if __name__ == "__main__":
    assert sys.argv[1] == "http"
    main(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
