"""Requests that may be sent again: what was answered to the first is remembered.

The record is kept in the same transaction as what was done, so there is no instant at
which one is there and the other is not.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

# As long as a client may still try again: a day, like those that made the header known.
# Who tries again for minutes alone may say so, and leaves room for others.
REMEMBERED_MS = 24 * 3_600_000

# Answers that are remembered at once: about a gigabyte, and twelve a second all day.
ANSWERS_MAX = 1_000_000

# Of one answer: a batch of some thousand jobs.
ANSWER_BYTES_MAX = 1 << 20

Headers = tuple[tuple[str, str], ...]


class Answer(Struct, frozen=True):
    """The record of what was answered to a request that has a key.

    `name` stands for the caller, the route and the key, `digest` for what was asked.
    """

    name: str
    noted_at: int
    due_at: int | None  # when it is forgotten
    digest: bytes
    status: int
    headers: Headers
    body: bytes

    @property
    def kept_ms(self) -> int:
        """For how long it is remembered."""
        return REMEMBERED_MS if self.due_at is None else self.due_at - self.noted_at


class Once:
    """A request that is to be done once, however often it is sent.

    *told* gives status, headers and body of the answer to what was done, which is
    remembered for *kept_ms*. `answer` is what to send: what was said the first time,
    where it is a repetition (`replayed`).
    """

    __slots__ = ("answer", "digest", "kept_ms", "name", "replayed", "told")

    def __init__(
        self,
        name: str,
        digest: bytes,
        told: Callable[[Any], tuple[int, Headers, bytes]],
        kept_ms: int = REMEMBERED_MS,
    ) -> None:
        self.name = name
        self.digest = digest
        self.told = told
        self.kept_ms = kept_ms
        self.answer: Answer | None = None
        self.replayed = False

    def done(self, what: Any, now: int) -> Answer:
        """The record of what was done now."""
        self.answer = Answer(
            self.name, now, now + self.kept_ms, self.digest, *self.told(what)
        )
        return self.answer
