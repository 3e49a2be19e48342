"""When a cron expression fires: the one module that knows cronsim and time zones.

cronsim says which readings of a clock on the wall match; what those are in real time is
worked out here. Its own account of time zones begins wrongly within the hour that a
clock goes through twice, and misses hours where a clock is moved by less than one.

An expression whose minute and hour are fixed fires once for each reading, as in
Debian's cron: the first time, where the clock is turned back; as soon as the clock has
jumped, where it jumps over the reading. One whose minute or hour begins with `*` fires
whenever the clock shows what matches. Instants are milliseconds of the epoch, at whole
seconds.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from jobengine.errors import InvalidSchedule

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

# A list of every other minute fits. Longer ones cost time whenever one is read.
CRON_CHARS_MAX = 256
# The longest name there is has half of it.
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")
# What these are is each machine's own affair.
_NO_ZONES = ("localtime", "posixrules", "Factory")
# Some have all zones twice more, once of clocks that count leap seconds.
_NO_FOLDERS = ("posix/", "right/")

_WRONG_CRON = (
    "must be five fields (minute hour day month weekday), six with seconds first, "
    f"or one of {' '.join(ALIASES)}"
)
_WRONG_ZONE = "must be the name of a time zone, such as UTC or Europe/Berlin"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_NO_TIME = timedelta()


class Cron:
    """An expression, on the clocks of one zone.

    Raises:
        InvalidSchedule: it is no expression, or there is no such zone.
    """

    def __init__(self, expression: str, zone: str) -> None:
        faults: list[tuple[str, str]] = []
        try:
            self._zone = _zone(zone)
        except InvalidSchedule as error:
            faults += error.errors
        try:
            self._expression = _expression(expression)
        except InvalidSchedule as error:
            faults += error.errors
        if faults:
            raise InvalidSchedule(*faults)
        minute, hour = self._expression.split()[-5:-3]
        self._fixed = not (minute.startswith("*") or hour.startswith("*"))

    def after(self, instant: int) -> int | None:
        """The first instant later than this; None: there is none in fifty years."""
        try:
            at = self._at(instant)
            starts = [_wall(at)]
            if at.fold == 0 and not self._fixed and (again := self._goes_back(at)):
                # The same readings come once more, before those that are greater.
                starts.append(_wall(self._shift(at, again)) - _SECOND)
            found = [self._first(start, at) for start in starts]
        except OverflowError:  # the end of the calendar
            return None
        return _ms(min((each for each in found if each is not None), default=None))

    def last(self, instant: int) -> int | None:
        """The last instant no later than this; None: there was none in fifty years."""
        try:
            at = self._at(instant)
            starts = [_wall(at) + _SECOND]
            if at.fold == 1 and (again := self._goes_back(at)):
                # Greater readings have been there before.
                starts.append(_wall(at) + again)
            found = [self._newest(start, at) for start in starts]
        except OverflowError:  # the beginning of the calendar
            return None
        return _ms(max((each for each in found if each is not None), default=None))

    def _at(self, instant: int) -> datetime:
        return (_EPOCH + timedelta(seconds=instant // 1000)).astimezone(self._zone)

    def _first(self, start: datetime, at: datetime) -> datetime | None:
        """The first instant after *at* of the readings greater than *start*."""
        since = at.astimezone(UTC)
        for reading in CronSim(self._expression, start):
            jump = self._jump(reading)
            if jump and not self._fixed:
                return self._first(_wall(jump.astimezone(self._zone)) - _SECOND, at)
            for each in self._instants(reading, jump):
                if each > since:
                    return each
        return None

    def _newest(self, start: datetime, at: datetime) -> datetime | None:
        """The last instant up to *at* of the readings less than *start*."""
        until = at.astimezone(UTC)
        for reading in CronSim(self._expression, start, reverse=True):
            jump = self._jump(reading)
            if jump and not self._fixed:
                before = (jump - _SECOND).astimezone(self._zone)
                return self._newest(_wall(before) + _SECOND, at)
            for each in reversed(self._instants(reading, jump)):
                if each <= until:
                    return each
        return None

    def _jump(self, reading: datetime) -> datetime | None:
        """When the clock jumped over this reading; None: it shows it."""
        first, second = self._times(reading)
        return self._change(second, first) if first > second else None

    def _instants(self, reading: datetime, jump: datetime | None) -> list[datetime]:
        """When the expression fires for this reading, in order."""
        if jump:
            return [jump]
        first, second = self._times(reading)
        return [first] if self._fixed or first == second else [first, second]

    def _times(self, reading: datetime) -> tuple[datetime, datetime]:
        """When the clock shows this, and when it does once more; in the wrong order
        where it never does."""
        shown = reading.replace(tzinfo=self._zone)
        return shown.astimezone(UTC), shown.replace(fold=1).astimezone(UTC)

    def _goes_back(self, at: datetime) -> timedelta:
        """By how much the clock is turned back, where it shows the time of *at* twice;
        else nothing."""
        first, second = self._times(_wall(at))
        return max(second - first, _NO_TIME)

    def _shift(self, at: datetime, within: timedelta) -> datetime:
        """When the clock has just been turned back, no later than *within* from now."""
        start = at.astimezone(UTC)
        return self._change(start, start + within).astimezone(self._zone)

    def _change(self, before: datetime, after: datetime) -> datetime:
        """The second, later than *before*, from which on the offset is another."""
        offset = before.astimezone(self._zone).utcoffset()
        while after - before > _SECOND:
            middle = before + (after - before) // 2
            middle = middle.replace(microsecond=0)
            if middle.astimezone(self._zone).utcoffset() == offset:
                before = middle
            else:
                after = middle
        return after


def _wall(at: datetime) -> datetime:
    """What a clock on the wall shows."""
    return at.replace(tzinfo=None, fold=0)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _SECOND * 1000


# A schedule is read anew at each firing, and many are alike; there are 600 zones.
_remembered = lru_cache(maxsize=1024)


@_remembered
def _expression(text: str) -> str:
    """The expression in fields.

    Raises:
        InvalidSchedule: it is none.
    """
    if len(text) > CRON_CHARS_MAX:
        wrong = f"must be at most {CRON_CHARS_MAX} characters"
        raise InvalidSchedule(("cron", wrong))
    fields = ALIASES.get(text.strip().lower(), text)
    try:
        CronSim(fields, datetime(2000, 1, 1))  # noqa: DTZ001 a clock on the wall
    except CronSimError as error:
        wrong = f"{_WRONG_CRON} ({str(error).lower()})"
        raise InvalidSchedule(("cron", wrong)) from error
    return fields


@_remembered
def _zone(name: str) -> ZoneInfo:
    """The zone of this name.

    Raises:
        InvalidSchedule: there is none.
    """
    if not _ZONE.fullmatch(name) or name in _NO_ZONES or name.startswith(_NO_FOLDERS):
        raise InvalidSchedule(("zone", _WRONG_ZONE))
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: it is a folder
        raise InvalidSchedule(("zone", _WRONG_ZONE)) from error
