"""Jobs and records in dicts, made durable by a journal where there is one.

Knows neither files nor policy. What happens in a transaction is transaction.py's, and
how an event loop commits is turns.py's.
"""

import threading
from collections.abc import Callable
from threading import get_ident

from jobengine.errors import StoreFailed
from jobengine.store.port import (
    Clock,
    Committer,
    Journal,
    Listener,
    Witness,
)
from jobengine.store.rows import Rows
from jobengine.store.transaction import MemoryTransaction
from jobengine.store.turns import Turn


class MemoryStore:
    """The store: rows in memory, made durable by a journal where there is one."""

    def __init__(
        self,
        clock: Clock,
        *,
        rows: Rows | None = None,
        lock: "threading.Lock | None" = None,
        journal: Journal | None = None,
    ) -> None:
        self.lock = lock or threading.Lock()  # guards everything below
        self.rows = rows or Rows()
        self.clock = clock
        self.journal = journal
        self.alarm: Callable[[], None] | None = None
        self.bell: Callable[[str], None] | None = None
        self.witness: Witness | None = None
        self.listener: Listener | None = None  # where there is no journal
        self.turning: int | None = None  # the thread that commits by turns
        self.turn: Turn | None = None  # of that thread
        self.now = 0

    @property
    def failure(self) -> StoreFailed | None:
        """Why nothing is acknowledged any more, once that is so."""
        return None if self.journal is None else self.journal.failure

    def transaction(self) -> "MemoryTransaction":
        """A transaction; it begins when its block is entered."""
        if self.turn is not None and self.turning == get_ident():
            return self.turn
        return MemoryTransaction(self)

    def next_due(self) -> int | None:
        """No later than the next instant at which time changes something."""
        with self.lock:
            return self.rows.next_due()

    def set_alarm(self, alarm: Callable[[], None]) -> None:
        """Call *alarm* when something became due earlier than all else."""
        with self.lock:
            self.alarm = alarm

    def set_bell(self, bell: Callable[[str], None]) -> None:
        """Call *bell* with a queue that has got a claimable job."""
        with self.lock:
            self.bell = bell

    def set_witness(self, witness: Witness) -> None:
        """Have *witness* see what every block changes, under the lock."""
        with self.lock:
            self.witness = witness

    def listen(self, listener: Listener) -> None:
        """Have *listener* told of every commit."""
        if self.journal is None:
            self.listener = listener
        else:
            self.journal.listen(lambda changes, *how: listener(changes, self.now, *how))

    def take_turns(self, wake: Callable[[], None]) -> Committer:
        """Let the calling thread commit by turns. See port.Store."""
        if self.journal is not None:
            self.journal.take_over(wake)
        self.turn = Turn(self, wake)
        self.turning = get_ident()
        return self.turn

    def close(self) -> None:
        """Make everything durable and let go of the file."""
        if self.turn is not None:
            self.turn.end()
        if self.journal is not None:
            self.journal.close()
