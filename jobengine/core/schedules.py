"""Jobs that come again and again: what a schedule is, and what its time makes of it.

Pure: when an expression fires is core/cron.py's to say, and jobengine/schedules.py
keeps what is decided here. An instant is one for which the expression fires; it makes
one job or is missed, and the next one is always later.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal
from zlib import crc32

from msgspec import Struct
from msgspec.structs import asdict, replace

from jobengine.core.cron import Cron
from jobengine.core.job import PRIORITY_DEFAULT, NewJob, Terms
from jobengine.core.queues import NAME, WRONG_NAME
from jobengine.errors import InvalidJob, InvalidSchedule

Misfire = Literal["skip", "once"]
MISFIRES: tuple[Misfire, ...] = ("skip", "once")

# All queues' together. Each is memory, and work whenever it fires.
SCHEDULES_MAX = 10_000
# Of a payload: it stands in the record, which is written anew at each firing.
CONTENT_BYTES_MAX = 64 << 10
# Longer than that it would be another schedule.
JITTER_MS_MAX = 24 * 3_600_000

# What is later than this was missed. Less is a restart, or a sweeper that was busy.
GRACE_MS = 60_000
# Missed instants that are counted of one absence: nobody waits for a year of seconds.
COUNTED_MAX = 100
# More than a page shows.
NEXT_RUNS_MAX = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NewSchedule(Struct, frozen=True):
    """What a caller asks to have done again and again.

    `content` and all that is said of the job is as in NewJob. An instant makes its job
    up to `jitter_ms` later, but before the next one. Of the instants that nobody was
    there for, `misfire` makes a job for the last ("once") or for none ("skip").

    Raises:
        InvalidSchedule: naming every field that is out of range.
    """

    title: str
    cron: str
    content: bytes
    zone: str = "UTC"
    priority: int = PRIORITY_DEFAULT
    terms: Terms = Terms()
    valid_for_ms: int | None = None
    fingerprint: str | None = None
    jitter_ms: int = 0
    misfire: Misfire = "skip"

    def __post_init__(self) -> None:
        faults = [(name, wrong) for name, wrong in self._faults().items() if wrong]
        for part in (self._cron, self._job):
            try:
                part()
            except InvalidJob as error:
                faults += error.errors
        if faults:
            raise InvalidSchedule(*faults)

    def _faults(self) -> dict[str, str]:
        content, jitter = len(self.content), self.jitter_ms
        return {
            "title": _wrong_title(self.title),
            "content": ""
            if content <= CONTENT_BYTES_MAX
            else f"must be JSON of at most {CONTENT_BYTES_MAX} bytes",
            "jitter_ms": ""
            if 0 <= jitter <= JITTER_MS_MAX
            else f"must be from 0 to {JITTER_MS_MAX}",
            "misfire": ""
            if self.misfire in MISFIRES
            else f"must be one of {', '.join(MISFIRES)}",
        }

    def _cron(self) -> Cron:
        return Cron(self.cron, self.zone)

    def _job(self) -> NewJob:
        return NewJob(
            self.content,
            self.priority,
            self.valid_for_ms,
            self.terms,
            fingerprint=self.fingerprint,
        )


class Schedule(Struct, frozen=True):
    """The record of a schedule. Instants are milliseconds of the epoch.

    `next_at` is the instant for which it makes its next job, `due_at` the one at which
    it does: later by the jitter. Paused, it has neither.
    """

    queue: str
    title: str
    noted_at: int
    due_at: int | None
    next_at: int | None
    cron: str
    zone: str
    content: bytes
    priority: int = PRIORITY_DEFAULT
    terms: Terms = Terms()
    valid_for_ms: int | None = None
    fingerprint: str | None = None
    jitter_ms: int = 0
    misfire: Misfire = "skip"
    last_at: int | None = None  # the instant for which it last made a job
    last_uid: str | None = None
    made: int = 0  # jobs
    missed: int = 0  # instants that made none, COUNTED_MAX of one absence
    paused: bool = False

    @property
    def name(self) -> str:
        """Of all schedules: no queue's name has a slash in it."""
        return f"{self.queue}/{self.title}"


class Firing(Struct, frozen=True):
    """What is to be done about a schedule that is due.

    A job for `instant`, if any; `missed` instants before it, or before `next_at`, make
    none.
    """

    instant: int | None
    next_at: int | None
    missed: int = 0


def begun(new: NewSchedule, *, queue: str, now: int) -> Schedule:
    """The schedule that *new* asks for.

    Raises:
        InvalidSchedule: it would never make a job.
    """
    said = asdict(new)
    schedule = Schedule(queue=queue, noted_at=now, due_at=None, next_at=None, **said)
    return resumed(schedule, now=now)


def renewed(schedule: Schedule, new: NewSchedule, *, now: int) -> Schedule:
    """The same schedule as *new* wants it; what it has done is remembered.

    Where the expression stays, so does the instant it waits for. Paused, it stays so.

    Raises:
        InvalidSchedule: it would never make a job.
    """
    after = replace(
        begun(new, queue=schedule.queue, now=now),
        last_at=schedule.last_at,
        last_uid=schedule.last_uid,
        made=schedule.made,
        missed=schedule.missed,
    )
    if schedule.paused:
        return paused(after, now=now)
    same = (schedule.cron, schedule.zone) == (new.cron, new.zone)
    if same and schedule.next_at is not None:
        return _waiting(after, Cron(new.cron, new.zone), schedule.next_at)
    return after


