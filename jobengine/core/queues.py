"""The rules in force for each queue, with every default already resolved."""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from jobengine.core import backoff
from jobengine.core.backoff import Backoff

MINUTE_MS = 60_000

# What a queue or a service may be called: safe in a header, a log line and a label.
NAME = re.compile(r"(?! )[A-Za-z0-9_.:@ -]{1,255}(?<! )")
NAME_CHARS_MAX = 255
WRONG_NAME = "must be 1 to 255 of A-Z a-z 0-9 _ . : @ - and inner spaces"

# Queues that callers may make: each is memory until somebody deletes it.
MADE_QUEUES_MAX = 10_000


class QueueRules(Struct, frozen=True):
    """What holds for one queue. Times are milliseconds; None is no limit.

    `max_attempts`, `backoff`, `poison_after` and `dead_keep_ms` are for jobs whose
    terms leave them to the queue.
    """

    name: str
    read: frozenset[str] = frozenset()
    write: frozenset[str] = frozenset()
    lease_ms: int = 600_000
    keep_ms: int = 3_600_000
    browse: frozenset[str] = frozenset()
    manage: frozenset[str] = frozenset()
    max_attempts: int | None = 3
    backoff: Backoff = backoff.DEFAULT
    poison_after: int | None = 3
    dead_keep_ms: int = 7 * 86_400_000
    max_jobs: int | None = None  # queued and in progress
    max_bytes: int | None = None  # of the payloads of all its jobs
    max_job_bytes: int | None = None
    max_inprogress: int | None = None
    paused: str | None = None  # why nothing is handed out
    made: "MadeQueue | None" = None  # by a caller, not by the configuration


class Rulebook(Struct, frozen=True):
    """All that the engine must know of the configuration; a reload swaps it whole."""

    queues: Mapping[str, QueueRules] = {}
    # True: only writers settle jobs, as the original did (decision D1).
    strict_acl: bool = False
    # What becomes of a queue that left the configuration (decision D27): its jobs wait
    # this long for the name to return; None keeps them for ever.
    removed_keep_ms: int | None = 86_400_000
    admins: frozenset[str] = frozenset()
    # What holds for queues that callers make.
    template: QueueRules = QueueRules("")
    # Who may make a queue by its first job, and who may use such queues (D16).
    dynamic: QueueRules | None = None
    # Of jobs in memory, payloads and all; None: as much as there is.
    memory_bytes: int | None = None


class RemovedQueue(Struct, frozen=True):
    """The record that a queue left the configuration with jobs still in it."""

    name: str
    removed_at: int
    due_at: int | None  # when its jobs are deleted; None: never

    @property
    def noted_at(self) -> int:
        """When it was written."""
        return self.removed_at


class PausedQueue(Struct, frozen=True):
    """The record that a queue hands out nothing, and why."""

    name: str
    noted_at: int
    reason: str
    due_at: int | None = None


class MadeQueue(Struct, frozen=True):
    """The record of a queue that a caller made.

    `salt` and `digest` are of the access key that opens it, where it has one: see
    access.digest.
    """

    name: str
    noted_at: int
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    salt: str | None = None
    digest: bytes | None = None
    due_at: int | None = None


def in_force(
    configured: Rulebook, made: Iterable[MadeQueue], paused: Iterable[PausedQueue]
) -> Rulebook:
    """The configuration with the queues that callers made and paused.

    A name in the configuration wins over a queue that was made.
    """
    queues = {each.name: made_rules(configured, each) for each in made}
    queues |= configured.queues
    for note in paused:
        if note.name in queues:
            queues[note.name] = replace(queues[note.name], paused=note.reason)
    return replace(configured, queues=queues)


def made_rules(configured: Rulebook, made: MadeQueue) -> QueueRules:
    """The rules of a queue that a caller made."""
    return replace(
        configured.template,
        name=made.name,
        read=frozenset(made.read),
        write=frozenset(made.write),
        made=made,
    )
