"""The native API for many jobs at once: bulk, dead letters, purge
(docs/reference/http-v2.md).

Translates. What can be done to which jobs is the engine's.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
from marshmallow import Schema, fields, validate
from msgspec import UNSET
from msgspec.structs import replace

from jobengine.admin import Act
from jobengine.api import v2_docs as docs
from jobengine.api.endpoint import Desk, Lane
from jobengine.api.exchange import JSON, Asked, Reply
from jobengine.api.forms import Flag, Form, Maybe, Payload
from jobengine.api.instants import instant
from jobengine.api.paced import rested
from jobengine.api.v2_forms import given
from jobengine.api.v2_heads import V2, CallerHead, path_of, read_head
from jobengine.api.v2_looks import page_of
from jobengine.api.v2_pages import UIDS_MAX, read_page, where_of
from jobengine.api.v2_work import QUEUE
from jobengine.core.access import Caller
from jobengine.core.job import Job
from jobengine.core.where import DEAD, EVERY, Where
from jobengine.errors import InvalidJob, MustNameQueue

# Jobs that one request changes: some seconds' work, after which the client knows more.
BULK_MAX = 10_000
# Groups of one answer: a person reads them.
GROUPS_MAX = 1000


class HowBody(Schema):
    """How many jobs there must be, and whether anything is to be done to them."""

    dry_run = Flag()
    expected_count = fields.Integer(strict=True, validate=validate.Range(min=0))


class BulkBody(HowBody):
    """Which jobs: a FilterBody; all where there is none."""

    filter = Payload()


class ReplayBody(BulkBody):
    """The same, or some by name."""

    uids = fields.List(
        fields.String(required=True), validate=validate.Length(max=UIDS_MAX)
    )


class PurgeDeadBody(ReplayBody):
    """The same, once more with the name of the queue."""

    queue = fields.String(required=True)


class PurgeBody(HowBody):
    """The name of the queue, once more."""

    queue = fields.String(required=True)


class GroupBody(Schema):
    """Which jobs, by what their maker calls them: one of the two."""

    fingerprint = fields.String()
    unique_key = fields.String()


_GROUP = Form(GroupBody())
_BULK, _REPLAY = Maybe(BulkBody()), Maybe(ReplayBody())
_PURGE_DEAD, _PURGE = Form(PurgeDeadBody()), Form(PurgeBody())

_endpoint = partial(V2.endpoint, statuses=(200, 409, 429), lane=Lane.SLOW)


@_endpoint("POST", QUEUE + "/jobs/bulk/retry", form=_BULK, doc=docs.BULK)
def retry_jobs(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Have failed and cancelled jobs start anew, up to 10,000 of those that fit."""
    return _bulk_of(desk, asked, queue, Act.RETRY)