def paused(schedule: Schedule, *, now: int) -> Schedule:
    """The schedule without a next instant, until it is resumed."""
    return replace(schedule, noted_at=now, due_at=None, next_at=None, paused=True)


def resumed(schedule: Schedule, *, now: int) -> Schedule:
    """The schedule with its next instant: what passed while it was paused is past.

    Raises:
        InvalidSchedule: there is none, or no more such a zone.
    """
    cron = Cron(schedule.cron, schedule.zone)
    next_at = cron.after(now)
    if next_at is None:
        raise never()
    return _waiting(replace(schedule, noted_at=now, paused=False), cron, next_at)


def never() -> InvalidSchedule:
    """The refusal of an expression that names no day there is."""
    return InvalidSchedule(
        ("cron", "never fires: no day of the next fifty years is like that")
    )


def firing_of(schedule: Schedule, *, now: int) -> Firing:
    """What is to be done about a schedule that is due."""
    assert schedule.next_at is not None, "it is paused"
    assert schedule.due_at is not None, "it is paused"
    try:
        cron = Cron(schedule.cron, schedule.zone)
    except InvalidSchedule:
        # Where time zones are no more known by this name, nobody can say when.
        return Firing(None, None, 1)
    if schedule.due_at >= now - GRACE_MS:
        return Firing(schedule.next_at, cron.after(schedule.next_at))
    late = _late_skipped if schedule.misfire == "skip" else _late_once
    return late(schedule, cron, now)


def fired(schedule: Schedule, firing: Firing, uid: str | None, *, now: int) -> Schedule:
    """The schedule after its firing, which made the job *uid*, or could make none."""
    schedule = replace(schedule, noted_at=now, missed=schedule.missed + firing.missed)
    if uid is not None:
        schedule = replace(
            schedule, last_at=firing.instant, last_uid=uid, made=schedule.made + 1
        )
    elif firing.instant is not None:
        schedule = replace(schedule, missed=schedule.missed + 1)
    if firing.next_at is None:
        return replace(schedule, due_at=None, next_at=None)
    return _waiting(schedule, Cron(schedule.cron, schedule.zone), firing.next_at)


def job_of(schedule: Schedule, instant: int) -> NewJob:
    """The job for this instant. Its unique key says which schedule's and which."""
    return NewJob(
        schedule.content,
        schedule.priority,
        schedule.valid_for_ms,
        schedule.terms,
        unique_key=f"schedule:{schedule.title}@{_text(instant)}",
        fingerprint=schedule.fingerprint,
    )


def next_runs(schedule: Schedule, count: int) -> list[int]:
    """The next instants for which it makes jobs, NEXT_RUNS_MAX at most."""
    runs: list[int] = []
    at = schedule.next_at
    try:
        cron = Cron(schedule.cron, schedule.zone)
    except InvalidSchedule:
        return runs
    most = min(count, NEXT_RUNS_MAX)
    while at is not None and len(runs) < most:
        runs.append(at)
        # The search for one that is not asked for may go through many years.
        at = cron.after(at) if len(runs) < most else None
    return runs


def _late_skipped(schedule: Schedule, cron: Cron, now: int) -> Firing:
    """On with the first instant that is not late by now."""
    assert schedule.next_at is not None, "it is paused"
    bound = now - GRACE_MS
    # The last one before the bound may be due after it, but none before that one.
    next_at = cron.last(bound)
    if (
        next_at is None
        or next_at <= schedule.next_at
        or _due_at(schedule, cron, next_at) < bound
    ):
        next_at = cron.after(bound)
    return Firing(None, next_at, _counted(cron, schedule.next_at, next_at))


def _late_once(schedule: Schedule, cron: Cron, now: int) -> Firing:
    """A job for the last instant that is due by now."""
    assert schedule.next_at is not None, "it is paused"
    last = cron.last(now)
    if last is not None and _due_at(schedule, cron, last) > now:
        last = cron.last(last - 1)
    # Where a zone's rules are new, the one it waited for may be none any more.
    last = max(last or 0, schedule.next_at)
    return Firing(last, cron.after(last), _counted(cron, schedule.next_at, last))


def _counted(cron: Cron, first: int, end: int | None) -> int:
    """How many instants there are from *first* on and before *end*."""
    count, at = 0, first
    while (end is None or at < end) and count < COUNTED_MAX:
        count += 1
        following = cron.after(at)
        if following is None:
            break
        at = following
    return count


def _waiting(schedule: Schedule, cron: Cron, next_at: int) -> Schedule:
    due_at = _due_at(schedule, cron, next_at)
    return replace(schedule, next_at=next_at, due_at=due_at)


def _due_at(schedule: Schedule, cron: Cron, instant: int) -> int:
    """When the job for *instant* is made: the same whenever asked."""
    if not schedule.jitter_ms:
        return instant
    following = cron.after(instant)
    most = schedule.jitter_ms
    if following is not None:
        most = min(most, following - instant)
    # Schedules that have the same instants must not all fire at once.
    place = crc32(f"{schedule.name}@{instant}".encode()) / (1 << 32)
    return instant + int(place * most)


def _wrong_title(title: str) -> str:
    if title in _DOTS:
        return "must be another: clients take it for a step in the path"
    return "" if NAME.fullmatch(title) else WRONG_NAME


# Asked to pause such a schedule, a client that resolves paths pauses the queue.
_DOTS = (".", "..")


def _text(instant: int) -> str:
    """As RFC 3339 has it, and the native API."""
    at = _EPOCH + timedelta(milliseconds=instant)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
