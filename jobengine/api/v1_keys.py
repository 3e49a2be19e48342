"""JobEngine's later dialect: queues made over HTTP, each opened by its access key
(docs/reference/http-v1-keys.md).

Translates. What a job may be is core's, and what a key opens is the engine's.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate
from msgspec import UNSET

from jobengine.admin import ACCESS_KEY_CHARS_MAX
from jobengine.api.carried import WrongType
from jobengine.api.endpoint import Desk, Dialect, Lane
from jobengine.api.exchange import COMMIT, LEASE, Asked, Head, Reply, Sent
from jobengine.api.forms import AnyJson, Doubt, Form, Payload
from jobengine.api.identity import BadHeader, identify
from jobengine.api.paced import paced
from jobengine.api.query import needed, parameters
from jobengine.api.v1_jobs import LAST_MS, STATES, WORD_BYTES, in_chunks, leased
from jobengine.core.job import (
    INPROGRESS,
    INSTANT_MAX,
    Change,
    Job,
    NewJob,
    Terms,
)
from jobengine.core.queues import MINUTE_MS
from jobengine.errors import InvalidJob, InvalidQueue

V1_KEYS = Dialect("v1_keys", switch="v1_keys")

# Exactly this, without a charset (JE2-C6).
JSON = "application/json"

_CHANGES = {word: Change(state=state) for word, state in STATES.items()}

MINUTES_MAX = INSTANT_MAX // MINUTE_MS

# What no minutes come to: the original looked a second later.
NO_MINUTES_MS = 1000

# Absent, or 0 as the original wrote it, is the tail of the queue.
TAIL = 1

# Terms are shared where they agree, and clients agree on few.
TERMS_KEPT = 1024

# A key travels in a header: no control characters, and no spaces at its ends.
_KEY = re.compile(rf"(?! )[^\x00-\x1f\x7f]{{1,{ACCESS_KEY_CHARS_MAX}}}(?<! )")


class QueueBody(Schema):
    """What the creation of a queue takes."""

    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True)
    access_key = fields.String(required=True)


class NewBody(Schema):
    """What the creation of a job takes: which queue, and a JobBody."""

    class Meta:
        unknown = EXCLUDE

    queue_name = fields.String(required=True)
    job = Payload(required=True)


class JobBody(Schema):
    """What a new job may say. What only we decide, as its uid, is ignored (JE2-H5)."""

    class Meta:
        unknown = EXCLUDE

    content = AnyJson()
    priority = fields.Integer(strict=True)
    keep_minutes = fields.Integer(
        strict=True, validate=validate.Range(min=0, max=MINUTES_MAX)
    )
    timeout_minutes = fields.Integer(
        strict=True, validate=validate.Range(min=0, max=MINUTES_MAX)
    )
    timeout_time = fields.Integer(
        strict=True, validate=validate.Range(min=0, max=INSTANT_MAX // 1000)
    )


class StatusBody(Schema):
    """What an update takes: which job, and its new state."""

    class Meta:
        unknown = EXCLUDE

    queue_name = fields.String(required=True)
    uid = fields.String(required=True)
    new_status = fields.String(required=True)


_QUEUE, _NEW, _STATUS = Form(QueueBody()), Form(NewBody()), Form(StatusBody())
_JOB = Form(JobBody())


class KeyHead(Head, frozen=True):
    """What the head of a request says."""

    key: str


@V1_KEYS.endpoint("GET", "/test", statuses=(200,), lane=Lane.HOT, head=True)
def test(_desk: Desk, _asked: Asked) -> Reply:
    """The API is there. Needs no headers."""
    return Reply(200)


@V1_KEYS.endpoint("PUT", "/api/v1/queue", statuses=(201,), form=_QUEUE)
def create_queue(desk: Desk, asked: Asked) -> Reply:
    """Make a queue that the access key opens; for administrators, and who else may."""
    caller = identify(asked, desk.settings)
    _check_json(asked)
    body = asked.body(_QUEUE)
    key = usable_key(body.access_key)
    desk.house.admin.create_queue(caller, body.name, access_key=key)
    return Reply(201)


@V1_KEYS.endpoint(
    "GET", "/api/v1/queue", statuses=(200, 429), lane=Lane.SLOW, head=True
)
def jobs(desk: Desk, asked: Asked) -> Reply:
    """List the queue's jobs in the order in which they are handed out."""
    head, name = asked.once(read_queue)
    caller = desk.engine.unlock(name, head.key)
    give_up = desk.begin_listing()
    try:
        listing = desk.engine.listing(caller, name)
    except BaseException:
        give_up()
        raise
    return Reply(200, paced(_listed(listing, name)), JSON, on_close=give_up)


