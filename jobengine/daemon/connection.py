"""One client's connection: bytes to requests, in order, within limits of size and time.

The parser is llhttp, in its strict mode; here is no grammar of our own. Knows not what
a request means: `Turns` has it answered.
"""

import asyncio
import select
from collections import deque
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, cast

import httptools

from jobengine.api.exchange import VARYING
from jobengine.api.lane import Head, Incoming
from jobengine.daemon.wire import CONTINUE

if TYPE_CHECKING:
    from jobengine.daemon.turns import Turns

# Limits of a head, as gunicorn's defaults have them.
TARGET_BYTES_MAX = 4094
FIELDS_MAX = 50
FIELD_BYTES_MAX = 8190
# And of the whole of it, which those would let grow to 400 KiB.
HEAD_BYTES_MAX = 64 << 10
# What the framing of a chunked body may cost, by its size.
CHUNKING_MAX = 8

# The parser is fed so much at once: requests that come in one piece are all read
# before the first is answered.
FEED_BYTES = 16 << 10
# About what a request takes that waits for those before it.
REQUEST_BYTES = 1 << 10

# A client that is still sending when it is refused gets to read why, within this time.
LINGER_S = 2

# Headers that frame the message, or say what is to become of the connection.
_APART = VARYING | {b"connection", b"expect", b"transfer-encoding", b"upgrade"}


class NotTaken(Exception):
    """What is sent will not become a request: status, title and why."""


