"""Answers as bytes on the wire. Knows no socket and no route."""

import json
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from itertools import count
from uuid import uuid4

from jobengine.api.exchange import ALWAYS, PROBLEM, Reply

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_CLOSE = b"Connection: close\r\n"
_KEEP = b"Connection: keep-alive\r\n"
_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
}
_ALWAYS = b"".join(f"{name}: {text}\r\n".encode() for name, text in ALWAYS.items())
# Answers that have no content, and so no length of it (RFC 9110, 8.6).
_NO_LENGTH = frozenset({204, 304})
# What is too much now has ended within seconds.
_TOLD = {503: (("Retry-After", "1"),)}


class Wire:
    """Writes heads."""

    def __init__(self) -> None:
        self._ids = uuid4().hex[:16].encode()  # of this process alone
        self._numbers = count()
        self._heads: dict[tuple[int, str | None], bytes] = {}
        self.tick()

    def tick(self) -> None:
        """Have the Date say what time it is; about once a second."""
        self._date = f"Date: {formatdate(usegmt=True)}\r\n".encode()
        self._heads.clear()

    def reply(self, reply: Reply, version: str, *, close: bool) -> bytes:
        """A reply whose body is bytes."""
        body = reply.body
        assert isinstance(body, bytes)
        head = self._heads.get((reply.status, reply.kind))
        if head is None:
            head = self._head(reply.status, reply.kind)
        more = b""
        if reply.headers or reply.receipt is not None:
            more = _more(reply)
        if close:
            more += _CLOSE
        elif version == "1.0":
            more += _KEEP
        if reply.status in _NO_LENGTH:
            return b"%b%b%016x\r\n%b\r\n" % (head, self._ids, next(self._numbers), more)
        return b"%b%b%016x\r\n%bContent-Length: %d\r\n\r\n%b" % (
            *(head, self._ids, next(self._numbers), more, len(body), body),
        )

    def head(
        self,
        status: str,
        headers: Iterable[tuple[str, str]],
        version: str,
        *,
        close: bool,
    ) -> bytes:
        """The head of an answer of Flask's."""
        lines = [f"HTTP/1.1 {status}\r\n".encode("latin-1")]
        lines += [f"{name}: {text}\r\n".encode("latin-1") for name, text in headers]
        lines.append(self._date)
        if close:
            lines.append(_CLOSE)
        elif version == "1.0":
            lines.append(_KEEP)
        lines.append(b"\r\n")
        return b"".join(lines)

    def refusal(self, status: int, title: str, detail: str) -> bytes:
        """The answer to what is no request; the connection ends with it."""
        body = problem(status, title, detail)
        return self.reply(
            Reply(status, body, PROBLEM, _TOLD.get(status, ())), "1.1", close=True
        )

    def _head(self, status: int, kind: str | None) -> bytes:
        named = f"Content-Type: {kind}\r\n".encode() if kind else b""
        head = b"%b%b%b%bX-Request-Id: " % (_LINES[status], self._date, named, _ALWAYS)
        self._heads[status, kind] = head
        return head


def problem(status: int, title: str, detail: str) -> bytes:
    """A problem document (RFC 9457) for what never became a request."""
    code = title.lower().replace(" ", "_")
    body = {
        "type": "/problems/" + code.replace("_", "-"),
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return json.dumps(body).encode()


def _more(reply: Reply) -> bytes:
    lines = ""
    for name, text in reply.headers:
        lines += f"{name}: {text}\r\n"
    for name, text in reply.commit_header():
        lines += f"{name}: {text}\r\n"
    return lines.encode("latin-1")