@V1_KEYS.endpoint("DELETE", "/api/v1/queue", statuses=(204,), lane=Lane.SLOW)
def delete_queue(desk: Desk, asked: Asked) -> Reply:
    """Delete the queue and its jobs."""
    head, name = asked.once(read_queue)
    desk.house.admin.delete_queue(desk.engine.unlock(name, head.key), name)
    return Reply(204)


@V1_KEYS.endpoint("PUT", "/api/v1/job", statuses=(201,), lane=Lane.HOT, form=_NEW)
def create(desk: Desk, asked: Asked) -> Reply:
    """Queue a job."""
    head = asked.once(read_body)
    body = asked.body(_NEW)
    caller = desk.engine.unlock(body.queue_name, head.key)
    receipt = head.receipt()
    job = desk.engine.enqueue(
        caller, body.queue_name, _new_job(body.job), receipt=receipt
    )
    return Reply(201, render(job), JSON, receipt=receipt)


@V1_KEYS.endpoint("GET", "/api/v1/job", statuses=(200,), head=True)
def show(desk: Desk, asked: Asked) -> Reply:
    """Show a job."""
    head, name, uid = asked.once(read_job)
    caller = desk.engine.unlock(name, head.key)
    return Reply(200, render(desk.engine.get(caller, name, uid)), JSON)


@V1_KEYS.endpoint("GET", "/api/v1/job/next", statuses=(200, 204), lane=Lane.HOT)
def next_job(desk: Desk, asked: Asked) -> Reply:
    """Show the next job, or take it with `markQueued=true`; 204 when there is none."""
    head, name, mark = asked.once(read_next)
    caller = desk.engine.unlock(name, head.key)
    if not mark:
        seen = desk.engine.peek(caller, name)
        return Reply(204) if seen is None else Reply(200, render(seen), JSON)
    receipt = head.receipt()
    taken = desk.engine.claim(caller, name, receipt=receipt)
    if not taken:
        return Reply(204)
    return Reply(
        200,
        render(taken[0]),
        JSON,
        leased(taken[0]),
        receipt=receipt,
        undo=partial(desk.engine.take_back, taken),
    )


@V1_KEYS.endpoint("POST", "/api/v1/job", statuses=(200,), lane=Lane.HOT, form=_STATUS)
def update(desk: Desk, asked: Asked) -> Reply:
    """Put a job into another state."""
    head = asked.once(read_body)
    body = asked.body(_STATUS)
    change = _change(body.new_status)
    caller = desk.engine.unlock(body.queue_name, head.key)
    receipt = head.receipt()
    job = desk.engine.update(
        *(caller, body.queue_name, body.uid, change),
        lease=asked.header(LEASE),
        receipt=receipt,
    )
    held = leased(job) if change.state is INPROGRESS else ()
    return Reply(200, headers=held, receipt=receipt)


@V1_KEYS.endpoint("DELETE", "/api/v1/job", statuses=(204,))
def delete(desk: Desk, asked: Asked) -> Reply:
    """Delete a job, whatever its state."""
    head, name, uid = asked.once(read_job)
    caller = desk.engine.unlock(name, head.key)
    receipt = head.receipt()
    desk.engine.delete(caller, name, uid, receipt=receipt)
    return Reply(204, receipt=receipt)


def render(job: Job) -> bytes:
    """The job on this wire: keys in the order of JE2-C6, content byte for byte."""
    return (
        b'{"priority":%d,"keep_minutes":%d,"timeout_minutes":%d,"last_updated":%d,'
        b'"created":%d,"timeout_time":%d,"uid":"%b","content":%b,"state":"%b"}'
    ) % (
        job.priority,
        # A job made elsewhere may leave its times to the queue.
        (job.terms.keep_ms or 0) // MINUTE_MS,
        (job.terms.lease_ms or 0) // MINUTE_MS,
        job.updated_at // 1000,
        job.created_at // 1000,
        (job.expires_at or 0) // 1000,
        job.uid.encode(),
        job.content,
        WORD_BYTES[job.state],
    )


