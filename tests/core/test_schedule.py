"""What a schedule is, and what its time makes of it: plain values."""

from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from jobengine.core import schedules
from jobengine.core.backoff import DELAYS_MAX, Backoff
from jobengine.core.cron import Cron
from jobengine.core.job import INSTANT_MAX, KEY_CHARS_MAX, Terms
from jobengine.core.schedules import (
    CONTENT_BYTES_MAX,
    COUNTED_MAX,
    GRACE_MS,
    JITTER_MS_MAX,
    NEXT_RUNS_MAX,
    Firing,
    NewSchedule,
    Schedule,
    begun,
    fired,
    firing_of,
    job_of,
    next_runs,
    paused,
    renewed,
    resumed,
)
from jobengine.errors import InvalidSchedule

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def ms(text: str) -> int:
    return round(datetime.fromisoformat(f"{text}Z").timestamp() * 1000)


NOON = ms("2027-06-15T12:00")


def new(cron: str = "0 * * * *", **fields: Any) -> NewSchedule:
    return NewSchedule("hourly", cron, fields.pop("content", b"{}"), **fields)


def schedule(cron: str = "0 * * * *", *, now: int = NOON, **fields: Any) -> Schedule:
    return begun(new(cron, **fields), queue="q", now=now)


# --- what makes one valid ---------------------------------------------------------


def test_the_largest_of_everything_is_valid() -> None:
    delays = Backoff("list", delays_ms=(1,) * DELAYS_MAX)
    NewSchedule(
        "x" * 255,
        "* * * * * *",
        b"1" * CONTENT_BYTES_MAX,
        "America/Argentina/ComodRivadavia",
        100,
        Terms(backoff=delays),
        INSTANT_MAX,
        "f" * KEY_CHARS_MAX,
        JITTER_MS_MAX,
        "once",
    )


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        ("title", {"title": ""}),
        ("title", {"title": "a/b"}),
        ("title", {"title": "x" * 256}),
        ("title", {"title": "."}),
        ("title", {"title": ".."}),
        ("cron", {"cron": "x"}),
        ("zone", {"zone": "x"}),
        ("content", {"content": b"1" * (CONTENT_BYTES_MAX + 1)}),
        ("priority", {"priority": 0}),
        ("valid_for", {"valid_for_ms": 0}),
        ("fingerprint", {"fingerprint": ""}),
        ("jitter_ms", {"jitter_ms": -1}),
        ("jitter_ms", {"jitter_ms": JITTER_MS_MAX + 1}),
        ("misfire", {"misfire": "twice"}),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(
    fault: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSchedule) as refused:
        NewSchedule(**({"title": "t", "cron": "@daily", "content": b"{}"} | fields))

    assert [field for field, _ in refused.value.errors] == [fault]


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidSchedule) as refused:
        NewSchedule("", "x", b"{}", "x", priority=0, jitter_ms=-1)

    told = {field for field, _ in refused.value.errors}
    assert told == {"title", "cron", "zone", "priority", "jitter_ms"}


def test_what_would_never_fire_is_refused() -> None:
    with pytest.raises(InvalidSchedule, match="never fires"):
        schedule("0 0 LW * */24")


# --- the next instant -------------------------------------------------------------


def test_a_new_one_waits_for_the_first_instant_after_now() -> None:
    made = schedule(now=NOON)

    assert (made.next_at, made.due_at) == (NOON + HOUR_MS, NOON + HOUR_MS)
    assert made.noted_at == NOON
    assert made.name == "q/hourly"


def test_jitter_is_the_same_whenever_asked_and_never_early_or_beyond_the_next() -> None:
    several = [
        begun(
            NewSchedule(f"s{n}", "* * * * *", b"", jitter_ms=jitter),
            queue="q",
            now=NOON,
        )
        for n in range(50)
        for jitter in (30_000, JITTER_MS_MAX)
    ]

    for each in several:
        assert each.next_at == NOON + MINUTE_MS
        assert each.due_at is not None
        late = each.due_at - each.next_at
        assert 0 <= late < min(each.jitter_ms, MINUTE_MS)
        assert each == resumed(paused(each, now=NOON), now=NOON)
    assert len({each.due_at for each in several}) > 80


def test_jitter_differs_from_one_instant_to_the_next() -> None:
    at, lates = schedule(jitter_ms=HOUR_MS), set()

    for _ in range(20):
        assert at.due_at is not None
        assert at.next_at is not None
        lates.add(at.due_at - at.next_at)
        at = fired(at, firing_of(at, now=at.due_at), "uid", now=at.due_at)

    assert len(lates) > 15


