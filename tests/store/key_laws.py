"""The laws of keys, of what is buried, and of what is in memory only: see laws.py."""

from collections.abc import Callable

import pytest
from drafts import job
from laws import Place, failing, held, keep, kept, now_and_again
from msgspec.structs import replace

from jobengine.core.job import Job, Keys, State, Terms
from jobengine.core.past import Past, Run
from jobengine.errors import DuplicateJob, TransactionTooLarge
from jobengine.store.port import Store

UNTIL = 1 << 50
MEMORY_ONLY = Terms(durable=False)


def keyed(number: int, key: str | None = "k", print_: str | None = "f") -> Job:
    return job(number, keys=Keys(key, print_))


def done(one: Job, state: State = State.COMPLETE) -> Job:
    return replace(
        one, state=state, lease=None, finished_at=1, keep_until=UNTIL, updated_at=1
    )


def found(store: Store, key: str = "k", queue: str = "q1") -> Job | None:
    with store.transaction() as tx:
        return tx.find(queue, key)


def group(store: Store, limit: int = 9, queue: str = "q1") -> list[Job]:
    with store.transaction() as tx:
        return tx.group(queue, "f", limit)


def put(store: Store, *jobs: Job) -> None:
    with store.transaction() as tx:
        tx.put(*jobs)


def drop(store: Store, one: Job) -> None:
    with store.transaction() as tx:
        tx.drop(one)


def bury(store: Store, one: Job) -> None:
    with store.transaction() as tx:
        tx.bury(done(one))


ENDS: dict[str, Callable[[Store, Job], None]] = {
    "complete": lambda store, one: put(store, done(one)),
    "failed": lambda store, one: put(store, done(one, State.FAILED)),
    "cancelled": lambda store, one: put(store, done(one, State.CANCELLED)),
    "buried": bury,
    "dropped": drop,
}


