"""Queues that callers make: by a first job, by name, or with an access key."""

from collections.abc import Callable
from typing import Any

import pytest
from asking import ADMIN, ME, QUEUE, READER, STRANGER, Desk, refusal, rulebook
from msgspec.structs import replace

from jobengine.admin import ACCESS_KEY_CHARS_MAX, SERVICES_MAX
from jobengine.core.access import BROWSE, READ, WRITE, Caller, by_key
from jobengine.core.job import INSTANT_MAX, Change, Job, NewJob, Renewal, State
from jobengine.core.queues import (
    MADE_QUEUES_MAX,
    MadeQueue,
    PausedQueue,
    QueueRules,
    RemovedQueue,
    Rulebook,
)
from jobengine.engine import Conflict, LiveKey
from jobengine.errors import (
    Forbidden,
    InvalidJob,
    InvalidQueue,
    JobEngineError,
    JobTooLarge,
    QueueConfigured,
    QueueExists,
    QueueFull,
    QueueNotFound,
    WrongKey,
)
from jobengine.testing import SimDisk

MAKER, TAKER = Caller("maker"), Caller("taker")
LISTS = QueueRules("", read=frozenset({"taker"}), write=frozenset({"maker"}))
TEMPLATE = QueueRules("", lease_ms=7000, keep_ms=9000)
DYNAMIC: dict[str, Any] = {"dynamic": LISTS, "template": TEMPLATE}
JOB = NewJob(b"{}")
KEYED = by_key(MadeQueue("new", 1, salt="s", digest=b"d"))
BAD_NAMES = ["", " q", "q ", "a/b", "a\nb", "\u00e9", "x" * 256, "#q", "(made)"]


def dynamic(*others: QueueRules, **queue: Any) -> Rulebook:
    return rulebook(*others, house=DYNAMIC, **queue)


@pytest.fixture
def desk() -> Desk:
    return Desk(dynamic())


def records(desk: Desk, kind: Any = MadeQueue) -> list[Any]:
    with desk.house.store.transaction() as tx:
        return tx.records(kind)


# --- by a first job ---------------------------------------------------------------


def test_the_first_job_of_a_listed_writer_makes_the_queue(desk: Desk) -> None:
    """D16."""
    job = desk.engine.enqueue(MAKER, "new", JOB)

    [taken] = desk.engine.claim(TAKER, "new")
    assert taken.uid == job.uid
    assert taken.lease is not None
    assert taken.lease.until == desk.clock.now() + 7000
    assert len(records(desk)) == 1


def test_the_rights_on_a_made_queue_are_those_of_the_lists(desk: Desk) -> None:
    desk.engine.enqueue(MAKER, "new", JOB)

    assert desk.engine.check(MAKER, "new") == {WRITE}
    assert desk.engine.check(TAKER, "new") == {READ, BROWSE}
    assert refusal(desk.engine.claim, MAKER, "new") is Forbidden
    assert refusal(desk.engine.enqueue, TAKER, "new", JOB) is Forbidden


def test_before_its_first_job_a_listed_reader_sees_an_empty_queue(desk: Desk) -> None:
    assert desk.engine.claim(TAKER, "new") == []
    assert desk.engine.check(MAKER, "new") == {WRITE}
    assert "new" not in desk.engine.rules.queues


def test_a_listed_reader_cannot_tell_a_queue_of_others_from_none(desk: Desk) -> None:
    desk.put()

    assert desk.engine.claim(TAKER, "q") == []
    assert refusal(desk.engine.listing, TAKER, "q") is QueueNotFound
    assert refusal(desk.engine.listing, TAKER, "new") is QueueNotFound


@pytest.mark.parametrize("caller", [ME, STRANGER, Caller("admin"), KEYED])
def test_nobody_else_learns_whether_there_is_such_a_queue(
    desk: Desk, caller: Caller
) -> None:
    asks: list[tuple[Any, ...]] = [
        (desk.engine.check, caller, "new"),
        (desk.engine.enqueue, caller, "new", JOB),
        (desk.engine.claim, caller, "new"),
        (desk.engine.listing, caller, "new"),
        (desk.admin.delete_queue, caller, "new"),
    ]

    before = [refusal(*ask) for ask in asks]
    desk.engine.enqueue(MAKER, "new", JOB)
    if caller.key_of is None:
        assert [refusal(*ask) for ask in asks] == before

    assert before == [QueueNotFound] * len(asks)


