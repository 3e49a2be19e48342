"""Judges a storm: what the daemon has in the end, against what the workers wrote down.

Nothing of it depends on a moment: leases are in the order in which the daemon gave them
out, by its own clock. The order of two of the same millisecond is left open.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from chaos_records import (
    Answered,
    Beaten,
    Claimed,
    Crashed,
    Kept,
    Ran,
    Record,
    Told,
)
from msgspec import Struct, field


class Seen(NamedTuple):
    """A job as the daemon shows it in the end."""

    uid: str
    number: int
    state: str
    # The lease that its result names.
    lease: str | None


class Fault(NamedTuple):
    kind: str
    uid: str
    detail: str


class Lease(Struct):
    """One lease of a job: what its worker knows of it."""

    token: str
    since: datetime | None = None  # None: claimed, but cut off before it was noted
    until: datetime | None = None  # as the daemon last said
    told: bool = False
    completed: int = 0  # how often the daemon said that it is complete
    ran: list[Ran] = field(default_factory=list)
    kept: int = 0

    def before(self, other: "Lease") -> bool:
        """Whether the daemon gave out this one first, for certain."""
        if self.since is None or other.since is None:
            return False
        return self.since < other.since


Leases = dict[str, dict[str, Lease]]


class Findings(NamedTuple):
    """What came of a storm."""

    faults: list[Fault]
    jobs: int
    # Runs that had their effect as done; and of those the ones that a job had already.
    runs: int
    duplicates: int
    # Completions that the daemon acknowledged; ends of runs, and heartbeats, that it
    # refused, as the lease was lost.
    acknowledged: int
    refused: int
    unheard: int


def judge(found: list[Seen], records: Iterable[Record], made: int) -> Findings:
    """What is wrong, when the jobs numbered from 0 to *made* should be complete."""
    records = list(records)
    leases = gathered(records)
    faults = [
        *(Fault("crashed", "", r.error) for r in records if isinstance(r, Crashed)),
        *_unlike_made(found, made),
    ]
    for seen in found:
        faults += _of_job(seen, leases.get(seen.uid, {}))
    kinds = Counter(_kind(record) for record in records)
    runs = kinds["ran"]
    done = sum(
        any(ran.done for lease in each.values() for ran in lease.ran)
        for each in leases.values()
    )
    return Findings(
        *(faults, len(found), runs, runs - done),
        *(kinds["acknowledged"], kinds["refused"], kinds["unheard"]),
    )


def gathered(records: Iterable[Record]) -> Leases:
    """The leases of each job, by its uid and their token."""
    leases: Leases = defaultdict(dict)
    for record in records:
        if not isinstance(record, Crashed):
            of = leases[record.uid]
            lease = of.setdefault(record.lease, Lease(record.lease))
            _note(lease, record)
    return leases


def _note(lease: Lease, record: Record) -> None:
    match record:
        case Claimed(since=since, until=until):
            lease.since = since
            lease.until = max(lease.until or until, until)
        case Beaten(until=until):
            lease.until = max(lease.until or until, until)
        case Told():
            lease.told = True
        case Answered(verb="complete", status=200):
            lease.completed += 1
        case Ran():
            lease.ran.append(record)
        case Kept(step=step):
            lease.kept = max(lease.kept, step)


def _kind(record: Record) -> str:
    match record:
        case Answered(verb="complete", status=200):
            return "acknowledged"
        case Answered(verb="heartbeat", status=409):
            return "unheard"
        case Answered(status=409):
            return "refused"
        case Ran(done=True):
            return "ran"
    return ""


def _unlike_made(found: list[Seen], made: int) -> Iterator[Fault]:
    counts = Counter(seen.number for seen in found)
    for number in range(made):
        if not counts[number]:
            yield Fault("lost", "", f"number {number} is not there")
    for number, count in counts.items():
        if count > 1:
            yield Fault("made twice", "", f"number {number} is there {count} times")
        if not 0 <= number < made:
            yield Fault("invented", "", f"nobody made number {number}")


def _of_job(seen: Seen, leases: dict[str, Lease]) -> Iterator[Fault]:
    def fault(kind: str, detail: Any) -> Fault:
        return Fault(kind, seen.uid, str(detail))

    if seen.state != "complete":
        yield fault("not complete", seen.state)
        return
    winner = leases.get(seen.lease or "")
    if winner is None or not any(ran.done for ran in winner.ran):
        yield fault("complete without effect", seen.lease)
    if sum(lease.completed for lease in leases.values()) > 1:
        yield fault("acknowledged twice", list(leases.values()))
    for lease in leases.values():
        ends = lease is winner or lease.completed > 0
        # Whether the daemon gave out the later one before or after: both are wrong.
        if ends and (later := [e.token for e in leases.values() if lease.before(e)]):
            yield fault("completed by a stale lease", f"{lease.token}, then {later}")
        if lease.completed and lease is not winner:
            yield fault("acknowledged and forgotten", lease.token)
        yield from _handed_out_early(seen, lease, leases)
        yield from _progress_lost(seen, lease, leases)


def _handed_out_early(
    seen: Seen, lease: Lease, leases: dict[str, Lease]
) -> Iterator[Fault]:
    """Another was given out while this one held."""
    if lease.told or lease.until is None:
        return
    for other in leases.values():
        if lease.before(other) and other.since and other.since < lease.until:
            detail = f"{lease.until} was promised, and {other.since} given out"
            yield Fault("handed out twice", seen.uid, detail)


def _progress_lost(
    seen: Seen, lease: Lease, leases: dict[str, Lease]
) -> Iterator[Fault]:
    """A run that came later did not find a checkpoint of this one."""
    for other in leases.values():
        if lease.before(other):
            for ran in other.ran:
                if ran.saved < lease.kept:
                    detail = f"{lease.kept} was kept, and {ran.saved} found"
                    yield Fault("checkpoint lost", seen.uid, detail)
