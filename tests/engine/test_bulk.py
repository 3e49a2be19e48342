"""The same is done to many jobs: retried, cancelled, deleted."""

from collections.abc import Callable

import pytest
from asking import (
    ADMIN,
    BROWSER,
    GONE,
    MANAGER,
    ME,
    ONCE,
    QUEUE,
    READER,
    STRANGER,
    WRITER,
    Desk,
    refusal,
    rulebook,
)
from msgspec.structs import replace

from jobengine.admin import PART, Act, Progress
from jobengine.core.access import Caller
from jobengine.core.job import (
    KEY_CHARS_MAX,
    PROGRESS_BYTES_MAX,
    Job,
    NewJob,
    State,
    Terms,
)
from jobengine.core.past import ERROR_CHARS_MAX, RUNS_KEPT, Past, Run
from jobengine.core.where import DEAD, EVERY, Where
from jobengine.errors import CountDiffers, Forbidden, QueueNotFound
from jobengine.testing import SimDisk

RETRY, CANCEL, DELETE = Act
QUEUED = Where(states=frozenset({State.QUEUED}))


def one_of_each(desk: Desk) -> dict[State, Job]:
    """A job in each state, the failed one a dead letter."""
    letter = desk.held(terms=ONCE)
    desk.engine.fail(ME, "q", letter.uid)
    done = desk.held()
    desk.engine.complete(ME, "q", done.uid)
    desk.engine.cancel(ME, "q", desk.put().uid)
    desk.held()
    desk.put()
    return {job.state: job for job in desk.rows().values()}


def many(desk: Desk, count: int, **fields: object) -> list[str]:
    """The uids of so many jobs."""
    new = NewJob(b"{}", **fields)  # type: ignore[arg-type]
    jobs = desk.engine.enqueue_batch(ME, [("q", new)] * count)
    return [job.uid for job in jobs if isinstance(job, Job)]


def states(desk: Desk) -> dict[State, int]:
    with desk.house.store.transaction() as tx:
        return {state: n for state, n in tx.counts("q").items() if n}


# --- what -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "changed", "left"),
    [
        (RETRY, {State.FAILED, State.CANCELLED}, State.QUEUED),
        (CANCEL, {State.QUEUED, State.INPROGRESS}, State.CANCELLED),
        (DELETE, set(State), None),
    ],
)
def test_it_is_done_to_those_to_which_it_can_be_done(
    desk: Desk, act: Act, changed: set[State], left: State | None
) -> None:
    jobs = one_of_each(desk)

    told = desk.bulk(act)

    assert told == Progress(len(changed), len(changed), len(changed))
    rows = desk.rows()
    for state, job in jobs.items():
        row = rows.get(job.uid)
        if state not in changed:
            assert row == job
        else:
            assert (row and row.state) == left


def test_only_those_that_are_meant_are_touched(desk: Desk) -> None:
    meant, other = desk.put(fingerprint="f"), desk.put(fingerprint="g")

    assert desk.bulk(CANCEL, Where(fingerprint="f")).changed == 1

    row = desk.row(meant)
    assert row is not None
    assert row.state is State.CANCELLED
    assert desk.row(other) == other


def test_a_cancelled_jobs_holder_is_told_and_its_place_goes_to_another() -> None:
    desk = Desk(rulebook(max_inprogress=1))
    held, waiting = desk.held(), desk.put()
    desk.rung.clear()

    desk.bulk(CANCEL, Where(uids=frozenset({held.uid})))

    assert "q" in desk.rung
    assert desk.take().uid == waiting.uid


@pytest.mark.parametrize("act", Act)
def test_what_time_has_ended_is_no_more_meant_swept_or_not(
    desk: Desk, act: Act
) -> None:
    job = desk.put(valid_for_ms=1000)
    desk.clock.advance(seconds=1)

    assert desk.bulk(act) == Progress(0, 0, 0)
    assert desk.row(job) == job


