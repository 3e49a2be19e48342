"""The daemon's clock, with the machine's clocks in the test's hands."""

import threading

import pytest
from structlog.testing import capture_logs

from jobengine.daemon.clock import SystemClock

S = 1_000_000_000  # nanoseconds
NOON = 1_800_000_000 * S
HOUR = 3600 * S


class Machine:
    """A wall clock and the time since boot, which a test moves."""

    def __init__(self) -> None:
        self.wall = NOON
        self.boot = 500 * S

    def run(self, ns: int) -> None:
        self.wall += ns
        self.boot += ns


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> SystemClock:
    return SystemClock(wall=lambda: machine.wall, since_boot=lambda: machine.boot)


def test_it_begins_with_the_wall_and_runs_with_the_machine(
    machine: Machine, clock: SystemClock
) -> None:
    assert clock.now() == NOON // 1_000_000

    machine.run(1_500_000_000)

    assert clock.now() == NOON // 1_000_000 + 1500


def test_it_begins_with_the_newest_instant_of_the_file_where_that_is_later(
    machine: Machine, clock: SystemClock
) -> None:
    tomorrow = NOON // 1_000_000 + 86_400_000

    clock.start_from(tomorrow)
    machine.run(S)

    assert clock.now() == tomorrow + 1000


def test_an_older_file_does_not_take_it_back(clock: SystemClock) -> None:
    clock.start_from(NOON // 1_000_000 - 86_400_000)

    assert clock.now() == NOON // 1_000_000


def test_a_jump_of_the_wall_forward_is_time_that_has_passed(
    machine: Machine, clock: SystemClock
) -> None:
    machine.wall += HOUR

    assert clock.now() == (NOON + HOUR) // 1_000_000


def test_a_jump_of_the_wall_back_neither_stops_it_nor_takes_it_back(
    machine: Machine, clock: SystemClock
) -> None:
    before = clock.now()

    machine.wall -= HOUR
    machine.run(S)

    assert clock.now() == before + 1000


def test_a_wall_that_is_behind_is_warned_about_once(
    machine: Machine, clock: SystemClock
) -> None:
    machine.wall -= HOUR

    with capture_logs() as lines:
        clock.now()
        clock.now()

    assert [(line["code"], line["behind_ms"]) for line in lines] == [
        ("clock_behind", 3_600_000)
    ]


def test_a_thread_set_aside_between_two_readings_is_no_jump(machine: Machine) -> None:
    def slowly() -> int:
        machine.run(S)
        return machine.boot

    clock = SystemClock(wall=lambda: machine.wall, since_boot=slowly)

    with capture_logs() as lines:
        first, second = clock.now(), clock.now()

    assert second - first == 1000
    assert not lines


def test_many_threads_never_see_it_go_back_while_the_wall_jumps(
    machine: Machine, clock: SystemClock
) -> None:
    backwards: list[tuple[int, int]] = []

    def read() -> None:
        last = 0
        for _ in range(2000):
            now = clock.now()
            if now < last:
                backwards.append((last, now))
            last = now

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(200):
        machine.wall += S if step % 2 else -S // 2
    for thread in threads:
        thread.join()

    assert not backwards


def test_the_real_one_agrees_with_the_machine_to_begin_with() -> None:
    clock = SystemClock()

    first = clock.now()
    second = clock.now()

    assert 1_700_000_000_000 < first <= second
    assert clock.monotonic() > 0
