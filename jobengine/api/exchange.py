"""What a route is given and what it gives back, however the two travel.

Flask carries them, and so does the hot lane of the event loop. Knows no route.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from jobengine.api.forms import Form
from jobengine.engine import Receipt

T = TypeVar("T")

COMMIT = "X-JobEngine-Commit"
JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
PROBLEM = "application/problem+json"

# What every answer carries.
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    # Answers are somebody's jobs, and true only now.
    "Cache-Control": "no-store",
}

# Headers that differ from one request to the next: nothing that `Asked.once` remembers
# may depend on them.
LEASE = "X-JobEngine-Lease"
IDEMPOTENCY_KEY = "Idempotency-Key"
TRACEPARENT = "traceparent"
IF_MATCH, IF_NONE_MATCH = "If-Match", "If-None-Match"
# By the name that a route asks for.
APART = {
    name: name.lower().encode()
    for name in (LEASE, IDEMPOTENCY_KEY, TRACEPARENT, IF_MATCH, IF_NONE_MATCH)
}
VARYING = frozenset({b"content-length", *APART.values()})


class Sent(Protocol):
    """The head of a request."""

    @property
    def peer(self) -> str | None:
        """The address it came from; "" for a Unix socket."""

    @property
    def query(self) -> str:
        """What follows the question mark, undecoded."""

    def header(self, name: str) -> str | None:
        """What the header says, None where it was not sent. Sent twice, the two are
        joined by a comma."""

    def header_names(self) -> Iterable[str]:
        """The names of all headers that were sent."""


class Asked(Sent, Protocol):
    """A request, as a route reads it."""

    def once(self, read: "Callable[[Any, Sent], T]") -> T:
        """What *read* makes of the desk and the head, which may be remembered for
        equal heads: it must not depend on the VARYING headers, nor on the query of an
        endpoint that is `one_time`."""

    def body(
        self,
        form: Form,
        *,
        first: Callable[[], object] = ...,
        then: Callable[[], object] = ...,
    ) -> Any:
        """The body in the shape of *form*, with unset members UNSET.

        *first* refuses what is to be refused before a body that is not JSON, *then*
        what is after it, and before fields that are wrong. A carrier that leaves all
        refusals to another asks neither: the engine will refuse the same.

        Raises:
            Refused: it is not JSON, too large, or of another shape.
        """

    def raw(self) -> bytes:
        """The body as it was sent.

        Raises:
            Refused: it is too large.
        """


class Head(Struct, frozen=True, kw_only=True):
    """What the head of a request says in every dialect."""

    told: bool  # it wants to know its commit

    def receipt(self) -> Receipt | None:
        """The commit, for those who ask: it counts everybody's."""
        return Receipt() if self.told else None


class Wait(Struct, frozen=True):
    """Nothing to be had yet: ask again when *queue* has work, for this long.

    What *watch* is lives as long as somebody waits.
    """

    queue: str
    service: str
    seconds: int
    watch: object = None


class Reply(Struct, frozen=True):
    """An answer. Sent once all that it shows is durable."""

    status: int
    body: bytes | Iterable[bytes] = b""
    kind: str | None = None  # the Content-Type; None: there is no content
    headers: tuple[tuple[str, str], ...] = ()
    # Its commit goes into the header X-JobEngine-Commit, once it is known.
    receipt: Receipt | None = None
    # This answer is what to say when the time is up.
    wait: Wait | None = None
    # Takes back what was handed out, where nobody was there to take it.
    undo: Callable[[], None] | None = None
    # Called when the answer has been read, or its reader has gone away.
    on_close: Callable[[], None] | None = None

    def commit_header(self) -> tuple[tuple[str, str], ...]:
        """The header that tells its commit, where that is asked for and known."""
        if self.receipt is None or self.receipt.commit is None:
            return ()
        return ((COMMIT, "{}.{}".format(*self.receipt.commit)),)
