"""JobEngine's own dialect: its headers and JSON (docs/reference/http-v1.md).

Translates. What a job may be is core's, who may do what is the engine's.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate
from msgspec import UNSET

from jobengine.api.endpoint import Desk, Dialect, Lane
from jobengine.api.exchange import COMMIT, JSON, LEASE, Asked, Head, Reply, Sent, Wait
from jobengine.api.forms import Form, Payload
from jobengine.api.identity import BadHeader, identify, named
from jobengine.api.paced import paced
from jobengine.api.query import BadQuery, preferred_wait
from jobengine.api.v1_jobs import (
    LAST_MS,
    STATES,
    WORD_BYTES,
    WORDS,
    in_chunks,
    leased,
)
from jobengine.core.access import Caller
from jobengine.core.job import INPROGRESS, Change, Job, NewJob, Terms

V1 = Dialect("v1")

# One run and no second: a lease that is lost has failed the job (JE1-T3, D8).
_TERMS = Terms(max_attempts=1)


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
    status = fields.String(validate=validate.OneOf(STATES))
    timeout_time = fields.Integer(strict=True, validate=validate.Range(min=1))


_NEW, _CHANGE = Form(NewBody()), Form(ChangeBody())


class QueueHead(Head, frozen=True):
    """What the head of a request says."""

    caller: Caller
    queue: str
    check: Callable[[], object]  # refuses a queue that there is not, for this caller


@V1.endpoint("GET", "/api/v1/test", statuses=(200,), lane=Lane.HOT, head=True)
def test(_desk: Desk, _asked: Asked) -> Reply:
    """The API is there. Needs no headers."""
    return Reply(200)


@V1.endpoint("PUT", "/api/v1/jobs/create", statuses=(201,), lane=Lane.HOT, form=_NEW)
def create(desk: Desk, asked: Asked) -> Reply:
    """Queue a job."""
    head = asked.once(read_head)
    receipt = head.receipt()
    new = _new_job(asked.body(_NEW, then=head.check))
    job = desk.engine.enqueue(head.caller, head.queue, new, receipt=receipt)
    return Reply(201, render(job), JSON, receipt=receipt)


@V1.endpoint("GET", "/api/v1/jobs/next", statuses=(200, 204, 429), lane=Lane.HOT)
def next_job(desk: Desk, asked: Asked) -> Reply:
    """Take the next job; 204 when the queue has none.

    `Prefer: wait=N` or `?wait=N` waits for one, N seconds at most.
    """
    head, seconds = asked.once(read_next)
    caller, queue, receipt = head.caller, head.queue, head.receipt()
    taken = desk.engine.claim(caller, queue, receipt=receipt)
    if not taken:
        wait = Wait(queue, caller.name, seconds) if seconds else None
        return Reply(204, wait=wait)
    return Reply(
        200,
        render(taken[0]),
        JSON,
        leased(taken[0]),
        receipt=receipt,
        undo=partial(desk.engine.take_back, taken),
    )


@V1.endpoint("GET", "/api/v1/jobs", statuses=(200, 204, 429), lane=Lane.SLOW, head=True)
def jobs(desk: Desk, asked: Asked) -> Reply:
    """List the queue's jobs, all or those that X-Status-Filter names."""
    head = asked.once(read_head)
    words = _filter(asked)
    give_up = desk.begin_listing()
    try:
        listing = desk.engine.listing(head.caller, head.queue)
        members = paced(_rendered(listing, words))
        first = next(members, None)
    except BaseException:
        give_up()
        raise
    if first is None:
        give_up()
        return Reply(204)
    rest = (b"," + chunk for chunk in members)
    return Reply(200, chain((b"{" + first,), rest, (b"}",)), JSON, on_close=give_up)


