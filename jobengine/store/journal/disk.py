"""The only os.* on the database file: open, lock, read, write, sync, rename.

testing.SimDisk replaces it in tests. An OSError leaves here as it is: what it means for
the house is for log.py and recover.py to say.
"""

import errno
import fcntl
import os
import re
import weakref
from pathlib import Path
from typing import Protocol

from jobengine.errors import ConfigError, StoreBusy

MODE = 0o600


class DiskFile(Protocol):
    """An open, locked file."""

    def size(self) -> int: ...

    def read(self, offset: int, count: int) -> bytes:
        """Up to *count* bytes; fewer only at the end of the file."""

    def write(self, offset: int, data: bytes) -> None:
        """All of *data*."""

    def sync(self) -> None: ...
    def truncate(self, size: int) -> None: ...

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
        while data:
            written = os.pwrite(self._fd, data, offset)
            offset += written
            data = data[written:]

    def sync(self) -> None:
        """Return when what was written is on the disk."""
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        """Cut the file."""
        os.ftruncate(self._fd, size)

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
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

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
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            apart = file.mount() != _mount_of(folder)
        finally:
            os.close(folder)
        if apart:
            file.close()
            raise ConfigError(
                f"{self.path} is mounted by itself: mount the folder {self.path.parent}"
            )


def _mount_of(fd: int) -> str | None:
    try:
        info = Path(f"/proc/self/fdinfo/{fd}").read_text()
    except OSError:
        return None
    found = re.search(r"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
    return found.group(1) if found else None
