"""What time and a new configuration do to the jobs."""

import pytest
from msgspec.structs import replace

from jobengine.build import House
from jobengine.core.access import Caller
from jobengine.core.backoff import AT_ONCE
from jobengine.core.job import Change, Job, NewJob, State, Terms
from jobengine.core.queues import QueueRules, RemovedQueue, Rulebook
from jobengine.errors import Forbidden, QueueNotFound
from jobengine.testing import SimClock, SimDisk, memory_house, sim_house

ME = Caller("me")
EVERY = frozenset({"me"})
MINUTE = 60_000
HOUR = 60 * MINUTE
QUEUE = QueueRules("q", read=EVERY, write=EVERY, lease_ms=MINUTE, keep_ms=HOUR)
OTHER = replace(QUEUE, name="other")
WITH = Rulebook({"q": QUEUE, "other": OTHER}, removed_keep_ms=HOUR)
WITHOUT = Rulebook({"other": OTHER}, removed_keep_ms=HOUR)
ONCE = Terms(max_attempts=1)


@pytest.fixture
def house(clock: SimClock) -> House:
    return memory_house(WITH, clock)


def put(house: House, queue: str = "q", **fields: object) -> Job:
    return house.engine.enqueue(ME, queue, NewJob(b"{}", **fields))  # type: ignore[arg-type]


def take(house: House, queue: str = "q") -> Job:
    [job] = house.engine.claim(ME, queue)
    return job


def say(house: House, job: Job, state: State) -> Job:
    return house.engine.update(ME, job.queue, job.uid, Change(state=state))


def listed(house: House, queue: str = "q") -> list[Job]:
    return [job for part in house.engine.listing(ME, queue) for _, job in part]


def records(house: House) -> list[RemovedQueue]:
    with house.store.transaction() as tx:
        return tx.records(RemovedQueue)


def all_swept(house: House, limit: int = 500) -> dict[tuple[str, str], int]:
    """What sweeping until nothing is left has done in all."""
    total = part = house.upkeep.sweep(limit)
    while part:
        part = house.upkeep.sweep(limit)
        total += part
    return dict(total)


# --- time -------------------------------------------------------------------------


def test_two_expired_jobs_go_and_the_live_one_stays(
    house: House, clock: SimClock
) -> None:
    """JE1-B3: the original lost the live one and kept an expired one."""
    put(house, valid_for_ms=1000)
    live = put(house, valid_for_ms=5000)
    put(house, valid_for_ms=1000)
    clock.advance(seconds=1)

    assert house.upkeep.sweep() == {("q", "expired"): 2}

    assert listed(house) == [live]
    assert take(house).uid == live.uid


def test_a_lost_lease_fails_the_job_and_keeps_it_from_then_on(
    house: House, clock: SimClock
) -> None:
    """JE1-T3, JE1-T5."""
    put(house, terms=ONCE)
    take(house)
    clock.advance(minutes=300)

    assert all_swept(house) == {("q", "lost"): 1}

    [job] = listed(house)
    assert (job.state, job.reason) == (State.FAILED, "lease_lost")
    clock.advance(ms=HOUR - 1)
    assert all_swept(house) == {}
    clock.advance(ms=1)
    assert all_swept(house) == {("q", "forgotten"): 1}


def test_a_lost_lease_with_attempts_left_queues_the_job_again(
    house: House, clock: SimClock
) -> None:
    put(house, terms=Terms(backoff=AT_ONCE))
    take(house)
    clock.advance(minutes=1)

    assert all_swept(house) == {("q", "lost"): 1}

    assert take(house).attempt == 2


@pytest.mark.parametrize("state", [State.COMPLETE, State.FAILED, State.CANCELLED])
def test_a_finished_job_is_forgotten_when_its_keep_ends(
    house: House, clock: SimClock, state: State
) -> None:
    """JE1-T4."""
    say(house, put(house), state)

    clock.advance(ms=HOUR - 1)
    assert all_swept(house) == {}
    clock.advance(ms=1)
    assert all_swept(house) == {("q", "forgotten"): 1}
    assert listed(house) == []


def test_a_sweep_does_a_bounded_number_of_rows_over_all_queues(
    house: House, clock: SimClock
) -> None:
    for _ in range(10):
        put(house, valid_for_ms=1)
        put(house, "other", valid_for_ms=1)
    clock.advance(ms=1)

    parts = [house.upkeep.sweep(8).total() for _ in range(4)]

    assert parts == [8, 8, 4, 0]


