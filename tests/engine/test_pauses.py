"""A paused queue takes jobs and hands none out."""

import pytest
from asking import (
    ADMIN,
    BROWSER,
    MANAGER,
    ME,
    ONCE,
    STRANGER,
    Desk,
    refusal,
    rulebook,
    token,
)
from msgspec.structs import replace

from jobengine.admin import REASON_CHARS_MAX
from jobengine.core.access import Caller
from jobengine.errors import Forbidden, InvalidQueue, QueueNotFound
from jobengine.testing import SimDisk

WHY = "the printer is on fire"


def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(desk: Desk) -> None:
    desk.put()

    desk.admin.pause(MANAGER, "q", WHY)

    assert desk.engine.claim(ME, "q") == []
    assert desk.engine.peek(ME, "q") is None
    assert desk.engine.rules.queues["q"].paused == WHY
    desk.put()
    desk.admin.resume(MANAGER, "q")
    assert len(desk.engine.claim(ME, "q", 5)) == 2
    assert desk.engine.rules.queues["q"].paused is None


def test_what_is_in_progress_goes_on_in_a_paused_queue(desk: Desk) -> None:
    job = desk.held()

    desk.admin.pause(MANAGER, "q", WHY)

    job = desk.engine.beat(ME, "q", job.uid, lease=token(job))
    assert desk.engine.complete(ME, "q", job.uid, lease=token(job))


def test_time_goes_on_in_a_paused_queue(desk: Desk) -> None:
    desk.put(valid_for_ms=1000)
    desk.held(priority=99, terms=ONCE)
    desk.admin.pause(MANAGER, "q", WHY)

    desk.clock.advance(minutes=1)

    assert desk.sweep() == {("q", "expired"): 1, ("q", "lost"): 1}


def test_a_resume_rings_for_those_who_wait(desk: Desk) -> None:
    desk.put()
    desk.admin.pause(MANAGER, "q", WHY)
    desk.rung.clear()

    desk.admin.resume(MANAGER, "q")

    assert desk.rung == ["q"]


def test_a_resume_of_what_is_not_paused_changes_nothing(desk: Desk) -> None:
    before = desk.engine.rules

    desk.admin.resume(MANAGER, "q")

    assert desk.engine.rules == before
    assert desk.rung == []


def test_the_last_reason_given_is_the_one_that_stands(desk: Desk) -> None:
    desk.admin.pause(MANAGER, "q", WHY)
    desk.admin.pause(MANAGER, "q", "")

    assert desk.engine.rules.queues["q"].paused == ""
    assert desk.engine.claim(ME, "q") == []


def test_a_pause_outlives_restarts_and_reloads() -> None:
    desk = Desk(disk=SimDisk())
    desk.put()
    desk.admin.pause(MANAGER, "q", WHY)

    desk.restart()
    assert desk.engine.claim(ME, "q") == []
    desk.house.upkeep.reconfigure(rulebook(lease_ms=5))
    assert desk.engine.claim(ME, "q") == []
    assert desk.engine.rules.queues["q"].paused == WHY

    desk.admin.resume(MANAGER, "q")
    desk.restart()
    assert desk.take()
    desk.house.close()


def test_a_queue_that_returns_is_as_paused_as_it_was() -> None:
    desk = Desk()
    desk.put()
    desk.admin.pause(MANAGER, "q", WHY)

    desk.house.upkeep.reconfigure(replace(rulebook(), queues={}))
    desk.house.upkeep.reconfigure(rulebook())

    assert desk.engine.claim(ME, "q") == []


@pytest.mark.parametrize(
    ("caller", "error"),
    [
        (ME, Forbidden),
        (BROWSER, Forbidden),
        (STRANGER, QueueNotFound),
        (Caller("admin"), QueueNotFound),
    ],
)
def test_only_those_who_manage_pause_and_resume(
    desk: Desk, caller: Caller, error: type[Exception]
) -> None:
    with pytest.raises(error):
        desk.admin.pause(caller, "q", WHY)
    assert desk.engine.rules.queues["q"].paused is None

    desk.admin.pause(ADMIN, "q", WHY)
    with pytest.raises(error):
        desk.admin.resume(caller, "q")
    assert desk.engine.rules.queues["q"].paused == WHY


def test_a_queue_that_there_is_not_cannot_be_paused(desk: Desk) -> None:
    assert refusal(desk.admin.pause, ADMIN, "z", WHY) is QueueNotFound
    assert refusal(desk.admin.resume, ADMIN, "z") is QueueNotFound


def test_a_reason_is_a_line_and_no_book(desk: Desk) -> None:
    with pytest.raises(InvalidQueue, match="at most 500"):
        desk.admin.pause(MANAGER, "q", "x" * (REASON_CHARS_MAX + 1))

    assert desk.engine.rules.queues["q"].paused is None
