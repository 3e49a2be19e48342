"""Requests over sockets, blocking: the carrier of Client. Knows no verb.

It is exact about what was certainly not carried out. Until the last byte of a request
has been handed to the system the daemon has no whole request, and does nothing.
"""

import os
import socket
import ssl
from collections import deque
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, Self

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from jobengine.client.address import Address, Files, proofs
from jobengine.client.transport import Answer, Request
from jobengine.errors import BadAnswer, Unanswered, Unreachable

# A daemon that is there takes a connection at once.
CONNECT_S = 10.0
# Several times what a daemon answers at most: a page, or a claim, of 8 MiB.
ANSWER_BYTES_MAX = 256 * 1024 * 1024

# Of what a library has to say: enough for one line.
WHY_CHARS_MAX = 200

Line = HTTPConnection | HTTPSConnection
_FAULTS = (OSError, HTTPException, HTTPError)


def connect(url: str, *, files: Files, timeout: float, connections: int) -> "Http":
    """The carrier to the daemon of this URL. Nothing is opened yet but the files.

    Raises:
        ConfigError: the URL says none, or a file cannot be used.
    """
    address = Address.parse(url)
    context = proofs(files) if address.scheme == "https" else None
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

    def send(self, request: Request) -> Answer:
        """Carry the request, once.

        Raises:
            Unreachable: it was certainly not carried out.
            Unanswered: it may have been carried out, or not.
            BadAnswer: what was answered is not HTTP, or far too long.
        """
        lines = self._lines_here()
        line = lines.take() or self._new_line()
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

    def interrupt(self) -> None:
        """Have all that wait for an answer, or send from now on, raise Unanswered."""
        lines = self._lines_here()
        lines.over = True
        for line in list(lines.busy):
            with suppress(OSError):
                _shut(line.sock)

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

    def _new_line(self) -> Line:
        where: dict[str, Any] = {"host": self._address.host, "port": self._address.port}
        if self._address.scheme == "http":
            return HTTPConnection(**where)
        return HTTPSConnection(**where, ssl_context=self._context)

    def _exchange(self, lines: "_Lines", line: Line, request: Request) -> Answer:
        try:
            whole = self._say(lines, line, request)
        except _FAULTS as error:
            lines.check()
            raise self._unreachable(error) from error
        try:
            return _hear(line, request.method)
        except _FAULTS as error:
            lines.check()
            if not whole:
                raise self._unreachable(error) from error
            raise self._unanswered(error) from error

    def _say(self, lines: "_Lines", line: Line, request: Request) -> bool:
        """Send the request; whether all of it. What was refused for its head alone may
        have an answer before it has come whole."""
        if line.sock is not None and not line.is_connected:
            line.close()  # the daemon ended it meanwhile
        if line.sock is None:
            line.timeout = min(self._timeout, CONNECT_S)
            line.connect()
        lines.check()
        line.sock.settimeout(self._timeout + request.wait_s)
        try:
            # At once, for one packet, and one look of the daemon at it.
            line.sock.sendall(self._told(request))
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
        cut_off = isinstance(error, OSError | HTTPError | IncompleteRead)
        if cut_off:
            return Unanswered(f"{self._address} gave no answer: {why(error)}")
        return BadAnswer(f"{self._address} does not answer as HTTP: {why(error)}")


class _Lines:
    """Connections of one process. Sets and deques are changed by one operation each, so
    no lock is needed, which a fork could find taken."""

    def __init__(self, most: int) -> None:
        self.pid = os.getpid()
        self.over = False
        self.busy: set[Line] = set()
        self._idle: deque[Line] = deque()
        self._most = most

    def take(self) -> Line | None:
        """The one that was used last: the others may go stale."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def keep(self, line: Line) -> None:
        if len(self._idle) < self._most and not self.over:
            self._idle.append(line)
        else:
            line.close()

    def check(self) -> None:
        """Raises: Unanswered, once all is over."""
        if self.over:
            raise Unanswered("the client was interrupted")


def _hear(line: Line, method: str) -> Answer:
    # Not urllib3's own reading, which is made for answers of all kinds and takes twice
    # as long.
    with HTTPResponse(line.sock, method=method) as response:
        response.begin()
        return _read(line, response)


def _read(line: Line, response: HTTPResponse) -> Answer:
    body = response.read(ANSWER_BYTES_MAX + 1)
    if len(body) > ANSWER_BYTES_MAX:
        raise BadAnswer(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
    if response.length:
        raise IncompleteRead(b"", response.length)
    if response.will_close:
        line.close()
    headers = {name.lower(): text for name, text in response.headers.items()}
    return Answer(response.status, headers, body)


def _shut(sock: Any) -> None:
    # Not an SSLSocket's own, which takes the session from under who is reading it.
    if sock is not None:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def why(error: BaseException) -> str:
    """The reason in a few words; not those of libraries, which name their objects."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not count: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"  # its number is none of the system's
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}".rstrip(": ")[:WHY_CHARS_MAX]
