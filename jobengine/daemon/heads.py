"""Heads of requests that the parser has read before. Knows no grammar.

A service sends the same head again and again. What the parser makes of one depends on
its bytes alone, so it is not asked twice.
"""

from jobengine.api.lane import PLAIN, Head, Incoming

# Heads that are kept, and how long one may be: a few MiB at most.
HEADS_MAX = 4096
HEAD_BYTES_MAX = 1024

_LENGTH = {b"content-length"}


class Heads:
    """By the address they came from and their bytes: all of them, or what stands before
    the variable of a path that differs and what behind it. Those two are not joined:
    that would be the head of a request without a variable."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | bytes, ...], Head] = {}

    def recall(self, data: bytes, peer: str) -> Incoming | None:
        """The request that *data* is, all of it, where its head is known, but for the
        variable of its path."""
        end = data.find(b"\r\n\r\n") + 4
        head = self._known.get((peer, data[:end]))
        tail = b""
        if head is None:
            for start, stop in _places(data):
                head = self._known.get((peer, data[:start], data[stop:end]))
                if head is not None:
                    break
            else:
                return None
            if not PLAIN.fullmatch(data, start, stop):
                return None
            tail = data[start:stop]
        if len(data) - end != head.length:
            return None
        return Incoming(head, data[end:], tail)

    def remember(self, data: bytes, asked: Incoming) -> None:
        """Keep the head of *asked*, which is all of *data*, if it may come again."""
        head = asked.head
        row = head.row
        if row is None or row.one_time or head.close or head.apart.keys() - _LENGTH:
            return
        end = len(data) - len(asked.body_bytes)
        if end > HEAD_BYTES_MAX or data.find(b"\r\n\r\n") + 4 != end:
            return
        key: tuple[str | bytes, ...] = (head.peer, data[:end])
        if head.tail_at:
            before = len(head.method) + 1
            start, stop = before + head.tail_at, before + head.tail_end
            tail = head.target[head.tail_at : head.tail_end]
            if not head.shares or (start, stop) not in _places(data):
                return
            if data[start:stop] != tail:
                return
            key = (head.peer, data[:start], data[stop:end])
        if len(self._known) >= HEADS_MAX:
            self._known.clear()
        head.length = len(asked.body_bytes)
        self._known[key] = head

    def forget(self) -> None:
        """Have the parser read every head anew: what it may take has changed."""
        self._known.clear()


def _places(data: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the last part of the path begins and ends, and the one before it."""
    stop = data.find(b" HTTP/1.1\r\n", 0, HEAD_BYTES_MAX)
    last = data.rfind(b"/", 0, stop) + 1
    before = data.rfind(b"/", 0, max(last - 1, 0)) + 1
    return (last, stop), (before, last - 1)
