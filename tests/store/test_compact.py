"""Compaction while the store is in use: nothing lost, nothing twice, nobody harmed."""

import errno
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest
from drafts import frames, job, opened, rows
from msgspec.structs import replace

from jobengine.build import House, open_house
from jobengine.core.access import Caller
from jobengine.core.job import Change, Job, Lease, NewJob, State
from jobengine.core.once import Answer
from jobengine.core.queues import QueueRules, RemovedQueue, Rulebook
from jobengine.errors import Refused, StoreCorrupt, StoreFailed
from jobengine.store import port
from jobengine.store.journal import compact
from jobengine.store.journal.compact import LAST_COMMITS, Compactor
from jobengine.store.journal.disk import DiskFull, OsDisk, OsFile
from jobengine.store.journal.frame import (
    FIRST_FRAME,
    MARKS_AT,
    Type,
    header_copies,
    open_header,
)
from jobengine.store.journal.log import Group, Log
from jobengine.store.journal.opening import open_database
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import examine
from jobengine.store.port import Record
from jobengine.store.rows import Rows
from jobengine.testing import CHEAP_KDF, SECRET, SimClock, SimDisk, SimInode, sim_house

LIMIT_S = 20  # for what must come; a test that passes never waits so long
RULES = Rulebook({"q1": QueueRules("q1", frozenset({"w"}), frozenset({"w"}))})
ME = Caller("w")


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a compaction of a few jobs takes many steps."""
    monkeypatch.setattr(compact, "SLICE_ROWS", 3)
    monkeypatch.setattr(compact, "SNAP_BYTES", 1000)
    monkeypatch.setattr(compact, "SYNC_BYTES", 3000)


class Bench:
    """A log, the rows it makes durable, and a compactor: a store without its rules."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.told: list[BaseException] = []
        self.clock = SimClock()
        first = opened(self.disk)
        self.lock = threading.Lock()
        self.rows = Rows()
        self.log = Log(
            first.tail,
            self.lock,
            monotonic=self.clock.monotonic,
            on_failure=self.told.append,
        )
        self.compactor = Compactor(
            self.disk, self.log, self.rows, self.lock, first.identity
        )
        self.jobs: dict[str, Job] = {}

    def stage(self, *changes: tuple[Job | None, Job | None]) -> Group:
        """Apply and stage changes, as a transaction does; nobody waits yet."""
        staged: list[port.Change] = list(changes)
        with self.lock:
            for old, new in changes:
                self.rows.replace_job(old, new, now=1000)
                if new is not None:
                    self.jobs[new.uid] = new
                elif old is not None:
                    del self.jobs[old.uid]
            return self.log.stage(staged, 1024 * len(changes))

    def add(self, *numbers: int, size: int = 10) -> Group:
        return self.stage(*((None, job(n, content=b"x" * size)) for n in numbers))

    def change(self, number: int, **fields: object) -> Group:
        old = self.jobs[f"{number:036d}"]
        return self.stage((old, replace(old, **fields)))

    def drop(self, *numbers: int) -> Group:
        return self.stage(*((self.jobs[f"{n:036d}"], None) for n in numbers))

    def compact(self) -> None:
        """From the first step to the last."""
        for _ in self.compactor.run():
            pass

    def quiet(self) -> None:
        """Return when the committer has nothing left to do."""
        looked = threading.Event()
        while not (self.log._asleep and self.log._tail.marked):
            looked.wait(0.001)

    def found(self) -> dict[str, Job]:
        """The jobs that the next start would find."""
        return opened(self.disk.clone()).rows.jobs

    @property
    def data(self) -> bytes:
        return bytes(self.disk.names["db"].data)

    def frames(self) -> list[tuple[int, bytes]]:
        """Type and body of each frame."""
        return list(frames(self.data))

    def commits(self) -> list[list[int]]:
        """The numbers of the jobs that each commit of the file brings or changes."""
        return [numbers(body) for type_, body in self.frames() if type_ == Type.TXN]

    @property
    def epoch(self) -> int:
        return open_header(header_copies(self.data[:FIRST_FRAME]), SECRET).epoch


