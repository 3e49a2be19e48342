"""Dead letters are looked through, replayed and purged."""

import pytest
from asking import (
    ADMIN,
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
)

from jobengine.core.access import Caller
from jobengine.core.job import PROGRESS_BYTES_MAX, Change, Job, NewJob, State, Terms
from jobengine.errors import Forbidden, JobNotFound, QueueNotFound, WrongState

LETTER = Terms(max_attempts=1, dead_keep_ms=3_600_000)


def dead(desk: Desk, reason: str = "attempts", **fields: object) -> Job:
    fields.setdefault("terms", LETTER)
    job = desk.held(priority=99, **fields)
    return desk.engine.fail(ME, "q", job.uid, reason=reason, error="no")


def letters(desk: Desk, caller: Caller = BROWSER) -> list[Job]:
    return [job for part in desk.admin.dead(caller, "q") for job in part]


# --- which ------------------------------------------------------------------------


def test_dead_letters_are_the_jobs_that_failed_for_a_reason(desk: Desk) -> None:
    expected = [dead(desk, reason) for reason in ("attempts", "critical")]
    desk.put()
    done = desk.held(priority=99)
    desk.engine.complete(ME, "q", done.uid)
    desk.engine.cancel(ME, "q", desk.put().uid)
    # What a writer calls failed it knows of.
    desk.engine.update(WRITER, "q", desk.put().uid, Change(state=State.FAILED))

    assert letters(desk) == expected


def test_a_job_is_a_dead_letter_from_the_instant_it_is_lost_swept_or_not(
    desk: Desk,
) -> None:
    job = desk.held(terms=LETTER)
    desk.held(terms=TWICE)
    desk.clock.advance(minutes=1)

    [seen] = letters(desk)

    assert (seen.uid, seen.reason) == (job.uid, "lease_lost")
    assert desk.row(job) == job


def test_a_dead_letter_that_has_been_kept_long_enough_is_none(desk: Desk) -> None:
    job = dead(desk)
    desk.clock.advance(minutes=60)

    assert letters(desk) == []
    assert list(desk.admin.replay(MANAGER, "q")) == []
    assert sum(desk.admin.replay(MANAGER, "q", [job.uid])) == 0
    assert sum(desk.admin.purge(MANAGER, "q", [job.uid])) == 0


def test_dead_letters_come_in_bounded_parts(desk: Desk) -> None:
    desk.engine.enqueue_batch(ME, [("q", new())] * 1200)
    while jobs := desk.engine.claim(ME, "q", 1000):
        for job in jobs:
            desk.engine.fail(ME, "q", job.uid)

    parts = list(desk.admin.dead(BROWSER, "q"))

    assert max(map(len, parts)) <= 500
    assert sum(map(len, parts)) == 1200


def new() -> NewJob:
    return NewJob(b"{}", terms=LETTER)


# --- who --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "look", "act"),
    [
        (STRANGER, QueueNotFound, QueueNotFound),
        (Caller("admin"), QueueNotFound, QueueNotFound),
        (WRITER, Forbidden, Forbidden),
        (READER, None, Forbidden),
        (BROWSER, None, Forbidden),
        (MANAGER, None, None),
        (ADMIN, None, None),
    ],
)
def test_who_browses_sees_and_who_manages_acts(
    desk: Desk,
    caller: Caller,
    look: type[Exception] | None,
    act: type[Exception] | None,
) -> None:
    job = dead(desk)

    assert refusal(lambda: letters(desk, caller)) is look
    assert refusal(lambda: list(desk.admin.replay(caller, "q", []))) is act
    assert refusal(lambda: list(desk.admin.purge(caller, "q", []))) is act
    assert desk.rows() == {job.uid: job}


def test_only_admins_that_are_close_by_do_what_they_like(desk: Desk) -> None:
    job = desk.put()

    for far in (Caller("admin"), Caller("admin", local=True, key_of="q")):
        assert refusal(desk.engine.check, far, "q") in (QueueNotFound, None)
        assert refusal(desk.admin.pause, far, "q", "") in (QueueNotFound, Forbidden)
    assert len(desk.engine.check(ADMIN, "q")) == 4
    assert desk.engine.get(ADMIN, "q", job.uid) == job
    assert desk.take(ADMIN).lease is not None


