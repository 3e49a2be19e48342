"""The native API for jobs that come again and again (docs/reference/http-v2.md).

Translates. What a schedule may be and when it fires is core's.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
from marshmallow import fields, validate

from jobengine.api import v2_docs as docs
from jobengine.api.endpoint import Desk, Lane
from jobengine.api.exchange import JSON, Asked, Reply
from jobengine.api.forms import AnyJson, Form
from jobengine.api.instants import instant
from jobengine.api.paced import rested
from jobengine.api.v2_forms import TermsBody, given, terms_of, whole
from jobengine.api.v2_heads import (
    V2,
    Told,
    once_of,
    path_of,
    read_head,
    reply_once,
)
from jobengine.api.v2_work import QUEUE
from jobengine.core.access import READ, Caller
from jobengine.core.job import INSTANT_MAX, OWN, PRIORITY_DEFAULT, Terms
from jobengine.core.schedules import MISFIRES, NewSchedule, Schedule, next_runs
from jobengine.engine import Receipt
from jobengine.errors import InvalidSchedule

SCHEDULES = QUEUE + "/schedules"
SCHEDULE = SCHEDULES + "/{schedule}"

# Instants to come that are shown of one schedule: enough to see that it means what it
# should.
RUNS_SHOWN = 5


class ScheduleBody(TermsBody):
    """When there is to be a job, and which."""

    cron = fields.String(required=True)
    zone = fields.String()
    jitter_ms = fields.Integer(strict=True)
    misfire = fields.String(validate=validate.OneOf(MISFIRES))
    content = AnyJson(required=True)
    priority = fields.Integer(strict=True)
    valid_for_ms = whole(1, INSTANT_MAX)
    fingerprint = fields.String()


class ChangedScheduleBody(ScheduleBody):
    """The same; its name may be said again."""

    name = fields.String()


class NewScheduleBody(ScheduleBody):
    """The same with its name."""

    name = fields.String(required=True)


_NEW, _CHANGED = Form(NewScheduleBody()), Form(ChangedScheduleBody())


@V2.endpoint("GET", SCHEDULES, statuses=(200,), lane=Lane.SLOW, doc=docs.LIST_SCHEDULES)
def list_schedules(desk: Desk, asked: Asked, queue: str) -> Reply:
    """List the queue's schedules, without what their jobs are to do."""
    caller = asked.once(read_head).caller
    found = desk.house.schedules.all(caller, queue)
    shown = [_shown(each, runs=1) for each in rested(found)]
    return Reply(200, msgspec.json.encode({"schedules": shown}), JSON)


