"""What is never in the file: jobs that live in memory only, and what is buried."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from drafts import frames, job, opened
from laws import KEPT, held, keep, kept
from msgspec.structs import replace

from jobengine.build import House
from jobengine.core.job import Job, State, Terms
from jobengine.store.journal import compact
from jobengine.store.journal.frame import Type
from jobengine.store.memory import MemoryStore
from jobengine.store.port import Change
from jobengine.testing import SimClock, SimDisk, sim_house

UNTIL = 1 << 50
SECRETIVE = b'"nobody will find this"'


def brief(number: int, **fields: object) -> Job:
    return job(number, terms=Terms(durable=False), content=SECRETIVE, **fields)


def ended(one: Job) -> Job:
    return replace(
        one, state=State.COMPLETE, lease=None, finished_at=1, keep_until=UNTIL
    )


class Site:
    """A house whose commits the test makes, and all that it asks of its disk."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.calls: list[str] = []
        self.house = sim_house(KEPT, SimClock(), self.disk)
        self.store = self.house.store
        self.committer = self.store.take_turns(lambda: None)
        self.committer.tend()
        self.disk.fail = self.calls.append  # type: ignore[assignment]

    def do(self, *changes: Change) -> None:
        """Make these changes in one block, and commit it."""
        with self.store.transaction() as tx:
            for old, new in changes:
                if isinstance(new, Job):
                    tx.add(new) if old is None else tx.put(new)
                elif isinstance(old, Job):
                    tx.drop(old)
        self.committer.commit()

    def plaintext(self) -> bytes:
        """All that the file says."""
        return b"".join(body for _, body in frames(bytes(self.disk.names["db"].data)))

    def commits(self) -> int:
        data = bytes(self.disk.names["db"].data)
        return sum(type_ == Type.TXN for type_, _ in frames(data))

    def found(self) -> list[Job]:
        """The jobs that the next start would find."""
        return list(opened(self.disk.clone()).rows.jobs.values())


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.disk.fail = lambda _call: None
    made.house.close()


def test_no_frame_and_no_sync_is_made_of_what_is_in_memory_only(site: Site) -> None:
    one = brief(1)

    site.do((None, one), (None, brief(2)))
    site.do((one, held(one, UNTIL)))
    site.do((held(one, UNTIL), ended(one)))
    site.do((ended(one), None))

    assert site.calls == []
    assert site.commits() == 0
    assert kept(site.store) == [brief(2)]


def test_whoever_waits_for_it_waits_for_what_he_has_seen_and_no_more(
    site: Site,
) -> None:
    with site.store.transaction() as tx:
        tx.add(job(1))
    seen = tx.ticket
    site.committer.commit()
    with site.store.transaction() as tx:
        tx.add(brief(2))
    own = tx.ticket
    site.committer.commit()

    assert seen is not None
    assert own is not None
    # It names the last frame there is: that one was durable before this was told.
    assert own.commit == seen.commit


def test_of_a_mixed_block_the_file_has_what_is_durable(site: Site) -> None:
    one, two = brief(1), job(2)

    site.do((None, one), (None, two), (None, brief(3)))
    site.do((one, held(one, UNTIL)), (two, held(two, UNTIL)))
    site.do((held(one, UNTIL), None))

    assert site.commits() == 2
    assert SECRETIVE not in site.plaintext()
    assert one.uid.encode() not in site.plaintext()
    assert site.found() == [held(two, UNTIL)]


def test_what_becomes_durable_brings_its_payload(site: Site) -> None:
    one = brief(1)
    lasting = replace(one, terms=Terms())

    site.do((None, one))
    assert SECRETIVE not in site.plaintext()
    site.do((one, lasting))
    site.do((lasting, taken := held(lasting, UNTIL)))

    assert site.plaintext().count(SECRETIVE) == 1
    assert site.found() == [taken]