def test_the_next_due_instant_is_told_while_there_is_one(
    house: House, clock: SimClock
) -> None:
    assert house.upkeep.next_due() is None
    put(house)
    assert house.upkeep.next_due() is None
    job = put(house, valid_for_ms=5000)

    told = house.upkeep.next_due()

    assert told is not None
    assert told <= job.created_at + 5000
    clock.advance(ms=4999)
    house.upkeep.sweep()
    assert house.upkeep.next_due() == job.created_at + 5000
    clock.advance(ms=1)
    house.upkeep.sweep()
    assert house.upkeep.next_due() is None


def test_jobs_that_fell_due_while_the_daemon_was_down_are_swept_after_it(
    clock: SimClock,
) -> None:
    disk = SimDisk()
    house = sim_house(WITH, clock, disk)
    put(house, valid_for_ms=1000)
    put(house, terms=ONCE)
    put(house)
    live = put(house)
    for _ in range(2):
        assert take(house)
    house.close()
    clock.advance(minutes=2)

    house = sim_house(WITH, clock, disk)

    # The first job was lost past its expiry.
    assert all_swept(house) == {("q", "lost"): 2}
    assert live in listed(house)
    house.close()


# --- another configuration --------------------------------------------------------


def test_new_lists_are_in_force_at_once(house: House) -> None:
    """JE1-B4: the original kept those it had first seen."""
    job = put(house)
    you = Caller("you")
    with pytest.raises(QueueNotFound):
        house.engine.claim(you, "q")

    lists = replace(QUEUE, read=frozenset({"you"}), write=EVERY)
    house.upkeep.reconfigure(Rulebook({"q": lists}))

    with pytest.raises(Forbidden):
        house.engine.claim(ME, "q")
    assert house.engine.claim(you, "q")[0].uid == job.uid
    house.upkeep.reconfigure(Rulebook({"q": replace(lists, write=frozenset())}))
    with pytest.raises(QueueNotFound):
        put(house)


def test_new_times_hold_for_leases_taken_and_jobs_finished_after_the_reload(
    house: House,
) -> None:
    """D30."""
    for _ in range(4):
        put(house)
    done = say(house, take(house), State.COMPLETE)
    held = take(house)

    short = replace(QUEUE, lease_ms=1, keep_ms=2)
    house.upkeep.reconfigure(Rulebook({"q": short}))

    before = {job.uid: job for job in listed(house)}
    assert before[done.uid] == done
    assert before[held.uid] == held
    lease = take(house).lease
    assert lease is not None
    assert lease.until == held.updated_at + 1
    finished = say(house, take(house), State.COMPLETE)
    assert finished.keep_until == held.updated_at + 2


def test_a_removed_queue_is_gone_for_callers_and_its_jobs_wait_for_its_return(
    house: House, clock: SimClock
) -> None:
    """D27."""
    jobs = [put(house) for _ in range(3)]

    house.upkeep.reconfigure(WITHOUT)

    with pytest.raises(QueueNotFound):
        listed(house)
    clock.advance(ms=HOUR - 1)
    assert all_swept(house) == {}
    house.upkeep.reconfigure(WITH)
    assert listed(house) == jobs
    assert records(house) == []
    clock.advance(minutes=1)
    assert all_swept(house) == {}
    assert listed(house) == jobs


def test_the_jobs_of_a_removed_queue_are_deleted_when_their_time_has_come(
    house: House, clock: SimClock
) -> None:
    put(house)
    other = put(house, "other")
    house.upkeep.reconfigure(WITHOUT)

    clock.advance(ms=HOUR)

    assert all_swept(house) == {("q", "removed"): 1}
    assert records(house) == []
    house.upkeep.reconfigure(WITH)
    assert listed(house) == []
    assert listed(house, "other") == [other]


def test_a_removed_queue_without_jobs_leaves_no_trace(house: House) -> None:
    house.upkeep.reconfigure(WITHOUT)

    assert records(house) == []
    assert house.upkeep.next_due() is None


def test_jobs_of_a_removed_queue_may_be_kept_for_ever(
    house: House, clock: SimClock
) -> None:
    job = put(house)
    house.upkeep.reconfigure(replace(WITHOUT, removed_keep_ms=None))

    clock.advance(minutes=60 * 24 * 365)

    assert all_swept(house) == {}
    house.upkeep.reconfigure(WITH)
    assert listed(house) == [job]


