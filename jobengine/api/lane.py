"""The hot lane: requests that are plainly fine, answered without the framework.

It runs the same routes. Whatever it doubts, and whatever a route refuses, it declines:
nothing has been done then, and Flask answers. So every refusal is written once, and
what the lane answers Flask would have answered too. Knows no socket.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from jobengine.api.carried import says_json
from jobengine.api.endpoint import Desk, Endpoint, Lane, spoken
from jobengine.api.exchange import APART, VARYING, Reply, Sent
from jobengine.api.forms import Doubt, Form
from jobengine.api.identity import check_same_site
from jobengine.errors import JobEngineError

T = TypeVar("T")

# Heads of which it is remembered what they say. A service sends the same one again and
# again, and there are few services.
HEADS_MAX = 4096
HEAD_BYTES_MAX = 2048

# A variable of a path that needs no decoding.
PLAIN = re.compile(rb"[0-9A-Za-z_-]{1,64}")
_SLASH = re.compile(b"%2[Ff]")
NOTHING: dict[str, str] = {}


class Head:
    """The head of a request as the parser has read it.

    `fields` are names, in lower case, and values by turns, but for those that are kept
    `apart`: they frame the message, or differ from one request to the next.
    """

    __slots__ = (
        *("apart", "close", "desk", "fields", "known", "length", "method", "peer"),
        *("row", "settings", "shares", "tail_at", "tail_end", "tail_name", "target"),
        *("variables", "version"),
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        fields: list[bytes],
        apart: Mapping[bytes, bytes],
        peer: str,
    ) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.apart = apart
        self.peer = peer
        self.version = "1.1"
        self.close = False  # the connection ends with the answer
        # What the lane has found out about it.
        self.row: Endpoint | None = None
        # Where the variable of its path is that differs from one request to the next,
        # if one does, and whether any other in its place says the same.
        self.tail_at = self.tail_end = 0
        self.tail_name = ""
        self.shares = False
        self.variables = NOTHING  # the others
        self.desk: Desk | None = None
        self.settings: object = None
        self.known: dict[Any, Any] = {}
        self.length = 0  # of the body that it announces, where it is kept


class Incoming:
    """One request. See exchange.Asked.

    *tail* is the variable of the path that differs, where that is not the one in the
    head, which several requests may share.
    """

    __slots__ = ("began", "body_bytes", "head", "tail", "waited")

    def __init__(self, head: Head, body: bytes, tail: bytes = b"") -> None:
        self.head = head
        self.body_bytes = body
        self.tail = tail
        self.began = 0.0
        self.waited = False  # for work to come

    @property
    def target(self) -> bytes:
        if not self.tail:
            return self.head.target
        head = self.head
        return head.target[: head.tail_at] + self.tail + head.target[head.tail_end :]

    @property
    def peer(self) -> str:
        return self.head.peer

    @property
    def query(self) -> str:
        return self.head.target.partition(b"?")[2].decode("latin-1")

    def header(self, name: str) -> str | None:
        apart = APART.get(name)
        if apart is not None:
            found = self.head.apart.get(apart)
            return None if found is None else found.decode("latin-1")
        wanted = name.lower().encode("latin-1")
        fields = self.head.fields
        for at in range(0, len(fields), 2):
            if fields[at] == wanted:
                return fields[at + 1].decode("latin-1")
        return None

    def header_names(self) -> Iterable[str]:
        return [name.decode("latin-1") for name in self.head.fields[::2]]

    def once(self, read: Callable[[Any, Sent], T]) -> T:
        known = self.head.known
        found: T | None = known.get(read)
        if found is None:
            row = self.head.row
            sent: Sent = self
            if row is not None and row.one_time:
                sent = Fields(self)
            found = known[read] = read(self.head.desk, sent)
        return found

    def body(self, form: Form, **_refusing: object) -> Any:
        if not self.once(_says_json):
            raise Doubt
        return form.glance(self.body_bytes)

    def raw(self) -> bytes:
        return self.body_bytes


class Fields:
    """The fields of a head whose query is not to be remembered. See exchange.Sent."""

    def __init__(self, asked: Incoming) -> None:
        self.peer = asked.peer
        self.header = asked.header
        self.header_names = asked.header_names

    @property
    def query(self) -> str:
        raise AssertionError("what is remembered of these heads knows no query")


class HotLane:
    """Answers from the rows of the table that are hot."""

    def __init__(self, desk: Desk, rows: Iterable[Endpoint]) -> None:
        self._desk = desk
        self._settings = desk.settings
        self._heads: dict[tuple[object, ...], dict[Any, Any]] = {}
        rows = spoken(rows, desk.settings)
        hot = [row for row in rows if row.lane is Lane.HOT]
        slow = [row for row in rows if row.lane is Lane.SLOW]
        self._slow = re.compile(b"|".join(map(_template, slow)) or b"(?!)").fullmatch
        self._exact = {
            f"{row.method} {row.path}".encode(): row
            for row in hot
            if "{" not in row.path
        }
        self._patterns: dict[tuple[bytes, int], list[Pattern]] = defaultdict(list)
        # By method and path, of those that will come again.
        self._matched: dict[bytes, tuple[Endpoint, dict[str, str]]] = {}
        for row in hot:
            if "{" in row.path:
                key = row.method.encode(), row.path.count("/")
                self._patterns[key].append(Pattern(row, rows))

    def is_slow(self, asked: Incoming) -> bool:
        """Whether it is long work, or may block."""
        path = asked.target.partition(b"?")[0]
        if path[:1] != b"/":
            return True  # a form that says more than a path: Flask may find any row
        if b"%" in path:
            # An encoded slash parts nothing: it stays as it is.
            path = unquote_to_bytes(_SLASH.sub(b"%252F", path))
        return self._slow(b"%b %b" % (asked.head.method, path)) is not None

    def answer(self, asked: Incoming) -> Reply | None:
        """The reply; None: nothing was done, and Flask has to look."""
        head, desk = asked.head, self._desk
        try:
            if head.row is None or head.settings is not desk.settings:
                self._find(head, asked)
            row = head.row
            if row is None:
                return None
            if not head.tail_at:
                return row.route(desk, asked, **head.variables)
            tail = asked.tail or head.target[head.tail_at : head.tail_end]
            found = {head.tail_name: tail.decode()}
            return row.route(desk, asked, **found, **head.variables)
        except (JobEngineError, Doubt):
            return None

    def _find(self, head: Head, asked: Incoming) -> None:
        """Note in the head which row it asks for, and what is known of its like."""
        path = head.target
        if b"?" in path:
            path = path.partition(b"?")[0]
        line = b"%b %b" % (head.method, path)
        row = self._exact.get(line)
        if row is None and (known := self._matched.get(line)) is not None:
            row, head.variables = known
        elif row is None:
            row = self._match(head, path)
            if not (row.one_time or head.tail_at):
                if len(self._matched) >= HEADS_MAX:
                    self._matched.clear()
                self._matched[line] = row, head.variables
        if len(path) != len(head.target) and row.bare:
            raise Doubt
        if asked.body_bytes and row.bodiless:
            raise Doubt
        self._recall(head, asked, row)

    def _match(self, head: Head, path: bytes) -> Endpoint:
        for pattern in self._patterns.get((head.method, path.count(b"/")), ()):
            found = pattern.match(path)
            if found is not None:
                variables = dict(
                    zip(pattern.names, map(bytes.decode, found.groups()), strict=True)
                )
                if pattern.tail:
                    # A query behind such a variable is rare: Flask may read it.
                    if len(path) != len(head.target):
                        raise Doubt
                    head.tail_name, head.shares = pattern.tail, pattern.shares
                    head.tail_at, head.tail_end = found.span(len(pattern.names))
                    del variables[pattern.tail]
                head.variables = variables or NOTHING
                return pattern.row
        raise Doubt

    def _recall(self, head: Head, asked: Incoming, row: Endpoint) -> None:
        desk = head.desk = self._desk
        if self._settings is not desk.settings:
            self._settings = desk.settings
            self._heads.clear()
        head.settings = self._settings
        if head.apart and not head.apart.keys() <= VARYING:
            raise Doubt
        query = "" if row.one_time or b"?" not in head.target else asked.query
        key = (head.peer, query, *head.fields)
        known = self._heads.get(key)
        if known is None:
            known = self._learn(head, key)
        head.known = known
        if not row.dialect.open:
            asked.once(_same_site)
        head.row = row

    def _learn(self, head: Head, key: tuple[object, ...]) -> dict[Any, Any]:
        names = head.fields[::2]
        if len(set(names)) != len(names) or sum(map(len, head.fields)) > HEAD_BYTES_MAX:
            raise Doubt
        if len(self._heads) >= HEADS_MAX:
            self._heads.clear()
        known: dict[Any, Any] = {}
        self._heads[key] = known
        return known


class Pattern:
    """A path with variables, as a row has it. Of many requests to one queue the jobs
    differ: `tail` is the last variable, where it is not the queue.

    It `shares` its heads where none of the *rows* has a word of its own in that place.
    """

    def __init__(self, row: Endpoint, rows: Iterable[Endpoint]) -> None:
        self.row = row
        parts = row.path.split("/")
        places = [at for at, part in enumerate(parts) if part[:1] == "{"]
        self.names = [parts[at][1:-1] for at in places]
        self.tail = "" if self.names[-1] == "queue" else self.names[-1]
        alike = (other for other in rows if other.method == row.method)
        self.shares = not any(
            _says(other.path.split("/"), parts, places[-1]) for other in alike
        )
        self.match = re.compile(
            b"/".join(
                b"(%b)" % PLAIN.pattern if part[:1] == "{" else re.escape(part).encode()
                for part in parts
            )
        ).fullmatch


def _says(other: list[str], parts: list[str], at: int) -> bool:
    """Whether the other path is one of these parts with a word of its own at *at*."""
    return (
        len(other) == len(parts)
        and other[at][:1] != "{"
        and all(
            theirs == ours or "{" in (theirs[:1], ours[:1])
            for theirs, ours in zip(other, parts, strict=True)
        )
    )


def _template(row: Endpoint) -> bytes:
    """What fits the method and path of a request for the row, encoded or not."""
    methods = f"(?:HEAD|{row.method})" if row.head else row.method
    path = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(row.path))
    return f"{methods} {path}".encode()


def _same_site(_desk: Desk, sent: Sent) -> bool:
    check_same_site(sent)
    return True


def _says_json(_desk: Desk, sent: Sent) -> bool:
    return says_json(sent)