# Slow are those that look for the next instant: that may be years away.
@V2.endpoint(
    "POST",
    SCHEDULES,
    statuses=(201, 409),
    lane=Lane.SLOW,
    form=_NEW,
    doc=docs.CREATE_SCHEDULE,
)
def create_schedule(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Make a schedule: from now on each of its instants makes one job."""
    head = asked.once(read_head)
    receipt = head.receipt()
    body = asked.body(_NEW)
    new = _new(body, body.name)
    told = partial(_told_made, desk, head.caller)
    once = once_of(asked, head.caller, "schedule", queue, told=told)
    made = desk.house.schedules.create(
        head.caller, queue, new, once=once, receipt=receipt
    )
    return reply_once(once, told, made, receipt)


@V2.endpoint(
    "GET",
    SCHEDULE,
    statuses=(200,),
    lane=Lane.SLOW,
    head=True,
    doc=docs.GET_SCHEDULE,
)
def get_schedule(desk: Desk, asked: Asked, queue: str, schedule: str) -> Reply:
    """Show the schedule, and when it will make jobs next."""
    caller = asked.once(read_head).caller
    return _reply(desk, caller, desk.house.schedules.get(caller, queue, schedule))


@V2.endpoint(
    "PUT",
    SCHEDULE,
    statuses=(200,),
    lane=Lane.SLOW,
    form=_CHANGED,
    doc=docs.REPLACE_SCHEDULE,
)
def replace_schedule(desk: Desk, asked: Asked, queue: str, schedule: str) -> Reply:
    """Have the schedule be as the body says; what it has done is remembered."""
    head = asked.once(read_head)
    receipt = head.receipt()
    body = asked.body(_CHANGED)
    if given(body.name, schedule) != schedule:
        raise InvalidSchedule(("name", "must be as in the path"))
    new = _new(body, schedule)
    after = desk.house.schedules.replace(
        head.caller, queue, schedule, new, receipt=receipt
    )
    return _reply(desk, head.caller, after, receipt)


@V2.endpoint("DELETE", SCHEDULE, statuses=(204,), doc=docs.DELETE_SCHEDULE)
def delete_schedule(desk: Desk, asked: Asked, queue: str, schedule: str) -> Reply:
    """Delete the schedule; the jobs that it made stay."""
    head = asked.once(read_head)
    receipt = head.receipt()
    desk.house.schedules.delete(head.caller, queue, schedule, receipt=receipt)
    return Reply(204, receipt=receipt)


@V2.endpoint("POST", SCHEDULE + "/pause", statuses=(200,), doc=docs.PAUSE_SCHEDULE)
def pause_schedule(desk: Desk, asked: Asked, queue: str, schedule: str) -> Reply:
    """Have the schedule make no jobs until it is resumed."""
    head = asked.once(read_head)
    receipt = head.receipt()
    after = desk.house.schedules.pause(head.caller, queue, schedule, receipt=receipt)
    return _reply(desk, head.caller, after, receipt)


@V2.endpoint(
    "POST",
    SCHEDULE + "/resume",
    statuses=(200,),
    lane=Lane.SLOW,
    doc=docs.RESUME_SCHEDULE,
)
def resume_schedule(desk: Desk, asked: Asked, queue: str, schedule: str) -> Reply:
    """Have the schedule make jobs again, from its next instant on."""
    head = asked.once(read_head)
    receipt = head.receipt()
    after = desk.house.schedules.resume(head.caller, queue, schedule, receipt=receipt)
    return _reply(desk, head.caller, after, receipt)


def _new(body: Any, name: str) -> NewSchedule:
    """The schedule that *body* asks for.

    Raises:
        InvalidSchedule: naming every field that is out of range.
    """
    try:
        return NewSchedule(
            name,
            body.cron,
            body.content,
            zone=given(body.zone, "UTC"),
            priority=given(body.priority, PRIORITY_DEFAULT),
            terms=terms_of(body),
            valid_for_ms=given(body.valid_for_ms),
            fingerprint=given(body.fingerprint),
            jitter_ms=given(body.jitter_ms, 0),
            misfire=given(body.misfire, "skip"),
        )
    except InvalidSchedule as error:
        raise InvalidSchedule(
            *((_NAMES.get(field, field), what) for field, what in error.errors)
        ) from None


# What is called otherwise in the body.
_NAMES = {"title": "name", "valid_for": "valid_for_ms"}


def _told_made(desk: Desk, caller: Caller, made: Schedule) -> Told:
    path = f"{path_of(made.queue)}/schedules/{quote(made.title, safe='')}"
    return 201, (("Location", path),), _rendered(desk, caller, made)


def _reply(
    desk: Desk, caller: Caller, schedule: Schedule, receipt: Receipt | None = None
) -> Reply:
    return Reply(200, _rendered(desk, caller, schedule), JSON, receipt=receipt)


def _rendered(desk: Desk, caller: Caller, schedule: Schedule) -> bytes:
    """The schedule as the caller may see it: the content is for readers."""
    shown = _shown(schedule, runs=RUNS_SHOWN)
    if READ in desk.engine.seen(caller, schedule.queue)[1]:
        shown["content"] = msgspec.Raw(schedule.content)
    return msgspec.json.encode(shown)


def _shown(schedule: Schedule, *, runs: int) -> dict[str, Any]:
    """All but its content; *runs* of the instants to come."""
    return {
        "name": schedule.title,
        "queue": schedule.queue,
        "cron": schedule.cron,
        "zone": schedule.zone,
        "jitter_ms": schedule.jitter_ms,
        "misfire": schedule.misfire,
        "paused": schedule.paused,
        "next_at": _at(schedule.next_at),
        "next_runs": _all_at(next_runs(schedule, runs)),
        "last_at": _at(schedule.last_at),
        "last_uid": schedule.last_uid,
        "made": schedule.made,
        "missed": schedule.missed,
        "updated_at": _at(schedule.noted_at),
        "priority": schedule.priority,
        "valid_for_ms": schedule.valid_for_ms,
        "fingerprint": schedule.fingerprint,
        **_agreed(schedule.terms),
    }


def _agreed(terms: Terms) -> dict[str, Any]:
    """What is not left to the queue, as a body says it."""
    said = {name: getattr(terms, name) for name in _OWN if getattr(terms, name) != OWN}
    said |= {name: ms for name in _TIMES if (ms := getattr(terms, name)) is not None}
    if terms.backoff is not None:
        said["backoff"] = msgspec.structs.asdict(terms.backoff)
    return said if terms.durable else said | {"durable": False}


_OWN = ("max_attempts", "poison_after", "dead_keep_ms")
_TIMES = ("lease_ms", "keep_ms")


def _at(ms: int | None) -> str | None:
    return None if ms is None else instant(ms).decode()


def _all_at(instants: Iterable[int]) -> list[str]:
    return [instant(ms).decode() for ms in instants]