def test_a_batch_makes_the_queues_it_needs(desk: Desk) -> None:
    news = [("one", JOB), ("two", JOB), ("one", JOB)]

    desk.engine.enqueue_batch(MAKER, news)

    assert len(desk.rows("one")) == 2
    assert {made.name for made in records(desk)} == {"one", "two"}


def test_a_follow_up_makes_the_queue_it_needs() -> None:
    both = QueueRules("", write=frozenset({"me"}), read=frozenset({"me"}))
    desk = Desk(rulebook(house={"dynamic": both}))
    job = desk.held()

    desk.engine.requeue(ME, "q", job.uid, [("new", JOB)])

    assert len(desk.engine.claim(ME, "new")) == 1


def test_nothing_is_kept_of_queues_that_were_not_made_or_are_no_more(
    desk: Desk,
) -> None:
    news = [(f"new {n}", JOB) for n in range(3)]
    refused = refusal(desk.engine.enqueue_batch, MAKER, [*news, ("#", JOB)])
    desk.engine.enqueue(MAKER, "new", NewJob(b"{}", run_at=INSTANT_MAX))

    desk.admin.delete_queue(ADMIN, "new")

    assert refused is InvalidQueue
    assert shelves(desk) == set()


def shelves(desk: Desk) -> set[str]:
    """The queues for which memory is kept."""
    store: Any = desk.house.store
    return {*store.rows.shelves, *store.rows.scheduled}


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (NewJob(b"{}", valid_for_ms=INSTANT_MAX), InvalidJob),
        (NewJob(bytes(101)), JobTooLarge),
    ],
)
def test_a_first_job_that_is_refused_makes_no_queue(
    new: NewJob, error: type[Exception]
) -> None:
    lists: dict[str, Any] = {**DYNAMIC, "template": QueueRules("", max_job_bytes=100)}
    desk = Desk(rulebook(house=lists))

    for ask in (
        (desk.engine.enqueue, MAKER, "new", new),
        (desk.engine.enqueue_batch, MAKER, [("new", JOB), ("new", new)]),
        (desk.engine.enqueue_batch, MAKER, [("new", JOB), ("q", JOB)]),
    ):
        assert refusal(*ask) in (error, QueueNotFound)
        assert "new" not in desk.engine.rules.queues
        assert records(desk) == []


def test_a_job_refused_on_its_own_makes_no_queue_and_the_others_do() -> None:
    lists: dict[str, Any] = {**DYNAMIC, "template": QueueRules("", max_job_bytes=100)}
    desk = Desk(rulebook(house=lists))

    told = desk.engine.enqueue_each(MAKER, [("bad", NewJob(bytes(101))), ("new", JOB)])

    assert [type(each) for each in told] == [JobTooLarge, Job]
    assert [record.name for record in records(desk)] == ["new"]
    assert {"bad", "new"} & desk.engine.rules.queues.keys() == {"new"}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_be_one_is_refused(desk: Desk, name: str) -> None:
    assert refusal(desk.engine.enqueue, MAKER, name, JOB) is InvalidQueue
    assert refusal(desk.admin.create_queue, ADMIN, name) is InvalidQueue
    assert records(desk) == []


def test_queues_are_refused_to_all_where_nobody_may_make_them() -> None:
    desk = Desk()

    assert refusal(desk.engine.enqueue, MAKER, "new", JOB) is QueueNotFound
    assert refusal(desk.engine.claim, TAKER, "new") is QueueNotFound
    assert refusal(desk.admin.create_queue, MAKER, "new") is Forbidden


def test_a_first_job_rings_for_those_who_wait(desk: Desk) -> None:
    desk.engine.enqueue(MAKER, "new", JOB)

    assert desk.rung == ["new"]


def test_made_queues_are_there_after_restarts_and_reloads() -> None:
    desk = Desk(dynamic(), disk=SimDisk())
    desk.engine.enqueue(MAKER, "new", JOB)

    desk.restart(dynamic())
    assert len(desk.rows("new")) == 1
    desk.house.upkeep.reconfigure(dynamic(lease_ms=5))
    assert len(desk.engine.claim(TAKER, "new")) == 1
    # Nobody may make queues now: those there are stay.
    desk.restart(rulebook())
    assert desk.engine.enqueue(MAKER, "new", JOB)
    desk.house.close()


