"""Reads YAML strictly, and remembers the line of everything it read.

Stock YAML readers take `on` for true and 12:30:00 for 45000, and swallow a key that is
given twice. This one knows the core types of YAML 1.2 only, and reports what it will
not take. It knows nothing of what any key means.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn, cast

import yaml
from yaml import events

# Five thousand queues fit many times over; libyaml reads this much in about a second.
BYTES_MAX = 1024 * 1024
# The configuration is four levels deep. The reader recurses, so it must stop somewhere.
DEPTH_MAX = 16
# Longer than any integer or time we keep: turning digits into a number is quadratic.
NUMBER_CHARACTERS_MAX = 32

Path = tuple[str | int, ...]


class Fault(NamedTuple):
    """Something wrong with the text, and the line (from 1) where it is."""

    line: int
    message: str


class Document(NamedTuple):
    """What was read. With faults, *value* is what could be made of the rest.

    `lines` gives the line of each key and list item by its path from the root.
    """

    value: object
    lines: Mapping[Path, int]
    faults: tuple[Fault, ...]


def read(data: bytes) -> Document:
    """Read one YAML document. Never raises, whatever the bytes are.

    A fault that ends the reading leaves the value None; an empty document is None too,
    without a fault.
    """
    reader = _Reader()
    value: object = None
    try:
        value = reader.document(_text(data))
    except _Stop as stop:
        reader.faults.append(stop.fault)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # libyaml puts what it misses at the end on the line after the last.
        last = data.count(b"\n", 0, -1)
        line = min(mark.line, last) + 1 if mark else reader.line
        reader.faults.append(Fault(line, f"not YAML: {error.problem}"))
    except (yaml.YAMLError, ValueError, OverflowError):
        # The pure-Python scanner lets chr() fail on an escape beyond Unicode, and then
        # only the line of what came before is known.
        reader.faults.append(
            Fault(reader.line, "not YAML: a character no text can hold")
        )
    return Document(value, reader.lines, tuple(reader.faults))


class _Stop(Exception):
    """Reading cannot go on."""

    def __init__(self, line: int, message: str) -> None:
        self.fault = Fault(line, message)


_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)


def _text(data: bytes) -> str:
    if len(data) > BYTES_MAX:
        raise _Stop(1, f"the file is over {BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Stop(line, "the text is not UTF-8") from None
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise _Stop(line, "a control character")
    return text


# The path of what has none: a key before it is known, and the value of a bad key.
_NOWHERE = -1


class _Reader:
    """Builds values out of parser events, which come without recursion."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.faults: list[Fault] = []
        self.line = 1

    def document(self, text: str) -> object:
        # libyaml is ten times faster, and is not in every build of PyYAML.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[events.Event] = yaml.parse(text, Loader=loader)
        self._next()  # the start of the stream
        if isinstance(self._next(), events.StreamEndEvent):
            return None
        value = self._node(self._next(), ())
        self._next()  # the end of the document
        if not isinstance(self._next(), events.StreamEndEvent):
            self._stop("a second document: only one is read")
        return value

    def _next(self) -> events.Event:
        event = next(self._events)
        self.line = getattr(event.start_mark, "line", 0) + 1
        return event

    def _stop(self, message: str) -> NoReturn:
        raise _Stop(self.line, message)

    def _node(self, event: events.Event, path: Path) -> object:
        if len(path) > DEPTH_MAX:
            self._stop(f"nested more than {DEPTH_MAX} deep")
        # A few aliases of aliases stand for billions of values.
        if isinstance(event, events.AliasEvent):
            self._stop("aliases (*name) are not read: write it out")
        if getattr(event, "tag", None) is not None:
            self._stop("tags (!name) are not read: leave it out")
        if isinstance(event, events.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, events.SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(cast(events.ScalarEvent, event))

    def _mapping(self, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        while not isinstance(event := self._next(), events.MappingEndEvent):
            line = self.line
            key = self._node(event, (*path, _NOWHERE))
            if not isinstance(key, str):
                self.faults.append(Fault(line, "a key must be text: put it in quotes"))
                self._node(self._next(), (*path, _NOWHERE))
                continue
            child = (*path, key)
            if key in found:
                first = self.lines[child]
                message = f"{quoted(key)} is given twice, first on line {first}"
                self.faults.append(Fault(line, message))
            self.lines.setdefault(child, line)
            found.setdefault(key, self._node(self._next(), child))
        return found

    def _sequence(self, path: Path) -> list[object]:
        found: list[object] = []
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            child = (*path, len(found))
            self.lines.setdefault(child, self.line)
            found.append(self._node(event, child))
        return found

    def _scalar(self, event: events.ScalarEvent) -> object:
        if not event.implicit[0]:  # it stands in quotes, or in a block
            return event.value
        text = str(event.value)
        for pattern, meaning in _CORE:
            if pattern.fullmatch(text):
                if len(text) > NUMBER_CHARACTERS_MAX:
                    self._stop("the number is too long")
                return meaning(text)
        return text


def quoted(text: str) -> str:
    """The text in quotes, short and without characters that could fool a terminal."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return (
        '"' + shown.encode("ascii", "backslashreplace").decode().translate(_HIDE) + '"'
    )


_HIDE = {code: f"\\x{code:02x}" for code in (*range(32), 127)}

# YAML 1.2.2, 10.3.2 Tag Resolution.
_CORE = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: float("nan")),
)
