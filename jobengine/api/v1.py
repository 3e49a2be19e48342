"""JobEngine's own dialect: its headers and JSON (docs/reference/http-v1.md).

Translates. What a job may be is core's, who may do what is the engine's.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from threading import BoundedSemaphore
from time import perf_counter, sleep
from typing import Any

from flask import Request, Response
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from jobengine.api import strict_json
from jobengine.api.endpoint import LISTINGS_MAX, Desk, Dialect, Lane, read_body
from jobengine.api.identity import BadHeader, identify, named
from jobengine.core.access import Caller
from jobengine.core.job import Change, Job, NewJob, State, Terms
from jobengine.engine import Receipt
from jobengine.errors import InvalidJob, Overloaded, Refused

V1 = Dialect("v1")

LEASE = "X-JobEngine-Lease"
COMMIT = "X-JobEngine-Commit"
_JSON = "application/json"

# A job that is cancelled by another dialect can only show as failed here.
_WORDS = {
    State.QUEUED: "queued",
    State.INPROGRESS: "inprogress",
    State.COMPLETE: "complete",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}
_STATES = {word: state for state, word in reversed(_WORDS.items())}

# One run and no second: a lease that is lost has failed the job (JE1-T3, D8).
_TERMS = Terms(max_attempts=1)

# A whole second T is over when its last millisecond is (JE1-T2 compares strictly).
_LAST_MS = 999

# What a listing hands to the server at once: it may not hold a queue's payloads twice.
_CHUNK_BYTES = 64 << 10

Slices = Iterable[list[tuple[int, Job]]]


class WrongType(Refused):
    """The request says that its body is not JSON."""

    code = "wrong_content_type"


class Payload(fields.Field[bytes]):
    """A JSON object, kept byte for byte."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bytes:
        if not value.startswith(b"{"):
            raise ValidationError("Not a JSON object.")
        return bytes(value)


class NewBody(Schema):
    """What create takes. 60.0 is no integer, and unknown members are ignored (D29)."""

    class Meta:
        unknown = EXCLUDE

    content = Payload(required=True)
    priority = fields.Integer(required=True, strict=True)
    valid_for = fields.Integer(required=True, strict=True)


class ChangeBody(Schema):
    """What update takes: any of these, or none (JE1-V7)."""

    class Meta:
        unknown = EXCLUDE

    content = Payload()
    priority = fields.Integer(strict=True)
    status = fields.String(validate=validate.OneOf(_STATES))
    timeout_time = fields.Integer(strict=True, validate=validate.Range(min=1))


_NEW, _CHANGE = NewBody(), ChangeBody()


@V1.endpoint("GET", "/api/v1/test", statuses=(200,), head=True)
def test(_desk: Desk, _request: Request) -> Response:
    """The API is there. Needs no headers."""
    return _empty(200)


@V1.endpoint("PUT", "/api/v1/jobs/create", statuses=(201,), lane=Lane.HOT, body=NewBody)
def create(desk: Desk, request: Request) -> Response:
    """Queue a job."""
    caller, queue = _asked(desk, request)
    body = _members(desk, request)
    desk.engine.check(caller, queue)
    receipt = Receipt()
    job = desk.engine.enqueue(caller, queue, _new_job(body), receipt=receipt)
    return _told(request, receipt, _json(render(job), 201))


@V1.endpoint("GET", "/api/v1/jobs/next", statuses=(200, 204), lane=Lane.HOT)
def next_job(desk: Desk, request: Request) -> Response:
    """Take the next job; 204 when the queue has none."""
    caller, queue = _asked(desk, request)
    receipt = Receipt()
    taken = desk.engine.claim(caller, queue, receipt=receipt)
    if not taken:
        return _empty(204)
    return _told(request, receipt, _leased(_json(render(taken[0])), taken[0]))


@V1.endpoint("GET", "/api/v1/jobs", statuses=(200, 204, 429), lane=Lane.SLOW, head=True)
def jobs(desk: Desk, request: Request) -> Response:
    """List the queue's jobs, all or those that X-Status-Filter names."""
    caller, queue = _asked(desk, request)
    words = _filter(request)
    with ExitStack() as stack:
        stack.enter_context(_place(desk.listings))
        listing = desk.engine.listing(caller, queue)
        # The place is given up when the client has read it all, or has gone away.
        return _streamed(_paced(_rendered(listing, words)), stack)


@V1.endpoint(
    "POST", "/api/v1/jobs/{uid}", statuses=(200,), lane=Lane.HOT, body=ChangeBody
)
def update(desk: Desk, request: Request, uid: str) -> Response:
    """Change a job, or say how its work went."""
    caller, queue = _asked(desk, request)
    desk.engine.check(caller, queue)
    change = _change(_members(desk, request))
    lease = request.headers.get(LEASE)
    receipt = Receipt()
    job = desk.engine.update(caller, queue, uid, change, lease=lease, receipt=receipt)
    held = job if change.state is State.INPROGRESS else None
    return _told(request, receipt, _leased(_empty(200), held))