# --- replayed ---------------------------------------------------------------------


def test_all_dead_letters_start_anew_and_their_past_is_remembered(desk: Desk) -> None:
    jobs = [dead(desk, "critical") for _ in range(3)]
    waiting = desk.put()
    desk.clock.advance(seconds=1)

    assert sum(desk.admin.replay(MANAGER, "q")) == 3

    rows = desk.rows()
    for job in jobs:
        row = rows[job.uid]
        assert (row.state, row.attempt, row.reason) == (State.QUEUED, 0, None)
        assert row.error == "no"
    assert rows[waiting.uid] == waiting
    assert letters(desk) == []
    assert [desk.take().uid for _ in jobs] == [job.uid for job in jobs]


def test_only_those_that_are_named_start_anew(desk: Desk) -> None:
    first, second, queued = dead(desk), dead(desk), desk.put()
    named = [first.uid, queued.uid, "no such", first.uid]

    assert sum(desk.admin.replay(MANAGER, "q", named)) == 1

    assert letters(desk) == [second]
    assert desk.row(queued) == queued


def test_one_whose_key_is_taken_stays_where_it_is(desk: Desk) -> None:
    first = dead(desk, unique_key="k")
    second = dead(desk, unique_key="k")
    free = dead(desk, unique_key="free")

    # Of two with one key the first gets it.
    assert sum(desk.admin.replay(MANAGER, "q")) == 2

    assert letters(desk) == [second]
    assert {job.uid for job in desk.engine.claim(ME, "q", 9)} == {first.uid, free.uid}


def test_one_that_would_have_expired_has_its_time_again(desk: Desk) -> None:
    job = dead(desk, valid_for_ms=1000)
    desk.clock.advance(seconds=30)

    sum(desk.admin.replay(MANAGER, "q"))

    row = desk.row(job)
    assert row is not None
    assert row.expires_at == desk.clock.now() + 1000
    assert desk.take().uid == job.uid


def test_a_replay_rings_for_those_who_wait(desk: Desk) -> None:
    dead(desk)
    desk.rung.clear()

    sum(desk.admin.replay(MANAGER, "q"))

    assert desk.rung == ["q"]


def test_many_large_dead_letters_are_replayed_in_parts(desk: Desk) -> None:
    """One transaction could not hold them all."""
    for _ in range(300):
        dead(desk, progress=bytes(PROGRESS_BYTES_MAX))

    parts = list(desk.admin.replay(MANAGER, "q"))

    assert (sum(parts), max(parts)) == (300, 100)


def test_a_writer_retries_one_job(desk: Desk) -> None:
    job = dead(desk, "critical")

    after = desk.engine.retry(WRITER, "q", job.uid)

    assert (after.state, after.attempt, after.error) == (State.QUEUED, 0, "no")
    with pytest.raises(WrongState):
        desk.engine.retry(WRITER, "q", job.uid)


# --- purged -----------------------------------------------------------------------


def test_purged_dead_letters_are_gone_and_nothing_else(desk: Desk) -> None:
    for _ in range(3):
        dead(desk)
    waiting = desk.put()

    assert sum(desk.admin.purge(MANAGER, "q")) == 3

    assert desk.rows() == {waiting.uid: waiting}


def test_only_those_that_are_named_are_purged(desk: Desk) -> None:
    first, second, queued = dead(desk), dead(desk), desk.put()
    named = [first.uid, queued.uid, "no such", first.uid]

    assert sum(desk.admin.purge(MANAGER, "q", named)) == 1

    assert desk.rows() == {second.uid: second, queued.uid: queued}


def test_what_was_replayed_meanwhile_is_not_purged(desk: Desk) -> None:
    job = dead(desk)
    purge = desk.admin.purge(MANAGER, "q")

    sum(desk.admin.replay(MANAGER, "q"))

    assert sum(purge) == 0
    assert desk.row(job) is not None


def test_a_dead_letter_is_deleted_as_any_job(desk: Desk) -> None:
    job = dead(desk, terms=ONCE)

    desk.engine.delete(WRITER, "q", job.uid)

    with pytest.raises(JobNotFound):
        desk.engine.delete(WRITER, "q", job.uid)
