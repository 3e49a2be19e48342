"""Who may do what to which queue. Deny by default."""

from enum import IntEnum

from msgspec import Struct

from jobengine.core.job import Job
from jobengine.core.queues import QueueRules


class Caller(Struct, frozen=True):
    """Who is asking: the service name, as api/identity.py has proved it."""

    name: str


class Right(IntEnum):
    """What a queue's lists grant."""

    READ = 1
    WRITE = 2


# By (may read, may write).
_HELD: dict[tuple[bool, bool], frozenset[Right]] = {
    (False, False): frozenset(),
    (True, False): frozenset({Right.READ}),
    (False, True): frozenset({Right.WRITE}),
    (True, True): frozenset(Right),
}

# By name: a member looked up in its class costs more than the rule itself.
READ, WRITE = Right


def allows(caller: Caller, rules: QueueRules, right: Right) -> bool:
    """Whether the caller has this right on the queue."""
    return caller.name in (rules.write if right is WRITE else rules.read)


def rights(caller: Caller, rules: QueueRules) -> frozenset[Right]:
    """The caller's rights on the queue; none means it must not learn it exists."""
    return _HELD[caller.name in rules.read, caller.name in rules.write]


def holds(caller: Caller, job: Job) -> bool:
    """Whether the caller has the job in progress. Replicas of one service are one."""
    return job.lease is not None and job.lease.holder == caller.name
