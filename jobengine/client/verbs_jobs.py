"""The verbs of who queues jobs, and of who looks at them. Pure but for the time that a
wait takes.
"""

from collections.abc import Iterable
from datetime import datetime
from math import ceil
from time import monotonic
from typing import Any, Unpack

from msgspec import UNSET, Struct
from msgspec.structs import replace

from jobengine.client import bodies
from jobengine.client.call import Call, Pause, Script
from jobengine.client.jobs import (
    EnqueueOptions,
    Explanation,
    Job,
    Listing,
    NewJob,
    OnConflict,
    Page,
)
from jobengine.client.replies import Problem, exception, nothing, reading
from jobengine.client.spans import Duration, instant_of, seconds_of
from jobengine.client.transport import Answer
from jobengine.errors import BadAnswer, JobEngineError

# How long one request waits for the end of a job: shorter than proxies, and whatever
# else is in between, let a connection rest.
WAIT_S = 30
# Between looks at a daemon that lets nobody wait.
LOOK_S = 1.0


class Made(Struct, frozen=True):
    """What became of a new job; from a batch without the job."""

    uid: str
    created: bool
    job: Job | None = None


_read_job = reading(Job)
_read_page = reading(Page)
_read_explanation = reading(Explanation)


def read_shown(answer: Answer) -> Job:
    """A job that is shown alone, with its version."""
    return replace(_read_job(answer), etag=answer.headers.get("etag"))


def read_shown_or_none(answer: Answer) -> Job | None:
    """The same; None where there is none, or not yet."""
    return None if answer.status == 204 else read_shown(answer)


def enqueue(queue: str, content: Any, **options: Unpack[EnqueueOptions]) -> Call[Made]:
    """Queue a job."""
    if isinstance(content, NewJob):
        raise TypeError(
            "a NewJob goes to enqueue_many; enqueue takes its options apart"
        )
    more: dict[str, Any] = dict(options)
    conflict = more.pop("on_conflict", "refuse")
    key = more.pop("idempotency_key", None)
    trace = more.pop("traceparent", None)
    # What is there is kept, or becomes the same once more.
    again = conflict != "refuse" and more.get("unique_key") is not None
    return Call(
        *("POST", ("queues", queue, "jobs"), _read_made),
        query=_conflict(conflict),
        headers=key_of(key) + ((("traceparent", trace),) if trace else ()),
        body=bodies.new_job(content, more),
        again=again or bool(key),
        once=key is None and not again,
    )


def key_of(key: str | bool | None) -> tuple[tuple[str, str], ...]:
    """The header of an Idempotency-Key, where the caller has one of its own."""
    return (("Idempotency-Key", key),) if isinstance(key, str) else ()


def enqueue_many(
    queue: str,
    jobs: Iterable[Any],
    *,
    atomic: bool = False,
    on_conflict: OnConflict = "refuse",
) -> Script[list[Made | JobEngineError]]:
    """Queue many jobs, in as few requests as make sense; with *atomic* in one."""
    # All of them first: once some are queued it is too late to raise.
    told = [bodies.any_new_job(job, queue) for job in bodies.many(jobs, "jobs")]
    whole = [(told, bodies.array(told))] if told else []
    found: list[Made | JobEngineError] = []
    for items, body in whole if atomic else bodies.parts(told, bytes):
        try:
            found += yield _batch(queue, body, on_conflict, atomic)
        except JobEngineError as error:
            # Nobody would learn of those that are queued.
            if not found:
                raise
            found += [error] * len(items)
    return found


def _batch(
    queue: str, body: bytes, conflict: OnConflict, atomic: bool
) -> Call[list[Made | JobEngineError]]:
    query = _conflict(conflict) + ((("atomic", "true"),) if atomic else ())
    return Call(
        *("POST", ("queues", queue, "jobs", "batch"), read_results),
        query=query,
        body=body,
        once=True,
    )


def get(queue: str, uid: str) -> Call[Job]:
    """The job as it is now."""
    return Call("GET", ("queues", queue, "jobs", uid), read_shown, again=True)


def wait(queue: str, uid: str, timeout: Duration | None = None) -> Script[Job | None]:
    """The job as it ended, as soon as it has; None where it has not within *timeout*,
    rounded up to whole seconds."""
    until = None if timeout is None else monotonic() + seconds_of(timeout)
    while True:
        began = monotonic()
        left = WAIT_S if until is None else ceil(max(min(until - began, WAIT_S), 0))
        job: Job | None = yield _look(queue, uid, left)
        if job is not None and job.ended:
            return job
        now = monotonic()
        if until is not None and now >= until:
            return None
        if now - began < LOOK_S:
            rest = LOOK_S if until is None else min(LOOK_S, until - now)
            yield Pause(rest)


