"""The only os.* on the database file: open, lock, read, write, sync, rename.

testing.SimDisk replaces it in tests. An OSError leaves here as it is: what it means for
the house is for log.py and recover.py to say.
"""

import ctypes
import errno
import fcntl
import os
import stat
import weakref
from pathlib import Path
from typing import Protocol

from jobengine.errors import ConfigError, StoreBusy

MODE = 0o600


NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
# Where a sync or a rename may not mean what it says, or memory is the disk.
DOUBTFUL = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "fuseblk", "overlay", "tmpfs"}
)
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
_KEEP_SIZE = 1


class DiskFull(OSError):
    """There is no room, and nothing was written."""


class DiskFile(Protocol):
    """An open, locked file."""

    def size(self) -> int: ...

    def read(self, offset: int, count: int) -> bytes:
        """Up to *count* bytes; fewer only at the end of the file."""

    def write(self, offset: int, data: bytes) -> None:
        """All of *data*.

        Raises:
            DiskFull: there is no room, and nothing of it was written.
        """

    def sync(self) -> None: ...
    def truncate(self, size: int) -> None: ...

    def reserve(self, offset: int, count: int) -> bool | None:
        """Have the disk promise these bytes, the size staying as it is.

        False: there is no room. None: this file system cannot promise.
        """

    def drop_cache(self) -> None:
        """Ask that what is read next come from the disk itself."""

    def at_its_path(self) -> bool:
        """Whether the path still shows this very file."""

    def close(self) -> None:
        """Let go of the file and its lock."""


class Disk(Protocol):
    """A place that holds the database and its temporary file beside it."""

    def open(self) -> DiskFile | None:
        """The database, locked; None when there is none yet.

        Raises:
            StoreBusy: another process has it.
        """

    def create_temporary(self) -> DiskFile:
        """A new, locked `<db>.tmp` to rewrite the database of this process into."""

    def create_first(self) -> DiskFile | None:
        """The same where there is no database; None when one has appeared meanwhile.

        Raises:
            StoreBusy: another process is creating it.
        """

    def drop_temporary(self) -> None:
        """Remove `<db>.tmp`; only under the lock of the database."""

    def publish(self, file: DiskFile) -> None:
        """Make the temporary file the database, durably."""

    def sync_folder(self) -> None:
        """Make the names in the folder durable."""


