"""Runs the WSGI application for one request. Knows no socket and no loop."""

import sys
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from jobengine.api.carried import PASSAGE, Passage
from jobengine.api.exchange import Reply, Wait
from jobengine.api.lane import Incoming
from jobengine.daemon.wire import Wire

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# What frames the message, or is between us and the next hop alone.
_NOT_PASSED = frozenset({b"content-length", b"transfer-encoding", b"connection"})
# Answers that end with their head, and say nothing of a body (RFC 9112, 6.3).
_NO_CONTENT = ("204", "304")


class Answer:
    """What the application answered: its body, whole or bit by bit, and what its view
    said besides."""

    def __init__(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.rest: Iterator[bytes] | None = None  # more of the body
        self.reply: Reply | None = None
        self.path = ""  # of the view's row
        self.closes = False  # the end of the connection is the end of the body
        self._status = status
        self._headers = headers
        self._body = b""  # whole, or the first of it
        self._raw = b""
        self._chunked = False
        self._close: Callable[[], None] | None = None

    @classmethod
    def raw(cls, data: bytes) -> "Answer":
        """An answer that is bytes already, head and all, and the last."""
        answer = cls("", [])
        answer.closes = True
        answer._raw = data
        return answer

    @property
    def wait(self) -> Wait | None:
        """What is to be waited for."""
        return None if self.reply is None else self.reply.wait

    @property
    def status(self) -> int:
        """Its number."""
        return int(self._status[:3])

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Its headers, with its commit once that is known."""
        commit = () if self.reply is None else self.reply.commit_header()
        return [*self._headers, *commit]

    @property
    def body(self) -> bytes:
        """What was taken in of the body."""
        return self._body

    def take(self, found: Iterable[bytes], *, whole: bool) -> None:
        """Take the body in: all of it, or its first part where it has no length."""
        self._close = getattr(found, "close", None)
        empty = self._status.startswith(_NO_CONTENT)
        if whole or empty or any(name == "Content-Length" for name, _ in self._headers):
            self._body = b"".join(found)
            self.close()
        else:
            self.rest = iter(found)
            self._body = next(self.rest, b"")

    def drop_body(self) -> None:
        """Have the head alone: what HEAD asks for."""
        self._body = b""

    def next(self) -> bytes:
        """The next part; b"" once there is none, and `rest` None."""
        assert self.rest is not None
        for part in self.rest:
            if part:
                return part
        self.close()
        return b""

    def close(self) -> None:
        """It was read, or will not be."""
        close, self._close = self._close, None
        self.rest = None
        if close is not None:
            close()

    def on_the_wire(self, wire: Wire, asked: Incoming, *, close: bool) -> bytes:
        """The head and what there is of the body."""
        if self._raw:
            return self._raw
        headers = self.headers
        if self.rest is not None:
            self._chunked = asked.head.version == "1.1"
            self.closes = close or not self._chunked
            if self._chunked:
                headers = [*headers, ("Transfer-Encoding", "chunked")]
            close = self.closes
        head = wire.head(self._status, headers, asked.head.version, close=close)
        return head + (self.framed(self._body) if self._body else b"")

    def framed(self, part: bytes) -> bytes:
        """A part of the body, or its end."""
        if not self._chunked:
            return part
        chunk = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
        return chunk if self.rest is not None else chunk + b"0\r\n\r\n"


class Gateway:
    """The application as the event loop calls it."""

    def __init__(self, app: Application, server: tuple[str, str], scheme: str) -> None:
        self._app = app
        self._constant = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": server[0],
            "SERVER_PORT": server[1],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scheme,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }

    def answer(
        self, asked: Incoming, *, again: bool = False, whole: bool = True
    ) -> Answer:
        """What the application answers. *again*: it was asked before, and waits."""
        passage = Passage(again=again)
        started: list[Answer] = []

        def start(status: str, headers: list[tuple[str, str]], *_: object) -> None:
            started[:] = [Answer(status, headers)]

        found = self._app(self._environ(asked) | {PASSAGE: passage}, start)
        answer = started[0]
        answer.take(found, whole=whole or asked.head.method == b"HEAD")
        answer.reply, answer.path = passage.reply, passage.path
        if asked.head.method == b"HEAD":
            answer.drop_body()
        return answer

    def _environ(self, asked: Incoming) -> dict[str, Any]:
        path, host = _parts(asked.target)
        environ = {
            **self._constant,
            "REQUEST_METHOD": asked.head.method.decode("latin-1"),
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "RAW_URI": path.decode("latin-1"),
            "QUERY_STRING": asked.query,
            "SERVER_PROTOCOL": f"HTTP/{asked.head.version}",
            "REMOTE_ADDR": asked.peer,
            "CONTENT_LENGTH": str(len(asked.body_bytes)),
            "wsgi.input": BytesIO(asked.body_bytes),
        }
        for name, value in _headers(asked):
            key = _key(name)
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
        if host:
            environ["HTTP_HOST"] = host
        return environ


def _headers(asked: Incoming) -> Iterator[tuple[bytes, bytes]]:
    fields = asked.head.fields
    for at in range(0, len(fields), 2):
        # X_Name is not X-Name, and in an environment nobody could tell.
        if b"_" not in fields[at]:
            yield fields[at], fields[at + 1]
    for name, value in asked.head.apart.items():
        if name not in _NOT_PASSED:
            yield name, value


def _key(name: bytes) -> str:
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key == "CONTENT_TYPE" else f"HTTP_{key}"


def _parts(target: bytes) -> tuple[bytes, str]:
    """The path, and the host where the target names one (RFC 9112, 3.2.2)."""
    if target[:1] == b"/" or b"://" not in target:
        return target.partition(b"?")[0], ""
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return target, ""
    host: str = (url.host or b"").decode("latin-1")
    if url.port is not None:
        host = f"{host}:{url.port}"
    return url.path or b"/", host
