"""What a disk may hold after a power cut: every state here is one that could be.

Writes are promised nothing until a sync of their file has returned: each sector may
hold any version it had since, or be torn, zeroed or garbage where it was being written;
bytes beside a write survive it (powersafe overwrite). A file's length may have gone
ahead of its bytes or stayed behind. Names change in order, as far as they got.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple, TypeAlias

from machine import (
    PAGE,
    Create,
    Cut,
    FolderSynced,
    Image,
    Lost,
    Op,
    Rename,
    Synced,
    Unlink,
    Write,
    overwrite,
    pieces,
    resize,
)

SECTORS = (512, 4096)
# The end of a frame, which tells whether it is whole.
TAIL = 20
# How often every fate is tried where a file was made shorter.
CUT_TIMES = 8


class Pending:
    """A file: what is on the disk for sure, and what has not been synced."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.ops: list[Write | Cut] = []

    def settle(self) -> None:
        """A sync has returned."""
        for op in self.ops:
            _perform(self.data, op)
        self.ops.clear()

    def lose(self, pages: frozenset[int]) -> None:
        """A sync has failed: what was written to these pages never will be."""
        kept: list[Write | Cut] = []
        for op in self.ops:
            if isinstance(op, Cut):
                kept.append(op)
            else:
                # The length is kept apart from the bytes, and has been told.
                kept.append(Write(op.inode, op.offset + len(op.data), b""))
                kept += (p for p in pieces(op, PAGE) if p.offset // PAGE not in pages)
        self.ops = kept


class Platter:
    """The disk of a Machine, followed along its log."""

    def __init__(self, image: Image) -> None:
        self._names = dict(image.names)
        self._moves: list[Create | Rename | Unlink] = []
        self._files = {ino: Pending(data) for ino, data in image.files.items()}

    def take(self, op: Op) -> None:
        """Go on by one entry of the log."""
        match op:
            case Write(inode) | Cut(inode):
                self._files[inode].ops.append(op)
            case Synced(inode):
                self._files[inode].settle()
            case Lost(inode, pages):
                self._files[inode].lose(pages)
            case FolderSynced():
                for move in self._moves:
                    _rename(self._names, move)
                self._moves.clear()
            case Create() | Rename() | Unlink():
                if isinstance(op, Create):
                    self._files[op.inode] = Pending()
                self._moves.append(op)

    def images(self, rng: Random, count: int) -> Iterator[Image]:
        """States in which a power cut now may leave the disk: some *count* of them."""
        for fate in self._fates(rng, count):
            names = dict(self._names)
            for move in self._moves[: rng.randint(0, len(self._moves))]:
                _rename(names, move)
            sector = rng.choice(SECTORS)
            yield Image(
                names,
                {
                    inode: _after(self._files[inode], fate, sector, rng)
                    for inode in names.values()
                },
            )

    def _fates(self, rng: Random, count: int) -> "Sequence[Fate]":
        ops = [op for file in self._files.values() for op in file.ops]
        if not ops and not self._moves:
            return FATES[:1]
        if any(isinstance(op, Cut) for op in ops):
            # Rare, and all is in the order of the cut and what is written after it.
            return FATES * CUT_TIMES
        return rng.sample(FATES, count)


class Kept(NamedTuple):
    """How many versions of a sector got to the disk, and whether the last is whole."""

    versions: int
    spoiled: bool = False


# By the number of a sector: how many versions it had, and what is kept of them.
Versions: TypeAlias = dict[int, int]
Fares: TypeAlias = dict[int, Kept]
Fate: TypeAlias = Callable[[Versions, Random], Fares]


def _none(versions: Versions, _rng: Random) -> Fares:
    return dict.fromkeys(versions, Kept(0))


def _all(versions: Versions, _rng: Random) -> Fares:
    return {sector: Kept(count) for sector, count in versions.items()}


def _in_order(versions: Versions, rng: Random) -> Fares:
    """As far as it got, perhaps in the midst of a sector."""
    kept = rng.randint(0, len(versions))
    fares = {
        sector: Kept(count if nth < kept else 0)
        for nth, (sector, count) in enumerate(versions.items())
    }
    for sector in list(versions)[kept : kept + rng.randint(0, 1)]:
        fares[sector] = Kept(versions[sector], spoiled=True)
    return fares


def _all_but_one(versions: Versions, rng: Random) -> Fares:
    one = rng.choice(list(versions))
    return _all(versions, rng) | {one: Kept(rng.randint(0, versions[one] - 1))}


def _one_spoiled(versions: Versions, rng: Random) -> Fares:
    one = rng.choice(list(versions))
    return _all(versions, rng) | {one: Kept(versions[one], spoiled=True)}


def _some(versions: Versions, rng: Random) -> Fares:
    return {
        sector: Kept(rng.choice((0, count, rng.randint(0, count))))
        for sector, count in versions.items()
    }


def _anything(versions: Versions, rng: Random) -> Fares:
    return {
        sector: Kept(kept, spoiled=rng.random() < 0.3)
        for sector, (kept, _) in _some(versions, rng).items()
    }


FATES: tuple[Fate, ...] = (
    _none,
    _all,
    _in_order,
    _all_but_one,
    _one_spoiled,
    _some,
    _anything,
)


def _after(file: Pending, fate: Fate, block: int, rng: Random) -> bytes:
    """The bytes of a file of which not all was synced."""
    versions: Versions = {}
    for op in file.ops:
        if isinstance(op, Write):
            for part in pieces(op, block):
                number = part.offset // block
                versions[number] = versions.get(number, 0) + 1
    kept = fate(versions, rng) if versions else {}
    # How far the length got, and the cuts with it: that is written elsewhere.
    told = rng.choice((0, len(file.ops), len(file.ops), rng.randint(0, len(file.ops))))
    data, size = bytearray(file.data), len(file.data)
    for nth, op in enumerate(file.ops):
        if isinstance(op, Write):
            size = max(size, op.offset + len(op.data)) if nth < told else size
            _keep(data, pieces(op, block), kept, block, rng)
        elif nth < told:
            size = op.size
            del data[size:]
    resize(data, size)
    return bytes(data)


def _keep(
    data: bytearray, parts: Iterator[Write], kept: Fares, block: int, rng: Random
) -> None:
    """Write what is kept of these parts; `kept` counts down as versions go by."""
    for part in parts:
        number = part.offset // block
        left, spoiled = kept[number]
        kept[number] = Kept(left - 1, spoiled)
        if left == 1 and spoiled:
            overwrite(data, part._replace(data=_spoiled(part.data, rng)))
        elif left > 0:
            overwrite(data, part)


def _spoiled(data: bytes, rng: Random) -> bytes:
    """A write that the power cut met."""
    torn = data[: rng.randint(0, len(data) - 1)]
    nearly = data[: -rng.randint(1, min(TAIL, len(data)))]
    return rng.choice((torn, nearly, bytes(len(data)), rng.randbytes(len(data))))


def _perform(data: bytearray, op: Write | Cut) -> None:
    if isinstance(op, Cut):
        del data[op.size :]
    else:
        overwrite(data, op)


def _rename(names: dict[str, int], move: Create | Rename | Unlink) -> None:
    match move:
        case Create(name, inode):
            names[name] = inode
        case Rename(old, new):
            names[new] = names.pop(old)
        case Unlink(name):
            del names[name]