def test_the_next_runs_are_those_it_will_make() -> None:
    made = schedule(jitter_ms=HOUR_MS)

    runs = next_runs(made, 3)

    assert runs == [NOON + hours * HOUR_MS for hours in (1, 2, 3)]
    assert len(next_runs(made, NEXT_RUNS_MAX + 1)) == NEXT_RUNS_MAX
    assert next_runs(made, 0) == []
    assert next_runs(paused(made, now=NOON), 3) == []


def test_a_paused_one_has_no_next_instant_and_is_due_for_nothing() -> None:
    waits = paused(schedule(), now=NOON + 1)

    assert (waits.paused, waits.next_at, waits.due_at) == (True, None, None)
    assert waits.noted_at == NOON + 1


def test_what_passed_while_it_was_paused_was_not_missed() -> None:
    waits = paused(schedule(misfire="once"), now=NOON)

    goes = resumed(waits, now=NOON + DAY_MS + 1)

    assert goes.next_at == NOON + DAY_MS + HOUR_MS
    assert (goes.paused, goes.missed) == (False, 0)


# --- what it does when it is due --------------------------------------------------


def at_its_time(made: Schedule, *, late_ms: int = 0) -> Schedule:
    """The schedule after a firing that made a job."""
    assert made.due_at is not None
    now = made.due_at + late_ms
    return fired(made, firing_of(made, now=now), "uid", now=now)


@pytest.mark.parametrize("misfire", ["skip", "once"])
@pytest.mark.parametrize("late_ms", [0, 1, GRACE_MS])
def test_on_time_it_makes_a_job_for_its_instant(misfire: str, late_ms: int) -> None:
    made = schedule(misfire=misfire)

    after = at_its_time(made, late_ms=late_ms)

    assert after.last_at == made.next_at
    assert after.next_at == NOON + 2 * HOUR_MS
    assert (after.made, after.missed, after.last_uid) == (1, 0, "uid")
    assert after.noted_at == NOON + HOUR_MS + late_ms


def test_a_job_that_cannot_be_made_is_an_instant_missed() -> None:
    made = schedule()

    after = fired(made, firing_of(made, now=NOON + HOUR_MS), None, now=NOON + HOUR_MS)

    assert after.next_at == NOON + 2 * HOUR_MS
    assert (after.made, after.missed, after.last_at) == (0, 1, None)


def test_late_ones_are_skipped_to_the_first_that_is_not_late() -> None:
    made = schedule(misfire="skip")

    firing = firing_of(made, now=NOON + DAY_MS + 30 * MINUTE_MS)

    # The day's instants, from one o'clock to noon.
    assert firing == Firing(None, NOON + DAY_MS + HOUR_MS, 24)


def test_skipping_does_not_skip_one_that_is_on_time() -> None:
    made = schedule(misfire="skip")

    firing = firing_of(made, now=NOON + DAY_MS + GRACE_MS - 1)

    assert firing == Firing(None, NOON + DAY_MS, 23)


def test_skipping_does_not_skip_one_that_waits_for_its_jitter() -> None:
    made = schedule(jitter_ms=HOUR_MS)
    at = NOON + DAY_MS
    before = replace(made, next_at=at - HOUR_MS)
    due = fired(before, Firing(None, at), None, now=at).due_at
    assert due is not None
    assert due > at + GRACE_MS + 1, "or this test says nothing"

    firing = firing_of(made, now=due - 1)

    assert firing.next_at == at


def test_of_late_ones_once_makes_the_last_and_no_other() -> None:
    made = schedule(misfire="once")
    now = NOON + DAY_MS + 30 * MINUTE_MS

    firing = firing_of(made, now=now)
    after = fired(made, firing, "uid", now=now)

    assert firing == Firing(NOON + DAY_MS, NOON + DAY_MS + HOUR_MS, 23)
    assert (after.made, after.missed) == (1, 23)
    assert after.last_at == NOON + DAY_MS


def test_once_does_not_make_one_before_its_jitter() -> None:
    made = schedule(jitter_ms=HOUR_MS, misfire="once")
    at = NOON + DAY_MS

    firing = firing_of(made, now=at)

    assert firing.instant == at - HOUR_MS
    assert firing.next_at == at


