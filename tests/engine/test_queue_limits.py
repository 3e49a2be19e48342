"""How much a queue takes, and how many of its jobs are at work at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from asking import GONE, ME, ONCE, TWICE, WRITER, Desk, rulebook, token
from msgspec.structs import replace

from jobengine.core.job import Change, Job, NewJob, Renewal, State, Terms
from jobengine.engine import CLAIM_BYTES, Conflict, Kept
from jobengine.errors import JobTooLarge, MemoryFull, QueueFull

# --- as many jobs -----------------------------------------------------------------


def test_a_queue_takes_so_many_unfinished_jobs_and_no_more() -> None:
    desk = Desk(rulebook(max_jobs=2))
    first, _ = desk.put(), desk.put()

    with pytest.raises(QueueFull, match="2 unfinished"):
        desk.put()
    desk.take()
    with pytest.raises(QueueFull):
        desk.put()

    desk.engine.complete(ME, "q", first.uid)
    desk.put()
    assert len(desk.rows()) == 3


def test_a_full_queue_refuses_a_batch_that_does_not_fit_whole() -> None:
    desk = Desk(rulebook(max_jobs=2))

    with pytest.raises(QueueFull):
        desk.engine.enqueue_batch(ME, [("q", NewJob(b""))] * 3)
    assert desk.rows() == {}

    desk.engine.enqueue_batch(ME, [("q", NewJob(b""))] * 2)


def test_a_full_queue_still_tells_of_a_duplicate_and_lets_jobs_be_changed() -> None:
    desk = Desk(rulebook(max_jobs=1, max_bytes=4))
    job = desk.put(b"1234", unique_key="k")
    keyed = [("q", NewJob(b"4321", unique_key="k"))]

    assert desk.engine.enqueue_batch(ME, keyed, conflict=Conflict.KEEP) == [Kept(job)]
    [after] = desk.engine.enqueue_batch(ME, keyed, conflict=Conflict.REPLACE)
    assert isinstance(after, Job)
    assert after.uid == job.uid
    change = Change(content=b"abc")
    assert desk.engine.update(ME, "q", job.uid, change).content == b"abc"


def test_a_job_and_its_follow_up_share_a_place() -> None:
    desk = Desk(rulebook(max_jobs=1))
    job = desk.held()

    desk.engine.requeue(ME, "q", job.uid, [("q", NewJob(b"next"))])

    with pytest.raises(QueueFull):
        desk.put()


# --- as many bytes ----------------------------------------------------------------


def test_a_queue_holds_so_many_bytes_finished_jobs_and_all() -> None:
    desk = Desk(rulebook(max_bytes=10))
    job = desk.put(bytes(8))

    with pytest.raises(QueueFull, match="10 bytes"):
        desk.put(bytes(3))
    desk.put(bytes(2))
    desk.engine.complete(ME, "q", desk.take().uid)
    with pytest.raises(QueueFull):
        desk.put(bytes(1))

    desk.engine.delete(ME, "q", job.uid)
    desk.put(bytes(8))


def test_a_change_must_fit_in_the_place_of_what_it_changes() -> None:
    desk = Desk(rulebook(max_bytes=10))
    job = desk.put(bytes(8))

    with pytest.raises(QueueFull):
        desk.engine.update(ME, "q", job.uid, Change(content=bytes(11)))
    desk.engine.update(ME, "q", job.uid, Change(content=bytes(10)))

    assert desk.row(job).content == bytes(10)  # type: ignore[union-attr]


def test_a_job_grows_no_larger_than_there_is_room_for_when_it_is_put_off() -> None:
    desk = Desk(rulebook(max_bytes=10))
    job = desk.held(content=bytes(8))

    with pytest.raises(QueueFull):
        desk.engine.reschedule(ME, "q", job.uid, Renewal(content=bytes(11)))
    desk.engine.reschedule(ME, "q", job.uid, Renewal(content=bytes(10)))

    assert desk.row(job).content == bytes(10)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "bring",
    [
        lambda desk, big: desk.put(big),
        lambda desk, big: desk.engine.enqueue_batch(ME, [("q", NewJob(big))]),
        lambda desk, big: desk.engine.update(
            ME, "q", desk.put().uid, Change(content=big)
        ),
        lambda desk, big: desk.engine.reschedule(
            ME, "q", desk.held().uid, Renewal(content=big)
        ),
        lambda desk, big: desk.engine.requeue(
            ME, "q", desk.held().uid, [("q", NewJob(big))]
        ),
    ],
)
def test_no_payload_is_larger_than_the_queue_takes(
    bring: Callable[[Desk, bytes], object],
) -> None:
    desk = Desk(rulebook(max_job_bytes=5))

    with pytest.raises(JobTooLarge, match="at most 5 bytes"):
        bring(desk, bytes(6))
    assert all(row.content == b"{}" for row in desk.rows().values())

    bring(desk, bytes(5))


def test_all_jobs_together_take_so_much_memory() -> None:
    desk = Desk(rulebook(house={"memory_bytes": 20_000}))
    job = desk.put(bytes(15_000))

    with pytest.raises(MemoryFull, match="memory_bytes"):
        desk.put(bytes(5000))
    with pytest.raises(MemoryFull):
        desk.engine.update(ME, "q", job.uid, Change(content=bytes(20_001)))

    desk.engine.delete(ME, "q", job.uid)
    desk.put(bytes(15_000))


def test_memory_is_free_again_after_any_run_of_changes() -> None:
    desk = Desk(rulebook(house={"memory_bytes": 1 << 30}))
    with desk.house.store.transaction() as tx:
        empty = tx.memory_bytes()

    for _ in range(3):
        job = desk.put(bytes(50), unique_key="k" * 9, fingerprint="f")
        for fingerprint in ("g" * 99, None):
            new = NewJob(b"[]", unique_key="k" * 9, fingerprint=fingerprint)
            desk.engine.enqueue_batch(ME, [("q", new)], conflict=Conflict.REPLACE)
        desk.take()
        desk.engine.beat(ME, "q", job.uid, progress=b"[1, 2, 3]")
        desk.engine.fail(ME, "q", job.uid, error="e" * 99)
        desk.engine.reschedule(ME, "q", desk.take().uid, Renewal(content=b"[]"))
        desk.engine.reschedule(ME, "q", desk.take().uid, Renewal(terms=ONCE))
        desk.take()
        desk.clock.advance(minutes=1)
        desk.sweep()
        desk.engine.retry(ME, "q", job.uid)
        desk.engine.delete(ME, "q", job.uid)

    with desk.house.store.transaction() as tx:
        assert tx.memory_bytes() == empty
        assert tx.content_bytes("q") == 0


# --- as many at once --------------------------------------------------------------


def test_no_more_jobs_are_handed_out_than_may_be_in_progress() -> None:
    desk = Desk(rulebook(max_inprogress=2))
    for _ in range(4):
        desk.put()

    assert len(desk.engine.claim(ME, "q", 4)) == 2
    assert desk.engine.claim(ME, "q", 4) == []
    assert desk.engine.peek(ME, "q") is None


def test_no_more_is_handed_out_at_once_than_an_answer_can_hold() -> None:
    desk = Desk()
    third = CLAIM_BYTES // 3
    jobs = [desk.put(bytes(third), progress=b"12") for _ in range(5)]

    taken = [desk.engine.claim(ME, "q", 9) for _ in range(4)]

    assert [[job.uid for job in part] for part in taken] == [
        [job.uid for job in part] for part in (jobs[:2], jobs[2:4], jobs[4:], [])
    ]


def test_one_job_is_handed_out_however_large_it_is() -> None:
    desk = Desk()
    one, other = (desk.put(bytes(CLAIM_BYTES + 1)) for _ in range(2))

    taken = [desk.engine.claim(ME, "q", 2) for _ in range(2)]

    assert [[job.uid for job in part] for part in taken] == [[one.uid], [other.uid]]


def test_what_a_writer_takes_counts_too() -> None:
    desk = Desk(rulebook(max_inprogress=1))
    job, _ = desk.put(), desk.put()
    desk.engine.update(WRITER, "q", job.uid, Change(state=State.INPROGRESS))

    assert desk.engine.claim(ME, "q") == []


ENDS: dict[str, Callable[[Desk, Job], object]] = {
    "complete": lambda d, job: d.engine.complete(ME, "q", job.uid),
    "fail": lambda d, job: d.engine.fail(ME, "q", job.uid, reason="critical"),
    "try again": lambda d, job: d.engine.fail(ME, "q", job.uid),
    "call off": lambda d, job: d.engine.fail(ME, "q", job.uid, reason="cancelled"),
    "release": lambda d, job: d.engine.release(ME, "q", job.uid),
    "release for later": lambda d, job: d.engine.release(
        ME, "q", job.uid, run_at=d.clock.now() + 9000
    ),
    "put off": lambda d, job: d.engine.reschedule(
        ME, "q", job.uid, Renewal(run_at=d.clock.now() + 9000)
    ),
    "requeue": lambda d, job: d.engine.requeue(ME, "q", job.uid, []),
    "cancel": lambda d, job: d.engine.cancel(WRITER, "q", job.uid),
    "cancel its key": lambda d, _: d.admin.cancel_key(WRITER, "q", "k"),
    "cancel its group": lambda d, _: sum(d.admin.cancel_group(WRITER, "q", "f")),
    "delete": lambda d, job: d.engine.delete(WRITER, "q", job.uid),
    "settle": lambda d, job: d.engine.update(
        ME, "q", job.uid, Change(state=State.COMPLETE)
    ),
    "override": lambda d, job: d.engine.update(
        WRITER, "q", job.uid, Change(state=State.FAILED)
    ),
    "overwrite": lambda d, _: d.engine.enqueue_batch(
        ME, [("q", NewJob(b"", unique_key="k"))], conflict=Conflict.REPLACE
    ),
    "take back": lambda d, job: d.engine.take_back([job]),
    "lose": lambda d, _: (d.clock.advance(minutes=1), d.sweep()),
    "lose, and delete": lambda d, job: (
        d.clock.advance(minutes=1),
        d.engine.delete(WRITER, "q", job.uid),
    ),
    "lose, and override": lambda d, job: (
        d.clock.advance(minutes=1),
        d.engine.update(WRITER, "q", job.uid, Change(priority=1)),
    ),
    "lose, and take its key": lambda d, _: (
        d.clock.advance(minutes=1),
        d.engine.enqueue_batch(ME, [("q", NewJob(b"", unique_key="k"))]),
    ),
}


@pytest.mark.parametrize(
    ("end", "terms"),
    [
        (end, terms)
        for end in ENDS
        for terms in (ONCE, TWICE, GONE)
        # With an attempt left, it keeps its key.
        if terms is ONCE or end != "lose, and take its key"
    ],
)
def test_the_end_of_one_run_rings_for_the_next(end: str, terms: Terms) -> None:
    desk = Desk(rulebook(max_inprogress=1))
    job = desk.held(unique_key="k", fingerprint="f", terms=terms)
    desk.put()
    desk.rung.clear()

    ENDS[end](desk, job)

    assert "q" in desk.rung
    assert desk.take()


def test_a_heartbeat_makes_no_room_and_rings_for_nobody() -> None:
    desk = Desk(rulebook(max_inprogress=1))
    job = desk.held()
    desk.rung.clear()

    desk.engine.beat(ME, "q", job.uid, lease=token(job))

    assert desk.rung == []


def test_a_higher_limit_rings_for_those_who_wait() -> None:
    desk = Desk(rulebook(max_inprogress=1))
    desk.put()
    desk.held()
    desk.rung.clear()

    desk.house.upkeep.reconfigure(rulebook(max_inprogress=2))

    assert desk.rung == ["q"]
    assert desk.take()


def test_a_lost_lease_makes_room_though_nobody_has_swept() -> None:
    desk = Desk(rulebook(max_inprogress=1))
    desk.put()
    desk.held(terms=ONCE)
    desk.clock.advance(minutes=1)

    assert desk.take()


@pytest.mark.parametrize("limit", ["max_jobs", "max_bytes", "max_inprogress"])
def test_a_lower_limit_takes_nothing_away(limit: str) -> None:
    desk = Desk()
    for _ in range(3):
        desk.put()
    held = desk.engine.claim(ME, "q", 2)
    lower: dict[str, Any] = {limit: 1}

    desk.house.upkeep.reconfigure(rulebook(**lower))

    assert len(desk.rows()) == 3
    for job in held:
        desk.engine.complete(ME, "q", job.uid)
    assert len(desk.engine.claim(ME, "q", 5)) == 1


def test_limits_are_each_queues_own() -> None:
    other = replace(rulebook().queues["q"], name="r")
    desk = Desk(rulebook(other, max_jobs=1, max_inprogress=1))

    put = partial(desk.put, queue="r")
    for _ in range(3):
        put()

    assert len(desk.engine.claim(ME, "r", 3)) == 3
