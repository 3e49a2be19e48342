"""How a run ended, as a handler says it (simple_queue's results, SQ-R1 to SQ-R7).

A handler may return one of these. Anything else that it returns is the result of a
Success; what an exception stands for, the worker's table of exceptions says.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct

from jobengine.client.spans import Duration


class Success(Struct, frozen=True):
    """The work is done. `result` is any JSON, kept with the job."""

    result: Any = None


class Failed(Struct, frozen=True):
    """The work could not be done: once more, after its back-off, while it has attempts
    left; then it is a dead letter."""

    error: str | None = None


class RetryAt(Struct, frozen=True):
    """The same, but once more at this instant, or after this time. It costs an attempt
    too."""

    at: datetime | Duration
    error: str | None = None


class RescheduleAt(Struct, frozen=True):
    """It is not its time yet: again at this instant, or after this time, and no sooner
    than its back-off says. It costs no attempt; too many of them are poison."""

    at: datetime | Duration


class Cancel(Struct, frozen=True):
    """Nobody is to do this work."""


class Critical(Struct, frozen=True):
    """Something is badly wrong: no other attempt. A dead letter."""

    error: str | None = None


class Unprocessable(Struct, frozen=True):
    """The job itself makes no sense: no other attempt. A dead letter."""

    error: str | None = None


Outcome = Success | Failed | RetryAt | RescheduleAt | Cancel | Critical | Unprocessable
# Those that need not be told anything.
BARE = (Success, Failed, Cancel, Critical, Unprocessable)
OUTCOMES = (Success, Failed, RetryAt, RescheduleAt, Cancel, Critical, Unprocessable)
