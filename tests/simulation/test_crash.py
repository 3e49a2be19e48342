"""No power cut costs what was acknowledged; a rule that is not kept shows at once."""

import errno
from collections.abc import Callable
from random import Random

import pytest
from crash import cuts, run_seed
from driven import Process, Rows, found, simulation, tool
from life import Failure, Fault, unwatched
from machine import Machine
from plants import CRASH_BUGS, planted
from test_faults import SECRETS, job

from jobengine.errors import StoreError
from jobengine.store.journal import copies
from jobengine.testing import SimClock

CRASH_STATES = "crash states"
# The rest is for `make torture-crash`.
SHARES = [range(first, first + 15) for first in range(0, 90, 15)]
SEEDS_TO_CATCH_A_BUG = 100


@pytest.mark.parametrize("seeds", SHARES, ids=str)
def test_a_power_cut_costs_nothing_that_was_acknowledged(
    seeds: range, record_property: Callable[[str, object], None]
) -> None:
    record_property(CRASH_STATES, states(seeds))


@pytest.mark.parametrize("bug", CRASH_BUGS)
def test_a_rule_that_is_not_kept_costs_something(bug: str) -> None:
    with planted(CRASH_BUGS[bug]), pytest.raises(Failure):
        states(range(SEEDS_TO_CATCH_A_BUG))


def test_a_start_without_room_makes_the_rename_it_finds_durable() -> None:
    with simulation(Random(0)):
        machine = Machine()
        committed(machine, 1).kill()
        machine.fault = Fault("sync_folder", 1, errno.EIO)
        with pytest.raises(StoreError):
            Process(machine, SimClock(), SECRETS)

        machine.fault = Fault("create", 1, errno.ENOSPC)
        process = committed(machine, 2)

        assert_kept(machine, {job(n).uid: job(n) for n in (1, 2)})
        process.kill()


def test_a_clean_start_makes_the_rename_of_a_tool_durable() -> None:
    with simulation(Random(0)):
        machine = Machine()
        committed(machine, 1).close()
        machine.fault = Fault("sync_folder", 1, errno.EIO)
        with pytest.raises(OSError, match="sync_folder"):
            tool(
                machine,
                SECRETS,
                lambda disk, secrets: copies.rewrite(disk, secrets, watch=unwatched),
            )

        process = committed(machine, 2)

        assert_kept(machine, {job(n).uid: job(n) for n in (1, 2)})
        process.kill()


def test_a_watermark_whose_sync_failed_is_not_relied_on() -> None:
    with simulation(Random(0)):
        machine = Machine()
        machine.stubborn = True
        process = committed(machine, 1)
        machine.fault = Fault("sync", 2, errno.EIO)
        process.close()

        process = Process(machine, SimClock(), SECRETS)
        served = len(machine.log)
        process.idle()

        assert_kept(machine, {job(1).uid: job(1)}, since=served)
        process.kill()


def committed(machine: Machine, number: int) -> Process:
    """A process that has committed this job."""
    process = Process(machine, SimClock(), SECRETS)
    process.commit([(None, job(number))])
    return process


def assert_kept(machine: Machine, rows: Rows, *, since: int | None = None) -> None:
    """A power cut, now or at a point since, leaves these rows."""
    first = len(machine.log) if since is None else since
    for point, image in cuts(machine, Random(0), 7):
        if point >= first:
            assert found(Machine(image), SECRETS) == rows, f"cut at {point}"


def states(seeds: range) -> int:
    """How many states these seeds go through."""
    return sum(run_seed(seed) for seed in seeds)
