"""The judge: what llhttp's strict mode, and nothing else, makes of bytes.

It reads requests as plainly as can be, with no limit of size or time, and it reads
answers. It knows nothing of the daemon.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import httptools

# What frames a message or its connection: it goes when a request is written anew.
_FRAMING = {
    *(b"connection", b"content-length", b"expect", b"transfer-encoding"),
    *(b"proxy-connection", b"trailer", b"upgrade"),
}
_HEAD = re.compile(
    rb"HTTP/1\.1 ([1-5]\d\d) [^\r\n]*\r\n((?:[!-9;-~]+: [^\r\n]*\r\n)*)\r\n"
)
_UPGRADE = re.compile(rb"\n(?i:upgrade):")
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


class Message(NamedTuple):
    """One complete request."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def plainly(self, *more: bytes) -> bytes:
        """The same as no parser could misunderstand it."""
        lines = [b"%b %b HTTP/1.1" % (self.method, self.target)]
        lines += [
            b"%b: %b" % pair for pair in self.fields if pair[0].lower() not in _FRAMING
        ]
        lines += [b"Content-Length: %d" % len(self.body), *more, b"", self.body]
        return b"\r\n".join(lines)


class Reading(NamedTuple):
    """The complete requests, and how they end.

    `broken`: what follows is no HTTP. `closed`: the last of them ended the connection.
    """

    messages: list[Message]
    broken: bool
    closed: bool


class _Reader:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.closed = False
        self.begun = 0
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.begun += 1
        self._target, self._body = b"", b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._whole = False

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._whole:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._whole = True

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method()
        self.messages.append(
            Message(method, self._target, tuple(self._fields), self._body)
        )
        # Nobody is there to be connected to; another Upgrade is not taken up.
        if method == b"CONNECT" or not self.parser.should_upgrade():
            self.closed = method == b"CONNECT" or not self.parser.should_keep_alive()


def read(data: bytes) -> Reading:
    """What the bytes of one connection say.

    An Upgrade is one that nobody takes up: the same without it (RFC 9110, 7.8).
    """
    begins = 0
    while True:
        reader = _Reader()
        try:
            reader.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            if not reader.closed:
                begins = _begin(data, begins, stop.args[0])
                data = _without_upgrade(data, begins, stop.args[0])
                continue
        except httptools.HttpParserError:
            return Reading(reader.messages, not reader.closed, reader.closed)
        return Reading(reader.messages, False, reader.closed)


def _begin(data: bytes, begins: int, ends: int) -> int:
    """Where the message begins whose head ends at *ends*; another does at *begins*."""
    reader = _Reader()
    for at in range(begins, ends - 1):
        before = reader.begun
        reader.parser.feed_data(data[at : at + 1])
        if reader.begun > before:
            begins = at
    return begins


def _without_upgrade(data: bytes, begins: int, ends: int) -> bytes:
    head = _UPGRADE.sub(b"\nignored:", data[begins:ends])
    assert head != data[begins:ends]
    return data[:begins] + head + data[ends:]


class Answer(NamedTuple):
    """One answer, whole."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.fields.get("connection") == "close"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answers(data: bytes, methods: list[bytes]) -> list[Answer]:
    """The answers in *data* to requests of these *methods*, then perhaps a refusal.

    Raises:
        AssertionError: it is not HTTP, or breaks off.
    """
    return list(_answers(data, methods))


def _answers(data: bytes, methods: list[bytes]) -> Iterator[Answer]:
    at = number = 0
    while at < len(data):
        head = _HEAD.match(data, at)
        assert head is not None, data[at : at + 200]
        status, at = int(head[1]), head.end()
        if status == 100:
            continue
        lines = head[2].decode("latin-1").splitlines()
        pairs = [line.partition(": ")[::2] for line in lines]
        fields = {name.lower(): text for name, text in pairs}
        assert len(fields) == len(pairs), f"a header comes twice: {lines}"
        head_only = number < len(methods) and methods[number] == b"HEAD"
        # It may also be refused as what is no request, and then nothing follows.
        if head_only and len(data) - at != int(fields.get("content-length", "-1")):
            body = b""
        else:
            body, at = _body(data, at, status, fields)
        yield Answer(status, fields, body)
        number += 1


def _body(
    data: bytes, at: int, status: int, fields: dict[str, str]
) -> tuple[bytes, int]:
    if status in {204, 304}:
        assert not fields.keys() & {"content-length", "transfer-encoding"}
        return b"", at
    if "transfer-encoding" in fields:
        assert fields["transfer-encoding"] == "chunked"
        assert "content-length" not in fields
        return _chunks(data, at)
    if "content-length" not in fields:
        assert fields.get("connection") == "close"
        return data[at:], len(data)
    ends = at + int(fields["content-length"])
    assert ends <= len(data), "an answer breaks off"
    return data[at:ends], ends


def _chunks(data: bytes, at: int) -> tuple[bytes, int]:
    parts = []
    while True:
        size = _CHUNK.match(data, at)
        assert size is not None, data[at : at + 40]
        at = size.end() + int(size[1], 16)
        parts.append(data[size.end() : at])
        assert data[at : at + 2] == b"\r\n"
        at += 2
        if not parts[-1]:
            return b"".join(parts), at
