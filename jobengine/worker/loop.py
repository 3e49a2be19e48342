"""A loop of asyncio, in a thread of its own, for all `async def` handlers. See
work.Runner.
"""

import asyncio
from collections.abc import Callable

from jobengine.worker.work import Work


class Loop:
    """The loop. Its jobs are tasks; those that are abandoned are cancelled."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def run(self) -> None:
        """Run the loop until stopped."""
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            # What was cancelled has its `finally` still to run.
            if self._tasks:
                self._loop.run_until_complete(asyncio.wait(self._tasks, timeout=1.0))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    def submit(self, works: list[Work]) -> None:
        """See work.Runner."""

        def begin() -> None:
            for work in works:
                self._begin(work)

        self._call(begin)

    def take_back(self) -> list[Work]:
        """See work.Runner. Each is begun as soon as it comes."""
        return []

    def stop(self) -> None:
        """See work.Runner."""
        if not self._closed:
            self._closed = True
            self._call(self._end)

    def _call(self, act: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(act)

    def _begin(self, work: Work) -> None:
        task = self._loop.create_task(work.arun())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        work.held.hold.when_abandoned(lambda: self._call(task.cancel))

    def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._loop.stop()
