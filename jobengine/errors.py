"""Every exception of JobEngine. Imports nothing of ours.

An error carries a stable `code` (for programs), says whether trying again can help
(`retryable`) and a message that says what, which one and what would help. Statuses
and exit codes belong to the edges: api/problem.py and cli.py.
"""

from typing import Any as _Any


class JobEngineError(Exception):
    """The family of everything JobEngine raises on purpose."""

    code = "error"
    retryable = False
    at: int | None = None  # which of many was refused, where that is known
    # Of what a daemon answered: the status, the id under which its log has more, and
    # after how many seconds it wants to be asked again.
    status: int | None = None
    request_id: str | None = None
    retry_after_s: float | None = None


# --- Refused: the request is at fault, and asking again will not help -------------


class Refused(JobEngineError):
    """The request cannot be carried out as it stands."""

    code = "refused"


class InvalidJob(Refused):
    """A job, or a change to one, has a value that means nothing here.

    `errors` holds (field, what is wrong) pairs; a field is named as in NewJob.
    """

    code = "invalid_job"

    def __init__(self, *errors: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {detail}" for field, detail in errors))
        self.errors = errors


class QueueNotFound(Refused):
    """No such queue, or none that this caller may know of."""

    code = "queue_not_found"


class JobNotFound(Refused):
    """The queue has no such job (any more)."""

    code = "job_not_found"


class QueueExists(Refused):
    """There is a queue of this name, or jobs of one that was removed."""

    code = "queue_exists"


class InvalidQueue(Refused):
    """No queue can be made like this."""

    code = "invalid_queue"


class WrongKey(Refused):
    """This is not the queue's access key."""

    code = "wrong_key"


class Forbidden(Refused):
    """The caller may see the queue, but may not do this to it."""

    code = "forbidden"


class QueueConfigured(Forbidden):
    """The queue is in config.yml: only there can it be taken away."""

    code = "queue_configured"


class InvalidSchedule(InvalidJob):
    """A schedule has a value that means nothing here. See InvalidJob."""

    code = "invalid_schedule"


class ScheduleNotFound(Refused):
    """The queue has no such schedule."""

    code = "schedule_not_found"


class ScheduleExists(Refused):
    """The queue has a schedule of this name."""

    code = "schedule_exists"


class KeyReused(Refused):
    """The Idempotency-Key was sent before, with something else."""

    code = "idempotency_key_reused"


class PreconditionFailed(Refused):
    """It is not what the caller last saw."""

    code = "precondition_failed"


class PreconditionRequired(Refused):
    """It must be said what the caller last saw."""

    code = "precondition_required"


class MustNameQueue(Refused):
    """What cannot be undone must name its queue once more."""

    code = "must_name_queue"


class CountDiffers(Refused):
    """Another number of jobs than expected would have been changed; none was."""

    code = "count_differs"


class WrongState(Refused):
    """The job is in a state that this verb does not start from."""

    code = "wrong_state"


class StaleLease(Refused):
    """The lease shown is not the one that holds the job now."""

    code = "stale_lease"


class JobCancelled(StaleLease):
    """The job was cancelled while its holder was at it: drop the work."""

    code = "job_cancelled"


class Abandoned(Refused):
    """The run of a job is not to go on: it was cancelled, is somebody else's, or the
    worker ends. For handlers: where one lets it pass, nothing more is said of the run.
    """

    code = "abandoned"


class JobTooLarge(Refused):
    """The payload is larger than the queue takes."""

    code = "job_too_large"


class DuplicateJob(Refused):
    """A live job already has this uid, or this unique key."""

    code = "duplicate_job"


class TransactionTooLarge(Refused):
    """The change does not fit one frame of the file, and nothing of it was done."""

    code = "too_large"


# --- Unavailable: nothing is wrong with the request, try again --------------------


class Unavailable(JobEngineError):
    """Not now."""

    code = "unavailable"
    retryable = True


class Overloaded(Unavailable):
    """As many of these are under way as are allowed at once."""

    code = "overloaded"


class QueueFull(Unavailable):
    """The queue has as many jobs, or bytes of them, as it may: try again later."""

    code = "queue_full"


class MemoryFull(Unavailable):
    """All jobs together take as much memory as they may."""

    code = "memory_full"


class StoreFull(Unavailable):
    """The disk has no room: nothing of the change was done."""

    code = "storage_full"


class StoreFailed(Unavailable):
    """A write or a sync failed: nothing is acknowledged until the next start."""

    code = "storage_failed"


class Unreachable(Unavailable):
    """The daemon was not reached: the request was certainly not carried out."""

    code = "unreachable"


class Unanswered(Unavailable):
    """There was no answer: the request may have been carried out, or not."""

    code = "unanswered"


class BadAnswer(Unavailable):
    """What was answered is not a daemon's: something else is there, or in between."""

    code = "bad_answer"
    retryable = False


# --- What came of a job -----------------------------------------------------------


class JobFailed(JobEngineError):
    """The job whose result was asked for has failed for good. `job` is it."""

    code = "job_failed"

    def __init__(self, message: str, job: _Any = None) -> None:
        super().__init__(message)
        self.job = job


# --- ConfigError: the operator's --------------------------------------------------


class ConfigError(JobEngineError):
    """The configuration cannot be used. Every fault is in the message."""

    code = "config"


# --- The file cannot be opened ----------------------------------------------------


class StoreError(JobEngineError):
    """The database file cannot be opened. It has not been changed."""

    code = "store"


class StoreCorrupt(StoreError):
    """The file is damaged or was tampered with: a person must look at it.

    `offset` is the byte at which the first fault was found, where there is one.
    """

    code = "store_corrupt"

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        at = "" if offset is None else f" (at byte {offset})"
        super().__init__(message + at)
        self.offset = offset


class NotADatabase(StoreCorrupt):
    """The file is not a .queuedb of this format."""

    code = "not_a_database"


class NewerFormat(StoreError):
    """The file was written by a newer version of JobEngine."""

    code = "newer_format"


class WrongSecret(StoreError):
    """SECRET does not open the file."""

    code = "wrong_secret"


class StoreBusy(StoreError):
    """Another process has the file."""

    code = "store_busy"
    retryable = True


class StoreUnreadable(StoreError):
    """The disk does not give back, or does not take, what the file needs."""

    code = "store_unreadable"


class KdfUnavailable(StoreError):
    """This build cannot compute the file's key derivation."""

    code = "kdf_unavailable"