def test_what_is_not_to_be_kept_is_gone_once_it_is_cancelled(desk: Desk) -> None:
    desk.put(terms=GONE)

    assert desk.bulk(CANCEL).changed == 1

    assert desk.rows() == {}


def test_the_rows_are_as_they_would_be_one_by_one(desk: Desk) -> None:
    for act, verb in [(RETRY, desk.engine.retry), (CANCEL, desk.engine.cancel)]:
        first, second = desk.held(terms=ONCE), desk.held(terms=ONCE)
        if act is RETRY:
            for job in (first, second):
                desk.engine.fail(ME, "q", job.uid, error="no")

        desk.bulk(act, Where(uids=frozenset({first.uid})))
        alone = verb(WRITER, "q", second.uid)

        row = desk.row(first)
        assert row is not None
        apart = {"uid": alone.uid, "seq": alone.seq, "past": alone.past}
        assert replace(row, **apart) == alone  # type: ignore[arg-type]
        desk.bulk(DELETE)


# --- how many ---------------------------------------------------------------------


def test_a_dry_run_counts_and_does_nothing(desk: Desk) -> None:
    one_of_each(desk)
    before = desk.rows()

    for act, count in zip(Act, (2, 2, 5), strict=True):
        assert desk.bulk(act, dry_run=True) == Progress(count, 0, 0)

    assert desk.rows() == before


@pytest.mark.parametrize("expected", [0, 1, 3, 4])
def test_where_another_number_was_expected_nothing_is_done(
    desk: Desk, expected: int
) -> None:
    many(desk, 2)
    desk.held(priority=99)
    before = desk.rows()

    for dry_run in (False, True):
        with pytest.raises(CountDiffers, match=f"2 jobs .* not the {expected} exp"):
            desk.bulk(DELETE, QUEUED, expected=expected, dry_run=dry_run)

    assert desk.rows() == before
    assert desk.bulk(DELETE, QUEUED, expected=2).changed == 2


def test_nothing_may_be_what_is_expected(desk: Desk) -> None:
    assert desk.bulk(DELETE, expected=0) == Progress(0, 0, 0)
    assert refusal(desk.bulk, DELETE, expected=1) is CountDiffers


def test_no_more_are_done_than_the_limit_and_the_first_made_first(desk: Desk) -> None:
    uids = many(desk, 5)

    assert desk.bulk(DELETE, limit=3) == Progress(5, 3, 3)

    assert list(desk.rows()) == uids[3:]
    # What is expected is all that are meant, not the part that is done.
    assert desk.bulk(DELETE, limit=1, expected=2) == Progress(2, 1, 1)
    assert desk.bulk(DELETE, limit=9) == Progress(1, 1, 1)


def test_it_is_done_in_parts_and_told_after_each(desk: Desk) -> None:
    many(desk, 1250)

    told = list(desk.admin.bulk(MANAGER, "q", CANCEL, QUEUED))

    assert [part.matched for part in told[:3]] == [500, 1000, 1250]
    done = [part.done for part in told]
    assert done == [0, 0, 0, *range(PART, 1251, PART), 1250]
    assert told[-1] == Progress(1250, 1250, 1250)
    assert states(desk) == {State.CANCELLED: 1250}


def test_jobs_with_all_that_can_be_in_a_row_are_done_in_parts_that_fit() -> None:
    desk = Desk(disk=SimDisk())
    large = bytes(PROGRESS_BYTES_MAX)
    for _ in range(150):
        job = desk.held(priority=99, progress=large)
        desk.engine.complete(ME, "q", job.uid, result=large)
    for _ in range(150):
        desk.put(progress=large, unique_key=None, fingerprint="x" * 1024)

    assert desk.bulk(CANCEL).changed == 150
    assert desk.bulk(RETRY).changed == 150
    assert desk.bulk(DELETE).changed == 300
    desk.house.close()