def numbers(body: bytes) -> list[int]:
    class Noted(Replay):
        def _content(self, uid: str) -> bytes:
            return b""  # brought by an earlier frame

    replay = Noted()
    replay.apply(body, 0)
    return sorted(job.seq for job in replay.jobs.values())


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.disk.syncs.release()
    made.disk.fail = lambda _call: None
    made.log.close()


def mixed(bench: Bench) -> None:
    """Twenty jobs in all states, one of them large, and as many that have gone."""
    bench.add(*range(40)).wait()
    bench.drop(*range(20, 40)).wait()
    lease = Lease("t" * 36, "w", 5000, 1000)
    bench.change(1, state=State.INPROGRESS, lease=lease, attempt=1).wait()
    bench.change(2, state=State.COMPLETE, finished_at=2000, keep_until=9000).wait()
    bench.change(3, content=b"y" * 4000).wait()
    bench.change(4, state=State.FAILED, finished_at=2000, reason="lease_lost").wait()


# --- What a compaction leaves -----------------------------------------------------


def test_the_live_rows_remain_and_nothing_else(bench: Bench) -> None:
    mixed(bench)
    before, epoch = len(bench.data), bench.epoch

    bench.compact()

    assert bench.epoch == epoch + 1
    assert len(bench.data) < before
    assert bench.found() == bench.jobs
    assert len(bench.jobs) == 20
    types = [type_ for type_, _ in bench.frames()]
    assert types == [Type.SNAP] * (len(types) - 1) + [Type.SNAP_END]
    assert list(bench.disk.names) == ["db"]


def test_commits_go_on_in_the_new_file(bench: Bench) -> None:
    mixed(bench)
    bench.compact()

    bench.change(1, priority=99).wait()
    bench.drop(2).wait()
    bench.add(50).wait()

    assert bench.found() == bench.jobs
    assert bench.commits() == [[1], [], [50]]
    assert bench.log.epoch == 2
    assert bench.log.end == len(bench.data)


def test_an_empty_store_is_compacted_too(bench: Bench) -> None:
    bench.add(1).wait()
    bench.drop(1).wait()

    bench.compact()

    assert bench.found() == {}


def test_records_are_rows_too() -> None:
    disk, clock = SimDisk(), SimClock()
    house = sim_house(RULES, clock, disk)
    house.engine.enqueue(ME, "q1", NewJob(b"{}"))
    house.upkeep.reconfigure(Rulebook())

    assert house.compactor is not None
    steps = house.compactor.run()
    next(steps)
    house.upkeep.reconfigure(RULES)
    house.upkeep.reconfigure(Rulebook({}, removed_keep_ms=None))
    list(steps)

    kept = opened(disk.clone()).rows.records
    assert list(kept.values()) == [RemovedQueue("q1", clock.now(), None)]


def test_a_stop_right_after_the_exchange_is_clean(bench: Bench) -> None:
    mixed(bench)
    bench.compact()

    bench.log.close()

    again = opened(bench.disk)
    assert again.why == "clean"
    assert again.rows.jobs == bench.jobs


def test_the_new_file_is_marked_before_it_takes_the_place_of_the_old(
    bench: Bench,
) -> None:
    mixed(bench)
    published: list[bytes] = []

    def fail(call: str) -> None:
        if call == "rename":
            published.append(bytes(bench.disk.names["tmp"].data))

    bench.disk.fail = fail
    bench.compact()

    # `examine` demands a watermark, and that it names a frame there is.
    disk = SimDisk()
    disk.names["db"] = SimInode(published[0])
    file = disk.open()
    assert file is not None
    assert examine(file, SECRET).replay.jobs == bench.jobs
    # The next mark leaves this one alone until it is durable.
    first = bench.data[MARKS_AT[0] : MARKS_AT[0] + 72]
    bench.add(50).wait()
    bench.quiet()
    assert bench.data[MARKS_AT[0] : MARKS_AT[0] + 72] == first
    assert any(bench.data[MARKS_AT[1] : MARKS_AT[1] + 72])
    assert bench.found() == bench.jobs


