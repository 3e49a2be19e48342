"""The rules in force for each queue, with every default already resolved."""

from collections.abc import Mapping

from msgspec import Struct


class QueueRules(Struct, frozen=True):
    """What holds for one queue. Times are milliseconds."""

    name: str
    read: frozenset[str] = frozenset()
    write: frozenset[str] = frozenset()
    lease_ms: int = 600_000
    keep_ms: int = 3_600_000


class Rulebook(Struct, frozen=True):
    """All that the engine must know of the configuration; a reload swaps it whole."""

    queues: Mapping[str, QueueRules] = {}
    # True: only writers settle jobs, as the original did (decision D1).
    strict_acl: bool = False
    # What becomes of a queue that left the configuration (decision D27): its jobs wait
    # this long for the name to return; None keeps them for ever.
    removed_keep_ms: int | None = 86_400_000


class RemovedQueue(Struct, frozen=True):
    """The record that a queue left the configuration with jobs still in it."""

    name: str
    removed_at: int
    due_at: int | None  # when its jobs are deleted; None: never
