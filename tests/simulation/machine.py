"""A computer in memory with one folder, whose power may fail. Knows nothing of ours.

store/journal/disk.py runs on it as it stands: `crash.simulation` puts a Machine where
that module says `os` and `fcntl`. What processes see is the page cache; every call that
changes something is logged, and platter.py tells from the log what the disk may hold.
"""

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from random import Random
from types import SimpleNamespace
from typing import NamedTuple, TypeAlias

PAGE = 4096
MODE = 0o600
SHORT = -1  # instead of an errno: the write takes only half of what it is given


class Create(NamedTuple):
    name: str
    inode: int


class Rename(NamedTuple):
    old: str
    new: str


class Unlink(NamedTuple):
    name: str


class FolderSynced(NamedTuple):
    pass


class Write(NamedTuple):
    inode: int
    offset: int
    data: bytes


class Cut(NamedTuple):
    inode: int
    size: int


class Synced(NamedTuple):
    inode: int


class Lost(NamedTuple):
    """A sync failed, and these pages are marked clean though they are not written."""

    inode: int
    pages: frozenset[int]


Op: TypeAlias = Create | Rename | Unlink | FolderSynced | Write | Cut | Synced | Lost


class Image(NamedTuple):
    """What a disk holds while it is off."""

    names: dict[str, int]
    files: dict[int, bytes]

    def key(self) -> tuple[tuple[str, bytes], ...]:
        """What makes two of them the same to whoever reads them."""
        return tuple(
            (name, self.files[self.names[name]]) for name in sorted(self.names)
        )


EMPTY = Image({}, {})


class Inode:
    """A file: its bytes as the cache shows them, and as they were last synced.

    `dirty` holds by page what was written since, `ghosts` what a failed sync lost: it
    is still shown, but will not be written unless its page is written to again.
    """

    def __init__(self, number: int, data: bytes = b"") -> None:
        self.number = number
        self.data = bytearray(data)
        self.synced = bytearray(data)
        self.dirty: dict[int, list[Write]] = {}
        self.ghosts: dict[int, list[Write]] = {}
        self.owner: int | None = None


