"""What callers may see: a job, a queue in numbers, and why a job is not running."""

import pytest
from asking import (
    ADMIN,
    BROWSER,
    GONE,
    MANAGER,
    ME,
    ONCE,
    OTHER,
    QUEUE,
    READER,
    STRANGER,
    TWICE,
    WRITER,
    Desk,
    refusal,
    rulebook,
)
from msgspec.structs import asdict, replace

from jobengine.core.access import ALL, BROWSE, MANAGE, READ, WRITE, Caller, Right
from jobengine.core.explain import Explanation
from jobengine.core.job import Change, Job, NewJob, State
from jobengine.core.where import DEAD, EVERY, Where
from jobengine.engine import Stats
from jobengine.errors import Forbidden, JobEngineError, JobNotFound, QueueNotFound
from jobengine.testing import SimDisk

Refusal = type[JobEngineError] | None
RIGHTS: dict[Caller, frozenset[Right]] = {
    READER: frozenset({READ, BROWSE}),
    WRITER: frozenset({WRITE}),
    ME: frozenset({READ, WRITE, BROWSE}),
    BROWSER: frozenset({BROWSE}),
    MANAGER: frozenset({BROWSE, MANAGE}),
    ADMIN: ALL,
}


def stats(desk: Desk, caller: Caller = BROWSER) -> Stats:
    return desk.engine.stats(caller, "q")


def counted(desk: Desk) -> dict[str, int]:
    """What of the numbers is not nothing."""
    said = asdict(stats(desk))
    return {name: number for name, number in said.items() if number}


def explained(
    desk: Desk, job: Job, caller: Caller = WRITER, waiters: int = 0
) -> Explanation:
    *slices, answer = desk.engine.explain(caller, "q", job.uid, waiters=waiters)
    assert slices == [None] * len(slices)
    assert answer is not None
    return answer


def codes(desk: Desk, job: Job) -> list[str]:
    return [blocker.code for blocker in explained(desk, job).blockers]


# --- one job ----------------------------------------------------------------------


@pytest.mark.parametrize("caller", RIGHTS)
def test_whoever_has_a_right_sees_the_job_and_which_rights_these_are(
    desk: Desk, caller: Caller
) -> None:
    job = desk.held()

    seen = desk.engine.look(caller, "q", job.uid)

    assert (seen.job, seen.rules, seen.rights) == (job, QUEUE, RIGHTS[caller])
    assert seen.watch is None


def test_who_has_none_cannot_tell_a_queue_from_none(desk: Desk) -> None:
    job = desk.put()

    for caller in (STRANGER, Caller("admin")):
        with pytest.raises(QueueNotFound) as hidden:
            desk.engine.look(caller, "q", job.uid)
        with pytest.raises(QueueNotFound) as missing:
            desk.engine.look(caller, "p", job.uid)
        assert str(hidden.value).replace("'q'", "'p'") == str(missing.value)


def test_a_job_is_seen_as_time_has_left_it_and_seeing_changes_nothing(
    desk: Desk,
) -> None:
    lost, gone = desk.held(terms=ONCE), desk.put(valid_for_ms=1000)
    desk.clock.advance(minutes=1)

    seen = desk.engine.look(WRITER, "q", lost.uid).job

    assert (seen.state, seen.reason) == (State.FAILED, "lease_lost")
    assert refusal(desk.engine.look, WRITER, "q", gone.uid) is JobNotFound
    assert desk.rows() == {lost.uid: lost, gone.uid: gone}


def test_who_watches_a_job_that_is_not_settled_learns_how_it_ends(desk: Desk) -> None:
    job = desk.held(terms=GONE)
    seen = desk.engine.look(WRITER, "q", job.uid, watch=True)
    assert seen.watch is not None
    assert seen.watch.final is None

    desk.engine.complete(ME, "q", job.uid, result=b"7")

    # Nothing of it is kept, and yet it is seen by whoever watches.
    assert desk.rows() == {}
    assert seen.watch.final is not None
    assert seen.watch.final.result == b"7"
    again = desk.engine.look(WRITER, "q", job.uid, watch=True)
    assert (again.job, again.watch) == (seen.watch.final, None)


