"""The native API for whole queues (docs/reference/http-v2.md).

Translates. Who may do what to which queue is the engine's.
"""

from typing import Any

import msgspec
from marshmallow import Schema, fields
from msgspec import UNSET

from jobengine.api import v2_docs as docs
from jobengine.api.endpoint import Desk, Lane
from jobengine.api.exchange import JSON, Asked, Reply
from jobengine.api.forms import Form, Maybe
from jobengine.api.paced import one_by_one
from jobengine.api.v1_keys import usable_key
from jobengine.api.v2_forms import given
from jobengine.api.v2_heads import V2, path_of, read_head
from jobengine.api.v2_work import QUEUE
from jobengine.core.access import ALL, Caller, Right, administers, rights
from jobengine.core.queues import QueueRules

QUEUES = "/api/v2/queues"


class QueueBody(Schema):
    """What a new queue is called, who may use it, and a key that opens it."""

    name = fields.String(required=True)
    read = fields.List(fields.String(required=True))
    write = fields.List(fields.String(required=True))
    access_key = fields.String()


class PauseBody(Schema):
    """Why."""

    reason = fields.String()


_NEW, _PAUSE = Form(QueueBody()), Maybe(PauseBody())


@V2.endpoint(
    "GET", QUEUES, statuses=(200,), lane=Lane.SLOW, head=True, doc=docs.LIST_QUEUES
)
def list_queues(desk: Desk, asked: Asked) -> Reply:
    """List the queues that the caller has a right on."""
    caller = asked.once(read_head).caller
    found = desk.engine.queues(caller)
    # Callers may make thousands.
    shown = [
        msgspec.Raw(msgspec.json.encode(_shown(desk, caller, *each)))
        for each in one_by_one(found)
    ]
    return Reply(200, msgspec.json.encode({"queues": shown}), JSON)


@V2.endpoint("POST", QUEUES, statuses=(201, 409), form=_NEW, doc=docs.CREATE_QUEUE)
def create_queue(desk: Desk, asked: Asked) -> Reply:
    """Make a queue that is not in the configuration."""
    caller = asked.once(read_head).caller
    body = asked.body(_NEW)
    desk.house.admin.create_queue(
        caller,
        body.name,
        read=given(body.read, ()),
        write=given(body.write, ()),
        access_key=None if body.access_key is UNSET else usable_key(body.access_key),
    )
    rules = desk.engine.rules.queues[body.name]
    every = administers(caller, desk.engine.rules)
    held = ALL if every else rights(caller, rules)
    shown = msgspec.json.encode(_shown(desk, caller, rules, held))
    return Reply(201, shown, JSON, (("Location", path_of(body.name)),))


@V2.endpoint("GET", QUEUE, statuses=(200,), head=True, doc=docs.GET_QUEUE)
def get_queue(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Show the queue and its rules."""
    return _queue(desk, asked.once(read_head).caller, queue)


@V2.endpoint(
    "DELETE", QUEUE, statuses=(204, 409), lane=Lane.SLOW, doc=docs.DELETE_QUEUE
)
def delete_queue(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Delete a queue that is not in the configuration, and its jobs."""
    caller = asked.once(read_head).caller
    desk.house.admin.delete_queue(caller, queue)
    return Reply(204)


@V2.endpoint("POST", QUEUE + "/pause", statuses=(200,), form=_PAUSE, doc=docs.PAUSE)
def pause_queue(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Hand out no jobs of the queue until it is resumed."""
    caller = asked.once(read_head).caller
    reason = given(asked.body(_PAUSE).reason, "")
    desk.house.admin.pause(caller, queue, reason)
    return _queue(desk, caller, queue)


@V2.endpoint("POST", QUEUE + "/resume", statuses=(200,), doc=docs.RESUME)
def resume_queue(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Hand out jobs of the queue again."""
    caller = asked.once(read_head).caller
    desk.house.admin.resume(caller, queue)
    return _queue(desk, caller, queue)


@V2.endpoint("GET", QUEUE + "/stats", statuses=(200,), head=True, doc=docs.STATS)
def get_stats(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Show how the queue stands, in numbers alone."""
    stats = desk.engine.stats(asked.once(read_head).caller, queue)
    told = msgspec.structs.asdict(stats)
    told["oldest_ready_seconds"] = told.pop("oldest_ready_ms") / 1000
    told["paused"] = int(stats.paused)
    return Reply(200, msgspec.json.encode(told), JSON)


def _queue(desk: Desk, caller: Caller, queue: str) -> Reply:
    shown = _shown(desk, caller, *desk.engine.seen(caller, queue))
    return Reply(200, msgspec.json.encode(shown), JSON)


def _shown(
    desk: Desk, caller: Caller, rules: QueueRules, held: frozenset[Right]
) -> dict[str, Any]:
    """The queue as the caller may see it: who else may use it is not shown."""
    rights = [right.name.lower() for right in sorted(held)]
    if administers(caller, desk.engine.rules):
        rights.append("admin")
    return {
        "name": rules.name,
        "rights": rights,
        "configured": rules.made is None,
        "paused": rules.paused is not None,
        "pause_reason": rules.paused,
        **{name: getattr(rules, name) for name in _RULES},
        "backoff": msgspec.structs.asdict(rules.backoff),
    }


# As QueueRules have them.
_RULES = (
    *("lease_ms", "keep_ms", "dead_keep_ms", "max_attempts", "poison_after"),
    *("max_jobs", "max_bytes", "max_job_bytes", "max_inprogress"),
)