@V1.endpoint("POST", "/api/v1/jobs/{uid}", statuses=(200,), lane=Lane.HOT, form=_CHANGE)
def update(desk: Desk, asked: Asked, uid: str) -> Reply:
    """Change a job, or say how its work went."""
    head = asked.once(read_head)
    receipt = head.receipt()
    change = _change(asked.body(_CHANGE, first=head.check))
    job = desk.engine.update(
        *(head.caller, head.queue, uid, change),
        lease=asked.header(LEASE),
        receipt=receipt,
    )
    held = leased(job) if change.state is INPROGRESS else ()
    return Reply(200, headers=held, receipt=receipt)


@V1.endpoint("DELETE", "/api/v1/jobs/{uid}", statuses=(204,), lane=Lane.HOT)
def delete(desk: Desk, asked: Asked, uid: str) -> Reply:
    """Delete a job, whatever its state."""
    head = asked.once(read_head)
    receipt = head.receipt()
    desk.engine.delete(head.caller, head.queue, uid, receipt=receipt)
    return Reply(204, receipt=receipt)


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
        WORD_BYTES[job.state],
        (job.expires_at or 0) // 1000,
        job.uid.encode(),
    )


def read_head(desk: Desk, sent: Sent) -> QueueHead:
    """Who asks, of which queue, and how.

    Raises:
        Refused: it does not say, or not who may be believed.
    """
    caller, queue = identify(sent, desk.settings), named(sent, "X-Queue")
    check = partial(desk.engine.check, caller, queue)
    return QueueHead(caller, queue, check, told=sent.header(COMMIT) is not None)


def read_next(desk: Desk, sent: Sent) -> tuple[QueueHead, int]:
    """The same, and for how many seconds to wait for a job.

    Raises:
        Refused: it does not say, or not what can be believed or understood.
    """
    return read_head(desk, sent), _wait_seconds(desk, sent)


_QUERY_WAIT = re.compile(r"(?:^|&)wait=([^&]*)")


def _wait_seconds(desk: Desk, sent: Sent) -> int:
    """How many seconds to wait for a job. A preference not understood is none (RFC
    7240); a query that makes no sense is a mistake."""
    most = desk.settings.limits.wait_seconds
    if found := _QUERY_WAIT.search(sent.query):
        if not re.fullmatch("[0-9]{1,9}", found[1]):
            raise BadQuery("?wait= must be a number of whole seconds")
        return min(int(found[1]), most)
    return min(preferred_wait(sent), most)


def _filter(sent: Sent) -> frozenset[str]:
    """The state words to be listed."""
    word = sent.header("X-Status-Filter")
    if not word:
        return frozenset(STATES)
    if word not in STATES:
        known = ", ".join(STATES)
        raise BadHeader(f"the header X-Status-Filter must be one of {known}")
    return frozenset({word})


def _rendered(
    slices: Iterable[list[tuple[int, Job]]], words: frozenset[str]
) -> Iterator[bytes]:
    """The members of the answer by the chunk, each bounded work; some are empty."""

    def member(place: int, job: Job) -> bytes | None:
        shown = WORDS[job.state] in words
        return b'"%d":%b' % (place, render(job)) if shown else None

    return map(b",".join, in_chunks(slices, member))


def _new_job(body: Any) -> NewJob:
    return NewJob(
        body.content,
        priority=body.priority,
        valid_for_ms=body.valid_for * 1000,
        terms=_TERMS,
    )


def _change(body: Any) -> Change:
    content, priority = _set(body.content), _set(body.priority)
    expires_at = _set(body.timeout_time)
    if content is priority is expires_at is None:
        return _BARE[_set(body.status)]
    return Change(
        state=STATES.get(_set(body.status) or ""),
        priority=priority,
        content=content,
        expires_at=expires_at and expires_at * 1000 + LAST_MS,
    )


# What most updates are: a state and nothing else.
_BARE = {word: Change(state=state) for word, state in STATES.items()} | {None: Change()}


def _set(value: Any) -> Any:
    return None if value is UNSET else value
