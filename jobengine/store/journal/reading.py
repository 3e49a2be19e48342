"""Reads a live or a quiet file without its lock, and tells what needs no key.

A daemon may append meanwhile: what is read is the file as it stood at one instant, up
to a commit that may still be on its way. Knows no key; recover.py reads with keys.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from jobengine.errors import StoreCorrupt
from jobengine.store.journal.chain import CLOSED, Chain, Readable, Source, Torn
from jobengine.store.journal.disk import OsFile
from jobengine.store.journal.frame import (
    FIRST_FRAME,
    FRAME_HEADER,
    PlainHeader,
    chain_starts,
    context,
    frame_header,
    header_copies,
    read_header,
)

# Told of bytes read so far, and of all there are.
Watch: TypeAlias = Callable[[int, int], None]


class Watched:
    """A readable file that tells how far its reader is."""

    def __init__(self, file: Readable, watch: Watch) -> None:
        self._file = file
        self._watch = watch

    def size(self) -> int:
        """Bytes."""
        return self._file.size()

    def read(self, offset: int, count: int) -> bytes:
        """Up to *count* bytes; fewer only at the end."""
        self._watch(offset, self.size())
        return self._file.read(offset, count)

    def drop_cache(self) -> None:
        """Ask that what is read next come from the disk itself."""
        self._file.drop_cache()


class Survey(Struct, frozen=True):
    """What a file shows without its SECRET.

    Damage is told, not raised, so that what stands before it can be seen. An attacker
    could have written all of this: only keys tell.
    """

    header: PlainHeader
    header_damaged: bool  # one of its two copies
    frames: dict[int, int]  # how many, by type
    end: int  # of the last good frame
    size: int
    clean: bool  # closed; whether a watermark says so only a key tells
    torn: Torn | None
    damage: StoreCorrupt | None


@contextmanager
def open_to_read(path: Path, watch: Watch) -> Iterator[Watched]:
    """The file at *path*, whoever has it locked. Raises: OSError."""
    file = OsFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC), path)
    try:
        yield Watched(file, watch)
    finally:
        file.close()


def survey(file: Readable) -> Survey:
    """Follow the chain as far as it is good, without keys.

    Raises:
        NotADatabase, NewerFormat: as they say.
        StoreCorrupt: the header is damaged, so nothing behind it can be read.
        StoreUnreadable: the disk does not give it back.
    """
    source = Source(file)
    copies = header_copies(source.front)
    header = read_header(copies[0])
    chain = _chain(source, header, copies)
    frames: Counter[int] = Counter()
    torn = damage = None
    try:
        while (frame := chain.next()) is not None:
            chain.follow(*frame)
            frames[frame[0].type] += 1
        torn = chain.rest()
    except StoreCorrupt as error:
        damage = error
    return Survey(
        header,
        header_damaged=len(copies) < 2 or copies[0] != copies[1],
        frames=dict(frames),
        end=chain.at,
        size=source.size,
        clean=chain.phase == CLOSED and torn is None and damage is None,
        torn=torn,
        damage=damage,
    )


def _chain(source: Source, header: PlainHeader, copies: list[bytes]) -> Chain:
    ctx = context(header.file_id, header.epoch)
    starts = chain_starts(copies)
    first = frame_header(source.read(FIRST_FRAME, FRAME_HEADER), ctx)
    # Of two copies that differ in their MAC, the one the first frame names is good.
    if first is not None and first.prev_tag in starts:
        return Chain(source, ctx, first.prev_tag)
    return Chain(source, ctx, starts.pop())