class KeyLaws:
    # --- keys ---------------------------------------------------------------------

    def test_a_live_job_is_found_by_its_keys(self, place: Place) -> None:
        one, two = keyed(1), keyed(2, key="other")
        keep(place.store, one, two, job(3), keyed(4, key=None, print_=None))
        keep(place.store, replace(keyed(5), queue="q2"))
        put(place.store, taken := held(two, UNTIL))

        for store in now_and_again(place):
            assert found(store) == one
            assert found(store, "other") == taken
            assert sorted(group(store), key=lambda one: one.seq) == [one, taken]
            assert len(group(store, limit=1)) == 1
            assert group(store, limit=0) == []
            assert found(store, "none") is found(store, queue="none") is None
            assert group(store, queue="none") == []

    @pytest.mark.parametrize("end", ENDS)
    @pytest.mark.parametrize("taken", [False, True])
    def test_a_job_that_has_ended_is_found_by_its_keys_no_more(
        self, place: Place, end: str, taken: bool
    ) -> None:
        keep(place.store, one := keyed(1))
        if taken:
            put(place.store, one := held(one, UNTIL))

        ENDS[end](place.store, one)

        for store in now_and_again(place):
            assert found(store) is None
            assert group(store) == []

    @pytest.mark.parametrize("state", [State.QUEUED, State.INPROGRESS])
    def test_a_job_that_is_opened_again_is_found_again(
        self, place: Place, state: State
    ) -> None:
        keep(place.store, one := keyed(1))
        put(place.store, done(one))

        back = one if state is State.QUEUED else held(one, UNTIL)
        put(place.store, back)

        for store in now_and_again(place):
            assert found(store) == back
            assert group(store) == [back]

    def test_a_job_with_other_keys_is_found_by_those(self, place: Place) -> None:
        keep(place.store, keyed(1))

        put(place.store, other := keyed(1, key="other", print_=None))

        for store in now_and_again(place):
            assert found(store, "other") == other
            assert found(store) is None
            assert group(store) == []

    @pytest.mark.parametrize("end", ENDS)
    def test_a_block_left_by_exception_leaves_the_keys_as_they_were(
        self, place: Place, end: str
    ) -> None:
        keep(place.store, one := keyed(1), gone := done(keyed(2)))

        with failing(place.store) as tx:
            {
                "complete": lambda: tx.put(done(one)),
                "failed": lambda: tx.put(done(one, State.FAILED)),
                "cancelled": lambda: tx.put(done(one, State.CANCELLED)),
                "buried": lambda: tx.bury(done(one)),
                "dropped": lambda: tx.drop(one),
            }[end]()
            # Its key is free, and is given to two others in turn.
            tx.put(held(gone, UNTIL))
            tx.drop(gone)
            tx.add(keyed(3))
            assert tx.find("q1", "k") == keyed(3)

        for store in now_and_again(place):
            assert found(store) == one
            assert group(store) == [one]
            assert {each.uid: each for each in kept(store)} == {
                one.uid: one,
                gone.uid: gone,
            }

    def test_a_job_and_the_one_that_follows_it_change_places_in_one_block(
        self, place: Place
    ) -> None:
        keep(place.store, one := keyed(1))

        with place.store.transaction() as tx:
            tx.bury(done(one))
            tx.add(keyed(2))
            assert tx.find("q1", "k") == keyed(2)
            assert tx.group("q1", "f", 9) == [keyed(2)]

        for store in now_and_again(place):
            assert found(store) == keyed(2)
            assert kept(store) == group(store) == [keyed(2)]

    # --- law 6 --------------------------------------------------------------------

    @pytest.mark.parametrize("taken", [False, True])
    def test_a_second_live_job_of_a_unique_key_is_refused(
        self, place: Place, taken: bool
    ) -> None:
        keep(place.store, one := keyed(1))
        if taken:
            put(place.store, one := held(one, UNTIL))

        with pytest.raises(DuplicateJob, match=one.uid):
            keep(place.store, job(8), keyed(2))

        for store in now_and_again(place):
            assert kept(store) == [one]
            assert found(store) == one

    def test_so_is_a_change_that_would_make_two(self, place: Place) -> None:
        ended, other = done(keyed(1)), keyed(3, key="other")
        keep(place.store, ended, one := keyed(2), other)

        for change in (keyed(1), held(keyed(1), UNTIL), keyed(3)):
            with pytest.raises(DuplicateJob, match=one.uid):
                put(place.store, change)

        for store in now_and_again(place):
            assert kept(store) == [ended, one, other]
            assert (found(store), found(store, "other")) == (one, other)

    def test_two_of_a_block_cannot_have_one_key_either(self, place: Place) -> None:
        with pytest.raises(DuplicateJob):
            keep(place.store, keyed(1), keyed(2))

        assert kept(place.again()) == []

    def test_a_refusal_that_the_block_gets_over_leaves_all_else(
        self, place: Place
    ) -> None:
        with place.store.transaction() as tx:
            tx.add(keyed(1))
            with pytest.raises(DuplicateJob):
                tx.add(keyed(2))
            tx.add(keyed(3, key="other"))

        for store in now_and_again(place):
            assert kept(store) == [keyed(1), keyed(3, key="other")]

    def test_a_key_is_unique_in_its_queue_and_a_fingerprint_nowhere(
        self, place: Place
    ) -> None:
        keep(place.store, keyed(1), replace(keyed(2), queue="q2"), keyed(3, key="K"))

        assert len(group(place.again())) == 2

    def test_a_job_may_be_changed_under_its_own_key(self, place: Place) -> None:
        keep(place.store, one := keyed(1))
        for change in (replace(one, priority=9), held(one, UNTIL), one):
            put(place.store, change)
            assert found(place.store) == change

        assert found(place.again()) == one

    # --- buried -------------------------------------------------------------------

    def test_what_is_buried_is_gone(self, place: Place) -> None:
        keep(place.store, one := held(keyed(1), UNTIL), other := job(2))

        with place.store.transaction() as tx:
            tx.bury(done(one))
            assert tx.get("q1", one.uid) is None
            assert tx.jobs("q1") == [other]
            assert tx.live("q1") == 1

        for store in now_and_again(place):
            assert kept(store) == [other]
            assert set_of_due(store) == []

    def test_what_a_block_left_by_exception_buried_is_there(self, place: Place) -> None:
        keep(place.store, one := held(keyed(1), until=5))

        with failing(place.store) as tx:
            tx.bury(done(one))

        for store in now_and_again(place):
            assert kept(store) == set_of_due(store) == [one]

    def test_what_was_put_and_then_buried_in_one_block_is_gone(
        self, place: Place
    ) -> None:
        keep(place.store, one := job(1))

        with place.store.transaction() as tx:
            tx.put(taken := held(one, UNTIL))
            tx.bury(done(taken))
            tx.add(fresh := job(2))
            tx.bury(done(fresh))

        assert kept(place.again()) == []

    # --- the bell -----------------------------------------------------------------

    def test_whoever_has_made_room_for_work_can_say_so(self, place: Place) -> None:
        rung: list[str] = []
        place.store.set_bell(rung.append)

        with place.store.transaction() as tx:
            tx.ring("q2")
            tx.ring("q2")
        keep(place.store, held(job(1), UNTIL))

        assert rung == ["q2"]

    # --- what a queue holds -------------------------------------------------------

    def test_a_queue_knows_how_much_is_in_it(self, place: Place) -> None:
        long = replace(job(2), content=b"x" * 100)
        keep(place.store, job(1), long, job(3), replace(job(4), queue="q2"))
        put(place.store, held(job(1), UNTIL), done(job(3)))
        put(place.store, replace(long, content=b"x" * 50))

        for store in now_and_again(place):
            with store.transaction() as tx:
                assert (tx.live("q1"), tx.live("q2"), tx.live("none")) == (2, 1, 0)
                sizes = [tx.content_bytes(name) for name in ("q1", "q2", "none")]
                assert sizes == [7 + 50 + 7, 7, 0]
                assert tx.memory_bytes() > 7 + 50 + 7 + 7

    # --- law 9 --------------------------------------------------------------------

    def test_a_change_of_anything_that_is_rare_comes_back(self, place: Place) -> None:
        run = Run(1, 2, 3, "attempts", "told")
        versions = [
            keyed(1),
            replace(keyed(1), progress=b"[1]"),
            replace(keyed(1), progress=b"[1]", past=Past(1, 2, (run,))),
            keyed(1, key="other", print_=None),
            replace(job(1), past=Past()),
            job(1),
        ]
        keep(place.store, versions[0])

        for version in versions[1:]:
            put(place.store, version)
            assert kept(place.store) == [version]
            assert kept(place.again()) == [version]

    # --- blocks of large rows -----------------------------------------------------

    @pytest.mark.parametrize("due", [False, True])
    def test_no_more_large_rows_are_told_of_than_one_block_can_change(
        self, place: Place, due: bool
    ) -> None:
        large = replace(keyed(0), progress=b"x" * 65_536)
        jobs = [
            replace(
                large,
                uid=f"{n:036d}",
                keys=Keys(None, "f"),
                expires_at=5 if due else None,
            )
            for n in range(300)
        ]
        for start in range(0, 300, 60):
            keep(place.store, *jobs[start : start + 60])

        with place.store.transaction() as tx:
            told = tx.due(300) if due else tx.ready("q1", 300)
            assert 100 <= len(told) < 300
            assert len(tx.group("q1", "f", 300)) == len(told)
            tx.put(*[held(one, UNTIL) for one in told if isinstance(one, Job)])

        with place.store.transaction() as tx:
            assert tx.counts("q1")[State.INPROGRESS] == len(told)
            # Small ones are not counted out.
            assert len(tx.jobs("q1")) == 300

    def test_a_block_of_rows_too_large_for_one_frame_changes_nothing(
        self, place: Place
    ) -> None:
        jobs = [replace(job(n), progress=b"x" * 65_536) for n in range(300)]

        with pytest.raises(TransactionTooLarge):
            keep(place.store, *jobs)

        assert kept(place.again()) == []

    # --- law 11 -------------------------------------------------------------------

    def test_only_what_is_in_memory_alone_may_vanish_at_a_restart(
        self, place: Place
    ) -> None:
        brief = [job(n, terms=MEMORY_ONLY, keys=Keys(str(n), "f")) for n in range(3)]
        keep(place.store, brief[0])
        keep(place.store, brief[1], one := job(3), brief[2], two := keyed(4))
        put(place.store, held(brief[1], UNTIL), one := replace(one, priority=1))
        assert len(kept(place.store)) == 5

        store = place.again()

        left = [each for each in kept(store) if each.terms.durable]
        assert left == [one, two]
        if len(kept(store)) == 2:
            assert found(store, "0") is None
            assert group(store) == [two]

    def test_what_is_in_memory_alone_is_a_job_like_any_other(
        self, place: Place
    ) -> None:
        keep(place.store, one := job(1, terms=MEMORY_ONLY, keys=Keys("k", "f")))
        put(place.store, taken := held(one, until=5))
        assert found(place.store) == taken
        assert set_of_due(place.store) == [taken]
        with pytest.raises(DuplicateJob):
            keep(place.store, keyed(2))

        with failing(place.store) as tx:
            tx.bury(done(taken))
        assert kept(place.store) == [taken]

        bury(place.store, taken)
        assert kept(place.store) == []
        assert kept(place.again()) == []

    def test_what_becomes_durable_comes_back_whole(self, place: Place) -> None:
        brief = job(1, terms=MEMORY_ONLY, content=b"[1, 2]")
        keep(place.store, brief)

        put(place.store, lasting := replace(brief, terms=Terms(), priority=9))
        assert kept(place.again()) == [lasting]

        put(place.store, replace(lasting, priority=8))
        assert kept(place.again()) == [replace(lasting, priority=8)]


def set_of_due(store: Store) -> list[Job]:
    with store.transaction() as tx:
        return [one for one in tx.due(9) if isinstance(one, Job)]
