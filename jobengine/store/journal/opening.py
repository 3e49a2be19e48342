"""Opens the database of a disk: goes on, repairs, or creates; or refuses untouched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from jobengine.core.job import row_bytes
from jobengine.errors import StoreUnreadable
from jobengine.store.journal.compact import (
    Before,
    Identity,
    live_bytes,
    mostly_dead,
    write_snapshot,
)
from jobengine.store.journal.disk import NO_ROOM, Disk, DiskFile
from jobengine.store.journal.frame import (
    MARK_BYTES,
    MARKS_AT,
    Keys,
    Slot,
    Type,
    new_slot,
)
from jobengine.store.journal.log import Tail
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import Torn, Verdict, collector_off, examine
from jobengine.store.port import record_bytes
from jobengine.store.sealer import Kdf, kdf_for, random_bytes


class Opened(Struct, frozen=True):
    """A database in use."""

    tail: Tail
    rows: Replay
    identity: Identity
    why: str  # created, clean, or why it was rewritten; for the log
    torn: Torn | None = None


def open_database(
    disk: Disk, secret: bytes, *, previous: bytes | None = None, kdf: Kdf | None = None
) -> Opened:
    """Open the database for writing, creating it where there is none.

    *kdf* is for tests, which cannot wait for a real one.

    Raises:
        StoreError: and the file is as it was.
        StoreUnreadable: the disk failed; what is durable stays so.
    """
    with collector_off():
        while True:
            with disk_errors("open"):
                file = disk.open()
            if file is not None:
                return _open(disk, file, secret, previous, kdf or kdf_for(secret))
            with disk_errors("create"):
                first = disk.create_first()
            if first is not None:
                return _create(disk, first, new_slot(secret, kdf or kdf_for(secret)))


def _create(disk: Disk, file: DiskFile, slot: Slot) -> Opened:
    identity = Identity(random_bytes(16), slot)
    try:
        with disk_errors("create"):
            tail = write_snapshot(file, identity, Before(), [])
            disk.publish(file)
    except BaseException:
        file.close()
        raise
    return Opened(tail, Replay(), identity, "created")


def _open(
    disk: Disk, file: DiskFile, secret: bytes, previous: bytes | None, kdf: Kdf
) -> Opened:
    try:
        found = examine(file, secret, previous)
        identity = Identity(found.header.file_id, found.header.slot)
        why = _why_rewrite(found)
        if why is None:
            return Opened(_go_on(disk, file, found), found.replay, identity, "clean")
        if found.used_previous or identity.slot.kdf != kdf:
            identity = Identity(identity.file_id, new_slot(secret, kdf))
        return _rewrite(disk, file, found, identity, why)
    except BaseException:
        file.close()
        raise


def _why_rewrite(found: Verdict) -> str | None:
    """Why the file cannot simply be appended to; None when it can."""
    reasons: dict[str, Callable[[], bool]] = {
        "the last stop was not clean": lambda: not found.clean,
        "one copy of the header is damaged": lambda: found.header_damaged,
        "SECRET_PREVIOUS opened it": lambda: found.used_previous,
        "most of it is dead": lambda: mostly_dead(found.end, live(found.replay)),
    }
    return next((why for why, holds in reasons.items() if holds()), None)


def _go_on(disk: Disk, file: DiskFile, found: Verdict) -> Tail:
    """Append to the file as it is."""
    header = found.header
    keys = Keys(header.file_id, header.epoch, header.data_key)
    tail = Tail(
        file,
        keys,
        epoch=header.epoch,
        seq=found.seq,
        end=found.end,
        tag=found.tag,
        # The newest mark stays until the next one is durable.
        mark_slot=1 - found.mark_slot,
    )
    with disk_errors("write"):
        # The rename that put the file here may not have been synced.
        disk.sync_folder()
        if found.clean:
            # If the sync of its watermark failed, the page cache alone may have it.
            at = MARKS_AT[found.mark_slot]
            file.write(at, file.read(at, MARK_BYTES))
        tail.append(Type.OPEN)
        tail.sync()
    return tail


def live(rows: Replay) -> int:
    """About how long a file of these rows alone would be."""
    jobs, records = rows.jobs.values(), rows.records.values()
    text_bytes = sum(len(job.content) + row_bytes(job) for job in jobs)
    return live_bytes(
        len(jobs) + len(records), text_bytes + sum(map(record_bytes, records))
    )


def _rewrite(
    disk: Disk, file: DiskFile, found: Verdict, identity: Identity, why: str
) -> Opened:
    before = Before(found.header.epoch, found.seq - 1, found.tag)
    new = None
    try:
        new = disk.create_temporary()
        rows = found.replay
        tail = write_snapshot(new, identity, before, rows.everything())
    except OSError as error:
        if new is not None:
            new.close()
        disk.drop_temporary()
        if error.errno in NO_ROOM and not found.used_previous:
            return _go_on_in_place(disk, file, found)
        raise StoreUnreadable(f"cannot rewrite the database: {error}") from error
    with disk_errors("replace"):
        disk.publish(new)
    # Only now: until the rename the old file, and its lock, are the database.
    file.close()
    return Opened(tail, found.replay, identity, why, found.torn)


def _go_on_in_place(disk: Disk, file: DiskFile, found: Verdict) -> Opened:
    """There is no room to rewrite: cut what is torn and append."""
    with disk_errors("cut"):
        if found.torn is not None:
            file.truncate(found.end)
        # Without this sync a crash could bring the torn bytes back behind our OPEN.
        file.sync()
    tail = _go_on(disk, file, found)
    identity = Identity(found.header.file_id, found.header.slot)
    return Opened(tail, found.replay, identity, "no room to rewrite it", found.torn)


@contextmanager
def disk_errors(act: str) -> Iterator[None]:
    """Say what an OSError of the disk means: the database cannot be used."""
    try:
        yield
    except OSError as error:
        raise StoreUnreadable(f"cannot {act} the database: {error}") from error
