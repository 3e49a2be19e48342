"""The slow lane: one thread for work that is long or may block, a slice at a time.

A thread that simply runs starves the loop of the interpreter, so it rests after each
piece of work as long as that took.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

# No rest is longer than this, whatever the work was.
REST_MAX_S = 0.05

log = structlog.get_logger()


class SlowLane:
    """Does what it is given in order, and says so on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._stop = threading.Event()
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="slow", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[], T], done: Callable[[T | None], Any]) -> None:
        """Have *work* done, then call *done* on the loop with what it gave; with None
        where it failed."""
        self._work.put(partial(self._do, work, done))

    def close(self) -> None:
        """End the thread, unless it is in the midst of something: that ends with us."""
        self._stop.set()
        self._work.put(None)

    def _do(self, work: Callable[[], T], done: Callable[[T | None], Any]) -> None:
        found = None
        try:
            found = work()
        except Exception:  # the outermost loop of this thread
            log.exception("slow work failed", code="internal_error")
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(done, found)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            began = perf_counter()
            work()
            self._stop.wait(min(perf_counter() - began, REST_MAX_S))