def test_a_file_that_somebody_put_in_our_place_is_not_renamed_over(
    bench: Bench,
) -> None:
    mixed(bench)
    steps = bench.compactor.run()
    next(steps)
    theirs = SimInode(b"a backup, put back under a running daemon")
    bench.disk.names["db"] = theirs

    with pytest.raises(OSError, match="replaced or changed"):
        list(steps)

    assert bench.disk.names == {"db": theirs}


def test_one_compaction_follows_another(bench: Bench) -> None:
    mixed(bench)

    for turn in range(3):
        bench.add(100 + turn).wait()
        bench.compact()

    assert bench.epoch == 4
    assert bench.found() == bench.jobs


def test_the_old_file_is_closed_and_the_new_one_locked(bench: Bench) -> None:
    old = bench.disk.names["db"]

    bench.compact()

    assert not old.locked
    assert bench.disk.names["db"].locked


# --- Commits meanwhile ------------------------------------------------------------


def test_commits_between_any_two_steps_are_there_exactly(bench: Bench) -> None:
    mixed(bench)
    chance = random.Random(7)
    made = list(range(20))
    acts: list[Callable[[int, int], Group]] = [
        lambda new, _: bench.add(new),
        lambda _, old: bench.drop(old),
        lambda new, old: bench.change(old, priority=new % 100 + 1),
        lambda new, old: bench.change(old, content=b"%d" % new),
    ]

    for step, _ in enumerate(bench.compactor.run()):
        if step < 200:
            old = chance.choice(made)
            act = chance.choice(acts)
            act(1000 + step, old).wait()
            if act is acts[0]:
                made.append(1000 + step)
            elif act is acts[1]:
                made.remove(old)

    assert bench.epoch == 2
    assert bench.found() == bench.jobs
    bench.add(50).wait()
    assert bench.found() == bench.jobs


def test_what_was_staged_before_the_copy_is_not_written_after_it(
    bench: Bench,
) -> None:
    bench.add(1, 2).wait()
    bench.quiet()
    bench.disk.syncs.hold()
    waiting = [bench.change(1, priority=11)]
    bench.disk.syncs.wait_until_held()
    waiting += [bench.change(2, priority=12), bench.add(3)]

    steps = bench.compactor.run()
    next(steps)  # the rows are copied, and none of the three is durable
    waiting += [bench.change(1, priority=21), bench.drop(3), bench.add(4)]
    bench.disk.syncs.release()
    list(steps)
    for ticket in waiting:
        ticket.wait()

    assert bench.found() == bench.jobs
    assert sorted(chain.from_iterable(bench.commits())) == [1, 4]


def test_groups_of_a_dropped_compaction_do_not_reach_the_next_one_again(
    bench: Bench,
) -> None:
    bench.add(1, 2, 3, 4).wait()
    bench.quiet()
    first = bench.compactor.run()
    next(first)
    bench.disk.syncs.hold()
    waiting = [bench.change(1, priority=11)]  # captured by the first, in flight
    bench.disk.syncs.wait_until_held()
    waiting.append(bench.change(2, priority=12))  # captured by the first, staged
    first.close()
    waiting.append(bench.change(3, priority=13))  # captured by none

    second = bench.compactor.run()
    next(second)
    waiting.append(bench.change(4, priority=14))  # captured by the second
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, second)
        bench.disk.syncs.release()
        rest.result(LIMIT_S)
    for ticket in waiting:
        ticket.wait()

    assert bench.epoch == 2
    assert bench.found() == bench.jobs
    assert bench.commits() == [[4]]


