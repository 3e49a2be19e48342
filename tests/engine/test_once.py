"""A request that has a key is done once, however often it is sent."""

from typing import Any

import pytest
from asking import ME, QUEUE, Desk, refusal, rulebook
from msgspec.structs import replace

from jobengine import intake
from jobengine.core.access import Caller
from jobengine.core.job import NewJob
from jobengine.core.once import (
    ANSWER_BYTES_MAX,
    REMEMBERED_MS,
    Answer,
    Headers,
    Once,
)
from jobengine.core.queues import MadeQueue, QueueRules, Rulebook
from jobengine.engine import Conflict
from jobengine.errors import (
    DuplicateJob,
    Forbidden,
    JobTooLarge,
    KeyReused,
    MemoryFull,
    QueueFull,
    QueueNotFound,
    StoreFull,
    TransactionTooLarge,
)
from jobengine.testing import SimDisk

NEW = ("q", NewJob(b"{}"))
MAKER = Caller("maker")
DYNAMIC: dict[str, Any] = {
    "dynamic": QueueRules("", write=frozenset({"maker"})),
    "template": QueueRules(""),
}


def told(jobs: list[Any]) -> tuple[int, Headers, bytes]:
    """What is answered: whom it was done to stands in it."""
    uids = [getattr(job, "uid", type(job).__name__) for job in jobs]
    return 201, (("Location", uids[0]),), " ".join(uids).encode()


def request(key: str = "key", digest: bytes = b"body") -> Once:
    return Once(key, digest, told)


def send(desk: Desk, *news: tuple[str, NewJob], key: str = "key") -> Once:
    """The same request again, or the first time."""
    once = request(key)
    desk.engine.enqueue_batch(ME, news or [NEW], once=once)
    return once


def answers(desk: Desk) -> list[Answer]:
    with desk.house.store.transaction() as tx:
        return tx.records(Answer)


# --- once -------------------------------------------------------------------------


def test_what_was_done_is_not_done_again_and_answered_as_it_was(desk: Desk) -> None:
    first = send(desk, NEW, NEW)

    again = send(desk, NEW, NEW)

    uids = list(desk.rows())
    assert len(uids) == 2
    assert first.answer is not None
    assert (first.answer.status, first.answer.headers, first.answer.body) == (
        201,
        (("Location", uids[0]),),
        " ".join(uids).encode(),
    )
    assert (first.replayed, again.replayed) == (False, True)
    assert again.answer == first.answer


def test_a_repetition_gives_no_job_back(desk: Desk) -> None:
    assert len(desk.engine.enqueue_batch(ME, [NEW], once=request())) == 1

    assert desk.engine.enqueue_batch(ME, [NEW], once=request()) == []
    assert desk.engine.enqueue_each(ME, [NEW], once=request()) == []


def test_something_else_with_the_same_key_is_refused_and_not_done(desk: Desk) -> None:
    send(desk)

    for ask in (desk.engine.enqueue_batch, desk.engine.enqueue_each):
        other = request(digest=b"another")
        with pytest.raises(KeyReused, match="use a new one"):
            ask(ME, [NEW], once=other)  # type: ignore[operator]
        assert other.answer is None

    assert len(desk.rows()) == 1


def test_requests_of_other_keys_have_nothing_to_do_with_each_other(desk: Desk) -> None:
    assert not send(desk, key="a").replayed
    assert not send(desk, key="b").replayed

    assert len(desk.rows()) == 2


def test_a_request_without_a_key_is_not_remembered(desk: Desk) -> None:
    desk.engine.enqueue_batch(ME, [NEW])
    desk.engine.enqueue_each(ME, [NEW])

    assert answers(desk) == []


def test_a_repetition_is_answered_though_the_job_is_gone(desk: Desk) -> None:
    first = send(desk)
    for uid in desk.rows():
        desk.engine.delete(ME, "q", uid)

    assert send(desk).answer == first.answer
    assert desk.rows() == {}


