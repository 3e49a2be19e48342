"""The transactions of an event loop: all of one turn are committed as one."""

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from jobengine.store.port import (
    Ticket,
)
from jobengine.store.transaction import MemoryTransaction

if TYPE_CHECKING:
    from jobengine.store.memory import MemoryStore

# More than this a turn does not stage as one: a frame must hold it.
TURN_BYTES = 1 << 20


class Slip:
    """The ticket of what a turn has not staged yet. See port.Ticket."""

    __slots__ = ("ticket",)

    def __init__(self) -> None:
        self.ticket: Ticket | None = None

    @property
    def commit(self) -> tuple[int, int] | None:
        """Its commit, once it is durable."""
        return None if self.ticket is None else self.ticket.commit

    def wait(self) -> tuple[int, int] | None:
        """Return at once: whoever waited here would wait for himself."""
        return self.commit


class Turn(MemoryTransaction):
    """All transactions of a thread that commits by turns, one block after another.

    The store's lock is taken with the first block of a turn and given back at its end;
    what its blocks changed is staged as one, and happens at one instant.
    """

    __slots__ = ("_mark", "_open", "_slip", "_wake")

    def __init__(self, store: "MemoryStore", wake: Callable[[], None]) -> None:
        super().__init__(store)
        self._wake = wake
        self._open = False  # and the lock is ours
        self._mark = 0  # the changes of blocks before this one
        self._slip = Slip()

    def __enter__(self) -> "Turn":
        if not self._open:
            self._lock()
            self._open = True
            self._wake()
        self._mark = len(self._changes)
        self._size = 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._undo(self._mark)
            del self._changes[self._mark :]
        else:
            self._show(self._mark)
            if self._ahead + self._size > TURN_BYTES:
                self._stage(self._mark)
            self._ahead += self._size
        self.ticket = self._slip if self._changes else None
        if self._claimable or self._alarm:
            self._tell()
            self._claimable.clear()
            self._alarm = False

    @property
    def frames(self) -> int:
        """See port.Committer."""
        journal = self._store.journal
        return 0 if journal is None else journal.frames

    @property
    def behind(self) -> bool:
        """See port.Committer."""
        journal = self._store.journal
        return journal is not None and journal.behind

    def commit(self) -> float | None:
        """End the turn and make it durable. See port.Committer."""
        self.end()
        journal = self._store.journal
        return None if journal is None else journal.commit()

    def tend(self) -> None:
        """See port.Committer."""
        self.end()
        if self._store.journal is not None:
            self._store.journal.tend()

    def end(self) -> None:
        """Stage what was changed, and let others at the store."""
        if self._open:
            self._stage(len(self._changes))
            self._open = False
            self._store.lock.release()

    def _stage(self, count: int) -> None:
        """Stage the first *count* changes."""
        changes, journal = self._changes[:count], self._store.journal
        if changes and journal is not None:
            self._slip.ticket = journal.stage(changes, self._ahead)
        elif changes and self._store.listener is not None:
            self._store.listener(changes, self.now, 0, 0.0)
        del self._changes[:count]
        self._ahead = 0
        self._slip = Slip()
