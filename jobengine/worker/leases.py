"""The leases of all jobs in hand: one thread beats for all of them, and says which are
lost. It also tells their progress.

Times are seconds of a monotonic clock.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import UNSET

from jobengine.client.jobs import Beat, Job, Reported
from jobengine.errors import (
    Abandoned,
    JobCancelled,
    JobEngineError,
    JobNotFound,
    StaleLease,
    Unavailable,
    WrongState,
)
from jobengine.worker.held import Held, Hold

# A job is heard of so often, or three times a lease: as in simple_queue. Whoever
# cancels a job that runs waits so long for it to be noticed.
HEARTBEAT_S = 5.0
# Progress is told no more often than this.
PROGRESS_S = 1.0
# After a heartbeat that could not be sent.
AGAIN_S = 1.0
# Heartbeats of one request, as the daemon takes them.
BEATS_MAX = 1000
# And of progress so much, that the body stays under what it takes.
TOLD_BYTES = 512 << 10
# How the daemon answers a body that is longer than its config.yml allows.
TOO_LARGE = 413
# What is due so soon goes along, by the share of the time between two heartbeats.
ALONG = 0.2

# How the daemon says that a job is not ours any more.
GONE = (StaleLease, JobNotFound, WrongState)
GONE_CODES = {error.code for error in (*GONE, JobCancelled)}

log = logging.getLogger("jobengine.worker")

BeatMany = Callable[[str, list[Beat]], list[Reported]]
BeatOne = Callable[[Job, msgspec.Raw], object]


class Leases:
    """The jobs in hand, from the claim until the daemon knows how they ended."""

    def __init__(
        self,
        beat_many: BeatMany,
        beat_one: BeatOne,
        *,
        monotonic: Callable[[], float],
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.monotonic = monotonic
        self._beat_many = beat_many
        self._beat_one = beat_one
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()  # guards all below
        self._changed = threading.Condition(self._lock)
        self._held: dict[str, Held] = {}  # by the token of the lease
        self._wakes_at = float("inf")
        self._closed = False

    def __len__(self) -> int:
        """How many jobs are in hand."""
        return len(self._held)

    def hold(self, helds: Iterable[Held]) -> None:
        """Beat for these from now on."""
        with self._changed:
            for held in helds:
                hold = held.hold
                hold.beat_at = hold.began + self._every(hold)
                self._held[hold.token] = held
                if hold.beat_at < self._wakes_at:
                    self._wakes_at = hold.beat_at
                    self._changed.notify_all()

    def let_go(self, helds: Iterable[Held]) -> None:
        """The daemon knows how these ended, or they are lost."""
        with self._changed:
            for held in helds:
                self._held.pop(held.hold.token, None)
            if not self._held:
                self._changed.notify_all()

    def in_hand(self) -> list[Held]:
        """All of them."""
        with self._lock:
            return list(self._held.values())

    def wait_empty(self, timeout: float) -> bool:
        """Whether none is in hand before the time is up."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, timeout)

    # --- for the jobs themselves ------------------------------------------------

    def tell(self, held: Held) -> None:
        """Send its progress soon."""
        with self._changed:
            hold = held.hold
            soon = max(self.monotonic(), hold.beaten + PROGRESS_S)
            hold.beat_at = min(hold.beat_at, soon)
            if hold.beat_at < self._wakes_at:
                self._wakes_at = hold.beat_at
                self._changed.notify_all()

    def checkpoint(self, held: Held, told: msgspec.Raw) -> None:
        """Send its progress now. See held.Keeper."""
        held.check()
        hold = held.hold
        with self._changed:
            self._changed.wait_for(lambda: not (hold.telling or hold.checking))
            hold.checking = True
            hold.told = None
        sent = self.monotonic()
        try:
            self._beat_one(held.job, told)
        except GONE as error:
            self._lost(held, error.code)
            raise Abandoned(str(error)) from error
        else:
            self._beaten(hold, sent)
        finally:
            with self._changed:
                hold.checking = False
                self._changed.notify_all()

    # --- the thread -------------------------------------------------------------

    def run(self) -> None:
        """Beat until closed."""
        while True:
            with self._changed:
                while not self._closed and self._wakes_at > self.monotonic():
                    pause = self._wakes_at - self.monotonic()
                    self._changed.wait(None if pause == float("inf") else pause)
                if self._closed:
                    return
            self.beat()

    def close(self) -> None:
        """Beat no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def beat(self) -> None:
        """Send the heartbeats that are due."""
        for queue, helds in self._due().items():
            for part in _parts(helds):
                self._beat(queue, part)
        with self._lock:
            # Until the first of them is due.
            found = (held.hold.beat_at for held in self._held.values())
            self._wakes_at = min(found, default=float("inf"))

    def _due(self) -> dict[str, list[Held]]:
        """The jobs that are to be heard of now, if any is, by their queues."""
        now = self.monotonic()
        due: dict[str, list[Held]] = defaultdict(list)
        with self._lock:
            if all(held.hold.beat_at > now for held in self._held.values()):
                return due
            for held in self._held.values():
                hold = held.hold
                if hold.beat_at > now + ALONG * self._every(hold):
                    continue
                if hold.checking:
                    # That is a sign of life as well.
                    hold.beat_at = now + AGAIN_S
                else:
                    due[held.queue].append(held)
        return due

    def _beat(self, queue: str, helds: list[Held]) -> None:
        helds, beats = self._begin(helds)
        try:
            self._send(queue, helds, beats)
        finally:
            with self._changed:
                for held in helds:
                    held.hold.telling = False
                self._changed.notify_all()

    def _begin(self, helds: list[Held]) -> tuple[list[Held], list[Beat]]:
        """The heartbeats of these, but for those that are told of by now."""
        with self._lock:
            helds = [held for held in helds if not held.hold.checking]
            beats = []
            for held in helds:
                told = held.hold.take_told()
                held.hold.telling = told is not None
                progress = UNSET if told is None else told
                beats.append(Beat(held.uid, held.hold.token, progress))
            return helds, beats

    def _send(self, queue: str, helds: list[Held], beats: list[Beat]) -> None:
        sent = self.monotonic()
        try:
            answers = self._beat_many(queue, beats)
        except JobEngineError as error:
            if error.status == TOO_LARGE and len(beats) > 1:
                half = len(beats) // 2
                self._send(queue, helds[:half], beats[:half])
                self._send(queue, helds[half:], beats[half:])
            else:
                self._missed(helds, beats, error)
            return
        for held, answer in zip(helds, answers, strict=True):
            if answer.status == 200:
                self._beaten(held.hold, sent)
            elif answer.code in GONE_CODES:
                self._lost(held, answer.code)
            else:
                # One value that is not taken must not cost the job its lease.
                log.warning(
                    "job %s: its progress is refused: %s", held.uid, answer.code
                )
                held.hold.beat_at = sent + AGAIN_S

    def _missed(
        self, helds: list[Held], beats: list[Beat], error: JobEngineError
    ) -> None:
        """No heartbeat came through: again, until the leases have run out."""
        now = self.monotonic()
        log.warning("no heartbeat of %d jobs came through: %s", len(helds), error)
        for held, beat in zip(helds, beats, strict=True):
            hold = held.hold
            # What was refused would be so again, and take all others along.
            if isinstance(error, Unavailable) and hold.told is None:
                hold.told = None if beat.progress is UNSET else beat.progress
            hold.beat_at = now + min(AGAIN_S, hold.lease_s / 3)
            if hold.until <= now:
                # The daemon may not have noticed: a report is still tried.
                hold.abandon("lost")

    def _beaten(self, hold: Hold, sent: float) -> None:
        hold.beaten = sent
        hold.until = sent + hold.lease_s
        hold.beat_at = sent + self._every(hold)
        if hold.told is not None:
            hold.beat_at = min(hold.beat_at, sent + PROGRESS_S)

    def _lost(self, held: Held, code: str | None) -> None:
        held.hold.lost(code)
        self.let_go([held])

    def _every(self, hold: Hold) -> float:
        return min(hold.lease_s / 3, self._heartbeat_s)


def _parts(helds: list[Held]) -> Iterator[list[Held]]:
    """What goes into one request each."""
    part: list[Held] = []
    size = 0
    for held in helds:
        told = held.hold.told
        own = 0 if told is None else memoryview(told).nbytes
        if len(part) == BEATS_MAX or (part and size + own > TOLD_BYTES):
            yield part
            part, size = [], 0
        part.append(held)
        size += own
    if part:
        yield part
