"""One file has one owner: two starts at once, and a file taken away from a daemon.

The second start runs, whole, before each call that the first one makes to the system:
no two of them can be closer than that.
"""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random

import pytest
from driven import DB, RULES, found, power, simulation
from machine import Machine
from plants import LOCK_BUGS, planted
from test_faults import SECRETS, job
from test_structures import kill, serve

from jobengine.build import open_house
from jobengine.errors import StoreBusy, StoreError, StoreFailed
from jobengine.store.journal.disk import OsDisk
from jobengine.store.journal.frame import Type
from jobengine.store.journal.log import Tail
from jobengine.store.journal.opening import open_database
from jobengine.store.journal.records import encode
from jobengine.testing import CHEAP_KDF, SimClock


def nothing() -> Machine:
    return Machine()


def abandoned_creation() -> Machine:
    machine = Machine()
    power(machine)
    OsDisk(DB).create_first()
    machine.kill()
    return machine


def clean_file() -> Machine:
    machine = Machine()
    serve(machine, 1)
    return machine


def unclean_file() -> Machine:
    machine = Machine()
    kill(machine, 1)
    return machine


SCENES = (nothing, abandoned_creation, clean_file, unclean_file)


def start(number: int) -> Tail | None:
    """A process that opens the database and commits a job; None when it is busy."""
    try:
        tail = open_database(OsDisk(DB), SECRETS[0], kdf=CHEAP_KDF).tail
    except StoreBusy:
        return None
    tail.append(Type.TXN, encode([(None, job(number))]))
    tail.sync()
    return tail


class Meddler:
    """Starts a second process before the nth call of the first."""

    def __init__(self, nth: int, *, ends: bool) -> None:
        self._left = nth
        self._ends = ends
        self.came = False
        self.tail: Tail | None = None

    def __call__(self, _call: str) -> None:
        self._left -= 1
        if self._left == 0:
            self.came = True
            self.tail = start(8)
            if self.tail is not None and self._ends:
                self.tail.file.close()


def race(scene: Callable[[], Machine], *, ends: bool) -> None:
    """Two starts, at every distance.

    Raises:
        AssertionError, OSError, StoreError: they got in each other's way.
    """
    with simulation(Random(0)):
        for nth in count(1):
            machine = scene()
            power(machine)
            machine.fault = meddler = Meddler(nth, ends=ends)

            first = start(7)

            if not meddler.came:
                break
            machine.kill()
            served = {7: first is not None, 8: meddler.tail is not None}
            assert any(served.values()), f"call {nth}: nobody was served"
            assert ends or not all(served.values()), f"call {nth}: both were served"
            rows = found(machine, SECRETS)
            for number, was_served in served.items():
                assert (job(number).uid in rows) == was_served, f"call {nth}: lost"
        assert nth > 8, "the first start made hardly a call"


def all_races() -> None:
    """Every scene, the second start staying."""
    for scene in SCENES:
        race(scene, ends=False)


@pytest.mark.parametrize("ends", [True, False], ids=["second ends", "second stays"])
@pytest.mark.parametrize("scene", SCENES)
def test_two_starts_at_once_never_write_one_file(
    scene: Callable[[], Machine], ends: bool
) -> None:
    race(scene, ends=ends)


@pytest.mark.parametrize("bug", LOCK_BUGS)
def test_a_rule_of_the_lock_that_is_not_kept_shows(bug: str) -> None:
    with planted(LOCK_BUGS[bug]), pytest.raises((AssertionError, OSError, StoreError)):
        all_races()


@pytest.mark.parametrize("taken", ["moved away", "replaced", "deleted"])
def test_nothing_is_acknowledged_into_a_file_that_is_not_there(
    tmp_path: Path, taken: str
) -> None:
    path, clock = tmp_path / "db", SimClock()
    house = open_house(
        db_path=path,
        secret=SECRETS[0],
        rules=RULES,
        clock=clock,
        on_failure=lambda _error: None,
        kdf=CHEAP_KDF,
    )
    with house.store.transaction() as tx:
        tx.add(job(1))

    if taken == "moved away":
        path.rename(tmp_path / "elsewhere")
    elif taken == "replaced":
        (tmp_path / "backup").write_bytes(path.read_bytes())
        (tmp_path / "backup").replace(path)
    else:
        path.unlink()
    clock.advance(ms=200)

    for number in (2, 3):
        with (
            pytest.raises(StoreFailed, match="replaced"),
            house.store.transaction() as tx,
        ):
            tx.add(job(number))
    house.close()
