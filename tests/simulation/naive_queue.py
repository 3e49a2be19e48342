"""The definition of linearizability, for histories of a few operations.

It tries every order, with a queue that is a list and no knowledge of what a record
says. Too slow for anything real: it is what the judge is compared with.
"""

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from jobs_model import Op

STATES = ("queued", "inprogress", "complete", "failed")


class Entry(NamedTuple):
    job: str
    priority: int
    state: str = "queued"
    lease: str = ""


class Naive(NamedTuple):
    """A queue: its jobs in the order of creation."""

    jobs: tuple[Entry, ...] = ()

    def do(self, op: Op) -> tuple[Op, "Naive"]:
        """The operation as it is answered now, and the queue after it."""
        answer, jobs = getattr(self, f"_{op.verb}")(op)
        return op._replace(**answer), Naive(tuple(jobs))

    def _create(self, op: Op) -> tuple[dict[str, object], list[Entry]]:
        return {"status": 201}, [*self.jobs, Entry(op.job, op.priority)]

    def _claim(self, op: Op) -> tuple[dict[str, object], list[Entry]]:
        queued = [job for job in self.in_order() if job.state == "queued"]
        if not queued:
            return {"status": 204, "job": ""}, [*self.jobs]
        taken = queued[0]._replace(state="inprogress", lease=op.lease)
        return {"status": 200, "job": taken.job}, self._with(taken)

    def _settle(self, op: Op) -> tuple[dict[str, object], list[Entry]]:
        found = [job for job in self.jobs if job.job == op.job]
        if not found:
            return {"status": 404}, [*self.jobs]
        if (found[0].state, found[0].lease) != ("inprogress", op.lease):
            return {"status": 409}, [*self.jobs]
        return {"status": 200}, self._with(found[0]._replace(state=op.state))

    def _delete(self, op: Op) -> tuple[dict[str, object], list[Entry]]:
        rest = [job for job in self.jobs if job.job != op.job]
        return {"status": 404 if len(rest) == len(self.jobs) else 204}, rest

    def _list(self, _op: Op) -> tuple[dict[str, object], list[Entry]]:
        listing = tuple((job.job, job.state) for job in self.in_order())
        status = 200 if listing else 204
        return {"status": status, "listing": listing}, [*self.jobs]

    def in_order(self) -> list[Entry]:
        return sorted(self.jobs, key=lambda job: -job.priority)

    def _with(self, changed: Entry) -> list[Entry]:
        return [changed if job.job == changed.job else job for job in self.jobs]


def explains(ops: Sequence[Op], queue: Naive) -> bool:
    """Whether some order of *ops*, from *queue* on, gives these answers."""
    if not ops:
        return True
    first_end = min(op.ended for op in ops)
    for op in ops:
        if op.began <= first_end:
            rest = [other for other in ops if other is not op]
            answered, after = queue.do(op)
            if op.status is None and explains(rest, queue):
                return True
            if (op.status is None or answered == op) and explains(rest, after):
                return True
    return False


def small_history(chance: Random) -> list[Op]:
    """What three clients may see of a right queue: a few operations, a listing, a few
    more that may delete what was listed, and a listing. Some are cut off."""
    queue = Naive()
    ops: list[Op] = []
    for part in (0, 100):
        shown = [job.job for job in queue.jobs]
        for number in range(chance.randint(3, 5)):
            op = _asked(chance, f"{part}.{number}", shown, ops)
            at = part + 10 + 10 * number
            began, ended = at - 16 * chance.random(), at + 16 * chance.random()
            answered, after = queue.do(op._replace(began=began, ended=ended))
            if chance.random() < 0.15:
                queue = chance.choice((queue, after))
                ops.append(op._replace(began=began, ended=part + 80, status=None))
            else:
                queue = after
                ops.append(answered)
        seen = Op(0, "list", part + 85, part + 86, 200)
        ops.append(queue.do(seen)[0])
    return ops


def spoiled(ops: list[Op], chance: Random) -> list[Op]:
    """The same with one answer that is likely to be wrong."""
    place = chance.choice([n for n, op in enumerate(ops) if op.status is not None])
    op = ops[place]
    jobs = [other.job for other in ops if other.verb == "create"]
    wrong: dict[str, Any] = {
        "create": {"priority": 1 if op.priority > 1 else 9},
        "claim": {"status": 204, "job": ""}
        if not jobs or (op.status == 200 and chance.random() < 0.5)
        else {"status": 200, "job": chance.choice([*jobs, "stranger"])},
        "settle": {"status": chance.choice([200, 404, 409])},
        "delete": {"status": 404 if op.status == 204 else 204},
        "list": {"listing": tuple(chance.sample(op.listing, len(op.listing)))[1:]},
    }
    return [*ops[:place], op._replace(**wrong[op.verb]), *ops[place + 1 :]]


def _asked(chance: Random, name: str, shown: list[str], ops: list[Op]) -> Op:
    held = [op for op in ops if op.verb == "claim" and op.status == 200]
    verbs = ["create"] * 3 + ["claim"] * 4 + ["settle"] * 3 * bool(held)
    verb = chance.choice(verbs + ["delete"] * 2 * bool(shown))
    op = Op(0, verb, 0, 0, None)
    if verb == "create":
        return op._replace(job=name, priority=chance.choice((1, 5)))
    if verb == "claim":
        return op._replace(lease=name)
    if verb == "delete":
        return op._replace(job=chance.choice(shown))
    claim = chance.choice(held)
    state = chance.choice(("complete", "failed", "queued"))
    return op._replace(job=claim.job, lease=claim.lease, state=state)
