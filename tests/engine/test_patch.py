"""A writer changes what a job says, where it is still what the writer saw."""

import pytest
from asking import (
    BROWSER,
    MANAGER,
    ME,
    ONCE,
    READER,
    STRANGER,
    TWICE,
    WRITER,
    Desk,
    refusal,
    rulebook,
    token,
)
from msgspec.structs import replace

from jobengine.core.access import Caller
from jobengine.core.events import Event
from jobengine.core.job import Change, Job, State
from jobengine.engine import Receipt
from jobengine.errors import (
    Forbidden,
    JobNotFound,
    JobTooLarge,
    MemoryFull,
    PreconditionFailed,
    QueueFull,
    QueueNotFound,
    WrongState,
)
from jobengine.testing import SimDisk

NINE = Change(priority=9)


def patch(desk: Desk, job: Job, change: Change = NINE, caller: Caller = WRITER) -> Job:
    return desk.engine.patch(caller, "q", job.uid, change)


# --- what -------------------------------------------------------------------------


def test_a_patched_job_says_what_it_is_told_and_is_otherwise_as_it_was(
    desk: Desk,
) -> None:
    job = desk.put(b"{}", unique_key="k", fingerprint="f", progress=b"1", trace="t")
    desk.clock.advance(seconds=1)
    now = desk.clock.now()
    change = Change(priority=9, content=b"[]", run_at=now + 5, expires_at=now + 9)

    after = patch(desk, job, change)

    assert after == desk.row(job)
    assert after == replace(
        job,
        priority=9,
        content=b"[]",
        run_at=now + 5,
        expires_at=now + 9,
        updated_at=now,
    )


def test_a_patched_job_stays_with_its_holder_and_its_lease_runs_on(desk: Desk) -> None:
    job = desk.held()
    desk.clock.advance(seconds=1)
    desk.events.clear()

    after = patch(desk, job, Change(run_at=5))

    assert after.lease == job.lease
    assert desk.events == [Event.UPDATED]
    desk.engine.complete(ME, "q", job.uid, lease=token(job))


def test_a_state_is_not_what_a_patch_changes(desk: Desk) -> None:
    job = desk.put()

    after = patch(desk, job, Change(state=State.COMPLETE, priority=9))

    assert (after.state, after.priority) == (State.QUEUED, 9)


def test_a_job_that_is_wanted_sooner_is_taken_sooner_and_rings(desk: Desk) -> None:
    first, later = desk.put(), desk.put(delay_ms=60_000)
    desk.rung.clear()

    patch(desk, later, Change(priority=99, run_at=0))

    assert desk.rung == ["q"]
    assert [desk.take().uid, desk.take().uid] == [later.uid, first.uid]


def test_a_job_that_is_put_off_is_not_handed_out(desk: Desk) -> None:
    job = desk.put()
    patch(desk, job, Change(run_at=desk.clock.now() + 1000))

    assert desk.engine.claim(ME, "q") == []
    desk.clock.advance(seconds=1)
    assert desk.take().uid == job.uid


def test_a_job_that_is_told_to_have_expired_is_gone(desk: Desk) -> None:
    job = desk.put()

    patch(desk, job, Change(expires_at=desk.clock.now()))

    assert desk.engine.claim(ME, "q") == []
    assert desk.rows() == {}


def test_a_patch_is_there_after_a_restart() -> None:
    desk = Desk(disk=SimDisk())
    job, receipt = desk.put(), Receipt()

    after = desk.engine.patch(
        WRITER, "q", job.uid, Change(content=b"[1]", run_at=7), receipt=receipt
    )
    desk.restart()

    assert receipt.commit is not None
    assert desk.row(job) == after
    desk.house.close()


# --- when -------------------------------------------------------------------------


def test_a_job_is_changed_only_where_it_is_what_the_writer_saw(desk: Desk) -> None:
    seen = desk.put()
    now = patch(desk, seen, Change(priority=7))

    with pytest.raises(PreconditionFailed, match="changed since"):
        desk.engine.patch(WRITER, "q", seen.uid, NINE, when=seen.__eq__)
    with pytest.raises(PreconditionFailed):
        desk.engine.delete(WRITER, "q", seen.uid, when=seen.__eq__)
    assert desk.row(seen) == now

    after = desk.engine.patch(WRITER, "q", seen.uid, NINE, when=now.__eq__)
    desk.engine.delete(WRITER, "q", seen.uid, when=after.__eq__)
    assert desk.rows() == {}


def test_what_time_has_done_is_a_change_too(desk: Desk) -> None:
    seen = desk.held(terms=TWICE)
    desk.clock.advance(minutes=1)

    with pytest.raises(PreconditionFailed):
        desk.engine.patch(WRITER, "q", seen.uid, NINE, when=seen.__eq__)

    assert desk.row(seen) == seen
    assert patch(desk, seen).state is State.QUEUED


def test_a_job_that_is_gone_is_gone_whatever_the_writer_saw(desk: Desk) -> None:
    job = desk.put(valid_for_ms=1000)
    desk.clock.advance(seconds=1)

    assert refusal(patch, desk, job) is JobNotFound


# --- refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "error"),
    [
        (STRANGER, QueueNotFound),
        (READER, Forbidden),
        (BROWSER, Forbidden),
        (MANAGER, Forbidden),
        (WRITER, None),
    ],
)
def test_who_writes_may_patch(
    desk: Desk, caller: Caller, error: type[Exception] | None
) -> None:
    job = desk.put()

    assert refusal(patch, desk, job, NINE, caller) is error
    assert (desk.row(job) == job) == (error is not None)


@pytest.mark.parametrize(
    "state", [State.COMPLETE, State.FAILED, State.CANCELLED], ids=str
)
def test_a_finished_job_is_what_it_is(desk: Desk, state: State) -> None:
    job = desk.put()
    done = desk.engine.update(WRITER, "q", job.uid, Change(state=state))

    assert refusal(patch, desk, job) is WrongState
    assert desk.row(job) == done


def test_a_job_whose_last_lease_was_lost_is_finished(desk: Desk) -> None:
    job = desk.held(terms=ONCE)
    desk.clock.advance(minutes=1)

    assert refusal(patch, desk, job) is WrongState


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"max_job_bytes": 4}, JobTooLarge),
        ({"max_bytes": 4}, QueueFull),
        ({"house": {"memory_bytes": 700}}, MemoryFull),
    ],
)
def test_a_payload_that_has_grown_needs_room(
    limits: dict[str, object], error: type[Exception]
) -> None:
    desk = Desk(rulebook(**limits))  # type: ignore[arg-type]
    job = desk.put(b"1234")

    assert refusal(patch, desk, job, Change(content=bytes(100))) is error

    assert desk.row(job) == job
    assert patch(desk, job, Change(content=b"12")).content == b"12"