def test_the_configuration_wins_over_a_queue_of_the_same_name(desk: Desk) -> None:
    desk.engine.enqueue(MAKER, "new", JOB)

    desk.house.upkeep.reconfigure(dynamic(replace(QUEUE, name="new")))

    assert len(desk.engine.claim(READER, "new")) == 1
    assert refusal(desk.engine.enqueue, MAKER, "new", JOB) is QueueNotFound
    assert refusal(desk.admin.delete_queue, ADMIN, "new") is QueueConfigured


def test_no_more_queues_are_made_than_there_may_be(desk: Desk) -> None:
    with desk.house.store.transaction() as tx:
        for n in range(MADE_QUEUES_MAX):
            tx.put_record(MadeQueue(f"made {n}", tx.now))

    with pytest.raises(QueueFull, match="delete some"):
        desk.engine.enqueue(MAKER, "new", JOB)
    assert refusal(desk.admin.create_queue, ADMIN, "new") is QueueFull

    desk.house.upkeep.reconfigure(dynamic())
    desk.admin.delete_queue(ADMIN, "made 7")
    assert desk.engine.enqueue(MAKER, "new", JOB)


# --- by name ----------------------------------------------------------------------


def test_an_admin_makes_a_queue_with_lists_of_its_own(desk: Desk) -> None:
    desk.admin.create_queue(ADMIN, "new", read=["a", "b"], write=["b"])

    assert desk.engine.check(Caller("a"), "new") == {READ, BROWSE}
    assert desk.engine.check(Caller("b"), "new") == {READ, WRITE, BROWSE}
    assert refusal(desk.engine.check, Caller("c"), "new") is QueueNotFound


def test_who_may_make_queues_by_a_job_may_make_them_by_name(desk: Desk) -> None:
    desk.admin.create_queue(MAKER, "new", read=["a"])

    assert desk.engine.claim(Caller("a"), "new") == []


@pytest.mark.parametrize("caller", [ME, TAKER, STRANGER, Caller("admin")])
def test_nobody_else_makes_queues(desk: Desk, caller: Caller) -> None:
    """JE2-H2: there, anybody could."""
    assert refusal(desk.admin.create_queue, caller, "new") is Forbidden
    assert records(desk) == []


@pytest.mark.parametrize("name", ["q", "made"])
def test_a_name_that_is_taken_stays_so(desk: Desk, name: str) -> None:
    desk.admin.create_queue(ADMIN, "made", read=["a"])
    before = desk.engine.rules

    assert refusal(desk.admin.create_queue, ADMIN, name, read=["b"]) is QueueExists

    assert desk.engine.rules == before


def test_the_name_of_a_removed_queue_cannot_be_taken_over(desk: Desk) -> None:
    """Its jobs are not for whoever thinks of the name next."""
    desk.put()
    others = {"other": replace(QUEUE, name="other")}
    without = replace(dynamic(), queues=others)

    desk.house.upkeep.reconfigure(without)

    assert refusal(desk.engine.enqueue, MAKER, "q", JOB) is QueueExists
    assert refusal(desk.admin.create_queue, ADMIN, "q") is QueueExists
    assert desk.engine.claim(TAKER, "q") == []
    desk.clock.advance(minutes=24 * 60)
    while desk.sweep():
        pass
    assert desk.engine.enqueue(MAKER, "q", JOB)
    assert len(desk.rows("q")) == 1


def test_a_queue_is_not_paused_because_another_of_its_name_was() -> None:
    desk = Desk(dynamic(), disk=SimDisk())
    desk.admin.pause(ADMIN, "q", "once")
    without = replace(dynamic(), queues={})
    desk.house.upkeep.reconfigure(without)

    desk.engine.enqueue(MAKER, "q", JOB)

    assert records(desk, PausedQueue) == []
    desk.restart(without)
    assert len(desk.engine.claim(TAKER, "q")) == 1
    desk.house.close()


@pytest.mark.parametrize(
    "how",
    [
        {"read": ["a/b"]},
        {"write": [""]},
        {"read": [f"s{n}" for n in range(SERVICES_MAX + 1)]},
        {"access_key": ""},
        {"access_key": "k" * (ACCESS_KEY_CHARS_MAX + 1)},
    ],
)
def test_lists_and_keys_that_make_no_sense_are_refused(
    desk: Desk, how: dict[str, Any]
) -> None:
    assert refusal(lambda: desk.admin.create_queue(ADMIN, "new", **how)) is InvalidQueue
    assert records(desk) == []


# --- with an access key -----------------------------------------------------------


def locked(desk: Desk, name: str = "box", key: str = "open sesame") -> Caller:
    desk.admin.create_queue(ADMIN, name, access_key=key)
    return desk.engine.unlock(name, key)


