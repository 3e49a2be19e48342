"""The laws, kept by a store whose commits are the turns of one thread; and the turns.

`own`: the test's thread ends a turn after each of its transactions, as an event loop
does. `others`: another thread does, and the test waits for it like any other.
"""

import errno
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import TracebackType

import pytest
from drafts import job
from key_laws import KeyLaws
from laws import KEPT, Laws, in_threads, keep, kept

from jobengine.build import House
from jobengine.core.queues import MadeQueue
from jobengine.errors import StoreFailed
from jobengine.store.memory import MemoryStore
from jobengine.store.port import Committer, Store, Transaction
from jobengine.testing import SimClock, SimDisk, sim_house


class EndsTurns:
    """A transaction, and the end of its turn with it."""

    def __init__(self, inner: Transaction, commit: Callable[[], object]) -> None:
        self._inner, self._commit = inner, commit

    def __enter__(self) -> Transaction:
        return self._inner.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inner.__exit__(kind, error, trace)
        self._commit()


class OwnTurns:
    """The store as the thread sees it that commits by turns."""

    def __init__(self, store: MemoryStore, committer: Committer) -> None:
        self._store, self._committer = store, committer
        self._thread = threading.get_ident()
        self.failure = None
        # An alarm may sound within a turn, which has the store's lock.
        self.next_due = store.rows.next_due
        self.set_alarm = store.set_alarm
        self.set_bell = store.set_bell

    def transaction(self) -> Transaction:
        if threading.get_ident() != self._thread:
            return self._store.transaction()
        return EndsTurns(  # type: ignore[return-value]
            self._store.transaction(), self._committer.commit
        )


