"""A job while a worker has it: what a handler is given. Knows no thread and no wire.

Whether it is still the worker's is told by leases.py; how it ended, by work.py.
"""

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import msgspec

from jobengine.client.jobs import Job
from jobengine.client.spans import Duration
from jobengine.errors import Abandoned

# Why a run is not to go on: somebody cancelled the job; another worker has it, or will;
# or this worker ends.
Why = Literal["cancelled", "lost", "stopping"]

# What the daemon keeps of progress, and of a result.
TOLD_BYTES_MAX = 64 << 10

# Guards what is made for a job only when it is asked for. It is held for an instant.
_rare = threading.Lock()


class Keeper(Protocol):
    """Who holds the leases, and can tell the daemon of a job."""

    def tell(self, held: "Held") -> None:
        """Tell its progress soon."""

    def checkpoint(self, held: "Held", told: msgspec.Raw) -> None:
        """Tell this progress now.

        Raises:
            Abandoned: the job is no longer the worker's.
            Unavailable: it could not be told.
        """

    def monotonic(self) -> float:
        """Seconds."""


class Held:
    """One run of a job. All that a handler needs of it is here."""

    __slots__ = (
        *("_job", "_keeper", "_event", "_heard", "why", "told", "gone", "ended"),
        *("telling", "checking"),
        *("began", "beat_at", "beaten", "until", "lease_s", "token"),
    )

    def __init__(self, job: Job, keeper: Keeper, now: float) -> None:
        assert job.lease is not None, "it was just claimed"
        assert job.lease.token is not None, "who claims it is told"
        self.token = job.lease.token
        self._job = job
        self._keeper = keeper
        self._event: threading.Event | None = None
        self._heard: list[Callable[[], None]] | None = None
        self.why: Why | None = None
        # Progress that is still to be told.
        self.told: msgspec.Raw | None = None
        # Of leases.py: whether a heartbeat is on its way that tells some, and whether a
        # checkpoint is. Never both, so that the older cannot overtake the newer.
        self.telling = self.checking = False
        # Whether the daemon has said that it is not ours: no report counts any more.
        self.gone = False
        # Whether its run is over: of more than one end, the first counts.
        self.ended = False
        # Of leases.py, in seconds of its clock.
        self.lease_s = (job.lease.until - job.lease.since).total_seconds()
        self.began = self.beaten = now
        self.until = now + self.lease_s
        self.beat_at = 0.0

    @property
    def job(self) -> Job:
        """All that the daemon said of it with the claim."""
        return self._job

    @property
    def uid(self) -> str:
        """Its name."""
        return self._job.uid

    @property
    def queue(self) -> str:
        """Its queue."""
        return self._job.queue

    @property
    def content(self) -> Any:
        """What is to be done."""
        return self._job.content

    @property
    def attempt(self) -> int:
        """Which run this is, from 1 on."""
        return self._job.attempt

    @property
    def max_attempts(self) -> int | None:
        """How many there may be; None: without limit."""
        return self._job.max_attempts

    @property
    def priority(self) -> int:
        """1 to 100; 100 goes first."""
        return self._job.priority

    @property
    def created_at(self) -> datetime:
        """When it was queued."""
        return self._job.created_at

    @property
    def unique_key(self) -> str | None:
        """As its maker said."""
        return self._job.unique_key

    @property
    def fingerprint(self) -> str | None:
        """As its maker said."""
        return self._job.fingerprint

    @property
    def traceparent(self) -> str | None:
        """As its maker said."""
        return self._job.traceparent

    @property
    def saved(self) -> Any:
        """What a run before this one has told of its progress last, or the maker."""
        return self._job.progress

    @property
    def cancelled(self) -> bool:
        """Whether the run is not to go on: `why` has the reason. Nothing that it does
        from now on counts."""
        return self.why is not None

    def check(self) -> None:
        """Go on only while the job is ours.

        Raises:
            Abandoned: it is not.
        """
        if self.why is not None:
            raise Abandoned(f"job {self.uid}: {_WORDS[self.why]}")

    def progress(self, value: Any) -> None:
        """Tell how far it is, within about a second; the last value counts. A run that
        comes after this one finds it in `saved`.

        Raises:
            TypeError, ValueError: it is no JSON, or has more than 64 KiB.
        """
        self.told = told_of(value)
        self._keeper.tell(self)

    def server_now(self) -> datetime:
        """What the time is for the daemon, whatever our own clock says."""
        assert self._job.lease is not None, "it was just claimed"
        passed = self._keeper.monotonic() - self.began
        return self._job.lease.since + timedelta(seconds=passed)

    def instant(self, at: datetime | Duration) -> datetime:
        """The instant that a handler means: one, or a time from now."""
        if isinstance(at, datetime):
            return at
        wait = at if isinstance(at, timedelta) else timedelta(seconds=at)
        return self.server_now() + wait

    # --- for whoever runs it ----------------------------------------------------

    def abandon(self, why: Why) -> None:
        """Tell the handler that it need not go on. The first reason stays."""
        with _rare:
            if self.why is not None:
                return
            self.why = why
            event, heard = self._event, self._heard or ()
        if event is not None:
            event.set()
        for hear in heard:
            hear()

    def when_abandoned(self, hear: Callable[[], None]) -> None:
        """Have *hear* called when the run is not to go on; at once, if it is so. From
        any thread; it must not block."""
        with _rare:
            if self.why is None:
                self._heard = [*(self._heard or ()), hear]
                return
        hear()

    def _bell(self) -> threading.Event:
        with _rare:
            if self._event is None:
                self._event = threading.Event()
                if self.why is not None:
                    self._event.set()
            return self._event


class HeldJob(Held):
    """A job as a handler on a thread, or in a process, is given it."""

    __slots__ = ()

    def checkpoint(self, value: Any) -> None:
        """Tell how far it is, and return when that is on disk. Else as `progress`.

        Raises:
            Abandoned: the job is not ours any more: what was told does not count.
            Unavailable: it could not be told in time.
        """
        self._keeper.checkpoint(self, told_of(value))

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Sleep for *timeout* seconds, and less where the run is not to go on: True."""
        return self._bell().wait(timeout)


class AsyncHeldJob(Held):
    """A job as an `async def` handler is given it. Where the run is not to go on, its
    task is cancelled."""

    __slots__ = ()

    async def checkpoint(self, value: Any) -> None:
        """As HeldJob.checkpoint."""
        await asyncio.to_thread(self._keeper.checkpoint, self, told_of(value))


def told_of(value: Any) -> msgspec.Raw:
    """The progress as JSON.

    Raises:
        TypeError, ValueError: it is no JSON, or has more than 64 KiB.
    """
    told = msgspec.json.encode(value)
    if len(told) > TOLD_BYTES_MAX:
        raise ValueError(
            f"progress of {len(told)} bytes: at most {TOLD_BYTES_MAX} are kept"
        )
    return msgspec.Raw(told)


_WORDS: dict[Why, str] = {
    "cancelled": "it was cancelled",
    "lost": "its lease is lost, and another worker may have it",
    "stopping": "this worker ends",
}
