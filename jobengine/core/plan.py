"""What a new rulebook changes: for the log of a reload and for `config diff`."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from jobengine.core.backoff import Backoff
from jobengine.core.queues import MINUTE_MS, QueueRules, Rulebook


class Plan(Struct, frozen=True):
    """The queues that come, change and go, by name; `house` is what holds for all.

    A change is told in words, one sentence for each thing that changes.
    """

    added: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = {}
    removed: tuple[str, ...] = ()
    house: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything changes at all."""
        return bool(self.added or self.changed or self.removed or self.house)


def diff(old: Rulebook, new: Rulebook) -> Plan:
    """What changes when *new* takes the place of *old*."""
    both = sorted(old.queues.keys() & new.queues.keys())
    changes = {n: tuple(_queue(old.queues[n], new.queues[n])) for n in both}
    return Plan(
        added=tuple(sorted(new.queues.keys() - old.queues.keys())),
        changed={name: told for name, told in changes.items() if told},
        removed=tuple(sorted(old.queues.keys() - new.queues.keys())),
        house=tuple(_house(old, new)),
    )


RIGHTS = ("read", "write", "browse", "manage")

# What a queue keeps to, and how it is told.
TIMES = {
    "lease_ms": "a job in progress may take",
    "keep_ms": "a finished job is kept",
    "dead_keep_ms": "a dead letter is kept",
}
LIMITS = {
    "max_attempts": "the limit of attempts",
    "poison_after": "the limit of leases lost in a row",
    "max_jobs": "the limit of jobs queued and in progress",
    "max_bytes": "the limit of bytes of all jobs",
    "max_job_bytes": "the limit of bytes of a job",
    "max_inprogress": "the limit of jobs in progress",
}


def _queue(old: QueueRules, new: QueueRules) -> Iterator[str]:
    for right in RIGHTS:
        yield from _services(right, getattr(old, right), getattr(new, right))
    yield from _times(old, new)
    for field, what in LIMITS.items():
        yield from _limit(what, getattr(old, field), getattr(new, field))
    if old.backoff != new.backoff:
        yield (f"a failed job waits {_wait(new.backoff)}; before, {_wait(old.backoff)}")


def _house(old: Rulebook, new: Rulebook) -> Iterator[str]:
    if old.strict_acl != new.strict_acl:
        whom = "only writers" if new.strict_acl else "readers, too,"
        yield f"{whom} may settle the jobs they hold"
    what = "the jobs of a removed queue are kept"
    yield from _time(what, old.removed_keep_ms, new.removed_keep_ms)
    yield from _services("administration", old.admins, new.admins)
    yield from _limit(
        "the limit of bytes of memory", old.memory_bytes, new.memory_bytes
    )
    # With nobody to make them, nobody has ever had them.
    before, now = old.dynamic or QueueRules(""), new.dynamic or QueueRules("")
    yield from _services("making a queue by its first job", before.write, now.write)
    yield from _services("reading a queue made so", before.read, now.read)
    for told in _times(old.template, new.template):
        yield f"in queues that callers make, {told}"


def _services(right: str, old: frozenset[str], new: frozenset[str]) -> Iterator[str]:
    if gained := sorted(new - old):
        yield f"{right} is given to {', '.join(gained)}"
    if lost := sorted(old - new):
        yield f"{right} is taken from {', '.join(lost)}"


def _times(old: QueueRules, new: QueueRules) -> Iterator[str]:
    for field, what in TIMES.items():
        yield from _time(what, getattr(old, field), getattr(new, field))


def _time(what: str, old: int | None, new: int | None) -> Iterator[str]:
    if old != new:
        yield f"{what} {_minutes(new)}, not {_minutes(old)}"


def _minutes(ms: int | None) -> str:
    return "for ever" if ms is None else f"{ms / MINUTE_MS:g} min"


def _limit(what: str, old: int | None, new: int | None) -> Iterator[str]:
    if old != new:
        yield f"{what} is {_count(new)}, not {_count(old)}"


def _count(number: int | None) -> str:
    return "none" if number is None else str(number)


def _wait(backoff: Backoff) -> str:
    told = _WAITS[backoff.kind].format(
        base=_seconds([backoff.base_ms]),
        factor=f"{backoff.factor:g}",
        most=_seconds([backoff.max_ms]),
        delays=_seconds(backoff.delays_ms),
    )
    return (
        f"{told}, {100 * backoff.jitter:g} % more or less" if backoff.jitter else told
    )


_WAITS = {
    "constant": "{base} each time",
    "linear": "{base}, and as much more each time, up to {most}",
    "exponential": "{base}, and {factor} times as long each time, up to {most}",
    "list": "{delays}",
}


def _seconds(times_ms: Iterable[int]) -> str:
    return ", ".join(f"{ms / 1000:.12g}" for ms in times_ms) + " s"