def test_a_job_that_is_settled_needs_no_watch(desk: Desk) -> None:
    job = desk.held()
    desk.engine.complete(ME, "q", job.uid)

    assert desk.engine.look(WRITER, "q", job.uid, watch=True).watch is None


# --- many jobs --------------------------------------------------------------------


def test_the_jobs_that_are_meant_come_as_time_has_left_them(desk: Desk) -> None:
    kept, lost = desk.held(terms=TWICE, priority=99), desk.held(terms=ONCE)
    desk.put(valid_for_ms=1000)
    desk.clock.advance(minutes=1)

    assert [job.uid for job in desk.found()] == [kept.uid, lost.uid]
    [letter] = desk.found(DEAD)
    assert (letter.uid, letter.reason) == (lost.uid, "lease_lost")
    [again] = desk.found(Where(states=frozenset({State.QUEUED})))
    assert (again.uid, again.attempt) == (kept.uid, 1)
    assert len(desk.rows()) == 3


def test_jobs_that_are_meant_come_in_bounded_slices(desk: Desk) -> None:
    desk.engine.enqueue_batch(ME, [("q", NewJob(b"%d" % n)) for n in range(1200)])
    where = Where(unique_key="none")

    slices = list(desk.engine.matching(BROWSER, "q", EVERY))

    assert [len(part) for part in slices] == [500, 500, 200]
    # Slices without any are told too: whoever iterates may rest.
    assert list(desk.engine.matching(BROWSER, "q", where)) == [[], [], []]


def test_jobs_that_are_meant_are_those_of_the_instant_of_asking(desk: Desk) -> None:
    jobs = [desk.put(), desk.put()]

    slices = desk.engine.matching(BROWSER, "q", EVERY)
    desk.engine.delete(ME, "q", jobs[0].uid)
    desk.clock.advance(minutes=1)

    assert list(slices) == [jobs]


LOOKS: dict[str, tuple[Refusal, ...]] = {
    # of STRANGER, WRITER, READER, BROWSER, MANAGER, ADMIN
    "look": (QueueNotFound, None, None, None, None, None),
    "explain": (QueueNotFound, None, None, None, None, None),
    "matching": (QueueNotFound, Forbidden, None, None, None, None),
    "stats": (QueueNotFound, Forbidden, None, None, None, None),
    "get": (QueueNotFound, Forbidden, None, Forbidden, Forbidden, None),
    "peek": (QueueNotFound, Forbidden, None, Forbidden, Forbidden, None),
    "listing": (QueueNotFound, Forbidden, None, Forbidden, Forbidden, None),
}


@pytest.mark.parametrize("verb", LOOKS)
def test_who_may_see_what(desk: Desk, verb: str) -> None:
    job = desk.put()
    given = {"look": [job.uid], "explain": [job.uid], "get": [job.uid]}
    given["matching"] = [EVERY]  # type: ignore[list-item]
    callers = (STRANGER, WRITER, READER, BROWSER, MANAGER, ADMIN)

    for caller, expected in zip(callers, LOOKS[verb], strict=True):
        ask = getattr(desk.engine, verb)
        assert refusal(ask, caller, "q", *given.get(verb, [])) is expected


# --- queues -----------------------------------------------------------------------


def test_a_caller_is_shown_the_queues_it_has_a_right_on_by_name() -> None:
    other = replace(QUEUE, name="a", manage=frozenset({"other"}))
    hidden = replace(QUEUE, name="b", read=frozenset(), write=frozenset())
    desk = Desk(rulebook(other, hidden))

    def shown(caller: Caller) -> dict[str, frozenset[Right]]:
        return {rules.name: held for rules, held in desk.engine.queues(caller)}

    mine = RIGHTS[ME]
    assert shown(ME) == {"a": mine, "q": mine}
    assert shown(OTHER) == {"a": mine | {MANAGE}, "q": mine}
    assert list(shown(ADMIN)) == ["a", "b", "q"]
    assert set(shown(ADMIN).values()) == {ALL}
    assert shown(STRANGER) == {}


