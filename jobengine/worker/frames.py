"""What a worker and a process that runs its jobs say to each other, and how: JSON, each
message with its length before it. Reads and writes nothing.
"""

import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct

from jobengine.client.jobs import Job
from jobengine.errors import Abandoned, JobEngineError, Refused, Unavailable
from jobengine.worker.held import Why
from jobengine.worker.outcomes import OUTCOMES
from jobengine.worker.work import End, PutBack

# What is longer was written by somebody else: a result and an error are far from it.
FROM_CHILD_BYTES_MAX = 1 << 20
# What the daemon keeps of an error.
ERROR_CHARS_MAX = 1000
# How long a handler may go on that is told to stop. Then its process is killed.
STUBBORN_S = 5.0

_LENGTH = struct.Struct(">I")
_NULL = Raw(b"null")


class Said(Struct, frozen=True, omit_defaults=True):
    """The end of a run, or a fixed meaning of an exception."""

    kind: str
    result: Raw = _NULL
    at: datetime | float | None = None
    error: str | None = None


class Rule(Struct, frozen=True, omit_defaults=True):
    """A row of a table of exceptions: the name of the class, and one of the three."""

    error: str
    outcome: Said | None = None
    kind: str | None = None
    call: str | None = None


# --- to the child -----------------------------------------------------------------


class Hello(Struct, frozen=True, tag=True):
    """What the process is for. `tables` are the handler's, and then the worker's."""

    call: str
    name: str
    takes_context: bool
    tables: tuple[tuple[Rule, ...], ...]
    path: list[str]
    script: str | None


class Begin(Struct, frozen=True, tag=True):
    """Run the handler. Of the time that the daemon told, so much has passed."""

    run: int
    job: Job
    passed_s: float


class Abandon(Struct, frozen=True, tag=True):
    """The run is not to go on."""

    run: int
    why: Why


class Kept(Struct, frozen=True, tag=True):
    """What became of a checkpoint: on disk, or why not."""

    run: int
    kind: str | None = None
    code: str = ""
    error: str = ""


# --- from the child ---------------------------------------------------------------


class Ready(Struct, frozen=True, tag=True):
    """It has its handler."""


class Broken(Struct, frozen=True, tag=True):
    """It has not, and ends."""

    error: str


class Progress(Struct, frozen=True, tag=True):
    """As HeldJob.progress."""

    run: int
    value: Raw


class Checkpoint(Struct, frozen=True, tag=True):
    """As HeldJob.checkpoint. It waits for Kept."""

    run: int
    value: Raw


class Over(Struct, frozen=True, tag=True):
    """The run is over."""

    run: int
    said: Said


ToChild = Hello | Begin | Abandon | Kept
FromChild = Ready | Broken | Progress | Checkpoint | Over

# What may become of a checkpoint that is not kept: the first that fits.
FAULTS = {
    each.__name__: each for each in (Abandoned, Unavailable, Refused, JobEngineError)
}

KINDS = {kind.__name__: kind for kind in (*OUTCOMES, PutBack)}


def kind_of(thing: object) -> str | None:
    """The name of the kind of end that this class is, if it is one."""
    if not isinstance(thing, type):
        return None
    return next((name for name, each in KINDS.items() if issubclass(thing, each)), None)


def said_of(end: End) -> Said:
    """The end, as it is sent.

    Raises:
        TypeError, ValueError: it holds what does not belong there.
    """
    kind = kind_of(type(end))
    assert kind is not None, "it is an end"
    at = getattr(end, "at", getattr(end, "time", None))
    said = Said(
        kind,
        Raw(msgspec.json.encode(getattr(end, "result", None))),
        at.total_seconds() if isinstance(at, timedelta) else at,
        error_of(getattr(end, "error", None)),
    )
    return msgspec.json.decode(msgspec.json.encode(said), type=Said)


def end_of(said: Said) -> End:
    """The end that was sent."""
    kind = KINDS[said.kind]
    result = None if bytes(said.result) == b"null" else said.result
    given: dict[str, Any] = {
        "result": result,
        "at": said.at,
        "time": said.at,
        "error": said.error,
    }
    made: End = kind(**{name: given[name] for name in kind.__struct_fields__})
    return made


def error_of(text: str | None) -> str | None:
    """The text as JSON can have it, and no more of it than is kept."""
    return text and str(text)[:ERROR_CHARS_MAX].encode(errors="replace").decode()


def frame(message: ToChild | FromChild) -> bytes:
    """The message as it is written."""
    body = msgspec.json.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts what is read into messages. Their bodies, that is."""

    def __init__(self, bytes_max: int | None = None) -> None:
        self._bytes_max = bytes_max
        self._unread = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are whole by now.

        Raises:
            ValueError: one is longer than it may be.
        """
        self._unread += data
        while len(self._unread) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._unread)
            if self._bytes_max is not None and size > self._bytes_max:
                raise ValueError(f"a message of {size} bytes")
            end = _LENGTH.size + size
            if len(self._unread) < end:
                return
            body = bytes(self._unread[_LENGTH.size : end])
            del self._unread[:end]
            yield body
