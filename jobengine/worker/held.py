"""A job while a worker has it: what a handler is given. Knows no thread and no wire.

Whether it is still the worker's is told by leases.py; how it ended, by work.py.
"""

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import msgspec

from jobengine.client.bodies import is_finite
from jobengine.client.jobs import Job, Lease
from jobengine.client.spans import Duration, seconds_of
from jobengine.errors import Abandoned, JobCancelled

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
    """One run of a job, as a handler has it; its `hold` is for the worker alone."""

    __slots__ = ("_job", "_keeper", "hold")

    def __init__(self, job: Job, keeper: Keeper, now: float) -> None:
        self._job = job
        self._keeper = keeper
        self.hold = Hold(job.lease, now)

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
        """Whether the run is not to go on. Nothing that it does from now on counts."""
        return self.hold.why is not None

    @property
    def why(self) -> Why | None:
        """The reason for that; None: it may go on."""
        return self.hold.why

    def check(self) -> None:
        """Go on only while the job is ours.

        Raises:
            Abandoned: it is not.
        """
        why = self.hold.why
        if why is not None:
            raise Abandoned(f"job {self.uid}: {_WORDS[why]}")

    def progress(self, value: Any) -> None:
        """Tell how far it is, within about a second; the last value counts. A run that
        comes after this one finds it in `saved`.

        Raises:
            TypeError, ValueError: it is no JSON, or has more than 64 KiB.
        """
        self.hold.told = told_of(value)
        self._keeper.tell(self)

    def server_now(self) -> datetime:
        """What the time is for the daemon, whatever our own clock says."""
        assert self._job.lease is not None, "it was just claimed"
        passed = self._keeper.monotonic() - self.hold.began
        return self._job.lease.since + timedelta(seconds=passed)

    def instant(self, at: datetime | Duration) -> datetime:
        """The instant that a handler means: one, or a time from now."""
        if isinstance(at, datetime):
            return at
        return self.server_now() + timedelta(seconds=seconds_of(at))


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
        return self.hold.bell().wait(timeout)


class AsyncHeldJob(Held):
    """A job as an `async def` handler is given it. Where the run is not to go on, its
    task is cancelled."""

    __slots__ = ()

    async def checkpoint(self, value: Any) -> None:
        """As HeldJob.checkpoint."""
        await asyncio.to_thread(self._keeper.checkpoint, self, told_of(value))


class Hold:
    """What a worker knows of a job in hand, for its own parts alone."""

    __slots__ = (
        *("_event", "_heard", "why", "told", "gone", "ended", "telling", "checking"),
        *("waits", "token", "began", "beat_at", "beaten", "until", "lease_s"),
    )

    def __init__(self, lease: Lease | None, now: float) -> None:
        assert lease is not None, "it was just claimed"
        assert lease.token is not None, "who claims it is told"
        self.token = lease.token
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
        # Whether its strategy has said Wait: it has not begun.
        self.waits = False
        # Whether its run is over: of more than one end, the first counts.
        self.ended = False
        # Of leases.py, in seconds of its clock.
        self.lease_s = (lease.until - lease.since).total_seconds()
        self.began = self.beaten = now
        self.until = now + self.lease_s
        self.beat_at = 0.0

    def take_told(self) -> msgspec.Raw | None:
        """The progress that is still to be told: whoever takes it tells it."""
        told, self.told = self.told, None
        return told

    def lost(self, code: str | None) -> None:
        """The daemon has said with this code that the job is not ours."""
        self.gone = True
        self.abandon("cancelled" if code == JobCancelled.code else "lost")

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

    def bell(self) -> threading.Event:
        """Rings when the run is not to go on."""
        with _rare:
            if self._event is None:
                self._event = threading.Event()
                if self.why is not None:
                    self._event.set()
            return self._event


def told_of(value: Any) -> msgspec.Raw:
    """Progress, or a result, as JSON.

    Raises:
        TypeError, ValueError: it is no JSON, or has more than 64 KiB.
    """
    told = msgspec.json.encode(value)
    if len(told) > TOLD_BYTES_MAX:
        raise ValueError(f"it has {len(told)} bytes: at most {TOLD_BYTES_MAX} are kept")
    if b"null" in told and not is_finite(value):
        raise ValueError("it has a number that is not finite")
    return msgspec.Raw(told)


_WORDS: dict[Why, str] = {
    "cancelled": "it was cancelled",
    "lost": "its lease is lost, and another worker may have it",
    "stopping": "this worker ends",
}