def test_a_queue_shows_its_rules_to_whoever_has_a_right(desk: Desk) -> None:
    assert desk.engine.seen(BROWSER, "q") == (QUEUE, RIGHTS[BROWSER])
    assert refusal(desk.engine.seen, STRANGER, "q") is QueueNotFound


# --- in numbers -------------------------------------------------------------------


def test_an_empty_queue_is_nothing_but_zeros(desk: Desk) -> None:
    assert counted(desk) == {}


def test_a_queue_in_numbers(desk: Desk) -> None:
    dead = desk.held(content=b"12", terms=ONCE)
    desk.engine.fail(ME, "q", dead.uid)
    desk.engine.update(WRITER, "q", desk.put().uid, Change(state=State.FAILED))
    desk.engine.cancel(ME, "q", desk.put().uid)
    desk.engine.complete(ME, "q", desk.held().uid)
    desk.held()
    desk.put(delay_ms=1000)
    desk.put()
    desk.admin.pause(MANAGER, "q", "because")

    assert counted(desk) == {
        "ready": 1,
        "scheduled": 1,
        "queued": 2,
        "inprogress": 1,
        "complete": 1,
        "failed": 2,
        "cancelled": 1,
        "dead": 1,
        "total": 7,
        "content_bytes": 14,
        "paused": True,
    }


def test_a_scheduled_job_is_ready_from_its_instant_on_swept_or_not(desk: Desk) -> None:
    desk.put(delay_ms=1000)
    desk.clock.advance(ms=999)
    assert (stats(desk).ready, stats(desk).scheduled) == (0, 1)

    desk.clock.advance(ms=1)

    assert (stats(desk).ready, stats(desk).scheduled) == (1, 0)


def test_jobs_that_are_put_off_and_taken_back_are_counted_as_they_stand(
    desk: Desk,
) -> None:
    job = desk.put(delay_ms=1000)
    soon, later = desk.clock.now(), desk.clock.now() + 5000

    for at, expected in [(soon, (1, 0)), (later, (0, 1)), (later + 1, (0, 1))]:
        desk.engine.patch(WRITER, "q", job.uid, Change(run_at=at))
        assert (stats(desk).ready, stats(desk).scheduled) == expected
    desk.engine.cancel(ME, "q", job.uid)
    assert (stats(desk).ready, stats(desk).scheduled) == (0, 0)
    desk.engine.retry(ME, "q", job.uid)
    assert (stats(desk).ready, stats(desk).scheduled) == (1, 0)
    desk.engine.delete(ME, "q", job.uid)
    assert counted(desk) == {}


def test_the_oldest_waits_since_it_could_be_taken(desk: Desk) -> None:
    desk.put(priority=1)
    desk.clock.advance(seconds=2)
    desk.put(priority=99)
    desk.put(delay_ms=60_000)
    desk.clock.advance(seconds=3)

    # Whatever its priority.
    assert stats(desk).oldest_ready_ms == 5000
    desk.engine.claim(ME, "q", 2)
    assert stats(desk).oldest_ready_ms == 0
    desk.clock.advance(seconds=58)
    assert stats(desk).oldest_ready_ms == 1000


def test_an_expired_job_is_not_what_waits_for_longest(desk: Desk) -> None:
    desk.put(valid_for_ms=1000)
    desk.clock.advance(seconds=2)

    assert stats(desk).oldest_ready_ms == 0


def test_what_time_alone_has_ended_counts_until_it_is_swept(desk: Desk) -> None:
    desk.held(terms=ONCE)
    desk.put(valid_for_ms=1000)
    desk.clock.advance(minutes=1)
    before = stats(desk)
    assert (before.ready, before.inprogress, before.dead) == (1, 1, 0)

    desk.sweep()

    after = stats(desk)
    assert (after.ready, after.inprogress, after.dead) == (0, 0, 1)


