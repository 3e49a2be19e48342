"""Database files written by hand: sealed as the product seals them, then bent."""

import hashlib
import struct
from collections.abc import Iterator
from zlib import crc32

from jobengine.core.job import Job, State, Terms
from jobengine.errors import StoreCorrupt, StoreError
from jobengine.store.journal.frame import (
    FIRST_FRAME,
    FRAME_HEADER,
    HEADER_BYTES,
    MARK_BYTES,
    MARKS_AT,
    Keys,
    Mark,
    SnapEnd,
    Type,
    frame_header,
    header_copies,
    new_slot,
    open_header,
    pack_header,
)
from jobengine.store.journal.opening import Opened, open_database
from jobengine.store.journal.records import Replay, encode
from jobengine.store.journal.recover import Verdict, examine
from jobengine.store.port import Change
from jobengine.store.sealer import Xaes, hkdf
from jobengine.testing import CHEAP_KDF, SECRET, SimDisk, SimInode

FILE_ID = bytes(range(16))
DATA_KEY = bytes(range(32))
NOTHING = (0, 0, 0, 0)


def job(number: int = 0, **fields: object) -> Job:
    """A queued job whose uid is its number."""
    values = {
        "uid": f"{number:036d}",
        "queue": "q1",
        "seq": number,
        "priority": 50,
        "state": State.QUEUED,
        "content": b'{"n":%d}' % number,
        "created_at": 1000,
        "updated_at": 1000,
        "run_at": 1000,
        "expires_at": None,
        "attempt": 0,
        "terms": Terms(),
    }
    return Job(**(values | fields))  # type: ignore[arg-type]


def added(*jobs: Job) -> bytes:
    """The body of a frame that adds jobs."""
    changes: list[Change] = [(None, new) for new in jobs]
    return encode(changes)


class Draft:
    """A file under way: frames in a chain, each one kept."""

    def __init__(
        self, *, epoch: int = 1, file_id: bytes = FILE_ID, key: bytes = DATA_KEY
    ) -> None:
        slot = new_slot(SECRET, CHEAP_KDF)
        self.front = bytearray(
            pack_header(file_id=file_id, epoch=epoch, data_key=key, slot=slot)
        )
        self.keys = Keys(file_id, epoch, key)
        self.frames: list[bytes] = []
        self.tags = [bytes(self.front[HEADER_BYTES - 32 : HEADER_BYTES - 16])]
        self.epoch = epoch

    def add(self, type_: Type, body: bytes = b"") -> "Draft":
        """Chain another frame."""
        frame, tag = self.keys.seal_frame(type_, len(self.frames), self.tags[-1], body)
        self.frames.append(frame)
        self.tags.append(tag)
        return self

    def snap_end(self, *counts: int, epoch: int | None = None) -> "Draft":
        """End the snapshot."""
        before = self.epoch - 1 if epoch is None else epoch
        end = SnapEnd(before, 0, bytes(16), tuple(counts) or NOTHING)  # type: ignore[arg-type]
        return self.add(Type.SNAP_END, end.pack())

    def mark(self, slot: int = 0, frame: int = -1) -> "Draft":
        """Put a watermark that names a frame, the last one if not told."""
        seq = range(len(self.frames))[frame]
        return self.put_mark(slot, Mark(seq, self.end_of(seq), self.tags[seq + 1]))

    def put_mark(self, slot: int, mark: Mark) -> "Draft":
        """Put this very watermark."""
        at = MARKS_AT[slot]
        self.front[at : at + MARK_BYTES] = self.keys.seal_mark(mark)
        return self

    def end_of(self, seq: int) -> int:
        """Where a frame ends in the file."""
        return FIRST_FRAME + sum(map(len, self.frames[: seq + 1]))

    @property
    def data(self) -> bytes:
        """The file."""
        return bytes(self.front) + b"".join(self.frames)


def bent_frame(
    draft: Draft, *, flags: int = 0, length: int = 0, skip: int = 0
) -> bytes:
    """A next frame such as the product never writes, authentic all the same."""
    ctx, nonce = draft.keys.ctx, bytes(24)
    seq = len(draft.frames) + skip
    fields = (b"JEF1", Type.TXN, flags, length, 0, seq, draft.tags[-1])
    head = struct.pack(">4sBB2xIIQ16s24s", *fields, nonce)
    head = head[:12] + struct.pack(">I", crc32(ctx + head)) + head[16:]
    key = hkdf(DATA_KEY, ctx, b"jobengine/v1/frames")
    sealed = Xaes(key).seal(nonce, b"", head + ctx)
    return head + sealed + struct.pack(">I", crc32(sealed))


def closed_draft() -> Draft:
    """A small closed file of two jobs, marked in both slots."""
    draft = Draft().add(Type.SNAP, added(job(1))).snap_end(1, 1, 7, 0).mark(0)
    return draft.add(Type.TXN, added(job(2))).add(Type.CLOSE).mark(1)


def running_draft() -> Draft:
    """A file as a crash leaves it: its last commit has no mark yet."""
    draft = Draft().add(Type.SNAP, added(job(1))).snap_end(1, 1, 7, 0).mark(0)
    return draft.add(Type.TXN, added(job(2))).mark(1).add(Type.TXN, added(job(3)))


def flipped(data: bytes, at: int, mask: int) -> bytes:
    """The file with one byte bent."""
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each frame of a file."""
    header = open_header(header_copies(data[:FIRST_FRAME]), SECRET)
    keys = Keys(header.file_id, header.epoch, header.data_key)
    at = FIRST_FRAME
    while at < len(data):
        frame = frame_header(data[at : at + FRAME_HEADER], keys.ctx)
        assert frame is not None
        sealed = data[at + FRAME_HEADER : at + frame.size - 4]
        body = keys.open_frame(frame, sealed)
        assert body is not None
        yield frame.type, body
        at += frame.size


def disk_with(data: bytes) -> SimDisk:
    """A disk that has this database."""
    disk = SimDisk()
    disk.names["db"] = SimInode(data)
    return disk


def verdict(data: bytes) -> Verdict:
    file = disk_with(data).open()
    assert file is not None
    return examine(file, SECRET)


def opened(disk: SimDisk | bytes, secret: bytes = SECRET) -> Opened:
    """The database, opened without a costly key derivation."""
    disk = disk if isinstance(disk, SimDisk) else disk_with(disk)
    return open_database(disk, secret, kdf=CHEAP_KDF)


def refused(data: bytes, secret: bytes = SECRET) -> StoreError:
    """Why the file is refused. It must be, and must not be touched."""
    disk = disk_with(data)
    try:
        opened(disk, secret)
    except StoreError as error:
        assert bytes(disk.names["db"].data) == data, "a refused file was changed"
        assert list(disk.names) == ["db"], "a refusal left a temporary file"
        assert not disk.names["db"].locked, "a refusal kept the lock"
        return error
    raise AssertionError("the file was opened")


def corrupt(data: bytes) -> int:
    """The offset that the refusal of a damaged file names."""
    error = refused(data)
    assert isinstance(error, StoreCorrupt), repr(error)
    assert error.offset is not None, str(error)
    return error.offset


def rows(replay: Replay) -> tuple[object, object]:
    """All that a file holds, to be compared."""
    return replay.jobs, replay.records


def digest(data: bytes) -> str:
    """What a log says of torn bytes."""
    return hashlib.sha256(data).hexdigest()
