"""Faults to plant in a record that a right queue made: none of them can be explained.

Each is a change of what the clients say they saw. Where it is put matters: a claim that
was told 204 while another claim was under way proves nothing. So each looks for a place
where the fault is sure, and gives None if the record has none.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from random import Random

from jobs_model import Op

Record = Sequence[Op]
Plant = Callable[[Record, Random], list[Op] | None]

# Shorter than any operation.
MOMENT = 1e-6


def double_delivery(record: Record, chance: Random) -> list[Op] | None:
    """Another client gets a job that one has, and that is never given back."""
    returned = {op.job for op in record if op.state == "queued"}
    claims = [op for op in _delivered(record) if op.job not in returned]
    if not claims:
        return None
    claim = chance.choice(claims)
    again = claim._replace(
        client=-1,
        began=claim.ended + MOMENT,
        ended=claim.ended + 2 * MOMENT,
        lease="planted",
    )
    return [*record, again]


def lost_job(record: Record, chance: Random) -> list[Op] | None:
    """Nobody is given a job that was acknowledged, nor is it ever listed."""
    deleted = _asked(record, "delete")
    jobs = [op.job for op in _created(record) if op.job not in deleted]
    if not jobs:
        return None
    job = chance.choice(jobs)
    return [_unlisted(op, job) for op in record if op.job != job or op.verb == "create"]


def lost_in_the_kill(record: Record, chance: Random) -> list[Op] | None:
    """A job that was acknowledged before a kill has left no trace after it.

    With no kill in the record there is no such job.
    """
    deleted = _asked(record, "delete")
    kills = sorted({op.ended for op in record if op.status is None})
    lost = [
        (op.job, kill)
        for kill in kills
        for op in _created(record)
        if op.ended < kill and op.job not in deleted
    ]
    if not lost:
        return None
    job, kill = chance.choice(lost)
    return [
        _unlisted(op, job) if op.began > kill else op
        for op in record
        if op.job != job or op.began <= kill
    ]


def empty_for_nobody(record: Record, chance: Random) -> list[Op] | None:
    """A client is told that there is no job, while one is queued all along."""
    waits = _waits(record)
    if not waits:
        return None
    _job, since, until = chance.choice(waits)
    began = since + (until - since) * chance.random() * 0.9
    told = Op(-1, "claim", began, min(began + MOMENT, until), 204)
    return [*record, told]


def empty_instead(record: Record, chance: Random) -> list[Op] | None:
    """The answer of a claim is exchanged for 204, while another job is queued."""
    waits = _waits(record)
    claims = [
        claim
        for claim in _delivered(record)
        if any(
            since < claim.began and claim.ended < until and job != claim.job
            for job, since, until in waits
        )
    ]
    if not claims:
        return None
    claim = chance.choice(claims)
    told = claim._replace(status=204, job="", lease="")
    return [told if op is claim else op for op in record]


def out_of_turn(record: Record, chance: Random) -> list[Op] | None:
    """Two claims, one after the other, get their jobs the other way round."""
    waits = {job: (since, until) for job, since, until in _waits(record)}
    made = {op.job: op for op in _created(record)}
    # Its own claim is the first that it got: until then it waited, surely.
    claims = [
        claim
        for claim in _delivered(record)
        if claim.job in waits
        and waits[claim.job][0] < claim.began <= waits[claim.job][1]
    ]
    pairs = (
        (one, two)
        for one in chance.sample(claims, len(claims))
        for two in claims
        if waits[two.job][0] < one.began
        and one.ended < two.began
        and _comes_first(made[one.job], made[two.job])
    )
    pair = next(islice(pairs, 1), None)
    if pair is None:
        return None
    one, two = pair
    late = one._replace(job=two.job, lease=two.lease)
    soon = two._replace(job=one.job, lease=one.lease)
    return [late if op is one else soon if op is two else op for op in record]


PLANTS: dict[str, Plant] = {
    "double delivery": double_delivery,
    "lost job": lost_job,
    "lost in the kill": lost_in_the_kill,
    "204 while a job is queued": empty_for_nobody,
    "204 instead of a job": empty_instead,
    "out of turn": out_of_turn,
}


def _comes_first(one: Op, two: Op) -> bool:
    """Whether the job that *one* made is surely to be taken before that of *two*.

    Creates that were under way together may have been done in either order.
    """
    if one.priority != two.priority:
        return one.priority > two.priority
    return one.ended < two.began


def _created(record: Record) -> list[Op]:
    return [op for op in record if op.verb == "create" and op.status == 201]


def _delivered(record: Record) -> list[Op]:
    return [op for op in record if op.verb == "claim" and op.status == 200]


def _asked(record: Record, verb: str) -> set[str]:
    return {op.job for op in record if op.verb == verb}


def _unlisted(op: Op, job: str) -> Op:
    return op._replace(listing=tuple(seen for seen in op.listing if seen[0] != job))


def _waits(record: Record) -> list[tuple[str, float, float]]:
    """The jobs that were surely queued, from when until when: from the answer of their
    create until somebody began what could have ended it. A kill may have."""
    ends: dict[str, float] = {}
    unseen = min((op.began for op in record if op.status is None), default=float("inf"))
    for op in record:
        if op.verb in ("claim", "delete") and op.job:
            ends[op.job] = min(ends.get(op.job, unseen), op.began)
    created = ((op.job, op.ended) for op in _created(record))
    waits = ((job, since, ends.get(job, unseen)) for job, since in created)
    return [(job, since, until) for job, since, until in waits if since < until]
