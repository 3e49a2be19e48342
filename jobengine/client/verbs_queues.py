"""The verbs of whole queues, and of their schedules. Pure."""

from collections.abc import Iterable
from typing import Any, Unpack

from msgspec import UNSET, Struct

from jobengine.client import bodies
from jobengine.client.call import Call
from jobengine.client.jobs import (
    NewScheduleOptions,
    Queue,
    Schedule,
    ScheduleOptions,
    Stats,
)
from jobengine.client.replies import nothing, reading
from jobengine.client.transport import Answer
from jobengine.client.verbs_jobs import key_of


class _Queues(Struct, frozen=True):
    queues: list[Queue]


class _Schedules(Struct, frozen=True):
    schedules: list[Schedule]


_read_queue = reading(Queue)
_read_queues = reading(_Queues)
_read_stats = reading(Stats)
_read_schedule = reading(Schedule)
_read_schedules = reading(_Schedules)


def list_queues() -> Call[list[Queue]]:
    """The queues that the caller has a right on."""
    return Call("GET", ("queues",), _all_queues, again=True)


def create_queue(
    name: str,
    *,
    read: Iterable[str] = (),
    write: Iterable[str] = (),
    access_key: str | None = None,
) -> Call[Queue]:
    """Make a queue that these services may read and write."""
    body = {
        "name": name,
        "read": list(bodies.many(read, "read")),
        "write": list(bodies.many(write, "write")),
        "access_key": UNSET if access_key is None else access_key,
    }
    return Call("POST", ("queues",), _read_queue, body=bodies.said(body))


def get_queue(queue: str) -> Call[Queue]:
    """The queue, its rules in force, and what the caller may do with it."""
    return Call("GET", ("queues", queue), _read_queue, again=True)


def delete_queue(queue: str) -> Call[None]:
    """Delete a queue that is not in config.yml, its jobs and its schedules."""
    return Call("DELETE", ("queues", queue), nothing, again=True)


def pause(queue: str, reason: str | None = None) -> Call[Queue]:
    """Hand out no more jobs; those in progress go on."""
    body = bodies.said({"reason": UNSET if reason is None else reason})
    return Call("POST", ("queues", queue, "pause"), _read_queue, body=body, again=True)


def resume(queue: str) -> Call[Queue]:
    """Hand out jobs again."""
    return Call("POST", ("queues", queue, "resume"), _read_queue, again=True)


def stats(queue: str) -> Call[Stats]:
    """The queue in numbers."""
    return Call("GET", ("queues", queue, "stats"), _read_stats, again=True)


def list_schedules(queue: str) -> Call[list[Schedule]]:
    """The schedules of the queue, without their content."""
    return Call("GET", ("queues", queue, "schedules"), _all_schedules, again=True)


def create_schedule(
    queue: str,
    name: str,
    cron: str,
    content: Any,
    **options: Unpack[NewScheduleOptions],
) -> Call[Schedule]:
    """Make a job of the queue whenever *cron* says so."""
    more: dict[str, Any] = dict(options)
    key = more.pop("idempotency_key", None)
    return Call(
        *("POST", ("queues", queue, "schedules"), _read_schedule),
        headers=key_of(key),
        body=bodies.schedule(name, cron, content, more),
        again=bool(key),
        once=key is None,
    )


def get_schedule(queue: str, name: str) -> Call[Schedule]:
    """The schedule, and when it makes its next jobs."""
    at = ("queues", queue, "schedules", name)
    return Call("GET", at, _read_schedule, again=True)


def replace_schedule(
    queue: str, name: str, cron: str, content: Any, **options: Unpack[ScheduleOptions]
) -> Call[Schedule]:
    """Have the schedule be like this; what is not said is as in a new one."""
    body = bodies.schedule(None, cron, content, options)
    at = ("queues", queue, "schedules", name)
    return Call("PUT", at, _read_schedule, body=body, again=True)


def delete_schedule(queue: str, name: str) -> Call[None]:
    """Delete the schedule; the jobs that it made stay."""
    return Call("DELETE", ("queues", queue, "schedules", name), nothing, again=True)


def pause_schedule(queue: str, name: str) -> Call[Schedule]:
    """Have it make no jobs until it is resumed."""
    at = ("queues", queue, "schedules", name, "pause")
    return Call("POST", at, _read_schedule, again=True)


def resume_schedule(queue: str, name: str) -> Call[Schedule]:
    """Have it make jobs again, from its next instant on."""
    at = ("queues", queue, "schedules", name, "resume")
    return Call("POST", at, _read_schedule, again=True)


def _all_queues(answer: Answer) -> list[Queue]:
    return _read_queues(answer).queues


def _all_schedules(answer: Answer) -> list[Schedule]:
    return _read_schedules(answer).schedules
