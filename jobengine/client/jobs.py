"""What travels between a program and the daemon, as values: docs/reference/http-v2.md.

Instants are aware datetimes, durations of what is asked are seconds or timedeltas;
payloads are decoded JSON. Members that a newer daemon may add are ignored.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from msgspec import UNSET, Struct, UnsetType

from jobengine.client.spans import Duration
from jobengine.core.backoff import Backoff

OnConflict = Literal["refuse", "keep", "replace"]
Kind = Literal["retry", "critical", "unprocessable", "cancel"]

# States from which a job goes nowhere by itself.
ENDED = frozenset({"complete", "failed", "cancelled"})


class Lease(Struct, frozen=True):
    """Who works at a job, and until when. Only who claims it is told the token."""

    holder: str
    since: datetime
    until: datetime
    token: str | None = None

    def __repr__(self) -> str:  # the token is all that it takes to end the run
        return f"Lease(holder={self.holder!r}, until={self.until})"


class Run(Struct, frozen=True):
    """A run that went wrong."""

    attempt: int
    began_at: datetime
    ended_at: datetime
    outcome: str
    error: str | None = None


class Job(Struct, frozen=True):
    """A job as the daemon shows it.

    `content`, `progress` and `result` are None where they are nothing, where the caller
    has no right to see them, and `content` in the answers to most verbs.
    """

    uid: str
    queue: str
    state: str
    priority: int
    created_at: datetime
    updated_at: datetime
    run_at: datetime
    attempt: int
    expires_at: datetime | None = None
    max_attempts: int | None = None
    lease: Lease | None = None
    finished_at: datetime | None = None
    keep_until: datetime | None = None
    reason: str | None = None
    unique_key: str | None = None
    fingerprint: str | None = None
    traceparent: str | None = None
    error: str | None = None
    lost_leases: int = 0
    reschedules: int = 0
    runs: tuple[Run, ...] = ()
    content: Any = None
    progress: Any = None
    result: Any = None
    # Its version, where it was shown alone: for `if_match`.
    etag: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it is complete, failed or cancelled."""
        return self.state in ENDED

    def __repr__(self) -> str:  # what it is about is nobody's in a log
        return f"Job(uid={self.uid!r}, queue={self.queue!r}, state={self.state!r})"


class Terms(TypedDict, total=False):
    """What may be said of a new job, and of those that a schedule makes. What is absent
    is as the queue has it."""

    priority: int
    valid_for: Duration | None
    fingerprint: str | None
    max_attempts: int | None
    lease: Duration | None
    keep: Duration | None
    dead_keep: Duration | None
    poison_after: int | None
    backoff: Backoff | None
    durable: bool


class JobOptions(Terms, total=False):
    """What may be said of a new job."""

    run_at: datetime | None
    delay: Duration | None
    expires_at: datetime | None
    unique_key: str | None
    progress: Any


class EnqueueOptions(JobOptions, total=False):
    """The same, what of a live job with the same unique key, and under which key the
    request may be sent again: one of its own unless told; False: none."""

    on_conflict: OnConflict
    idempotency_key: str | Literal[False] | None
    traceparent: str | None


class NewJob(Struct, frozen=True):
    """A job to be queued. What is absent is as the queue has it.

    In `max_attempts` and `poison_after` None stands for: without limit, never. `queue`
    is for jobs that follow another, where it is not to be the queue of that.
    """

    content: Any
    priority: int | UnsetType = UNSET
    run_at: datetime | None = None
    delay: Duration | None = None
    expires_at: datetime | None = None
    valid_for: Duration | None = None
    unique_key: str | None = None
    fingerprint: str | None = None
    progress: Any = None
    max_attempts: int | UnsetType | None = UNSET
    lease: Duration | None = None
    keep: Duration | None = None
    dead_keep: Duration | None = None
    poison_after: int | UnsetType | None = UNSET
    backoff: Backoff | None = None
    durable: bool | UnsetType = UNSET
    queue: str | None = None


