"""Our fakes, shipped: a clock and a disk that tests move, houses on them, an engine."""

import errno
import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobengine.build import House, furnish, open_house
from jobengine.client.spans import seconds_of
from jobengine.core.job import QUEUED
from jobengine.core.queues import Rulebook
from jobengine.embedded import Engine, engine_of, said
from jobengine.errors import StoreBusy
from jobengine.store.journal.disk import DiskFile, DiskFull
from jobengine.store.memory import MemoryStore
from jobengine.store.sealer import RAW, Kdf
from jobengine.upkeep import may_be_more

if TYPE_CHECKING:
    from jobengine.local import Site
    from jobengine.worker.worker import Worker

# Deriving a key takes a tenth of a second on purpose; a test has no such need.
CHEAP_KDF = Kdf(RAW)
SECRET = b"a secret that only tests know"

# What a sweep does at a time: more than falls due in most tests.
SWEEP = 500
# How often the clock is moved for one call: more often than any job comes again that
# ends, and soon enough to be told of one that does not.
MOVES_MAX = 500


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


# --- for tests of programs that have jobs -----------------------------------------


class TestEngine(Engine):
    """An engine in memory, without threads: time passes in it when a test says so.

    Its instants begin with those of the clock, whatever the day: a test takes its own
    from `now`. A verb that is asked to wait for a job waits in real time, and is served
    as soon as another thread, or `advance`, brings one.
    """

    __test__ = False  # it is no class of tests, whatever pytest makes of its name

    def __init__(self, site: "Site", house: House, clock: SimClock, name: str) -> None:
        super().__init__(site, name)
        self.clock = clock
        self._house = house

    @property
    def now(self) -> datetime:
        """The instant, in UTC."""
        return datetime.fromtimestamp(self.clock.now() / 1000, UTC)

    def advance(self, seconds: float | timedelta) -> None:
        """Let time pass, and do what falls due meanwhile, each at its own instant:
        leases run out, schedules make jobs, what has been kept long enough goes."""
        span = seconds_of(seconds)
        if span < 0:
            raise ValueError("time goes on: advance by 0 or more")
        self._advance_to(self.clock.now() + round(span * 1000))

    def run_until_idle(self, worker: "Worker", *, follow_time: bool = False) -> int:
        """See the function of this name."""
        runs = worker.run_until_idle()
        for _ in range(MOVES_MAX):
            at = self._next_instant() if follow_time else None
            if at is None:
                return runs
            self._advance_to(at)
            runs += worker.run_until_idle()
        raise TimeoutError(
            f"after {runs} runs, and {MOVES_MAX} moves of the clock, a job still waits "
            "for its time: does it put itself off for ever?"
        )

    def _advance_to(self, target: int) -> None:
        upkeep = self._house.upkeep
        while (due := upkeep.next_due()) is not None and due <= target:
            self.clock.set(max(due, self.clock.now()))
            self._sweep()
            if upkeep.next_due() == due:
                break  # it cannot be done, now or later
        self.clock.set(target)
        self._sweep()
        # The time of those who wait may be up.
        self._house.doorbell.ring_all()

    def _sweep(self) -> None:
        while may_be_more(self._house.upkeep.sweep(SWEEP), SWEEP):
            pass

    def _next_instant(self) -> int | None:
        """When the first of the jobs that are queued for later may run, or the first
        lease of those in progress ends."""
        with self._house.store.transaction() as tx:
            every = [job for queue in tx.queues() for job in tx.jobs(queue)]
            now = tx.now
        instants = [job.run_at for job in every if job.state is QUEUED]
        instants += [job.lease.until for job in every if job.lease is not None]
        return min((at for at in instants if at > now), default=None)


def memory_engine(
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    name: str = "app",
    clock: SimClock | None = None,
) -> TestEngine:
    """An engine without a file. See jobengine.open.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    from jobengine.residence import in_memory

    clock = clock or SimClock()
    site, house = in_memory(clock, config=said(config), name=name)
    return TestEngine(site, house, clock, name)


def run_until_idle(worker: "Worker", *, follow_time: bool = False) -> int:
    """Run a worker's jobs on this thread until there are none; how many runs it took.

    With *follow_time* the clock of its TestEngine is moved on to when the next job may
    run, a back-off is over, or a lease runs out, until no job waits for its time. What
    schedules bring is not waited for: they never end.
    """
    if not follow_time:
        return worker.run_until_idle()
    engine = engine_of(worker.client)
    if not isinstance(engine, TestEngine):
        raise TypeError(
            "time can be followed for a worker on a TestEngine: Worker(engine)"
        )
    return engine.run_until_idle(worker, follow_time=True)