@pytest.mark.parametrize(
    ("lists", "error"),
    [
        ({"write": frozenset[str]()}, Forbidden),
        ({"write": frozenset[str](), "read": frozenset[str]()}, QueueNotFound),
    ],
)
@pytest.mark.parametrize("verb", ["enqueue_batch", "enqueue_each"])
def test_who_may_write_no_more_is_not_told_what_it_did(
    desk: Desk, verb: str, lists: dict[str, Any], error: type[Exception]
) -> None:
    send(desk)
    desk.house.upkeep.reconfigure(rulebook(**lists))

    enqueue = getattr(desk.engine, verb)
    assert refusal(enqueue, ME, [NEW], once=request()) is error

    desk.house.upkeep.reconfigure(rulebook())
    assert send(desk).replayed


def test_what_was_kept_and_replaced_is_answered_as_it_was(desk: Desk) -> None:
    keyed = [("q", NewJob(b"1", unique_key="k"))]
    for conflict in (Conflict.KEEP, Conflict.REPLACE):
        once, again = request(conflict.value), request(conflict.value)
        desk.engine.enqueue_batch(ME, keyed, conflict=conflict, once=once)
        [before] = desk.rows().values()

        desk.clock.advance(seconds=1)
        desk.engine.enqueue_batch(ME, keyed, conflict=conflict, once=again)

        assert again.answer == once.answer
        assert desk.rows() == {before.uid: before}


# --- for a day --------------------------------------------------------------------


def test_a_request_is_remembered_for_a_day_swept_or_not(desk: Desk) -> None:
    first = send(desk)
    desk.clock.advance(ms=REMEMBERED_MS - 1)
    assert send(desk).answer == first.answer

    desk.clock.advance(ms=1)
    again = send(desk)

    assert not again.replayed
    assert len(desk.rows()) == 2
    # From then on for another day.
    desk.clock.advance(ms=REMEMBERED_MS - 1)
    assert send(desk).answer == again.answer != first.answer


def test_after_a_day_another_request_may_have_the_key(desk: Desk) -> None:
    send(desk)
    desk.clock.advance(ms=REMEMBERED_MS)

    desk.engine.enqueue_batch(ME, [NEW], once=request(digest=b"another"))

    assert [answer.digest for answer in answers(desk)] == [b"another"]


def test_what_is_a_day_old_is_swept_and_nothing_before(desk: Desk) -> None:
    send(desk, key="a")
    desk.clock.advance(minutes=1)
    send(desk, key="b")
    desk.clock.advance(ms=REMEMBERED_MS - 60_000)
    due = desk.house.upkeep.next_due()
    assert due is not None
    assert due <= desk.clock.now()

    while desk.sweep():
        pass

    assert [answer.name for answer in answers(desk)] == ["b"]
    due = desk.house.upkeep.next_due()
    assert due is None or due > desk.clock.now()


def test_who_asks_for_less_is_remembered_for_less(desk: Desk) -> None:
    for key, kept_ms in (("long", REMEMBERED_MS), ("short", 600_000)):
        desk.engine.enqueue_batch(ME, [NEW], once=Once(key, b"", told, kept_ms))
    desk.clock.advance(ms=599_999)
    assert desk.sweep() == {}
    again = Once("short", b"", told, REMEMBERED_MS)
    desk.engine.enqueue_batch(ME, [NEW], once=again)
    # A repetition makes it last no longer.
    assert (again.replayed, again.answer and again.answer.kept_ms) == (True, 600_000)

    desk.clock.advance(ms=1)
    assert sum(desk.sweep().values()) == 1

    assert [answer.name for answer in answers(desk)] == ["long"]


def test_what_is_forgotten_makes_room_for_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "ANSWERS_MAX", 1)
    desk.engine.enqueue_batch(ME, [NEW], once=Once("a", b"", told, 1000))
    assert refusal(send, desk, key="b") is MemoryFull

    desk.clock.advance(seconds=1)
    desk.sweep()

    assert not send(desk, key="b").replayed