class Connection(asyncio.Protocol):
    """See the module. `deadline` is when the present step must be over, in seconds of
    the turns' clock; `owed` counts requests under way."""

    __slots__ = (
        *("_apart", "_body", "_body_bytes", "_body_held", "_busy", "choked"),
        *("_close", "_eof", "_fed", "_fields", "_held", "_in_head", "_line"),
        *("_latest", "_parser", "_partial", "_paused", "_read", "_refusal", "_refused"),
        *("_started", "_target", "_turns", "_unfed"),
        *("deadline", "lost", "owed", "peer", "served", "transport"),
    )

    def __init__(self, turns: "Turns") -> None:
        self._turns = turns
        self._parser = httptools.HttpRequestParser(self)
        self._line: deque[Incoming] = deque()  # read, and waiting for those before
        self._unfed = bytearray()  # not even read
        self._busy = False  # with a request that is answered in another turn
        self.served = 0  # requests begun in this turn
        self._held = 0  # bytes of memory that this client's requests take
        self._body_held = 0
        self._partial = self._in_head = False  # a request has begun to arrive
        self._started: float | None = None
        self._fed = 0
        self._latest: Incoming | None = None  # the request that was read last
        self._eof = self._close = False
        self._refused = False  # what is sent is not read any more
        self._refusal: tuple[Any, ...] | None = None  # to be said after all answers
        self.choked = self._paused = False
        self.owed = 0
        self.lost = False
        self.deadline = inf
        # Of the request that is arriving: headers are names and values by turns.
        self._target = b""
        self._fields: list[bytes] = []
        self._read: list[bytes] = []  # all of its head
        self._apart: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        address = transport.get_extra_info("peername")
        self.peer: str = address[0] if isinstance(address, tuple) else ""
        if self._turns.admit(self):
            self.deadline = self._turns.now + self._turns.limits.idle_seconds
        else:
            self.lost = True
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._refused or self._close:
            return
        waits = self._unfed or self._busy or self._line
        if (
            not waits
            and not self._partial
            and self.served < self._turns.limits.pipeline
        ):
            # The head that this client always sends: the parser knows it by heart.
            asked = self._turns.heads.recall(data, self.peer)
            if asked is not None:
                self._begin(asked)
                return
        if waits or len(data) > FEED_BYTES:
            self._unfed += data
            self._hold(len(data))
            self._pump()
        else:
            whole = not self._partial
            self._latest = None
            self._feed(data)
            self._rest()
            if whole and self._latest is not None and not self._partial:
                self._turns.heads.remember(data, self._latest)

    def eof_received(self) -> bool:
        self._eof = True
        if self._turns.leave(self):
            return False
        return not self._is_over()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's name
        if self.lost:
            return
        self.lost = True
        self.deadline = inf
        self._line.clear()
        self._unfed.clear()
        self._hold(-self._held)
        self._turns.leave(self)
        self._turns.forget(self)
        del self._parser  # it refers to us

    def pause_writing(self) -> None:
        self.choked = True
        self.deadline = self._turns.now + self._turns.limits.read_seconds
        self._pause()

    def resume_writing(self) -> None:
        self.choked = False
        self._turns.drained(self)
        self._pump()

    # --- the parser's side

    def on_message_begin(self) -> None:
        self._partial = self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer says nothing of the request
        name = name.lower()
        if value[-1:] in b" \t":
            value = value.rstrip(b" \t")
        if name in _APART:
            before = self._apart.get(name)
            self._apart[name] = value if before is None else b"%b,%b" % (before, value)
        else:
            self._fields += (name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._read, self._fields = self._fields, []  # what follows are trailers
        apart = self._apart
        if self._fed > TARGET_BYTES_MAX or len(self._read) > 2 * FIELDS_MAX:
            self._check_head()
        if not apart or self._reads_again():
            return
        length = apart.get(b"content-length")
        if length is not None and int(length) > self._turns.limits.body_bytes:
            raise self._too_large()
        if apart.keys() - VARYING:
            self._check_framing()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._turns.limits.body_bytes:
            raise self._too_large()

    def on_message_complete(self) -> None:
        apart = self._apart
        if b"upgrade" in apart and self._reads_again():
            return
        parser, body = self._parser, self._body
        head = Head(parser.get_method(), self._target, self._read, apart, self.peer)
        if not parser.should_keep_alive() or b"connection" in apart:
            head.version = parser.get_http_version()
            if head.version not in {"1.0", "1.1"}:
                raise NotTaken(505, "HTTP version not supported", "speak HTTP/1.1")
            head.close = self._close = not parser.should_keep_alive()
        if head.method == b"CONNECT":
            head.close = self._close = True  # what follows would be the tunnel's
        asked = Incoming(head, body[0] if len(body) == 1 else b"".join(body))
        self._latest = asked
        self._clear()
        if self._busy or self._line or self.served >= self._turns.limits.pipeline:
            self._line.append(asked)
            self._hold(REQUEST_BYTES + len(asked.body_bytes))
            self._turns.later(self)
        else:
            self._begin(asked)

    # --- our side

    @property
    def stirred(self) -> bool:
        """Whether there is more to be done for it, now that a turn is over."""
        return bool(self._line or self._unfed or self._refusal or self._paused)

    def send(self, data: bytes, *, close: bool = False) -> None:
        """Write a whole answer, or the end of one."""
        self.owed -= 1
        if self.lost:
            return
        self.transport.write(data)
        if self._refused:
            # What led to the refusal may have to be answered first.
            if self._refusal is None and not self.owed:
                self._linger()
        elif close or self._is_over():
            self.transport.close()
        elif not (
            self.owed or self._line or self._unfed or self._partial or self.choked
        ):
            self.deadline = self._turns.now + self._turns.limits.idle_seconds

    def go_on(self, *, done: bool = False) -> None:
        """A turn is over; *done*: with the request that kept us busy."""
        self.served = 0
        if done:
            self._busy = False
        pipeline = self._turns.limits.pipeline
        while self._line and not self._busy and not self.lost:
            if self.served >= pipeline:
                self._turns.later(self)
                return
            asked = self._line.popleft()
            self._hold(-REQUEST_BYTES - len(asked.body_bytes))
            self._begin(asked)
        if self._refusal is not None and not self._busy:
            self._say_why()
        else:
            self._pump()

    def gone(self) -> bool:
        """Whether nobody is there to read an answer. Asks the system."""
        if self.lost or self._eof or self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), _GONE)
        return bool(poll.poll(0))

    def expire(self) -> None:
        """The deadline has passed."""
        if self._partial and not self.choked and not self._refused:
            what = "its head" if self._in_head else "a whole request"
            self._refuse(408, "Request timeout", f"{what} did not come in time")
        else:
            self.transport.abort()

    def retire(self) -> None:
        """End the connection, unless something is under way that will end it."""
        if not (self.owed or self._line or self._partial):
            self.transport.close()

    def _begin(self, asked: Incoming) -> None:
        self.served += 1
        self.owed += 1
        self.deadline = inf
        if not self._turns.begin(self, asked):
            self._busy = True

    def _pump(self) -> None:
        """Read on, where nothing is in the way."""
        unfed = self._unfed
        while unfed and not (self._busy or self._line or self.choked or self._refused):
            piece = bytes(unfed[:FEED_BYTES])
            del unfed[:FEED_BYTES]
            self._hold(-len(piece))
            self._feed(piece)
        self._rest()

    def _feed(self, data: bytes) -> None:
        self._fed = len(data) if not self._partial else self._fed + len(data)
        rest = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            rest = data[stop.args[0] :]
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, NotTaken):
                raise
            self._refuse(*error.__context__.args)
        except httptools.HttpParserError as error:
            # What follows a request that ends the connection is nobody's.
            if not self._close:
                self._refuse(400, "Bad request", f"not HTTP/1.1: {error}")
        else:
            if self._in_head and self._fed > HEAD_BYTES_MAX:
                self._refuse(431, "Request header fields too large", "the head is long")
            most = CHUNKING_MAX * self._turns.limits.body_bytes + HEAD_BYTES_MAX
            if self._partial and self._fed > most:
                self._refuse(413, "Request entity too large", "its chunks are small")
        # Not while that exception is handled: it would be the context of the next.
        if rest is not None:
            self._read_again(rest)

    def _reads_again(self) -> bool:
        """Whether the parser is about to stop at an Upgrade."""
        parser = self._parser
        upgrade: bool = parser.should_upgrade() and parser.get_method() != b"CONNECT"
        return upgrade

    def _read_again(self, rest: bytes) -> None:
        """We upgrade to nothing (RFC 9110, 7.8), but the parser stops at an Upgrade:
        have another one read the request without that header."""
        if self._close:
            return  # CONNECT: it was handed on, and nothing can follow
        fields = [*self._read]
        for name, value in self._apart.items():
            if name != b"upgrade":
                fields += (name, value)
        version = self._parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._target, version)]
        lines += [
            b"%b: %b" % (fields[at], fields[at + 1]) for at in range(0, len(fields), 2)
        ]
        self._parser = httptools.HttpRequestParser(self)
        self._clear()
        self._feed(b"\r\n".join((*lines, b"", rest)))

    def _rest(self) -> None:
        """Say by when the present step must be over, and whether to read on."""
        turns, limits = self._turns, self._turns.limits
        if self._refused or self.lost or self.choked:
            return
        if self._is_over():
            self.transport.close()
        elif self._partial:
            if self._busy:
                # What it sends now is not read: its time begins when that is.
                self._started, self.deadline = None, inf
            else:
                self._started = self._started or turns.now
                most = limits.header_seconds if self._in_head else limits.read_seconds
                self.deadline = self._started + most
            self._hold(self._body_bytes - self._body_held)
            self._body_held = self._body_bytes
        elif self.owed:
            self.deadline = inf
        else:
            self.deadline = turns.now + limits.idle_seconds
        if turns.held > limits.inflight_bytes and self._held and not self._close:
            self._refuse(503, "Service unavailable", "too much is under way: try again")
        elif len(self._unfed) > limits.buffered_bytes:
            self._pause()
        elif self._paused:
            self._paused = False
            self.transport.resume_reading()

    def _is_over(self) -> bool:
        """Whether nothing more can come of it: the client has said all, and knows."""
        if not self._eof or self.owed:
            return False
        return not (self._line or self._unfed or self._refusal)

    def _clear(self) -> None:
        """Make ready for the next request."""
        self._target = b""
        self._fields = []
        self._read = []
        self._apart = {}
        self._body = []
        self._body_bytes = 0
        if self._body_held:
            self._hold(-self._body_held)
            self._body_held = 0
        self._partial = False
        self._started = None
        # A request may follow in the piece that ended this one.
        self._fed = min(self._fed, FEED_BYTES)

    def _pause(self) -> None:
        if not self._paused and not self.lost:
            self._paused = True
            self.transport.pause_reading()

    def _hold(self, count: int) -> None:
        self._held += count
        self._turns.held += count

    def _check_head(self) -> None:
        if len(self._target) > TARGET_BYTES_MAX:
            raise NotTaken(414, "URI too long", f"{TARGET_BYTES_MAX} bytes at most")
        fields = [*self._read]
        for name, value in self._apart.items():
            fields += (name, value)
        longest = max(map(len, fields), default=0)
        if len(fields) > 2 * FIELDS_MAX or longest > FIELD_BYTES_MAX:
            raise NotTaken(
                431,
                "Request header fields too large",
                f"{FIELDS_MAX} fields of {FIELD_BYTES_MAX} bytes at most",
            )

    def _check_framing(self) -> None:
        apart = self._apart
        coding = apart.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked":
                raise NotTaken(501, "Not implemented", "chunked is the only coding")
            if self._parser.get_http_version() != "1.1":
                raise NotTaken(400, "Bad request", "chunks came with HTTP/1.1")
        expect = apart.get(b"expect")
        if expect is None:
            return
        if expect.lower() != b"100-continue":
            raise NotTaken(417, "Expectation failed", "100-continue is the one known")
        if not self.owed and (coding or apart.get(b"content-length", b"0") != b"0"):
            self.transport.write(CONTINUE)

    def _too_large(self) -> NotTaken:
        limit = self._turns.limits.body_bytes
        return NotTaken(
            413,
            "Request entity too large",
            f"the body is larger than {limit} bytes (limits.body_bytes in config.yml)",
        )

    def _refuse(self, *why: Any) -> None:
        """Answer what is no request, after all that were, and read no more."""
        self._refused = True
        self._refusal = why
        self._partial = False
        self._hold(-len(self._unfed))
        self._unfed.clear()
        if not self._busy and not self._line:
            self._say_why()

    def _say_why(self) -> None:
        assert self._refusal is not None
        why, self._refusal = self._refusal, None
        self.owed += 1
        self.deadline = inf
        self._turns.refuse(self, *why)

    def _linger(self) -> None:
        """Let a client that is still sending read why it should not."""
        if not self.transport.can_write_eof() or self._eof:
            self.transport.close()
            return
        self.deadline = self._turns.now + LINGER_S
        with suppress(OSError, RuntimeError):  # it has gone, and will soon be lost
            self.transport.write_eof()


_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
