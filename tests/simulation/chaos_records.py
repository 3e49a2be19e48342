"""What a worker process tells of itself, in a file that outlives its death.

One JSON object a line, each written at once: a kill may cut off the last line, and
nothing else.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct


class Claimed(Struct, frozen=True, tag=True):
    """The daemon handed out a job. Both instants are the daemon's own."""

    uid: str
    lease: str
    since: datetime
    until: datetime


class Beaten(Struct, frozen=True, tag=True):
    """The daemon let the lease start over."""

    uid: str
    lease: str
    until: datetime


class Told(Struct, frozen=True, tag=True):
    """The daemon is about to be told how a run ended."""

    verb: str
    uid: str
    lease: str


class Answered(Struct, frozen=True, tag=True):
    """What the daemon said to that, or to a heartbeat."""

    verb: str
    uid: str
    lease: str
    status: int
    code: str | None = None


class Ran(Struct, frozen=True, tag=True):
    """The effect of a run, written by the handler itself. `done` is whether it is to
    count as done; `saved` is how far a run before it was."""

    uid: str
    attempt: int
    lease: str
    number: int
    done: bool
    saved: int


class Kept(Struct, frozen=True, tag=True):
    """The daemon has taken a checkpoint."""

    uid: str
    lease: str
    step: int


class Crashed(Struct, frozen=True, tag=True):
    """A thread of the worker ended with an exception."""

    error: str


Record = Claimed | Beaten | Told | Answered | Ran | Kept | Crashed

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


class Log:
    """The file of one process; its threads may share it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *records: Record) -> None:
        """One line each, in one write: threads and kills tear none of them."""
        if records:
            os.write(self._file, b"".join(_encode(each) + b"\n" for each in records))


def read(path: Path) -> Iterator[Record]:
    """The records of one process, but for a last one that was cut off."""
    if path.exists():
        *lines, _rest = path.read_bytes().split(b"\n")
        yield from map(_decode, lines)