def test_for_how_long_is_in_the_file() -> None:
    desk = Desk(disk=SimDisk())
    desk.engine.enqueue_batch(ME, [NEW], once=Once("key", b"", told, 600_000))

    desk.restart()

    assert [answer.kept_ms for answer in answers(desk)] == [600_000]
    desk.house.close()


# --- in the file ------------------------------------------------------------------


def test_a_request_is_remembered_over_a_restart_and_a_compaction() -> None:
    desk = Desk(disk=SimDisk())
    first = send(desk)
    assert desk.house.compactor is not None
    for _ in desk.house.compactor.run():
        pass
    assert send(desk).answer == first.answer

    desk.restart()

    assert send(desk).answer == first.answer
    assert len(desk.rows()) == 1
    desk.house.close()


def test_what_a_crash_leaves_is_the_job_and_its_answer_or_neither() -> None:
    desk = Desk(disk=SimDisk())
    assert desk.disk is not None
    crashed, before = desk.house, desk.disk.clone()
    first = send(desk)
    after = desk.disk.clone()

    for disk, count, replayed in ((before, 1, False), (after, 1, True)):
        desk.disk = disk
        desk.open(rulebook())
        again = send(desk)
        assert (len(desk.rows()), again.replayed) == (count, replayed)
        assert (again.answer == first.answer) == replayed
        desk.house.close()
    crashed.close()


# --- what is refused --------------------------------------------------------------


def test_a_refused_request_is_not_remembered(desk: Desk) -> None:
    keyed = ("q", NewJob(b"{}", unique_key="k"))
    [there] = desk.engine.enqueue_batch(ME, [keyed])
    assert refusal(send, desk, NEW, keyed) is DuplicateJob
    assert refusal(send, desk, ("none", NEW[1])) is QueueNotFound
    assert answers(desk) == []

    desk.engine.delete(ME, "q", there.uid)  # type: ignore[union-attr]

    assert not send(desk, NEW, keyed).replayed
    assert len(desk.rows()) == 2


def test_a_refusal_among_many_is_remembered_as_it_was_told() -> None:
    desk = Desk(rulebook(max_jobs=1))
    once, again = request(), request()
    desk.engine.enqueue_each(ME, [NEW, NEW], once=once)
    for uid in desk.rows():
        desk.engine.delete(ME, "q", uid)

    desk.engine.enqueue_each(ME, [NEW, NEW], once=again)

    assert once.answer is not None
    assert once.answer.body.endswith(b" QueueFull")
    assert again.answer == once.answer
    assert desk.rows() == {}


def test_no_more_answers_are_remembered_than_may_be(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "ANSWERS_MAX", 2)
    first = send(desk, key="a")
    send(desk, key="b")

    assert refusal(send, desk, key="c") is MemoryFull

    assert len(desk.rows()) == 2
    # Who repeats takes no place, and who has no key needs none.
    assert send(desk, key="a").answer == first.answer
    desk.engine.enqueue_batch(ME, [NEW])
    desk.clock.advance(ms=REMEMBERED_MS)
    while desk.sweep():
        pass
    assert not send(desk, key="c").replayed


def test_an_answer_too_large_to_be_remembered_is_given_to_nobody(desk: Desk) -> None:
    once = Once("key", b"", lambda _: (201, (), bytes(ANSWER_BYTES_MAX + 1)))
    with pytest.raises(TransactionTooLarge, match="fewer jobs"):
        desk.engine.enqueue_batch(ME, [NEW], once=once)
    assert (desk.rows(), answers(desk)) == ({}, [])

    once = Once("key", b"", lambda _: (201, (), bytes(ANSWER_BYTES_MAX)))
    desk.engine.enqueue_batch(ME, [NEW], once=once)
    assert len(desk.rows()) == 1


