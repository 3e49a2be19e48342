"""How the end of a run is told to the daemon: outcome -> verb. Knows no thread."""

import logging
from datetime import datetime

import msgspec
from msgspec import UNSET

from jobengine.client.client import Client
from jobengine.client.jobs import Completion
from jobengine.client.spans import Duration
from jobengine.core.backoff import Backoff, delay_ms
from jobengine.errors import InvalidJob, JobEngineError, Unavailable
from jobengine.worker.handlers import Waits
from jobengine.worker.held import Held
from jobengine.worker.outcomes import (
    Cancel,
    Critical,
    Failed,
    RescheduleAt,
    RetryAt,
    Success,
    Unprocessable,
)
from jobengine.worker.work import End, PutBack

log = logging.getLogger("jobengine.worker")


class Report(msgspec.Struct, frozen=True):
    """A run that has ended, and how. `waits` is the back-off that the worker has for
    it, if any."""

    held: Held
    end: End
    waits: Waits | None = None


# The column of the worker's counts that an end belongs to.
COUNTED: dict[type[End], str] = {
    Success: "completed",
    Failed: "failed",
    RetryAt: "retried",
    RescheduleAt: "rescheduled",
    Cancel: "cancelled",
    Critical: "critical",
    Unprocessable: "unprocessable",
    PutBack: "released",
}


def column_of(end: End, *, took: bool) -> str:
    """Where it counts; what the daemon did not take is lost."""
    return COUNTED[type(end)] if took else "lost"


def completion_of(report: Report) -> Completion:
    """A success, as one of many that are told at once."""
    held, end = report.held, report.end
    assert isinstance(end, Success), "of others there is more to tell"
    result = UNSET if end.result is None else end.result
    return Completion(held.uid, held.hold.token, result)


def tell(client: Client, report: Report) -> None:
    """Tell the daemon of one run.

    Raises:
        JobEngineError: as the client's verbs.
        InvalidJob: also where what the handler means cannot be worked out.
    """
    held, end = report.held, report.end
    if not isinstance(end, Success):
        _tell_progress(client, held)
    match end:
        case Success(result=result):
            client.complete(held.job, result=UNSET if result is None else result)
        case Failed(error=error):
            client.fail(held.job, error=error, retry_at=_retry_at(report))
        case RetryAt(at=at, error=error):
            client.fail(held.job, error=error, retry_at=_instant(held, at))
        case RescheduleAt(at=at):
            client.reschedule(held.job, run_at=_instant(held, at))
        case Cancel():
            client.fail(held.job, kind="cancel")
        case Critical(error=error):
            client.fail(held.job, error=error, kind="critical")
        case Unprocessable(error=error):
            client.fail(held.job, error=error, kind="unprocessable")
        case PutBack(time=time):
            client.release(held.job, run_at=_instant(held, time) if time else None)


def _tell_progress(client: Client, held: Held) -> None:
    """Tell what the next run is to find. Where it is refused, the end still counts."""
    told = held.hold.take_told()
    if told is None:
        return
    try:
        client.heartbeat(held.job, progress=told)
    except Unavailable:
        held.hold.told = told  # it is tried again, with the end
        raise
    except JobEngineError as error:
        log.warning("job %s: its progress is refused: %s", held.uid, error.code)


def _instant(held: Held, at: datetime | Duration) -> datetime:
    try:
        return held.instant(at)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidJob(("time", f"is none: {error}")) from None


def _retry_at(report: Report) -> datetime | None:
    """When it is to be run again; None: the daemon's own back-off says."""
    held, waits = report.held, report.waits
    if waits is None:
        return None
    if isinstance(waits, Backoff):
        wait = delay_ms(waits, uid=held.uid, attempt=held.attempt) / 1000
        return _instant(held, wait)
    try:
        return _instant(held, max(0.0, waits(held.attempt)))
    except Exception as error:
        raise InvalidJob(("back-off", f"raised {type(error).__name__}")) from error
