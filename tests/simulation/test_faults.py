"""Every call to the disk fails once, in every way it can, over one fixed workload.

Nothing is acknowledged that is not durable, the store serves no more once it has
failed, and the next start has everything that was acknowledged: with the page cache
as the fault left it, and after a power cut.
"""

import errno
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import cache
from random import Random

import pytest
from driven import Process, Rows, Secrets, found, recovered, simulation
from life import Fault
from machine import SHORT, Machine
from platter import Platter

from jobengine.core.job import Job, State, Terms
from jobengine.errors import StoreError, StoreFailed, StoreFull
from jobengine.store.port import Change
from jobengine.testing import SimClock

SECRETS: Secrets = (b"secret", None)
# The power goes: no call succeeds from then on.
OFF = -2

WAYS: dict[str, tuple[int, ...]] = {
    "open": (errno.EIO, OFF),
    "create": (errno.EIO, errno.ENOSPC, OFF),
    "read": (errno.EIO, OFF),
    "write": (errno.EIO, errno.ENOSPC, SHORT, OFF),
    "fallocate": (errno.EIO, errno.ENOSPC, errno.EOPNOTSUPP, OFF),
    "sync": (errno.EIO, errno.ENOSPC, OFF),
    "rename": (errno.EIO, errno.ENOSPC, OFF),
    "sync_folder": (errno.EIO, errno.ENOSPC, OFF),
    "unlink": (errno.EIO, OFF),
}
WAYS_BY_NAME = {
    f"{call} {'short' if way == SHORT else errno.errorcode.get(way, 'power off')}": (
        call,
        way,
    )
    for call, ways in WAYS.items()
    for way in ways
}


class PowerOff(Exception):
    """Nothing can be done any more."""


class Workload:
    """Processes on a machine, and what may be found after each of their calls."""

    def __init__(self, machine: Machine, *, is_off: Callable[[], bool]) -> None:
        self.machine = machine
        self.possible: list[Rows] = [{}]
        self._is_off = is_off
        self._clock = SimClock()

    def run(self) -> None:
        """All of it, as far as the power goes."""
        self._process(self._a_day)
        self._process(self._a_killed_hour)
        self._process(self._a_last_hour)

    def _process(self, work: Callable[[Process], None]) -> None:
        for _ in range(2):
            if self._is_off():
                return
            try:
                process = Process(self.machine, self._clock, SECRETS)
            except StoreError:
                continue  # the fault was one of the start: start again
            except OSError:
                if self._is_off():
                    return
                raise
            assert process.rows() in self.possible, "a restart lost what it showed"
            self.possible = [process.rows()]
            try:
                work(process)
            except StoreFailed:
                self._must_serve_no_more(process)
            except PowerOff:
                process.kill()
            return
        raise AssertionError("one fault stopped two starts")

    def _a_day(self, process: Process) -> None:
        self._commit(process, [(None, job(1))])
        self._commit(process, [(None, job(2))], [(None, job(3)), (None, job(4))])
        process.idle()
        self._commit(process, [(job(2), job(2, state=State.COMPLETE))])
        self._clock.advance(ms=200)
        self._commit(process, [(job(3), None)])
        self._compact(process)
        self._commit(process, [(None, job(6))])
        process.close()

    def _a_killed_hour(self, process: Process) -> None:
        self._commit(process, [(None, job(7))])
        self._clock.advance(ms=200)
        self._commit(process, [(None, job(8))])
        process.kill()

    def _a_last_hour(self, process: Process) -> None:
        self._commit(process, [(None, job(9))])
        process.close()

    def _compact(self, process: Process) -> None:
        try:
            with closing(process.compact()) as steps:
                next(steps)
                self._commit(process, [(None, job(5))])
                for _ in steps:
                    pass
        except OSError as error:
            if self._is_off():
                raise PowerOff from error
            assert not process.failed, "a fault of the temporary file harmed the store"

    def _commit(self, process: Process, *transactions: list[Change]) -> None:
        for changes in transactions:
            self.possible.append(_after(self.possible[-1], changes))
        try:
            process.commit(*transactions)
        except StoreFull:
            del self.possible[-len(transactions) :]
        else:
            self.possible = self.possible[-1:]

    def _must_serve_no_more(self, process: Process) -> None:
        assert process.failed
        with pytest.raises(StoreFailed):
            process.commit([(None, job(99))])
        assert not process.rows().get(job(99).uid), "a refused change was made"
        process.kill()


def job(number: int, **fields: object) -> Job:
    """Always the same job of this number."""
    values: dict[str, object] = {
        "uid": f"{number:036d}",
        "queue": "q1",
        "seq": number,
        "priority": 50,
        "state": State.QUEUED,
        "content": b'"%b"' % (b"x" * 100 * number),
        "created_at": 1000,
        "updated_at": 1000,
        "run_at": 1000,
        "expires_at": None,
        "attempt": 0,
        "terms": Terms(),
    }
    return Job(**(values | fields))  # type: ignore[arg-type]


def _after(rows: Rows, changes: list[Change]) -> Rows:
    after = dict(rows)
    for old, new in changes:
        if isinstance(new, Job):
            after[new.uid] = new
        elif isinstance(old, Job):
            after.pop(old.uid, None)
    return after


@cache
def calls() -> Counter[str]:
    """How often the workload makes each call when nothing fails."""
    made: Counter[str] = Counter()
    with simulation(Random(0)):
        machine = Machine()
        machine.fault = lambda call: made.update([call])
        workload = Workload(machine, is_off=lambda: False)
        workload.run()
        assert len(workload.possible) == 1
        assert len(workload.possible[0]) == 8
    return made


def run_with_fault(call: str, nth: int, way: int) -> Workload:
    """The workload on a machine whose nth call of a name fails."""
    fault = Fault(call, nth, errno.EIO if way == OFF else way)

    def fails(name: str) -> int | None:
        code = fault(name)
        return errno.EIO if is_off() else code

    def is_off() -> bool:
        return way == OFF and fault.happened

    machine = Machine(rng=Random(nth))
    machine.fault = fails
    workload = Workload(machine, is_off=is_off)
    workload.run()
    machine.kill()
    machine.fault = lambda _call: None
    return workload


@pytest.mark.parametrize(("call", "way"), WAYS_BY_NAME.values(), ids=WAYS_BY_NAME)
def test_a_call_that_fails_costs_nothing_that_was_acknowledged(
    call: str, way: int
) -> None:
    rng = Random(0)
    with simulation(rng):
        for nth in range(1, calls()[call] + 1):
            workload = run_with_fault(call, nth, way)
            platter = Platter(workload.machine.start)
            for op in workload.machine.log:
                platter.take(op)

            for image in platter.images(rng, 7):
                assert found(Machine(image), SECRETS) in workload.possible, (
                    f"a power cut after fault {nth}"
                )
            if way != OFF:
                assert recovered(workload.machine, SECRETS) in workload.possible, (
                    f"a restart after fault {nth}"
                )


def test_the_workload_makes_every_call_that_is_failed() -> None:
    assert set(WAYS) <= set(calls())
