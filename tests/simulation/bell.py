"""When the committer works, and how its time passes: as the test wants.

A Bell stands in for the queue that log.py's committer sleeps on. Knows nothing of what
it commits.
"""

import threading
from queue import Empty

from jobengine.store.journal.room import RETRY_S


class Bell:
    """The committer's bell and its patience, both in the hand of the test."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._rings = 0
        self._held = False
        self._expired = False
        self._hurried = False
        self._waits: float | None = None
        self._is_waited_at = False

    def put(self, _nothing: None) -> None:
        """Ring."""
        with self._change:
            self._rings += 1
            self._change.notify_all()

    def get(self, timeout: float | None = None) -> None:
        """Return when it rings.

        Raises:
            Empty: the test lets the time pass.
        """
        with self._change:
            self._is_waited_at, self._waits = True, timeout
            self._change.notify_all()
            self._change.wait_for(self._is_over)
            self._is_waited_at = False
            if self._rings == 0 or self._expired:
                self._expired = False
                raise Empty
            self._rings -= 1

    def hold(self) -> None:
        """Keep the committer from hearing it."""
        with self._change:
            self._held = True

    def release(self) -> None:
        """Let the committer hear what has rung."""
        with self._change:
            self._held = False
            self._change.notify_all()

    def expire(self) -> bool:
        """Let the time pass that the committer would wait; False when it has none."""
        with self._change:
            self._expired = self._waits is not None
            self._change.notify_all()
            return self._expired

    def hurry(self, hurried: bool) -> None:
        """Whether a full disk is asked again at once."""
        with self._change:
            self._hurried = hurried
            self._change.notify_all()

    def settle(self, committer: threading.Thread) -> None:
        """Return when the committer has come back to its bell, or has ended."""
        with self._change:
            while not (self._is_waited_at and not self._is_over()):
                if not self._change.wait(timeout=0.01) and not committer.is_alive():
                    return

    def _is_over(self) -> bool:
        full = self._hurried and self._waits == RETRY_S
        return self._expired or full or (self._rings > 0 and not self._held)
