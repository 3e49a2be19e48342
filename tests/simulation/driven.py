"""A house on a simulated machine, driven a step at a time and the same way every time.

The committer is the real one, in its own thread. What makes it repeatable: its bell
rings, and its time passes, only when the test says so, and each step ends when it is
back at its bell. Random bytes come from the seed.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from random import Random
from typing import TypeAlias

import pytest
from bell import Bell
from machine import Machine

from jobengine.build import House, open_house
from jobengine.core.job import Job
from jobengine.core.queues import QueueRules, RemovedQueue, Rulebook
from jobengine.store import sealer
from jobengine.store.journal import disk, log, placing
from jobengine.store.journal.log import Log
from jobengine.store.journal.opening import open_database
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import examine
from jobengine.store.port import Change, Record, Ticket, Transaction
from jobengine.testing import CHEAP_KDF, SimClock

DB = Path("db")
QUEUES = ("q1", "q2")
# Removed queues are kept for ever: their records are the test's, not upkeep's.
RULES = Rulebook({name: QueueRules(name) for name in QUEUES}, removed_keep_ms=None)

# SECRET, and SECRET_PREVIOUS where there is one.
Secrets: TypeAlias = tuple[bytes, bytes | None]
# All that a file holds: jobs by their uid, records by their name.
Rows: TypeAlias = dict[str, Job | Record]


class SimPath(PurePosixPath):
    """The calls of `Path` that disk.py makes."""

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            _machine().unlink(self)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def exists(self) -> bool:
        try:
            _machine().stat(self)
        except FileNotFoundError:
            return False
        return True

    def read_text(self) -> str:
        raise FileNotFoundError(self)


class Chorus:
    """Before the journal: lets several transactions stage before any of them waits."""

    def __init__(self, journal: Log) -> None:
        self.journal = journal
        self._tickets: list[Ticket] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self.journal, name)

    def stage(self, changes: list[Change], size: int) -> Ticket | None:
        return self._later(self.journal.stage(changes, size))

    def pending(self) -> Ticket | None:
        return self._later(self.journal.pending())

    @contextmanager
    def staging(self) -> Iterator[list[Ticket]]:
        """Nobody waits for a ticket; they are all in this list."""
        self._tickets = []
        try:
            yield self._tickets
        finally:
            self._tickets = None

    def _later(self, ticket: Ticket | None) -> Ticket | None:
        if self._tickets is None or ticket is None:
            return ticket
        self._tickets.append(ticket)
        return None


class Process:
    """A process that has opened the database of a machine.

    Raises:
        StoreError: it could not; the process has ended.
    """

    def __init__(self, machine: Machine, clock: SimClock, secrets: Secrets) -> None:
        power(machine)
        self.clock = clock
        self._machine = machine
        self._bell = Bell()
        log.SimpleQueue = lambda: self._bell  # type: ignore[assignment]
        threads = set(threading.enumerate())
        try:
            self._house = _open(clock, secrets)
        except BaseException:
            machine.kill()
            raise
        (self._committer,) = set(threading.enumerate()) - threads
        journal = self._house.store.journal
        assert isinstance(journal, Log)
        self._chorus = self._house.store.journal = Chorus(journal)  # type: ignore[assignment]
        self._compaction: Generator[None] | None = None
        self.settle()

    def rows(self) -> Rows:
        """All that the house holds."""
        rows = self._house.store.rows
        jobs = [job for shelf in rows.shelves.values() for job in shelf.jobs.values()]
        return {job.uid: job for job in jobs} | {
            record.name: record for record in rows.records.values()
        }

    def commit(self, *transactions: list[Change]) -> None:
        """Transactions in one group; left normally they are acknowledged.

        Raises:
            StoreFailed: they are not.
        """
        tickets = self._stage(transactions)
        self._bell.release()
        self._wait(tickets)

    def _stage(self, transactions: Iterable[list[Change]]) -> list[Ticket]:
        self._bell.hold()
        with self._chorus.staging() as tickets:
            for changes in transactions:
                with self._house.store.transaction() as tx:
                    for old, new in changes:
                        _make(tx, old, new)
        return tickets

    def _wait(self, tickets: list[Ticket]) -> None:
        self._bell.hurry(True)
        for ticket in tickets:
            ticket.wait()
        self._bell.hurry(False)
        self.settle()

    def compact(self) -> Generator[None]:
        """Compact; each step is a slice of it. To be closed: then it is dropped.

        Raises:
            OSError, StoreCorrupt: it was dropped.
            StoreFailed: the store has failed.
        """
        assert self._house.compactor is not None
        self._compaction = self._house.compactor.run()
        yield from self._compaction
        self.settle()

    def compact_ahead_of(self, *transactions: list[Change]) -> None:
        """Compact while these transactions are staged and wait for a slow committer."""
        tickets = self._stage(transactions)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(lambda: list(self.compact()))
            while not done.done() and self._chorus.journal._errand is None:
                time.sleep(0)
            self._bell.release()
            done.exception()
        self._wait(tickets)

    def idle(self) -> None:
        """No commit comes for as long as the committer waits for one."""
        if self._bell.expire():
            self.settle()

    def settle(self) -> None:
        """Return when the committer has nothing to do."""
        self._bell.settle(self._committer)

    @property
    def failed(self) -> bool:
        """Whether the store acknowledges nothing any more."""
        return self._house.store.failure is not None

    def close(self) -> None:
        """Stop as SIGTERM does."""
        self._house.close()
        self._machine.kill()

    def kill(self) -> None:
        """End at once."""
        self._machine.kill()
        # Its threads must end; nothing they call has an effect any more.
        if self._compaction is not None:
            with suppress(OSError):
                self._compaction.close()
        self._house.close()


def _make(tx: Transaction, old: Job | Record | None, new: Job | Record | None) -> None:
    if isinstance(new, RemovedQueue):
        tx.put_record(new)
    elif isinstance(old, RemovedQueue):
        tx.drop_record(old)
    elif new is None:
        tx.drop(old)
    elif old is None:
        tx.add(new)
    else:
        tx.put(new)


def _open(clock: SimClock, secrets: Secrets) -> House:
    return open_house(
        db_path=DB,
        secret=secrets[0],
        previous=secrets[1],
        rules=RULES,
        clock=clock,
        on_failure=lambda _error: None,
        kdf=CHEAP_KDF,
    )


class Stored:
    """Bytes that a tool reads as a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, count: int) -> bytes:
        return self._data[offset : offset + count]

    def drop_cache(self) -> None:
        pass


