"""Writes the live rows into a new epoch and puts it in place of the old file.

Creation, the repair after an unclean stop and compaction are this one act: temporary
file, sync, rename, sync of the folder. A half-written database cannot exist. While a
daemon serves, the rows are a shallow copy written a slice at a time, the commits since
follow as they were made, and only the last of them, the sync and the rename are done
between two commits.
"""

import threading
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator

from msgspec import Struct

from jobengine.core.job import Job, rare_bytes
from jobengine.errors import StoreCorrupt
from jobengine.store.journal.disk import Disk, DiskFile, DiskFull
from jobengine.store.journal.frame import (
    FIRST_FRAME,
    FRAME_HEADER,
    HEADER_BYTES,
    Keys,
    Slot,
    SnapEnd,
    Type,
    body_intact,
    frame_header,
    pack_header,
)
from jobengine.store.journal.log import Log, Tail
from jobengine.store.journal.records import encode
from jobengine.store.port import Change, Record, record_bytes
from jobengine.store.rows import Rows
from jobengine.store.sealer import KEY, TAG, random_bytes

SNAP_BYTES = 128 << 10
# Rows encoded between two pauses: about half a millisecond.
SLICE_ROWS = 100
# Unsynced bytes of a compaction: so many that its last sync, which holds up commits, is
# short.
SYNC_BYTES = 256 << 10

# A log smaller than this is not worth rewriting, whatever share of it is dead.
COMPACT_MIN_BYTES = 16 << 20
# What a job, or a record, takes in a snapshot besides its payload and its names, about.
ROW_BYTES = 170
# So few commits are left to be written while the next ones wait: about a millisecond.
LAST_COMMITS = 50


class Before(Struct, frozen=True):
    """The last frame of the epoch that a rewrite follows: none, for a new file."""

    epoch: int = 0
    seq: int = 0
    tag: bytes = bytes(16)


class Identity(Struct, frozen=True):
    """What stays the same over the epochs of one file."""

    file_id: bytes
    slot: Slot


class Tally:
    """The counts that SNAP_END must tell."""

    def __init__(self) -> None:
        self._queues: Counter[str] = Counter()
        self._body_bytes = 0
        self._records = 0

    def apply(self, changes: Iterable[Change]) -> None:
        """Count what *changes* did to what is in the file."""
        for old, new in changes:
            for row, step in ((old, -1), (new, 1)):
                if isinstance(row, Job):
                    if row.terms.durable:
                        self._queues[row.queue] += step
                        self._body_bytes += step * len(row.content)
                elif row is not None:
                    self._records += step

    def counts(self) -> tuple[int, int, int, int]:
        """Queues with jobs, jobs, bytes of their payloads, records."""
        sizes = [size for size in self._queues.values() if size]
        return len(sizes), sum(sizes), self._body_bytes, self._records


class Snapshot:
    """A new epoch being written to an empty file."""

    def __init__(self, file: DiskFile, identity: Identity, epoch: int) -> None:
        data_key = random_bytes(KEY)
        front = pack_header(
            file_id=identity.file_id,
            epoch=epoch,
            data_key=data_key,
            slot=identity.slot,
        )
        file.write(0, front)
        self._file = file
        self._front = front
        self._tally = Tally()
        self._synced = 0
        key = (identity.file_id, epoch, data_key)
        tag = front[HEADER_BYTES - 32 : HEADER_BYTES - 16]
        self.tail = Tail(file, Keys(*key), epoch=epoch, seq=0, end=FIRST_FRAME, tag=tag)
        # Read back so far: up to where, and its last tag.
        self._read_keys = Keys(*key)
        self._read_at, self._read_tag = 0, tag

    def rows(self, rows: Iterable[Record | Job]) -> Iterator[None]:
        """Write whole rows, a slice each time this is asked for the next."""
        parts: list[bytes] = []
        size = 0
        for changes in _slices(rows):
            self._tally.apply(changes)
            part = encode(changes)
            if size and size + len(part) > SNAP_BYTES:
                self.tail.append(Type.SNAP, b"".join(parts))
                parts, size = [], 0
            parts.append(part)
            size += len(part)
            yield
        if size:
            self.tail.append(Type.SNAP, b"".join(parts))

    def commits(self, captured: deque[list[Change]]) -> int:
        """Write the oldest commits made since the rows were copied; how many.

        A slice of them in one frame: so it overtakes those who make them one by one.
        """
        parts: list[bytes] = []
        size = rows = 0
        while captured and rows < SLICE_ROWS:
            part = encode(captured[0])
            if parts and size + len(part) > SNAP_BYTES:
                break
            changes = captured.popleft()
            self._tally.apply(changes)
            parts.append(part)
            size += len(part)
            rows += len(changes)
        if size:
            self.tail.append(Type.TXN, b"".join(parts))
        return len(parts)

    def unsynced(self) -> int:
        """Bytes written and not synced."""
        return self.tail.end - self._synced

    def sync(self) -> None:
        """Sync what has been written so far."""
        self.tail.sync()
        self._synced = self.tail.end

    def finish(self, before: Before) -> None:
        """End the snapshot, with a watermark that says so, and sync it."""
        end = SnapEnd(before.epoch, before.seq, before.tag, self._tally.counts())
        self.tail.append(Type.SNAP_END, end.pack())
        self.tail.mark()
        self.sync()

    def verify(self) -> Iterator[None]:
        """Read back what was synced since the last time, from the disk itself.

        A frame each time this is asked for the next.

        Raises:
            StoreCorrupt: it is not what was written.
        """
        self._file.drop_cache()
        if self._read_at == 0:
            if self._file.read(0, FIRST_FRAME) != self._front:
                raise _not_given_back(0)
            self._read_at = FIRST_FRAME
        while self._read_at < self._synced:
            self._read_frame()
            yield

    def _read_frame(self) -> None:
        at, keys = self._read_at, self._read_keys
        header = frame_header(self._file.read(at, FRAME_HEADER), keys.ctx)
        if header is None or header.prev_tag != self._read_tag:
            raise _not_given_back(at)
        raw = self._file.read(at + FRAME_HEADER, header.size - FRAME_HEADER)
        intact = body_intact(raw[:-4], raw[-4:])
        if not intact or keys.open_frame(header, raw[:-4]) is None:
            raise _not_given_back(at)
        self._read_at, self._read_tag = at + header.size, raw[-4 - TAG : -4]


