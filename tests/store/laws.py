"""The laws of store/port.py, written once for every store.

A test class inherits `Laws` and gives a fixture `place`. What becomes durable is shown
by `place.again()`, the store as the next start would find it: a store that keeps
nothing over a restart gives itself.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Protocol

import pytest
from drafts import job
from msgspec.structs import asdict, replace

from jobengine.core.backoff import Backoff
from jobengine.core.job import Job, Keys, Lease, State, Terms
from jobengine.core.once import Answer
from jobengine.core.past import Past, Run
from jobengine.core.queues import (
    MadeQueue,
    PausedQueue,
    QueueRules,
    RemovedQueue,
    Rulebook,
)
from jobengine.core.schedules import Schedule
from jobengine.errors import DuplicateJob, TransactionTooLarge
from jobengine.store.port import Record, Store, Transaction
from jobengine.testing import SimClock

DAY_MS = 86_400_000
KINDS = (RemovedQueue, PausedQueue, MadeQueue)
KEPT = Rulebook({name: QueueRules(name) for name in ("q1", "q2")})


class Place(Protocol):
    """Where one store lives."""

    clock: SimClock
    store: Store

    def again(self) -> Store:
        """The store as the next start finds it; it takes the place of the last."""

    def meanwhile(self) -> None:
        """What the test's thread must do while others are at work."""


class Oops(Exception):
    """What goes wrong in a block."""


@contextmanager
def failing(store: Store) -> Iterator[Transaction]:
    """A transaction whose block is left by exception."""
    with suppress(Oops), store.transaction() as tx:
        yield tx
        raise Oops


def now_and_again(place: Place) -> Iterator[Store]:
    """The store as it is, and then as the next start finds it."""
    yield place.store
    yield place.again()


def keep(store: Store, *jobs: Job) -> None:
    with store.transaction() as tx:
        for each in jobs:
            tx.add(each)


def kept(store: Store, queue: str = "q1") -> list[Job]:
    with store.transaction() as tx:
        return tx.jobs(queue)


def ready(store: Store, limit: int = 100) -> list[Job]:
    with store.transaction() as tx:
        return tx.ready("q1", limit)


def due(store: Store, limit: int = 100) -> list[Job | Record]:
    with store.transaction() as tx:
        return tx.due(limit)


def held(one: Job, until: int) -> Job:
    return replace(
        one, state=State.INPROGRESS, lease=Lease("t", "h", until, since=until - 1)
    )


FULL = job(
    1,
    priority=100,
    state=State.FAILED,
    content=b' {"n": 9007199254740993, "s": "\xc3\xa9"} ',
    created_at=1,
    updated_at=1 << 47,
    run_at=3,
    expires_at=4,
    attempt=5,
    terms=Terms(
        max_attempts=6,
        lease_ms=7,
        keep_ms=8,
        backoff=Backoff("list", 1, 2.5, 3, (4, 5), 0.5),
        poison_after=9,
        dead_keep_ms=10,
    ),
    lease=Lease("token", "holder", 9, 8),
    finished_at=10,
    keep_until=1 << 50,
    reason="lease_lost",
    keys=Keys("unique \N{HONEYBEE}", "fingerprint", "00-trace-span-01"),
    progress=b'{"at": 1} ',
    past=Past(2, 3, (Run(1, 2, 3, "attempts", "told"), Run(4, 5, 6, "lease_lost"))),
    result=b' [1.50, "\xc3\xa9"]',
)