def tool(
    machine: Machine,
    secrets: Secrets,
    act: Callable[[disk.OsDisk, placing.Secrets], None],
) -> None:
    """Have a tool do something to the database in a process of its own."""
    power(machine)
    try:
        act(disk.OsDisk(DB), placing.Secrets(*secrets, CHEAP_KDF))
    finally:
        machine.kill()


def found(machine: Machine, secrets: Secrets) -> Rows:
    """What the next start will find.

    Raises:
        StoreError: it will refuse the file.
    """
    power(machine)
    file = disk.OsDisk(DB).open()
    if file is None:
        return {}
    verdict = examine(file, *secrets)
    machine.kill()
    return _rows(verdict.replay)


def recovered(machine: Machine, secrets: Secrets) -> Rows:
    """What the next start serves; its process has gone again.

    Raises:
        StoreError: it refuses the file.
    """
    power(machine)
    opened = open_database(
        disk.OsDisk(DB), secrets[0], previous=secrets[1], kdf=CHEAP_KDF
    )
    machine.kill()
    return _rows(opened.rows)


def _rows(replay: Replay) -> Rows:
    rows: Rows = dict(replay.jobs)
    return rows | {record.name: record for record in replay.records.values()}


def power(machine: Machine) -> None:
    """From now on this is the machine that we run on."""
    machine.start_process()
    disk.os = disk.fcntl = machine  # type: ignore[assignment]


def _machine() -> Machine:
    assert isinstance(disk.os, Machine)
    return disk.os


@contextmanager
def simulation(rng: Random | None = None) -> Iterator[None]:
    """The real code on simulated machines, until the block ends.

    Its random bytes are those of *rng*, or the system's.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("os", "fcntl"):
            patch.setattr(disk, name, getattr(disk, name))
        patch.setattr(disk, "Path", SimPath)
        patch.setattr(disk, "_fallocate", lambda *args: _machine().fallocate(*args))
        patch.setattr(log, "SimpleQueue", log.SimpleQueue)
        if rng is not None:
            patch.setattr(sealer, "_system_random", rng.randbytes)
        yield