def test_a_single_late_one_is_made_by_once_and_missed_by_skip() -> None:
    now = NOON + HOUR_MS + GRACE_MS + 1

    once = firing_of(schedule(misfire="once"), now=now)
    skip = firing_of(schedule(misfire="skip"), now=now)

    assert once == Firing(NOON + HOUR_MS, NOON + 2 * HOUR_MS, 0)
    assert skip == Firing(None, NOON + 2 * HOUR_MS, 1)


@pytest.mark.parametrize("misfire", ["skip", "once"])
def test_a_year_of_seconds_is_passed_without_being_counted(
    misfire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = schedule("* * * * * *", misfire=misfire)
    searches = count_searches(monkeypatch)

    firing = firing_of(made, now=NOON + 365 * DAY_MS)

    assert firing.missed == COUNTED_MAX
    assert len(searches) < COUNTED_MAX + 10


def test_every_instant_of_a_minute_of_seconds_is_made_up_for() -> None:
    made = schedule("* * * * * *")

    for _ in range(60):
        made = fired(
            made, firing_of(made, now=NOON + GRACE_MS), "uid", now=NOON + GRACE_MS
        )

    assert (made.made, made.missed) == (60, 0)
    assert made.next_at == NOON + GRACE_MS + 1000


def test_where_its_zone_is_known_no_more_it_makes_no_more() -> None:
    gone = replace(schedule(), zone="Europe/Atlantis")

    after = fired(gone, firing_of(gone, now=NOON + HOUR_MS), None, now=NOON + HOUR_MS)

    assert (after.next_at, after.due_at, after.missed) == (None, None, 1)
    assert next_runs(gone, 3) == []


@pytest.mark.parametrize("misfire", ["skip", "once"])
def test_the_next_instant_is_later_though_the_zone_has_new_rules(misfire: str) -> None:
    made = schedule("0 9 * * *", zone="Europe/Berlin", misfire=misfire)
    assert made.next_at is not None
    moved = replace(made, zone="America/New_York")

    firing = firing_of(moved, now=made.next_at + 2 * HOUR_MS)

    assert firing.next_at is not None
    assert firing.next_at > made.next_at
    assert firing.instant in (None, made.next_at)


# --- the job ----------------------------------------------------------------------


def test_the_job_is_what_was_asked_for_under_a_key_of_its_instant() -> None:
    made = schedule(
        content=b'{"n": 1}',
        priority=7,
        valid_for_ms=5,
        terms=Terms(max_attempts=9),
        fingerprint="f",
    )

    job = job_of(made, NOON)

    assert job.unique_key == "schedule:hourly@2027-06-15T12:00:00.000Z"
    assert (job.content, job.priority, job.valid_for_ms) == (b'{"n": 1}', 7, 5)
    assert (job.terms.max_attempts, job.fingerprint) == (9, "f")


# --- another in its place ---------------------------------------------------------


def test_another_content_does_not_move_the_instant_it_waits_for() -> None:
    made = at_its_time(schedule(jitter_ms=HOUR_MS))

    after = renewed(made, new(content=b"2", jitter_ms=HOUR_MS), now=NOON + 3 * HOUR_MS)

    assert after.content == b"2"
    assert (after.next_at, after.due_at) == (made.next_at, made.due_at)
    assert (after.made, after.last_at, after.last_uid) == (1, made.last_at, "uid")


@pytest.mark.parametrize("fields", [{"cron": "30 * * * *"}, {"zone": "Asia/Kolkata"}])
def test_another_time_begins_with_the_first_instant_after_now(
    fields: dict[str, str],
) -> None:
    after = renewed(schedule(), new(**fields), now=NOON)

    assert after.next_at == NOON + 30 * MINUTE_MS


def test_a_paused_one_stays_paused_whatever_it_is_to_do() -> None:
    waits = paused(schedule(), now=NOON)

    after = renewed(waits, new("30 * * * *"), now=NOON)

    assert (after.paused, after.next_at) == (True, None)
    assert resumed(after, now=NOON).next_at == NOON + 30 * MINUTE_MS


def count_searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every instant that is searched from, from now on."""
    searches: list[int] = []

    class Counted(Cron):
        def after(self, instant: int) -> int | None:
            searches.append(instant)
            return super().after(instant)

        def last(self, instant: int) -> int | None:
            searches.append(instant)
            return super().last(instant)

    monkeypatch.setattr(schedules, "Cron", Counted)
    return searches
