"""A queue of jobs as one client after the other would see it, and records of what many
saw at once.

The order that is checked: a claim gets the oldest queued job of the highest priority.
Age is the order in which creates took effect, so of two creates one after the other the
first is older, and of two at once the listings tell. A job that is given back has its
old place again. 204 means that nothing at all is queued.

A job is known by its token, which is in its payload: a job whose create was never
answered can so be recognised. Knows no wire and no daemon.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from linear import Verdict, linearize

EMPTY = ""


class Op(NamedTuple):
    """One operation as its client saw it.

    A status of None: the connection died. Then it took effect before *ended*, or never.
    That is the instant at which the process that may have got it was surely gone.
    """

    client: int
    verb: str
    began: float
    ended: float
    status: int | None
    job: str = EMPTY
    priority: int = 0
    lease: str = EMPTY
    state: str = EMPTY
    listing: tuple[tuple[str, str], ...] = ()  # (job, state), as listed


class Shelf(NamedTuple):
    """The state of the queue. Jobs are bits: the lowest is the first to be claimed."""

    queued: int = 0
    inprogress: int = 0
    complete: int = 0
    failed: int = 0
    leases: frozenset[tuple[int, str]] = frozenset()

    def __contains__(self, bit: object) -> bool:
        assert isinstance(bit, int)
        return bool((self.queued | self.inprogress | self.complete | self.failed) & bit)


class Act(NamedTuple):
    """An operation as the model reads it. An answer of None: none came."""

    began: float
    ended: float
    verb: str
    bit: int
    lease: str
    state: str
    answer: object
    eager: bool


def judge(ops: Iterable[Op]) -> tuple[Verdict, Op | None]:
    """Whether a right queue may have answered so; if not, what no order explains."""
    ops = _told(sorted(ops, key=lambda op: op.began))
    bits = places(ops)
    acts = [_act(op, bits, eager=_eager(op, ops)) for op in ops]
    verdict = linearize(acts, Shelf(), step, _known_order(ops, bits))
    return verdict, None if verdict.stuck is None else ops[verdict.stuck]


def step(shelf: Shelf, act: Act) -> Iterable[Shelf]:
    """How the queue may be after *act*; nothing if it may not be answered so."""
    answer, after = RIGHT[act.verb](shelf, act)
    if act.answer is None:
        return after, shelf
    return (after,) if answer == act.answer else ()


# --- what a right queue does ------------------------------------------------------

Result = tuple[object, Shelf]  # the answer, and the queue after it


def _create(shelf: Shelf, act: Act) -> Result:
    return 201, shelf._replace(queued=shelf.queued | act.bit)


def _claim(shelf: Shelf, act: Act) -> Result:
    first = shelf.queued & -shelf.queued
    if not first:
        return (204, 0), shelf
    return (200, first), shelf._replace(
        queued=shelf.queued ^ first,
        inprogress=shelf.inprogress | first,
        leases=shelf.leases | {(first, act.lease)},
    )


def _settle(shelf: Shelf, act: Act) -> Result:
    held = act.bit, act.lease
    if held not in shelf.leases:
        return (409 if act.bit in shelf else 404), shelf
    where = {act.state: getattr(shelf, act.state) | act.bit}
    return 200, shelf._replace(
        inprogress=shelf.inprogress ^ act.bit, leases=shelf.leases - {held}, **where
    )


def _delete(shelf: Shelf, act: Act) -> Result:
    if act.bit not in shelf:
        return 404, shelf
    leases = shelf.leases
    if shelf.inprogress & act.bit:
        leases = frozenset(held for held in leases if held[0] != act.bit)
    rest = {state: getattr(shelf, state) & ~act.bit for state in STATES}
    return 204, shelf._replace(leases=leases, **rest)


def _list(shelf: Shelf, act: Act) -> Result:
    shown = tuple(getattr(shelf, state) for state in STATES)
    return (200 if any(shown) else 204, shown), shelf


RIGHT: dict[str, Callable[[Shelf, Act], Result]] = {
    "create": _create,
    "claim": _claim,
    "settle": _settle,
    "delete": _delete,
    "list": _list,
}
STATES = ("queued", "inprogress", "complete", "failed")


# --- what a record says of the order ----------------------------------------------


def places(ops: Sequence[Op]) -> dict[str, int]:
    """The bit of every job that somebody asked for, in the order of their turn.

    Of jobs of one priority those in an earlier listing are older, and in a listing the
    first. Whoever records must have one listing after the other, and must delete only
    what was listed. So a job in no listing was lost, and the last listing tells of that
    wherever its place is: let it be where it was asked for.
    """
    shown: dict[str, int] = {}
    for op in sorted(ops, key=lambda op: op.ended):
        for job, _state in op.listing:
            shown.setdefault(job, len(shown))
    creates = [op for op in ops if op.verb == "create"]
    creates.sort(key=lambda op: (-op.priority, shown.get(op.job, len(shown)), op.began))
    return {op.job: 1 << place for place, op in enumerate(creates)}


def _told(ops: list[Op]) -> list[Op]:
    """The same, where creates that were cut off are known to have been done or not.

    A job that came to be is in the last listing, or somebody asked for its deletion
    who had it from a listing. So one that nothing else names was never made.
    """
    named = {op.job for op in ops if op.verb != "create"}
    named |= {job for op in ops for job, _state in op.listing}
    done = [
        op
        for op in ops
        if not (_cut_off(op, "create") and op.job not in named)
        and not _cut_off(op, "list")
    ]
    return [op._replace(status=201) if _cut_off(op, "create") else op for op in done]


def _known_order(ops: Sequence[Op], bits: dict[str, int]) -> list[int | None]:
    """For each operation one that may be taken to be before it.

    For a create it is the one of its priority that the listings show before it. Of
    claims that one kill cut off nobody knows which got a job: let it be the first.
    """
    listed = {job for op in ops for job, _state in op.listing}
    turns = sorted(
        (n for n, op in enumerate(ops) if op.job in listed and op.verb == "create"),
        key=lambda number: bits[ops[number].job],
    )
    turns += [n for n, op in enumerate(ops) if _cut_off(op, "claim")]
    after: list[int | None] = [None] * len(ops)
    newest: dict[object, int] = {}
    for number in turns:
        op = ops[number]
        alike = op.priority if op.verb == "create" else ("cut off", op.ended)
        after[number] = newest.get(alike)
        newest[alike] = number
    return after


def _eager(op: Op, ops: Sequence[Op]) -> bool:
    """Whether it changed nothing, or nothing that an overlapping operation can tell.

    A job that ends is looked at by listings and by who asks for that job: claims and
    creates go on as if it were still held.
    """
    if op.status in (204, 404, 409) and op.verb != "delete":
        return True
    if op.status in (404, 200) and op.verb in ("delete", "list"):
        return True
    if op.status != 200 or op.state not in ("complete", "failed"):
        return False
    rivals = (o for o in ops if o.job == op.job or o.verb == "list")
    return not any(
        o is not op and o.began <= op.ended and o.ended >= op.began for o in rivals
    )


def _cut_off(op: Op, verb: str) -> bool:
    return op.status is None and op.verb == verb


def _act(op: Op, bits: dict[str, int], *, eager: bool) -> Act:
    bit = bits.get(op.job, 0)
    answer: object = op.status
    if op.status is not None and op.verb == "claim":
        # A job that nobody asked for is no job of the queue: -1 is no answer.
        answer = op.status, (bit or -1) if op.status == 200 else 0
    if op.status is not None and op.verb == "list":
        answer = op.status, _shown(op.listing, bits)
    return Act(op.began, op.ended, op.verb, bit, op.lease, op.state, answer, eager)


def _shown(listing: Sequence[tuple[str, str]], bits: dict[str, int]) -> object:
    """The jobs by state; something else if it is in no order or shows a stranger."""
    order = [bits.get(job, 0) for job, _state in listing]
    if 0 in order or order != sorted(set(order)):
        return "no listing"
    where = dict.fromkeys(STATES, 0)
    for bit, (_job, state) in zip(order, listing, strict=True):
        where[state] |= bit
    return tuple(where.values())
