"""What jobs go through when the machine's clock jumps: the daemon's own clock and
sweeper, over machine clocks that the test moves."""

from collections import Counter

import pytest
from asking import ME, ONCE, TWICE, rulebook, token

from jobengine.build import House
from jobengine.core.events import Changes, Event, event_of
from jobengine.core.job import Job, NewJob, State, Terms
from jobengine.daemon.clock import SystemClock
from jobengine.daemon.sweeper import Sweeper
from jobengine.errors import StaleLease
from jobengine.testing import SimDisk, sim_house

S = 1_000_000_000  # nanoseconds
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86_400 * S
RULES = rulebook(keep_ms=600_000)


class Machine:
    """A wall clock and the time since boot, and a daemon's house that lives by them."""

    def __init__(self) -> None:
        self.wall, self.boot = 1_800_000_000 * S, 500 * S
        self.disk = SimDisk()
        self.events: Counter[Event] = Counter()
        self.start()

    def start(self) -> None:
        self.clock = SystemClock(wall=lambda: self.wall, since_boot=lambda: self.boot)
        # Any clock will do, as long as it is one.
        self.house: House = sim_house(RULES, self.clock, self.disk)  # type: ignore[arg-type]
        self.engine = self.house.engine
        self.sweeper = Sweeper(self.house.upkeep, self.house.store, self.clock)
        self.house.store.listen(self._hear)

    def run(self, ns: int) -> None:
        """Time passes, on both clocks."""
        self.wall += ns
        self.boot += ns

    def sweep(self) -> None:
        """As often as the sweeper would in a while."""
        for _ in range(20):
            self.sweeper.sweep()

    def put(self, **fields: object) -> Job:
        return self.engine.enqueue(ME, "q", NewJob(b"{}", **fields))  # type: ignore[arg-type]

    def take(self) -> Job:
        [job] = self.engine.claim(ME, "q")
        return job

    def states(self) -> Counter[State]:
        with self.house.store.transaction() as tx:
            return Counter(job.state for job in tx.jobs("q"))

    def _hear(self, changes: Changes, now: int, *_how: object) -> None:
        told = (event_of(old, new, now) for old, new in changes)
        self.events.update(event for event in told if event is not None)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize("jump", [0, -HOUR, -DAY])
def test_leases_end_on_time_though_the_wall_jumps_back(
    machine: Machine, jump: int
) -> None:
    machine.put(terms=ONCE)
    machine.take()
    machine.run(30 * S)
    machine.wall += jump

    machine.run(30 * S - 1_000_000)
    machine.sweep()
    assert machine.states() == {State.INPROGRESS: 1}
    machine.run(1_000_000)
    machine.sweep()

    assert machine.states() == {State.FAILED: 1}
    assert machine.events[Event.LOST_FAILED] == 1


def test_all_that_waits_for_its_time_has_it_though_the_wall_jumps_back(
    machine: Machine,
) -> None:
    machine.put(valid_for_ms=90_000, terms=ONCE)
    later = machine.put(delay_ms=60_000)
    done = machine.put(priority=99)
    machine.engine.complete(ME, "q", machine.take().uid)
    machine.wall -= HOUR

    assert machine.take().uid != later.uid
    machine.run(60 * S)
    machine.sweep()
    assert machine.take().uid == later.uid
    machine.run(540 * S)
    machine.sweep()

    assert machine.events[Event.FORGOTTEN] == 1
    with machine.house.store.transaction() as tx:
        assert tx.get("q", done.uid) is None


def test_a_heartbeat_holds_a_lease_though_the_wall_jumps_back(machine: Machine) -> None:
    machine.put()
    job = machine.take()
    for _ in range(5):
        machine.wall -= HOUR
        machine.run(59 * S)
        job = machine.engine.beat(ME, "q", job.uid, lease=token(job))
        machine.sweep()

    assert machine.states() == {State.INPROGRESS: 1}


def test_new_jobs_after_a_jump_back_keep_their_turn(machine: Machine) -> None:
    first = machine.put()
    machine.wall -= HOUR
    machine.run(S)

    second = machine.put()

    assert second.created_at == first.created_at + 1000
    assert [machine.take().uid for _ in range(2)] == [first.uid, second.uid]


def test_what_fell_due_in_a_jump_forward_happens_once(machine: Machine) -> None:
    for _ in range(3):
        machine.put(valid_for_ms=1000)
        machine.put(delay_ms=30_000, terms=Terms(max_attempts=1))
    for _ in range(2):
        machine.put(priority=99, terms=ONCE)
        machine.take()
    machine.put(priority=99, terms=TWICE)
    lost = machine.take()

    machine.wall += DAY
    machine.sweep()
    machine.sweep()

    assert machine.events[Event.EXPIRED] == 3
    assert machine.events[Event.LOST_FAILED] == 2
    assert machine.events[Event.LOST_RETRIED] == 1
    assert machine.states() == {State.QUEUED: 4, State.FAILED: 2}
    with pytest.raises(StaleLease):
        machine.engine.complete(ME, "q", lost.uid, lease=token(lost))
    taken = machine.engine.claim(ME, "q", 9)
    assert len({job.uid for job in taken}) == 4
    assert machine.engine.claim(ME, "q", 9) == []


def test_a_lease_taken_after_a_jump_forward_lasts_its_time(machine: Machine) -> None:
    machine.put(terms=ONCE)
    machine.wall += DAY
    job = machine.take()

    machine.run(59 * S)
    machine.sweep()
    machine.engine.beat(ME, "q", job.uid, lease=token(job))
    machine.run(MINUTE)
    machine.sweep()

    assert machine.states() == {State.FAILED: 1}
    assert machine.events[Event.LOST_FAILED] == 1


def test_a_day_forward_and_back_again_happens_once_and_time_goes_on(
    machine: Machine,
) -> None:
    machine.put(terms=TWICE)
    machine.take()
    machine.wall += DAY
    machine.sweep()
    machine.wall -= DAY
    machine.sweep()

    again = machine.take()
    assert again.attempt == 2
    machine.run(MINUTE)
    machine.sweep()

    assert machine.events[Event.LOST_RETRIED] == 1
    assert machine.events[Event.LOST_FAILED] == 1


@pytest.mark.parametrize("jump", [-HOUR, DAY])
def test_a_restart_after_a_jump_loses_no_time_and_does_nothing_twice(
    machine: Machine, jump: int
) -> None:
    machine.put(terms=ONCE)
    machine.take()
    machine.run(30 * S)
    machine.put(priority=1)
    machine.house.close()
    machine.wall += jump

    machine.start()
    machine.run(30 * S)
    machine.sweep()
    machine.sweep()

    assert machine.states() == {State.FAILED: 1, State.QUEUED: 1}
    assert machine.events[Event.LOST_FAILED] == 1
    machine.house.close()


def test_the_sweeper_is_never_told_to_wait_for_the_past(machine: Machine) -> None:
    machine.put(valid_for_ms=100)
    machine.wall -= HOUR

    assert 0 <= machine.sweeper.until_due() <= 1
    machine.run(S)

    assert machine.sweeper.until_due() == 0
