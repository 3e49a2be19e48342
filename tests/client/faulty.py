"""A server that does as it is told, on a free port of loopback: for what goes wrong
between a client and a daemon.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

# For what is promised at once, on a machine that is busy besides.
PATIENCE_S = 20.0

# What it does with one connection: gets it, and the place to note requests in.
Act = Callable[["Faulty", socket.socket], None]

JOB = (
    b'{"uid":"u-1","queue":"mail","state":"queued","priority":50,"attempt":0,'
    b'"created_at":"2026-11-22T11:12:13.928Z","updated_at":"2026-11-22T11:12:13.928Z",'
    b'"run_at":"2026-11-22T11:12:13.928Z"}'
)


class Faulty:
    """Serves one connection after another, each by the next of *acts*; the last of
    them serves all that come later."""

    def __init__(
        self, acts: Sequence[Act], context: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.hung_up = threading.Event()  # the first connection has ended
        self._acts = acts
        self._context = context
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, name="faulty")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone does not wake who accepts.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE_S)
            act = self._acts[min(self.connections, len(self._acts) - 1)]
            self.connections += 1
            with suppress(OSError):
                self._talk(act, connection)
            self.hung_up.set()

    def _talk(self, act: Act, plain: socket.socket) -> None:
        with plain:
            if self._context is None:
                act(self, plain)
                return
            with self._context.wrap_socket(plain, server_side=True) as secure:
                act(self, secure)

    def hear(self, connection: socket.socket) -> bytes:
        """The next request, whole; nothing where the client has gone."""
        told = b""
        while b"\r\n\r\n" not in told:
            part = connection.recv(65536)
            if not part:
                return b""
            told += part
        head, _, body = told.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]


def answer(status: int, body: bytes = b"", *headers: bytes) -> bytes:
    """An answer as a daemon would send it."""
    lines = [b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def problem(status: int, code: str, *headers: bytes) -> bytes:
    """A refusal as a daemon would send it."""
    body = b'{"code":"%b","status":%d,"detail":"so it is"}' % (code.encode(), status)
    return answer(status, body, b"X-Request-Id: r-1", *headers)


def says(*told: bytes) -> Act:
    """Answers one request after another like this, then hangs up."""

    def act(server: Faulty, connection: socket.socket) -> None:
        for each in told:
            if not server.hear(connection):
                return
            connection.sendall(each)

    return act


def drops(server: Faulty, connection: socket.socket) -> None:
    """Hears a request, and hangs up."""
    server.hear(connection)


def refuses_to_hear(server: Faulty, connection: socket.socket) -> None:
    """Hangs up at once, and so that nothing sent to it arrives anywhere."""
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def keeps_quiet(server: Faulty, connection: socket.socket) -> None:
    """Hears a request, and says nothing until the client has gone."""
    server.hear(connection)
    with suppress(OSError):
        connection.recv(1)
