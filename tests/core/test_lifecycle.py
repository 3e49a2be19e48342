"""What verbs and time make of a job."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from jobengine.core import lifecycle
from jobengine.core.backoff import AT_ONCE
from jobengine.core.job import (
    FINISHED,
    INSTANT_MAX,
    PROGRESS_BYTES_MAX,
    Change,
    Job,
    Lease,
    NewJob,
    Renewal,
    State,
    Terms,
)
from jobengine.core.lifecycle import BECOMES, SETTLE, Verb, due_at, tick
from jobengine.core.past import Past, Run
from jobengine.core.queues import QueueRules
from jobengine.errors import InvalidJob, WrongState

RULES = QueueRules("q", lease_ms=1000, keep_ms=5000, backoff=AT_ONCE)
ONCE = Terms(max_attempts=1)


def queued(terms: Terms = ONCE, *, valid_for_ms: int | None = None) -> Job:
    new = NewJob(b'{"a":1}', 7, valid_for_ms, terms)
    return lifecycle.create(new, uid="u", queue="q", seq=3, now=100)


def claimed(terms: Terms = ONCE, *, valid_for_ms: int | None = None) -> Job:
    job = queued(terms, valid_for_ms=valid_for_ms)
    return lifecycle.claim(job, now=200, token="t", holder="h", rules=RULES)


def in_state(state: State, terms: Terms = ONCE) -> Job:
    return entered(queued(terms), state, now=200)


def entered(job: Job, state: State, *, now: int) -> Job:
    return lifecycle.enter(job, state, now=now, token="t", holder="h", rules=RULES)


def updated(job: Job, change: Change, *, now: int = 300) -> Job:
    return lifecycle.update(job, change, now=now, token="n", holder="w", rules=RULES)


def changes(before: Job, after: Job) -> dict[str, object]:
    """The fields in which *after* differs, with what they are now."""
    old, new = asdict(before), asdict(after)
    return {field: new[field] for field in new if new[field] != old[field]}


# --- created and claimed ----------------------------------------------------------


def test_a_new_job_is_queued_with_no_attempt_and_nothing_undecided() -> None:
    assert queued() == Job(
        uid="u",
        queue="q",
        seq=3,
        priority=7,
        state=State.QUEUED,
        content=b'{"a":1}',
        created_at=100,
        updated_at=100,
        run_at=100,
        expires_at=None,
        attempt=0,
        terms=ONCE,
    )


def test_a_new_job_expires_when_its_time_of_validity_ends() -> None:
    assert queued(valid_for_ms=50).expires_at == 150


def test_a_job_cannot_be_valid_beyond_the_calendar() -> None:
    new = NewJob(b"{}", valid_for_ms=INSTANT_MAX)

    assert lifecycle.create(new, uid="u", queue="q", seq=0, now=0) is not None
    with pytest.raises(InvalidJob, match="year 10000"):
        lifecycle.create(new, uid="u", queue="q", seq=0, now=1)


def test_a_claim_uses_an_attempt_and_leases_the_job_for_the_time_of_the_queue() -> None:
    assert changes(queued(), claimed()) == {
        "state": State.INPROGRESS,
        "attempt": 1,
        "lease": Lease("t", "h", 1200, since=200),
        "updated_at": 200,
    }


def test_a_job_with_a_lease_time_of_its_own_is_leased_for_that() -> None:
    terms = Terms(lease_ms=30)

    assert claimed(terms).lease == Lease("t", "h", 230, since=200)
    again = lifecycle.beat(claimed(terms), now=210, rules=RULES)
    assert again.lease == Lease("t", "h", 240, since=200)


# --- the table --------------------------------------------------------------------

ACTS: dict[Verb, Callable[[Job], Job]] = {
    Verb.CLAIM: lambda job: lifecycle.claim(
        job, now=300, token="t", holder="h", rules=RULES
    ),
    Verb.BEAT: lambda job: lifecycle.beat(job, now=300, rules=RULES),
    Verb.COMPLETE: lambda job: lifecycle.complete(job, now=300, rules=RULES),
    Verb.FAIL: lambda job: lifecycle.fail(job, now=300, rules=RULES),
    Verb.RELEASE: lambda job: lifecycle.release(job, now=300, rules=RULES),
    Verb.RESCHEDULE: lambda job: lifecycle.reschedule(
        job, Renewal(), now=300, rules=RULES
    ),
    Verb.OVERWRITE: lambda job: lifecycle.overwrite(job, NewJob(b"[]"), now=300),
    Verb.PATCH: lambda job: lifecycle.patch(job, Change(priority=9), now=300),
    Verb.CANCEL: lambda job: lifecycle.cancel(job, now=300, rules=RULES),
    Verb.RETRY: lambda job: lifecycle.retry(job, now=300, rules=RULES),
}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("state", State)
def test_a_verb_leads_where_the_table_says_and_starts_nowhere_else(
    state: State, verb: Verb
) -> None:
    job = in_state(state)

    if (state, verb) in BECOMES:
        assert ACTS[verb](job).state is BECOMES[state, verb]
    else:
        with pytest.raises(WrongState, match=f"cannot {verb.name.lower()}"):
            ACTS[verb](job)


@pytest.mark.parametrize("state", SETTLE)
def test_a_holder_reaches_the_state_it_names(state: State) -> None:
    assert SETTLE[state](claimed(), now=300, rules=RULES).state is state


def test_a_holder_cannot_cancel() -> None:
    assert set(SETTLE) == set(State) - {State.CANCELLED}


# --- settled ----------------------------------------------------------------------


def test_a_beat_starts_the_lease_over_and_does_nothing_else() -> None:
    after = lifecycle.beat(claimed(), now=300, rules=RULES)

    assert changes(claimed(), after) == {
        "lease": Lease("t", "h", 1300, since=200),
        "updated_at": 300,
    }


def test_a_complete_job_is_kept_from_now_on_and_held_by_nobody() -> None:
    after = lifecycle.complete(claimed(), now=300, rules=RULES)

    assert changes(claimed(), after) == {
        "state": State.COMPLETE,
        "lease": None,
        "finished_at": 300,
        "keep_until": 5300,
        "updated_at": 300,
    }


def test_what_came_of_the_work_is_kept_with_the_job_in_place_of_its_progress() -> None:
    job = replace(claimed(), progress=b"7")

    after = lifecycle.complete(job, now=300, rules=RULES, result=b"null")

    assert (after.result, after.progress) == (b"null", None)
    # Where nothing came of it, its progress stays.
    after = lifecycle.complete(job, now=300, rules=RULES)
    assert (after.result, after.progress) == (None, b"7")


def test_a_result_is_no_longer_than_a_row_can_be() -> None:
    most = b"x" * PROGRESS_BYTES_MAX

    after = lifecycle.complete(claimed(), now=300, rules=RULES, result=most)
    assert after.result == most
    with pytest.raises(InvalidJob, match="result: must be JSON of at most 65536"):
        lifecycle.complete(claimed(), now=300, rules=RULES, result=most + b"x")


@pytest.mark.parametrize("state", State)
def test_a_result_is_gone_once_the_job_is_opened_again(state: State) -> None:
    done = lifecycle.complete(claimed(), now=300, rules=RULES, result=b"7")

    after = updated(done, Change(state=state))

    assert after.result == (b"7" if state in FINISHED else None)


def test_a_job_with_a_keep_of_its_own_is_kept_for_that() -> None:
    job = claimed(Terms(keep_ms=0))

    assert lifecycle.complete(job, now=300, rules=RULES).keep_until == 300


def test_a_failed_attempt_with_others_left_gives_the_job_back() -> None:
    job = claimed(Terms(max_attempts=2))

    after = lifecycle.fail(job, now=300, rules=RULES)

    assert changes(job, after) == {
        "state": State.QUEUED,
        "lease": None,
        "updated_at": 300,
        "past": Past(runs=(Run(1, 200, 300, "attempts"),)),
    }


def test_a_job_without_a_limit_of_attempts_always_gets_another() -> None:
    job = replace(claimed(Terms()), attempt=1_000_000)

    assert lifecycle.fail(job, now=300, rules=RULES).state is State.QUEUED


def test_the_last_failed_attempt_fails_the_job_and_says_why() -> None:
    after = lifecycle.fail(claimed(), now=300, rules=RULES)

    assert changes(claimed(), after) == {
        "state": State.FAILED,
        "lease": None,
        "finished_at": 300,
        "keep_until": 5300,
        "reason": "attempts",
        "updated_at": 300,
        "past": Past(runs=(Run(1, 200, 300, "attempts"),)),
    }


def test_a_released_job_is_as_if_it_had_never_been_claimed() -> None:
    after = lifecycle.release(claimed(), now=300, rules=RULES)

    assert changes(queued(), after) == {"updated_at": 300}


def test_or_it_waits_for_the_instant_that_its_holder_says() -> None:
    after = lifecycle.release(claimed(), now=300, rules=RULES, run_at=900)

    assert changes(queued(), after) == {"updated_at": 300, "run_at": 900}


@pytest.mark.parametrize("run_at", [-1, INSTANT_MAX + 1])
def test_it_waits_for_no_instant_beyond_the_calendar(run_at: int) -> None:
    with pytest.raises(InvalidJob, match="run_at"):
        lifecycle.release(claimed(), now=300, rules=RULES, run_at=run_at)


# --- patched ----------------------------------------------------------------------


@pytest.mark.parametrize("job", [queued(valid_for_ms=50), claimed(valid_for_ms=50)])
@pytest.mark.parametrize(
    "becomes",
    [
        {"priority": 9},
        {"content": b"[]"},
        {"expires_at": 77},
        {"run_at": 88},
        {"priority": 9, "content": b"", "expires_at": 77, "run_at": 0},
    ],
)
def test_a_patch_changes_what_it_names_and_no_state_and_no_lease(
    job: Job, becomes: dict[str, Any]
) -> None:
    after = lifecycle.patch(job, Change(**becomes), now=300)

    assert changes(job, after) == {**becomes, "updated_at": 300}


def test_an_instant_to_run_at_is_part_of_a_writers_change_too() -> None:
    after = updated(queued(), Change(run_at=88))

    assert changes(queued(), after) == {"run_at": 88, "updated_at": 300}


# --- overridden by a writer -------------------------------------------------------


@pytest.mark.parametrize("start", State)
@pytest.mark.parametrize("end", State)
def test_a_writer_may_put_a_job_from_any_state_into_any_other(
    start: State, end: State
) -> None:
    job = in_state(start)

    after = updated(job, Change(state=end))

    assert after.state is end
    assert (after.lease is None) == (end is not State.INPROGRESS)
    assert (after.finished_at, after.keep_until) == (
        (300, 5300) if end in FINISHED else (None, None)
    )
    assert after.updated_at == 300
    assert (after.uid, after.seq, after.run_at) == (job.uid, job.seq, job.run_at)


def test_a_writer_who_takes_a_job_holds_it_under_a_new_lease_as_its_first_attempt() -> (
    None
):
    job = replace(claimed(Terms(max_attempts=3)), attempt=3)

    after = updated(job, Change(state=State.INPROGRESS))

    assert after.lease == Lease("n", "w", 1300, since=300)
    assert after.attempt == 1


def test_a_job_opened_again_starts_from_nothing_in_its_old_place() -> None:
    failed = lifecycle.fail(claimed(), now=300, rules=RULES)

    after = updated(failed, Change(state=State.QUEUED), now=400)

    # Only what went wrong is remembered.
    assert changes(queued(), after) == {"updated_at": 400, "past": failed.past}


@pytest.mark.parametrize("state", State)
def test_what_a_writer_sets_forgives_what_went_wrong_and_forgets_none_of_it(
    state: State,
) -> None:
    run = Run(1, 200, 300, "lease_lost")
    job = replace(claimed(), past=Past(lost=2, rescheduled=99, runs=(run,)))

    assert updated(job, Change(state=state)).past == Past(runs=(run,))


def test_a_job_that_a_writer_fails_has_no_reason() -> None:
    lost = tick(claimed(), now=1200, rules=RULES)
    assert lost is not None
    assert lost.reason == "lease_lost"

    assert updated(lost, Change(state=State.FAILED)).reason is None


def test_an_empty_change_is_no_change() -> None:
    job = claimed()

    assert updated(job, Change()) is job


@pytest.mark.parametrize(
    ("change", "becomes"),
    [
        (Change(priority=9), {"priority": 9}),
        (Change(content=b"[]"), {"content": b"[]"}),
        (Change(expires_at=77), {"expires_at": 77}),
        (
            Change(priority=9, content=b"", expires_at=77),
            {"priority": 9, "content": b"", "expires_at": 77},
        ),
    ],
)
def test_a_change_changes_what_it_names_and_nothing_else(
    change: Change, becomes: dict[str, object]
) -> None:
    assert changes(queued(), updated(queued(), change)) == {
        **becomes,
        "updated_at": 300,
    }


def test_a_change_sets_fields_and_state_at_once() -> None:
    after = updated(claimed(), Change(state=State.QUEUED, priority=9, content=b"[]"))

    assert changes(queued(), after) == {
        "priority": 9,
        "content": b"[]",
        "updated_at": 300,
    }


def test_a_change_to_a_job_in_progress_is_a_heartbeat() -> None:
    after = updated(claimed(), Change(priority=9))

    assert after.lease == Lease("t", "h", 1300, since=200)


def test_a_change_to_a_finished_job_keeps_it_for_longer() -> None:
    job = in_state(State.COMPLETE)

    after = updated(job, Change(priority=9))

    assert (job.keep_until, after.keep_until) == (5200, 5300)
    assert after.finished_at == job.finished_at


# --- time -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "due"),
    [
        (queued(), None),
        (queued(valid_for_ms=50), 150),
        (claimed(valid_for_ms=50), 1200),
        (in_state(State.COMPLETE), 5200),
        (in_state(State.FAILED), 5200),
        (in_state(State.CANCELLED), 5200),
    ],
)
def test_a_job_is_due_when_time_next_changes_it(job: Job, due: int | None) -> None:
    assert due_at(job) == due


@pytest.mark.parametrize("state", State)
def test_nothing_becomes_of_a_job_before_it_is_due(state: State) -> None:
    job = entered(queued(valid_for_ms=500), state, now=200)
    due = due_at(job)
    assert due is not None

    assert tick(job, now=due - 1, rules=RULES) is job
    assert tick(job, now=due, rules=RULES) is not job


def test_a_job_that_never_expires_waits_for_ever() -> None:
    assert tick(queued(), now=INSTANT_MAX, rules=RULES) == queued()


@pytest.mark.parametrize("state", [State.QUEUED, *FINISHED])
def test_time_ends_a_queued_and_a_finished_job(state: State) -> None:
    job = entered(queued(valid_for_ms=500), state, now=200)

    assert tick(job, now=INSTANT_MAX, rules=RULES) is None


def test_a_lost_lease_gives_another_attempt_where_one_is_left() -> None:
    job = claimed(Terms(max_attempts=2))

    lost, failed = (
        tick(job, now=1200, rules=RULES),
        lifecycle.fail(job, now=1200, rules=RULES),
    )

    assert lost == replace(
        failed, past=Past(lost=1, runs=(Run(1, 200, 1200, "lease_lost"),))
    )


def test_a_job_whose_last_lease_was_lost_is_kept_as_failed_from_that_sweep_on() -> None:
    lost = tick(claimed(), now=9999, rules=RULES)

    assert lost is not None
    assert (lost.state, lost.reason) == (State.FAILED, "lease_lost")
    assert (lost.finished_at, lost.keep_until) == (9999, 14_999)


def test_the_expiry_of_a_job_in_progress_waits_until_its_lease_is_lost() -> None:
    job = claimed(Terms(max_attempts=2), valid_for_ms=150)

    assert tick(job, now=1199, rules=RULES) == job
    assert tick(job, now=1200, rules=RULES) is None


def test_a_job_that_is_not_kept_is_gone_with_its_last_lease() -> None:
    job = claimed(Terms(max_attempts=1, keep_ms=0))

    assert tick(job, now=1200, rules=RULES) is None


def test_a_reload_moves_no_lease_and_no_keep_that_has_begun() -> None:
    """D30."""
    later = replace(RULES, lease_ms=1, keep_ms=1)
    done = in_state(State.COMPLETE)

    assert tick(claimed(), now=1199, rules=later) == claimed()
    assert tick(done, now=5199, rules=later) == done


def test_no_lease_and_no_keep_ends_later_than_anybody_can_say() -> None:
    endless = Terms(
        max_attempts=1,
        lease_ms=INSTANT_MAX,
        keep_ms=INSTANT_MAX,
        dead_keep_ms=INSTANT_MAX,
    )

    held = claimed(endless)
    beaten = lifecycle.beat(held, now=300, rules=RULES)
    done = lifecycle.complete(held, now=300, rules=RULES)
    failed = lifecycle.fail(held, now=300, rules=RULES)

    assert held.lease is not None
    assert held.lease.until == INSTANT_MAX
    assert beaten.lease is not None
    assert beaten.lease.until == INSTANT_MAX
    assert done.keep_until == failed.keep_until == INSTANT_MAX