class OsFile:
    """A file of the operating system, flocked by this process."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self.path = path
        _open_files.add(self)

    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Up to *count* bytes; fewer only at the end of the file."""
        parts = []
        while count > 0:
            part = os.pread(self._fd, count, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """All of *data*."""
        rest = memoryview(data)
        while rest:
            try:
                written = os.pwrite(self._fd, rest, offset)
            except OSError as error:
                if error.errno in NO_ROOM and len(rest) == len(data):
                    raise DiskFull(*error.args) from error
                raise
            offset += written
            rest = rest[written:]

    def sync(self) -> None:
        """Return when what was written is on the disk."""
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        """Cut the file."""
        os.ftruncate(self._fd, size)

    def reserve(self, offset: int, count: int) -> bool | None:
        """Have the disk promise these bytes, the size staying as it is."""
        # Never posix_fallocate: it would grow the file, and write zeros where the file
        # system cannot reserve.
        while _fallocate(self._fd, _KEEP_SIZE, offset, count) != 0:
            code = ctypes.get_errno()
            if code != errno.EINTR:
                return _refused(code)
        return True

    def drop_cache(self) -> None:
        """Ask that what is read next come from the disk itself."""
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def at_its_path(self) -> bool:
        """Whether the path still shows this very file."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        here = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def look_like(self, path: Path) -> None:
        """Take on the owner and the mode of the file at *path*."""
        there = os.stat(path)
        here = os.fstat(self._fd)
        if (there.st_uid, there.st_gid) != (here.st_uid, here.st_gid):
            os.fchown(self._fd, there.st_uid, there.st_gid)
        os.fchmod(self._fd, stat.S_IMODE(there.st_mode))

    def lock(self) -> bool:
        """Take the file for this process alone; False when another has it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def mount(self) -> str | None:
        """The number of the mount it is on, where the system tells."""
        return _mount_of(self._fd)

    def close(self) -> None:
        """Let go of the file and its lock."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _refused(code: int) -> bool | None:
    """What an errno of fallocate says: no room, or never here."""
    if code in NO_ROOM:
        return False
    if code in _CANNOT:
        return None
    raise OSError(code, os.strerror(code))


_libc_fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
if _libc_fallocate is not None:
    _libc_fallocate.argtypes = [ctypes.c_int] * 2 + [ctypes.c_int64] * 2


def _fallocate(fd: int, mode: int, offset: int, count: int) -> int:
    """fallocate(2), asked only for what the disk says it has.

    What ext4 cannot give in full it gives in part, and says no: all others on the disk
    would find it full, for as long as the file is there.
    """
    if _libc_fallocate is None:
        ctypes.set_errno(errno.ENOSYS)
        return -1
    file, disk = os.fstat(fd), os.fstatvfs(fd)
    lacks = offset + count - 512 * file.st_blocks
    # Some file systems say 0 of everything: they are not full, they do not know.
    if disk.f_blocks and lacks > disk.f_bavail * disk.f_frsize:
        ctypes.set_errno(errno.ENOSPC)
        return -1
    return int(_libc_fallocate(fd, mode, offset, count))


# A forked child must not hold the lock of its parent's file, nor ever write to it.
_open_files: "weakref.WeakSet[OsFile]" = weakref.WeakSet()


def _close_all() -> None:
    for file in list(_open_files):
        file.close()


os.register_at_fork(after_in_child=_close_all)


class OsDisk:
    """The database at a path, its symbolic links resolved once."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self._tmp = self.path.with_name(self.path.name + ".tmp")

    def open(self) -> OsFile | None:
        """The database, locked; None when there is none yet."""
        while True:
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            file = OsFile(fd, self.path)
            self._take(file)
            if file.at_its_path():
                self._refuse_mounted(file)
                return file
            # It was renamed over between our open and our lock: look again.
            file.close()

    def create_temporary(self) -> OsFile:
        """A new, locked `<db>.tmp`; only under the lock of the database."""
        self.drop_temporary()
        file = self._create()
        self._take(file)
        try:
            file.look_like(self.path)
        except OSError:
            file.close()
            self.drop_temporary()
            raise
        return file

    def create_first(self) -> OsFile | None:
        """The same where there is no database; None when one has appeared meanwhile."""
        while True:
            try:
                file = self._create()
            except FileExistsError:
                self._unlink_abandoned()
                continue
            self._take(file)
            if not file.at_its_path():
                file.close()
                continue
            if self.path.exists():
                self._tmp.unlink()
                file.close()
                return None
            return file

    def drop_temporary(self) -> None:
        """Remove `<db>.tmp`; only under the lock of the database."""
        self._tmp.unlink(missing_ok=True)

    def publish(self, file: DiskFile) -> None:
        """Make the temporary file the database, durably."""
        assert isinstance(file, OsFile)
        os.rename(self._tmp, self.path)
        file.path = self.path
        if not file.at_its_path():
            raise OSError(errno.ESTALE, "the database was replaced during a rewrite")
        self.sync_folder()

    def sync_folder(self) -> None:
        """Make the names in the folder durable."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def doubtful(self) -> str | None:
        """The kind of file system it is on, where that may not keep its promises."""
        mount = _mount_of_folder(self.path.parent)
        for line in _lines("/proc/self/mountinfo"):
            number, _, rest = line.partition(" ")
            if number == mount:
                kind = rest.partition(" - ")[2].partition(" ")[0]
                return kind if kind.partition(".")[0] in DOUBTFUL else None
        return None

    def _create(self) -> OsFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return OsFile(os.open(self._tmp, flags, MODE), self._tmp)

    def _take(self, file: OsFile) -> None:
        if not file.lock():
            file.close()
            raise StoreBusy(
                f"{self.path} is in use by another process: "
                "one daemon at a time may have a database"
            )

    def _unlink_abandoned(self) -> None:
        """Remove a temporary file that a creator left behind when it died."""
        try:
            file = OsFile(os.open(self._tmp, os.O_RDWR | os.O_CLOEXEC), self._tmp)
        except FileNotFoundError:
            return
        self._take(file)
        if file.at_its_path():
            self._tmp.unlink()
        file.close()

    def _refuse_mounted(self, file: OsFile) -> None:
        # A file mounted by itself cannot be renamed over, so it could not be rewritten.
        if file.mount() != _mount_of_folder(self.path.parent):
            file.close()
            raise ConfigError(
                f"{self.path} is mounted by itself: mount the folder {self.path.parent}"
            )


def _mount_of_folder(folder: Path) -> str | None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _mount_of(fd)
    finally:
        os.close(fd)


def _mount_of(fd: int) -> str | None:
    for line in _lines(f"/proc/self/fdinfo/{fd}"):
        if line.startswith("mnt_id:"):
            return line.split()[1]
    return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
