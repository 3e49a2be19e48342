"""A chore of the daemon: a named thread that can be asked to look, and be stopped.

Knows not what the chore is.
"""

import threading
from abc import ABC, abstractmethod


class Chore(ABC):
    """Runs `_run` in a thread of its own until it is stopped."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._bell = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Do the chore from now on."""
        self._thread.start()

    def ask(self) -> None:
        """Have it look at once. Returns before that is done."""
        self._bell.set()

    def stop(self) -> None:
        """Return when what is under way, if anything, is done or dropped, and no more
        will start."""
        self._stop.set()
        self._bell.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Until `_stop` is set, wait for `_bell` or for a time, and look."""
