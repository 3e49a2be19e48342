"""When cron expressions fire, on clocks that are put forward and back."""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from jobengine.core.cron import CRON_CHARS_MAX, Cron
from jobengine.core.job import INSTANT_MAX
from jobengine.errors import InvalidSchedule

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
HOUR_MS = 3_600_000
# In 2027: the night in which a clock is put forward, and the one in which it is put
# back.
FORWARD = {BERLIN: "2027-03-28", NEW_YORK: "2027-03-14"}
BACK = {BERLIN: "2027-10-31", NEW_YORK: "2027-11-07"}


def ms(text: str, zone: str = "UTC") -> int:
    """Of a time with an offset, or as the zone's clock shows it first."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        at = at.replace(tzinfo=ZoneInfo(zone))
    return round(at.timestamp() * 1000)


def shown(instant: int, zone: str) -> str:
    return datetime.fromtimestamp(instant / 1000, ZoneInfo(zone)).isoformat()


def fires(
    expression: str, zone: str, begin: str, end: str, *, most: int = 5000
) -> list[str]:
    """What the clock shows whenever it fires from *begin* on and before *end*."""
    cron = Cron(expression, zone)
    found: list[int] = []
    at = cron.after(ms(begin, zone) - 1)
    while at is not None and at < ms(end, zone) and len(found) < most:
        found.append(at)
        at = cron.after(at)
    return [shown(each, zone) for each in found]


# --- what can be written ----------------------------------------------------------


def test_five_fields_are_minute_hour_day_month_and_weekday() -> None:
    assert fires("30 2 15 6 *", "UTC", "2027-01-01", "2029-01-01") == [
        "2027-06-15T02:30:00+00:00",
        "2028-06-15T02:30:00+00:00",
    ]


def test_six_fields_have_the_seconds_first() -> None:
    assert fires("*/20 30 2 * * MON", "UTC", "2027-03-01", "2027-03-02") == [
        "2027-03-01T02:30:00+00:00",
        "2027-03-01T02:30:20+00:00",
        "2027-03-01T02:30:40+00:00",
    ]


@pytest.mark.parametrize(
    ("alias", "first"),
    [
        ("@hourly", "2027-06-15T11:00:00+00:00"),
        ("@daily", "2027-06-16T00:00:00+00:00"),
        ("@midnight", "2027-06-16T00:00:00+00:00"),
        ("@weekly", "2027-06-20T00:00:00+00:00"),
        ("@monthly", "2027-07-01T00:00:00+00:00"),
        ("@yearly", "2028-01-01T00:00:00+00:00"),
        ("@annually", "2028-01-01T00:00:00+00:00"),
        ("@Daily", "2027-06-16T00:00:00+00:00"),
    ],
)
def test_aliases_are_what_cron_has(alias: str, first: str) -> None:
    at = Cron(alias, "UTC").after(ms("2027-06-15T10:20:30+00:00"))

    assert at == ms(first)


@pytest.mark.parametrize(
    "expression",
    [
        *("", "@reboot", "@", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *"),
        *("* * 0 * *", "* * * 13 *", "* * * * 8", "a b c d e", "*/0 * * * *"),
        *("5-1 * * * *", "1,,2 * * * *", "* * * * MON#6", "* * ² * *", "0 0 30 2 *"),
        *("*/9" + "9" * 5000 + " * * * *", "* " * 600, "0 0 31 2,4,6,9,11 *"),
    ],
)
def test_what_is_no_expression_is_refused_by_name(expression: str) -> None:
    with pytest.raises(InvalidSchedule) as refused:
        Cron(expression, "UTC")

    [(field, detail)] = refused.value.errors
    assert field == "cron"
    assert detail.startswith("must be")


def test_an_expression_may_be_just_so_long() -> None:
    fields = "* * * * *"
    Cron(fields.ljust(CRON_CHARS_MAX), "UTC")

    with pytest.raises(InvalidSchedule, match=str(CRON_CHARS_MAX)):
        Cron(fields.ljust(CRON_CHARS_MAX + 1), "UTC")


@pytest.mark.parametrize(
    "zone",
    [
        *(
            "",
            "Mars/Olympus",
            "europe/berlin",
            "CEST",
            "GMT+5",
            "../etc/passwd",
            "/etc",
        ),
        *("Europe", "Europe/Berlin\n", "Europe/Berlin\0", "zone.tab", "tzdata.zi"),
        *("localtime", "posixrules", "\u00e9", "a" * 5000),
        *("right/UTC", "posix/UTC", "right/Europe/Berlin"),
    ],
)
def test_what_is_no_zone_is_refused_by_name(zone: str) -> None:
    with pytest.raises(InvalidSchedule) as refused:
        Cron("* * * * *", zone)

    [(field, detail)] = refused.value.errors
    assert field == "zone"
    assert "Europe/Berlin" in detail


def test_both_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidSchedule) as refused:
        Cron("never", "nowhere")

    assert {field for field, _ in refused.value.errors} == {"cron", "zone"}


@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            [*"*/,-#L0123456789 \t\n@", " ", " ", "LW", "MON", "FEB", "29", "31", "1-5"]
        ),
        max_size=24,
    ).map("".join)
)
def test_whatever_is_written_is_an_expression_or_is_refused(text: str) -> None:
    try:
        cron = Cron(text, BERLIN)
    except InvalidSchedule:
        return

    at = cron.after(ms("2027-01-01"))
    assert at is None or (at > ms("2027-01-01") and cron.last(at) == at)


# Each field alone makes sense.
@pytest.mark.parametrize("expression", ["0 0 LW * */24", "0 0 */40 * MON#5"])
def test_an_expression_for_days_that_there_are_not_never_fires(expression: str) -> None:
    cron = Cron(expression, BERLIN)

    assert cron.after(ms("2027-01-01")) is None
    assert cron.last(ms("2027-01-01")) is None


def test_the_calendar_has_two_ends() -> None:
    cron = Cron("0 0 1 1 *", "Pacific/Kiritimati")

    assert cron.after(INSTANT_MAX) is None
    assert cron.after(INSTANT_MAX - 24 * HOUR_MS) is None
    assert cron.last(-(10**17)) is None


# --- the calendar -----------------------------------------------------------------


def test_the_29th_of_february_is_in_leap_years_alone() -> None:
    assert fires("0 12 29 2 *", "UTC", "2096-01-01", "2105-01-01") == [
        "2096-02-29T12:00:00+00:00",
        "2104-02-29T12:00:00+00:00",
    ]


def test_the_31st_is_in_seven_months() -> None:
    assert len(fires("0 0 31 * *", BERLIN, "2027-01-01", "2028-01-01")) == 7


def test_the_last_day_is_in_every_month() -> None:
    days = fires("0 0 L * *", NEW_YORK, "2028-01-01", "2028-05-01")

    assert [day[:10] for day in days] == [
        *("2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"),
    ]


def test_the_last_working_day_is_no_weekend() -> None:
    days = fires("0 18 LW * *", "UTC", "2027-01-01", "2027-04-01")

    assert [day[:10] for day in days] == ["2027-01-29", "2027-02-26", "2027-03-31"]


def test_a_day_and_a_weekday_are_either_or_as_in_cron() -> None:
    days = fires("0 0 13 * FRI", "UTC", "2027-08-01", "2027-08-21")

    assert [day[8:10] for day in days] == ["06", "13", "20"]


def test_an_instant_is_not_after_itself() -> None:
    cron = Cron("* * * * *", "UTC")
    noon = ms("2027-06-15T12:00:00+00:00")

    assert cron.after(noon - 1) == noon
    assert cron.after(noon) == noon + 60_000
    assert cron.after(noon + 1) == noon + 60_000
    assert cron.last(noon - 1) == noon - 60_000
    assert cron.last(noon) == noon
    assert cron.last(noon + 59_999) == noon


# --- clocks that are put forward and back -----------------------------------------


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
def test_a_fixed_time_that_is_jumped_over_is_as_soon_as_the_clock_has_jumped(
    zone: str,
) -> None:
    night = FORWARD[zone]

    times = fires("30 2 * * *", zone, f"{night}T00:00", f"{night}T23:59")

    assert [time[11:19] for time in times] == ["03:00:00"]


@pytest.mark.parametrize(("zone", "hour"), [(BERLIN, "02"), (NEW_YORK, "01")])
def test_a_fixed_time_that_comes_twice_is_the_first_time_alone(
    zone: str, hour: str
) -> None:
    night = BACK[zone]

    times = fires(f"30 {hour} * * *", zone, f"{night}T00:00", f"{night}T23:59")

    summer = {BERLIN: "+02:00", NEW_YORK: "-04:00"}[zone]
    assert times == [f"{night}T{hour}:30:00{summer}"]


@pytest.mark.parametrize(("zone", "hour"), [(BERLIN, "02"), (NEW_YORK, "01")])
def test_a_fixed_time_with_seconds_is_no_different(zone: str, hour: str) -> None:
    back, forward = BACK[zone], FORWARD[zone]

    twice = fires(f"15 30 {hour} * * *", zone, f"{back}T00:00", f"{back}T23:59")
    never = fires("15 30 2 * * *", zone, f"{forward}T00:00", f"{forward}T23:59")

    assert len(twice) == 1
    assert [time[11:19] for time in never] == ["03:00:00"]


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
@pytest.mark.parametrize(
    ("expression", "an_hour"),
    [("0 * * * *", 1), ("* * * * *", 60), ("*/15 * * * *", 4), ("0 0 * * * *", 1)],
)
def test_what_is_every_hour_or_minute_is_so_in_each_hour_there_is(
    zone: str, expression: str, an_hour: int
) -> None:
    forward, back = (
        fires(expression, zone, f"{night}T00:00", f"{night}T12:00")
        for night in (FORWARD[zone], BACK[zone])
    )

    assert (len(forward), len(back)) == (11 * an_hour, 13 * an_hour)
    for times in (forward, back):
        instants = [ms(time) for time in times]
        steps = {b - a for a, b in pairwise(instants)}
        assert steps == {HOUR_MS // an_hour}


@pytest.mark.parametrize("night", ["2027-04-04", "2027-10-03"])
def test_a_clock_that_is_moved_by_half_an_hour_misses_no_hour(night: str) -> None:
    times = fires("0 */5 * * *", LORD_HOWE, f"{night}T00:00", f"{night}T23:59")

    assert [time[11:16] for time in times] == [
        "00:00",
        "05:00",
        "10:00",
        "15:00",
        "20:00",
    ]


def test_midnight_is_there_where_the_clock_jumps_over_it() -> None:
    times = fires("0 0 * * *", "Africa/Cairo", "2027-04-29T12:00", "2027-05-01T12:00")

    assert [time[:16] for time in times] == ["2027-04-30T01:00", "2027-05-01T00:00"]


def test_in_the_hour_that_comes_again_the_past_stays_past() -> None:
    cron = Cron("30 2 * * *", BERLIN)
    again = ms("2027-10-31T02:10:00+01:00")

    last, following = cron.last(again), cron.after(again)

    assert last == ms("2027-10-31T02:30:00+02:00")
    assert following == ms("2027-11-01T02:30:00+01:00")


class Case(NamedTuple):
    """An expression, and every instant between the two for which it should fire."""

    expression: str
    zone: str
    begin: int
    end: int
    instants: list[int]


@pytest.mark.parametrize("seed", range(8))
def test_every_instant_is_found_from_both_sides_whatever_the_clock_does(
    seed: int,
) -> None:
    rng = Random(seed)
    for case in cases(rng, 4):
        cron = Cron(case.expression, case.zone)
        for _ in range(60):
            at = rng.randrange(case.begin, case.end)
            place = bisect_right(case.instants, at)
            following, last = cron.after(at), cron.last(at)
            told = f"seed {seed}: {case.expression} {case.zone} {at}"
            if place < len(case.instants):
                assert following == case.instants[place], told
            if place > 0:
                assert last == case.instants[place - 1], told


# Clocks that are moved at midnight, by half an hour, by two, or the wrong way round.
ODD_ZONES = (
    *("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"),
    *("America/Santiago", "Antarctica/Troll", "Europe/Dublin", "America/St_Johns"),
)


def cases(rng: Random, count: int) -> Iterator[Case]:
    """By going through the seconds, or minutes, around a change of the clock."""
    for _ in range(count):
        zone = rng.choice(ODD_ZONES)
        change = rng.choice(changes(zone, 2027))
        six = rng.random() < 0.2
        fields = [field(rng, 59), field(rng, rng.choice([4, 23])), "*", "*", "*"]
        expression = " ".join([rng.choice(["0", "*/20", "7,44"])] * six + fields)
        step = 1000 if six else 60_000
        span = (6 if six else 30) * HOUR_MS
        begin, end = change - span, change + span
        yield Case(
            expression, zone, begin, end, slow(expression, zone, begin, end, step)
        )


def changes(zone: str, year: int) -> list[int]:
    """The hours of the year before which the clock is moved."""
    begin = ms(f"{year}-01-01")
    hours = [begin + hour * HOUR_MS for hour in range(24 * 365)]
    offsets = [shown(hour, zone)[19:] for hour in hours]
    return [hours[n] for n in range(1, len(hours)) if offsets[n] != offsets[n - 1]]


def field(rng: Random, most: int) -> str:
    first, last = sorted((rng.randint(0, most), rng.randint(0, most)))
    step = rng.choice((2, 3, 7, 10, 15))
    return rng.choice(
        ("*", f"*/{step}", f"{first}", f"{first}-{last}", f"{first},{last}")
    )


def slow(expression: str, zone: str, begin: int, end: int, step: int) -> list[int]:
    """Every instant for which it should fire, as the head of core/cron.py has it."""
    sim = CronSim(expression, datetime(2000, 1, 1))  # noqa: DTZ001 a clock on the wall
    minute, hour = expression.split()[-5:-3]
    fixed = not (minute.startswith("*") or hour.startswith("*"))
    pace = timedelta(milliseconds=step)
    found, before = [], None
    for instant in range(begin, end, step):
        at = datetime.fromtimestamp(instant / 1000, ZoneInfo(zone))
        reading = at.replace(tzinfo=None, fold=0)
        readings = [reading] if not (fixed and at.fold) else []
        if fixed and before is not None:
            # Those that the clock has jumped over count as shown now.
            jumped = (reading - before) // pace - 1
            readings += [before + n * pace for n in range(1, jumped + 1)]
        before = reading
        if any(matches(sim, each) for each in readings):
            found.append(instant)
    return found


def matches(sim: CronSim, reading: datetime) -> bool:
    return (
        reading.second in sim.seconds
        and reading.minute in sim.minutes
        and reading.hour in sim.hours
        and reading.month in sim.months
        and sim.match_day(reading.date())
    )
