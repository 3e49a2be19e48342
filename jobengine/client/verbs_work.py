"""The verbs of who takes jobs, and settles them. Pure.

Reports show the lease that the job was claimed under. So they can be sent again: where
the first was carried out, the lease holds no more.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from msgspec import UNSET, Raw, Struct

from jobengine.client import bodies
from jobengine.client.call import Call, Script
from jobengine.client.jobs import (
    Beat,
    Completion,
    Ended,
    Job,
    Kind,
    NewJob,
    Reported,
)
from jobengine.client.replies import reading
from jobengine.client.spans import instant_of
from jobengine.client.transport import Answer
from jobengine.client.verbs_jobs import Made, read_results, read_shown
from jobengine.errors import JobEngineError

T = TypeVar("T")

# No more is kept of what went wrong.
ERROR_CHARS_MAX = 1000


class _Jobs(Struct, frozen=True):
    jobs: list[Job]


class _Held(Struct, frozen=True):
    lease_until: datetime


class _Reports(Struct, frozen=True):
    results: list[Reported]


_read_ended = reading(Ended)
_read_jobs = reading(_Jobs)
_read_held = reading(_Held)
_read_reports = reading(_Reports)


def claim(queue: str, *, max: int = 1, wait: int = 0) -> Call[list[Job]]:
    """Take up to *max* jobs, each under a lease; where there is none, wait so many
    seconds for one. No job: an empty list."""
    query = (("max", str(max)),) + ((("wait", str(wait)),) if wait else ())
    return Call(
        *("POST", ("queues", queue, "jobs", "claim"), _claimed, query),
        # What was taken without an answer comes back when its lease ends, whether
        # others are taken by then or not.
        again=True,
        wait_s=wait,
    )


def heartbeat(job: Job, *, progress: Any = UNSET) -> Call[datetime]:
    """Start the lease over, and keep the progress; None forgets it. Until when the job
    is held now."""
    return _report(job, "heartbeat", _held_until, {"progress": progress})


def heartbeat_many(queue: str, beats: Iterable[Beat]) -> Script[list[Reported]]:
    """Start the leases of many jobs over; what became of each, in their order."""
    at = ("queues", queue, "jobs", "heartbeat")
    return _report_many(at, beats)


def complete(job: Job, *, result: Any = None) -> Call[Ended]:
    """The work is done; *result* is any JSON, kept with the job."""
    said = {"result": UNSET if result is None else result}
    return _report(job, "complete", _read_ended, said)


def complete_many(queue: str, done: Iterable[Completion]) -> Script[list[Reported]]:
    """The work on many jobs is done; what became of each, in their order."""
    return _report_many(("queues", queue, "jobs", "complete"), done)


def fail(
    job: Job,
    *,
    error: str | None = None,
    retry_at: datetime | None = None,
    kind: Kind = "retry",
) -> Call[Job]:
    """The work could not be done: another attempt, at *retry_at* or after the back-off,
    or a dead letter. `critical` and `unprocessable` leave no other attempt, `cancel`
    says that nobody is to do it."""
    said = {
        "error": UNSET if error is None else plain(error),
        "retry_at": UNSET if retry_at is None else instant_of("retry_at", retry_at),
        "kind": UNSET if kind == "retry" else kind,
    }
    return _report(job, "fail", read_shown, said)


def plain(error: str) -> str:
    """What is kept of a text that went wrong; it is Unicode, whatever it was.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(error, str):
        raise TypeError(f"error must be text, not {type(error).__name__}")
    return error[:ERROR_CHARS_MAX].encode("utf-8", "replace").decode()


def release(job: Job, *, run_at: datetime | None = None) -> Call[Job]:
    """Give the job back as if it had never been taken: in its old place, or to be taken
    at *run_at* at the earliest."""
    at = UNSET if run_at is None else instant_of("run_at", run_at)
    return _report(job, "release", read_shown, {"run_at": at})


def reschedule(
    job: Job,
    *,
    run_at: datetime | None = None,
    content: Any = UNSET,
    progress: Any = UNSET,
) -> Call[Job]:
    """Have the job run again at *run_at*, and no sooner than its back-off says. The run
    costs no attempt."""
    at = UNSET if run_at is None else instant_of("run_at", run_at)
    said = {"run_at": at, "content": content, "progress": progress}
    return _report(job, "reschedule", read_shown, said)


def requeue(job: Job, jobs: Iterable[Any]) -> Call[list[Made | JobEngineError]]:
    """Complete the job and queue those that follow it: all of that, or nothing."""
    told = bodies.array([bodies.following(each) for each in jobs])
    return _report(job, "requeue", read_results, {"jobs": Raw(told)})


def _report(
    job: Job, verb: str, read: Callable[[Answer], T], body: dict[str, Any]
) -> Call[T]:
    if not isinstance(job, Job):
        raise TypeError(
            f"{verb} takes a Job that was claimed, not {type(job).__name__}"
        )
    token = None if job.lease is None else job.lease.token
    if token is not None:
        body["lease"] = token
    at = ("queues", job.queue, "jobs", job.uid, verb)
    # Without a lease the name of the holder counts, and that may hold it anew by then.
    again = token is not None
    return Call("POST", at, read, body=bodies.said(body), again=again)


def followed(
    job: Job, asked: Sequence[Any], found: Sequence[Made | JobEngineError]
) -> list[tuple[str, Made]]:
    """The jobs that follow it, each with its queue."""
    queues = (each.queue if isinstance(each, NewJob) else None for each in asked)
    made = (each for each in found if isinstance(each, Made))
    return [(queue or job.queue, one) for queue, one in zip(queues, made, strict=True)]


def _report_many(
    at: tuple[str, ...], reports: Iterable[Beat | Completion]
) -> Script[list[Reported]]:
    found: list[Reported] = []
    for kept, body in bodies.parts(reports, _one):
        again = all(each.lease is not UNSET for each in kept)
        found += yield Call("POST", at, _reported, body=body, again=again)
    return found


def _one(report: Beat | Completion) -> bytes:
    return bodies.json_of("result", report)


def _claimed(answer: Answer) -> list[Job]:
    return [] if answer.status == 204 else _read_jobs(answer).jobs


def _held_until(answer: Answer) -> datetime:
    return _read_held(answer).lease_until


def _reported(answer: Answer) -> list[Reported]:
    return _read_reports(answer).results