class Machine:
    """The calls of `os` and `fcntl` that disk.py makes, and the switches of a test.

    `fault` is asked before each call, by its name, and may return an errno or SHORT.
    `stubborn` is a cache that keeps its pages when it is asked to drop them.
    """

    def __init__(self, image: Image = EMPTY, rng: Random | None = None) -> None:
        self.start = image
        self.log: list[Op] = []
        self.fault: Callable[[str], int | None] = lambda _call: None
        self.stubborn = False
        self._rng = rng or Random(0)
        self._names = dict(image.names)
        self._inodes = {ino: Inode(ino, data) for ino, data in image.files.items()}
        self._fds: dict[int, Inode | None] = {}  # None: the folder
        self._last_fd = 100
        self._killed = False

    def __getattr__(self, name: str) -> object:
        # Constants, and what touches no file; a new call must be simulated first.
        if name.isupper() or name in ("path", "strerror"):
            return getattr(fcntl if name.startswith("LOCK_") else os, name)
        raise AttributeError(f"the simulated system has no {name}")

    def kill(self) -> None:
        """End the process: its descriptors and locks go, the page cache stays."""
        for fd in list(self._fds):
            self.close(fd)
        self._killed = True

    def start_process(self) -> None:
        """The calls that come now are those of another process."""
        self._killed = False

    def cached(self) -> Image:
        """What a copy made by a process would hold."""
        files = {ino: bytes(self._inodes[ino].data) for ino in self._names.values()}
        return Image(dict(self._names), files)

    # --- the calls -----------------------------------------------------------------

    def open(self, path: PurePosixPath | str, flags: int, _mode: int = 0) -> int:
        if flags & os.O_DIRECTORY:
            return self._opened(None)
        name = os.path.basename(path)
        if flags & os.O_CREAT:
            self._call("create")
            if name in self._names:
                raise FileExistsError(errno.EEXIST, "File exists", name)
            number = max(self._inodes, default=0) + 1
            self._inodes[number] = Inode(number)
            self._names[name] = number
            self.log.append(Create(name, number))
        else:
            self._call("open")
        return self._opened(self._named(path))

    def close(self, fd: int) -> None:
        inode = self._fds.pop(fd, None)
        if inode is not None and inode.owner == fd:
            inode.owner = None

    def flock(self, fd: int, _operation: int) -> None:
        inode = self._file(fd)
        self._call("lock")
        if inode.owner not in (None, fd):
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")
        inode.owner = fd

    def fchmod(self, fd: int, mode: int) -> None:
        assert mode == MODE, "every file of ours is for its owner alone"

    def fallocate(self, fd: int, _mode: int, _offset: int, _count: int) -> int:
        """Always granted: a reserve changes nothing that a crash could show."""
        try:
            self._call("fallocate")
        except OSError as error:
            ctypes.set_errno(error.errno or 0)
            return -1
        return 0

    def fstat(self, fd: int) -> SimpleNamespace:
        return _stat(self._file(fd))

    def stat(self, path: PurePosixPath | str) -> SimpleNamespace:
        self._call("stat")
        return _stat(self._named(path))

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        inode = self._file(fd)
        self._call("read")
        return bytes(inode.data[offset : offset + count])

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        inode = self._file(fd)
        if self._call("write") == SHORT and len(data) > 1:
            data = data[: len(data) // 2]
        write = Write(inode.number, offset, bytes(data))
        for part in pieces(write, PAGE):
            self._revive(inode, part.offset // PAGE)
            inode.dirty.setdefault(part.offset // PAGE, []).append(part)
        overwrite(inode.data, write)
        self.log.append(write)
        return len(data)

    def ftruncate(self, fd: int, size: int) -> None:
        inode = self._file(fd)
        self._call("truncate")
        last = size // PAGE
        self._revive(inode, last)
        for pages in (inode.ghosts, inode.dirty):
            for page in [page for page in pages if page > last]:
                del pages[page]
        inode.dirty.setdefault(last, [])
        del inode.data[size:]
        self.log.append(Cut(inode.number, size))

    def fdatasync(self, fd: int) -> None:
        inode = self._file(fd)
        try:
            self._call("sync")
        except OSError:
            self._lose(inode)
            raise
        resize(inode.synced, len(inode.data))
        for page in inode.dirty:
            _copy_page(page, inode.data, inode.synced)
        inode.dirty.clear()
        self.log.append(Synced(inode.number))

    def fsync(self, fd: int) -> None:
        assert self._fds[fd] is None, "only the folder is synced so"
        self._call("sync_folder")
        self.log.append(FolderSynced())

    def posix_fadvise(self, fd: int, _offset: int, _count: int, _advice: int) -> None:
        inode = self._file(fd)
        if not self.stubborn:
            for page in inode.ghosts:
                _copy_page(page, inode.synced, inode.data)
            inode.ghosts.clear()

    def rename(self, old: PurePosixPath, new: PurePosixPath) -> None:
        self._call("rename")
        self._named(old)
        self._names[new.name] = self._names.pop(old.name)
        self.log.append(Rename(old.name, new.name))

    def unlink(self, path: PurePosixPath) -> None:
        self._call("unlink")
        self._named(path)
        del self._names[path.name]
        self.log.append(Unlink(path.name))

    # --- within ----------------------------------------------------------------------

    def _call(self, name: str) -> int | None:
        self._refuse_the_dead()
        fault = self.fault(name)
        if fault not in (None, SHORT):
            raise OSError(
                fault, f"{errno.errorcode[fault]} on {name}, as the test wants"
            )
        return fault

    def _opened(self, inode: Inode | None) -> int:
        self._last_fd += 1
        self._fds[self._last_fd] = inode
        return self._last_fd

    def _named(self, path: PurePosixPath | str) -> Inode:
        name = os.path.basename(path)
        self._refuse_the_dead()
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file", name)
        return self._inodes[self._names[name]]

    def _file(self, fd: int) -> Inode:
        inode = self._fds.get(fd)
        if inode is None:
            raise OSError(errno.EBADF, "no such descriptor")
        return inode

    def _refuse_the_dead(self) -> None:
        if self._killed:
            raise OSError(errno.EIO, "the process was killed")

    def _revive(self, inode: Inode, page: int) -> None:
        """A page that is written to is dirty as a whole: what was lost of it too."""
        lost = inode.ghosts.pop(page, [])
        if lost:
            inode.dirty[page] = [*lost]
            self.log += lost

    def _lose(self, inode: Inode) -> None:
        if not inode.dirty:
            return
        pages = sorted(inode.dirty)
        lost = {self._rng.choice(pages)} | {
            p for p in pages if self._rng.random() < 0.5
        }
        for page in lost:
            inode.ghosts.setdefault(page, []).extend(inode.dirty.pop(page))
        self.log.append(Lost(inode.number, frozenset(lost)))


def pieces(write: Write, size: int) -> Iterator[Write]:
    """The same in parts that do not cross a border of blocks of *size*."""
    at, end = write.offset, write.offset + len(write.data)
    while at < end:
        stop = min(end, (at // size + 1) * size)
        yield Write(
            write.inode, at, write.data[at - write.offset : stop - write.offset]
        )
        at = stop


def overwrite(data: bytearray, write: Write) -> None:
    """Do the write."""
    if len(data) < write.offset:
        resize(data, write.offset)
    data[write.offset : write.offset + len(write.data)] = write.data


def resize(data: bytearray, size: int) -> None:
    """Cut it, or make it longer with zeros."""
    del data[size:]
    data.extend(bytes(size - len(data)))


def _copy_page(page: int, source: bytearray, target: bytearray) -> None:
    at, end = page * PAGE, min((page + 1) * PAGE, len(target))
    if at < end:
        target[at:end] = source[at:end].ljust(end - at, b"\0")


def _stat(inode: Inode) -> SimpleNamespace:
    return SimpleNamespace(
        st_dev=1,
        st_ino=inode.number,
        st_size=len(inode.data),
        st_mode=MODE,
        st_uid=0,
        st_gid=0,
    )
