"""Why a job is not running: each thing in its way, by name."""

import pytest
from msgspec.structs import asdict, replace

from jobengine.core import lifecycle
from jobengine.core.explain import Circumstances, Explanation, explain
from jobengine.core.job import Change, Job, NewJob, State, Terms
from jobengine.core.queues import QueueRules

RULES = QueueRules("q", lease_ms=1000, keep_ms=5000)
TWICE = Terms(max_attempts=2)


def queued(**fields: object) -> Job:
    new = NewJob(b"{}", **fields)  # type: ignore[arg-type]
    return lifecycle.create(new, uid="u", queue="q", seq=3, now=100)


def held(**fields: object) -> Job:
    return lifecycle.claim(
        queued(**fields), now=200, token="t", holder="worker 1", rules=RULES
    )


def why(
    job: Job,
    *,
    now: int = 200,
    inprogress: int = 0,
    waiters: int = 0,
    ahead: int = 0,
    **rules: object,
) -> Explanation:
    around = Circumstances(now, replace(RULES, **rules), inprogress, waiters)
    return explain(job, around, ahead)


def codes(explanation: Explanation) -> list[str]:
    return [blocker.code for blocker in explanation.blockers]


def only(explanation: Explanation) -> dict[str, object]:
    """The one blocker, without its words."""
    [blocker] = explanation.blockers
    assert blocker.detail
    assert blocker.remedy
    said = asdict(blocker)
    return {
        name: value
        for name, value in said.items()
        if value is not None and name not in ("detail", "remedy")
    }


# --- it could run -----------------------------------------------------------------


@pytest.mark.parametrize(("waiters", "told"), [(0, "nobody waits"), (3, "3 requests")])
def test_a_job_that_may_be_taken_says_so_and_who_waits(waiters: int, told: str) -> None:
    answer = why(queued(), waiters=waiters)

    assert answer.claimable
    assert only(answer) == {"code": "next", "count": waiters}
    assert told in answer.blockers[0].detail


def test_a_job_behind_others_says_how_many() -> None:
    answer = why(queued(), ahead=7)

    assert not answer.claimable
    assert only(answer) == {"code": "behind", "count": 7}


# --- the queue --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "told"), [("", "is paused"), ("moving house", "paused: moving house")]
)
def test_a_paused_queue_hands_out_nothing_and_says_why(reason: str, told: str) -> None:
    answer = why(queued(), paused=reason)

    assert not answer.claimable
    assert only(answer) == {"code": "paused"}
    assert answer.blockers[0].detail.endswith(told)


def test_a_queue_with_as_many_in_progress_as_may_be_names_the_limit() -> None:
    answer = why(queued(), inprogress=2, max_inprogress=2)

    assert not answer.claimable
    assert only(answer) == {"code": "limit", "count": 2, "limit": 2}
    assert why(queued(), inprogress=1, max_inprogress=2).claimable


def test_a_limit_that_was_lowered_since_is_one_too() -> None:
    assert codes(why(queued(), inprogress=5, max_inprogress=2)) == ["limit"]


# --- time -------------------------------------------------------------------------


def test_a_scheduled_job_waits_until_its_instant() -> None:
    job = queued(run_at=900)

    assert only(why(job, now=899)) == {"code": "scheduled", "until": 900}
    assert why(job, now=900).claimable


def test_a_job_that_failed_waits_for_its_next_attempt() -> None:
    job = lifecycle.fail(
        held(terms=TWICE), now=300, rules=RULES, error="no", retry_at=900
    )

    answer = why(job, now=300)

    assert only(answer) == {"code": "backoff", "until": 900, "count": 1}
    assert not answer.claimable


def test_everything_in_the_way_is_told_the_queue_first() -> None:
    answer = why(
        queued(run_at=900), ahead=3, inprogress=1, max_inprogress=1, paused="because"
    )

    assert codes(answer) == ["paused", "limit", "scheduled"]
    assert not answer.claimable


# --- it is past that --------------------------------------------------------------


def test_a_held_job_names_its_holder_and_until_when() -> None:
    answer = why(held(), paused="because")

    assert only(answer) == {"code": "leased", "until": 1200, "holder": "worker 1"}
    assert not answer.claimable


def test_a_complete_job_is_done_and_kept_for_a_while() -> None:
    done = lifecycle.complete(held(), now=300, rules=RULES)

    assert only(why(done)) == {"code": "complete", "until": 5300}


def test_a_cancelled_job_may_be_retried() -> None:
    answer = why(lifecycle.cancel(held(), now=300, rules=RULES))

    assert only(answer) == {"code": "cancelled", "until": 5300}
    assert "retry" in answer.blockers[0].remedy


@pytest.mark.parametrize("reason", lifecycle.FAILURES)
def test_a_dead_letter_says_of_what_it_died(reason: str) -> None:
    job = lifecycle.fail(
        held(terms=Terms(max_attempts=1)), now=300, rules=RULES, reason=reason
    )

    answer = why(job)

    assert only(answer) == {"code": "dead", "until": 5300}
    # In words, and not by its code.
    assert f": {reason}," not in answer.blockers[0].detail
    assert "after 1 attempt" in answer.blockers[0].detail


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (Terms(max_attempts=1), lifecycle.LEASE_LOST),
        (Terms(poison_after=1), lifecycle.POISON),
    ],
)
def test_a_job_whose_holder_was_lost_says_so(terms: Terms, reason: str) -> None:
    job = lifecycle.tick(held(terms=terms), now=1200, rules=RULES)
    assert job is not None
    assert job.reason == reason

    answer = why(job)

    assert codes(answer) == ["dead"]
    assert "lost" in answer.blockers[0].detail


def test_a_job_that_a_writer_failed_says_that() -> None:
    job = lifecycle.update(
        queued(),
        Change(state=State.FAILED),
        now=300,
        token="t",
        holder="w",
        rules=RULES,
    )

    answer = why(job)

    assert codes(answer) == ["dead"]
    assert "a writer" in answer.blockers[0].detail


def test_nothing_of_a_jobs_content_is_told() -> None:
    secret = b'"a needle in the payload"'
    for job in (queued(), held(), queued(run_at=900)):
        answer = why(replace(job, content=secret, progress=secret), ahead=1)
        assert "needle" not in "".join(
            blocker.detail + blocker.remedy for blocker in answer.blockers
        )
