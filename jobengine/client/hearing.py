"""Reads one answer from a socket, until an instant. Knows no request.

httptools parses, as it does for the daemon: http.client's headers go through the parser
of e-mail, which took two thirds of the time of a request.
"""

import socket
from time import monotonic
from typing import NoReturn

import httptools

from jobengine.client.transport import Answer

# Several times what a daemon answers at most: a page, or a claim, of 8 MiB.
ANSWER_BYTES_MAX = 256 * 1024 * 1024
# The heads of our daemon take 500 bytes.
HEAD_BYTES_MAX = 64 * 1024
READ_BYTES = 256 * 1024


class NotHttp(Exception):
    """What was heard is no answer, or far too long: what the other side does, in a few
    words, and nothing of what it said."""


class CutOff(Exception):
    """The other side went away before the answer had ended."""


class Heard:
    """An answer, as far as it has come. Its methods are httptools' callbacks."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.status = 0
        self.ended = False
        self.more = False  # another may follow it
        self.fault = "does not answer as HTTP"
        self._parts: list[bytes] = []
        self._bytes = 0
        self._head_bytes = 0
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        if self.ended:
            # Nobody has asked for this one.
            self.more = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.ended:
            return
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(f"answers with more than {HEAD_BYTES_MAX} bytes of headers")
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self.headers.get(key)
        self.headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        if not self.ended:
            self.status = self.parser.get_status_code()
            self.more = self.parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        if self.ended:
            return
        self._bytes += len(part)
        if self._bytes > ANSWER_BYTES_MAX:
            self._refuse(f"answers with more than {ANSWER_BYTES_MAX} bytes")
        self._parts.append(part)

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.ended = True
        else:
            # 100, 102, 103: the answer itself is still to come.
            self.headers = {}
            self.status = 0

    def _refuse(self, fault: str) -> NoReturn:
        # The parser passes on that a callback has raised, and not what.
        self.fault = fault
        raise NotHttp(fault)

    @property
    def until_closed(self) -> bool:
        """Whether its end is where the other side closes (HTTP/1.0)."""
        named = self.headers.keys() & {"content-length", "transfer-encoding"}
        return self.status >= 200 and not named

    def answer(self) -> Answer:
        """The answer that has ended."""
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return Answer(self.status, self.headers, body)


def hear(sock: socket.socket, until: float) -> tuple[Answer, bool]:
    """The next answer, and whether another may follow it on this connection.

    The limit is on all of it, by the monotonic clock: that of the socket begins anew
    with each part, and so lets a server that drips go on for ever.

    Raises:
        NotHttp: it is none, or too long.
        CutOff, OSError: it has not come whole; TimeoutError: not in time.
    """
    heard = Heard()
    while not heard.ended:
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        part = sock.recv(READ_BYTES)
        if not part:
            if heard.until_closed:
                return heard.answer(), False
            raise CutOff
        try:
            heard.parser.feed_data(part)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            raise NotHttp(heard.fault) from None
    return heard.answer(), heard.more