def test_answers_take_memory_and_are_refused_where_there_is_none() -> None:
    desk = Desk(rulebook(house={"memory_bytes": 100_000}))
    large = Once("key", b"", lambda _: (201, (), bytes(99_900)))

    with pytest.raises(MemoryFull):
        desk.engine.enqueue_batch(ME, [NEW], once=large)
    assert (desk.rows(), answers(desk)) == ({}, [])

    small = Once("key", b"", lambda _: (201, (), bytes(50_000)))
    desk.engine.enqueue_batch(ME, [NEW], once=small)
    assert refusal(desk.put, bytes(49_000)) is MemoryFull
    desk.clock.advance(ms=REMEMBERED_MS)
    while desk.sweep():
        pass
    assert refusal(desk.put, bytes(49_000)) is None


def test_on_a_full_disk_nothing_is_done_that_could_not_be_remembered() -> None:
    disk = SimDisk()
    desk = Desk(disk=disk)
    assert desk.house.room == "ok"
    first = send(desk, key="a")
    disk.reserve = lambda _end: False
    while refusal(desk.put, bytes(1 << 20)) is None:
        pass
    while refusal(desk.put, bytes(1000)) is None:
        pass
    before = desk.rows()

    assert refusal(send, desk, key="b") is StoreFull
    each = request("c")
    assert refusal(desk.engine.enqueue_each, ME, [NEW], once=each) is StoreFull

    assert desk.rows() == before
    assert send(desk, key="a").answer == first.answer
    desk.house.close()


@pytest.mark.parametrize("verb", ["enqueue_batch", "enqueue_each"])
def test_a_queue_is_not_made_by_what_could_not_be_remembered(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(rulebook(house=DYNAMIC))
    enqueue = getattr(desk.engine, verb)
    monkeypatch.setattr(intake, "ANSWERS_MAX", 0)

    assert refusal(enqueue, MAKER, [("new", NEW[1])], once=request()) is MemoryFull

    assert "new" not in desk.engine.rules.queues
    with desk.house.store.transaction() as tx:
        assert tx.records(MadeQueue) == []
    monkeypatch.undo()
    enqueue(MAKER, [("new", NEW[1])], once=request())
    assert "new" in desk.engine.rules.queues
    with desk.house.store.transaction() as tx:
        assert [made.name for made in tx.records(MadeQueue)] == ["new"]


@pytest.mark.parametrize(
    ("rules", "new", "error"),
    [
        (rulebook(max_jobs=0), NEW, QueueFull),
        (rulebook(max_job_bytes=1), NEW, JobTooLarge),
        (Rulebook({"q": replace(QUEUE, write=frozenset())}), NEW, Forbidden),
    ],
)
def test_nothing_is_left_of_a_request_that_is_refused(
    rules: Rulebook, new: tuple[str, NewJob], error: type[Exception]
) -> None:
    desk = Desk(rules)
    once = request()

    assert refusal(desk.engine.enqueue_batch, ME, [new], once=once) is error

    assert once.answer is None
    assert (desk.rows(), answers(desk)) == ({}, [])


@pytest.mark.parametrize("verb", ["enqueue_batch", "enqueue_each"])
@pytest.mark.parametrize(
    ("rules", "error"),
    [
        (Rulebook({"q": replace(QUEUE, write=frozenset())}), Forbidden),
        (Rulebook({"q": QueueRules("q", read=frozenset({"reader"}))}), QueueNotFound),
        (Rulebook({}), QueueNotFound),
    ],
)
def test_who_may_ask_no_more_is_not_told_what_was_answered_before(
    desk: Desk, verb: str, rules: Rulebook, error: type[Exception]
) -> None:
    send(desk)
    desk.house.upkeep.reconfigure(rules)

    for digest in (b"body", b"another"):
        once = request(digest=digest)
        assert refusal(getattr(desk.engine, verb), ME, [NEW], once=once) is error
        assert once.answer is None
