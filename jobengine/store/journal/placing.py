"""Puts a whole new file in the place of a database, or where none is.

A temporary file beside the place is written, read back and renamed: until the rename
nothing has changed, and a failure leaves no trace. Knows not where the rows are from.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from jobengine.errors import StoreCorrupt
from jobengine.store.journal.chain import CLOSED, Chain, Readable, Source
from jobengine.store.journal.compact import Before, Identity, write_snapshot
from jobengine.store.journal.disk import Disk, DiskFile
from jobengine.store.journal.frame import (
    Header,
    Keys,
    Slot,
    Type,
    header_copies,
    new_slot,
    open_header,
)
from jobengine.store.journal.reading import Watch, Watched
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import valid_marks
from jobengine.store.sealer import Kdf, kdf_for, random_bytes


class Secrets(Struct, frozen=True):
    """What opens a file: `secret`, or else `previous`; a new one gets `secret`.

    `kdf` is for tests, which cannot wait for a real one.
    """

    secret: bytes
    previous: bytes | None = None
    kdf: Kdf | None = None

    def identity(self, header: Header, *, rewrap: bool) -> Identity:
        """That of a database which goes on, wrapped anew where that is due."""
        keeps = not rewrap and header.slot.kdf == (self.kdf or kdf_for(self.secret))
        return Identity(header.file_id, header.slot if keeps else self._slot())

    def new_identity(self) -> Identity:
        """That of a new file."""
        return Identity(random_bytes(16), self._slot())

    def _slot(self) -> Slot:
        return new_slot(self.secret, self.kdf or kdf_for(self.secret))


class Made(Struct, frozen=True):
    """The file that was made, and the bytes of the one before it (0: none)."""

    file_id: bytes
    epoch: int
    rows: Replay
    size: int
    size_before: int


def put(
    disk: Disk,
    new: DiskFile,
    secrets: Secrets,
    identity: Identity,
    before: Before,
    rows: Replay,
    *,
    watch: Watch,
    size_before: int = 0,
    ready: Callable[[], None] | None = None,
) -> Made:
    """Fill the temporary file, close it cleanly, read it back, put it in place."""
    tail = write_snapshot(new, identity, before, rows.everything())
    tail.append(Type.CLOSE)
    tail.sync()
    tail.mark()
    tail.sync()
    _read_back(Watched(new, watch), secrets.secret)
    if ready is not None:
        ready()
    disk.publish(new)
    return Made(identity.file_id, tail.epoch, rows, tail.end, size_before)


@contextmanager
def database(disk: Disk) -> Iterator[DiskFile | None]:
    """The database, locked for as long; None when there is none."""
    file = disk.open()
    try:
        yield file
    finally:
        if file is not None:
            file.close()


@contextmanager
def temporary(
    disk: Disk, *, replace_old: bool
) -> Iterator[tuple[DiskFile | None, DiskFile]]:
    """The file that is there, locked, and an empty one to take its place."""
    with database(disk) as old:
        if old is not None and not replace_old:
            raise FileExistsError("there is a file already")
        new = disk.create_first() if old is None else disk.create_temporary()
        if new is None:
            raise FileExistsError("there is a file already")
        with dropped_on_failure(disk, new):
            yield old, new


@contextmanager
def dropped_on_failure(disk: Disk, new: DiskFile) -> Iterator[None]:
    try:
        yield
    except BaseException:
        disk.drop_temporary()
        raise
    finally:
        new.close()


def _read_back(file: Readable, secret: bytes) -> None:
    """Find on the disk what was written. Keeps no rows: there is one set already.

    Raises:
        StoreError: it is not there.
    """
    source = Source(file)
    header = open_header(header_copies(source.front), secret)
    keys = Keys(header.file_id, header.epoch, header.data_key)
    chain = Chain(source, keys.ctx, header.tag)
    while (frame := chain.next()) is not None and keys.open_frame(*frame) is not None:
        chain.follow(*frame)
    marked = {mark.end for mark in valid_marks(keys, source.front).values()}
    if chain.phase != CLOSED or chain.at != source.size or chain.at not in marked:
        raise StoreCorrupt("what was written does not read back", offset=chain.at)
