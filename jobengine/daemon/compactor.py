"""The thread that compacts the file: when it is worth it, or when asked to.

How a file is compacted is the store's; here is only when, and at what pace.
"""

from collections.abc import Generator
from time import perf_counter
from typing import Protocol

import structlog

from jobengine.daemon.chore import Chore
from jobengine.errors import StoreCorrupt, StoreFailed, StoreFull

# How often the file is looked at.
LOOK_S = 1.0
# A disk that failed a compaction is left alone for this long.
BACK_OFF_S = 60.0

log = structlog.get_logger()


class Compactable(Protocol):
    """What this thread needs of the store's compactor."""

    held_s: float

    @property
    def room(self) -> str: ...
    def due(self) -> bool: ...
    def run(self) -> Generator[None]: ...


class Compacting(Chore):
    """Compacts in slices, resting after each as long as it took.

    Asked, it compacts at once, worth it or not. Stopped, it drops what is under way.
    """

    def __init__(self, compactor: Compactable) -> None:
        super().__init__("compact")
        self._compactor = compactor
        self._full = False  # as far as it has been told

    def compact(self) -> None:
        """Compact the file, unless stopped half way.

        Raises:
            OSError, StoreCorrupt: the temporary file failed; the database is as it was.
            StoreFailed: the store has failed.
        """
        steps = self._compactor.run()
        began = slice_began = perf_counter()
        for _ in steps:
            if self._stop.wait(perf_counter() - slice_began):
                steps.close()
                return
            slice_began = perf_counter()
        log.info(
            "compacted",
            seconds=round(perf_counter() - began, 3),
            held_ms=round(self._compactor.held_s * 1000, 1),
        )

    def _run(self) -> None:
        wait = LOOK_S
        while True:
            asked = self._bell.wait(wait)
            if self._stop.is_set():
                return
            self._bell.clear()
            self._tell_room()
            wait = LOOK_S
            try:
                if asked or self._compactor.due():
                    self.compact()
            except StoreFailed:
                log.error("compaction ended: the store has failed")
                return
            except (OSError, StoreCorrupt) as error:
                log.warning(
                    "compaction dropped, the file is as it was",
                    detail=str(error),
                    again_in_s=BACK_OFF_S,
                )
                wait = BACK_OFF_S
            except Exception:  # the outermost loop of this thread
                log.exception("compaction failed", code="compaction_failed")
                wait = BACK_OFF_S

    def _tell_room(self) -> None:
        """Say so when the disk has become full, or is no more."""
        full = self._compactor.room == "full"
        if full and not self._full:
            log.warning("the disk is full: no new jobs are taken", code=StoreFull.code)
        elif self._full and not full:
            log.info("the disk has room again")
        self._full = full