def test_the_numbers_are_right_after_a_restart() -> None:
    desk = Desk(disk=SimDisk())
    desk.engine.fail(ME, "q", desk.held(terms=ONCE).uid)
    desk.put(delay_ms=1000)
    desk.put()
    before = stats(desk)

    desk.restart()

    assert stats(desk) == before
    assert (before.ready, before.scheduled, before.dead) == (1, 1, 1)
    desk.house.close()


# --- why --------------------------------------------------------------------------


def test_a_job_that_is_next_says_so_and_who_waits(desk: Desk) -> None:
    job = desk.put()

    answer = explained(desk, job, waiters=2)

    assert (answer.claimable, answer.job) == (True, job)
    [blocker] = answer.blockers
    assert (blocker.code, blocker.count) == ("next", 2)


def test_a_job_behind_others_is_told_how_many_could_be_taken_before_it(
    desk: Desk,
) -> None:
    job = desk.put(priority=50)
    desk.put(priority=51)
    desk.put(priority=50)  # after it
    desk.put(priority=49)
    desk.put(priority=99, delay_ms=1000)  # not yet
    desk.put(priority=99, valid_for_ms=1)  # no more, in a moment
    desk.held(priority=100)
    desk.clock.advance(ms=1)

    [blocker] = explained(desk, job).blockers

    assert (blocker.code, blocker.count) == ("behind", 1)
    assert desk.take().priority == 51
    assert explained(desk, job).claimable


def test_it_is_the_queues_next_claim_that_takes_a_claimable_job(desk: Desk) -> None:
    jobs = [desk.put(priority=n % 3 + 1) for n in range(9)]

    while desk.engine.stats(ADMIN, "q").ready:
        answers = [explained(desk, job) for job in jobs]
        [first] = [answer.job for answer in answers if answer.claimable]
        assert desk.take().uid == first.uid


def test_a_long_queue_is_gone_through_in_slices(desk: Desk) -> None:
    job = desk.put(priority=1)
    desk.engine.enqueue_batch(ME, [("q", NewJob(b"{}"))] * 1200)

    *slices, answer = desk.engine.explain(WRITER, "q", job.uid)

    assert slices == [None] * 3
    assert answer is not None
    assert answer.blockers[0].count == 1200


def test_each_thing_in_the_way_is_named() -> None:
    desk = Desk(rulebook(max_inprogress=1))
    job = desk.put(delay_ms=1000)
    assert codes(desk, job) == ["scheduled"]
    desk.clock.advance(seconds=1)
    assert codes(desk, job) == ["next"]

    other = desk.held(priority=99)
    assert codes(desk, job) == ["limit"]
    desk.admin.pause(MANAGER, "q", "")
    assert codes(desk, job) == ["paused", "limit"]
    desk.admin.resume(MANAGER, "q")
    assert codes(desk, other) == ["leased"]
    desk.engine.complete(ME, "q", other.uid)
    assert codes(desk, other) == ["complete"]

    job = desk.take()
    now = desk.clock.now()
    desk.engine.fail(ME, "q", job.uid, retry_at=now + 5000)
    assert codes(desk, job) == ["backoff"]
    desk.engine.cancel(ME, "q", job.uid)
    assert codes(desk, job) == ["cancelled"]
    desk.engine.retry(ME, "q", job.uid)
    desk.engine.fail(ME, "q", desk.take().uid, reason="critical")
    assert codes(desk, job) == ["dead"]


def test_what_time_has_done_is_seen_swept_or_not(desk: Desk) -> None:
    lost, gone = desk.held(terms=ONCE), desk.put(valid_for_ms=1000)
    desk.clock.advance(minutes=1)

    assert codes(desk, lost) == ["dead"]
    assert refusal(explained, desk, gone) is JobNotFound
    assert list(desk.rows()) == [lost.uid, gone.uid]
