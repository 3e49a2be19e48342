"""The sweeper: the thread that sees to it that time passes for the jobs.

When something is due is the store's to say, what becomes of it upkeep's. Nothing waits
for the sweeper: a job past its time is never handed out, swept or not.
"""

from collections.abc import Callable
from typing import Protocol

import structlog

from jobengine.daemon.chore import Chore
from jobengine.errors import StoreFailed, StoreFull
from jobengine.store.port import Clock
from jobengine.upkeep import Upkeep, may_be_more

# A safety net: an alarm that was missed costs this much and no more.
SLEEP_S = 1.0
# Jobs that fall due one after another share a sweep, its commit and its log lines.
REST_S = 0.25

# A disk that has no room for a sweep has it in a while or not for long.
FULL_S = 5.0

# The rows of one batch: the store is held for about a millisecond, then let go.
BATCH = 100

# What upkeep says became of rows -> the event and the reason in the log; of the rest
# there is nothing to tell.
OUTCOMES = {
    "expired": ("jobs removed", "expired"),
    "lost": ("jobs taken back", "lease_lost"),
    "forgotten": ("jobs removed", "kept_long_enough"),
    "removed": ("jobs removed", "queue_removed"),
    "fired": ("jobs made", "schedule"),
    "missed": ("jobs not made", "schedule"),
}

log = structlog.get_logger()


class Alarmed(Protocol):
    """What rings when something falls due earlier than was said before."""

    def set_alarm(self, alarm: Callable[[], None]) -> None: ...


class Sweeper(Chore):
    """Sweeps when something is due, a batch at a time, and sleeps in between."""

    def __init__(
        self,
        upkeep: Upkeep,
        store: Alarmed,
        clock: Clock,
        *,
        swept: Callable[[float], None] = lambda _lag_seconds: None,
    ) -> None:
        super().__init__("sweeper")
        self._swept = swept
        self._upkeep = upkeep
        self._clock = clock
        store.set_alarm(self.ask)

    def sweep(self) -> float:
        """Do what is due, one batch at most; the seconds to rest before the next.

        Raises:
            StoreFailed: nothing can be swept any more.
        """
        begun = self._clock.monotonic()
        due = self._upkeep.next_due()
        if due is not None:
            self._swept(max(0, self._clock.now() - due) / 1000)
        swept = self._upkeep.sweep(BATCH)
        for (queue, outcome), count in swept.items():
            if outcome in OUTCOMES:
                event, reason = OUTCOMES[outcome]
                log.info(event, queue=queue, count=count, reason=reason)
        if not may_be_more(swept, BATCH):
            return REST_S
        # More is due. Requests get as much time as the sweep took from them.
        return self._clock.monotonic() - begun

    def until_due(self) -> float:
        """Seconds until something falls due, SLEEP_S at most."""
        due = self._upkeep.next_due()
        if due is None:
            return SLEEP_S
        return min(SLEEP_S, max(0.0, (due - self._clock.now()) / 1000))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
            except StoreFailed:
                log.error("sweeper ended: the store has failed", code=StoreFailed.code)
                return
            except StoreFull as error:
                log.warning("sweep waits for room", code=error.code)
                self._stop.wait(FULL_S)
            except Exception:  # the outermost loop of this thread
                log.exception("sweep failed, trying again", code="sweep_failed")
                self._stop.wait(SLEEP_S)

    def _turn(self) -> None:
        # Cleared before looking, so an alarm that comes in between is not lost.
        self._bell.clear()
        wait = self.until_due()
        if wait > 0:
            self._bell.wait(wait)
        else:
            self._stop.wait(self.sweep())
