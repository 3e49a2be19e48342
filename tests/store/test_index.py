"""The indexes, down to what they throw away and when."""

import pytest
from drafts import job
from msgspec.structs import replace

from jobengine.core.job import Job
from jobengine.core.lifecycle import due_at
from jobengine.store import index
from jobengine.store.index import STALE_MIN, DueIndex, ReadyIndex

NOW = 10_000
FOR_EVER = 1 << 50


class Ready:
    """A ready index and the jobs it speaks of."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.index = ReadyIndex(self.jobs)

    def push(self, *jobs: Job) -> None:
        for one in jobs:
            self.jobs[one.uid] = one
            self.index.push(one, NOW)

    def drop(self, *jobs: Job) -> None:
        for one in jobs:
            del self.jobs[one.uid]
            self.index.gone(one)

    def change(self, old: Job, new: Job) -> None:
        self.index.gone(old)
        self.push(new)


class Due:
    """A due index and the jobs it speaks of."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.index: DueIndex[Job] = DueIndex(
            lambda one: self.jobs.get(one.uid) is one, due_at
        )

    def push(self, one: Job) -> bool:
        self.jobs[one.uid] = one
        due = due_at(one)
        assert due is not None
        return self.index.push(one, due)

    def drop(self, one: Job) -> None:
        del self.jobs[one.uid]
        due = due_at(one)
        assert due is not None
        self.index.gone(due)


def expiring(number: int, at: int) -> Job:
    return job(number, expires_at=at)


