"""Of live jobs in a queue one at most has a key; and batches are all or nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from asking import GONE, ME, ONCE, OTHER, QUEUE, READER, TWICE, Desk, rulebook, token
from msgspec.structs import replace

from jobengine.core.job import INSTANT_MAX, Change, Job, NewJob, State, Terms
from jobengine.engine import Conflict, Kept, LiveKey
from jobengine.errors import (
    DuplicateJob,
    Forbidden,
    InvalidJob,
    JobEngineError,
    JobNotFound,
    JobTooLarge,
    QueueNotFound,
    StaleLease,
    TransactionTooLarge,
)
from jobengine.testing import SimDisk

KEYED = NewJob(b"[2]", 70, unique_key="k")


def again(desk: Desk, conflict: Conflict) -> Job | Kept:
    [job] = desk.engine.enqueue_batch(ME, [("q", KEYED)], conflict=conflict)
    return job


# --- three ways -------------------------------------------------------------------


def test_a_second_job_of_a_live_key_is_refused_and_changes_nothing(desk: Desk) -> None:
    first = desk.put(unique_key="k")

    with pytest.raises(DuplicateJob, match=first.uid):
        desk.put(unique_key="k")
    with pytest.raises(DuplicateJob):
        again(desk, Conflict.REFUSE)

    assert desk.rows() == {first.uid: first}


def test_what_is_there_is_kept_where_the_caller_wants_that(desk: Desk) -> None:
    first = desk.held(unique_key="k")

    assert again(desk, Conflict.KEEP) == Kept(first)

    assert desk.rows() == {first.uid: first}


def test_a_replaced_job_keeps_its_name_and_place_and_is_otherwise_new(
    desk: Desk,
) -> None:
    first = desk.put(unique_key="k", fingerprint="f", progress=b"1", terms=TWICE)
    held = desk.take()
    desk.engine.fail(ME, "q", held.uid, error="once")
    held = desk.take()
    desk.clock.advance(seconds=1)

    after = again(desk, Conflict.REPLACE)

    assert after is not None
    assert (after.uid, after.seq, after.created_at) == (
        *(first.uid, first.seq, first.created_at),
    )
    assert (after.content, after.priority, after.state) == (b"[2]", 70, State.QUEUED)
    assert (after.attempt, after.past, after.progress) == (0, None, None)
    assert (after.lease, after.terms) == (None, KEYED.terms)
    assert after.run_at == desk.clock.now()
    assert desk.rows() == {first.uid: after}
    with pytest.raises(StaleLease):
        desk.engine.complete(ME, "q", first.uid, lease=token(held))


def test_a_replaced_job_leaves_the_group_that_it_was_in(desk: Desk) -> None:
    desk.put(unique_key="k", fingerprint="old")

    again(desk, Conflict.REPLACE)

    assert sum(desk.admin.cancel_group(ME, "q", "old")) == 0


def test_a_key_holds_in_its_own_queue_only() -> None:
    desk = Desk(rulebook(replace(QUEUE, name="r")))

    for queue in ("q", "r"):
        desk.put(unique_key="k", queue=queue)

    assert len(desk.rows("q")) == len(desk.rows("r")) == 1


def test_jobs_without_a_key_never_conflict(desk: Desk) -> None:
    for _ in range(2):
        desk.put(fingerprint="f")

    assert len(desk.rows()) == 2


# --- when a key is free -----------------------------------------------------------

ENDS: dict[str, Callable[[Desk], object]] = {
    "completed": lambda d: d.engine.complete(ME, "q", d.take().uid),
    "completed, not kept": lambda d: d.engine.complete(ME, "q", d.take().uid),
    "failed": lambda d: d.engine.fail(ME, "q", d.take().uid),
    "critical": lambda d: d.engine.fail(ME, "q", d.take().uid, reason="critical"),
    "cancelled": lambda d: d.engine.cancel(ME, "q", LiveKey("k")),
    "cancelled in progress": lambda d: (
        d.take(),
        d.engine.cancel(ME, "q", LiveKey("k")),
    ),
    "cancelled by its key": lambda d: d.admin.cancel_key(ME, "q", "k"),
    "cancelled with its group": lambda d: sum(d.admin.cancel_group(ME, "q", "f")),
    "deleted": lambda d: d.engine.delete(ME, "q", LiveKey("k")),
    "deleted in progress": lambda d: (
        d.take(),
        d.engine.delete(ME, "q", LiveKey("k")),
    ),
    "set so by a writer": lambda d: d.engine.update(
        ME, "q", LiveKey("k"), Change(state=State.COMPLETE, priority=1)
    ),
    "expired": lambda d: d.clock.advance(minutes=5),
    "lost": lambda d: (d.take(), d.clock.advance(minutes=1)),
    "lost, not kept": lambda d: (d.take(), d.clock.advance(minutes=1)),
}
TERMS = {
    "completed, not kept": Terms(keep_ms=0),
    "lost, not kept": Terms(max_attempts=1, keep_ms=0),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("swept", [True, False])
@pytest.mark.parametrize("conflict", Conflict)
def test_a_key_is_free_once_its_job_has_ended(
    desk: Desk, end: str, swept: bool, conflict: Conflict
) -> None:
    first = desk.put(
        unique_key="k",
        fingerprint="f",
        valid_for_ms=300_000,
        terms=TERMS.get(end, ONCE),
    )
    ENDS[end](desk)
    if swept:
        desk.sweep()

    second = again(desk, conflict)

    assert second is not None
    assert second.uid != first.uid
    assert desk.row(second) == second


LIVES: dict[str, Callable[[Desk], object]] = {
    "queued": lambda _: None,
    "in progress": lambda d: d.take(),
    "given back": lambda d: d.engine.release(ME, "q", d.take().uid),
    "to be tried again": lambda d: d.engine.fail(ME, "q", d.take().uid),
    "lost, with an attempt left": lambda d: (d.take(), d.clock.advance(minutes=1)),
}


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("swept", [True, False])
def test_a_key_is_taken_while_its_job_lives(desk: Desk, life: str, swept: bool) -> None:
    first = desk.put(unique_key="k", terms=TWICE)
    LIVES[life](desk)
    if swept:
        desk.sweep()

    with pytest.raises(DuplicateJob):
        desk.put(unique_key="k")

    assert list(desk.rows()) == [first.uid]


def test_keys_outlive_a_restart() -> None:
    desk = Desk(disk=SimDisk())
    desk.put(unique_key="live")
    done = desk.held(unique_key="done", priority=90)
    desk.engine.complete(ME, "q", done.uid)

    desk.restart()

    with pytest.raises(DuplicateJob):
        desk.put(unique_key="live")
    desk.put(unique_key="done")
    desk.house.close()


@pytest.mark.parametrize(
    "open_again",
    [
        lambda desk, uid: desk.engine.retry(ME, "q", uid),
        lambda desk, uid: desk.engine.update(
            ME, "q", uid, Change(state=State.QUEUED, priority=1)
        ),
        lambda desk, uid: desk.engine.update(
            ME, "q", uid, Change(state=State.INPROGRESS, priority=1)
        ),
    ],
)
def test_a_job_cannot_come_back_while_another_has_its_key(
    desk: Desk, open_again: Callable[[Desk, str], Job]
) -> None:
    dead = desk.held(unique_key="k", terms=ONCE)
    dead = desk.engine.fail(ME, "q", dead.uid)
    other = desk.put(unique_key="k")

    with pytest.raises(DuplicateJob):
        open_again(desk, dead.uid)
    assert desk.rows() == {dead.uid: dead, other.uid: other}

    desk.engine.delete(ME, "q", other.uid)
    open_again(desk, dead.uid)
    with pytest.raises(DuplicateJob):
        desk.put(unique_key="k")


def test_a_job_comes_back_once_time_has_freed_its_key_swept_or_not(
    desk: Desk,
) -> None:
    first = desk.engine.cancel(ME, "q", desk.put(unique_key="k").uid)
    desk.put(unique_key="k", valid_for_ms=1000)
    desk.clock.advance(seconds=1)

    again = desk.engine.retry(ME, "q", first.uid)

    assert desk.rows() == {first.uid: again}


# --- named by their key -----------------------------------------------------------


def test_a_live_job_is_found_by_its_key_or_its_uid(desk: Desk) -> None:
    keyed, plain = desk.put(unique_key="k"), desk.put()

    assert desk.engine.get(ME, "q", LiveKey("k")) == keyed
    assert desk.engine.get(ME, "q", LiveKey(plain.uid)) == plain
    assert desk.engine.get(ME, "q", keyed.uid) == keyed


def test_the_job_that_has_a_key_comes_before_the_one_that_has_it_as_its_uid(
    desk: Desk,
) -> None:
    plain = desk.put()
    keyed = desk.put(unique_key=plain.uid)

    assert desk.engine.get(ME, "q", LiveKey(plain.uid)) == keyed


def test_a_finished_job_is_found_by_its_uid_alone(desk: Desk) -> None:
    job = desk.held(unique_key="k")
    done = desk.engine.complete(ME, "q", LiveKey("k"))

    assert desk.engine.get(ME, "q", job.uid) == done
    for name in ("k", job.uid):
        with pytest.raises(JobNotFound):
            desk.engine.get(ME, "q", LiveKey(name))


# --- batches ----------------------------------------------------------------------


def batch(*contents: bytes, key: str | None = None) -> list[tuple[str, NewJob]]:
    return [("q", NewJob(content, unique_key=key)) for content in contents]


def test_a_batch_is_queued_in_its_order(desk: Desk) -> None:
    jobs = desk.engine.enqueue_batch(ME, batch(b"1", b"2", b"3"))

    assert [job.content for job in desk.engine.claim(ME, "q", 5)] == [b"1", b"2", b"3"]
    assert len({job.uid for job in jobs if job is not None}) == 3


def test_an_empty_batch_is_no_fault(desk: Desk) -> None:
    assert desk.engine.enqueue_batch(ME, []) == []


WRONG = {
    "a key that is taken": (("q", NewJob(b"", unique_key="taken")), DuplicateJob),
    "a life beyond the calendar": (
        ("q", NewJob(b"", valid_for_ms=INSTANT_MAX)),
        InvalidJob,
    ),
    "a queue that there is not": (("nowhere", NewJob(b"")), QueueNotFound),
    "a queue that is not to be written to": (("theirs", NewJob(b"")), Forbidden),
    "too large a payload": (("q", NewJob(bytes(101))), JobTooLarge),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_with_one_fault_is_not_queued_at_all(wrong: str, place: int) -> None:
    theirs = replace(QUEUE, name="theirs", write=frozenset())
    desk = Desk(rulebook(theirs, max_job_bytes=100))
    before = [desk.put(unique_key="taken"), desk.put()]
    desk.rung.clear()
    (bad, error), news = WRONG[wrong], batch(b"1", b"2", key=None)
    news.insert(place, bad)

    with pytest.raises(error):
        desk.engine.enqueue_batch(ME, news)

    assert list(desk.rows().values()) == before
    assert desk.put().seq > before[-1].seq


def test_a_batch_that_no_frame_holds_is_refused_whole(desk: Desk) -> None:
    with pytest.raises(TransactionTooLarge, match="smaller parts"):
        desk.engine.enqueue_batch(ME, batch(*[bytes(1 << 20)] * 17))

    assert desk.rows() == {}


@pytest.mark.parametrize(
    ("conflict", "left"),
    [(Conflict.KEEP, [b"1"]), (Conflict.REPLACE, [b"3"]), (Conflict.REFUSE, [])],
)
def test_jobs_of_one_key_in_a_batch_meet_as_if_sent_one_by_one(
    desk: Desk, conflict: Conflict, left: list[bytes]
) -> None:
    news = batch(b"1", b"2", b"3", key="k")

    told: list[Any] | type[JobEngineError]
    try:
        told = desk.engine.enqueue_batch(ME, news, conflict=conflict)
    except DuplicateJob:
        told = DuplicateJob

    assert [job.content for job in desk.rows().values()] == left
    if conflict is Conflict.KEEP:
        assert isinstance(told, list)
        assert told[1:] == [Kept(told[0])] * 2
    if conflict is Conflict.REPLACE:
        assert isinstance(told, list)
        assert len({job.uid for job in told if job}) == 1


def test_what_is_kept_is_left_out_of_a_batch_and_the_rest_is_queued(desk: Desk) -> None:
    """RL-2."""
    there = desk.put(unique_key="b")
    news = [("q", NewJob(b"new", unique_key=key)) for key in "abc"]

    told = desk.engine.enqueue_batch(ME, news, conflict=Conflict.KEEP)

    assert [isinstance(job, Kept) for job in told] == [False, True, False]
    assert told[1] == Kept(there)
    assert desk.row(there) == there
    assert len(desk.rows()) == 3


# --- follow-ups -------------------------------------------------------------------


def test_a_job_and_its_follow_ups_change_places_at_once(desk: Desk) -> None:
    job = desk.held(unique_key="k")
    news = [("q", NewJob(b"a", unique_key="k")), ("q", NewJob(b"b"))]

    jobs = desk.engine.requeue(ME, "q", job.uid, news, lease=token(job))

    done = desk.row(job)
    assert done is not None
    assert done.state is State.COMPLETE
    assert [j.content for j in jobs if j] == [b"a", b"b"]
    assert len(desk.rows()) == 3


def test_a_job_that_is_not_kept_is_gone_with_its_requeue(desk: Desk) -> None:
    job = desk.held(unique_key="k", terms=GONE)

    desk.engine.requeue(ME, "q", LiveKey("k"), batch(b"next", key="k"))

    assert [each.content for each in desk.rows().values()] == [b"next"]
    assert job.uid not in desk.rows()


@pytest.mark.parametrize("terms", [GONE, ONCE])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_requeue_whose_follow_up_cannot_be_queued_changes_nothing(
    wrong: str, terms: Terms
) -> None:
    theirs = replace(QUEUE, name="theirs", write=frozenset())
    desk = Desk(rulebook(theirs, max_job_bytes=100))
    job, _ = desk.held(terms=terms), desk.put(unique_key="taken")
    (bad, error), before = WRONG[wrong], desk.rows()

    with pytest.raises(error):
        desk.engine.requeue(ME, "q", job.uid, [("q", NewJob(b"")), bad])

    assert desk.rows() == before
    assert desk.engine.complete(ME, "q", job.uid, lease=token(job))


def test_a_requeue_needs_the_right_to_write_where_the_follow_ups_go(
    desk: Desk,
) -> None:
    job = desk.held(READER)

    with pytest.raises(Forbidden):
        desk.engine.requeue(READER, "q", job.uid, batch(b"next"))

    assert desk.row(job) == job


def test_what_is_in_progress_can_be_replaced_by_a_follow_up_of_another(
    desk: Desk,
) -> None:
    victim, job = desk.held(OTHER, unique_key="k"), desk.held()

    [after] = desk.engine.requeue(
        *(ME, "q", job.uid, batch(b"new", key="k")), conflict=Conflict.REPLACE
    )

    assert after is not None
    assert (after.uid, after.state) == (victim.uid, State.QUEUED)
    with pytest.raises(StaleLease):
        desk.engine.complete(OTHER, "q", victim.uid, lease=token(victim))


def test_of_a_batch_that_need_not_be_whole_each_job_is_on_its_own(desk: Desk) -> None:
    there = desk.put(unique_key="k")

    told = desk.engine.enqueue_each(
        ME,
        [
            ("q", NewJob(b"1")),
            ("q", NewJob(b"2", unique_key="k")),
            ("nowhere", NewJob(b"3")),
            ("q", NewJob(b"4")),
        ],
    )

    assert [type(each) for each in told] == [Job, DuplicateJob, QueueNotFound, Job]
    assert [job.content for job in desk.rows().values()] == [b"{}", b"1", b"4"]
    assert desk.row(there) == there
