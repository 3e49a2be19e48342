"""What has befallen a job's runs, and what of it is remembered."""

from msgspec import Struct
from msgspec.structs import replace

# The runs that a job remembers: they stand in every row of it.
RUNS_KEPT = 10

# Enough of an error to know it again; it stands in every row of the job.
ERROR_CHARS_MAX = 1000


class Run(Struct, frozen=True, gc=False):
    """A run that did not end well."""

    attempt: int
    began_at: int
    ended_at: int
    outcome: str  # a reason of core.lifecycle
    error: str | None = None  # as the worker told it


class Past(Struct, frozen=True, gc=False):
    """What has befallen a job's runs; the last RUNS_KEPT of those that went wrong."""

    lost: int = 0  # leases lost in a row
    rescheduled: int = 0
    runs: tuple[Run, ...] = ()


def remember(past: Past | None, run: Run, *, lost: int) -> Past:
    """The past with one more run that went wrong, the *lost*th in a row."""
    past = past or Past()
    return replace(past, lost=lost, runs=(*past.runs, run)[-RUNS_KEPT:])


def forgiven(past: Past | None) -> Past | None:
    """The past as it counts for a job that starts from nothing."""
    return past and replace(past, lost=0, rescheduled=0)


def as_told(error: str | None) -> str | None:
    """As much of a worker's words as is kept."""
    # Half of a surrogate pair is text to some workers; the file cannot hold it.
    return error and error[:ERROR_CHARS_MAX].encode(errors="replace").decode()