def test_the_access_key_of_a_queue_opens_it_and_no_other(desk: Desk) -> None:
    caller = locked(desk)
    locked(desk, "other box", "another")

    job = desk.engine.enqueue(caller, "box", JOB)
    assert desk.engine.claim(caller, "box")[0].uid == job.uid
    assert desk.engine.check(caller, "box") == {READ, WRITE, BROWSE}
    for queue in ("q", "other box", "nowhere"):
        assert refusal(desk.engine.check, caller, queue) is QueueNotFound


def test_a_wrong_key_opens_nothing(desk: Desk) -> None:
    locked(desk)

    for wrong in ("", "open sesam", "OPEN SESAME", "\x00"):
        with pytest.raises(WrongKey) as told:
            desk.engine.unlock("box", wrong)
        assert "sesame" not in str(told.value)


def test_a_refusal_does_not_repeat_a_name_that_no_queue_can_have(desk: Desk) -> None:
    name = "q" * 100_000

    for ask in (
        lambda: desk.engine.check(ME, name),
        lambda: desk.engine.unlock(name, "key"),
        lambda: desk.engine.get(ME, "q", name),
    ):
        with pytest.raises(JobEngineError) as refused:
            ask()
        assert len(str(refused.value)) < 1200


def test_only_queues_with_a_key_can_be_unlocked(desk: Desk) -> None:
    desk.admin.create_queue(ADMIN, "open", read=["a"])

    for queue in ("q", "open", "nowhere"):
        assert refusal(desk.engine.unlock, queue, "") is QueueNotFound


class Door:
    """A lock, and what happens just before anybody first gets through."""

    def __init__(self, lock: Any, happen: Callable[[], None]) -> None:
        self._lock = lock
        self._rest = iter([happen])

    def acquire(self) -> bool:
        for happen in self._rest:
            happen()
        return bool(self._lock.acquire())

    def release(self) -> None:
        self._lock.release()