@pytest.fixture
def swept_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stale entries are swept out as soon as they are half of a list."""
    monkeypatch.setattr(index, "STALE_MIN", 0)


# --- ready ------------------------------------------------------------------------


def test_taking_leaves_the_jobs_where_they_are() -> None:
    ready = Ready()
    ready.push(job(2), job(1), job(3))

    assert ready.index.take(NOW, 2) == [job(1), job(2)]
    assert ready.index.take(NOW, 9) == [job(1), job(2), job(3)]


def test_jobs_that_come_late_are_merged_into_their_places() -> None:
    ready = Ready()
    for number in (5, 1, 7, 6, 3, 2, 8, 4):
        ready.push(job(number))

    for limit in range(9):
        assert ready.index.take(NOW, limit) == [job(n) for n in range(1, limit + 1)]


def test_a_priority_that_ran_empty_is_filled_again() -> None:
    ready = Ready()
    ready.push(high := job(1, priority=100), low := job(2, priority=1))
    ready.drop(high)
    assert ready.index.take(NOW, 9) == [low]

    ready.push(again := job(3, priority=100))

    assert ready.index.take(NOW, 9) == [again, low]


def test_a_changed_job_stands_where_it_now_belongs_and_nowhere_else() -> None:
    ready = Ready()
    ready.push(one := job(1), job(2))

    ready.change(one, moved := replace(one, priority=1))

    assert ready.index.take(NOW, 9) == [job(2), moved]


def test_a_job_put_back_is_taken_once() -> None:
    ready = Ready()
    ready.push(one := job(1), two := job(2))
    for _ in range(3):
        ready.drop(one, two)
        ready.push(two, one)

    assert ready.index.take(NOW, 9) == [one, two]
    assert ready.index.take(NOW, 1) == [one]


def test_an_expired_job_is_passed_over_for_good() -> None:
    ready = Ready()
    ready.push(expiring(1, NOW), expiring(2, NOW + 1))

    assert ready.index.take(NOW, 9) == [expiring(2, NOW + 1)]
    assert ready.index.take(NOW + 1, 9) == []
    ready.drop(job(1), job(2))
    ready.push(job(3))
    assert ready.index.take(NOW + 1, 9) == [job(3)]


@pytest.mark.usefixtures("swept_early")
def test_sweeping_out_what_is_stale_loses_nothing() -> None:
    ready = Ready()
    jobs = [job(number) for number in range(40)]
    ready.push(*jobs[::2], *reversed(jobs[1::2]))

    ready.drop(*[one for one in jobs if one.seq % 3])

    assert ready.index.take(NOW, 99) == jobs[::3]


def test_what_is_stale_takes_no_more_room_than_what_is_live() -> None:
    ready = Ready()
    one = job(0)
    ready.push(one)

    for number in range(1, 2000):
        ready.change(one, one := replace(one, updated_at=number))

    [lane] = ready.index._lanes.values()
    assert len(lane._heap) + len(lane._in_order) <= 2 * STALE_MIN
    assert ready.index.take(NOW, 9) == [one]


def test_a_scheduled_job_is_told_of_until_it_is_claimable_or_gone() -> None:
    ready = Ready()
    assert ready.index.next_run() is None
    soon, later = job(1, run_at=NOW + 5), job(2, run_at=NOW + 9)
    ready.push(later, soon)

    assert ready.index.next_run() == NOW + 5
    assert ready.index.take(NOW, 9) == []
    ready.drop(soon)
    assert ready.index.next_run() == NOW + 9
    ready.index.wake(NOW + 9)
    assert ready.index.next_run() is None
    assert ready.index.take(NOW + 9, 9) == [later]


def test_a_scheduled_job_that_has_gone_does_not_wake() -> None:
    ready = Ready()
    ready.push(one := job(1, run_at=NOW + 5))
    ready.drop(one)

    assert ready.index.take(NOW + 5, 9) == []


# --- due --------------------------------------------------------------------------


def test_due_entries_come_by_their_instant_whatever_the_order_of_arrival() -> None:
    due = Due()
    instants = [5000, 100, 4096, 1023, 1024, 99, 7000, 1025]
    for number, at in enumerate(instants):
        due.push(expiring(number, at))

    taken = due.index.take(5000, 99)

    assert [one.expires_at for one in taken] == sorted(instants)[:-1]
    assert due.index.take(5000, 2) == taken[:2]
    assert due.index.take(5000, 99) == taken


def test_an_entry_says_whether_it_is_the_first_to_fall_due() -> None:
    due = Due()

    assert due.push(expiring(1, 5000))
    assert not due.push(expiring(2, 9000))
    assert due.push(expiring(3, 3000))
    assert not due.push(expiring(4, 3001))
    # 3000 and 3001 share a list that is opened now.
    assert due.index.take(2999, 9) == []
    assert due.push(expiring(5, 2998))
    assert not due.push(expiring(6, 3002))
    assert not due.push(expiring(7, 8000))


def test_the_next_instant_is_exact_once_it_is_near() -> None:
    due = Due()
    assert due.index.next() is None
    due.push(one := expiring(1, 5000))

    assert due.index.next() == 4096
    assert due.index.take(4096, 9) == []
    assert due.index.next() == 5000
    due.drop(one)
    assert due.index.next() is None


def test_an_entry_that_changed_is_due_at_its_new_instant_only() -> None:
    due = Due()
    due.push(one := expiring(1, 1000))
    assert due.index.take(1000, 9) == [one]
    due.drop(one)
    due.push(later := expiring(1, 3000))

    assert due.index.take(2999, 9) == []
    assert due.index.take(3000, 9) == [later]


def test_an_entry_put_back_is_due_once() -> None:
    due = Due()
    due.push(one := expiring(1, 5000))
    due.push(two := expiring(2, 5000))
    for _ in range(3):
        due.drop(one)
        due.push(one)

    assert due.index.take(5000, 9) == [one, two]
    due.drop(one)
    due.push(one)
    assert sorted(due.index.take(5000, 9), key=lambda j: j.seq) == [one, two]


@pytest.mark.usefixtures("swept_early")
def test_sweeping_out_what_is_no_longer_due_loses_nothing() -> None:
    due = Due()
    jobs = [expiring(number, 5000 + number) for number in range(40)]
    for one in jobs:
        due.push(one)
    for one in jobs:
        if one.seq % 3:
            due.drop(one)

    assert due.index.take(FOR_EVER, 99) == jobs[::3]


def test_leases_that_are_renewed_all_the_time_take_no_room() -> None:
    due = Due()
    one = expiring(1, 5000)
    due.push(one)

    for _ in range(2000):
        due.drop(one)
        one = replace(one)
        due.push(one)

    [bucket] = due.index._buckets.values()
    assert len(bucket) <= 2 * STALE_MIN
    assert due.index.take(5000, 9) == [one]
