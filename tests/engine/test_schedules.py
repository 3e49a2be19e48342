"""Schedules: who may have them, and that each instant makes its job once, whatever
happens to the clock, the queue, the disk and the process."""

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from asking import (
    ADMIN,
    BROWSER,
    MANAGER,
    ME,
    QUEUE,
    READER,
    STRANGER,
    WRITER,
    Desk,
    refusal,
    rulebook,
)
from msgspec.structs import replace

from jobengine import schedules, upkeep
from jobengine.core import schedules as rules_of_schedules
from jobengine.core.access import Caller
from jobengine.core.backoff import Backoff
from jobengine.core.cron import Cron
from jobengine.core.job import Job, Terms
from jobengine.core.once import Headers, Once
from jobengine.core.queues import QueueRules, RemovedQueue, Rulebook
from jobengine.core.schedules import (
    GRACE_MS,
    NewSchedule,
    Schedule,
    begun,
)
from jobengine.errors import (
    Forbidden,
    InvalidSchedule,
    KeyReused,
    MemoryFull,
    QueueFull,
    QueueNotFound,
    ScheduleExists,
    ScheduleNotFound,
    StoreFull,
)
from jobengine.testing import SimDisk
from jobengine.upkeep import FIRINGS_MAX

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
OTHER_QUEUE = replace(QUEUE, name="other")
MADE = QueueRules("", write=frozenset({"maker"}))
MAKER = Caller("maker")


def new(cron: str = "0 * * * *", title: str = "s", **fields: Any) -> NewSchedule:
    return NewSchedule(title, cron, fields.pop("content", b"{}"), **fields)


def add(
    desk: Desk, cron: str = "0 * * * *", title: str = "s", queue: str = "q", **how: Any
) -> Schedule:
    made = desk.house.schedules.create(MANAGER, queue, new(cron, title, **how))
    assert made is not None
    return made


def now(desk: Desk, title: str = "s") -> Schedule:
    return desk.house.schedules.get(MANAGER, "q", title)


def sweep(desk: Desk) -> None:
    """Until nothing is due."""
    for _ in range(10_000):
        if not desk.sweep():
            return
    raise AssertionError("it spins")


def instants(desk: Desk, queue: str = "q", title: str = "s") -> list[str]:
    """For which a schedule has made the jobs there are, in order, each as often as it
    has made one."""
    keys = [job.keys.unique for job in desk.rows(queue).values() if job.keys]
    mine = f"schedule:{title}@"
    return sorted(key[len(mine) :] for key in keys if key and key.startswith(mine))


def at(text: str) -> int:
    return round(datetime.fromisoformat(f"{text}Z").timestamp() * 1000)


def begins(desk: Desk, text: str) -> None:
    desk.clock.set(at(text))


def stored(desk: Desk) -> list[Schedule]:
    with desk.house.store.transaction() as tx:
        return sorted(tx.records(Schedule), key=lambda schedule: schedule.name)


# --- who may ----------------------------------------------------------------------


CHANGES: dict[str, Callable[[Desk, Caller], object]] = {
    "create": lambda d, who: d.house.schedules.create(who, "q", new(title="t")),
    "replace": lambda d, who: d.house.schedules.replace(who, "q", "s", new()),
    "delete": lambda d, who: d.house.schedules.delete(who, "q", "s"),
    "pause": lambda d, who: d.house.schedules.pause(who, "q", "s"),
    "resume": lambda d, who: d.house.schedules.resume(who, "q", "s"),
}
LOOKS: dict[str, Callable[[Desk, Caller], object]] = {
    "get": lambda d, who: d.house.schedules.get(who, "q", "s"),
    "all": lambda d, who: d.house.schedules.all(who, "q"),
}


