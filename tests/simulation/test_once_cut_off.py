"""A request with a key is done once, though the power fails before its answer leaves.

The request is sent; the power is cut at every point of what is written for it; whoever
sent it has no answer and sends it again to what comes up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from crash import cuts
from driven import DB, power, simulation
from machine import Image, Machine

from jobengine.build import House, open_house
from jobengine.core.access import Caller
from jobengine.core.job import Job, NewJob
from jobengine.core.once import Answer, Headers, Once
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.core.schedules import NewSchedule, Schedule
from jobengine.testing import CHEAP_KDF, SECRET, SimClock

ME = Caller("me")
MINE = frozenset({"me"})
RULES = Rulebook({"q": QueueRules("q", read=MINE, write=MINE, manage=MINE)})
# States of the disk that are looked at, of each point.
STATES_A_POINT = 5


def told(what: Any) -> tuple[int, Headers, bytes]:
    names = [each.uid if isinstance(each, Job) else each.name for each in what]
    return 201, (), " ".join(names).encode()


def send(house: House, kind: str) -> Once:
    """Ask for two jobs, or for a schedule, with a key."""
    if kind == "jobs":
        once = Once("key", b"body", told)
        news = [("q", NewJob(b"{}")), ("q", NewJob(b"x" * 5000))]
        house.engine.enqueue_batch(ME, news, once=once)
    else:
        once = Once("key", b"body", lambda made: told([made]))
        house.schedules.create(ME, "q", NewSchedule("s", "@daily", b"{}"), once=once)
    return once


def named(house: House) -> bytes:
    """What there is, as an answer would name it."""
    with house.store.transaction() as tx:
        jobs, schedules = tx.jobs("q"), tx.records(Schedule)
        assert len(tx.records(Answer)) == bool(jobs or schedules)
    return b" ".join([told([each])[2] for each in [*jobs, *schedules]])


@contextmanager
def opened(machine: Machine) -> Iterator[House]:
    """A house on the machine, until its process is killed."""
    power(machine)
    house = open_house(
        db_path=DB,
        secret=SECRET,
        rules=RULES,
        clock=SimClock(),
        on_failure=lambda _error: None,
        kdf=CHEAP_KDF,
    )
    try:
        yield house
    finally:
        machine.kill()
        # Its threads must end; nothing they call has an effect any more.
        house.close()


def interrupted(kind: str, rng: Random) -> tuple[bytes, list[tuple[int, Image]], int]:
    """The answer that did not leave; disks after power cuts; when it was durable."""
    machine = Machine()
    with opened(machine) as house:
        started = len(machine.log)
        once = send(house, kind)
        durable = len(machine.log)
        assert once.answer is not None
    states = list(cuts(machine, rng, STATES_A_POINT))
    return once.answer.body, [cut for cut in states if cut[0] >= started], durable


@pytest.mark.parametrize("kind", ["jobs", "schedule"])
def test_a_request_cut_off_from_its_answer_and_sent_again_is_done_once(
    kind: str,
) -> None:
    with simulation(Random(0)):
        first, states, durable = interrupted(kind, Random(1))
        outcomes = set()
        for point, image in states:
            with opened(Machine(image)) as house:
                before = named(house)
                assert before in (b"", first), "the half of it"
                again = send(house, kind)
                assert again.answer is not None
                assert named(house) == again.answer.body
                assert again.replayed == (before == first)
                assert send(house, kind).answer == again.answer
                if point >= durable:
                    assert again.replayed, "it was acknowledged"
                outcomes.add(again.replayed)
        # Some of the cuts came before it was there, and some after.
        assert outcomes == {False, True}


def test_it_is_done_once_however_often_the_power_fails() -> None:
    """Each time before the answer has left, and at any point of the repetition."""
    rng = Random(2)
    with simulation(Random(0)):
        _, states, _ = interrupted("jobs", rng)
        done: bytes = b""
        for _ in range(20):
            machine = Machine(rng.choice(states)[1])
            with opened(machine) as house:
                before = named(house)
                assert before == (done or before)
                again = send(house, "jobs")
                assert again.answer is not None
                assert again.answer.body == (before or again.answer.body)
            states = list(cuts(machine, rng, STATES_A_POINT))
            # What the last start has found was on the disk: it stays.
            done = before
