"""Opens the database of a disk: goes on, repairs, or creates; or refuses untouched."""

import errno
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from jobengine.errors import StoreUnreadable
from jobengine.store.journal.compact import Before, write_snapshot
from jobengine.store.journal.disk import Disk, DiskFile
from jobengine.store.journal.frame import Keys, Slot, Type, new_slot
from jobengine.store.journal.log import Tail
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import Torn, Verdict, examine
from jobengine.store.sealer import Kdf, kdf_for, random_bytes

# A log smaller than this is not worth rewriting, whatever share of it is dead.
COMPACT_MIN_BYTES = 16 << 20

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class Opened(Struct, frozen=True):
    """A database in use."""

    tail: Tail
    rows: Replay
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
    with _collector_off():
        while True:
            file = disk.open()
            if file is not None:
                return _open(disk, file, secret, previous, kdf or kdf_for(secret))
            first = disk.create_first()
            if first is not None:
                return _create(disk, first, new_slot(secret, kdf or kdf_for(secret)))


def live_bytes(rows: Replay) -> int:
    """About how long a file of these rows alone would be."""
    _, jobs, body_bytes, records = rows.counts()
    return body_bytes + 200 * (jobs + records)


def _create(disk: Disk, file: DiskFile, slot: Slot) -> Opened:
    rows = Replay()
    with _disk_errors("create"):
        tail = write_snapshot(
            file, file_id=random_bytes(16), slot=slot, before=Before(), rows=rows
        )
        disk.publish(file)
    return Opened(tail, rows, "created")


def _open(
    disk: Disk, file: DiskFile, secret: bytes, previous: bytes | None, kdf: Kdf
) -> Opened:
    try:
        found = examine(file, secret, previous)
        why = _why_rewrite(found)
        if why is None:
            return Opened(_go_on(file, found), found.replay, "clean")
        slot = found.header.slot
        if found.used_previous or slot.kdf != kdf:
            slot = new_slot(secret, kdf)
        return _rewrite(disk, file, found, slot, why)
    except BaseException:
        file.close()
        raise


def _why_rewrite(found: Verdict) -> str | None:
    """Why the file cannot simply be appended to; None when it can."""
    reasons: dict[str, Callable[[], bool]] = {
        "the last stop was not clean": lambda: not found.clean,
        "one copy of the header is damaged": lambda: found.header_damaged,
        "SECRET_PREVIOUS opened it": lambda: found.used_previous,
        "most of it is dead": lambda: (
            found.end > max(COMPACT_MIN_BYTES, 2 * live_bytes(found.replay))
        ),
    }
    return next((why for why, holds in reasons.items() if holds()), None)


def _go_on(file: DiskFile, found: Verdict) -> Tail:
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
    with _disk_errors("write"):
        tail.append(Type.OPEN)
        tail.sync()
    return tail


def _rewrite(
    disk: Disk, file: DiskFile, found: Verdict, slot: Slot, why: str
) -> Opened:
    before = Before(found.header.epoch, found.seq - 1, found.tag)
    new = None
    try:
        new = disk.create_temporary()
        tail = write_snapshot(
            new,
            file_id=found.header.file_id,
            slot=slot,
            before=before,
            rows=found.replay,
        )
    except OSError as error:
        if new is not None:
            new.close()
        disk.drop_temporary()
        if error.errno in _NO_ROOM and not found.used_previous:
            return _go_on_in_place(file, found)
        raise StoreUnreadable(f"cannot rewrite the database: {error}") from error
    with _disk_errors("replace"):
        disk.publish(new)
    # Only now: until the rename the old file, and its lock, are the database.
    file.close()
    return Opened(tail, found.replay, why, found.torn)


def _go_on_in_place(file: DiskFile, found: Verdict) -> Opened:
    """There is no room to rewrite: cut what is torn and append."""
    with _disk_errors("cut"):
        if found.torn is not None:
            file.truncate(found.end)
        # Without this sync a crash could bring the torn bytes back behind our OPEN.
        file.sync()
    tail = _go_on(file, found)
    return Opened(tail, found.replay, "no room to rewrite it", found.torn)


@contextmanager
def _disk_errors(act: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnreadable(f"cannot {act} the database: {error}") from error


@contextmanager
def _collector_off() -> Iterator[None]:
    # A million rows are made and none dropped: every pass of the collector is wasted.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