class Filter(TypedDict, total=False):
    """Which jobs are meant: those for which all of this is so. `uids` counts where many
    are changed at once, and not in lists."""

    state: str | Sequence[str]
    dead: bool
    scheduled: bool
    created_after: datetime
    created_before: datetime
    updated_after: datetime
    updated_before: datetime
    run_after: datetime
    run_before: datetime
    finished_after: datetime
    finished_before: datetime
    attempts_min: int
    attempts_max: int
    unique_key: str
    fingerprint: str
    reason: str
    uids: Sequence[str]


class Listing(Filter, total=False):
    """Which jobs, and which part of them."""

    limit: int
    cursor: str
    order: Literal["oldest", "newest"]


class Page(Struct, frozen=True):
    """A part of a list; `next` is the cursor of the next, None on the last."""

    jobs: tuple[Job, ...]
    next: str | None = None


class Ended(Struct, frozen=True):
    """A job that was completed."""

    state: str
    finished_at: datetime
    keep_until: datetime


class Beat(Struct, frozen=True):
    """A sign of life of one of many jobs. A `progress` of None forgets it."""

    uid: str
    lease: str | UnsetType = UNSET
    progress: Any | UnsetType = UNSET


class Completion(Struct, frozen=True):
    """One of many jobs is done."""

    uid: str
    lease: str | UnsetType = UNSET
    result: Any | UnsetType = UNSET


class Reported(Struct, frozen=True):
    """What became of one of many reports; `code` is None where it was taken."""

    uid: str
    status: int
    code: str | None = None
    lease_until: datetime | None = None


class Bulk(Struct, frozen=True):
    """What a change of many jobs came to; `remaining` are left: ask again."""

    matched: int
    changed: int
    remaining: int
    dry_run: bool


class Group(Struct, frozen=True):
    """Dead letters that died of the same."""

    reason: str | None
    error: str | None
    count: int
    newest_uid: str
    first_at: datetime
    last_at: datetime


class Blocker(Struct, frozen=True):
    """One thing that stands in the way of a job."""

    code: str
    detail: str
    remedy: str
    until: datetime | None = None
    count: int | None = None
    limit: int | None = None
    holder: str | None = None


class Explanation(Struct, frozen=True):
    """Why a job is not running, and what would change that."""

    uid: str
    queue: str
    state: str
    claimable: bool
    blockers: tuple[Blocker, ...]


class Queue(Struct, frozen=True):
    """A queue and its rules in force; `rights` are the caller's own."""

    name: str
    rights: tuple[str, ...]
    configured: bool
    paused: bool
    lease_ms: int
    keep_ms: int
    dead_keep_ms: int
    backoff: Backoff
    pause_reason: str | None = None
    max_attempts: int | None = None
    poison_after: int | None = None
    max_jobs: int | None = None
    max_bytes: int | None = None
    max_job_bytes: int | None = None
    max_inprogress: int | None = None


class Stats(Struct, frozen=True):
    """A queue in numbers."""

    ready: int
    scheduled: int
    queued: int
    inprogress: int
    complete: int
    failed: int
    cancelled: int
    dead: int
    total: int
    content_bytes: int
    paused: int
    oldest_ready_seconds: float


class ScheduleOptions(Terms, total=False):
    """What may be said of a schedule, and of its jobs."""

    zone: str
    jitter: Duration | None
    misfire: Literal["skip", "once"]


class NewScheduleOptions(ScheduleOptions, total=False):
    """The same, and under which key the request may be sent again."""

    idempotency_key: str | Literal[False] | None


class Schedule(Struct, frozen=True):
    """A job that comes again and again. What its jobs leave to the queue is UNSET."""

    name: str
    queue: str
    cron: str
    zone: str
    jitter_ms: int
    misfire: str
    paused: bool
    made: int
    missed: int
    updated_at: datetime
    priority: int
    next_at: datetime | None = None
    next_runs: tuple[datetime, ...] = ()
    last_at: datetime | None = None
    last_uid: str | None = None
    valid_for_ms: int | None = None
    fingerprint: str | None = None
    max_attempts: int | UnsetType | None = UNSET
    poison_after: int | UnsetType | None = UNSET
    lease_ms: int | UnsetType = UNSET
    keep_ms: int | UnsetType = UNSET
    dead_keep_ms: int | UnsetType = UNSET
    backoff: Backoff | UnsetType = UNSET
    durable: bool = True
    content: Any = None
