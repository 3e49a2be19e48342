"""Writes the live rows into a new epoch and puts it in place of the old file.

Creation, the repair after an unclean stop and compaction are this one act: temporary
file, sync, rename, sync of the folder. A half-written database cannot exist.
"""

from collections.abc import Iterator

from jobengine.store.journal.disk import DiskFile
from jobengine.store.journal.frame import (
    FIRST_FRAME,
    HEADER_BYTES,
    Keys,
    Slot,
    SnapEnd,
    Type,
    pack_header,
)
from jobengine.store.journal.log import Tail
from jobengine.store.journal.records import Replay, encode_snapshot
from jobengine.store.sealer import KEY, random_bytes

SNAP_BYTES = 128 << 10


class Before:
    """The epoch that a rewrite follows: none, for a new file."""

    def __init__(self, epoch: int = 0, seq: int = 0, tag: bytes = bytes(16)) -> None:
        self.epoch = epoch
        self.seq = seq
        self.tag = tag


def write_snapshot(
    file: DiskFile, *, file_id: bytes, slot: Slot, before: Before, rows: Replay
) -> Tail:
    """Write a whole new epoch to an empty file, marked and synced; not yet renamed."""
    epoch = before.epoch + 1
    data_key = random_bytes(KEY)
    front = pack_header(file_id=file_id, epoch=epoch, data_key=data_key, slot=slot)
    file.write(0, front)
    keys = Keys(file_id, epoch, data_key)
    tail = Tail(
        file,
        keys,
        epoch=epoch,
        seq=0,
        end=FIRST_FRAME,
        tag=front[HEADER_BYTES - 32 : HEADER_BYTES - 16],
    )
    for body in _bodies(rows):
        tail.append(Type.SNAP, body)
    end = SnapEnd(before.epoch, before.seq, before.tag, rows.counts())
    tail.append(Type.SNAP_END, end.pack())
    tail.mark()
    tail.sync()
    return tail


def _bodies(rows: Replay) -> Iterator[bytes]:
    """The rows in bodies of about SNAP_BYTES: few frames, so that reading is quick."""
    parts: list[bytes] = []
    size = 0
    for piece in encode_snapshot(rows.jobs.values(), rows.records.values()):
        parts.append(piece)
        size += len(piece)
        if size >= SNAP_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)
