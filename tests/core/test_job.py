"""What a job is, and what makes a new one or a change valid."""

import pytest
from msgspec.structs import replace

from jobengine.core.backoff import Backoff
from jobengine.core.job import (
    ATTEMPTS_MAX,
    FINISHED,
    INSTANT_MAX,
    KEY_CHARS_MAX,
    OWN,
    PROGRESS_BYTES_MAX,
    TRACE_CHARS_MAX,
    Change,
    Job,
    Keys,
    Lease,
    NewJob,
    Renewal,
    State,
    Terms,
    row_bytes,
)
from jobengine.core.past import Past, Run
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


@pytest.mark.parametrize("run_at", [0, INSTANT_MAX])
def test_a_run_may_be_put_off_to_any_instant_of_the_calendar(run_at: int) -> None:
    assert Change(run_at=run_at).run_at == run_at


@pytest.mark.parametrize("run_at", [-1, INSTANT_MAX + 1])
def test_an_instant_to_run_at_that_means_nothing_is_refused(run_at: int) -> None:
    with pytest.raises(InvalidJob, match="year 10000") as error:
        Change(run_at=run_at)

    assert faults_of(error) == ["run_at"]


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
        (Change(state=State.COMPLETE, run_at=1), False),
    ],
)
def test_a_bare_state_is_told_from_every_other_change(
    change: Change, alone: bool
) -> None:
    assert change.state_alone is alone


# --- terms ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [None, OWN, 1, ATTEMPTS_MAX])
def test_a_limit_is_a_count_or_none_or_what_the_queue_says(count: int | None) -> None:
    terms = Terms(max_attempts=count, poison_after=count)

    assert (terms.max_attempts, terms.poison_after) == (count, count)


@pytest.mark.parametrize("count", [-2, 0, ATTEMPTS_MAX + 1])
def test_a_limit_that_means_nothing_is_refused(count: int) -> None:
    with pytest.raises(InvalidJob, match="must be from 1 to") as error:
        Terms(max_attempts=count, poison_after=count)

    assert faults_of(error) == ["max_attempts", "poison_after"]


@pytest.mark.parametrize("field", ["lease_ms", "keep_ms", "dead_keep_ms"])
@pytest.mark.parametrize("time", [-2, INSTANT_MAX + 1])
def test_a_time_agreed_on_is_one_of_the_calendar(field: str, time: int) -> None:
    for good in (None, 0, INSTANT_MAX):
        assert getattr(Terms(**{field: good}), field) == good
    with pytest.raises(InvalidJob, match="ten thousand years") as error:
        Terms(**{field: time})

    assert faults_of(error) == [field]


def test_only_the_keep_of_dead_letters_is_left_to_the_queue_by_a_word() -> None:
    """For the others None says as much."""
    assert Terms(dead_keep_ms=OWN).dead_keep_ms == OWN
    with pytest.raises(InvalidJob) as error:
        Terms(lease_ms=OWN, keep_ms=OWN)

    assert faults_of(error) == ["lease_ms", "keep_ms"]


# --- what came later --------------------------------------------------------------


@pytest.mark.parametrize("field", ["expires_at", "run_at", "delay_ms"])
@pytest.mark.parametrize("instant", [-1, INSTANT_MAX + 1])
def test_a_job_begins_and_ends_within_the_calendar(field: str, instant: int) -> None:
    for good in (None, 0, INSTANT_MAX):
        assert getattr(NewJob(b"{}", **{field: good}), field) == good  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match="year 10000") as error:
        NewJob(b"{}", **{field: instant})  # type: ignore[arg-type]

    assert faults_of(error) == [field]


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("unique_key", KEY_CHARS_MAX),
        ("fingerprint", KEY_CHARS_MAX),
        ("trace", TRACE_CHARS_MAX),
    ],
)
def test_a_key_is_any_text_that_is_not_too_long(field: str, most: int) -> None:
    for good in (None, "x", "\N{HONEYBEE}" * most):
        assert getattr(NewJob(b"{}", **{field: good}), field) == good  # type: ignore[arg-type]
    for wrong in ("", "x" * (most + 1), "half a pair: \ud83d"):
        with pytest.raises(InvalidJob) as error:
            NewJob(b"{}", **{field: wrong})  # type: ignore[arg-type]
        assert faults_of(error) == [field]


def test_progress_is_no_longer_than_a_row_can_be() -> None:
    most = b"x" * PROGRESS_BYTES_MAX
    assert NewJob(b"{}", progress=most).progress == most
    assert Renewal(progress=most).progress == most

    for make in (NewJob, Renewal):
        with pytest.raises(InvalidJob, match="at most 65536 bytes") as error:
            make(content=b"{}", progress=most + b"x")
        assert faults_of(error) == ["progress"]


def test_a_renewal_tells_every_fault_at_once() -> None:
    with pytest.raises(InvalidJob) as error:
        Renewal(run_at=-1, progress=b"x" * (PROGRESS_BYTES_MAX + 1))

    assert faults_of(error) == ["run_at", "progress"]


def test_a_new_job_tells_every_fault_at_once() -> None:
    with pytest.raises(InvalidJob) as error:
        NewJob(
            b"{}",
            0,
            expires_at=-1,
            run_at=-1,
            delay_ms=-1,
            unique_key="",
            fingerprint="",
            progress=b"x" * (PROGRESS_BYTES_MAX + 1),
        )

    assert faults_of(error) == [
        *("priority", "expires_at", "run_at", "delay_ms"),
        *("unique_key", "fingerprint", "progress"),
    ]


# --- what a row takes -------------------------------------------------------------

PLAIN = Job("u", "mail", 1, 50, State.QUEUED, b"{}", 1, 1, 1, None, 0, Terms())


def test_a_plain_row_takes_its_names() -> None:
    held = replace(PLAIN, lease=Lease("t", "worker", 2, 1))

    assert row_bytes(PLAIN) == 4
    assert row_bytes(held) == 4 + 6


def test_a_row_takes_what_is_in_it_in_bytes_not_in_letters() -> None:
    base = row_bytes(replace(PLAIN, keys=Keys()))

    for rare, size in [
        (replace(PLAIN, keys=Keys("abc", "\xe9")), 3 + 2),
        (replace(PLAIN, keys=Keys("abc", None, "trace")), 3 + 5),
        (replace(PLAIN, progress=b"12345"), 5),
        (replace(PLAIN, result=b"1234"), 4),
        (replace(PLAIN, past=Past()), 0),
        (replace(PLAIN, terms=Terms(backoff=Backoff())), 0),
        (replace(PLAIN, terms=Terms(backoff=Backoff("list", delays_ms=(1, 2)))), 18),
    ]:
        assert row_bytes(rare) == base + size
    run = Run(1, 2, 3, "attempts", "\N{HONEYBEE}")
    past = replace(PLAIN, past=Past(runs=(run, replace(run, error=None))))
    assert row_bytes(past) - base == 4 + 2 * 48


def test_the_last_error_is_that_of_the_last_run() -> None:
    run = Run(1, 2, 3, "attempts", "first")
    past = Past(runs=(run, replace(run, error="second")))

    assert PLAIN.error is None
    assert replace(PLAIN, past=Past()).error is None
    assert replace(PLAIN, past=past).error == "second"


@pytest.mark.parametrize("text", ["a\nb", "\0", "\x7f", "\x85"])
def test_a_key_has_no_control_characters(text: str) -> None:
    for key in ("unique_key", "fingerprint"):
        with pytest.raises(InvalidJob, match=f"{key}: must be without control"):
            NewJob(b"{}", **{key: text})
