"""Finds what can still be read in a damaged file.

Every frame that is authentic is taken, wherever it stands. What a lost frame said is
not known: it may have finished a job, or changed or deleted it. So a job that such a
frame may have touched is held for a person to judge, and never queued.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from jobengine.core.job import FINISHED, Job, State
from jobengine.errors import NotADatabase, StoreCorrupt, WrongSecret
from jobengine.store.journal.chain import READ_AHEAD, Readable, Source
from jobengine.store.journal.frame import (
    BODY_MAX,
    COPY_AT,
    FIRST_FRAME,
    FRAME_HEADER,
    FRAME_MAGIC,
    FRAME_OVERHEAD,
    HEADER_BYTES,
    MAGIC,
    FrameHeader,
    Header,
    Keys,
    Type,
    frame_header,
    header_copies,
)
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import unlock, valid_marks
from jobengine.store.sealer import TAG

SALVAGED = "salvaged"
UNSURE = "it may have been finished, changed or deleted since"
NO_PAYLOAD = "its payload is lost"
# What stands for a payload that is lost.
BLANK = b"null"

# A bad sector costs this much, not the rest of the file.
BLOCK = 4096


class Salvaged(Struct, frozen=True):
    """What was found, and what was not.

    `lost` are the first and last numbers of runs of lost frames; `held` says of jobs,
    by uid, why they must not simply run.
    """

    header: Header
    rows: Replay
    frames: int
    lost: tuple[tuple[int, int], ...]
    end_unsure: bool  # whether frames after the last one found are lost is not known
    held: dict[str, str]
    bad_blocks: int  # of 4096 bytes, that the disk did not give back


def salvage(file: Readable, secret: bytes, previous: bytes | None = None) -> Salvaged:
    """Read all that can be read.

    Raises:
        NotADatabase, NewerFormat, WrongSecret, KdfUnavailable: as they say.
        StoreCorrupt: neither header opens, or there is no frame behind them.
    """
    patient = _Patient(file)
    source = Source(patient)
    header = _header(source.front, secret, previous)
    keys = Keys(header.file_id, header.epoch, header.data_key)
    found = _Found(source, keys)
    if not found.whole:
        raise StoreCorrupt("no frame of the file can be read", offset=FIRST_FRAME)
    remains = _replayed(source, keys, found)
    return Salvaged(
        header,
        remains,
        frames=len(found.whole),
        lost=tuple(found.lost()),
        end_unsure=found.end_unsure,
        held=_hold(remains),
        bad_blocks=len(patient.bad),
    )


class _Patient:
    """A file whose bad blocks read as zeros."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.bad: set[int] = set()
        self.size = file.size
        self.drop_cache = file.drop_cache

    def read(self, offset: int, count: int) -> bytes:
        try:
            return self._file.read(offset, count)
        except OSError:
            end = min(offset + count, self.size())
            blocks = range(offset - offset % BLOCK, end, BLOCK)
            return b"".join(
                self._part(max(at, offset), min(at + BLOCK, end)) for at in blocks
            )

    def _part(self, start: int, end: int) -> bytes:
        try:
            return self._file.read(start, end - start)
        except OSError:
            self.bad.add(start // BLOCK)
            return bytes(end - start)


def _header(front: bytes, secret: bytes, previous: bytes | None) -> Header:
    try:
        return unlock(header_copies(front), secret, previous)[0]
    except NotADatabase:
        raise
    except StoreCorrupt:
        # The digest may be what is damaged; the slot opens or it does not.
        for at in (0, COPY_AT):
            copy = front[at : at + HEADER_BYTES]
            if len(copy) == HEADER_BYTES and copy.startswith(MAGIC):
                try:
                    return unlock([copy], secret, previous)[0]
                except (StoreCorrupt, WrongSecret):
                    continue
        raise


class _Found:
    """Where frames stand, by their numbers: the whole ones, and traces of others."""

    def __init__(self, source: Source, keys: Keys) -> None:
        self.whole: dict[int, tuple[int, FrameHeader]] = {}
        self._damaged: dict[int, int] = {}  # the type that a frame's header still tells
        # Frame n+1 is written only when frame n is durable: so much there once was.
        self._durable = -1
        end = FIRST_FRAME
        for at, header, is_whole in _frames(source, keys):
            if is_whole:
                self.whole.setdefault(header.seq, (at, header))
                end = at + header.size
            else:
                self._damaged[header.seq] = header.type
                ended = at + header.size < source.size
                self._durable = max(self._durable, header.seq - (not ended))
        marks = valid_marks(keys, source.front).values()
        self._durable = max([self._durable, *self.whole, *(mark.seq for mark in marks)])
        rest = source.size - end
        self.end_unsure = not marks or rest > FRAME_OVERHEAD + BODY_MAX

    def lost(self) -> Iterator[tuple[int, int]]:
        """The first and last numbers of every run of frames that are not there."""
        expected = 0
        for seq in [*sorted(self.whole), self._durable + 1]:
            if seq > expected:
                yield expected, seq - 1
            expected = seq + 1

    def harmless(self, first: int, last: int) -> bool:
        """Whether these lost frames only held rows of their own."""
        return all(
            self._damaged.get(seq) == Type.SNAP for seq in range(first, last + 1)
        )


def _frames(source: Source, keys: Keys) -> Iterator[tuple[int, FrameHeader, bool]]:
    """Every frame header that is intact, and whether its frame is authentic."""
    at = FIRST_FRAME
    while (at := _next_magic(source, at)) < source.size:
        header = frame_header(source.read(at, FRAME_HEADER), keys.ctx)
        if header is None or header.body_len > BODY_MAX:
            at += 1
            continue
        sealed = source.sealed(header, at)
        whole = sealed is not None and keys.open_frame(header, sealed) is not None
        yield at, header, whole
        at += header.size if whole else 1


def _next_magic(source: Source, at: int) -> int:
    """Where the next frame may begin; the end when none does."""
    while at < source.size:
        part = source.read(at, READ_AHEAD)
        found = part.find(FRAME_MAGIC)
        if found >= 0:
            return at + found
        # It may lie across two parts.
        at += max(1, len(part) - len(FRAME_MAGIC) + 1)
    return source.size


class _Remains(Replay):
    """The rows that are left, and which of them lost frames may have touched."""

    def __init__(self) -> None:
        super().__init__()
        self.unsure: set[str] = set()
        self.blank: set[str] = set()

    def gap(self) -> None:
        """Frames are missing here."""
        self.unsure.update(self.jobs)

    def _body(self, uid: str, content: bytes) -> None:
        # With a payload comes a row: what was lost before them is made good. A row
        # alone is not enough, for the payload may have been changed before it.
        self.unsure.discard(uid)
        self.blank.discard(uid)
        super()._body(uid, content)

    def _content(self, uid: str) -> bytes:
        if uid in self.jobs:
            return super()._content(uid)
        self.blank.add(uid)
        return BLANK


def _replayed(source: Source, keys: Keys, found: _Found) -> _Remains:
    remains = _Remains()
    gaps = {last + 1: (first, last) for first, last in found.lost()}
    tag = None
    for seq in sorted(found.whole):
        at, header = found.whole[seq]
        spliced = seq - 1 in found.whole and header.prev_tag != tag
        if spliced or (seq in gaps and not found.harmless(*gaps.pop(seq))):
            remains.gap()
        sealed = source.sealed(header, at)
        body = sealed and keys.open_frame(header, sealed)
        if not sealed or body is None:
            raise StoreCorrupt("the file changes while it is read", offset=at)
        if header.type in (Type.TXN, Type.SNAP):
            remains.apply(body, at)
        tag = sealed[-TAG:]
    if gaps or found.end_unsure:
        remains.gap()
    return remains


def _hold(remains: _Remains) -> dict[str, str]:
    """Take what must not simply run out of the queues; why, by uid."""
    held = {}
    for uid, job in remains.jobs.items():
        if uid in remains.blank:
            held[uid] = NO_PAYLOAD
        elif uid in remains.unsure and job.state not in FINISHED:
            held[uid] = UNSURE
    for uid in held:
        remains.jobs[uid] = _held(remains.jobs[uid])
    return held


def _held(job: Job) -> Job:
    if job.state in FINISHED:
        return job
    # No end to its keep: it waits until a person has looked at it.
    return replace(
        job,
        state=State.FAILED,
        reason=SALVAGED,
        lease=None,
        finished_at=job.updated_at,
        keep_until=None,
    )
