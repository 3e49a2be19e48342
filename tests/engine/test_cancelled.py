"""Cancelled jobs: their workers are told, and what these say later changes nothing."""

import pytest
from asking import (
    ME,
    ONCE,
    READER,
    STRANGER,
    TWICE,
    WRITER,
    Desk,
    each_verb,
    refusal,
    say,
    token,
)

from jobengine.core.access import Caller
from jobengine.core.job import PROGRESS_BYTES_MAX, Change, State
from jobengine.errors import (
    Forbidden,
    InvalidJob,
    JobCancelled,
    JobNotFound,
    QueueNotFound,
    WrongState,
)


@each_verb
@pytest.mark.parametrize("shown", [True, False])
def test_the_worker_of_a_cancelled_job_is_told_so_and_changes_nothing(
    desk: Desk, verb: str, shown: bool
) -> None:
    job = desk.held()
    cancelled = desk.engine.cancel(WRITER, "q", job.uid)

    with pytest.raises(JobCancelled, match="drop the work"):
        say(desk, verb, job, lease=token(job) if shown else None)

    assert desk.rows() == {job.uid: cancelled}
    assert (cancelled.state, cancelled.reason) == (State.CANCELLED, None)


@pytest.mark.parametrize("caller", [READER, ME])
@pytest.mark.parametrize("state", [State.INPROGRESS, State.COMPLETE, State.FAILED])
@pytest.mark.parametrize("shown", [True, False])
def test_a_bare_state_comes_too_late_for_a_cancelled_job(
    desk: Desk, caller: Caller, state: State, shown: bool
) -> None:
    job = desk.held(caller)
    cancelled = desk.engine.cancel(WRITER, "q", job.uid)
    lease = token(job) if shown else None

    with pytest.raises(JobCancelled):
        desk.engine.update(caller, "q", job.uid, Change(state=state), lease=lease)

    assert desk.rows() == {job.uid: cancelled}


def test_a_writer_may_open_a_cancelled_job_again(desk: Desk) -> None:
    for open_again in (
        lambda uid: desk.engine.retry(WRITER, "q", uid),
        lambda uid: desk.engine.update(WRITER, "q", uid, Change(state=State.QUEUED)),
    ):
        job = desk.engine.cancel(WRITER, "q", desk.put().uid)
        assert open_again(job.uid).state is State.QUEUED


def test_what_is_finished_cannot_be_cancelled(desk: Desk) -> None:
    job = desk.held()
    done = desk.engine.complete(ME, "q", job.uid)

    with pytest.raises(WrongState):
        desk.engine.cancel(WRITER, "q", job.uid)

    assert desk.rows() == {job.uid: done}


def test_only_writers_cancel_and_retry(desk: Desk) -> None:
    job = desk.put()

    for act in (desk.engine.cancel, desk.engine.retry):
        assert refusal(act, READER, "q", job.uid) is Forbidden
        assert refusal(act, STRANGER, "q", job.uid) is QueueNotFound
        assert refusal(act, WRITER, "q", "none") is JobNotFound
    assert desk.rows() == {job.uid: job}


def test_all_live_jobs_of_a_fingerprint_are_cancelled_and_no_others(desk: Desk) -> None:
    done = desk.held(fingerprint="f")
    desk.engine.complete(ME, "q", done.uid)
    running = desk.held(fingerprint="f")
    group = [desk.put(fingerprint="f") for _ in range(250)]
    others = [desk.put(fingerprint="g"), desk.put()]

    assert sum(desk.admin.cancel_group(WRITER, "q", "f")) == 251

    rows = desk.rows()
    assert all(rows[job.uid].state is State.CANCELLED for job in (running, *group))
    assert rows[done.uid].state is State.COMPLETE
    assert [rows[job.uid] for job in others] == others
    assert sum(desk.admin.cancel_group(WRITER, "q", "f")) == 0
    with pytest.raises(JobCancelled):
        desk.engine.beat(ME, "q", running.uid)


def test_a_group_is_cancelled_by_those_who_may_write(desk: Desk) -> None:
    desk.put(fingerprint="f")

    for caller, error in ((READER, Forbidden), (STRANGER, QueueNotFound)):
        with pytest.raises(error):
            sum(desk.admin.cancel_group(caller, "q", "f"))

    assert sum(desk.admin.cancel_group(WRITER, "q", "f")) == 1


def test_what_time_has_ended_is_not_cancelled_with_its_group(desk: Desk) -> None:
    desk.put(fingerprint="f", valid_for_ms=1000)
    lost = desk.held(fingerprint="f", priority=90, terms=ONCE)
    left = desk.held(fingerprint="f", priority=90, terms=TWICE)
    desk.clock.advance(minutes=1)

    assert sum(desk.admin.cancel_group(WRITER, "q", "f")) == 1

    rows = desk.rows()
    assert {uid: row.state for uid, row in rows.items()} == {
        lost.uid: State.FAILED,
        left.uid: State.CANCELLED,
    }


def test_a_large_group_of_large_rows_is_cancelled(desk: Desk) -> None:
    """One transaction could not hold them all."""
    progress = bytes(PROGRESS_BYTES_MAX)
    for _ in range(300):
        desk.put(fingerprint="f", progress=progress)

    assert sum(desk.admin.cancel_group(WRITER, "q", "f")) == 300


def test_the_live_job_of_a_unique_key_is_cancelled_and_no_other(desk: Desk) -> None:
    done = desk.held(unique_key="k")
    desk.engine.complete(ME, "q", done.uid)
    running = desk.held(unique_key="k")
    other = desk.put(unique_key="l")
    # A job whose uid is asked for has not that key.
    assert desk.admin.cancel_key(WRITER, "q", other.uid) == 0

    assert [desk.admin.cancel_key(WRITER, "q", "k") for _ in range(2)] == [1, 0]

    rows = desk.rows()
    assert rows[running.uid].state is State.CANCELLED
    assert rows[done.uid].state is State.COMPLETE
    assert rows[other.uid] == other
    with pytest.raises(JobCancelled):
        desk.engine.beat(ME, "q", running.uid)


def test_what_time_has_ended_is_not_cancelled_by_its_key(desk: Desk) -> None:
    lost = desk.held(unique_key="a", terms=ONCE)
    left = desk.held(unique_key="b", terms=TWICE)
    expired = desk.put(unique_key="c", valid_for_ms=1000)
    desk.clock.advance(minutes=1)

    found = [desk.admin.cancel_key(WRITER, "q", key) for key in "abc"]

    assert found == [0, 1, 0]
    assert {uid: row.state for uid, row in desk.rows().items()} == {
        lost.uid: State.FAILED,
        left.uid: State.CANCELLED,
    }
    assert desk.row(expired) is None


def test_a_key_is_cancelled_by_those_who_may_write(desk: Desk) -> None:
    job = desk.put(unique_key="k")

    assert refusal(desk.admin.cancel_key, READER, "q", "k") is Forbidden
    assert refusal(desk.admin.cancel_key, STRANGER, "q", "k") is QueueNotFound
    assert refusal(desk.admin.cancel_key, WRITER, "none", "k") is QueueNotFound
    assert desk.rows() == {job.uid: job}


@pytest.mark.parametrize("none", ["", "x" * 1025, "a\nb"])
def test_what_no_job_can_have_cancels_none(desk: Desk, none: str) -> None:
    with pytest.raises(InvalidJob, match="fingerprint: must be"):
        desk.admin.cancel_group(WRITER, "q", none)
    with pytest.raises(InvalidJob, match="unique_key: must be"):
        desk.admin.cancel_key(WRITER, "q", none)
