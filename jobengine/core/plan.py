"""What a new rulebook changes: for the log of a reload and for `config diff`."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from jobengine.core.queues import QueueRules, Rulebook

MINUTE_MS = 60_000


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
    changes = {name: _queue(old.queues[name], new.queues[name]) for name in both}
    return Plan(
        added=tuple(sorted(new.queues.keys() - old.queues.keys())),
        changed={name: told for name, told in changes.items() if told},
        removed=tuple(sorted(old.queues.keys() - new.queues.keys())),
        house=tuple(_house(old, new)),
    )


def _queue(old: QueueRules, new: QueueRules) -> tuple[str, ...]:
    return (
        *_services("read", old.read, new.read),
        *_services("write", old.write, new.write),
        *_time("a job in progress may take", old.lease_ms, new.lease_ms),
        *_time("a finished job is kept", old.keep_ms, new.keep_ms),
    )


def _house(old: Rulebook, new: Rulebook) -> Iterator[str]:
    if old.strict_acl != new.strict_acl:
        whom = "only writers" if new.strict_acl else "readers, too,"
        yield f"{whom} may settle the jobs they hold"
    what = "the jobs of a removed queue are kept"
    yield from _time(what, old.removed_keep_ms, new.removed_keep_ms)


def _services(right: str, old: frozenset[str], new: frozenset[str]) -> Iterator[str]:
    if gained := sorted(new - old):
        yield f"{right} is given to {', '.join(gained)}"
    if lost := sorted(old - new):
        yield f"{right} is taken from {', '.join(lost)}"


def _time(what: str, old: int | None, new: int | None) -> Iterator[str]:
    if old != new:
        yield f"{what} {_minutes(new)}, not {_minutes(old)}"


def _minutes(ms: int | None) -> str:
    return "for ever" if ms is None else f"{ms / MINUTE_MS:g} min"