class Laws:
    # --- law 1 and 2 --------------------------------------------------------------

    def test_what_a_block_did_is_there_at_the_next_start(self, place: Place) -> None:
        gone = RemovedQueue("gone", 5, 5 + DAY_MS)
        keep(place.store, job(1), job(2), job(3))
        with place.store.transaction() as tx:
            tx.put(replace(job(1), priority=9))
            tx.drop(job(2))
            tx.put_record(gone)

        store = place.again()

        assert kept(store) == [replace(job(1), priority=9), job(3)]
        with store.transaction() as tx:
            assert tx.record(RemovedQueue, "gone") == gone

    def test_a_block_left_by_exception_changes_nothing(self, place: Place) -> None:
        gone = RemovedQueue("gone", 5, 5 + DAY_MS)
        first, second = job(1), held(job(2), until=50)
        keep(place.store, first, second)
        with place.store.transaction() as tx:
            tx.put_record(gone)
            counts = tx.counts("q1")

        with failing(place.store) as tx:
            tx.add(job(3))
            tx.put(held(first, until=60))
            tx.drop(second)
            tx.drop_record(gone)
            tx.put_record(RemovedQueue("other", 6, None))

        for store in now_and_again(place):
            assert kept(store) == [first, second]
            assert ready(store) == [first]
            assert due(store) == [second, gone]
            with store.transaction() as tx:
                assert tx.records(RemovedQueue) == [gone]
                assert tx.counts("q1") == counts

    def test_a_block_left_by_exception_leaves_every_job_once(
        self, place: Place
    ) -> None:
        first, second = job(1, expires_at=1 << 50), job(2, expires_at=1 << 50)
        keep(place.store, first, second)
        for _ in range(3):
            with failing(place.store) as tx:
                tx.put(*[held(one, until=1 << 49) for one in tx.ready("q1", 2)])
                tx.drop(first, second)
                tx.add(first)

        assert ready(place.store) == [first, second]
        place.clock.set(1 << 51)
        assert due(place.store) == [first, second]

    def test_a_job_put_as_it_was_is_there_once(self, place: Place) -> None:
        keep(place.store, one := job(1, expires_at=1 << 50))
        with place.store.transaction() as tx:
            tx.put(one)
            tx.drop(one)
            tx.add(one)

        assert ready(place.store) == [one]
        place.clock.set(1 << 51)
        assert due(place.store) == [one]

    def test_a_block_too_large_for_one_frame_changes_nothing(
        self, place: Place
    ) -> None:
        jobs = [job(number, content=bytes(1 << 20)) for number in range(17)]

        with pytest.raises(TransactionTooLarge, match="smaller parts"):
            keep(place.store, *jobs)

        assert kept(place.again()) == []

    def test_a_block_of_many_jobs_is_kept_whole(self, place: Place) -> None:
        jobs = [job(number) for number in range(1000)]

        keep(place.store, *jobs)

        assert kept(place.again()) == jobs

    # --- law 3 --------------------------------------------------------------------

    def test_no_other_block_comes_in_between(self, place: Place) -> None:
        keep(place.store, job(0, attempt=0))

        def count() -> None:
            for _ in range(50):
                with place.store.transaction() as tx:
                    one = tx.get("q1", job(0).uid)
                    assert one is not None
                    tx.put(replace(one, attempt=one.attempt + 1))

        in_threads(count, count, count, count, meanwhile=place.meanwhile)

        assert kept(place.again())[0].attempt == 200

    # --- law 4 --------------------------------------------------------------------

    def test_ready_jobs_come_by_priority_then_time_then_creation(
        self, place: Place
    ) -> None:
        order = [
            job(5, priority=100, run_at=2000),
            job(1, priority=50, run_at=1000),
            job(3, priority=50, run_at=2000),
            job(4, priority=50, run_at=2000),
            job(0, priority=1, run_at=1),
        ]
        keep(place.store, *sorted(order, key=lambda one: one.uid))

        for store in now_and_again(place):
            assert ready(store) == order
            assert ready(store, 2) == order[:2]
            assert ready(store, 0) == []
            with store.transaction() as tx:
                assert tx.oldest_ready(order[0].queue) == order[-1]
                assert tx.oldest_ready("never heard of") is None

    def test_ready_jobs_are_those_of_the_queue_that_nobody_holds(
        self, place: Place
    ) -> None:
        keep(
            place.store,
            job(1, queue="q2"),
            job(2, state=State.COMPLETE, keep_until=1 << 50),
            held(job(3), until=1 << 50),
        )

        assert ready(place.store) == []
        with place.store.transaction() as tx:
            assert tx.ready("never heard of", 1) == []

    def test_a_job_returns_to_its_old_place(self, place: Place) -> None:
        jobs = [job(number) for number in range(5)]
        keep(place.store, *jobs)
        with place.store.transaction() as tx:
            tx.put(held(jobs[1], until=1), held(jobs[0], until=1))
        with place.store.transaction() as tx:
            tx.put(jobs[0], replace(jobs[4], priority=51))

        rest = [replace(jobs[4], priority=51), jobs[0], jobs[2], jobs[3]]
        assert ready(place.store) == rest
        assert ready(place.again()) == rest

    def test_a_scheduled_job_is_ready_from_its_instant_on(self, place: Place) -> None:
        now = place.clock.now()
        keep(
            place.store,
            late := job(1, run_at=now + 10),
            job(2),
            early := job(3, run_at=now + 5),
        )

        place.clock.advance(ms=4)
        assert ready(place.store) == [job(2)]
        place.clock.advance(ms=1)
        assert ready(place.store) == [job(2), early]
        place.clock.advance(ms=5)
        assert ready(place.store) == [job(2), early, late]

    def test_an_expired_job_is_never_ready_swept_or_not(self, place: Place) -> None:
        now = place.clock.now()
        keep(
            place.store,
            job(1, expires_at=now + 1),
            job(2, expires_at=now + 2),
            job(3, run_at=now + 1, expires_at=now + 1),
        )

        place.clock.advance(ms=1)

        assert ready(place.store) == [job(2, expires_at=now + 2)]

    # --- law 5 --------------------------------------------------------------------

    def test_everything_due_is_found_earliest_first(self, place: Place) -> None:
        now = place.clock.now()
        keep(
            place.store,
            job(1, state=State.COMPLETE, keep_until=now + 3000),
            job(2, expires_at=now + 1),
            held(job(3), until=now + 2),
            job(4),
            job(5, expires_at=now + 9000),
        )
        with place.store.transaction() as tx:
            tx.put_record(RemovedQueue("gone", now - DAY_MS + 2000, now + 2000))
        place.clock.advance(ms=3000)

        for store in now_and_again(place):
            names = [getattr(one, "seq", "gone") for one in due(store)]
            assert names == [2, 3, "gone", 1]
            assert due(store, 2) == due(store)[:2]

    def test_what_is_due_stays_so_until_it_is_changed(self, place: Place) -> None:
        now = place.clock.now()
        keep(place.store, one := held(job(1), until=now))

        assert due(place.store) == due(place.store) == [one]
        with place.store.transaction() as tx:
            tx.put(held(one, until=now + 5000))
        assert due(place.store) == []
        place.clock.advance(ms=5000)
        assert due(place.store) == [held(one, until=now + 5000)]

    def test_no_two_get_the_same_job(self, place: Place) -> None:
        keep(place.store, *[job(number) for number in range(200)])
        taken: list[str] = []

        def take() -> None:
            while True:
                with place.store.transaction() as tx:
                    jobs = tx.ready("q1", 3)
                    tx.put(*[held(one, until=1 << 50) for one in jobs])
                if not jobs:
                    return
                taken.extend(one.uid for one in jobs)

        in_threads(take, take, take, take, meanwhile=place.meanwhile)

        assert sorted(taken) == [job(number).uid for number in range(200)]

    # --- law 6 --------------------------------------------------------------------

    def test_a_uid_that_is_live_in_its_queue_is_refused(self, place: Place) -> None:
        keep(place.store, job(1))

        with pytest.raises(DuplicateJob, match="already in queue 'q1'"):
            keep(place.store, job(2), job(1, priority=3))

        assert kept(place.again()) == [job(1)]

    def test_a_uid_is_free_again_when_its_job_is_gone(self, place: Place) -> None:
        keep(place.store, job(1))
        with place.store.transaction() as tx:
            tx.drop(job(1))

        keep(place.store, job(1, priority=3))

        assert kept(place.again()) == [job(1, priority=3)]

    # --- law 7 --------------------------------------------------------------------

    def test_a_block_has_one_instant(self, place: Place) -> None:
        keep(place.store, job(1, expires_at=place.clock.now() + 1))

        with place.store.transaction() as tx:
            begun = tx.now
            place.clock.advance(minutes=1)
            assert tx.now == begun
            assert tx.due(1) == []
            assert len(tx.ready("q1", 1)) == 1

        with place.store.transaction() as tx:
            assert tx.now == begun + 60_000

    def test_time_never_goes_back(self, place: Place) -> None:
        with place.store.transaction() as tx:
            before = tx.now

        place.clock.set(before - 1)

        with place.store.transaction() as tx:
            assert tx.now == before

    # --- law 8 --------------------------------------------------------------------

    def test_a_block_sees_what_it_has_done(self, place: Place) -> None:
        with place.store.transaction() as tx:
            tx.add(one := job(1))
            assert tx.get("q1", one.uid) == one
            assert tx.jobs("q1") == tx.ready("q1", 9) == [one]
            assert tx.queues() == ["q1"]

            tx.put(lost := held(one, until=tx.now))
            assert tx.get("q1", one.uid) == lost
            assert tx.ready("q1", 9) == []
            assert tx.due(9) == [lost]
            assert tx.counts("q1")[State.INPROGRESS] == 1

            tx.drop(lost)
            assert tx.get("q1", one.uid) is None
            assert tx.jobs("q1") == tx.due(9) == tx.queues() == []
            assert set(tx.counts("q1").values()) == {0}

    def test_records_of_every_kind_come_back_and_are_told_apart(
        self, place: Place
    ) -> None:
        removed = RemovedQueue("gone", 5, 5 + DAY_MS)
        paused = PausedQueue("q1", 3, "why")
        made = MadeQueue("q1", 4, ("a", "b"), ("c",), "salt", b"\x00digest\xff")
        bare = MadeQueue("made by its first job", 5)
        with place.store.transaction() as tx:
            for record in (removed, paused, made, bare):
                tx.put_record(record)

        for store in now_and_again(place):
            with store.transaction() as tx:
                assert tx.record(PausedQueue, "q1") == paused
                assert tx.record(MadeQueue, "q1") == made
                assert tx.record(RemovedQueue, "q1") is None
                assert tx.records(RemovedQueue) == [removed]
                assert tx.records(PausedQueue) == [paused]
                assert tx.records(MadeQueue) == [made, bare]
                assert [tx.count_records(kind) for kind in KINDS] == [1, 1, 2]

        with place.store.transaction() as tx:
            tx.put_record(again := PausedQueue("q1", 6, "another"))
            tx.drop_record(made)
        with place.again().transaction() as tx:
            assert tx.records(PausedQueue) == [again]
            assert tx.records(MadeQueue) == [bare]
            assert tx.records(RemovedQueue) == [removed]
            assert [tx.count_records(kind) for kind in KINDS] == [1, 1, 1]
        with failing(place.store) as tx:
            tx.put_record(MadeQueue("never", 7))
            tx.drop_record(removed)
        with place.store.transaction() as tx:
            assert [tx.count_records(kind) for kind in KINDS] == [1, 1, 1]

    def test_schedules_and_answers_are_kept_and_fall_due(self, place: Place) -> None:
        schedule = Schedule(
            *("q1", "nightly", 1, 1 << 50, 1 << 49, "@daily", "UTC", b" {} "),
            terms=Terms(3, durable=False),
        )
        paused = Schedule("q1", "paused", 1, None, None, "@daily", "UTC", b"{}")
        answer = Answer(
            *("name", 1, 1 << 51, b"digest", 201, (("Location", "/"),), b"{}")
        )
        with place.store.transaction() as tx:
            for record in (schedule, paused, answer):
                tx.put_record(record)

        for store in now_and_again(place):
            with store.transaction() as tx:
                assert tx.records(Schedule) == [schedule, paused]
                assert tx.record(Schedule, "q1/nightly") == schedule
                assert tx.record(Answer, "name") == answer
                assert tx.due(9) == []

        with failing(place.store) as tx:
            tx.put_record(replace(schedule, due_at=None, next_at=None))
            tx.drop_record(answer)
        place.clock.set(1 << 50)
        assert due(place.store) == [schedule]
        place.clock.set(1 << 51)
        assert due(place.store) == [schedule, answer]
        with place.store.transaction() as tx:
            tx.drop_record(answer)
            tx.put_record(moved := replace(schedule, due_at=1 << 52))
        with place.again().transaction() as tx:
            assert tx.records(Answer) == tx.due(9) == []
            assert tx.record(Schedule, moved.name) == moved

    def test_dead_letters_and_scheduled_jobs_are_counted(self, place: Place) -> None:
        failed = {"state": State.FAILED, "finished_at": 1, "keep_until": 1 << 51}
        letter = job(1, reason="attempts", **failed)
        told, later = job(2, **failed), job(3, run_at=1 << 50)

        def counted(store: Store) -> tuple[int, int]:
            with store.transaction() as tx:
                assert (tx.dead("none"), tx.scheduled("none")) == (0, 0)
                return tx.dead("q1"), tx.scheduled("q1")

        keep(place.store, letter, told, later)
        with failing(place.store) as tx:
            tx.put(replace(letter, reason=None), replace(later, run_at=1))
            tx.put(replace(told, reason="poison"))
            tx.drop(letter, later)
        for store in now_and_again(place):
            assert counted(store) == (1, 1)
        place.clock.set(1 << 50)
        assert counted(place.store) == (1, 0)
        with failing(place.store) as tx:
            tx.put(replace(later, run_at=1 << 51))
            assert tx.scheduled("q1") == 1
        assert counted(place.store) == (1, 0)
        with place.store.transaction() as tx:
            tx.put(replace(letter, state=State.QUEUED, reason=None))
        assert counted(place.store) == (0, 0)

    def test_a_block_sees_the_records_it_has_kept(self, place: Place) -> None:
        with place.store.transaction() as tx:
            assert tx.record(RemovedQueue, "gone") is None
            tx.put_record(RemovedQueue("gone", 1, 2))
            tx.put_record(gone := RemovedQueue("gone", 1, 3))
            assert tx.record(RemovedQueue, "gone") == gone
            assert tx.records(RemovedQueue) == tx.due(9) == [gone]

            tx.drop_record(gone)
            assert tx.records(RemovedQueue) == tx.due(9) == []

    # --- law 9 --------------------------------------------------------------------

    def test_every_field_comes_back_exactly_as_it_was(self, place: Place) -> None:
        defaults = job(2)
        assert all(value is not None for value in asdict(FULL).values())
        keep(place.store, FULL, defaults)

        store = place.again()

        assert kept(store) == [FULL, defaults]
        # Once more through a rewritten file, and through rows that no longer carry
        # the payload.
        with store.transaction() as tx:
            tx.put(replace(FULL, priority=2))
        assert kept(place.again()) == [replace(FULL, priority=2), defaults]

    @pytest.mark.parametrize("content", [b"", b"\x00\xff", b"x" * (1 << 20)])
    def test_any_payload_comes_back_exactly_as_it_was(
        self, place: Place, content: bytes
    ) -> None:
        keep(place.store, job(1, content=content))
        with place.store.transaction() as tx:
            tx.put(replace(tx.jobs("q1")[0], content=content + b"!"))

        assert kept(place.again())[0].content == content + b"!"

    def test_places_in_the_order_of_creation_are_never_given_twice(
        self, place: Place
    ) -> None:
        places = []
        for _ in range(3):
            with place.store.transaction() as tx:
                places.append(seq := tx.next_seq())
                tx.add(job(seq))
            place.again()

        assert all(a < b for a, b in pairwise(places))

    # --- law 10 -------------------------------------------------------------------

    def test_the_alarm_sounds_when_something_is_due_before_all_else(
        self, place: Place
    ) -> None:
        now = place.clock.now()
        alarms: list[int | None] = []
        place.store.set_alarm(lambda: alarms.append(place.store.next_due()))

        keep(place.store, job(1))
        assert alarms == []
        keep(place.store, job(2, expires_at=now + 60_000))
        keep(place.store, job(3, expires_at=now + 90_000))
        assert len(alarms) == 1
        keep(place.store, job(4, expires_at=now + 30_000))
        assert len(alarms) == 2
        keep(place.store, held(job(5), until=now + 9))
        assert len(alarms) == 3
        with place.store.transaction() as tx:
            tx.put_record(RemovedQueue("gone", 1, now - 5000))
        assert len(alarms) == 4
        for told, due_at in zip(
            alarms, (now + 60_000, now + 30_000, now + 9, now - 5000), strict=True
        ):
            assert told is not None
            assert told <= due_at

    def test_the_alarm_sounds_for_a_job_scheduled_before_all_else(
        self, place: Place
    ) -> None:
        alarms: list[int | None] = []
        place.store.set_alarm(lambda: alarms.append(place.store.next_due()))
        run_at = place.clock.now() + 5

        keep(place.store, job(1, run_at=run_at))

        assert alarms == [run_at]

    def test_the_next_due_instant_is_never_later_than_the_first(
        self, place: Place
    ) -> None:
        assert place.store.next_due() is None
        now = place.clock.now()
        keep(place.store, *[job(n, expires_at=now + 700 * n) for n in range(1, 9)])

        for number in range(1, 9):
            store = place.again() if number % 2 else place.store
            told = store.next_due()
            assert told is not None
            assert told <= now + 700 * number
            place.clock.set(now + 700 * number)
            with store.transaction() as tx:
                [one] = tx.due(9)
                assert isinstance(one, Job)
                tx.put(replace(one, expires_at=None))
        assert place.store.next_due() is None


def in_threads(
    *acts: Callable[[], None], meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Run all at once; whatever one of them raises is raised here.

    *meanwhile* is what this thread does again and again until they are done.
    """
    faults: list[BaseException] = []

    def run(act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as fault:  # noqa: BLE001 told below
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            meanwhile()
            thread.join(0.001)
    if faults:
        raise faults[0]