def _look(queue: str, uid: str, seconds: int) -> Call[Job | None]:
    return Call(
        *("GET", ("queues", queue, "jobs", uid), read_shown_or_none),
        query=(("wait", str(seconds)),) if seconds else (),
        again=True,
        wait_s=seconds,
    )


def update(
    queue: str,
    uid: str,
    *,
    content: Any = UNSET,
    priority: int | None = None,
    run_at: datetime | None = None,
    expires_at: datetime | None = None,
    if_match: str = "*",
) -> Call[Job]:
    """Change an unfinished job; where it is no longer as *if_match*, the `etag` of a
    Job, says, nothing is done."""
    body = {
        "content": content,
        "priority": UNSET if priority is None else priority,
        "run_at": UNSET if run_at is None else instant_of("run_at", run_at),
        "expires_at": (
            UNSET if expires_at is None else instant_of("expires_at", expires_at)
        ),
    }
    return Call(
        *("PATCH", ("queues", queue, "jobs", uid), read_shown),
        headers=(("If-Match", if_match),),
        body=bodies.said(body) or b"{}",
    )


def delete(queue: str, uid: str, *, if_match: str | None = None) -> Call[None]:
    """Delete the job, whatever its state; where it is no longer as *if_match* says,
    nothing is done."""
    headers = () if if_match is None else (("If-Match", if_match),)
    at = ("queues", queue, "jobs", uid)
    return Call("DELETE", at, nothing, headers=headers, again=True)


def peek(queue: str) -> Call[Job | None]:
    """The job that would be claimed next; None: there is none."""
    at = ("queues", queue, "jobs", "peek")
    return Call("GET", at, read_shown_or_none, again=True)


def cancel(queue: str, uid: str) -> Call[Job]:
    """Nobody is to do the work any more; who is at it is told when it reports."""
    return Call("POST", ("queues", queue, "jobs", uid, "cancel"), read_shown)


def retry_job(queue: str, uid: str) -> Call[Job]:
    """Have a failed or cancelled job start anew."""
    return Call("POST", ("queues", queue, "jobs", uid, "retry"), read_shown)


def explain(queue: str, uid: str) -> Call[Explanation]:
    """Why the job is not running, and what would change that."""
    at = ("queues", queue, "jobs", uid, "explain")
    return Call("GET", at, _read_explanation, again=True)


def list_jobs(queue: str, **which: Unpack[Listing]) -> Call[Page]:
    """The jobs that fit, the oldest first, a page at a time."""
    query = bodies.filter_query(which)
    return Call("GET", ("queues", queue, "jobs"), _read_page, query, again=True)


def archive(queue: str, **which: Unpack[Listing]) -> Call[Page]:
    """The jobs that are complete and still kept, a page at a time."""
    which["state"] = "complete"
    return list_jobs(queue, **which)


def dead_letters(queue: str, **which: Unpack[Listing]) -> Call[Page]:
    """The jobs that failed for good, a page at a time."""
    query = bodies.filter_query(which)
    at = ("queues", queue, "dead-letters")
    return Call("GET", at, _read_page, query, again=True)


# --- how answers are read ---------------------------------------------------------


class _Result(Struct, frozen=True):
    status: int
    uid: str | None = None
    problem: Problem | None = None


class _Results(Struct, frozen=True):
    results: tuple[_Result, ...]


_results = reading(_Results)


def read_results(answer: Answer) -> list[Made | JobEngineError]:
    """What became of each of many new jobs."""
    return [_result(each) for each in _results(answer).results]


def _result(each: _Result) -> Made | JobEngineError:
    if each.uid is not None:
        return Made(each.uid, each.status == 201)
    if each.problem is None:
        return BadAnswer("the daemon did not say why it refused a job")
    return exception(each.problem, each.status)


def _read_made(answer: Answer) -> Made:
    job = _read_job(answer)
    return Made(job.uid, answer.status == 201, job)


def _conflict(conflict: OnConflict) -> tuple[tuple[str, str], ...]:
    return () if conflict == "refuse" else (("on_conflict", conflict),)