@V1.endpoint("DELETE", "/api/v1/jobs/{uid}", statuses=(204,))
def delete(desk: Desk, request: Request, uid: str) -> Response:
    """Delete a job, whatever its state."""
    caller, queue = _asked(desk, request)
    receipt = Receipt()
    desk.engine.delete(caller, queue, uid, receipt=receipt)
    return _told(request, receipt, _empty(204))


def render(job: Job) -> bytes:
    """The job on this wire: keys in order of the alphabet, content byte for byte."""
    return (
        b'{"content":%b,"created":%d,"last_updated":%d,"priority":%d,'
        b'"state":"%b","timeout_time":%d,"uid":"%b"}'
    ) % (
        job.content,
        job.created_at // 1000,
        job.updated_at // 1000,
        job.priority,
        _WORDS[job.state].encode(),
        (job.expires_at or 0) // 1000,
        job.uid.encode(),
    )


def _asked(desk: Desk, request: Request) -> tuple[Caller, str]:
    """Who asks, and of which queue."""
    return identify(request, desk.settings), named(request, "X-Queue")


def _filter(request: Request) -> frozenset[str]:
    """The state words to be listed."""
    word = request.headers.get("X-Status-Filter")
    if not word:
        return frozenset(_STATES)
    if word not in _STATES:
        known = ", ".join(_STATES)
        raise BadHeader(f"the header X-Status-Filter must be one of {known}")
    return frozenset({word})


def _rendered(slices: Slices, words: frozenset[str]) -> Iterator[bytes]:
    """The members of the answer by the chunk, each bounded work; some are empty."""
    for piece in slices:
        texts, size = [], 0
        for place, job in piece:
            if _WORDS[job.state] in words:
                texts.append(b'"%d":%b' % (place, render(job)))
                size += len(texts[-1])
            if size > _CHUNK_BYTES:
                yield b",".join(texts)
                texts, size = [], 0
        yield b",".join(texts)


def _paced(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks that are not empty, after a pause as long as each took to make.

    A thread that simply runs starves all others of the interpreter.
    """
    began = perf_counter()
    for chunk in chunks:
        sleep(perf_counter() - began)
        if chunk:
            yield chunk
        began = perf_counter()


def _streamed(chunks: Iterator[bytes], stack: ExitStack) -> Response:
    """The chunks as one object, or 204. What *stack* holds lasts as long as that."""
    first = next(chunks, None)
    if first is None:
        return _empty(204)
    rest = (b"," + chunk for chunk in chunks)
    response = _json(chain((b"{" + first,), rest, (b"}",)))
    response.call_on_close(stack.pop_all().close)
    return response


def _members(desk: Desk, request: Request) -> dict[str, bytes]:
    """The members of the body; JSON where a type is named, D24."""
    kinds = [
        request.headers.get(header, "").partition(";")[0].strip().lower()
        for header in ("Content-Type", "X-Content-Type")
    ]
    if any(kinds) and _JSON not in kinds:
        raise WrongType(f"the body must be JSON: send Content-Type: {_JSON}")
    return strict_json.members(read_body(desk, request))


def _loaded(schema: Schema, members: Mapping[str, bytes]) -> dict[str, Any]:
    """The members that *schema* knows, in its shape."""
    values = {
        name: text if isinstance(field, Payload) else strict_json.value(text)
        for name, text in members.items()
        if (field := schema.fields.get(name))
    }
    try:
        loaded: dict[str, Any] = schema.load(values)
    except ValidationError as error:
        raise InvalidJob(
            *((name, " ".join(why)) for name, why in error.messages_dict.items())
        ) from None
    return loaded


def _new_job(members: Mapping[str, bytes]) -> NewJob:
    body = _loaded(_NEW, members)
    valid_for_ms = body.pop("valid_for") * 1000
    return NewJob(**body, valid_for_ms=valid_for_ms, terms=_TERMS)


def _change(members: Mapping[str, bytes]) -> Change:
    body = _loaded(_CHANGE, members)
    timeout_time = body.get("timeout_time")
    return Change(
        state=_STATES.get(body.get("status", "")),
        priority=body.get("priority"),
        content=body.get("content"),
        expires_at=timeout_time and timeout_time * 1000 + _LAST_MS,
    )


def _json(body: bytes | Iterable[bytes], status: int = 200) -> Response:
    return Response(body, status, content_type=f"{_JSON}; charset=utf-8")


def _empty(status: int) -> Response:
    response = Response(status=status)
    # Nothing has no type; the framework would call it HTML.
    del response.headers["Content-Type"]
    return response


def _leased(response: Response, job: Job | None) -> Response:
    if job is not None and job.lease is not None:
        response.headers[LEASE] = job.lease.token
    return response


def _told(request: Request, receipt: Receipt, response: Response) -> Response:
    """The commit, for those who ask: it counts everybody's, so it is not for all."""
    if COMMIT in request.headers and receipt.commit is not None:
        response.headers[COMMIT] = "{}.{}".format(*receipt.commit)
    return response


@contextmanager
def _place(listings: BoundedSemaphore) -> Iterator[None]:
    """One of the places for listings, while it is used."""
    if not listings.acquire(blocking=False):
        raise Overloaded(f"{LISTINGS_MAX} listings are under way: try again soon")
    try:
        yield
    finally:
        listings.release()
