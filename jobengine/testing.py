"""Our fakes, shipped: a clock and a disk that tests move, and a house on them."""

import errno
import threading
from collections.abc import Callable
from pathlib import Path

from jobengine.build import House, furnish, open_house
from jobengine.core.queues import Rulebook
from jobengine.errors import StoreBusy
from jobengine.store.journal.disk import DiskFile, DiskFull
from jobengine.store.memory import MemoryStore
from jobengine.store.sealer import RAW, Kdf

# Deriving a key takes a tenth of a second on purpose; a test has no such need.
CHEAP_KDF = Kdf(RAW)
SECRET = b"a secret that only tests know"


class SimClock:
    """A clock that stands until a test moves it. Milliseconds of the epoch."""

    def __init__(self, now: int = 1_800_000_000_000) -> None:
        self._now = now

    def now(self) -> int:
        """The instant the test has set."""
        return self._now

    def monotonic(self) -> float:
        """The same in seconds."""
        return self._now / 1000

    def start_from(self, newest: int) -> None:
        """Go on from *newest* where the clock is behind it."""
        self._now = max(self._now, newest)

    def advance(self, *, ms: int = 0, seconds: int = 0, minutes: int = 0) -> None:
        """Let time pass."""
        self._now += ms + 1000 * seconds + 60_000 * minutes

    def set(self, now: int) -> None:
        """Jump, backwards too."""
        self._now = now


class SimDisk:
    """A disk in memory: tests hold its syncs, make its calls fail, and see its bytes.

    Copying it (`clone`) is what a crash of the process leaves: all that was written.
    """

    def __init__(self) -> None:
        self.names: dict[str, SimInode] = {}
        self.syncs = SyncGate()
        self.fail: Callable[[str], int | None] = lambda _call: None
        self.reserve: Callable[[int], bool | None] = lambda _end: True

    def open(self) -> "SimFile | None":
        """The database, locked; None when there is none yet."""
        inode = self.names.get("db")
        return None if inode is None else self._locked(inode, "db")

    def create_temporary(self) -> "SimFile":
        """A new, locked temporary file."""
        self.call("create")
        self.names["tmp"] = SimInode()
        return self._locked(self.names["tmp"], "tmp")

    def create_first(self) -> "SimFile | None":
        """The same where there is no database; None when one has appeared meanwhile."""
        return None if "db" in self.names else self.create_temporary()

    def drop_temporary(self) -> None:
        """Remove the temporary file."""
        self.names.pop("tmp", None)

    def publish(self, file: DiskFile) -> None:
        """Make the temporary file the database."""
        assert isinstance(file, SimFile)
        self.call("rename")
        self.names["db"] = self.names.pop("tmp")
        file.name = "db"
        self.sync_folder()

    def sync_folder(self) -> None:
        """There is nothing to lose."""
        self.call("sync_folder")

    def clone(self) -> "SimDisk":
        """Another disk with the same bytes and no locks."""
        other = SimDisk()
        other.names = {
            name: SimInode(bytes(inode.data)) for name, inode in self.names.items()
        }
        return other

    def call(self, name: str) -> None:
        """Raises: OSError, when the test wants this call to fail."""
        code = self.fail(name)
        if code is not None:
            raise OSError(code, f"{errno.errorcode[code]} on {name}, as the test wants")

    def _locked(self, inode: "SimInode", name: str) -> "SimFile":
        if inode.locked:
            raise StoreBusy("the database is in use by another process")
        inode.locked = True
        return SimFile(self, inode, name)


class SimInode:
    """The bytes of one file."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.locked = False


class SimFile:
    """An open file of a SimDisk. See disk.DiskFile."""

    def __init__(self, disk: SimDisk, inode: SimInode, name: str) -> None:
        self._disk = disk
        self._inode = inode
        self.name = name

    def size(self) -> int:
        """Bytes."""
        return len(self._inode.data)

    def read(self, offset: int, count: int) -> bytes:
        """Up to *count* bytes."""
        self._disk.call("read")
        return bytes(self._inode.data[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        """All of *data*."""
        try:
            self._disk.call("write")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DiskFull(*error.args) from error
            raise
        held = self._inode.data
        if len(held) < offset:
            held.extend(bytes(offset - len(held)))
        held[offset : offset + len(data)] = data

    def sync(self) -> None:
        """Return when the test lets the disk sync."""
        self._disk.syncs.pass_through()
        self._disk.call("sync")

    def truncate(self, size: int) -> None:
        """Cut the file."""
        self._disk.call("truncate")
        del self._inode.data[size:]

    def reserve(self, offset: int, count: int) -> bool | None:
        """Whether the test lets the disk promise these bytes."""
        return self._disk.reserve(offset + count)

    def drop_cache(self) -> None:
        """There is none."""

    def at_its_path(self) -> bool:
        """Whether the path still shows this very file."""
        return self._disk.names.get(self.name) is self._inode

    def close(self) -> None:
        """Let go of the lock."""
        self._inode.locked = False


class SyncGate:
    """Where syncs stop while a test holds them."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._waiting = threading.Semaphore(0)

    def hold(self) -> None:
        """From now on every sync waits."""
        self._open.clear()

    def release(self) -> None:
        """Let all syncs through."""
        self._open.set()

    def wait_until_held(self) -> None:
        """Return when a sync has come and waits."""
        assert self._waiting.acquire(timeout=10), "no sync came within 10 s"

    def pass_through(self) -> None:
        """What a sync does first."""
        if not self._open.is_set():
            self._waiting.release()
            assert self._open.wait(timeout=60), "the test never released the syncs"


def memory_house(rules: Rulebook, clock: SimClock | None = None) -> House:
    """A house without a file."""
    return furnish(MemoryStore(clock or SimClock()), rules)


def sim_house(
    rules: Rulebook,
    clock: SimClock | None = None,
    disk: SimDisk | None = None,
    *,
    secret: bytes = SECRET,
    on_failure: Callable[[BaseException], None] = lambda _error: None,
) -> House:
    """A house on a simulated disk, sealed under a key that costs nothing."""
    return open_house(
        db_path=Path("db"),
        secret=secret,
        rules=rules,
        clock=clock or SimClock(),
        on_failure=on_failure,
        disk=disk or SimDisk(),
        kdf=CHEAP_KDF,
    )