@pytest.mark.parametrize("verb", CHANGES)
def test_those_who_manage_the_queue_change_its_schedules(desk: Desk, verb: str) -> None:
    for who, refused in (
        (STRANGER, QueueNotFound),
        (READER, Forbidden),
        (WRITER, Forbidden),
        (BROWSER, Forbidden),
        (ME, Forbidden),
        (MANAGER, None),
    ):
        desk = Desk()
        add(desk)
        assert refusal(CHANGES[verb], desk, who) is refused, who


@pytest.mark.parametrize("verb", LOOKS)
def test_those_who_browse_the_queue_see_its_schedules(desk: Desk, verb: str) -> None:
    add(desk)

    for who, refused in (
        (STRANGER, QueueNotFound),
        (WRITER, Forbidden),
        (READER, None),
        (BROWSER, None),
        (MANAGER, None),
        (ADMIN, None),
    ):
        assert refusal(LOOKS[verb], desk, who) is refused, who


@pytest.mark.parametrize("verb", ["replace", "delete", "pause", "resume", "get"])
def test_what_is_not_there_is_not_found(desk: Desk, verb: str) -> None:
    ask = {**CHANGES, **LOOKS}[verb]

    assert refusal(ask, desk, MANAGER) is ScheduleNotFound


def test_a_queue_has_one_schedule_of_a_name_and_another_queue_another() -> None:
    desk = Desk(rulebook(OTHER_QUEUE))
    add(desk)

    assert refusal(add, desk) is ScheduleExists
    add(desk, queue="other")
    add(desk, title="t")

    mine = desk.house.schedules.all(BROWSER, "q")
    assert [schedule.title for schedule in mine] == ["s", "t"]


def test_as_many_as_there_may_be_are_all(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "SCHEDULES_MAX", 2)
    add(desk, title="a")
    add(desk, title="b")

    assert refusal(add, desk, title="c") is QueueFull

    desk.house.schedules.delete(MANAGER, "q", "a")
    add(desk, title="c")