# --- compaction -------------------------------------------------------------------


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """One whose compaction of a few jobs takes many steps."""
    monkeypatch.setattr(compact, "SLICE_ROWS", 2)
    monkeypatch.setattr(compact, "SNAP_BYTES", 300)
    disk = SimDisk()
    made = sim_house(KEPT, SimClock(), disk)
    made.store.disk = disk  # type: ignore[attr-defined]
    yield made
    made.close()


def put(store: MemoryStore, *jobs: Job) -> None:
    with store.transaction() as tx:
        tx.put(*jobs)


@pytest.mark.parametrize("lasting", [False, True])
def test_a_compaction_leaves_them_out_and_counts_without_them(
    house: House, lasting: bool
) -> None:
    disk: SimDisk = house.store.disk  # type: ignore[attr-defined]
    store, compactor = house.store, house.compactor
    assert compactor is not None
    keep(store, *[brief(n) for n in range(9)])
    durable = [job(n) for n in range(10, 13)] if lasting else []
    keep(store, *durable)

    for step, _ in enumerate(compactor.run()):
        # What is committed meanwhile follows: a block of each kind, and a mixed one.
        if step == 0:
            put(store, held(brief(0), UNTIL))
            keep(store, brief(20), *[job(21)] * lasting)
            with store.transaction() as tx:
                tx.drop(brief(1))
            put(store, replace(brief(2), terms=Terms()))

    data = bytes(disk.names["db"].data)
    assert data.count(b"JEF1") == len(list(frames(data)))
    expected = [replace(brief(2), terms=Terms()), *durable, *[job(21)] * lasting]
    found = opened(disk.clone()).rows.jobs
    assert sorted(found.values(), key=lambda one: one.seq) == expected
    assert len(kept(store)) == 9 + len(durable) + lasting
    assert b"".join(body for _, body in frames(data)).count(SECRETIVE) == 1


def test_large_rows_are_written_in_frames_of_their_own(house: House) -> None:
    disk: SimDisk = house.store.disk  # type: ignore[attr-defined]
    assert house.compactor is not None
    jobs = [job(n, progress=b"x" * 400) for n in range(5)]
    keep(house.store, *jobs)

    list(house.compactor.run())

    sizes = [
        len(body)
        for type_, body in frames(bytes(disk.names["db"].data))
        if type_ == Type.SNAP
    ]
    assert len(sizes) == 5
    assert max(sizes) < 700
    assert list(opened(disk.clone()).rows.jobs.values()) == jobs


# --- buried -----------------------------------------------------------------------


def test_of_what_is_buried_the_file_has_a_tombstone_alone(site: Site) -> None:
    one = held(job(1), UNTIL)
    site.do((None, one))
    before = len(site.plaintext())

    with site.store.transaction() as tx:
        tx.bury(replace(ended(one), content=b'"never written"'))
    site.committer.commit()

    assert len(site.plaintext()) - before == 5 + len(one.uid)
    assert site.plaintext().endswith(one.uid.encode())
    assert site.found() == kept(site.store) == []


def test_the_burial_of_what_is_in_memory_only_leaves_nothing(site: Site) -> None:
    site.do((None, one := brief(1)))

    with site.store.transaction() as tx:
        tx.bury(ended(one))
    site.committer.commit()

    assert site.calls == []
    assert kept(site.store) == []


@pytest.mark.parametrize("one", [job(1), brief(1)])
@pytest.mark.parametrize("in_memory", [False, True])
def test_who_listens_is_told_what_became_of_it_and_then_that_it_is_gone(
    one: Job, in_memory: bool
) -> None:
    told: list[Change] = []
    house = None if in_memory else sim_house(KEPT, SimClock(), SimDisk())
    store = MemoryStore(SimClock()) if house is None else house.store
    store.listen(lambda changes, *_: told.extend(changes))
    keep(store, one)

    with store.transaction() as tx:
        tx.bury(ended(one))
    store.close()

    assert told == [(None, one), (one, ended(one)), (ended(one), None)]
    assert all(a[1] is b[0] for a, b in pairwise(told[1:]))
