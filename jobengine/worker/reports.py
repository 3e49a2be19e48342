"""How the end of a run is told to the daemon: outcome -> verb. Knows no thread."""

from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from jobengine.client.client import Client
from jobengine.client.jobs import Completion
from jobengine.core.backoff import Backoff, delay_ms
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


def completion_of(report: Report) -> Completion:
    """A success, as one of many that are told at once."""
    held, end = report.held, report.end
    assert isinstance(end, Success), "of others there is more to tell"
    result = UNSET if end.result is None else end.result
    return Completion(held.uid, held.token, result)


def tell(client: Client, report: Report) -> None:
    """Tell the daemon of one run.

    Raises:
        JobEngineError: as the client's verbs.
    """
    held, end = report.held, report.end
    if not isinstance(end, Success) and held.told is not None:
        # The next run is to find it.
        told, held.told = held.told, None
        client.heartbeat(held.job, progress=told)
    match end:
        case Success(result=result):
            client.complete(held.job, result=UNSET if result is None else result)
        case Failed(error=error):
            client.fail(held.job, error=error, retry_at=_retry_at(report))
        case RetryAt(at=at, error=error):
            client.fail(held.job, error=error, retry_at=held.instant(at))
        case RescheduleAt(at=at):
            client.reschedule(held.job, run_at=held.instant(at))
        case Cancel():
            client.fail(held.job, kind="cancel")
        case Critical(error=error):
            client.fail(held.job, error=error, kind="critical")
        case Unprocessable(error=error):
            client.fail(held.job, error=error, kind="unprocessable")
        case PutBack(time=time):
            client.release(held.job, run_at=None if not time else held.instant(time))


def _retry_at(report: Report) -> datetime | None:
    """When it is to be run again; None: the daemon's own back-off says."""
    held, waits = report.held, report.waits
    if waits is None:
        return None
    if isinstance(waits, Backoff):
        wait = delay_ms(waits, uid=held.uid, attempt=held.attempt) / 1000
    else:
        wait = waits(held.attempt)
    return held.server_now() + timedelta(seconds=max(0.0, wait))