def _not_given_back(offset: int) -> StoreCorrupt:
    return StoreCorrupt("the disk does not give back a snapshot", offset=offset)


def _slices(rows: Iterable[Record | Job]) -> Iterator[list[Change]]:
    """The rows as changes, so many at a time that no slice is too much for a frame.

    A payload may be as long as a frame may be: a large one is a slice of its own. Jobs
    that are in memory only are left out.
    """
    changes: list[Change] = []
    size = 0
    for row in rows:
        if not isinstance(row, Job):
            more = record_bytes(row)
        elif row.terms.durable:
            more = len(row.content) + rare_bytes(row)
        else:
            continue
        if changes and (len(changes) == SLICE_ROWS or size + more > SNAP_BYTES):
            yield changes
            changes, size = [], 0
        changes.append((None, row))  # type: ignore[arg-type]
        size += more
    if changes:
        yield changes


def write_snapshot(
    file: DiskFile, identity: Identity, before: Before, rows: Iterable[Record | Job]
) -> Tail:
    """Write a whole new epoch to an empty file, marked and synced; not yet renamed."""
    snapshot = Snapshot(file, identity, before.epoch + 1)
    for _ in snapshot.rows(rows):
        pass
    snapshot.finish(before)
    return snapshot.tail


def live_bytes(rows: int, text_bytes: int) -> int:
    """About how long a file would be of so many jobs and records alone, with so many
    bytes of payloads, names and whatever else not all rows have."""
    return FIRST_FRAME + text_bytes + ROW_BYTES * rows


def mostly_dead(end: int, live: int) -> bool:
    """Whether a log of *end* bytes is worth rewriting."""
    return end >= COMPACT_MIN_BYTES and end > 2 * live


class Compactor:
    """Compacts the file of a running store, for whoever gives it the time."""

    def __init__(
        self,
        disk: Disk,
        log: Log,
        rows: Rows,
        lock: threading.Lock,
        identity: Identity,
    ) -> None:
        self._disk = disk
        self._log = log
        self._rows = rows
        self._lock = lock  # the store's
        self._identity = identity
        self.held_s = 0.0  # how long the last compaction held up commits

    @property
    def room(self) -> str:
        """Whether the disk has room, in a word."""
        return str(self._log.room)

    def due(self) -> bool:
        """Whether the file is worth compacting."""
        return mostly_dead(self._log.end, self._live())

    def run(self) -> Generator[None]:
        """Compact. Every step is bounded work; the caller pauses in between.

        Dropping the iterator half way drops the compaction: the file stays as it is.

        Raises:
            OSError, StoreCorrupt: the temporary file failed; nobody is harmed.
            StoreFailed: the store has failed, before or because of the exchange.
        """
        with self._lock:
            captured = self._log.capture()
            rows = self._rows.copy()
        file = None
        try:
            file = self._disk.create_temporary()
            if not self._log.room.fits(file, self._live()):
                raise DiskFull("there is no room for a new file beside the old one")
            snapshot = Snapshot(file, self._identity, self._log.epoch + 1)
            yield from self._write(snapshot, rows, captured)
            old = self._log.exchange(
                lambda tail: _catch_up_and_finish(snapshot, captured, tail),
                lambda: self._disk.publish(snapshot.tail.file),
            )
            self.held_s = old.held_s
            # Closed below, not between two commits: to free a large file takes the
            # system a while.
            file = old.tail.file
        finally:
            self._log.release()
            if file is not None:
                file.close()
                self._disk.drop_temporary()

    def _live(self) -> int:
        rows = self._rows
        text_bytes = rows.content_bytes + rows.row_bytes + rows.record_bytes
        return live_bytes(rows.jobs + len(rows.records), text_bytes)

    def _write(
        self,
        snapshot: Snapshot,
        rows: Iterable[Record | Job],
        captured: deque[list[Change]],
    ) -> Iterator[None]:
        for _ in snapshot.rows(rows):
            yield from _rested(snapshot)
        yield from _read_back(snapshot)
        # All this takes its time: what was committed meanwhile is not left for the end,
        # when commits wait, unless they come as fast as they can be written here.
        behind = len(captured)
        while behind > LAST_COMMITS:
            left = behind
            while left > 0:
                left -= snapshot.commits(captured)
                yield from _rested(snapshot)
            yield from _read_back(snapshot)
            before, behind = behind, len(captured)
            if behind >= before:
                return


def _rested(snapshot: Snapshot) -> Iterator[None]:
    yield
    if snapshot.unsynced() >= SYNC_BYTES:
        snapshot.sync()
        yield


def _read_back(snapshot: Snapshot) -> Iterator[None]:
    snapshot.sync()
    yield
    yield from snapshot.verify()


def _catch_up_and_finish(
    snapshot: Snapshot, captured: deque[list[Change]], old: Tail
) -> Tail:
    """What is done while commits wait."""
    while captured:
        snapshot.commits(captured)
    snapshot.finish(Before(old.epoch, old.last_seq, old.tag))
    return snapshot.tail