def read_body(_desk: Desk, sent: Sent) -> KeyHead:
    """The head of a request with a body.

    Raises:
        Refused: the body is not said to be JSON, or there is no access key.
    """
    _check_json(sent)
    return _head(sent)


def read_queue(_desk: Desk, sent: Sent) -> tuple[KeyHead, str]:
    """The head, and the queue it is about.

    Raises:
        Refused: either is missing.
    """
    (queue,) = needed(parameters(sent.query, "name"), "name")
    return _head(sent), queue


def read_job(_desk: Desk, sent: Sent) -> tuple[KeyHead, str, str]:
    """The head, and the queue and job it is about.

    Raises:
        Refused: any of them is missing.
    """
    names = ("queueName", "jobUID")
    queue, uid = needed(parameters(sent.query, *names), *names)
    return _head(sent), queue, uid


def read_next(_desk: Desk, sent: Sent) -> tuple[KeyHead, str, bool]:
    """The head, the queue it is about, and whether the job is to be taken.

    Raises:
        Refused: the key or the queue is missing.
    """
    said = parameters(sent.query, "queueName", "markQueued")
    (queue,) = needed(said, "queueName")
    return _head(sent), queue, said.get("markQueued", "").lower() == "true"


def _check_json(sent: Sent) -> None:
    """The body must be said to be JSON (JE2-C5); parameters are no fault."""
    kind = (sent.header("Content-Type") or "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise WrongType(f"the body must be JSON: send Content-Type: {JSON}")


def _head(sent: Sent) -> KeyHead:
    key = sent.header("X-Access-Key")
    if not key:
        raise BadHeader("the header X-Access-Key is missing or empty")
    return KeyHead(_text(key), told=sent.header(COMMIT) is not None)


def _text(header: str) -> str:
    """What a header says that shows each of its bytes as a character."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def usable_key(key: str) -> str:
    """The key, where a header could show it."""
    if not _KEY.fullmatch(key):
        raise InvalidQueue(
            f"an access key must be 1 to {ACCESS_KEY_CHARS_MAX} characters, none of "
            "them a control character, with no space at its ends: a header shows it"
        )
    return key


def _new_job(raw: bytes) -> NewJob:
    """The job that *raw* asks for.

    Raises:
        Refused: it is not one that can be kept; its fields are named below `job`.
    """
    try:
        return _translated(_job_body(raw))
    except InvalidJob as error:
        told = ((f"job/{field}", what) for field, what in error.errors)
        raise InvalidJob(*told) from None


def _job_body(raw: bytes) -> Any:
    try:
        return _JOB.glance(raw)
    except Doubt:
        return _JOB.read(raw)


def _translated(body: Any) -> NewJob:
    ends = _or(body.timeout_time, 0)
    return NewJob(
        _or(body.content, b"null"),
        priority=_or(body.priority, 0) or TAIL,
        terms=_terms(_or(body.keep_minutes, 0), _or(body.timeout_minutes, 0)),
        expires_at=ends * 1000 + LAST_MS if ends else None,
    )


@lru_cache(TERMS_KEPT)
def _terms(keep_minutes: int, timeout_minutes: int) -> Terms:
    """One run and no second, as in the original."""
    return Terms(
        max_attempts=1,
        keep_ms=keep_minutes * MINUTE_MS or NO_MINUTES_MS,
        lease_ms=timeout_minutes * MINUTE_MS or NO_MINUTES_MS,
    )


def _change(word: str) -> Change:
    change = _CHANGES.get(word.lower())
    if change is None:
        known = ", ".join(_CHANGES)
        raise InvalidJob(("new_status", f"must be one of {known}"))
    return change


def _listed(slices: Iterable[list[tuple[int, Job]]], name: str) -> Iterator[bytes]:
    """The answer by the chunk, each bounded work; some are empty."""
    yield b'{"jobs":['
    size, between = 0, b""
    for texts in in_chunks(slices, lambda _place, job: render(job)):
        if texts:
            yield between + b",".join(texts)
            size, between = size + len(texts), b","
        else:
            yield b""
    yield b'],"size":%d,"name":"%b"}' % (size, name.encode())


def _or(value: Any, absent: Any) -> Any:
    return absent if value is UNSET else value
