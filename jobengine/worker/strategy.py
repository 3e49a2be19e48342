"""The third permit: what a handler's own strategy says of a job before it is run
(simple_queue's JobStrategy).

The first two count, and are had before a job is taken: permits.py. This one knows the
job, so it is asked once that is ours.
"""

from abc import ABC, abstractmethod
from typing import Any

from msgspec import Struct

from jobengine.client.spans import Duration
from jobengine.worker.held import Held


class Grant(Struct, frozen=True):
    """Run it."""


class Wait(Struct, frozen=True):
    """Ask again after this time. Meanwhile the job is ours, and has its permits."""

    time: Duration


class Later(Struct, frozen=True):
    """Back to its queue until after this time. It costs no attempt."""

    time: Duration


class Drop(Struct, frozen=True):
    """Nobody is to do it: it is cancelled."""


class Done(Struct, frozen=True):
    """It need not be run: it is complete, with this result."""

    result: Any = None


Word = Grant | Wait | Later | Drop | Done


class Strategy(ABC):
    """Called from the threads that run jobs, from several at once."""

    @abstractmethod
    def acquire(self, job: Held) -> Word:
        """Whether the job may run now. Must not block for long: say Wait."""

    def release(self, job: Held) -> None:  # noqa: B027 not everybody has to
        """The run of a job to which Grant was said is over, whatever came of it."""