KEY = LiveKey("k")
VERBS: dict[str, Callable[[Desk, Caller], object]] = {
    "enqueue": lambda d, who: d.engine.enqueue(who, "box", JOB),
    "claim": lambda d, who: d.engine.claim(who, "box"),
    "peek": lambda d, who: d.engine.peek(who, "box"),
    "get": lambda d, who: d.engine.get(who, "box", KEY),
    "listing": lambda d, who: list(d.engine.listing(who, "box")),
    "update": lambda d, who: d.engine.update(who, "box", KEY, Change(priority=1)),
    "delete": lambda d, who: d.engine.delete(who, "box", KEY),
    "cancel": lambda d, who: d.engine.cancel(who, "box", KEY),
    "complete": lambda d, who: d.engine.complete(who, "box", KEY),
    "reschedule": lambda d, who: d.engine.reschedule(who, "box", KEY, Renewal()),
    "requeue": lambda d, who: d.engine.requeue(who, "box", KEY, []),
    "delete the queue": lambda d, who: d.admin.delete_queue(who, "box"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_key_shown_in_time_opens_no_queue_that_has_come_meanwhile(
    desk: Desk, verb: str
) -> None:
    caller = locked(desk)
    store: Any = desk.house.store

    def exchange() -> None:
        desk.admin.delete_queue(caller, "box")
        other = locked(desk, key="another")
        desk.engine.enqueue(other, "box", NewJob(b"{}", unique_key="k"))
        desk.engine.claim(other, "box")

    store.lock = Door(store.lock, exchange)
    assert refusal(VERBS[verb], desk, caller) is QueueNotFound

    assert [job.state for job in desk.rows("box").values()] == [State.INPROGRESS]


def test_an_access_key_is_not_kept(desk: Desk) -> None:
    locked(desk)
    locked(desk, "twin")

    box, twin = records(desk)

    assert b"sesame" not in repr(records(desk)).encode()
    assert box.digest != twin.digest, "two with one key look alike"


def test_keys_work_after_a_restart() -> None:
    desk = Desk(dynamic(), disk=SimDisk())
    locked(desk)

    desk.restart(dynamic())

    assert desk.engine.unlock("box", "open sesame") == by_key(records(desk)[0])
    assert refusal(desk.engine.unlock, "box", "no") is WrongKey
    desk.house.close()


def test_a_queue_with_a_key_is_hidden_from_everybody_else(desk: Desk) -> None:
    locked(desk)

    for caller in (ME, MAKER, TAKER, STRANGER):
        assert refusal(desk.engine.check, caller, "box") is QueueNotFound
    assert len(desk.engine.check(ADMIN, "box")) == 4


# --- deleted ----------------------------------------------------------------------


@pytest.mark.parametrize("by", ["an admin", "its key"])
def test_a_made_queue_is_deleted_with_its_jobs(desk: Desk, by: str) -> None:
    key = locked(desk)
    for _ in range(3):
        desk.engine.enqueue(key, "box", JOB)
    desk.engine.claim(key, "box")

    desk.admin.delete_queue(ADMIN if by == "an admin" else key, "box")

    assert desk.rows("box") == {}
    assert refusal(desk.engine.check, ADMIN, "box") is QueueNotFound
    assert refusal(desk.engine.unlock, "box", "open sesame") is QueueNotFound
    assert records(desk) == records(desk, RemovedQueue) == []
    assert desk.sweep() == {}


def test_a_deleted_name_is_free_for_another(desk: Desk) -> None:
    key = locked(desk)
    desk.engine.enqueue(key, "box", JOB)
    desk.admin.pause(ADMIN, "box", "why")
    desk.admin.delete_queue(key, "box")

    desk.engine.enqueue(MAKER, "box", JOB)

    assert len(desk.engine.claim(TAKER, "box", 9)) == 1


def test_not_everybody_who_uses_a_queue_deletes_it(desk: Desk) -> None:
    desk.engine.enqueue(MAKER, "new", JOB)
    other = locked(desk)

    for caller, error in (
        (MAKER, Forbidden),
        (TAKER, Forbidden),
        (STRANGER, QueueNotFound),
        (other, QueueNotFound),
        (Caller("admin"), QueueNotFound),
    ):
        assert refusal(desk.admin.delete_queue, caller, "new") is error
    assert len(desk.rows("new")) == 1


def test_a_queue_of_the_configuration_is_not_deleted(desk: Desk) -> None:
    with pytest.raises(QueueConfigured, match="take it out there"):
        desk.admin.delete_queue(ADMIN, "q")

    assert refusal(desk.admin.delete_queue, ADMIN, "nowhere") is QueueNotFound


@pytest.mark.parametrize("removed_keep_ms", [60_000, 0, None])
def test_a_deletion_goes_on_after_a_crash_and_nothing_holds_it_up(
    removed_keep_ms: int | None,
) -> None:
    rules = replace(dynamic(), removed_keep_ms=removed_keep_ms)
    desk = Desk(rules, disk=SimDisk())
    key = locked(desk)
    desk.engine.enqueue_batch(key, [("box", JOB)] * 1200)
    crashed: list[SimDisk] = []
    assert desk.disk is not None
    disk = desk.disk
    desk.house.store.listen(lambda *_: crashed.append(disk.clone()))
    desk.admin.delete_queue(key, "box")
    desk.house.close()

    # After its first commit: it is no queue any more, and all its jobs are there.
    desk.disk = crashed[0]
    desk.open(rules)

    assert refusal(desk.engine.check, ADMIN, "box") is QueueNotFound
    assert refusal(desk.engine.enqueue, MAKER, "box", JOB) is QueueExists
    assert len(desk.rows("box")) == 1200
    desk.house.upkeep.reconfigure(rules)
    swept = 0
    while part := desk.house.upkeep.sweep():
        swept += part["box", "removed"]
    assert swept == 1200
    assert records(desk, RemovedQueue) == []
    desk.house.close()


def test_a_job_of_a_deleted_queue_is_nobodys(desk: Desk) -> None:
    key = locked(desk)
    job = desk.engine.enqueue(key, "box", JOB)
    [held] = desk.engine.claim(key, "box")
    assert held.lease is not None

    desk.admin.delete_queue(ADMIN, "box")

    lease = held.lease.token
    told = refusal(lambda: desk.engine.complete(key, "box", job.uid, lease=lease))
    assert told is QueueNotFound


def test_a_first_job_meets_what_the_template_says() -> None:
    small: dict[str, Any] = {**DYNAMIC, "template": QueueRules("", max_jobs=1)}
    desk = Desk(rulebook(house=small))
    keyed = [("new", NewJob(b"", unique_key="k"))] * 2

    desk.engine.enqueue_batch(MAKER, keyed, conflict=Conflict.KEEP)

    assert refusal(desk.engine.enqueue, MAKER, "new", JOB) is QueueFull