def test_a_part_fits_though_each_job_moves_another_out_of_its_way() -> None:
    """Time has ended who has its key, and has to be told so in the same block."""
    desk = Desk(disk=SimDisk())
    run = Run(1, 1, 1, "attempts", "\N{HONEYBEE}" * ERROR_CHARS_MAX)
    past = Past(0, 0, (run,) * RUNS_KEPT)
    large: dict[str, object] = {
        "progress": bytes(PROGRESS_BYTES_MAX),
        "fingerprint": "\N{HONEYBEE}" * KEY_CHARS_MAX,
        "terms": Terms(max_attempts=1, lease_ms=1000),
    }
    for cancelled in (True, False):
        for n in range(120):
            job = desk.put(unique_key=f"{n}", **large)
            with desk.house.store.transaction() as tx:
                tx.put(replace(job, past=past))
            if cancelled:
                desk.engine.cancel(ME, "q", job.uid)
            else:
                desk.take()
    desk.clock.advance(seconds=1)

    assert desk.bulk(RETRY, Where(states=frozenset({State.CANCELLED}))).changed == 120
    desk.house.close()


# --- meanwhile --------------------------------------------------------------------


def begun(desk: Desk, act: Act, where: Where = EVERY) -> Callable[[], Progress]:
    """A bulk that has counted and not begun to act; what it comes to."""
    parts = desk.admin.bulk(MANAGER, "q", act, where)
    next(parts)
    return lambda: list(parts)[-1]


def test_a_job_that_is_no_more_meant_when_its_turn_comes_is_left_alone(
    desk: Desk,
) -> None:
    uids = many(desk, 3)
    go_on = begun(desk, CANCEL, QUEUED)
    desk.engine.complete(ME, "q", desk.take().uid)
    held = desk.take()

    assert go_on() == Progress(3, 3, 1)

    assert {job.uid: job.state for job in desk.rows().values()} == {
        uids[0]: State.COMPLETE,
        held.uid: State.INPROGRESS,
        uids[2]: State.CANCELLED,
    }


def test_a_job_that_is_gone_when_its_turn_comes_is_not_counted(desk: Desk) -> None:
    uids = many(desk, 2)
    go_on = begun(desk, DELETE)
    desk.engine.delete(ME, "q", uids[0])

    assert go_on() == Progress(2, 2, 1)
    assert desk.rows() == {}


def test_a_job_that_came_later_is_not_meant(desk: Desk) -> None:
    desk.put()
    go_on = begun(desk, DELETE)
    later = desk.put()

    assert go_on() == Progress(1, 1, 1)
    assert list(desk.rows()) == [later.uid]


def test_time_goes_on_between_the_parts(desk: Desk) -> None:
    desk.put(valid_for_ms=1000)
    desk.put()
    go_on = begun(desk, CANCEL)
    desk.clock.advance(seconds=1)

    assert go_on() == Progress(2, 2, 1)


def test_of_one_key_the_first_is_retried_and_the_others_stay(desk: Desk) -> None:
    for _ in range(3):
        desk.engine.cancel(ME, "q", desk.put(unique_key="k").uid)
    before = list(desk.rows())

    assert desk.bulk(RETRY) == Progress(3, 3, 1)

    rows = desk.rows()
    assert [rows[uid].state for uid in before] == [
        State.QUEUED,
        State.CANCELLED,
        State.CANCELLED,
    ]


def test_a_key_that_only_time_has_freed_is_free(desk: Desk) -> None:
    cancelled = desk.put(unique_key="k")
    desk.engine.cancel(ME, "q", cancelled.uid)
    desk.put(unique_key="k", valid_for_ms=1000)
    desk.clock.advance(seconds=1)

    assert desk.bulk(RETRY).changed == 1

    assert list(desk.rows()) == [cancelled.uid]


def test_a_queue_that_is_paused_half_way_is_still_seen_to(desk: Desk) -> None:
    many(desk, 2)
    go_on = begun(desk, CANCEL)
    desk.admin.pause(MANAGER, "q", "because")

    assert go_on().changed == 2


