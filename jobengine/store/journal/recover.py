"""Reads a file and gives its verdict: whole, torn in its last commit, or damaged.

Only reads. A torn tail is one commit that was never acknowledged, because frame n+1 is
never written before frame n is durable; anything else that does not fit is damage, and
damage is refused (docs/reference/file-format.md, "Opening").
"""

import hashlib
import hmac

from msgspec import Struct

from jobengine.errors import StoreCorrupt, StoreUnreadable, WrongSecret
from jobengine.store.journal.disk import DiskFile
from jobengine.store.journal.frame import (
    BODY_MAX,
    FIRST_FRAME,
    FRAME_HEADER,
    FRAME_MAGIC,
    FRAME_OVERHEAD,
    MARK_BYTES,
    MARKS_AT,
    FrameHeader,
    Header,
    Keys,
    Mark,
    SnapEnd,
    Type,
    body_intact,
    frame_header,
    header_copies,
    open_header,
)
from jobengine.store.journal.records import Replay
from jobengine.store.sealer import TAG

READ_AHEAD = 1 << 20

# Which frame may follow where. An OPEN without a CLOSE before it is an unclean stop
# that was continued in place, for want of the room to rewrite.
_SNAPPING, _LIVE, _CLOSED = "snapshot", "live", "closed"
_FOLLOWS: dict[tuple[str, int], str] = {
    (_SNAPPING, Type.SNAP): _SNAPPING,
    (_SNAPPING, Type.TXN): _SNAPPING,
    (_SNAPPING, Type.SNAP_END): _LIVE,
    (_LIVE, Type.TXN): _LIVE,
    (_LIVE, Type.OPEN): _LIVE,
    (_LIVE, Type.CLOSE): _CLOSED,
    (_CLOSED, Type.OPEN): _LIVE,
}


class Torn(Struct, frozen=True):
    """The rest of one commit that never was acknowledged."""

    offset: int
    length: int
    sha256: str


class Verdict(Struct, frozen=True):
    """What a whole file holds, and where it goes on."""

    header: Header
    replay: Replay
    seq: int  # of the next frame
    end: int
    tag: bytes
    clean: bool  # closed, and a watermark says so
    mark_slot: int  # where the newest watermark is
    header_damaged: bool  # one of its two copies
    used_previous: bool  # SECRET_PREVIOUS opened it
    torn: Torn | None


def examine(file: DiskFile, secret: bytes, previous: bytes | None = None) -> Verdict:
    """Read the whole file.

    Raises:
        NotADatabase, NewerFormat, WrongSecret, KdfUnavailable: as they say.
        StoreCorrupt: it is damaged or was tampered with, at the offset named.
        StoreUnreadable: the disk does not give it back.
    """
    # After a failed sync, pages of the cache may only look written.
    file.drop_cache()
    source = _Source(file)
    front = source.read(0, FIRST_FRAME)
    copies = header_copies(front)
    header, used_previous = _opened(copies[0], secret, previous)
    keys = Keys(header.file_id, header.epoch, header.data_key)
    marks = _marks(keys, front)
    walk = _Walk(source, keys, header, {mark.end: mark for mark in marks.values()})
    torn = walk.run()
    newest = max(marks, key=lambda slot: marks[slot].end)
    return Verdict(
        header,
        walk.replay,
        walk.seq,
        walk.at,
        walk.tag,
        clean=walk.phase == _CLOSED and torn is None and marks[newest].end == walk.at,
        mark_slot=newest,
        header_damaged=len(copies) < 2,
        used_previous=used_previous,
        torn=torn,
    )


def _opened(head: bytes, secret: bytes, previous: bytes | None) -> tuple[Header, bool]:
    try:
        return open_header(head, secret), False
    except WrongSecret:
        if previous is None:
            raise
        return open_header(head, previous), True


def _marks(keys: Keys, front: bytes) -> dict[int, Mark]:
    """The valid watermarks by their slot."""
    marks = {}
    for slot, at in enumerate(MARKS_AT):
        mark = keys.open_mark(front[at : at + MARK_BYTES])
        if mark is not None:
            marks[slot] = mark
    if not marks:
        # A file has a mark before it is renamed into place, and one write tears one.
        raise StoreCorrupt("neither watermark is valid", offset=MARKS_AT[0])
    return marks


class _Source:
    """Reads a file front to back through a window."""

    def __init__(self, file: DiskFile) -> None:
        self._file = file
        self._start = 0
        self._window = b""
        try:
            self.size = file.size()
        except OSError as error:
            raise StoreUnreadable(f"cannot read the database: {error}") from error

    def read(self, offset: int, count: int) -> bytes:
        """Up to *count* bytes; fewer only at the end."""
        at = offset - self._start
        if at < 0 or at + count > len(self._window):
            try:
                self._window = self._file.read(offset, max(count, READ_AHEAD))
            except OSError as error:
                raise StoreUnreadable(
                    f"cannot read the database at byte {offset}: {error}"
                ) from error
            self._start, at = offset, 0
        return self._window[at : at + count]