def test_what_would_never_fire_is_refused_before_the_store_is_held(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(desk)
    before = stored(desk)
    never = new("0 0 LW * */24")
    monkeypatch.setattr(desk.house.store, "transaction", None)

    for ask in (
        lambda: desk.house.schedules.create(MANAGER, "q", never),
        lambda: desk.house.schedules.replace(MANAGER, "q", "s", never),
    ):
        assert refusal(ask) is InvalidSchedule
    monkeypatch.undo()

    assert stored(desk) == before


def test_a_payload_that_the_queue_never_takes_is_refused_at_once() -> None:
    desk = Desk(rulebook(max_job_bytes=10))

    assert refusal(add, desk, content=b"1" * 11) is InvalidSchedule
    add(desk, content=b"1" * 10)


def test_schedules_take_room_in_memory() -> None:
    desk = Desk(rulebook(house={"memory_bytes": 100_000}))
    add(desk, content=bytes(50_000))

    assert refusal(add, desk, title="t", content=bytes(50_000)) is MemoryFull

    desk.house.schedules.replace(MANAGER, "q", "s", new(content=b"1"))
    add(desk, title="t", content=bytes(50_000))


def test_another_name_is_another_schedule(desk: Desk) -> None:
    add(desk)

    with pytest.raises(InvalidSchedule, match="title"):
        desk.house.schedules.replace(MANAGER, "q", "s", new(title="t"))


# --- once -------------------------------------------------------------------------


def told(schedule: Any) -> tuple[int, Headers, bytes]:
    return 201, (), schedule.title.encode()


def test_a_creation_that_is_sent_again_is_answered_and_not_done_again(
    desk: Desk,
) -> None:
    first, again = Once("key", b"x", told), Once("key", b"x", told)

    assert desk.house.schedules.create(MANAGER, "q", new(), once=first) is not None
    assert desk.house.schedules.create(MANAGER, "q", new(), once=again) is None

    assert again.replayed
    assert again.answer == first.answer
    assert len(stored(desk)) == 1
    other = Once("key", b"y", told)
    assert (
        refusal(desk.house.schedules.create, MANAGER, "q", new(title="t"), once=other)
        is KeyReused
    )


# --- as their time comes ----------------------------------------------------------


def test_each_instant_makes_one_job_that_can_be_claimed(desk: Desk) -> None:
    begins(desk, "2027-01-15T08:30:00")
    terms = Terms(max_attempts=7, lease_ms=1234)
    add(desk, content=b'{"a": 1}', priority=9, terms=terms, fingerprint="f")
    sweep(desk)
    assert desk.rows() == {}

    begins(desk, "2027-01-15T09:00:00")
    assert desk.sweep() == {("q", "fired"): 1}
    assert desk.sweep() == {}

    job = desk.take()
    assert (job.content, job.priority, job.terms) == (b'{"a": 1}', 9, terms)
    assert job.keys is not None
    assert job.keys.unique == "schedule:s@2027-01-15T09:00:00.000Z"
    assert job.keys.fingerprint == "f"
    assert job.created_at == job.run_at == desk.clock.now()
    after = now(desk)
    assert (after.made, after.missed, after.last_uid) == (1, 0, job.uid)
    assert after.last_at == at("2027-01-15T09:00:00")
    assert after.next_at == at("2027-01-15T10:00:00")


def test_those_who_wait_for_a_job_are_woken(desk: Desk) -> None:
    add(desk)
    desk.clock.advance(ms=HOUR_MS)
    desk.rung.clear()

    desk.sweep()

    assert desk.rung == ["q"]


def test_the_store_says_when_the_next_one_is_due(desk: Desk) -> None:
    alarms: list[int | None] = []
    desk.house.store.set_alarm(lambda: alarms.append(desk.house.upkeep.next_due()))

    made = add(desk)

    assert made.due_at is not None
    assert len(alarms) == 1
    [alarm] = alarms
    assert alarm is not None
    # No later, and earlier by no more than a bucket of the index.
    assert made.due_at - 1024 < alarm <= made.due_at


def test_a_job_is_made_within_its_jitter_and_counts_for_its_instant(
    desk: Desk,
) -> None:
    begins(desk, "2027-01-15T08:30:00")
    made = add(desk, jitter_ms=30 * MINUTE_MS)
    assert made.next_at == at("2027-01-15T09:00:00")
    assert made.due_at is not None
    assert made.next_at < made.due_at < made.next_at + 30 * MINUTE_MS

    desk.clock.set(made.due_at - 1)
    assert desk.sweep() == {}
    desk.clock.set(made.due_at)
    sweep(desk)

    assert instants(desk) == ["2027-01-15T09:00:00.000Z"]


def test_what_is_late_by_less_than_the_grace_is_made_up_for(desk: Desk) -> None:
    begins(desk, "2027-01-15T08:00:00")
    add(desk, "*/10 * * * * *")

    desk.clock.advance(ms=GRACE_MS + 9_999)
    sweep(desk)

    assert len(instants(desk)) == 6
    assert (now(desk).made, now(desk).missed) == (6, 0)


def test_a_claim_does_not_search_for_instants(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs on the event loop; the sweeper is a moment away."""
    add(desk)
    desk.clock.advance(ms=HOUR_MS)
    monkeypatch.setattr(rules_of_schedules, "Cron", None)

    assert desk.engine.claim(ME, "q") == []

    monkeypatch.undo()
    sweep(desk)
    assert len(instants(desk)) == 1


def test_a_deleted_one_makes_no_more_and_its_jobs_stay(desk: Desk) -> None:
    add(desk)
    desk.clock.advance(ms=HOUR_MS)
    sweep(desk)

    desk.house.schedules.delete(MANAGER, "q", "s")
    desk.clock.advance(ms=HOUR_MS)
    sweep(desk)

    assert len(instants(desk)) == 1
    assert stored(desk) == []
    assert desk.house.upkeep.next_due() is None


def test_a_paused_one_makes_none_and_goes_on_with_the_next(desk: Desk) -> None:
    begins(desk, "2027-01-15T08:30:00")
    add(desk, misfire="once")

    desk.house.schedules.pause(MANAGER, "q", "s")
    begins(desk, "2027-01-15T11:30:00")
    sweep(desk)
    assert desk.rows() == {}
    desk.house.schedules.resume(MANAGER, "q", "s")
    sweep(desk)
    assert desk.rows() == {}
    begins(desk, "2027-01-15T12:00:00")
    sweep(desk)

    assert instants(desk) == ["2027-01-15T12:00:00.000Z"]
    assert now(desk).missed == 0


def test_to_resume_one_that_runs_does_not_take_its_instant_from_it(desk: Desk) -> None:
    begins(desk, "2027-01-15T08:30:00")
    add(desk)

    begins(desk, "2027-01-15T09:00:00")
    desk.house.schedules.resume(MANAGER, "q", "s")
    sweep(desk)

    assert instants(desk) == ["2027-01-15T09:00:00.000Z"]


def test_one_that_is_replaced_goes_on_under_its_new_words(desk: Desk) -> None:
    begins(desk, "2027-01-15T08:30:00")
    add(desk)
    begins(desk, "2027-01-15T09:00:00")

    desk.house.schedules.replace(MANAGER, "q", "s", new(content=b"2"))
    sweep(desk)
    desk.house.schedules.replace(MANAGER, "q", "s", new("15 * * * *"))
    begins(desk, "2027-01-15T10:00:00")
    sweep(desk)

    # Its instant was past, and not made: another payload does not change that.
    assert instants(desk) == ["2027-01-15T09:00:00.000Z"]
    begins(desk, "2027-01-15T10:15:00")
    sweep(desk)
    assert instants(desk)[1:] == ["2027-01-15T10:15:00.000Z"]


# --- what keeps a job from being made ---------------------------------------------


def test_no_job_is_made_beside_a_live_one_of_its_instant(desk: Desk) -> None:
    begins(desk, "2027-01-15T08:30:00")
    add(desk)
    there = desk.put(unique_key="schedule:s@2027-01-15T09:00:00.000Z")

    begins(desk, "2027-01-15T09:00:00")
    assert desk.sweep() == {("q", "missed"): 1}

    assert list(desk.rows()) == [there.uid]
    assert (now(desk).made, now(desk).missed) == (0, 1)


def test_a_full_queue_misses_its_instant_and_the_next_one_is_made() -> None:
    desk = Desk(rulebook(max_jobs=1))
    begins(desk, "2027-01-15T08:30:00")
    add(desk)
    job = desk.put()

    begins(desk, "2027-01-15T09:00:00")
    sweep(desk)
    desk.engine.delete(ME, "q", job.uid)
    begins(desk, "2027-01-15T10:00:00")
    sweep(desk)

    assert instants(desk) == ["2027-01-15T10:00:00.000Z"]
    assert (now(desk).made, now(desk).missed) == (1, 1)


@pytest.mark.parametrize(
    "rules",
    [
        rulebook(max_bytes=1),
        rulebook(max_job_bytes=1),
        rulebook(house={"memory_bytes": 1}),
        Rulebook({}),
    ],
    ids=["bytes", "job bytes", "memory", "no queue"],
)
def test_whatever_refuses_the_job_the_schedule_goes_on_and_the_sweep_too(
    desk: Desk, rules: Rulebook
) -> None:
    add(desk)
    desk.put(valid_for_ms=HOUR_MS)
    desk.house.upkeep.reconfigure(rules)
    desk.clock.advance(ms=HOUR_MS)

    assert desk.sweep() == {("q", "missed"): 1, ("q", "expired"): 1}

    assert desk.sweep() == {}
    [after] = stored(desk)
    assert after.due_at is not None
    assert after.due_at > desk.clock.now()


def test_a_queue_that_was_removed_and_is_back_has_its_schedules() -> None:
    desk = Desk(rulebook(house={"removed_keep_ms": DAY_MS}))
    begins(desk, "2027-01-15T08:30:00")
    add(desk)

    desk.house.upkeep.reconfigure(Rulebook({}, removed_keep_ms=DAY_MS))
    begins(desk, "2027-01-15T09:00:00")
    sweep(desk)
    desk.house.upkeep.reconfigure(rulebook())
    begins(desk, "2027-01-15T10:00:00")
    sweep(desk)

    assert instants(desk) == ["2027-01-15T10:00:00.000Z"]
    assert (now(desk).made, now(desk).missed) == (1, 1)


@pytest.mark.parametrize("jobs", [0, 3])
def test_a_queue_that_is_removed_for_good_takes_its_schedules_along(jobs: int) -> None:
    desk = Desk(rulebook(OTHER_QUEUE))
    for title in "abc":
        add(desk, "0 0 1 1 *", title)
    add(desk, "0 0 1 1 *", queue="other")
    for _ in range(jobs):
        desk.put()

    desk.house.upkeep.reconfigure(Rulebook({"other": OTHER_QUEUE}))
    desk.clock.advance(ms=Rulebook().removed_keep_ms or 0)
    parts = [desk.house.upkeep.sweep(4).total() for _ in range(3)]

    assert sum(parts) == 3 + jobs
    assert max(parts) <= 4
    assert [schedule.queue for schedule in stored(desk)] == ["other"]
    with desk.house.store.transaction() as tx:
        assert tx.records(RemovedQueue) == []


def test_a_made_queue_that_is_deleted_takes_its_schedules_along() -> None:
    desk = Desk(rulebook(house={"dynamic": MADE, "template": MADE}))
    desk.admin.create_queue(MAKER, "made", write=["maker"])
    assert desk.house.schedules.create(ADMIN, "made", new()) is not None

    desk.admin.delete_queue(ADMIN, "made")
    desk.admin.create_queue(MAKER, "made", write=["maker"])

    assert desk.house.schedules.all(ADMIN, "made") == []


# --- absences ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misfire", "made", "missed"),
    [
        ("skip", [], 24),
        ("once", ["2027-01-16T08:00:00.000Z"], 23),
    ],
)
@pytest.mark.parametrize("how", ["restart", "jump"])
def test_after_a_day_of_absence_the_misfire_says_what_is_made(
    misfire: str, made: list[str], missed: int, how: str
) -> None:
    desk = Desk(disk=SimDisk())
    begins(desk, "2027-01-15T08:30:00")
    add(desk, misfire=misfire)

    begins(desk, "2027-01-16T08:30:00")
    if how == "restart":
        desk.restart()
    sweep(desk)

    assert instants(desk) == made
    assert now(desk).missed == missed
    begins(desk, "2027-01-16T09:00:00")
    sweep(desk)
    assert instants(desk) == [*made, "2027-01-16T09:00:00.000Z"]
    desk.house.close()


def test_a_clock_that_is_put_back_makes_no_instant_again() -> None:
    desk = Desk(disk=SimDisk())
    begins(desk, "2027-01-15T08:30:00")
    add(desk)
    begins(desk, "2027-01-15T10:00:30")
    sweep(desk)
    before = instants(desk)

    begins(desk, "2027-01-15T08:59:00")
    sweep(desk)
    desk.restart()
    begins(desk, "2027-01-15T09:30:00")
    desk.restart()
    sweep(desk)

    assert instants(desk) == before
    begins(desk, "2027-01-15T11:00:00")
    sweep(desk)
    assert instants(desk) == [*before, "2027-01-15T11:00:00.000Z"]
    desk.house.close()


@pytest.mark.parametrize(
    ("zone", "begin", "hours"),
    [
        ("Europe/Berlin", "2027-03-27T12:00:00", 23),
        ("Europe/Berlin", "2027-10-30T12:00:00", 25),
        ("America/New_York", "2027-03-13T12:00:00", 23),
        ("America/New_York", "2027-11-06T12:00:00", 25),
    ],
)
def test_each_instant_of_a_night_in_which_the_clock_is_moved_makes_one_job(
    zone: str, begin: str, hours: int
) -> None:
    """With a restart in every hour of it."""
    disk = SimDisk()
    desk = Desk(rulebook(keep_ms=DAY_MS), disk=disk)
    begins(desk, begin)
    add(desk, "30 2 * * *", "fixed", zone=zone)
    add(desk, "30 1 * * *", "early", zone=zone)
    add(desk, "0 * * * *", "hourly", zone=zone)

    # Until noon there, whatever the time is here.
    for _ in range(4 * 24):
        desk.clock.advance(ms=15 * MINUTE_MS)
        sweep(desk)
        if desk.clock.now() % HOUR_MS == 0:
            desk.restart(rulebook(keep_ms=DAY_MS))

    assert len(instants(desk, title="fixed")) == 1
    assert len(instants(desk, title="early")) == 1
    hourly = instants(desk, title="hourly")
    assert len(hourly) == len(set(hourly)) == 24, (
        f"the day has {hours} hours on the wall"
    )
    desk.house.close()


def test_all_that_a_schedule_is_outlives_restarts() -> None:
    desk = Desk(disk=SimDisk())
    backoff = Backoff("list", delays_ms=(1, 2))
    add(
        desk,
        zone="Europe/Berlin",
        content=b"[1]",
        priority=3,
        terms=Terms(max_attempts=3, backoff=backoff, dead_keep_ms=7),
        valid_for_ms=99,
        fingerprint="f",
        jitter_ms=5,
        misfire="once",
    )
    add(desk, title="t")
    desk.house.schedules.pause(MANAGER, "q", "t")
    desk.clock.advance(ms=HOUR_MS)
    sweep(desk)
    before = stored(desk)

    desk.restart()

    assert stored(desk) == before
    assert [each.made for each in before] == [1, 0]
    desk.house.close()


def test_a_job_that_is_in_memory_only_is_so_after_a_restart_too() -> None:
    desk = Desk(disk=SimDisk())
    add(desk, terms=Terms(durable=False))

    desk.restart()
    desk.clock.advance(ms=HOUR_MS)
    sweep(desk)

    assert desk.take().terms.durable is False
    desk.house.close()


# --- crashes ----------------------------------------------------------------------


def test_a_process_that_ends_at_any_write_of_a_firing_makes_one_job_an_instant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = SimDisk()
    desk = Desk(disk=disk)
    begins(desk, "2027-01-15T08:59:00")
    for title in "abc":
        add(desk, title=title)
    begins(desk, "2027-01-15T09:00:00")
    monkeypatch.setattr(upkeep, "FIRINGS_MAX", 1)

    states = crashes(disk, lambda: sweep(desk))
    desk.house.close()

    made = []
    for state in states:
        left = Desk(disk=state)
        begins(left, "2027-01-15T09:00:00")
        made.append(len(left.rows()))
        sweep(left)
        for title in "abc":
            assert instants(left, title=title) == ["2027-01-15T09:00:00.000Z"]
            assert (now(left, title).made, now(left, title).missed) == (1, 0)
        left.house.close()
    assert set(made) == {0, 1, 2, 3}


def crashes(disk: SimDisk, act: Callable[[], None]) -> list[SimDisk]:
    """What the end of the process leaves at each call of the disk, and within each
    write."""
    states = [disk.clone()]
    disk.fail = lambda _call: states.append(disk.clone())
    act()
    disk.fail = lambda _call: None
    states.append(disk.clone())
    for before, after in pairwise(list(states)):
        begin, end = (len(state.names["db"].data) for state in (before, after))
        states += [cut(after, begin + (end - begin) * n // 7) for n in range(1, 7)]
    return states


def cut(disk: SimDisk, size: int) -> SimDisk:
    disk = disk.clone()
    del disk.names["db"].data[size:]
    return disk


# --- a full disk ------------------------------------------------------------------


def fill(desk: Desk, disk: SimDisk) -> Callable[[], None]:
    """Leave no room for new jobs; what comes back makes it again."""
    disk.reserve = lambda _end: False
    for size in (1 << 20, 1000):
        while refusal(desk.put, bytes(size)) is None:
            pass

    def empty() -> None:
        disk.reserve = lambda _end: True
        desk.clock.advance(seconds=2)
        while refusal(desk.put) is not None:
            desk.engine.cancel(ME, "q", next(iter(desk.rows())))

    return empty


def test_on_a_full_disk_nothing_is_written_and_a_schedule_waits_for_room() -> None:
    disk = SimDisk()
    desk = Desk(disk=disk)
    assert desk.house.room == "ok"
    begins(desk, "2027-01-15T08:59:00")
    add(desk)
    before = stored(desk)
    empty = fill(desk, disk)
    begins(desk, "2027-01-15T09:00:00")
    end = desk.house.file_bytes

    assert refusal(add, desk, title="t") is StoreFull
    assert [desk.sweep() for _ in range(5)] == [{}] * 5
    assert stored(desk) == before
    assert desk.house.file_bytes == end

    empty()
    sweep(desk)
    assert instants(desk) == ["2027-01-15T09:00:00.000Z"]
    desk.house.close()


def test_on_a_full_disk_jobs_are_swept_though_many_schedules_wait() -> None:
    disk = SimDisk()
    desk = Desk(disk=disk)
    assert desk.house.room == "ok"
    for number in range(30):
        add(desk, title=str(number))
    desk.put(valid_for_ms=HOUR_MS)
    fill(desk, disk)
    desk.clock.advance(ms=HOUR_MS)

    swept = desk.house.upkeep.sweep(10)

    assert swept == {("q", "expired"): 1}
    desk.house.close()


# --- many -------------------------------------------------------------------------


def many(desk: Desk, count: int, due: int) -> None:
    """So many schedules, of which some are due within the hour."""
    with desk.house.store.transaction() as tx:
        model = begun(new("0 0 1 1 *"), queue="q", now=tx.now)
        soon = begun(new("0 * * * *"), queue="q", now=tx.now)
        for number in range(count):
            kind = soon if number % (count // due) == 0 else model
            tx.put_record(replace(kind, title=f"s{number}"))


def test_ten_thousand_schedules_cost_no_more_than_those_that_are_due(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(desk, 10_000, due=50)
    desk.clock.advance(ms=HOUR_MS)
    searched: list[str] = []

    class Counted(Cron):
        def after(self, instant: int) -> int | None:
            searched.append("after")
            return super().after(instant)

    monkeypatch.setattr(rules_of_schedules, "Cron", Counted)
    sweep(desk)

    assert len(desk.rows()) == 50
    assert len(searched) == 50


def test_so_many_fire_in_one_transaction_and_no_more(desk: Desk) -> None:
    many(desk, 100, due=50)
    desk.clock.advance(ms=HOUR_MS)

    parts = []
    while part := desk.sweep():
        parts.append(part["q", "fired"])

    assert parts == [FIRINGS_MAX, FIRINGS_MAX, 10]


def test_the_jobs_of_one_sweep_are_made_in_the_order_of_their_instants(
    desk: Desk,
) -> None:
    begins(desk, "2027-01-15T08:00:00")
    add(desk, "*/10 * * * * *", "often")
    add(desk, "5 * * * * *", "seldom")
    desk.clock.advance(ms=20_000)

    sweep(desk)

    made: list[Job] = sorted(desk.rows().values(), key=lambda job: job.seq)
    keys = [job.keys.unique for job in made if job.keys]
    assert [str(key)[-13:-5] for key in keys] == ["08:00:05", "08:00:10", "08:00:20"]
