"""Requests over sockets, blocking: the carrier of Client. Knows no verb.

It is exact about what was certainly not carried out. Until the last byte of a request
has been handed to the system the daemon has no whole request, and does nothing.
"""

import os
import select
import socket
import ssl
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any, Self

from jobengine.client.address import Address, Files, reached
from jobengine.client.hearing import CutOff, NotHttp, hear
from jobengine.client.transport import Answer, Request
from jobengine.errors import BadAnswer, Unanswered, Unreachable

# A daemon that is there takes a connection at once.
CONNECT_S = 10.0
# Of what a library has to say: enough for one line.
WHY_CHARS_MAX = 200

_FAULTS = (OSError, CutOff, NotHttp)


def connect(url: str, *, files: Files, timeout: float, connections: int) -> "Http":
    """The carrier to the daemon of this URL. Nothing is opened yet but the files.

    Raises:
        ConfigError: the URL says none, a file cannot be used, or there are to be none.
    """
    address, context = reached(url, files, connections)
    return Http(address, context=context, timeout=timeout, connections=connections)


class Http:
    """A Transport over connections that are kept open, up to so many."""

    def __init__(
        self,
        address: Address,
        *,
        context: ssl.SSLContext | None = None,
        timeout: float = 30.0,
        connections: int = 16,
    ) -> None:
        self._address = address
        self._context = context
        self._timeout = timeout
        self._connections = connections
        self._lines = _Lines(connections)

    def __str__(self) -> str:
        return str(self._address)

    def send(self, request: Request) -> Answer:
        """Carry the request, once.

        Raises:
            Unreachable: it was certainly not carried out.
            Unanswered: it may have been carried out, or not.
            BadAnswer: what was answered is not HTTP, or far too long.
        """
        lines = self._lines_here()
        line = lines.take() or _Line()
        # Before it is asked whether this is over: who ends it looks in the other order.
        lines.busy.add(line)
        try:
            answer = self._exchange(lines, line, request)
        except BaseException:
            line.close()
            raise
        finally:
            lines.busy.discard(line)
        lines.keep(line)
        return answer

    def another(self) -> Self:
        """The same with connections of its own."""
        return type(self)(
            self._address,
            context=self._context,
            timeout=self._timeout,
            connections=self._connections,
        )

    def hang_up(self) -> None:
        """As interrupt, but what the daemon has answered before it knows is heard."""
        self._end(socket.SHUT_WR)

    def interrupt(self) -> None:
        """Have all that wait for an answer, or send from now on, raise Unanswered."""
        self._end(socket.SHUT_RDWR)

    def _end(self, how: int) -> None:
        lines = self._lines_here()
        lines.over = True
        for line in list(lines.busy):
            with suppress(OSError):
                _shut(line.sock, how)

    def close(self) -> None:
        """Let go of the connections that nobody is using."""
        lines = self._lines_here()
        while line := lines.take():
            line.close()

    def _lines_here(self) -> "_Lines":
        """The connections of this process: a fork shares none with its parent, whose
        answers it would read."""
        if self._lines.pid != os.getpid():
            self._lines = _Lines(self._connections)
        return self._lines

    def _exchange(self, lines: "_Lines", line: "_Line", request: Request) -> Answer:
        try:
            whole = self._say(lines, line, request)
        except _FAULTS as error:
            lines.check()
            raise self._unreachable(error) from error
        try:
            until = monotonic() + self._timeout + request.wait_s
            assert line.sock is not None, "it was just spoken to"
            answer, more = hear(line.sock, until)
            if not more:
                line.close()
            return answer
        except _FAULTS as error:
            lines.check()
            if not whole:
                raise self._unreachable(error) from error
            raise self._unanswered(error) from error

    def _say(self, lines: "_Lines", line: "_Line", request: Request) -> bool:
        """Send the request; whether all of it. What was refused for its head alone may
        have an answer before it has come whole."""
        sock = line.opened(self._address, self._context, min(self._timeout, CONNECT_S))
        lines.check()
        sock.settimeout(self._timeout + request.wait_s)
        try:
            # At once, for one packet, and one look of the daemon at it.
            sock.sendall(self._told(request))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _told(self, request: Request) -> bytes:
        head = [
            f"{request.method} {self._address.prefix}{request.target} HTTP/1.1",
            f"Host: {self._address.netloc}",
            *(f"{name}: {text}" for name, text in request.headers.items()),
        ]
        body = request.body
        if body is not None or request.method != "GET":
            head.append(f"Content-Length: {len(body or b'')}")
        return "\r\n".join((*head, "\r\n")).encode("ascii") + (body or b"")

    def _unreachable(self, error: Exception) -> Unreachable:
        found = Unreachable(f"{self._address} was not reached: {why(error)}")
        # Another try meets the same certificate.
        found.retryable = not isinstance(error, ssl.SSLCertVerificationError)
        return found

    def _unanswered(self, error: Exception) -> Exception:
        if isinstance(error, NotHttp):
            return BadAnswer(f"{self._address} {error}")
        return Unanswered(f"{self._address} gave no answer: {why(error)}")


class _Line:
    """A connection, once it is opened."""

    __slots__ = ("sock",)

    def __init__(self) -> None:
        self.sock: socket.socket | None = None

    def opened(
        self, address: Address, context: ssl.SSLContext | None, timeout: float
    ) -> socket.socket:
        """Its socket, which the daemon has not ended.

        Raises:
            OSError: it cannot be opened, or the certificate does not count.
        """
        if self.sock is not None and _has_more(self.sock):
            self.close()
        if self.sock is None:
            where = address.host, address.port
            self.sock = socket.create_connection(where, timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                self.sock = context.wrap_socket(self.sock, server_hostname=address.host)
        return self.sock

    def close(self) -> None:
        """End it."""
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()


def _has_more(sock: socket.socket) -> bool:
    """Whether there is something to be heard where nothing was asked: its end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _Lines:
    """Connections of one process. Sets and deques are changed by one operation each, so
    no lock is needed, which a fork could find taken."""

    def __init__(self, most: int) -> None:
        self.pid = os.getpid()
        self.over = False
        self.busy: set[_Line] = set()
        self._idle: deque[_Line] = deque()
        self._most = most

    def take(self) -> "_Line | None":
        """The one that was used last: the others may go stale."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def keep(self, line: "_Line") -> None:
        if len(self._idle) < self._most and not self.over:
            self._idle.append(line)
        else:
            line.close()

    def check(self) -> None:
        """Raises: Unanswered, once all is over."""
        if self.over:
            raise Unanswered("the client was interrupted")


def _shut(sock: Any, how: int) -> None:
    # Not an SSLSocket's own, which takes the session from under who is reading it.
    if sock is not None:
        socket.socket.shutdown(sock, how)


def why(error: BaseException) -> str:
    """The reason in a few words; not those of libraries, which name their objects."""
    while error.__cause__ is not None and not isinstance(error, TimeoutError):
        error = error.__cause__
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, CutOff):
        return "it was cut off"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not count: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"  # its number is none of the system's
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}".rstrip(": ")[:WHY_CHARS_MAX]
