"""The committer: one frame and one sync for all who wait, and a first failure is final.

What must happen between a write and its sync is done inside the disk's own calls, in
the committer's thread: so nothing here depends on how quick a thread is.
"""

import errno
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from drafts import job, opened

from jobengine.errors import StoreFailed
from jobengine.store.journal.frame import FIRST_FRAME, MARK_BYTES, MARKS_AT, Type
from jobengine.store.journal.log import Group, Log, Tail
from jobengine.store.journal.recover import examine
from jobengine.store.port import Change
from jobengine.testing import SECRET, SimClock, SimDisk, SimInode

LIMIT_S = 10  # for what must come; a test that passes never waits so long


class Desk:
    """A log on a new database, and its tickets by the number of the job."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.clock = SimClock()
        self.told: list[BaseException] = []
        self.tail = opened(self.disk).tail
        self.lock = threading.Lock()
        self.log = Log(
            self.tail,
            self.lock,
            monotonic=self.clock.monotonic,
            on_failure=self.told.append,
        )

    def stage(self, number: int, *, size: int = 1024) -> Group:
        """Stage a new job, as a transaction does when its block is left."""
        changes: list[Change] = [(None, job(number))]
        with self.lock:
            return self.log.stage(changes, size)

    def look(self) -> Group | None:
        """What a transaction that only read does when its block is left."""
        with self.lock:
            return self.log.pending()

    def begin(self, number: int = 1) -> Group:
        """Stage a job and return when its sync is under way, and held."""
        self.disk.syncs.hold()
        ticket = self.stage(number)
        self.disk.syncs.wait_until_held()
        return ticket

    @property
    def data(self) -> bytes:
        return bytes(self.disk.names["db"].data)

    def frames(self) -> list[tuple[int, int]]:
        """Type and length of each frame after the snapshot."""
        data, at, found = self.data, FIRST_FRAME, []
        while at < len(data):
            length = int.from_bytes(data[at + 8 : at + 12], "big")
            found.append((data[at + 4], length))
            at += 84 + length
        assert found.pop(0)[0] == Type.SNAP_END
        return found

    def marked(self) -> int:
        """The number of the last frame that a mark names."""
        file = self.disk.clone().open()
        assert file is not None
        end = examine(file, SECRET)
        marks = [
            self.tail._keys.open_mark(self.data[at : at + MARK_BYTES])
            for at in MARKS_AT
        ]
        seqs = [mark.seq for mark in marks if mark is not None]
        assert max(seqs) < end.seq
        return max(seqs)

    def jobs(self) -> set[int]:
        """The jobs that the next start would find."""
        rows = opened(self.disk.clone()).rows
        return {made.seq for made in rows.jobs.values()}


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.disk.syncs.release()
    made.disk.fail = lambda _call: None
    made.log.close()


def on_sync(desk: Desk, *steps: Callable[[], int | None]) -> threading.Event:
    """Do these, one in each sync; the event is set after the last."""
    rest = iter(steps)
    done = threading.Event()

    def fail(call: str) -> int | None:
        if call != "sync":
            return None
        step = next(rest, None)
        if step is None:
            done.set()
            return None
        return step()

    desk.disk.fail = fail
    return done


# --- Group commit -----------------------------------------------------------------


def test_who_waits_together_shares_one_frame_and_one_sync(desk: Desk) -> None:
    first = desk.begin()
    others = [desk.stage(number) for number in range(2, 10)]

    desk.disk.syncs.release()
    for ticket in [first, *others]:
        ticket.wait()

    assert [type_ for type_, _ in desk.frames()] == [Type.TXN, Type.TXN]
    assert desk.jobs() == set(range(1, 10))


def test_a_group_is_closed_before_it_keeps_anybody_waiting_for_long(
    desk: Desk,
) -> None:
    tickets = [desk.begin()]
    for number in range(2, 8):
        tickets.append(desk.stage(number, size=400_000))

    desk.disk.syncs.release()
    for ticket in tickets:
        ticket.wait()

    assert len(desk.frames()) == 1 + 3


def test_one_transaction_larger_than_a_group_is_a_group_of_its_own(
    desk: Desk,
) -> None:
    tickets = [desk.begin(), desk.stage(2), desk.stage(3, size=5 << 20), desk.stage(4)]

    desk.disk.syncs.release()
    for ticket in tickets:
        ticket.wait()

    assert len(desk.frames()) == 4


def test_a_look_waits_for_all_that_was_staged_when_it_looked(desk: Desk) -> None:
    desk.begin()
    during = desk.look()
    desk.stage(2)
    later = desk.look()
    assert during is not None
    assert later is not None
    assert during is not later

    desk.disk.syncs.release()
    later.wait()

    assert desk.jobs() == {1, 2}
    during.wait()
    assert desk.look() is None


# --- Failures ---------------------------------------------------------------------


@pytest.mark.parametrize("call", ["write", "sync"])
def test_after_a_failure_nobody_is_told_yes_again(desk: Desk, call: str) -> None:
    desk.stage(0).wait()
    first = desk.begin()
    waiting = [desk.stage(2), desk.look(), desk.stage(3, size=1 << 20), desk.look()]
    desk.disk.fail = lambda name: errno.EIO if name == call else None

    desk.disk.syncs.release()
    if call == "sync":
        waiting.append(first)
    for ticket in waiting:
        assert ticket is not None
        with pytest.raises(StoreFailed, match="until the daemon has been started"):
            ticket.wait()

    desk.disk.fail = lambda _call: None
    # The store asks before it lets a transaction begin.
    with pytest.raises(AssertionError):
        desk.stage(4)
    desk.log.close()
    assert isinstance(desk.log.failure, StoreFailed)
    assert [type(error) for error in desk.told] == [OSError]
    assert desk.jobs() >= {0}
    assert Type.CLOSE not in dict(desk.frames())


def test_a_fault_of_ours_keeps_nobody_waiting_for_ever(desk: Desk) -> None:
    changes: list[Change] = [(None, object())]  # type: ignore[list-item]
    with desk.lock:
        ticket = desk.log.stage(changes, 1)

    with pytest.raises(StoreFailed):
        ticket.wait()

    assert [type(error) for error in desk.told] == [KeyError]


def test_a_failed_sync_is_not_tried_again(desk: Desk) -> None:
    syncs = iter([errno.EIO])
    desk.disk.fail = lambda call: next(syncs, None) if call == "sync" else None

    with pytest.raises(StoreFailed):
        desk.stage(1).wait()
    desk.log.close()

    assert Type.CLOSE not in dict(desk.frames())


def test_a_close_that_fails_is_told(desk: Desk) -> None:
    desk.disk.fail = lambda call: errno.EIO if call == "sync" else None

    desk.log.close()

    assert isinstance(desk.log.failure, StoreFailed)
    assert len(desk.told) == 1
    assert desk.disk.names["db"].locked is False


# --- Watermarks -------------------------------------------------------------------


def test_under_load_a_mark_rides_with_a_frame_every_tenth_of_a_second(
    desk: Desk,
) -> None:
    seen: list[int] = []

    def step(number: int) -> Callable[[], None]:
        def in_sync() -> None:
            seen.append(desk.marked())
            desk.clock.advance(ms=40)
            desk.stage(number)

        return in_sync

    # The next transaction is there before the last is durable: never an idle moment.
    done = on_sync(desk, *map(step, range(2, 10)))
    desk.stage(1)
    assert done.wait(LIMIT_S)

    # Frame 0 is the end of the snapshot; commit n is frame n, 40 ms after the one
    # before. At 120 ms frame 4 takes a mark of frame 3 along, at 240 ms frame 7.
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6]


def test_every_frame_has_its_own_sync_before_the_next_and_a_mark_has_none(
    desk: Desk,
) -> None:
    frames: list[int] = []

    def step(number: int) -> Callable[[], None]:
        def in_sync() -> None:
            frames.append(len(desk.frames()))
            desk.clock.advance(seconds=1)  # each next frame takes a mark along
            desk.stage(number)

        return in_sync

    done = on_sync(desk, *map(step, range(2, 6)))
    desk.stage(1)
    assert done.wait(LIMIT_S)

    assert frames == [1, 2, 3, 4]


def test_when_no_commit_follows_the_last_is_marked_with_a_sync_of_its_own(
    desk: Desk,
) -> None:
    done = on_sync(desk, lambda: None)

    desk.stage(1).wait()
    assert done.wait(LIMIT_S)

    assert desk.marked() == 1
    assert len(desk.frames()) == 1


def test_marks_take_turns_so_that_a_torn_one_leaves_the_other(desk: Desk) -> None:
    for number in (1, 2):
        before = desk.data
        done = on_sync(desk, lambda: None)
        desk.stage(number).wait()
        assert done.wait(LIMIT_S)
        slots = [
            desk.data[at : at + MARK_BYTES] != before[at : at + MARK_BYTES]
            for at in MARKS_AT
        ]
        # The snapshot was marked in the first slot.
        assert slots == [number == 2, number == 1]


@pytest.mark.parametrize("bend", ["replaced", "unlinked", "grown", "cut"])
def test_nothing_is_acknowledged_into_a_file_that_is_not_the_database(
    desk: Desk, bend: str
) -> None:
    desk.stage(1).wait()
    inode = desk.disk.names["db"]
    if bend == "replaced":
        desk.disk.names["db"] = SimInode(bytes(inode.data))
    elif bend == "unlinked":
        del desk.disk.names["db"]
    elif bend == "grown":
        inode.data += b"more"
    else:
        del inode.data[-1:]
    desk.clock.advance(seconds=1)

    def commit_and_mark() -> None:
        for number in (2, 3):
            desk.stage(number).wait()

    with pytest.raises(StoreFailed):
        commit_and_mark()
    assert [str(error) for error in desk.told] == [
        "the database file was replaced or changed under the daemon"
    ]


# --- The exchange of files --------------------------------------------------------


def not_now(_tail: Tail) -> Tail:
    """The first half of an exchange that fails, as one on a full disk does."""
    raise OSError(errno.ENOSPC, "no room")


def test_an_exchange_waits_for_the_commits_that_its_copy_already_holds(
    desk: Desk,
) -> None:
    desk.begin()
    desk.stage(2)
    with desk.lock:
        captured = desk.log.capture()
    desk.stage(3)
    seen: list[int] = []

    def prepare(tail: Tail) -> Tail:
        seen.append(tail.last_seq)
        return not_now(tail)

    with ThreadPoolExecutor(1) as pool:
        exchange = pool.submit(desk.log.exchange, prepare, lambda: None)
        while desk.log._errand is None:
            assert not exchange.done()
        desk.disk.syncs.release()
        with pytest.raises(OSError, match="no room"):
            exchange.result(LIMIT_S)

    # Job 2 was copied before it was durable: its frame belongs to the old file alone.
    assert seen == [2]
    pending = desk.look()
    if pending is not None:
        pending.wait()
    assert [[new.seq for _, new in changes] for changes in captured] == [[3]]


def test_an_exchange_does_not_overwrite_what_somebody_put_in_our_place(
    desk: Desk,
) -> None:
    desk.disk.names["db"] = SimInode(b"a backup, put back under a running daemon")
    published: list[None] = []

    with pytest.raises(OSError, match="replaced or changed"):
        desk.log.exchange(lambda tail: tail, lambda: published.append(None))

    assert not published


def test_an_exchange_that_fails_before_the_rename_changes_nothing(desk: Desk) -> None:
    with pytest.raises(OSError, match="no room"):
        desk.log.exchange(not_now, lambda: None)

    desk.stage(1).wait()
    assert desk.jobs() == {1}
    assert desk.told == []


# --- The stop ---------------------------------------------------------------------


def test_a_stop_commits_what_waits_and_names_its_close_with_a_mark(
    desk: Desk,
) -> None:
    desk.begin()
    desk.stage(2)
    stop = threading.Thread(target=desk.log.close)
    stop.start()

    desk.disk.syncs.release()
    stop.join(LIMIT_S)

    again = opened(desk.disk)
    assert again.why == "clean"
    assert len(again.rows.jobs) == 2


def test_a_stop_syncs_its_close_before_the_mark_that_names_it(desk: Desk) -> None:
    calls: list[str] = []

    def fail(call: str) -> None:
        calls.append(call)

    desk.disk.fail = fail

    desk.log.close()

    assert calls == ["write", "sync", "write", "sync"]


def test_a_second_stop_does_nothing(desk: Desk) -> None:
    desk.log.close()
    data = desk.data

    desk.log.close()

    assert desk.data == data


def test_a_store_that_has_been_closed_refuses(desk: Desk) -> None:
    desk.log.close()

    assert isinstance(desk.log.failure, StoreFailed)
