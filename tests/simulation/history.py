"""What a right daemon does to one job, and every way that things may have gone.

Requests overlap and answers get lost, so what was asked of a job rarely says how it
stands: it says how it may stand.
"""

from collections.abc import Callable
from typing import NamedTuple


class World(NamedTuple):
    """How a job may stand. A job that is not there is None."""

    state: str
    priority: int
    content: bytes
    lease: str | None = None


class Act(NamedTuple):
    """What was asked of one job, when, and the status it was answered with.

    An answer of None: the connection died, so it was done wholly or not at all. What
    is asked for, or shown by a claim, is in the fields that are set.
    """

    verb: str
    began: float
    ended: float
    answer: int | None
    state: str | None = None
    priority: int | None = None
    content: bytes | None = None
    lease: str | None = None


Worlds = frozenset[World | None]
ABSENT: Worlds = frozenset([None])


def outcomes(worlds: Worlds, acts: list[Act]) -> Worlds:
    """Every way a job may stand once each of *acts* took effect, at some instant
    between its sending and its answer; one without an answer perhaps never."""
    found, tried = set(), set()
    paths = [(world, tuple(acts)) for world in worlds]
    while paths:
        path = world, rest = paths.pop()
        if path in tried:
            continue
        tried.add(path)
        if all(act.answer is None for act in rest):
            found.add(world)
        for act in rest:
            missed = [other for other in rest if other.ended < act.began]
            answer, after = RIGHT[act.verb](act, world)
            if act.answer in (None, answer) and not any(m.answer for m in missed):
                left = (o for o in rest if o is not act and o not in missed)
                paths.append((after, tuple(left)))
    return frozenset(found)


# --- what a right daemon does -----------------------------------------------------

Result = tuple[int, World | None]  # the answer, and how the job stands after it


def _create(act: Act, world: World | None) -> Result:
    assert act.priority is not None
    assert act.content is not None
    return 201, World("queued", act.priority, act.content)


def _claim(act: Act, world: World | None) -> Result:
    if world is None or world.state != "queued":
        return 0, world  # no answer shows this job
    if act.answer and (act.priority, act.content) != (world.priority, world.content):
        return 0, world
    return 200, world._replace(state="inprogress", lease=act.lease)


def _change(act: Act, world: World | None) -> Result:
    if world is None:
        return 404, None
    if act.lease is not None and act.lease != world.lease:
        return 409, world
    state = act.state or world.state
    return 200, World(
        state,
        act.priority or world.priority,
        act.content or world.content,
        world.lease if state == "inprogress" else None,
    )


def _delete(act: Act, world: World | None) -> Result:
    return (404 if world is None else 204), None


RIGHT: dict[str, Callable[[Act, World | None], Result]] = {
    "create": _create,
    "claim": _claim,
    "change": _change,
    "delete": _delete,
}