@_endpoint("POST", QUEUE + "/jobs/bulk/cancel", form=_BULK, doc=docs.BULK)
def cancel_jobs(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Cancel unfinished jobs, up to 10,000 of those that fit."""
    return _bulk_of(desk, asked, queue, Act.CANCEL)


@_endpoint("POST", QUEUE + "/jobs/bulk/delete", form=_BULK, doc=docs.BULK)
def delete_jobs(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Delete jobs, up to 10,000 of those that fit."""
    return _bulk_of(desk, asked, queue, Act.DELETE)


@V2.endpoint(
    *("POST", QUEUE + "/jobs/cancel"),
    statuses=(200,),
    lane=Lane.SLOW,
    form=_GROUP,
    doc=docs.CANCEL_GROUP,
)
def cancel_group(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Cancel the unfinished jobs of a fingerprint, or the one of a unique key.

    Of a fingerprint 10,000 at most: ask again while there are `more`.
    """
    caller = asked.once(read_head).caller
    parts = _cancelling(desk, caller, queue, asked.body(_GROUP))
    cancelled, more = 0, False
    for count in rested(parts):
        cancelled += count
        more = cancelled >= BULK_MAX
        if more:
            break
    told = {"cancelled": cancelled, "more": more}
    return Reply(200, msgspec.json.encode(told), JSON)


@V2.endpoint(
    *("GET", QUEUE + "/dead-letters"),
    statuses=(200, 429),
    lane=Lane.SLOW,
    doc=docs.DEAD_LETTERS,
)
def list_dead_letters(desk: Desk, asked: Asked, queue: str) -> Reply:
    """List the dead letters that fit, a page at a time."""
    head = asked.once(read_head)
    page, path = read_page(asked.query, dead=True), f"{path_of(queue)}/dead-letters"
    return page_of(desk, head, queue, page, path)


@V2.endpoint(
    *("GET", QUEUE + "/dead-letters/groups"),
    statuses=(200, 429),
    lane=Lane.SLOW,
    doc=docs.DEAD_GROUPS,
)
def group_dead_letters(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Count the dead letters that died of the same, the largest groups first."""
    head = asked.once(read_head)
    groups = _Groups()
    with desk.listing():
        for part in rested(desk.engine.matching(head.caller, queue, DEAD)):
            groups.add(part)
    return Reply(200, groups.told(), JSON)


@_endpoint("POST", QUEUE + "/dead-letters/replay", form=_REPLAY, doc=docs.REPLAY)
def replay_dead_letters(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Have dead letters start anew, up to 10,000 of those that fit."""
    head = asked.once(read_head)
    body = asked.body(_REPLAY)
    return _bulk(desk, head, queue, Act.RETRY, _dead(body), body)


@_endpoint("POST", QUEUE + "/dead-letters/purge", form=_PURGE_DEAD, doc=docs.PURGE_DEAD)
def purge_dead_letters(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Delete dead letters, up to 10,000 of those that fit."""
    head = asked.once(read_head)
    body = asked.body(_PURGE_DEAD, then=lambda: desk.engine.check(head.caller, queue))
    _check_named(body, queue)
    return _bulk(desk, head, queue, Act.DELETE, _dead(body), body)


@_endpoint("POST", QUEUE + "/purge", form=_PURGE, doc=docs.PURGE)
def purge_queue(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Delete the jobs of the queue, up to 10,000 of them, whatever their state."""
    head = asked.once(read_head)
    body = asked.body(_PURGE, then=lambda: desk.engine.check(head.caller, queue))
    _check_named(body, queue)
    return _bulk(desk, head, queue, Act.DELETE, EVERY, body)


class _Groups:
    """Dead letters by what they died of."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str | None, str | None]] = Counter()
        self._ends: dict[tuple[str | None, str | None], tuple[int, int, str]] = {}

    def add(self, jobs: list[Job]) -> None:
        for job in jobs:
            cause = job.reason, job.error
            at = job.finished_at or job.updated_at
            self._counts[cause] += 1
            first, last, newest = self._ends.get(cause, (at, at, job.uid))
            uid = job.uid if at >= last else newest
            self._ends[cause] = min(first, at), max(last, at), uid

    def told(self) -> bytes:
        shown = [
            {
                "reason": cause[0],
                "error": cause[1],
                "count": count,
                "newest_uid": self._ends[cause][2],
                "first_at": instant(self._ends[cause][0]).decode(),
                "last_at": instant(self._ends[cause][1]).decode(),
            }
            for cause, count in self._counts.most_common(GROUPS_MAX)
        ]
        return msgspec.json.encode({"groups": shown})


def _cancelling(desk: Desk, caller: Caller, queue: str, body: Any) -> Iterator[int]:
    """How many are cancelled of the jobs that a body names, part by part.

    Raises:
        InvalidJob: it names none, or in two ways.
    """
    if body.fingerprint is UNSET and body.unique_key is UNSET:
        raise InvalidJob(("fingerprint", "say this or unique_key"))
    if body.fingerprint is not UNSET and body.unique_key is not UNSET:
        raise InvalidJob(("unique_key", "say this or fingerprint, not both"))
    if body.unique_key is UNSET:
        return desk.house.admin.cancel_group(caller, queue, body.fingerprint)
    return iter([desk.house.admin.cancel_key(caller, queue, body.unique_key)])


def _bulk_of(desk: Desk, asked: Asked, queue: str, act: Act) -> Reply:
    head = asked.once(read_head)
    body = asked.body(_BULK)
    return _bulk(desk, head, queue, act, where_of(body.filter), body)


def _bulk(
    desk: Desk, head: CallerHead, queue: str, act: Act, where: Where, body: Any
) -> Reply:
    """Do it, and say what it came to."""
    dry_run = body.dry_run is True
    with desk.listing():
        parts = desk.house.admin.bulk(
            *(head.caller, queue, act, where),
            dry_run=dry_run,
            expected=given(body.expected_count),
            limit=BULK_MAX,
        )
        *_, end = rested(parts)
    told = {
        "matched": end.matched,
        "changed": end.changed,
        "remaining": end.matched - end.done,
        "dry_run": dry_run,
    }
    return Reply(200, msgspec.json.encode(told), JSON)


def _dead(body: Any) -> Where:
    """The dead letters that a body means: by its filter, and by name."""
    where = where_of(body.filter)
    if where.dead is False:
        return replace(where, uids=frozenset())  # no dead letter is none
    where = replace(where, dead=True)
    if body.uids is UNSET:
        return where
    named = frozenset(body.uids)
    return replace(where, uids=named & where.uids if where.uids is not None else named)


def _check_named(body: Any, queue: str) -> None:
    """Raises: MustNameQueue, where it names another."""
    if body.queue != queue:
        raise MustNameQueue(
            f"what is deleted is gone: send queue: {queue!r} to say that it is meant"
        )
