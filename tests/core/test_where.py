"""Which of a queue's jobs are meant."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from jobengine.core.job import Job, Keys, State, Terms
from jobengine.core.where import DEAD, EVERY, Span, Where, is_dead, is_scheduled

NOW = 1000
JOB = Job("u", "q", 1, 50, State.QUEUED, b"{}", 100, 200, 300, None, 2, Terms())
ENDED = replace(JOB, state=State.COMPLETE, finished_at=400, keep_until=9000)
LETTER = replace(ENDED, state=State.FAILED, reason="attempts")
LATER = replace(JOB, run_at=NOW + 1)
CALLED = replace(JOB, keys=Keys("key", "print"))


# --- spans ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "instant", "held"),
    [
        (Span(), 5, True),
        (Span(after=5), 5, True),
        (Span(after=5), 4, False),
        (Span(before=5), 4, True),
        (Span(before=5), 5, False),
        (Span(after=5, before=6), 5, True),
        (Span(after=5, before=5), 5, False),
        (Span(after=0, before=1), 0, True),
    ],
)
def test_a_span_begins_with_its_first_instant_and_ends_before_its_last(
    span: Span, instant: int, held: bool
) -> None:
    assert span.holds(instant) is held


def test_what_has_no_instant_lies_only_in_a_span_without_limits() -> None:
    assert Span().holds(None)
    assert not Span(after=0).holds(None)
    assert not Span(before=1 << 60).holds(None)


# --- conditions -------------------------------------------------------------------


def test_without_conditions_every_job_is_meant() -> None:
    for job in (JOB, ENDED, LETTER, LATER, CALLED):
        assert EVERY.meets(job, NOW)


@pytest.mark.parametrize(
    ("where", "meets", "fails"),
    [
        (Where(states=frozenset({State.QUEUED})), JOB, ENDED),
        (Where(states=frozenset({State.COMPLETE, State.FAILED})), LETTER, JOB),
        (Where(dead=True), LETTER, ENDED),
        (Where(dead=False), JOB, LETTER),
        (Where(scheduled=True), LATER, JOB),
        (Where(scheduled=False), JOB, LATER),
        (Where(created=Span(after=100)), JOB, replace(JOB, created_at=99)),
        (Where(updated=Span(before=201)), JOB, replace(JOB, updated_at=201)),
        (Where(run=Span(after=300, before=301)), JOB, LATER),
        (Where(finished=Span(after=1)), ENDED, JOB),
        (Where(attempts_min=2), JOB, replace(JOB, attempt=1)),
        (Where(attempts_min=0), replace(JOB, attempt=0), replace(JOB, attempt=-1)),
        (Where(attempts_max=2), JOB, replace(JOB, attempt=3)),
        (Where(attempts_max=0), replace(JOB, attempt=0), JOB),
        (Where(unique_key="key"), CALLED, JOB),
        (Where(unique_key="print"), replace(JOB, keys=Keys("print")), CALLED),
        (Where(fingerprint="print"), CALLED, JOB),
        (Where(fingerprint="key"), replace(JOB, keys=Keys(None, "key")), CALLED),
        (Where(reason="attempts"), LETTER, replace(LETTER, reason="poison")),
        (Where(reason="attempts"), LETTER, JOB),
        (Where(uids=frozenset({"u", "v"})), JOB, replace(JOB, uid="w")),
    ],
)
def test_a_condition_tells_jobs_apart(where: Where, meets: Job, fails: Job) -> None:
    assert where.meets(meets, NOW)
    assert not where.meets(fails, NOW)


def test_no_uids_at_all_mean_no_job() -> None:
    """Unlike states: who names no job means none."""
    assert not Where(uids=frozenset()).meets(JOB, NOW)


def test_a_job_is_meant_when_all_conditions_hold_at_once() -> None:
    where = Where(
        states=frozenset({State.QUEUED}), unique_key="key", fingerprint="print"
    )

    assert where.meets(CALLED, NOW)
    for other in (
        replace(CALLED, state=State.CANCELLED),
        replace(CALLED, keys=Keys("other", "print")),
        replace(CALLED, keys=Keys("key", "other")),
    ):
        assert not where.meets(other, NOW)


conditions: dict[str, st.SearchStrategy[object]] = {
    "states": st.frozensets(st.sampled_from(State), max_size=2),
    "dead": st.none() | st.booleans(),
    "scheduled": st.none() | st.booleans(),
    "run": st.builds(Span, st.sampled_from([None, NOW]), st.sampled_from([None, NOW])),
    "attempts_min": st.sampled_from([None, 1]),
    "attempts_max": st.sampled_from([None, 1]),
    "unique_key": st.sampled_from([None, "key"]),
    "reason": st.sampled_from([None, "attempts"]),
    "uids": st.sampled_from([None, frozenset[str](), frozenset({"u"})]),
}
jobs = st.builds(
    lambda job, attempt, uid: replace(job, attempt=attempt, uid=uid),
    st.sampled_from([JOB, ENDED, LETTER, LATER, CALLED]),
    st.integers(0, 2),
    st.sampled_from("uv"),
)


@given(st.fixed_dictionaries({}, optional=conditions), jobs)
def test_conditions_together_mean_what_each_means_alone(
    how: dict[str, object], job: Job
) -> None:
    alone = [Where(**{name: value}) for name, value in how.items()]  # type: ignore[arg-type]

    together = Where(**how)  # type: ignore[arg-type]

    assert together.meets(job, NOW) == all(one.meets(job, NOW) for one in alone)


# --- what a job is ----------------------------------------------------------------


def test_a_dead_letter_failed_and_for_a_reason() -> None:
    assert is_dead(LETTER)
    assert DEAD.meets(LETTER, NOW)
    # A writer who sets the state gives none.
    for other in (replace(LETTER, reason=None), replace(LETTER, state=State.QUEUED)):
        assert not is_dead(other)
        assert not DEAD.meets(other, NOW)


@pytest.mark.parametrize(
    ("change", "scheduled"),
    [
        (lambda job: job, True),
        (lambda job: replace(job, run_at=NOW), False),
        (lambda job: replace(job, state=State.CANCELLED), False),
    ],
)
def test_a_scheduled_job_is_queued_and_its_instant_is_still_to_come(
    change: Callable[[Job], Job], scheduled: bool
) -> None:
    assert is_scheduled(change(LATER), NOW) is scheduled