class TurnPlace:
    """A store on a simulated disk whose turns the test's thread ends. `again` is a
    crash."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.disk = SimDisk()
        self.failures: list[BaseException] = []
        self.woken = 0
        self._houses: list[House] = []
        self._open()

    def again(self) -> Store:
        self.disk = self.disk.clone()
        return self._open()

    def meanwhile(self) -> None:
        self.committer.commit()

    def close(self) -> None:
        self.disk.syncs.release()
        for house in self._houses:
            house.close()

    def _open(self) -> Store:
        house = sim_house(KEPT, self.clock, self.disk, on_failure=self.failures.append)
        self._houses.append(house)
        self.inner = house.store
        self.committer = house.store.take_turns(self._wake)
        self.store: Store = OwnTurns(house.store, self.committer)  # type: ignore[assignment]
        return self.store

    def _wake(self) -> None:
        self.woken += 1


class OthersPlace(TurnPlace):
    """The same, with the turns ended by a thread of their own."""

    def __init__(self) -> None:
        self._loops: list[tuple[SimpleQueue[bool], threading.Thread]] = []
        super().__init__()

    def meanwhile(self) -> None: ...

    def close(self) -> None:
        for bell, thread in self._loops:
            bell.put(False)
            thread.join()
        super().close()

    def _open(self) -> Store:
        house = sim_house(KEPT, self.clock, self.disk, on_failure=self.failures.append)
        self._houses.append(house)
        bell: SimpleQueue[bool] = SimpleQueue()
        ready = threading.Event()

        def loop() -> None:
            committer = house.store.take_turns(lambda: bell.put(True))
            ready.set()
            committer.commit()
            while bell.get():
                committer.commit()

        thread = threading.Thread(target=loop, name="turns")
        thread.start()
        self._loops.append((bell, thread))
        assert ready.wait(10)
        self.inner = self.store = house.store
        return self.store


@pytest.fixture(params=[TurnPlace, OthersPlace], ids=["own", "others"])
def place(request: pytest.FixtureRequest) -> Iterator[TurnPlace]:
    made = request.param()
    yield made
    made.close()


class TestTurns(Laws, KeyLaws):
    """With a crash wherever a law speaks of the next start."""


@pytest.fixture
def turns() -> Iterator[TurnPlace]:
    made = TurnPlace()
    yield made
    made.close()


def syncs(place: TurnPlace) -> list[str]:
    """The syncs of the disk, from now on."""
    calls: list[str] = []

    def note(call: str) -> None:
        if call == "sync":
            calls.append(call)

    place.disk.fail = note  # type: ignore[assignment]
    return calls


def test_a_turn_is_one_sync_whatever_was_done_in_it(turns: TurnPlace) -> None:
    calls = syncs(turns)

    for number in range(100):
        keep(turns.inner, job(number))
    staged = len(calls)
    turns.committer.commit()

    assert (staged, len(calls)) == (0, 1)
    assert len(kept(turns.again())) == 100


def test_what_its_turn_has_not_ended_is_not_there_at_the_next_start(
    turns: TurnPlace,
) -> None:
    keep(turns.inner, job(1))
    turns.committer.commit()
    keep(turns.inner, job(2))

    assert kept(turns.inner) == [job(1), job(2)]
    assert kept(turns.again()) == [job(1)]


def test_the_thread_of_the_turns_is_told_that_it_has_work(
    turns: TurnPlace,
) -> None:
    turns.committer.commit()
    turns.woken = 0

    for number in range(5):
        keep(turns.inner, job(number))
    told = turns.woken
    turns.committer.commit()
    keep(turns.inner, job(9))

    assert told == 1  # a turn has but one end
    assert turns.woken > told


def test_another_thread_waits_until_the_turn_has_ended(turns: TurnPlace) -> None:
    done = threading.Event()

    def other() -> None:
        keep(turns.inner, job(1))
        done.set()

    thread = threading.Thread(target=other)
    turns.committer.commit()
    turns.woken = 0
    thread.start()
    while not turns.woken:
        thread.join(0.001)
    early = done.wait(0.05)
    turns.committer.commit()
    thread.join(10)

    assert (early, done.is_set()) == (False, True)


def test_a_reader_in_another_thread_waits_for_what_it_has_seen(
    turns: TurnPlace,
) -> None:
    keep(turns.inner, job(1))
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(kept(turns.inner)))
    thread.start()
    thread.join(0.05)
    early = list(seen)

    turns.committer.commit()
    thread.join(10)

    assert (early, seen) == ([], [[job(1)]])


def test_a_large_turn_is_kept_whole_in_more_than_one_frame(turns: TurnPlace) -> None:
    jobs = [job(number, content=bytes(100_000)) for number in range(40)]
    calls = syncs(turns)
    for one in jobs:
        keep(turns.inner, one)

    turns.committer.commit()

    assert 1 < len(calls) < 10
    assert kept(turns.again()) == jobs


def test_a_turn_of_large_records_is_kept_whole_too(turns: TurnPlace) -> None:
    services = tuple(f"{number:0255d}" for number in range(1000))

    for number in range(40):
        with turns.inner.transaction() as tx:
            tx.put_record(MadeQueue(f"q{number}", tx.now, services, services))
    turns.committer.commit()

    assert turns.inner.failure is None
    with turns.again().transaction() as tx:
        assert len(tx.records(MadeQueue)) == 40


@pytest.mark.parametrize("call", ["sync", "write"])
def test_a_failed_turn_is_not_raised_but_told_to_all(
    turns: TurnPlace, call: str
) -> None:
    keep(turns.inner, job(0))
    turns.committer.commit()
    keep(turns.inner, job(1))
    faults: list[str] = []

    def other() -> None:
        with pytest.raises(StoreFailed):
            keep(turns.inner, job(2))
        faults.append("other")

    turns.disk.fail = lambda called: errno.EIO if called == call else None
    in_threads(other, meanwhile=turns.committer.commit)

    assert faults == ["other"]
    assert turns.inner.failure is not None
    assert len(turns.failures) == 1
    with pytest.raises(StoreFailed):
        kept(turns.inner)
    turns.disk.fail = lambda _call: None
    assert kept(turns.again())[:1] == [job(0)]


def test_tending_writes_the_watermark_once(turns: TurnPlace) -> None:
    keep(turns.inner, job(1))
    rest = turns.committer.commit()
    assert rest is not None
    calls = syncs(turns)

    turns.committer.tend()
    turns.committer.tend()

    assert len(calls) == 1
    assert turns.committer.commit() is None


def test_closing_ends_the_last_turn(turns: TurnPlace) -> None:
    keep(turns.inner, job(1))

    turns.inner.close()

    assert kept(turns.again()) == [job(1)]


def test_there_is_one_who_commits(turns: TurnPlace) -> None:
    with pytest.raises(AssertionError, match="one committer"):
        turns.inner.take_turns(lambda: None)


def test_without_a_file_a_turn_has_nothing_to_end() -> None:
    store = MemoryStore(SimClock())
    committer = store.take_turns(lambda: None)

    keep(store, job(1))
    committer.tend()

    assert committer.commit() is None
    assert kept(store) == [job(1)]