def test_what_is_committed_while_the_file_is_read_back_is_not_left_for_the_end(
    bench: Bench,
) -> None:
    mixed(bench)
    read = threading.Event()
    held: list[str] = []

    def fail(call: str) -> None:
        if call == "read":
            read.set()
        if threading.current_thread().name == "commit":
            held.append(call)

    bench.disk.fail = fail
    left = 4 * LAST_COMMITS
    for _ in bench.compactor.run():
        if read.is_set() and left:
            for _ in range(20):
                left -= 1
                bench.change(0, priority=left % 100 + 1).wait()
            bench.quiet()
            held.clear()

    assert bench.found() == bench.jobs
    # The last commits, three a frame, SNAP_END and its mark: no more is written while
    # others wait.
    assert held.count("write") <= LAST_COMMITS // 3 + 3
    assert held[-3:] == ["sync", "rename", "sync_folder"]


def test_it_ends_however_many_commits_are_made_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "LAST_COMMITS", 5)
    mixed(bench)

    for step, _ in enumerate(bench.compactor.run()):
        # More at each step than it writes in one, from the first to the last.
        for number in range(12):
            bench.change(0, priority=number + 1).wait()
        assert step < 200

    assert bench.epoch == 2
    assert bench.found() == bench.jobs


class Workers:
    """Threads that take jobs through their lives until they are told to stop."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(4)
        self._running = [self._pool.submit(self._work, n) for n in range(4)]

    def _work(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._stop.is_set():
            # Another thread may have taken the job, or deleted it.
            with suppress(Refused):
                self._live(chance)

    def _live(self, chance: random.Random) -> None:
        engine = self._house.engine
        new = NewJob(b"x" * chance.choice((5, 50, 2000)), chance.randint(1, 100))
        made = engine.enqueue(ME, "q1", new)
        if chance.random() < 0.4:
            engine.update(ME, "q1", made.uid, Change(content=b"changed"))
        for taken in engine.claim(ME, "q1", limit=chance.choice((0, 1, 2))):
            if chance.random() < 0.7:
                engine.update(ME, "q1", taken.uid, Change(state=State.COMPLETE))
            if chance.random() < 0.7:
                engine.delete(ME, "q1", taken.uid)

    def stop(self) -> None:
        self._stop.set()
        for each in self._running:
            each.result(LIMIT_S)


def memory(house: House) -> dict[str, Job]:
    with house.store.transaction() as tx:
        return {job.uid: job for job in tx.jobs("q1")}


@pytest.mark.parametrize("place", ["simulated", "real"])
def test_under_load_every_compaction_ends_with_what_memory_holds(
    place: str, tmp_path: Path
) -> None:
    disk = SimDisk() if place == "simulated" else OsDisk(tmp_path / "db")
    house = open_house(
        db_path=tmp_path / "db",
        secret=SECRET,
        rules=RULES,
        clock=SimClock(),
        on_failure=lambda _error: None,
        disk=disk,
        kdf=CHEAP_KDF,
    )
    workers = Workers(house)

    compactions = 0
    while compactions < 8 or house.store.rows.next_seq < 200:
        compact_once(house)
        compactions += 1
    workers.stop()

    kept = memory(house)
    house.close()
    again = open_database(disk, SECRET, kdf=CHEAP_KDF)
    assert again.why == "clean"
    assert again.tail.epoch == 1 + compactions
    assert again.rows.jobs == kept
    again.tail.file.close()


# --- Dropped, failed, or not what was written -------------------------------------


def steps_of(bench: Bench) -> int:
    return sum(1 for _ in bench.compactor.run())


def test_dropped_at_any_step_it_leaves_the_file_as_it_is() -> None:
    twin = Bench()
    mixed(twin)
    steps = steps_of(twin)
    twin.log.close()
    bench = Bench()
    mixed(bench)
    bench.quiet()
    before = bench.data

    for step in range(steps):
        run = bench.compactor.run()
        for _ in range(step):
            next(run)
        run.close()
        assert list(bench.disk.names) == ["db"]
        assert bench.data == before
        assert bench.log._capture is None

    assert steps > 15
    bench.add(50).wait()
    bench.compact()
    assert bench.found() == bench.jobs
    bench.log.close()


def calls_of_a_compaction() -> list[str]:
    """Every call that it makes to the disk, in order."""
    bench = Bench()
    mixed(bench)
    bench.quiet()
    made: list[str] = []

    def fail(call: str) -> None:
        made.append(call)

    bench.disk.fail = fail
    bench.compact()
    bench.disk.fail = lambda _call: None
    bench.log.close()
    return made


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_temporary_file_that_fails_at_any_call_harms_nobody(code: int) -> None:
    calls = calls_of_a_compaction()
    assert {"create", "write", "sync", "read"} < set(calls)
    bench = Bench()
    mixed(bench)

    for nth in range(calls.index("rename")):
        bench.quiet()
        before, left = bench.data, iter(range(nth))
        failed: list[str] = []

        def fail(
            call: str, left: Iterator[int] = left, failed: list[str] = failed
        ) -> int | None:
            if failed or next(left, None) is not None:
                return None
            failed.append(call)
            return code

        bench.disk.fail = fail
        with pytest.raises(OSError, match="as the test wants"):
            bench.compact()
        bench.disk.fail = lambda _call: None

        assert failed == [calls[nth]]
        assert bench.data == before
        assert list(bench.disk.names) == ["db"]
        bench.change(0, priority=nth % 100 + 1).wait()

    assert bench.told == []
    assert bench.found() == bench.jobs
    bench.compact()
    assert bench.found() == bench.jobs
    bench.log.close()


@pytest.mark.parametrize("call", ["rename", "sync_folder"])
def test_an_exchange_that_may_have_happened_is_the_end(call: str) -> None:
    bench = Bench()
    mixed(bench)
    bench.disk.fail = lambda name: errno.EIO if name == call else None

    with pytest.raises(StoreFailed):
        bench.compact()

    bench.disk.fail = lambda _call: None
    bench.log._thread.join(LIMIT_S)
    assert isinstance(bench.log.failure, StoreFailed)
    assert len(bench.told) == 1
    assert list(bench.disk.names) == ["db"]
    # Whichever file a restart finds, it holds all that was acknowledged.
    assert bench.found() == bench.jobs
    with pytest.raises(StoreFailed):
        bench.compact()
    bench.log.close()
    assert bench.found() == bench.jobs


def test_who_waits_while_an_exchange_fails_is_told(bench: Bench) -> None:
    mixed(bench)
    waiting: list[Group] = []

    def fail(call: str) -> int | None:
        if call == "rename":
            waiting.append(bench.change(0, priority=99))
            return errno.EIO
        return None

    bench.disk.fail = fail
    with pytest.raises(StoreFailed):
        bench.compact()

    with pytest.raises(StoreFailed):
        waiting[0].wait()


def test_an_exchange_that_waits_for_a_commit_fails_with_it(bench: Bench) -> None:
    bench.disk.syncs.hold()
    ticket = bench.add(1)
    bench.disk.syncs.wait_until_held()

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(bench.log.exchange, lambda tail: tail, lambda: None)
        while bench.log._errand is None:
            assert not waits.done()
        bench.disk.fail = lambda call: errno.EIO if call == "sync" else None
        bench.disk.syncs.release()
        with pytest.raises(StoreFailed):
            waits.result(LIMIT_S)

    with pytest.raises(StoreFailed):
        ticket.wait()


def test_commits_that_are_large_go_one_by_one_and_small_ones_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "SLICE_ROWS", 100)
    steps = bench.compactor.run()
    next(steps)
    for number in range(6):
        bench.add(number, size=10 if number < 4 else 2000).wait()

    list(steps)

    assert bench.commits() == [[0, 1, 2, 3], [4], [5]]
    assert bench.found() == bench.jobs


def test_a_store_that_has_failed_is_not_compacted(bench: Bench) -> None:
    mixed(bench)
    steps = bench.compactor.run()
    next(steps)
    bench.disk.fail = lambda call: errno.EIO if call == "sync" else None
    with pytest.raises(StoreFailed):
        bench.add(50).wait()
    bench.disk.fail = lambda _call: None

    with pytest.raises(StoreFailed):
        list(steps)

    assert bench.epoch == 1
    assert list(bench.disk.names) == ["db"]


@pytest.mark.parametrize("refusal", [False, errno.EIO])
def test_without_room_beside_the_old_file_nothing_is_begun(
    bench: Bench, refusal: int
) -> None:
    mixed(bench)
    bench.quiet()
    written: list[str] = []

    def refuse(_end: int) -> bool:
        if refusal:
            raise OSError(refusal, "as the test wants")
        return False

    bench.disk.reserve = refuse
    bench.disk.fail = lambda call: written.append(call) if call == "write" else None
    with pytest.raises(OSError, match=r"no room|as the test wants"):
        bench.compact()

    assert written == []
    assert list(bench.disk.names) == ["db"]


def test_a_new_file_without_room_for_what_is_owed_does_not_take_over(
    bench: Bench,
) -> None:
    mixed(bench)
    bench.quiet()
    steps = bench.compactor.run()
    next(steps)
    # Others have filled the disk since.
    bench.disk.reserve = lambda _end: False

    with pytest.raises(DiskFull, match="no room in the new file"):
        list(steps)

    assert bench.epoch == 1
    assert list(bench.disk.names) == ["db"]
    bench.add(50).wait()
    assert bench.found() == bench.jobs


def bends(data: bytes) -> list[int]:
    """Places in a file: both headers, zeros, and each part of two frames."""
    second = FIRST_FRAME + 84 + int.from_bytes(data[FIRST_FRAME + 8 :][:4], "big")
    parts = (0, 4, 9, 12, 17, 30, 50, 70, second - FIRST_FRAME - 1)
    return [0, 300, 2000, MARKS_AT[0], 12288, 16000] + [
        frame + part for frame in (FIRST_FRAME, second) for part in parts
    ]


def test_a_disk_that_does_not_give_back_what_was_written_is_found_out(
    bench: Bench,
) -> None:
    mixed(bench)
    bench.quiet()
    before = bench.data
    twin = Bench()
    twin.add(*range(20)).wait()
    twin.compact()
    places = bends(twin.data)
    twin.log.close()

    for place in [*places, None]:

        def fail(call: str, place: int | None = place) -> None:
            tmp = bench.disk.names.get("tmp")
            if call == "read" and tmp is not None:
                if place is None:
                    del tmp.data[-1:]
                else:
                    tmp.data[place] ^= 1
                bench.disk.fail = lambda _call: None

        bench.disk.fail = fail
        with pytest.raises(StoreCorrupt, match="does not give back"):
            bench.compact()

        assert list(bench.disk.names) == ["db"]
        assert bench.data == before

    bench.compact()
    assert bench.found() == bench.jobs


def test_frames_that_the_disk_has_swapped_are_found_out(bench: Bench) -> None:
    bench.add(*range(10, 46), size=500).wait()
    bench.quiet()

    def fail(call: str) -> None:
        if call == "read":
            data = bench.disk.names["tmp"].data
            size = 84 + int.from_bytes(data[FIRST_FRAME + 8 :][:4], "big")
            first = data[FIRST_FRAME:][:size]
            second = data[FIRST_FRAME + size :][:size]
            assert second[:4] == first[:4] == b"JEF1"
            data[FIRST_FRAME : FIRST_FRAME + 2 * size] = second + first
            bench.disk.fail = lambda _call: None

    bench.disk.fail = fail
    with pytest.raises(StoreCorrupt, match="does not give back"):
        bench.compact()


# --- When it is worth it ----------------------------------------------------------


def test_the_file_stays_below_2_2_times_what_lives_in_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "COMPACT_MIN_BYTES", 100_000)
    chance = random.Random(3)
    bench.add(*range(300), size=200).wait()
    written = compactions = 0

    while written < 20 * 100_000:
        old = bench.jobs[f"{chance.randrange(300):036d}"]
        end = bench.log.end
        bench.stage((old, replace(old, content=chance.randbytes(200)))).wait()
        written += bench.log.end - end
        if bench.compactor.due():
            bench.compact()
            compactions += 1

    live = sum(len(each.content) + 170 for each in bench.jobs.values())
    assert compactions >= 5
    assert len(bench.data) <= 2.2 * live + FIRST_FRAME
    assert bench.found() == bench.jobs


def test_long_names_are_no_reason_to_compact_again_and_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "COMPACT_MIN_BYTES", 20_000)
    lease = Lease("t" * 36, "h" * 255, 5000, 1000)
    taken = [
        job(n, queue="q" * 255, state=State.INPROGRESS, lease=lease, attempt=1)
        for n in range(200)
    ]
    for each in taken:
        bench.stage((None, each)).wait()

    bench.compact()

    assert len(bench.data) > 20_000
    assert not bench.compactor.due()
    bench.log.close()
    assert opened(bench.disk).why == "clean"


def test_a_log_of_which_most_is_dead_is_worth_it_and_a_small_one_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(1, size=50_000).wait()
    bench.drop(1).wait()
    assert not bench.compactor.due()

    monkeypatch.setattr(compact, "COMPACT_MIN_BYTES", 20_000)

    assert bench.compactor.due()
    bench.compact()
    assert not bench.compactor.due()


ANSWERS = [Answer(f"{n:032d}", 1, None, b"d", 201, (), bytes(500)) for n in range(200)]
TOLD = [
    job(n, state=State.COMPLETE, keep_until=1 << 50, result=bytes(5000))
    for n in range(20)
]


@pytest.mark.parametrize("rows", [ANSWERS, TOLD], ids=("answers", "results"))
def test_what_is_remembered_is_not_dead(
    rows: list[Record | Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else such a file would be rewritten again and again."""
    monkeypatch.setattr(compact, "COMPACT_MIN_BYTES", 20_000)
    disk = SimDisk()
    house = sim_house(RULES, disk=disk)
    for row in rows:
        with house.store.transaction() as tx:
            if isinstance(row, Job):
                tx.add(row)
            else:
                tx.put_record(row)

    assert house.compactor is not None
    assert not house.compactor.due()
    house.close()
    assert opened(disk).why == "clean"


