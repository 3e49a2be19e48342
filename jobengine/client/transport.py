"""What carries a request to a daemon, and its answer back. Knows no verb.

Over sockets that is http.py; within one process, local.py.
"""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class Request(Struct, frozen=True):
    """What is to be asked. `target` is the path and the query, encoded."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = None
    # What the daemon may take on purpose, as it was asked to wait.
    wait_s: float = 0.0

    def __repr__(self) -> str:
        # Of the headers one is a secret, and tracebacks may show what is at hand.
        return f"Request({self.method} {self.target})"


class Answer(Struct, frozen=True):
    """What was answered. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Safe to be used by many threads at once."""

    def send(self, request: Request) -> Answer:
        """Carry the request, once.

        Raises:
            Unreachable: it was certainly not carried out.
            Unanswered: it may have been carried out, or not.
        """

    def another(self) -> "Transport":
        """The same with connections of its own."""

    def hang_up(self) -> None:
        """Have all that wait for an answer hear what is on its way already, and wait no
        more, as soon as the daemon knows. The same goes for whatever is sent from now
        on: it raises Unanswered."""

    def interrupt(self) -> None:
        """Have all that wait for an answer wait no more: they raise Unanswered. The
        same goes for whatever is sent from now on."""

    def close(self) -> None:
        """Let go of the connections."""
