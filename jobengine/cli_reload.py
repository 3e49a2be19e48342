"""Runs a command anew whenever a Python file below a folder has changed. For whoever
writes the code that it runs; knows nothing of what that is.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue

# Between two looks at the files: shorter than it takes to change the window.
LOOK_S = 0.5
# Files that are looked at. Each look asks the disk for all of them.
FILES_MAX = 20_000
# Folders that nobody edits by hand.
PASSED_OVER = {"__pycache__", "node_modules", "site-packages"}
# The first signal asks a command to stop, the second to hurry; then patience ends.
PATIENCE = 2

# Path -> when it was changed, and its size.
Stamps = dict[str, tuple[int, int]]


def stamps(folder: Path) -> Stamps:
    """All Python files below *folder* but those of environments and hidden folders."""
    found = {}
    for path in islice(_sources(folder), FILES_MAX):
        try:
            state = os.stat(path)
        except FileNotFoundError:  # gone since the folder was read
            continue
        found[path] = state.st_mtime_ns, state.st_size
    return found


def _sources(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        # In one order, so that of too many files it is always the same that count.
        folders[:] = sorted(
            name for name in folders if name[0] != "." and name not in PASSED_OVER
        )
        for name in sorted(files):
            if name.endswith(".py"):
                yield os.path.join(place, name)


class Reload:
    """Runs *command*, and ends and runs it again after a change below *folder*. What it
    does it says to *tell*."""

    def __init__(
        self, command: Sequence[str], folder: Path, tell: Callable[[str], None]
    ) -> None:
        self._command = command
        self._folder = folder
        self._tell = tell
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._told = 0  # how often it was told to stop

    def run(self) -> int:
        """Go on until SIGTERM or SIGINT, or until the command has ended well by itself;
        its exit code. For the main thread."""
        with self._heeded():
            while True:
                seen = stamps(self._folder)
                code = self._run_once(seen)
                if code is None:
                    continue
                if code == 0 or self._told:
                    return code
                self._tell(f"ended with {code}; it starts again after a change")
                if not self._await_change(seen):
                    return code

    def _run_once(self, seen: Stamps) -> int | None:
        """The code of the command; None when it was ended because of a change."""
        # In our process group: it may read the terminal, and Ctrl-C reaches it there.
        child = subprocess.Popen(self._command)
        changed = False
        while (code := child.poll()) is None:
            self._heed(child)
            if not changed and not self._told and self._changed(seen):
                changed = True
                child.terminate()
        if changed and not self._told:
            return None
        return code if code >= 0 else 128 - code

    def _await_change(self, seen: Stamps) -> bool:
        """Whether there is a change before all is to end."""
        while not self._changed(seen):
            self._heed(None)
            if self._told:
                return False
        return True

    def _changed(self, seen: Stamps) -> bool:
        """Whether the files are not as they were when the command started."""
        now = stamps(self._folder)
        if now == seen:
            return False
        first = min(path for path, _ in now.items() ^ seen.items())
        name = os.path.relpath(first, self._folder)
        self._tell(f"{name} changed: starting again")
        return True

    def _heed(self, child: "subprocess.Popen[bytes] | None") -> None:
        """Wait for a signal until it is time for a look, and pass it on."""
        try:
            number = self._signals.get(timeout=LOOK_S)
        except Empty:
            return
        if number == signal.SIGCHLD:
            return
        self._told += 1
        if child is None:
            return
        if self._told > PATIENCE:
            child.kill()
        elif not (number == signal.SIGINT and _from_terminal()):
            child.send_signal(number)

    @contextmanager
    def _heeded(self) -> Iterator[None]:
        numbers = signal.SIGTERM, signal.SIGINT, signal.SIGCHLD
        before = [signal.signal(number, self._keep) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _keep(self, number: int, _frame: object) -> None:
        self._signals.put(number)


def _from_terminal() -> bool:
    """Whether Ctrl-C goes to this process: then the command was told with it, and must
    not be told twice."""
    try:
        with open("/dev/tty", "rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