# --- A real disk ------------------------------------------------------------------


def real(path: Path) -> House:
    return open_house(
        db_path=path,
        secret=SECRET,
        rules=RULES,
        clock=SimClock(),
        on_failure=lambda _error: None,
        kdf=CHEAP_KDF,
    )


def compact_once(house: House) -> None:
    assert house.compactor is not None
    for _ in house.compactor.run():
        pass


def test_the_new_file_has_the_owner_and_the_mode_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "db"
    house = real(path)
    owner = (12345, 54321) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(path, *owner)
    path.chmod(0o640)

    compact_once(house)

    there = path.stat()
    assert (there.st_uid, there.st_gid) == owner
    assert there.st_mode & 0o777 == 0o640
    house.close()


def test_a_file_whose_owner_cannot_be_kept_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: OsFile, _path: Path) -> None:
        raise PermissionError(errno.EPERM, "not ours to give away")

    path = tmp_path / "db"
    real(path).close()
    before = path.read_bytes()
    descriptors = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(OsFile, "look_like", refuse)
    disk = OsDisk(path)
    held = disk.open()
    assert held is not None

    with pytest.raises(PermissionError):
        disk.create_temporary()

    held.close()
    assert os.listdir(tmp_path) == ["db"]
    assert path.read_bytes() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_the_old_files_descriptor_and_room_are_given_back(tmp_path: Path) -> None:
    house = real(tmp_path / "db")
    house.engine.enqueue(ME, "q1", NewJob(b"{}"))
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(3):
        compact_once(house)

    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path) == ["db"]
    kept = memory(house)
    house.close()
    again = open_database(OsDisk(tmp_path / "db"), SECRET, kdf=CHEAP_KDF)
    assert rows(again.rows) == (kept, {})
    again.tail.file.close()
