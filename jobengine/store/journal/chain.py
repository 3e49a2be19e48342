"""Follows a file's frames from the header to the last one, as far as that needs no key.

Whether a frame is authentic and what it says is for recover.py, which reads with keys.
"""

import hashlib
import hmac
from typing import Protocol

from msgspec import Struct

from jobengine.errors import StoreCorrupt, StoreUnreadable
from jobengine.store.journal.frame import (
    BODY_MAX,
    FIRST_FRAME,
    FRAME_HEADER,
    FRAME_MAGIC,
    FRAME_OVERHEAD,
    FrameHeader,
    Type,
    body_intact,
    frame_header,
)
from jobengine.store.sealer import TAG

READ_AHEAD = 1 << 20

# Which frame may follow where. An OPEN without a CLOSE before it is an unclean stop
# that was continued in place, for want of the room to rewrite.
SNAPPING, LIVE, CLOSED = "snapshot", "live", "closed"
_FOLLOWS: dict[tuple[str, int], str] = {
    (SNAPPING, Type.SNAP): SNAPPING,
    (SNAPPING, Type.TXN): SNAPPING,
    (SNAPPING, Type.SNAP_END): LIVE,
    (LIVE, Type.TXN): LIVE,
    (LIVE, Type.OPEN): LIVE,
    (LIVE, Type.CLOSE): CLOSED,
    (CLOSED, Type.OPEN): LIVE,
}


class Torn(Struct, frozen=True):
    """The rest of one commit that never was acknowledged."""

    offset: int
    length: int
    sha256: str


class Readable(Protocol):
    """As much of a disk.DiskFile as reading takes."""

    def size(self) -> int: ...
    def read(self, offset: int, count: int) -> bytes: ...
    def drop_cache(self) -> None: ...


class Source:
    """Reads a file front to back through a window.

    The marks in `front` first, then `size`, then the frames: whatever the first two
    speak of is there when the frames are read, even while a daemon appends.

    Raises:
        StoreUnreadable: from here and from `read`; the disk does not give it back.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._start = 0
        self._window = b""
        try:
            # After a failed sync, pages of the cache may only look written.
            file.drop_cache()
        except OSError as error:
            raise StoreUnreadable(f"cannot read the database: {error}") from error
        self.front = self._fetch(0, FIRST_FRAME)
        self.size = file.size()

    def read(self, offset: int, count: int) -> bytes:
        """Up to *count* bytes; fewer only at the end."""
        at = offset - self._start
        if at < 0 or at + count > len(self._window):
            self._window = self._fetch(offset, max(count, READ_AHEAD))
            self._start, at = offset, 0
        return self._window[at : at + count]

    def sealed(self, header: FrameHeader, at: int) -> bytes | None:
        """The sealed body of the frame that stands at *at*; None when it is damaged."""
        rest = header.size - FRAME_HEADER
        raw = self.read(at + FRAME_HEADER, rest)
        whole = len(raw) == rest and body_intact(raw[:-4], raw[-4:])
        return raw[:-4] if whole else None

    def _fetch(self, offset: int, count: int) -> bytes:
        try:
            return self._file.read(offset, count)
        except OSError as error:
            raise StoreUnreadable(
                f"cannot read the database at byte {offset}: {error}"
            ) from error


class Chain:
    """The links: `next` shows one, `follow` takes it, `rest` judges what is left."""

    def __init__(self, source: Source, ctx: bytes, tag: bytes) -> None:
        self._source = source
        self._ctx = ctx
        self.phase = SNAPPING
        self.at = FIRST_FRAME
        self.seq = 0
        self.tag = tag

    def next(self) -> tuple[FrameHeader, bytes] | None:
        """The intact frame that continues the chain here; None when there is none.

        Raises:
            StoreCorrupt: a frame stands here that does not continue it.
        """
        header = frame_header(self._source.read(self.at, FRAME_HEADER), self._ctx)
        if header is None:
            return None
        if header.seq != self.seq or not hmac.compare_digest(header.prev_tag, self.tag):
            raise StoreCorrupt(
                f"frame {header.seq} does not follow the frame before it: frames were "
                "dropped, doubled, moved or spliced",
                offset=self.at,
            )
        if header.body_len > BODY_MAX:
            raise StoreCorrupt(
                f"frame {header.seq} is longer than a frame may be", offset=self.at
            )
        sealed = self._source.sealed(header, self.at)
        return None if sealed is None else (header, sealed)

    def follow(self, header: FrameHeader, sealed: bytes) -> None:
        """Go on behind the frame that `next` gave.

        Raises:
            StoreCorrupt: a frame of its type cannot stand here.
        """
        phase = None if header.flags else _FOLLOWS.get((self.phase, header.type))
        if phase is None:
            raise StoreCorrupt(
                f"a frame of type {header.type} with flags {header.flags} cannot stand "
                "here",
                offset=self.at,
            )
        self.phase = phase
        self.at += header.size
        self.seq += 1
        self.tag = sealed[-TAG:]

    def rest(self) -> Torn | None:
        """What lies after the last good frame: nothing, or one torn commit.

        Raises:
            StoreCorrupt: it is damage.
        """
        # A daemon may have appended since the size was taken.
        rest = max(0, self._source.size - self.at)
        torn = self._torn(rest) if rest else None
        if self.phase == SNAPPING:
            raise StoreCorrupt("the snapshot has no end", offset=self.at)
        return torn

    def _torn(self, rest: int) -> Torn:
        limit = FRAME_OVERHEAD if self.phase == CLOSED else FRAME_OVERHEAD + BODY_MAX
        if self.phase == SNAPPING or rest > limit:
            raise StoreCorrupt(
                f"{rest} bytes cannot be read and are more than one torn commit",
                offset=self.at,
            )
        tail = self._source.read(self.at, rest)
        header = frame_header(tail, self._ctx)
        if header is not None and header.size < rest:
            raise StoreCorrupt(
                f"frame {header.seq} is damaged and bytes follow it", offset=self.at
            )
        follower = _intact_header_in(tail, self._ctx)
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
