"""The composition root: the one module that names concrete classes."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from jobengine.admin import Admin
from jobengine.core.queues import Rulebook
from jobengine.doorbell import Doorbell
from jobengine.engine import Engine
from jobengine.errors import StoreUnreadable
from jobengine.schedules import Schedules
from jobengine.settled import Settled
from jobengine.store.journal.compact import Compactor
from jobengine.store.journal.disk import Disk, OsDisk
from jobengine.store.journal.log import Log
from jobengine.store.journal.opening import Opened, disk_errors, open_database
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import Torn, examine
from jobengine.store.journal.room import owed_bytes
from jobengine.store.memory import MemoryStore
from jobengine.store.port import Clock
from jobengine.store.rows import Rows
from jobengine.store.sealer import Kdf, new_uid, new_uids
from jobengine.upkeep import Upkeep


class House(Struct, frozen=True):
    """An engine with its store and its chores."""

    engine: Engine
    upkeep: Upkeep
    admin: Admin
    schedules: Schedules
    store: MemoryStore
    doorbell: Doorbell
    opened: str = "in memory"
    torn: Torn | None = None
    compactor: Compactor | None = None  # where there is a file

    @property
    def room(self) -> str:
        """Whether the disk has room, in a word."""
        return "ok" if self.compactor is None else self.compactor.room

    @property
    def file_bytes(self) -> int:
        """How long the file is, but for what is reserved."""
        return 0 if self.store.journal is None else self.store.journal.end

    def close(self) -> None:
        """Make everything durable, mark the file as cleanly closed, let go of it."""
        self.store.close()


def open_house(
    *,
    db_path: Path,
    secret: bytes,
    rules: Rulebook,
    clock: Clock,
    on_failure: Callable[[BaseException], None],
    previous: bytes | None = None,
    disk: Disk | None = None,
    kdf: Kdf | None = None,
) -> House:
    """Open the database, creating it where there is none, and put *rules* in force.

    *on_failure* is told once, from the committer's thread, when a write or a sync has
    failed: the process should end.

    Raises:
        StoreError: the file cannot be opened, and has not been changed.
    """
    place = disk or OsDisk(db_path)
    opened = open_database(place, secret, previous=previous, kdf=kdf)
    clock.start_from(_newest(opened.rows))
    lock = threading.Lock()
    rows = _rows(opened, clock.now())
    log = _log(opened, rows, lock, clock, on_failure)
    store = MemoryStore(clock, rows=rows, lock=lock, journal=log)
    compactor = Compactor(place, log, rows, lock, opened.identity)
    return furnish(
        store, rules, opened=opened.why, torn=opened.torn, compactor=compactor
    )


def furnish(
    store: MemoryStore,
    rules: Rulebook,
    *,
    opened: str = "in memory",
    torn: Torn | None = None,
    compactor: Compactor | None = None,
) -> House:
    """A house around a store, with *rules* in force."""
    engine = Engine(store, new_uid=new_uid, new_uids=new_uids, rules=rules)
    engine.settled = Settled()
    store.set_witness(engine.settled)
    schedules = Schedules(engine, store, new_uid=new_uid)
    upkeep = Upkeep(engine, store, fire=schedules.fire)
    upkeep.reconfigure(rules)
    doorbell = Doorbell(store.clock.monotonic)
    store.set_bell(doorbell.ring)
    admin = Admin(engine, store, new_uid=new_uid)
    return House(
        engine, upkeep, admin, schedules, store, doorbell, opened, torn, compactor
    )


def peek_queues(db_path: Path, secret: bytes) -> dict[str, int]:
    """Unfinished and finished jobs by queue in a database that nobody has open.

    Only reads; {} when there is no database.

    Raises:
        StoreError: it cannot be opened; StoreBusy when a daemon has it.
    """
    with disk_errors("open"):
        file = OsDisk(db_path).open()
    if file is None:
        return {}
    try:
        jobs = examine(file, secret).replay.jobs.values()
        return dict(Counter(job.queue for job in jobs))
    finally:
        file.close()


def _log(
    opened: Opened,
    rows: Rows,
    lock: "threading.Lock",
    clock: Clock,
    on_failure: Callable[[BaseException], None],
) -> Log:
    def owed() -> int:
        return owed_bytes(
            jobs=rows.jobs,
            unfinished=rows.unfinished,
            row_bytes=rows.row_bytes,
            records=len(rows.records),
        )

    try:
        with disk_errors("reserve room for"):
            return Log(
                opened.tail,
                lock,
                monotonic=clock.monotonic,
                on_failure=on_failure,
                owed=owed,
            )
    except StoreUnreadable:
        opened.tail.file.close()
        raise


def _rows(opened: Opened, now: int) -> Rows:
    rows = Rows()
    for job in opened.rows.jobs.values():
        rows.replace_job(None, job, now)
    for record in opened.rows.records.values():
        rows.replace_record(None, record)
    rows.next_seq = max((job.seq for job in opened.rows.jobs.values()), default=-1) + 1
    return rows


def _newest(rows: Replay) -> int:
    """The newest instant that the file speaks of as past."""
    return max(
        max((job.updated_at for job in rows.jobs.values()), default=0),
        max((record.noted_at for record in rows.records.values()), default=0),
    )
