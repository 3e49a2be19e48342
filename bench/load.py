"""A load client: raw HTTP/1.1 on many keep-alive connections, one epoll, no threads.

Run as a process of its own, so that it never shares an interpreter with the server:

    python -m bench.load 127.0.0.1:6010 creates 16 3

prints the acts per second over 3 s on 16 connections. A lifecycle is create, next and
complete, one after the other on one connection.
"""

import selectors
import socket
import sys
import time
from collections.abc import Iterator

QUEUE, SERVICE = "bench", "bench"
PAYLOAD = b'{"pad":"' + b"x" * 190 + b'"}'
_HEADERS = f"Host: localhost\r\nX-Name: {SERVICE}\r\nX-Queue: {QUEUE}\r\n"

# One connection's acts: sends a request, is given the answer.
Script = Iterator[bytes]


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """The bytes of one request."""
    head = f"{method} {path} HTTP/1.1\r\n{_HEADERS}"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


CREATE = request(
    "PUT",
    "/api/v1/jobs/create",
    b'{"content":%b,"valid_for":86400,"priority":50}' % PAYLOAD,
)
NEXT = request("GET", "/api/v1/jobs/next")
DONE = b'{"status":"complete"}'


class Connection:
    """One keep-alive connection that goes through its acts for ever."""

    def __init__(self, address: tuple[str, int], kind: str) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.kind = kind
        self.done = 0
        self._step = 0
        self._buffer = b""
        self._send(CREATE)

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
        expected = (201, 200, 200)[self._step]
        if status != expected:
            raise SystemExit(f"{status} where {expected} was expected: {body!r}")
        if self.kind == "creates":
            self.done += 1
            self._send(CREATE)
        elif self._step == 0:
            self._step = 1
            self._send(NEXT)
        elif self._step == 1:
            self._step = 2
            uid = body[body.rindex(b'"uid":"') + 7 :][:36].decode()
            self._send(request("POST", f"/api/v1/jobs/{uid}", DONE))
        else:
            self._step = 0
            self.done += 1
            self._send(CREATE)

    def _send(self, data: bytes) -> None:
        self.socket.sendall(data)


def run(address: tuple[str, int], kind: str, connections: int, seconds: float) -> float:
    """Acts per second."""
    selector = selectors.DefaultSelector()
    everyone = [Connection(address, kind) for _ in range(connections)]
    for connection in everyone:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for key, _ in selector.select(1):
            key.data.receive()
    took = time.perf_counter() - began
    for connection in everyone:
        connection.socket.close()
    return sum(connection.done for connection in everyone) / took


if __name__ == "__main__":
    host, _, port = sys.argv[1].partition(":")
    print(run((host, int(port)), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
