"""Which problems an operation may answer: for its OpenAPI document. Refuses nothing.

From what the operation's `doc` says, and from what all of its kind have in common.
"""

from collections.abc import Iterator
from typing import NamedTuple

from jobengine.api.carried import UnwantedBody, WrongType
from jobengine.api.described import Doc
from jobengine.api.endpoint import Endpoint
from jobengine.api.forms import Many, TooMany
from jobengine.api.identity import BadHeader, CrossSite, Unauthenticated, WrongHost
from jobengine.api.problem import status_of
from jobengine.api.query import BadQuery
from jobengine.api.strict_json import NotJson
from jobengine.errors import (
    Forbidden,
    InvalidJob,
    JobEngineError,
    QueueNotFound,
    StoreFailed,
    StoreFull,
    TransactionTooLarge,
)

Kind = type[JobEngineError]


class Refusal(NamedTuple):
    """A problem: `name` is its own among all, as one code may have two statuses."""

    status: int
    code: str
    says: str

    @property
    def name(self) -> str:
        return f"{self.code}.{self.status}"


# What the server answers to what does not become a request, and what no error of ours
# is behind: by the status.
ON_THE_WIRE = (
    Refusal(400, "bad_request", "It is not HTTP."),
    Refusal(408, "request_timeout", "It did not come in time."),
    Refusal(414, "uri_too_long", "The target is too long."),
    Refusal(431, "request_header_fields_too_large", "The head is too large."),
    Refusal(500, "internal_error", "A fault of ours: the log has more under its id."),
)
BODY_TOO_LARGE = Refusal(
    413, "request_entity_too_large", "The body is larger than limits.body_bytes."
)

_NAMED: tuple[Kind, ...] = (BadHeader, Unauthenticated, CrossSite, WrongHost)
_OF_QUEUES: tuple[Kind, ...] = (QueueNotFound, Forbidden)
_STORED: tuple[Kind, ...] = (StoreFailed,)
_WRITTEN: tuple[Kind, ...] = (StoreFull, TransactionTooLarge)
_BODIES: tuple[Kind, ...] = (NotJson, WrongType, InvalidJob)


def refusals(row: Endpoint, doc: Doc) -> list[Refusal]:
    """What the row may refuse with, each once."""
    found = list(ON_THE_WIRE)
    if row.form is not None:
        found.append(BODY_TOO_LARGE)
    kinds = [*_kinds(row, doc), *doc.refusals]
    found += [refusal(row, kind) for kind in kinds]
    return list(dict.fromkeys(found))


def refusal(row: Endpoint, kind: Kind) -> Refusal:
    """What an error of this kind is on the wire of the row."""
    status = status_of(kind, row.dialect.statuses)
    return Refusal(status, kind.code, _first_line(kind))


def _kinds(row: Endpoint, doc: Doc) -> Iterator[Kind]:
    """What all rows of its kind have in common."""
    if row.dialect.open:
        return
    yield from (*_NAMED, *_STORED)
    if row.method != "GET":
        yield from _WRITTEN
    if "{queue}" in row.path:
        yield from _OF_QUEUES
    elif row.method != "GET":
        yield Forbidden
    if row.dialect.strict or any(each.place == "query" for each in doc.parameters):
        yield BadQuery
    if row.form is not None:
        yield from _BODIES
    if row.bodiless:
        yield UnwantedBody
    if isinstance(row.form, Many):
        yield TooMany


def _first_line(kind: Kind) -> str:
    return (kind.__doc__ or "").partition("\n")[0]
