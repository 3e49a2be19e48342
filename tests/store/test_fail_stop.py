"""After its first failed write the house says no to everything until it is reopened."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from drafts import opened

from jobengine.core.access import Caller
from jobengine.core.job import Change, NewJob, State
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.engine import Engine
from jobengine.errors import StoreFailed
from jobengine.store.journal.frame import Type
from jobengine.testing import SimClock, SimDisk, sim_house

RULES = Rulebook({"q1": QueueRules("q1", frozenset({"w"}), frozenset({"w"}))})
ME = Caller("w")

VERBS: dict[str, Callable[[Engine, str], object]] = {
    "enqueue": lambda engine, _: engine.enqueue(ME, "q1", NewJob(b"{}")),
    "claim": lambda engine, _: engine.claim(ME, "q1"),
    "update": lambda engine, uid: engine.update(ME, "q1", uid, Change(priority=1)),
    "settle": lambda engine, uid: engine.update(
        ME, "q1", uid, Change(state=State.COMPLETE)
    ),
    "delete": lambda engine, uid: engine.delete(ME, "q1", uid),
    "listing": lambda engine, _: engine.listing(ME, "q1"),
}


# ENOSPC from a write is full, not failed.
@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("write", errno.EIO),
        ("write", errno.EROFS),
        ("sync", errno.EIO),
        ("sync", errno.ENOSPC),
    ],
)
def test_after_a_failure_every_verb_is_refused_and_nothing_is_written(
    call: str, code: int
) -> None:
    disk, clock, told = SimDisk(), SimClock(), list[BaseException]()
    house = sim_house(RULES, clock, disk, on_failure=told.append)
    kept = house.engine.enqueue(ME, "q1", NewJob(b"{}"))
    disk.fail = lambda name: code if name == call else None

    with pytest.raises(StoreFailed, match="started again"):
        house.engine.enqueue(ME, "q1", NewJob(b"{}"))
    disk.fail = lambda _call: None
    data = bytes(disk.names["db"].data)
    for verb in VERBS.values():
        with pytest.raises(StoreFailed):
            verb(house.engine, kept.uid)
    with pytest.raises(StoreFailed):
        house.upkeep.sweep()
    assert house.compactor is not None
    with pytest.raises(StoreFailed):
        list(house.compactor.run())
    house.close()

    assert [type(error) for error in told] == [OSError]
    assert isinstance(house.store.failure, StoreFailed)
    assert bytes(disk.names["db"].data) == data
    again = opened(disk)
    assert again.why == "the last stop was not clean"
    assert kept.uid in again.rows.jobs


def test_the_next_start_writes_everything_again_before_it_serves() -> None:
    disk = SimDisk()
    house = sim_house(RULES, SimClock(), disk)
    kept = house.engine.enqueue(ME, "q1", NewJob(b"{}"))
    disk.fail = lambda name: errno.EIO if name == "sync" else None
    with pytest.raises(StoreFailed):
        house.engine.delete(ME, "q1", kept.uid)
    disk.fail = lambda _call: None
    house.close()
    old = disk.names["db"]

    again = sim_house(RULES, SimClock(), disk)

    # The pages of a failed sync only look written: none of them is trusted.
    assert disk.names["db"] is not old
    assert again.opened == "the last stop was not clean"
    assert disk.names["db"].data[16384 + 4] in (Type.SNAP, Type.SNAP_END)
    again.close()


FORK = """
import os, sys
from pathlib import Path
from jobengine.build import open_house
from jobengine.core.access import Caller
from jobengine.core.job import NewJob
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.errors import StoreBusy
from jobengine.testing import CHEAP_KDF, SECRET, SimClock

me = frozenset({"w"})
rules = Rulebook({"q1": QueueRules("q1", me, me)})

def opened():
    return open_house(
        db_path=Path(sys.argv[1]), secret=SECRET, rules=rules, clock=SimClock(),
        on_failure=lambda error: None, kdf=CHEAP_KDF,
    )

house = opened()
house.engine.enqueue(Caller("w"), "q1", NewJob(b"1"))
child = os.fork()
if not child:
    house.close()  # as a child that leaves in order would
    os._exit(0 if "could not be written" in str(house.store.failure) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
house.engine.enqueue(Caller("w"), "q1", NewJob(b"2"))
try:
    opened()
except StoreBusy:
    print("still ours")
house.close()
again = opened()
print(again.opened, again.store.rows.jobs)
again.close()
"""


def test_a_forked_child_that_closes_the_house_writes_nothing(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(tmp_path / "db")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ["still ours", "clean 2"]
