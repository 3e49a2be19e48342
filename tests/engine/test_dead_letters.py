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
from msgspec.structs import replace

from jobengine.admin import PART, Act, Progress
from jobengine.core.access import Caller
from jobengine.core.job import PROGRESS_BYTES_MAX, Change, Job, NewJob, State, Terms
from jobengine.core.where import DEAD, Where
from jobengine.errors import Forbidden, JobNotFound, QueueNotFound, WrongState

LETTER = Terms(max_attempts=1, dead_keep_ms=3_600_000)


def dead(desk: Desk, reason: str = "attempts", **fields: object) -> Job:
    fields.setdefault("terms", LETTER)
    job = desk.held(priority=99, **fields)
    return desk.engine.fail(ME, "q", job.uid, reason=reason, error="no")


def letters(desk: Desk, caller: Caller = BROWSER) -> list[Job]:
    return desk.found(DEAD, caller)


def replay(desk: Desk, *uids: str, caller: Caller = MANAGER) -> int:
    """How many dead letters, all or these, start anew."""
    return desk.bulk(Act.RETRY, those(uids), caller).changed


def purge(desk: Desk, *uids: str, caller: Caller = MANAGER) -> int:
    """How many dead letters, all or these, are gone."""
    return desk.bulk(Act.DELETE, those(uids), caller).changed


def those(uids: tuple[str, ...]) -> Where:
    return replace(DEAD, uids=frozenset(uids)) if uids else DEAD


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
    assert replay(desk) == replay(desk, job.uid) == 0
    assert purge(desk, job.uid) == 0


def test_dead_letters_come_in_bounded_parts(desk: Desk) -> None:
    desk.engine.enqueue_batch(ME, [("q", new())] * 1200)
    while jobs := desk.engine.claim(ME, "q", 1000):
        for job in jobs:
            desk.engine.fail(ME, "q", job.uid)

    parts = list(desk.engine.matching(BROWSER, "q", DEAD))

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
    assert refusal(replay, desk, "none", caller=caller) is act
    assert refusal(purge, desk, "none", caller=caller) is act
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

    assert replay(desk) == 3

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

    assert replay(desk, first.uid, queued.uid, "no such") == 1

    assert letters(desk) == [second]
    assert desk.row(queued) == queued


def test_one_whose_key_is_taken_stays_where_it_is(desk: Desk) -> None:
    first = dead(desk, unique_key="k")
    second = dead(desk, unique_key="k")
    free = dead(desk, unique_key="free")

    # Of two with one key the first gets it.
    assert replay(desk) == 2

    assert letters(desk) == [second]
    assert {job.uid for job in desk.engine.claim(ME, "q", 9)} == {first.uid, free.uid}


def test_one_that_would_have_expired_has_its_time_again(desk: Desk) -> None:
    job = dead(desk, valid_for_ms=1000)
    desk.clock.advance(seconds=30)

    replay(desk)

    row = desk.row(job)
    assert row is not None
    assert row.expires_at == desk.clock.now() + 1000
    assert desk.take().uid == job.uid


def test_a_replay_rings_for_those_who_wait(desk: Desk) -> None:
    dead(desk)
    desk.rung.clear()

    replay(desk)

    assert desk.rung == ["q"]


def test_many_large_dead_letters_are_replayed_in_parts(desk: Desk) -> None:
    """One transaction could not hold them all."""
    for _ in range(300):
        dead(desk, progress=bytes(PROGRESS_BYTES_MAX))

    *parts, last = desk.admin.bulk(MANAGER, "q", Act.RETRY, DEAD)

    assert [part.done for part in parts] == [0, *range(PART, 301, PART)]
    assert last == Progress(300, 300, 300)


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

    assert purge(desk) == 3

    assert desk.rows() == {waiting.uid: waiting}


def test_only_those_that_are_named_are_purged(desk: Desk) -> None:
    first, second, queued = dead(desk), dead(desk), desk.put()

    assert purge(desk, first.uid, queued.uid, "no such") == 1

    assert desk.rows() == {second.uid: second, queued.uid: queued}


def test_what_was_replayed_meanwhile_is_not_purged(desk: Desk) -> None:
    job = dead(desk)
    parts = desk.admin.bulk(MANAGER, "q", Act.DELETE, DEAD)
    assert next(parts) == Progress(matched=1, done=0, changed=0)

    replay(desk)

    assert list(parts)[-1] == Progress(matched=1, done=1, changed=0)
    assert desk.row(job) is not None


def test_a_dead_letter_is_deleted_as_any_job(desk: Desk) -> None:
    job = dead(desk, terms=ONCE)

    desk.engine.delete(WRITER, "q", job.uid)

    with pytest.raises(JobNotFound):
        desk.engine.delete(WRITER, "q", job.uid)