class _Walk:
    """Follows the chain of frames from the header to its last link."""

    def __init__(
        self, source: _Source, keys: Keys, header: Header, marks: dict[int, Mark]
    ) -> None:
        self._source = source
        self._keys = keys
        self._epoch = header.epoch
        self._marks = marks
        self.replay = Replay()
        self.phase = _SNAPPING
        self.at = FIRST_FRAME
        self.seq = 0
        self.tag = header.tag

    def run(self) -> Torn | None:
        """Go as far as the frames are good, and judge what is left.

        Raises:
            StoreCorrupt: it is not merely a torn last commit.
        """
        named = dict(self._marks)
        while (frame := self._next()) is not None:
            header, body = frame
            self._take(header, body)
            self.at += header.size
            self.seq += 1
            mark = named.get(self.at)
            if mark is not None and (mark.seq, mark.tag) == (header.seq, self.tag):
                del named[self.at]
        rest = self._source.size - self.at
        torn = self._judge(rest) if rest else None
        if named:
            raise StoreCorrupt(
                f"commits that were durable up to byte {max(named)} are missing, "
                "damaged or not those of this file",
                offset=self.at,
            )
        if self.phase == _SNAPPING:
            raise StoreCorrupt("the snapshot has no end", offset=self.at)
        return torn

    def _next(self) -> tuple[FrameHeader, bytes] | None:
        """The frame that continues the chain here; None when there is none."""
        header = frame_header(self._source.read(self.at, FRAME_HEADER), self._keys.ctx)
        if header is None:
            return None
        if header.seq != self.seq or not hmac.compare_digest(header.prev_tag, self.tag):
            raise StoreCorrupt(
                f"frame {header.seq} does not follow the frame before it: frames were "
                "dropped, doubled, moved or spliced",
                offset=self.at,
            )
        rest = header.size - FRAME_HEADER
        raw = self._source.read(self.at + FRAME_HEADER, rest)
        if len(raw) < rest or not body_intact(raw[:-4], raw[-4:]):
            return None
        body = self._keys.open_frame(header, raw[:-4])
        if body is None:
            raise StoreCorrupt(
                f"frame {header.seq} is intact but not authentic: it was tampered with",
                offset=self.at,
            )
        self.tag = raw[-4 - TAG : -4]
        return header, body

    def _take(self, header: FrameHeader, body: bytes) -> None:
        phase = None if header.flags else _FOLLOWS.get((self.phase, header.type))
        if phase is None:
            raise StoreCorrupt(
                f"a frame of type {header.type} with flags {header.flags} cannot stand "
                "here",
                offset=self.at,
            )
        self.phase = phase
        if header.type in (Type.TXN, Type.SNAP):
            self.replay.apply(body, self.at)
        elif header.type == Type.SNAP_END:
            self._check_counts(SnapEnd.unpack(body, self.at))
        elif body:
            raise StoreCorrupt("a frame that has no body has one", offset=self.at)

    def _check_counts(self, said: SnapEnd) -> None:
        if said.epoch >= self._epoch or said.counts != self.replay.counts():
            raise StoreCorrupt(
                "the snapshot does not hold what it says it holds", offset=self.at
            )

    def _judge(self, rest: int) -> Torn:
        """What lies after the last good frame: one torn commit, or damage."""
        limit = FRAME_OVERHEAD if self.phase == _CLOSED else FRAME_OVERHEAD + BODY_MAX
        if self.phase == _SNAPPING or rest > limit:
            raise StoreCorrupt(
                f"{rest} bytes cannot be read and are more than one torn commit",
                offset=self.at,
            )
        tail = self._source.read(self.at, rest)
        header = frame_header(tail, self._keys.ctx)
        if header is not None and header.size < rest:
            raise StoreCorrupt(
                f"frame {header.seq} is damaged and bytes follow it", offset=self.at
            )
        follower = _intact_header_in(tail, self._keys.ctx)
        if follower is not None:
            raise StoreCorrupt(
                f"frame {self.seq} is damaged: frame {follower.seq} stands after it",
                offset=self.at,
            )
        return Torn(self.at, rest, hashlib.sha256(tail).hexdigest())


def _intact_header_in(tail: bytes, ctx: bytes) -> FrameHeader | None:
    at = tail.find(FRAME_MAGIC, 1)
    while at >= 0:
        header = frame_header(tail[at : at + FRAME_HEADER], ctx)
        if header is not None:
            return header
        at = tail.find(FRAME_MAGIC, at + 1)
    return None
