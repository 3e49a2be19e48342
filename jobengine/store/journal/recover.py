"""Reads a file and gives its verdict: whole, torn in its last commit, or damaged.

Only reads. A torn tail is one commit that was never acknowledged, because frame n+1 is
never written before frame n is durable; anything else that does not fit is damage, and
damage is refused (docs/reference/file-format.md, "Opening").
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from jobengine.errors import NotADatabase, StoreCorrupt, WrongSecret
from jobengine.store.journal.chain import CLOSED, Chain, Readable, Source
from jobengine.store.journal.chain import Torn as Torn
from jobengine.store.journal.frame import (
    MARK_BYTES,
    MARKS_AT,
    FrameHeader,
    Header,
    Keys,
    Mark,
    SnapEnd,
    Type,
    header_copies,
    open_header,
)
from jobengine.store.journal.records import Replay
from jobengine.store.sealer import open_legacy

# A legacy file was kept whole in memory; none that lived was near this.
LEGACY_BYTES_MAX = 256 << 20


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


def examine(file: Readable, secret: bytes, previous: bytes | None = None) -> Verdict:
    """Read the whole file, which a daemon may be appending to.

    Raises:
        NotADatabase, NewerFormat, WrongSecret, KdfUnavailable: as they say.
        StoreCorrupt: it is damaged or was tampered with, at the offset named.
        StoreUnreadable: the disk does not give it back.
    """
    source = Source(file)
    try:
        copies = header_copies(source.front)
    except NotADatabase:
        _refuse_legacy(source, secret)
        raise
    header, used_previous = unlock(copies, secret, previous)
    keys = Keys(header.file_id, header.epoch, header.data_key)
    marks = valid_marks(keys, source.front)
    if not marks:
        # A file has a mark before it is renamed into place, and one write tears one.
        raise StoreCorrupt("neither watermark is valid", offset=MARKS_AT[0])
    chain = Chain(source, keys.ctx, header.tag)
    with collector_off():
        replay, torn = _walk(chain, keys, header.epoch, set(marks.values()))
    newest = max(marks, key=lambda slot: marks[slot].end)
    return Verdict(
        header,
        replay,
        chain.seq,
        chain.at,
        chain.tag,
        clean=chain.phase == CLOSED and torn is None and marks[newest].end == chain.at,
        mark_slot=newest,
        header_damaged=len(copies) < 2 or copies[0] != copies[1],
        used_previous=used_previous,
        torn=torn,
    )


def unlock(
    copies: list[bytes], secret: bytes, previous: bytes | None
) -> tuple[Header, bool]:
    """The header, and whether it was *previous* that opened it.

    Raises:
        WrongSecret, StoreCorrupt, KdfUnavailable: see frame.open_header.
    """
    try:
        return open_header(copies, secret), False
    except WrongSecret:
        if previous is None:
            raise
        return open_header(copies, previous), True


def valid_marks(keys: Keys, front: bytes) -> dict[int, Mark]:
    """The watermarks of this epoch by their slot; a torn or blank one is not there."""
    marks = {}
    for slot, at in enumerate(MARKS_AT):
        mark = keys.open_mark(front[at : at + MARK_BYTES].ljust(MARK_BYTES, b"\0"))
        if mark is not None:
            marks[slot] = mark
    return marks


@contextmanager
def collector_off() -> Iterator[None]:
    """No passes of the collector: of a million rows made, none is garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _refuse_legacy(source: Source, secret: bytes) -> None:
    if (
        source.size <= LEGACY_BYTES_MAX
        and open_legacy(secret, source.read(0, source.size)) is not None
    ):
        raise NotADatabase(
            "the file is a database of a JobEngine before this format; to bring its "
            "jobs over: jobengine import-legacy"
        )


def _walk(
    chain: Chain, keys: Keys, epoch: int, marks: set[Mark]
) -> tuple[Replay, Torn | None]:
    """Go as far as the frames are good, and judge what is left.

    Raises:
        StoreCorrupt: it is not merely a torn last commit.
    """
    replay = Replay()
    while (frame := chain.next()) is not None:
        header, sealed = frame
        at = chain.at
        body = keys.open_frame(header, sealed)
        if body is None:
            raise StoreCorrupt(
                f"frame {header.seq} is intact but not authentic: it was tampered with",
                offset=at,
            )
        chain.follow(header, sealed)
        _take(replay, header, body, at, epoch)
        marks.discard(Mark(header.seq, chain.at, chain.tag))
    torn = chain.rest()
    if marks:
        end = max(mark.end for mark in marks)
        raise StoreCorrupt(
            f"commits that were durable up to byte {end} are missing, damaged or "
            "not those of this file",
            offset=chain.at,
        )
    return replay, torn


def _take(
    replay: Replay, header: FrameHeader, body: bytes, at: int, epoch: int
) -> None:
    if header.type in (Type.TXN, Type.SNAP):
        replay.apply(body, at)
    elif header.type == Type.SNAP_END:
        said = SnapEnd.unpack(body, at)
        if said.epoch != epoch - 1 or said.counts != replay.counts():
            raise StoreCorrupt(
                "the snapshot does not hold what it says it holds", offset=at
            )
    elif body:
        raise StoreCorrupt("a frame that has no body has one", offset=at)
