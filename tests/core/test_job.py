"""What a job is, and what makes a new one or a change valid."""

import pytest

from jobengine.core.job import FINISHED, INSTANT_MAX, Change, NewJob, State
from jobengine.errors import InvalidJob


def faults_of(error: pytest.ExceptionInfo[InvalidJob]) -> list[str]:
    return [field for field, _ in error.value.errors]


def test_the_numbers_of_the_states_are_those_of_the_file() -> None:
    assert {state.name: state.value for state in State} == {
        "QUEUED": 0,
        "INPROGRESS": 1,
        "COMPLETE": 2,
        "FAILED": 3,
        "CANCELLED": 4,
    }


def test_every_state_is_queued_in_progress_or_finished() -> None:
    assert {State.QUEUED, State.INPROGRESS} | set(FINISHED) == set(State)


@pytest.mark.parametrize("priority", [1, 50, 100])
def test_a_priority_from_1_to_100_is_good(priority: int) -> None:
    assert NewJob(b"{}", priority).priority == priority
    assert Change(priority=priority).priority == priority


@pytest.mark.parametrize("priority", [-1, 0, 101, 257, 1 << 70])
def test_a_priority_out_of_range_is_refused_and_never_wraps(priority: int) -> None:
    with pytest.raises(InvalidJob, match="must be from 1 to 100") as new:
        NewJob(b"{}", priority)
    with pytest.raises(InvalidJob, match="must be from 1 to 100") as change:
        Change(priority=priority)

    assert faults_of(new) == faults_of(change) == ["priority"]


@pytest.mark.parametrize("valid_for_ms", [None, 1, INSTANT_MAX])
def test_a_job_is_valid_for_ever_or_for_a_positive_time(
    valid_for_ms: int | None,
) -> None:
    assert NewJob(b"{}", valid_for_ms=valid_for_ms).valid_for_ms == valid_for_ms


@pytest.mark.parametrize("valid_for_ms", [0, -1, INSTANT_MAX + 1])
def test_a_time_of_validity_that_means_nothing_is_refused(valid_for_ms: int) -> None:
    with pytest.raises(InvalidJob, match="year 10000") as error:
        NewJob(b"{}", valid_for_ms=valid_for_ms)

    assert faults_of(error) == ["valid_for"]


@pytest.mark.parametrize("expires_at", [1, INSTANT_MAX])
def test_an_expiry_may_be_any_instant_of_the_calendar(expires_at: int) -> None:
    assert Change(expires_at=expires_at).expires_at == expires_at


@pytest.mark.parametrize("expires_at", [0, -1, INSTANT_MAX + 1])
def test_an_expiry_that_means_nothing_is_refused(expires_at: int) -> None:
    with pytest.raises(InvalidJob, match="year 10000") as error:
        Change(expires_at=expires_at)

    assert faults_of(error) == ["timeout_time"]


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidJob) as new:
        NewJob(b"{}", 0, valid_for_ms=0)
    with pytest.raises(InvalidJob) as change:
        Change(priority=0, expires_at=0)

    assert faults_of(new) == ["priority", "valid_for"]
    assert faults_of(change) == ["priority", "timeout_time"]


@pytest.mark.parametrize(
    ("change", "alone"),
    [
        (Change(state=State.COMPLETE), True),
        (Change(state=State.QUEUED), True),
        (Change(), False),
        (Change(priority=1), False),
        (Change(state=State.COMPLETE, priority=1), False),
        (Change(state=State.COMPLETE, content=b"{}"), False),
        (Change(state=State.COMPLETE, expires_at=1), False),
    ],
)
def test_a_bare_state_is_told_from_every_other_change(
    change: Change, alone: bool
) -> None:
    assert change.state_alone is alone