def test_jobs_of_a_removed_queue_may_be_deleted_at_once(house: House) -> None:
    put(house)

    house.upkeep.reconfigure(replace(WITHOUT, removed_keep_ms=0))

    assert all_swept(house) == {("q", "removed"): 1}


def test_other_reloads_do_not_move_the_instant_of_a_removal(
    house: House, clock: SimClock
) -> None:
    put(house)
    house.upkeep.reconfigure(WITHOUT)
    [record] = records(house)
    clock.advance(minutes=30)

    house.upkeep.reconfigure(WITHOUT)
    assert records(house) == [record]
    house.upkeep.reconfigure(replace(WITHOUT, removed_keep_ms=2 * HOUR))

    [later] = records(house)
    assert later.removed_at == record.removed_at
    assert later.due_at == record.removed_at + 2 * HOUR


def test_what_is_due_to_be_deleted_stays_so_whatever_rule_is_new(
    house: House, clock: SimClock
) -> None:
    put(house)
    house.upkeep.reconfigure(WITHOUT)
    clock.advance(ms=HOUR)

    house.upkeep.reconfigure(replace(WITHOUT, removed_keep_ms=None))

    assert all_swept(house) == {("q", "removed"): 1}


def test_a_queue_whose_rules_are_new_rings_for_those_who_wait(house: House) -> None:
    rung: list[str] = []
    house.store.set_bell(rung.append)

    house.upkeep.reconfigure(WITH)
    assert rung == []
    house.upkeep.reconfigure(
        Rulebook({"q": QUEUE, "other": replace(OTHER, max_inprogress=3)})
    )

    assert rung == ["other"]


def test_time_goes_on_for_the_jobs_of_a_removed_queue(
    house: House, clock: SimClock
) -> None:
    put(house, terms=ONCE)
    take(house)
    put(house, valid_for_ms=1000)
    put(house)
    house.upkeep.reconfigure(WITHOUT)

    clock.advance(ms=HOUR)

    # All at once, and the sweeper is late: each job is told of once.
    assert all_swept(house) == {
        ("q", "lost"): 1,
        ("q", "expired"): 1,
        ("q", "removed"): 2,
    }


def test_a_large_removed_queue_is_deleted_in_parts(
    house: House, clock: SimClock
) -> None:
    for _ in range(25):
        put(house)
    house.upkeep.reconfigure(WITHOUT)
    clock.advance(ms=HOUR)

    parts = [house.upkeep.sweep(10).total() for _ in range(4)]

    assert parts == [10, 10, 5, 0]


def test_many_large_queues_removed_at_once_are_all_deleted(clock: SimClock) -> None:
    """One transaction could not hold the removal of all these."""
    names = [f"q{n}" for n in range(34)]
    queues = {name: replace(QUEUE, name=name) for name in names}
    house = memory_house(Rulebook(queues), clock)
    for name in names:
        for _ in range(500):
            put(house, name)
    house.upkeep.reconfigure(Rulebook({}, removed_keep_ms=HOUR))
    clock.advance(ms=HOUR)

    assert all_swept(house) == {(name, "removed"): 500 for name in names}
    assert records(house) == []


def test_a_removal_outlives_restarts(clock: SimClock) -> None:
    disk = SimDisk()
    house = sim_house(WITH, clock, disk)
    put(house)
    house.close()
    house = sim_house(WITHOUT, clock, disk)
    [record] = records(house)
    house.close()
    clock.advance(minutes=30)

    house = sim_house(WITHOUT, clock, disk.clone())

    assert records(house) == [record]
    clock.advance(minutes=30)
    assert all_swept(house) == {("q", "removed"): 1}
    house.close()


def test_a_queue_that_returns_at_a_restart_has_its_jobs(clock: SimClock) -> None:
    disk = SimDisk()
    house = sim_house(WITH, clock, disk)
    job = put(house)
    house.upkeep.reconfigure(WITHOUT)
    house.close()

    house = sim_house(WITH, clock, disk)

    assert listed(house) == [job]
    assert records(house) == []
    house.close()


def test_an_alarm_sounds_for_a_removal(house: House) -> None:
    put(house)
    alarms: list[int | None] = []
    house.store.set_alarm(lambda: alarms.append(house.upkeep.next_due()))

    house.upkeep.reconfigure(replace(WITHOUT, removed_keep_ms=0))

    assert len(alarms) == 1
