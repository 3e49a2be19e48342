"""What a verb asks of the daemon, as a value. Knows no socket, no clock, no chance.

A verb is written once, as a function that gives a Call, or a Script of several. Who
carries it out, and whether that blocks or is awaited, is not its business.
"""

from collections.abc import Callable, Generator
from functools import lru_cache
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from msgspec import Struct

from jobengine.client.transport import Answer

T = TypeVar("T")

ROOT = "/api/v2"
# Names of queues are few, uids are not: those do not drive the names out for long.
PARTS_KEPT = 1024


class Call(Struct, Generic[T], frozen=True):
    """One request, and how its answer is read.

    `parts` is the path below the API, each part by itself; `read` gets answers that are
    no refusals. `again`: it does no harm twice, so it may be sent again where it is not
    known whether it was carried out. `once`: the same is so with an Idempotency-Key.
    """

    method: str
    parts: tuple[str, ...]
    read: Callable[[Answer], T]
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    again: bool = False
    once: bool = False
    # How long the daemon may take on purpose, as it is asked to wait.
    wait_s: float = 0.0

    @property
    def target(self) -> str:
        """The path and the query, encoded.

        Raises:
            TypeError, ValueError: a part is no name.
        """
        try:
            path = ROOT + "".join(map(_part, self.parts))
        except TypeError:
            odd = next(part for part in self.parts if not isinstance(part, str))
            raise TypeError(
                f"the names of queues and jobs are str, not {type(odd).__name__}: "
                "the queue comes first, then the uid or the content"
            ) from None
        return f"{path}?{urlencode(self.query)}" if self.query else path


class Pause(Struct, frozen=True):
    """Do nothing for so long."""

    seconds: float


# Gives calls and is sent what they came to, one after another; returns its own result.
Script = Generator[Call[Any] | Pause, Any, T]
Steps = Call[T] | Script[T]


# Whatever lies between may take these for steps in a path, so that who deletes a job
# would delete its queue.
_NO_NAMES = frozenset({"", ".", ".."})


@lru_cache(PARTS_KEPT)
def _part(text: str) -> str:
    if text in _NO_NAMES:
        raise ValueError(f"{text!r} is no name of a queue, and no uid of a job")
    return "/" + quote(text, safe="")
