"""Who may do what to which queue. Deny by default."""

from enum import Enum

from msgspec import Struct

from jobengine.core.job import Job
from jobengine.core.queues import QueueRules


class Caller(Struct, frozen=True):
    """Who is asking: the service name, as api/identity.py has proved it."""

    name: str


class Right(Enum):
    """What a queue's lists grant."""

    READ = "read"
    WRITE = "write"


NONE: frozenset[Right] = frozenset()


def rights(caller: Caller, rules: QueueRules) -> frozenset[Right]:
    """The caller's rights on the queue; none means it must not learn it exists."""
    held = NONE
    if caller.name in rules.read:
        held |= {Right.READ}
    if caller.name in rules.write:
        held |= {Right.WRITE}
    return held


def holds(caller: Caller, job: Job) -> bool:
    """Whether the caller has the job in progress. Replicas of one service are one."""
    return job.lease is not None and job.lease.holder == caller.name