def test_a_queue_that_goes_half_way_keeps_the_rest_for_its_return(desk: Desk) -> None:
    many(desk, 250)
    parts = desk.admin.bulk(MANAGER, "q", CANCEL, EVERY)
    told = [next(parts), next(parts)]
    assert told[-1] == Progress(250, PART, PART)
    desk.house.upkeep.reconfigure(rulebook(replace(QUEUE, name="p"), name="other"))

    assert list(parts)[-1] == Progress(250, 250, PART)

    desk.house.upkeep.reconfigure(rulebook())
    assert states(desk) == {State.CANCELLED: PART, State.QUEUED: 250 - PART}


def test_a_queue_made_anew_half_way_is_another(desk: Desk) -> None:
    desk.admin.create_queue(ADMIN, "made", read=["me"], write=["me"])
    old = desk.put(queue="made")
    parts = desk.admin.bulk(ADMIN, "made", DELETE, EVERY)
    assert next(parts) == Progress(1, 0, 0)
    desk.admin.delete_queue(ADMIN, "made")
    desk.admin.create_queue(ADMIN, "made", read=["me"], write=["me"])
    new = desk.put(queue="made")

    assert list(parts)[-1] == Progress(1, 1, 0)

    assert list(desk.rows("made")) == [new.uid] != [old.uid]


def test_whoever_stops_half_way_has_what_is_done_and_no_more(desk: Desk) -> None:
    many(desk, 250)
    parts = desk.admin.bulk(MANAGER, "q", CANCEL, EVERY)

    for part in parts:
        if part.done:
            break
    parts.close()  # type: ignore[attr-defined]

    assert states(desk) == {State.CANCELLED: PART, State.QUEUED: 250 - PART}


def test_what_was_done_half_way_is_there_after_a_crash() -> None:
    desk = Desk(disk=SimDisk())
    many(desk, 250)
    parts = desk.admin.bulk(MANAGER, "q", CANCEL, EVERY)
    while next(parts).done < 200:
        pass
    crashed = desk.house
    assert desk.disk is not None
    desk.disk = desk.disk.clone()

    desk.open(rulebook())

    assert states(desk) == {State.CANCELLED: 200, State.QUEUED: 50}
    desk.house.close()
    crashed.close()


# --- who --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "error"),
    [
        (STRANGER, QueueNotFound),
        (Caller("admin"), QueueNotFound),
        (WRITER, Forbidden),
        (READER, Forbidden),
        (BROWSER, Forbidden),
        (ME, Forbidden),
        (MANAGER, None),
        (ADMIN, None),
    ],
)
@pytest.mark.parametrize("act", Act)
def test_who_manages_may_do_it_and_others_not_even_count(
    desk: Desk, act: Act, caller: Caller, error: type[Exception] | None
) -> None:
    many(desk, 1)

    assert refusal(desk.bulk, act, DEAD, caller, dry_run=True) is error
    assert refusal(desk.bulk, act, EVERY, caller) is error
    # Asked at once, and not when the first part is.
    assert refusal(desk.admin.bulk, caller, "q", act, EVERY) is error


def test_those_that_stay_as_they_are_keep_nobody_from_coming_to_the_end(
    desk: Desk,
) -> None:
    kept = [desk.put(unique_key=key) for key in ("a", "b")]
    for job in kept:
        desk.engine.cancel(ME, "q", job.uid)
        desk.put(unique_key=job.keys.unique)  # type: ignore[union-attr]
    others = [desk.put() for _ in range(3)]
    for job in others:
        desk.engine.cancel(ME, "q", job.uid)
    cancelled = Where(states=frozenset({State.CANCELLED}))

    assert desk.bulk(RETRY, cancelled, limit=2) == Progress(5, 4, 2)
    assert desk.bulk(RETRY, cancelled, limit=2) == Progress(3, 3, 1)
