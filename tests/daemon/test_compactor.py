"""The thread that compacts: when it is worth it, or asked to, and never in the way."""

import errno
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemons import SECRET, Daemon, until
from structlog.testing import capture_logs

from jobengine.build import House, open_house
from jobengine.core import lifecycle
from jobengine.core.access import Caller
from jobengine.core.job import Job, NewJob
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.daemon import compactor
from jobengine.daemon.compactor import Compacting
from jobengine.errors import StoreFailed
from jobengine.store.journal import compact
from jobengine.store.journal.disk import OsDisk
from jobengine.store.journal.frame import FIRST_FRAME, header_copies, read_header
from jobengine.store.journal.log import Log
from jobengine.store.journal.opening import open_database
from jobengine.store.sealer import new_uid
from jobengine.testing import SimClock, SimDisk, sim_house

LIMIT_S = 10  # for what must come; a test that passes never waits so long
RULES = Rulebook(
    {"mail": QueueRules("mail", frozenset({"mailer"}), frozenset({"shop"}))}
)
SHOP = Caller("shop")


def epoch(front: bytes) -> int:
    return read_header(header_copies(front)[0]).epoch


# --- The thread -------------------------------------------------------------------


class Site:
    """A house on a simulated disk, and a compacting thread that has not begun."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.house = sim_house(RULES, SimClock(), self.disk)
        assert self.house.compactor is not None
        self.compacting = Compacting(self.house.compactor)

    def churn(self, count: int = 30) -> None:
        """Write a good deal, of which one job stays."""
        engine = self.house.engine
        for _ in range(count):
            made = engine.enqueue(SHOP, "mail", NewJob(b"x" * 1000))
            engine.delete(SHOP, "mail", made.uid)
        engine.enqueue(SHOP, "mail", NewJob(b"{}"))

    @property
    def epoch(self) -> int:
        return epoch(bytes(self.disk.names["db"].data[:FIRST_FRAME]))


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    made.compacting.start()
    yield made
    made.disk.fail = lambda _call: None
    made.compacting.stop()
    made.house.close()


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compactor, "LOOK_S", 0.002)
    monkeypatch.setattr(compact, "COMPACT_MIN_BYTES", 30_000)


def lines_until(lines: list[dict[str, object]], event: str) -> dict[str, object]:
    found = until(lambda: [x for x in lines if x["event"] == event], event)
    return found[0]


def test_asked_to_it_compacts_worth_it_or_not(site: Site) -> None:
    site.churn(1)

    with capture_logs() as lines:
        site.compacting.ask()
        told = lines_until(lines, "compacted")

    assert site.epoch == 2
    assert told["log_level"] == "info"
    assert {"seconds", "held_ms"} < told.keys()


@pytest.mark.usefixtures("looks_often")
def test_a_full_disk_is_told_once_and_so_is_its_end(site: Site) -> None:
    room = site.house.compactor._log.room  # type: ignore[union-attr]

    with capture_logs() as lines:
        room.full = True
        told = lines_until(lines, "the disk is full: no new jobs are taken")
        room.full = False
        lines_until(lines, "the disk has room again")

    assert told["code"] == "storage_full"
    assert len([x for x in lines if "disk" in str(x["event"])]) == 2


def test_it_compacts_by_itself_when_most_of_the_file_is_dead(
    looks_often: None, site: Site
) -> None:
    site.churn(60)

    until(lambda: site.epoch > 1, "a compaction")

    compactor = site.house.compactor
    assert compactor is not None
    until(lambda: not compactor.due(), "most of the file lives again")


def test_a_file_worth_nothing_is_left_alone(
    looks_often: None, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    due = compact.Compactor.due

    def seen(self: compact.Compactor) -> bool:
        looks.append(None)
        return due(self)

    monkeypatch.setattr(compact.Compactor, "due", seen)
    site.churn(2)

    until(lambda: len(looks) > 20, "it looks")

    assert site.epoch == 1


def test_its_file_stays_below_2_2_times_what_lives_in_it(
    looks_often: None, site: Site
) -> None:
    engine, chance = site.house.engine, random.Random(5)
    made = [engine.enqueue(SHOP, "mail", NewJob(b"x" * 300)).uid for _ in range(100)]

    for _ in range(2000):
        place = chance.randrange(100)
        engine.delete(SHOP, "mail", made[place])
        made[place] = engine.enqueue(SHOP, "mail", NewJob(b"x" * 300)).uid

    live = 100 * (300 + 170) + FIRST_FRAME
    until(lambda: len(site.disk.names["db"].data) <= 2.2 * live, "the file is small")
    assert site.epoch > 2


def test_a_temporary_file_that_fails_is_told_and_left_alone_for_a_while(
    looks_often: None, site: Site
) -> None:
    def fail(call: str) -> int | None:
        return errno.ENOSPC if call == "create" else None

    site.disk.fail = fail
    with capture_logs() as lines:
        site.churn(60)
        told = lines_until(lines, "compaction dropped, the file is as it was")
        site.disk.fail = lambda _call: None
        looked = threading.Event()
        looked.wait(0.05)  # many looks, if it looked

    assert told["again_in_s"] == compactor.BACK_OFF_S
    assert "ENOSPC" in str(told["detail"])
    assert [line["event"] for line in lines] == [told["event"]]
    assert site.epoch == 1

    site.compacting.ask()
    until(lambda: site.epoch > 1, "it does as it is asked even so")


def test_a_fault_of_ours_is_told_and_does_not_end_it(site: Site) -> None:
    def fail(call: str) -> int | None:
        if call == "create":
            raise KeyError(call)
        return None

    site.disk.fail = fail
    with capture_logs() as lines:
        site.compacting.ask()
        told = lines_until(lines, "compaction failed")
    site.disk.fail = lambda _call: None

    assert told["code"] == "compaction_failed"
    site.compacting.ask()
    until(lambda: site.epoch == 2, "a compaction")


def test_a_store_that_has_failed_ends_it(site: Site) -> None:
    site.disk.fail = lambda call: errno.EIO if call == "rename" else None

    with capture_logs() as lines:
        site.compacting.ask()
        lines_until(lines, "compaction ended: the store has failed")
        site.compacting._thread.join(LIMIT_S)

    assert not site.compacting._thread.is_alive()
    assert isinstance(site.house.store.failure, StoreFailed)


def test_a_stop_drops_what_is_under_way(site: Site) -> None:
    site.churn()
    journal = site.house.store.journal
    assert isinstance(journal, Log)
    begun = threading.Event()

    def fail(call: str) -> None:
        if threading.current_thread().name == "compact" and call == "write":
            begun.set()
            assert site.compacting._stop.wait(LIMIT_S)

    site.disk.fail = fail
    site.compacting.ask()
    assert begun.wait(LIMIT_S)
    site.compacting.stop()

    assert site.epoch == 1
    assert list(site.disk.names) == ["db"]
    assert journal._capture is None
    site.house.engine.enqueue(SHOP, "mail", NewJob(b"{}"))


# --- A daemon ---------------------------------------------------------------------


def seed(path: Path, count: int, size: int) -> dict[str, Job]:
    """A database of *count* jobs, closed in order."""
    house = opened_house(path)
    made: dict[str, Job] = {}
    for first in range(0, count, 1000):
        with house.store.transaction() as tx:
            for _ in range(first, min(first + 1000, count)):
                each = lifecycle.create(
                    NewJob(b'"%s"' % (b"x" * size)),
                    uid=new_uid(),
                    queue="mail",
                    seq=tx.next_seq(),
                    now=tx.now,
                )
                tx.add(each)
                made[each.uid] = each
    house.close()
    return made


def opened_house(path: Path) -> House:
    return open_house(
        db_path=path,
        secret=SECRET.encode(),
        rules=RULES,
        clock=SimClock(),
        on_failure=lambda _error: None,
    )


def left(path: Path) -> tuple[str, dict[str, Job]]:
    """How the next start finds the file, and its jobs."""
    again = open_database(OsDisk(path), SECRET.encode())
    again.tail.file.close()
    return again.why, again.rows.jobs


def test_sigusr1_compacts_a_daemon_that_goes_on_serving(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon().start()
    path = "/api/v1/jobs/{}"
    for number in range(40):
        uid = daemon.create(number)
        if number % 2:
            gone = daemon.ask("DELETE", path.format(uid), name="shop")
            assert gone.status == 204, gone
    size = daemon.db.stat().st_size
    before = epoch(daemon.db.read_bytes()[:FIRST_FRAME])

    daemon.signal(signal.SIGUSR1)
    until(lambda: daemon.lines("compacted"), "it has compacted")

    assert epoch(daemon.db.read_bytes()[:FIRST_FRAME]) == before + 1
    assert daemon.db.stat().st_size < size
    assert sorted(entry.name for entry in daemon.db.parent.iterdir()) == [
        "config.yml",
        "jobs.queuedb",
        "log",
    ]
    daemon.create(99)
    assert daemon.stop() == 0
    why, jobs = left(daemon.db)
    assert why == "clean"
    assert len(jobs) == 21


def test_sigterm_drops_a_compaction_and_ends_at_once(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    jobs = seed(daemon.db, 20_000, 1000)
    daemon.start()
    tmp = daemon.db.with_name("jobs.queuedb.tmp")

    daemon.signal(signal.SIGUSR1)
    until(tmp.exists, "a compaction has begun")
    began = time.monotonic()
    code = daemon.stop()

    assert code == 0
    assert time.monotonic() - began < 9
    assert not tmp.exists()
    assert daemon.lines("compacted") == []
    why, found = left(daemon.db)
    assert why == "clean"
    assert found.keys() == jobs.keys()
