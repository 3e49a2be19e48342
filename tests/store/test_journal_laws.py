"""The laws, kept by the store on a sealed file, and those only a disk can break."""

import errno
import threading
from collections.abc import Callable, Iterator

import pytest
from drafts import job
from key_laws import KeyLaws
from laws import KEPT, Laws, Oops, failing, keep, kept

from jobengine.build import House
from jobengine.errors import DuplicateJob, StoreFailed
from jobengine.store.memory import MemoryStore
from jobengine.testing import SimClock, SimDisk, sim_house


class JournalPlace:
    """A store on a simulated disk. `again` is a crash, or a stop where *clean*."""

    def __init__(self, *, clean: bool) -> None:
        self.clock = SimClock()
        self.disk = SimDisk()
        self.failures: list[BaseException] = []
        self._clean = clean
        self._houses: list[House] = []
        self._open()

    def again(self) -> MemoryStore:
        if self._clean:
            self._houses[-1].close()
        self.disk = self.disk.clone()
        return self._open()

    def meanwhile(self) -> None: ...

    def close(self) -> None:
        self.disk.syncs.release()
        for house in self._houses:
            house.close()

    def _open(self) -> MemoryStore:
        house = sim_house(KEPT, self.clock, self.disk, on_failure=self.failures.append)
        self._houses.append(house)
        self.store = house.store
        return self.store


@pytest.fixture(params=["crash", "stop"])
def place(request: pytest.FixtureRequest) -> Iterator[JournalPlace]:
    made = JournalPlace(clean=request.param == "stop")
    yield made
    made.close()


class TestJournal(Laws, KeyLaws):
    """With a crash, and with a stop, wherever a law speaks of the next start."""


class Asked:
    """A caller in a thread of its own, and what it is told in the end."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self.told: object = None
        self._ask = ask
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def waits(self) -> bool:
        self._thread.join(0.02)
        return self._thread.is_alive()

    def answer(self) -> object:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.told

    def _run(self) -> None:
        try:
            self.told = self._ask()
        except Exception as error:  # noqa: BLE001 it is the answer
            self.told = error


def refused_in(store: MemoryStore) -> None:
    with failing(store):
        pass


def held_answers(place: JournalPlace) -> dict[str, Asked]:
    """One of each kind of answer, asked while a sync is under way."""
    place.disk.syncs.hold()
    first = Asked(lambda: keep(place.store, job(1)))
    place.disk.syncs.wait_until_held()
    return {
        "first change": first,
        "second change": Asked(lambda: keep(place.store, job(2))),
        "read": Asked(lambda: kept(place.store)),
        "duplicate": Asked(lambda: keep(place.store, job(1))),
        "left by exception": Asked(lambda: refused_in(place.store)),
    }


def test_no_answer_leaves_before_what_it_shows_is_durable(
    place: JournalPlace,
) -> None:
    asked = held_answers(place)
    assert all(one.waits() for one in asked.values())

    place.disk.syncs.release()

    answers = {kind: one.answer() for kind, one in asked.items()}
    assert answers["first change"] is None
    assert answers["second change"] is None
    assert job(1) in answers["read"]  # type: ignore[operator]
    assert isinstance(answers["duplicate"], DuplicateJob)
    assert answers["left by exception"] is None
    assert kept(place.again()) == [job(1), job(2)]


@pytest.mark.parametrize("call", ["sync", "write"])
def test_after_a_failed_commit_nothing_is_acknowledged_again(
    place: JournalPlace, call: str
) -> None:
    keep(place.store, job(0))
    asked = held_answers(place)
    assert all(one.waits() for one in asked.values())

    place.disk.fail = lambda called: errno.EIO if called == call else None
    place.disk.syncs.release()
    answers = [one.answer() for kind, one in asked.items() if kind != "first change"]

    # The first write was done before its disk failed, so it may say either.
    first = asked["first change"].answer()
    assert first is None if call == "write" else isinstance(first, StoreFailed)
    refused = [answer for answer in answers if isinstance(answer, StoreFailed)]
    assert refused if call == "write" else len(refused) == len(answers)
    place.disk.fail = lambda _call: None
    for ask in (lambda: kept(place.store), lambda: keep(place.store, job(9))):
        with pytest.raises(StoreFailed, match="until the daemon has been started"):
            ask()
    assert place.store.failure is not None
    assert len(place.failures) == 1


def test_what_was_acknowledged_before_a_failed_commit_is_there_at_the_next_start(
    place: JournalPlace,
) -> None:
    keep(place.store, job(0))
    place.disk.fail = lambda called: errno.EIO if called == "write" else None
    with pytest.raises(StoreFailed):
        keep(place.store, job(1))
    place.disk.fail = lambda _call: None

    assert kept(place.again()) == [job(0)]


def test_a_read_in_a_block_that_fails_shows_nothing_either(
    place: JournalPlace,
) -> None:
    place.disk.syncs.hold()
    first = Asked(lambda: keep(place.store, job(1)))
    place.disk.syncs.wait_until_held()
    place.disk.fail = lambda called: errno.EIO if called == "sync" else None

    def read_and_fail() -> None:
        with place.store.transaction() as tx:
            assert tx.jobs("q1") == [job(1)]
            raise Oops

    second = Asked(read_and_fail)
    assert second.waits()
    place.disk.syncs.release()

    assert isinstance(first.answer(), StoreFailed)
    assert isinstance(second.answer(), StoreFailed)
