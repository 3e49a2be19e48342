"""What happened, read off what was there and what is there."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from jobengine.core import lifecycle
from jobengine.core.backoff import AT_ONCE
from jobengine.core.events import Event, event_of, ran_ms, waited_ms
from jobengine.core.job import Change, Job, Keys, NewJob, Renewal, State, Terms
from jobengine.core.past import Past
from jobengine.core.queues import MadeQueue, PausedQueue, QueueRules, RemovedQueue

RULES = QueueRules("q", lease_ms=1000, keep_ms=5000)
LATE = 1200  # when the lease of `held` has run out


def queued(*, attempts: int | None = 1, valid_for_ms: int | None = None) -> Job:
    new = NewJob(b"{}", 50, valid_for_ms, Terms(max_attempts=attempts))
    return lifecycle.create(new, uid="u", queue="q", seq=0, now=100)


def claimed(job: Job, now: int = 200) -> Job:
    return lifecycle.claim(job, now=now, token="t", holder="h", rules=RULES)


def held(**how: int | None) -> Job:
    return claimed(queued(**how))


def entered(job: Job, state: State, now: int = 300) -> Job:
    return lifecycle.enter(job, state, now=now, token="n", holder="w", rules=RULES)


def settled(verb: lifecycle.Settle, job: Job, now: int = 300) -> tuple[Job, Job]:
    return job, verb(job, now=now, rules=RULES)


def test_a_job_that_was_not_there_was_enqueued() -> None:
    assert event_of(None, queued(), 100) is Event.ENQUEUED


def test_a_queued_job_that_somebody_has_was_claimed() -> None:
    assert event_of(queued(), held(), 200) is Event.CLAIMED


@pytest.mark.parametrize(
    ("verb", "attempts", "event"),
    [
        (lifecycle.beat, 1, Event.BEAT),
        (lifecycle.complete, 1, Event.COMPLETED),
        (lifecycle.fail, 1, Event.FAILED),
        (lifecycle.fail, 2, Event.RETRIED),
        (lifecycle.fail, None, Event.RETRIED),
        (lifecycle.release, 1, Event.RELEASED),
        (lifecycle.release, 2, Event.RELEASED),
    ],
)
def test_what_a_holder_says_is_what_happened(
    verb: lifecycle.Settle, attempts: int | None, event: Event
) -> None:
    old, new = settled(verb, held(attempts=attempts))

    assert event_of(old, new, 300) is event


@pytest.mark.parametrize(
    ("attempts", "event"),
    [(1, Event.LOST_FAILED), (2, Event.LOST_RETRIED), (None, Event.LOST_RETRIED)],
)
def test_a_lost_lease_is_no_release_and_no_failure(
    attempts: int | None, event: Event
) -> None:
    job = held(attempts=attempts)

    assert event_of(job, lifecycle.tick(job, now=LATE, rules=RULES), LATE) is event


def test_the_last_instant_of_a_lease_is_the_holders_no_more() -> None:
    for now, event in ((LATE - 1, Event.RELEASED), (LATE, Event.LOST_RETRIED)):
        old, new = settled(lifecycle.release, held(attempts=2), now)
        assert event_of(old, new, now) is event


def test_a_failure_that_waits_before_it_is_tried_again_was_retried() -> None:
    old = held(attempts=3)
    for new in (
        lifecycle.fail(old, now=300, rules=RULES, retry_at=9000),
        lifecycle.fail(old, now=300, rules=RULES),
        lifecycle.fail(
            replace(old, terms=Terms(3, backoff=AT_ONCE)), now=300, rules=RULES
        ),
    ):
        assert event_of(old, new, 300) is Event.RETRIED


@pytest.mark.parametrize(
    "renewal",
    [
        Renewal(),
        Renewal(run_at=9000),
        Renewal(run_at=100, content=b"[]", progress=b"1"),
        Renewal(run_at=9000, terms=Terms(max_attempts=7)),
    ],
)
def test_a_job_that_its_holder_puts_off_was_rescheduled(renewal: Renewal) -> None:
    old = held(attempts=3)

    new = lifecycle.reschedule(old, renewal, now=300, rules=RULES)

    assert event_of(old, new, 300) is Event.RESCHEDULED


def test_a_job_put_off_once_too_often_has_failed() -> None:
    old = replace(held(), terms=Terms(poison_after=3), past=Past(rescheduled=99))

    new = lifecycle.reschedule(old, Renewal(), now=300, rules=RULES)

    assert event_of(old, new, 300) is Event.FAILED


@pytest.mark.parametrize("made", [queued, held])
def test_a_job_whose_place_a_new_one_takes_was_overwritten(
    made: Callable[[], Job],
) -> None:
    old = replace(made(), keys=Keys("k"))

    new = lifecycle.overwrite(old, NewJob(b"{}", unique_key="k"), now=300)

    assert event_of(old, new, 300) is Event.OVERWRITTEN


@pytest.mark.parametrize("made", [queued, held])
def test_a_job_that_a_writer_cancels_was_cancelled(made: Callable[[], Job]) -> None:
    new = lifecycle.cancel(made(), now=300, rules=RULES)

    assert event_of(made(), new, 300) is Event.CANCELLED


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_dead_letter_that_starts_anew_was_revived(state: State) -> None:
    dead = entered(queued(), state)

    new = lifecycle.retry(dead, now=400, rules=RULES)

    assert event_of(dead, new, 400) is Event.REVIVED


def test_a_heartbeat_that_tells_how_far_it_has_come_is_a_heartbeat() -> None:
    new = lifecycle.beat(held(), now=300, rules=RULES, progress=b"7")

    assert event_of(held(), new, 300) is Event.BEAT


def test_a_job_that_is_not_kept_is_told_of_and_then_forgotten() -> None:
    old = replace(held(), terms=Terms(keep_ms=0))
    new = lifecycle.complete(old, now=300, rules=RULES)

    assert event_of(old, new, 300) is Event.COMPLETED
    assert event_of(new, None, 300) is Event.FORGOTTEN


def test_a_lost_job_that_was_past_its_expiry_too_was_lost() -> None:
    job = held(attempts=2, valid_for_ms=500)

    assert lifecycle.tick(job, now=LATE, rules=RULES) is None
    assert event_of(job, None, LATE) is Event.LOST_FAILED


@pytest.mark.parametrize("state", State)
def test_what_a_writer_makes_of_a_lost_job_comes_after_the_loss(state: State) -> None:
    job = held(attempts=2)
    left = lifecycle.tick(job, now=LATE, rules=RULES)
    assert left is not None

    event = event_of(job, entered(left, state, LATE), LATE)

    assert event in {Event.LOST_RETRIED, Event.LOST_FAILED}


EXPIRED = queued(valid_for_ms=50)  # at 150
COMPLETE = lifecycle.complete(held(), now=300, rules=RULES)  # kept until 5300


@pytest.mark.parametrize(
    ("job", "now", "event"),
    [
        (EXPIRED, 150, Event.EXPIRED),
        (EXPIRED, 149, Event.DELETED),
        (queued(), 10**12, Event.DELETED),
        (COMPLETE, 5300, Event.FORGOTTEN),
        (COMPLETE, 5299, Event.DELETED),
        (held(), LATE - 1, Event.DELETED),
    ],
)
def test_a_job_that_is_gone_was_deleted_unless_its_time_had_come(
    job: Job, now: int, event: Event
) -> None:
    assert event_of(job, None, now) is event


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.QUEUED, Event.UPDATED),
        (State.INPROGRESS, Event.CLAIMED),
        (State.COMPLETE, Event.COMPLETED),
        (State.FAILED, Event.FAILED),
        (State.CANCELLED, Event.CANCELLED),
    ],
)
def test_a_writer_brings_about_what_its_state_says(state: State, event: Event) -> None:
    assert event_of(queued(), entered(queued(), state), 300) is event


@pytest.mark.parametrize("old", [State.COMPLETE, State.FAILED, State.CANCELLED])
@pytest.mark.parametrize("new", State)
def test_a_finished_job_that_is_opened_again_was_revived(
    old: State, new: State
) -> None:
    job = entered(queued(), old)

    event = event_of(job, entered(job, new, 400), 400)

    opened = new in {State.QUEUED, State.INPROGRESS}
    assert event is (Event.REVIVED if opened else Event.UPDATED)


def test_a_writer_who_starts_a_held_job_anew_has_released_it() -> None:
    for past in (None, Past(lost=1, rescheduled=2)):
        job = replace(held(attempts=3), attempt=2, past=past)

        assert event_of(job, entered(job, State.QUEUED), 300) is Event.RELEASED


def test_a_writer_who_takes_a_held_job_has_updated_it() -> None:
    assert event_of(held(), entered(held(), State.INPROGRESS), 300) is Event.UPDATED


CHANGES = [
    Change(priority=9),
    Change(content=b"[]"),
    Change(expires_at=10**12),
    Change(run_at=10**12),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("made", [queued, held])
def test_a_patch_is_an_update(made: Callable[[], Job], change: Change) -> None:
    new = lifecycle.patch(made(), change, now=300)

    assert event_of(made(), new, 300) is Event.UPDATED


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("made", [queued, held, lambda: COMPLETE])
def test_a_change_that_is_no_move_is_an_update(
    made: Callable[[], Job], change: Change
) -> None:
    job = made()
    new = lifecycle.update(job, change, now=300, token="n", holder="w", rules=RULES)

    assert event_of(job, new, 300) is Event.UPDATED


def test_a_record_is_no_job() -> None:
    for queue in (
        RemovedQueue("q", 1, None),
        PausedQueue("q", 1, "because"),
        MadeQueue("q", 1),
    ):
        assert event_of(None, queue, 1) is None
        assert event_of(queue, None, 1) is None
    assert event_of(None, None, 1) is None


# --- how long it took -------------------------------------------------------------


def test_a_job_waits_from_when_it_could_run() -> None:
    job = replace(queued(), run_at=150)

    assert waited_ms(job, claimed(job, 200)) == 50
    assert waited_ms(queued(), claimed(queued(), 200)) == 100


def test_a_job_that_came_back_waits_from_then() -> None:
    back = lifecycle.release(held(), now=300, rules=RULES)

    assert waited_ms(back, claimed(back, 310)) == 10


def test_a_job_that_a_writer_takes_before_its_time_has_not_waited() -> None:
    job = replace(queued(), run_at=1000)

    assert waited_ms(job, entered(job, State.INPROGRESS)) == 0


def test_a_run_lasts_from_its_claim_whatever_heartbeats_it_had() -> None:
    _, beaten = settled(lifecycle.beat, held(), 900)
    old, new = settled(lifecycle.complete, beaten, 1500)

    assert ran_ms(old, new) == 1300


def test_what_nobody_held_has_not_run() -> None:
    assert ran_ms(queued(), entered(queued(), State.COMPLETE)) is None
