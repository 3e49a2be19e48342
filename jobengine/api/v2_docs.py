"""What the OpenAPI document says of each operation of the native API: see described.

A row of the table names one of these. Knows no route.
"""

from typing import Any

from marshmallow import Schema

from jobengine.api import v2_shapes as shapes
from jobengine.api.described import Answer, Doc
from jobengine.api.forms import TooMany
from jobengine.api.v2_shapes import EXAMPLE_AT, EXAMPLE_LEASE, EXAMPLE_UID
from jobengine.api.v2_words import (
    ATOMIC,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_MATCH_NEEDED,
    IF_NONE_MATCH,
    LISTING,
    MAX,
    ON_CONFLICT,
    PREFER_KEEP,
    PREFER_MAKING,
    PREFER_MINIMAL,
    PREFER_WAIT,
    TRACEPARENT,
    VERBOSE,
    WAIT,
)
from jobengine.errors import (
    CountDiffers,
    DuplicateJob,
    InvalidQueue,
    InvalidSchedule,
    JobCancelled,
    JobNotFound,
    JobTooLarge,
    KeyReused,
    MemoryFull,
    MustNameQueue,
    Overloaded,
    PreconditionFailed,
    PreconditionRequired,
    QueueConfigured,
    QueueExists,
    QueueFull,
    ScheduleExists,
    ScheduleNotFound,
    StaleLease,
    WrongState,
)

JOBS, MANY, DEAD = "Jobs", "Many jobs", "Dead letters"
QUEUES, SCHEDULES, HEALTH = "Queues", "Schedules", "Health"

# What may go wrong with a job that is made, and with one that is held.
_MADE = (DuplicateJob, JobTooLarge, QueueFull, MemoryFull)
_HELD = (JobNotFound, WrongState, StaleLease, JobCancelled)
_ONCE = (KeyReused,)
# The first job of some callers makes its queue.
_DYNAMIC = (QueueExists, InvalidQueue)

_LOCATION = ("Location", "Where it is.")
_ETAG = ("ETag", "The version of the job: see If-Match.")
_REPLAYED = ("Idempotency-Replayed", "`true`: this was answered before.")
_APPLIED = ("Preference-Applied", "Which preference was followed.")
_LINK = ("Link", '`rel="next"`: where the list goes on.')


def ok(
    says: str, shape: type[Schema], *headers: tuple[str, str], shown: Any = None
) -> Answer:
    """An answer that has a body of this shape."""
    return Answer(says, shape(), headers, shown)


def bare(says: str, *headers: tuple[str, str]) -> Answer:
    """An answer without a body."""
    return Answer(says, headers=headers)


def job(*, content: bool = False, **more: Any) -> dict[str, Any]:
    """A job as an answer shows it: queued, but for what is said here."""
    found = shapes.example(shapes.Job()) | {"max_attempts": 3} | more
    if not content:
        found.pop("content")
    return found


_TAKEN = job(
    content=True,
    state="inprogress",
    attempt=1,
    lease=shapes.example(shapes.Lease()),
)
_FAILED = job(
    run_at=EXAMPLE_AT, attempt=1, error="timeout", runs=[shapes.example(shapes.Run())]
)
_ENDED: dict[str, Any] = {
    "finished_at": EXAMPLE_AT,
    "keep_until": EXAMPLE_AT,
    "attempt": 1,
}

# --- jobs -------------------------------------------------------------------------

NEW_JOB: dict[str, Any] = {"content": {"to": "ann"}, "priority": 50}

ENQUEUE = Doc(
    JOBS,
    "write",
    {
        200: ok(
            "The job that was there: `on_conflict=keep`.",
            *(shapes.Job, _ETAG, _REPLAYED, _APPLIED),
            shown=job(unique_key="invoice-17"),
        ),
        201: ok(
            "The job is queued.",
            *(shapes.Job, _LOCATION, _REPLAYED, _APPLIED),
            shown=job(),
        ),
    },
    (ON_CONFLICT, IDEMPOTENCY_KEY, PREFER_MAKING, TRACEPARENT),
    (*_MADE, *_DYNAMIC, *_ONCE),
    NEW_JOB,
)
ENQUEUE_BATCH = Doc(
    MANY,
    "write",
    {
        200: ok("What became of each.", shapes.EnqueuedMany, _REPLAYED, _APPLIED),
        201: ok(
            "All are queued: `atomic=true`.", shapes.EnqueuedMany, _REPLAYED, _APPLIED
        ),
    },
    (ATOMIC, ON_CONFLICT, IDEMPOTENCY_KEY, PREFER_KEEP, TRACEPARENT),
    (*_MADE, *_DYNAMIC, *_ONCE),
    [NEW_JOB, {"content": {"to": "bob"}}],
)
CLAIM = Doc(
    JOBS,
    "read",
    {
        200: ok(
            "Jobs that are now the caller's, each by its lease.",
            shapes.Jobs,
            shown={"jobs": [_TAKEN]},
        ),
        204: bare("There is none to be had."),
    },
    (MAX, WAIT, PREFER_WAIT),
    (Overloaded,),
)
HEARTBEAT_MANY = Doc(
    MANY,
    "read, and to hold the jobs",
    {200: ok("What became of each.", shapes.BeatenMany)},
    body=[{"uid": EXAMPLE_UID, "lease": EXAMPLE_LEASE, "progress": {"page": 3}}],
)
COMPLETE_MANY = Doc(
    MANY,
    "read, and to hold the jobs",
    {200: ok("What became of each.", shapes.CompletedMany)},
    body=[{"uid": EXAMPLE_UID, "lease": EXAMPLE_LEASE, "result": {"sent": True}}],
)
LIST_JOBS = Doc(
    JOBS,
    "browse",
    {200: ok("The jobs that fit.", shapes.JobPage, _LINK)},
    LISTING,
    (Overloaded,),
)
PEEK = Doc(
    JOBS,
    "read",
    {
        200: ok("The job that would be handed out next.", shapes.Job, _ETAG),
        204: bare("There is none."),
    },
)
GET_JOB = Doc(
    JOBS,
    "read, browse or write",
    {
        200: ok("The job.", shapes.Job, _ETAG),
        204: bare("It has not ended while the caller waited."),
        304: bare("It is as the caller knows it.", _ETAG),
    },
    (WAIT, PREFER_WAIT, IF_NONE_MATCH),
    (JobNotFound, Overloaded),
)
PATCH_JOB = Doc(
    JOBS,
    "write",
    {200: ok("The job as it is now.", shapes.Job, _ETAG, shown=job(priority=90))},
    (IF_MATCH_NEEDED,),
    (
        *(JobNotFound, WrongState, JobTooLarge, QueueFull, MemoryFull),
        *(PreconditionFailed, PreconditionRequired),
    ),
    {"priority": 90},
)
DELETE_JOB = Doc(
    JOBS,
    "write",
    {204: bare("It is gone.")},
    (IF_MATCH,),
    (JobNotFound, PreconditionFailed),
)
HEARTBEAT = Doc(
    JOBS,
    "read, and to hold the job",
    {200: ok("The lease goes on.", shapes.LeaseUntil)},
    refusals=_HELD,
    body={"lease": EXAMPLE_LEASE, "progress": {"page": 3}},
)
COMPLETE = Doc(
    JOBS,
    "read, and to hold the job",
    {
        200: ok("The job is complete.", shapes.Ended),
        204: bare("The same, where no body is wanted.", _APPLIED),
    },
    (PREFER_MINIMAL,),
    _HELD,
    {"lease": EXAMPLE_LEASE, "result": {"sent": True}},
)
FAIL = Doc(
    JOBS,
    "read, and to hold the job",
    {
        200: ok(
            "The run has failed; the job may be tried again, or is cancelled.",
            *(shapes.Job, _ETAG),
            shown=_FAILED,
        )
    },
    refusals=_HELD,
    body={"lease": EXAMPLE_LEASE, "error": "timeout", "kind": "retry"},
)
RELEASE = Doc(
    JOBS,
    "read, and to hold the job",
    {
        200: ok(
            "The job is queued as if it had not been taken, or for later.",
            *(shapes.Job, _ETAG),
            shown=job(),
        )
    },
    refusals=_HELD,
    body={"lease": EXAMPLE_LEASE},
)
RESCHEDULE = Doc(
    JOBS,
    "read, and to hold the job",
    {200: ok("The job is queued again.", shapes.Job, _ETAG, shown=job())},
    refusals=(*_HELD, JobTooLarge, QueueFull, MemoryFull),
    body={"lease": EXAMPLE_LEASE, "run_at": EXAMPLE_AT},
)
REQUEUE = Doc(
    JOBS,
    "read, and to hold the job; write on the queues of the new jobs",
    {201: ok("The job is complete and these follow it.", shapes.EnqueuedMany)},
    refusals=(*_HELD, *_MADE, *_DYNAMIC, TooMany),
    body={"lease": EXAMPLE_LEASE, "jobs": [{"queue": "mail", **NEW_JOB}]},
)
CANCEL = Doc(
    JOBS,
    "write",
    {
        200: ok(
            "The job is cancelled; its worker is told.",
            *(shapes.Job, _ETAG),
            shown=job(state="cancelled", **_ENDED),
        )
    },
    refusals=(JobNotFound, WrongState),
)
RETRY = Doc(
    JOBS,
    "write",
    {
        200: ok(
            "The job is queued again, as good as new.",
            *(shapes.Job, _ETAG),
            shown=job(),
        )
    },
    refusals=(JobNotFound, WrongState, DuplicateJob, QueueFull, MemoryFull),
)
EXPLAIN = Doc(
    JOBS,
    "read, browse or write",
    {200: ok("Why it stands where it does.", shapes.Explanation)},
    refusals=(JobNotFound, Overloaded),
)

# --- many jobs --------------------------------------------------------------------

_CHANGED = {200: ok("What it came to.", shapes.Changed)}

BULK = Doc(
    MANY,
    "manage",
    _CHANGED,
    refusals=(CountDiffers, Overloaded),
    body={"filter": {"state": ["failed"]}, "dry_run": True},
)
CANCEL_GROUP = Doc(
    MANY,
    "write",
    {200: ok("How many were cancelled.", shapes.Cancelled)},
    body={"fingerprint": "t-9"},
)
DEAD_LETTERS = Doc(
    DEAD,
    "browse",
    {200: ok("The dead letters that fit.", shapes.JobPage, _LINK)},
    tuple(p for p in LISTING if p.name not in ("state", "dead", "scheduled")),
    (Overloaded,),
)
DEAD_GROUPS = Doc(
    DEAD,
    "browse",
    {200: ok("The dead letters by what they say.", shapes.Groups)},
    refusals=(Overloaded,),
)
REPLAY = Doc(
    DEAD,
    "manage",
    _CHANGED,
    refusals=(CountDiffers, Overloaded),
    body={"filter": {"reason": "attempts"}, "dry_run": True},
)
PURGE_DEAD = Doc(
    DEAD,
    "manage",
    _CHANGED,
    refusals=(CountDiffers, MustNameQueue, Overloaded),
    body={"queue": "mail", "dry_run": True},
)
PURGE = Doc(
    QUEUES,
    "manage",
    _CHANGED,
    refusals=(CountDiffers, MustNameQueue, Overloaded),
    body={"queue": "mail", "dry_run": True},
)

# --- queues -----------------------------------------------------------------------

LIST_QUEUES = Doc(
    QUEUES,
    "any; those without a right are left out",
    {200: ok("The queues.", shapes.Queues)},
)
CREATE_QUEUE = Doc(
    QUEUES,
    "admin, or to be a writer of `dynamic_queues`",
    {201: ok("The queue is there.", shapes.Queue, _LOCATION)},
    refusals=(QueueExists, InvalidQueue, QueueFull),
    body={"name": "letters", "read": ["mailer"], "write": ["shop"]},
)
GET_QUEUE = Doc(QUEUES, "any", {200: ok("The queue.", shapes.Queue)})
DELETE_QUEUE = Doc(
    QUEUES,
    "admin",
    {204: bare("It is gone, and its jobs.")},
    refusals=(QueueConfigured, Overloaded),
)
PAUSE = Doc(
    QUEUES,
    "manage",
    {200: ok("It hands out nothing.", shapes.Queue)},
    refusals=(InvalidQueue,),
    body={"reason": "maintenance"},
)
RESUME = Doc(QUEUES, "manage", {200: ok("It hands out jobs.", shapes.Queue)})
STATS = Doc(QUEUES, "browse", {200: ok("How it stands.", shapes.Stats)})

# --- schedules --------------------------------------------------------------------

NEW_SCHEDULE: dict[str, Any] = {
    "name": "nightly",
    "cron": "0 3 * * *",
    "zone": "Europe/Berlin",
    "content": {"report": "daily"},
}
_SCHEDULE = {200: ok("The schedule as it is now.", shapes.Schedule)}

LIST_SCHEDULES = Doc(SCHEDULES, "browse", {200: ok("The schedules.", shapes.Schedules)})
CREATE_SCHEDULE = Doc(
    SCHEDULES,
    "manage",
    {201: ok("It is there.", shapes.Schedule, _LOCATION, _REPLAYED, _APPLIED)},
    (IDEMPOTENCY_KEY, PREFER_KEEP),
    (ScheduleExists, InvalidSchedule, QueueFull, MemoryFull, *_ONCE),
    NEW_SCHEDULE,
)
GET_SCHEDULE = Doc(
    SCHEDULES,
    "browse",
    {200: ok("The schedule.", shapes.Schedule)},
    refusals=(ScheduleNotFound,),
)
REPLACE_SCHEDULE = Doc(
    SCHEDULES,
    "manage",
    _SCHEDULE,
    refusals=(ScheduleNotFound, InvalidSchedule, MemoryFull),
    body={key: value for key, value in NEW_SCHEDULE.items() if key != "name"},
)
DELETE_SCHEDULE = Doc(
    SCHEDULES,
    "manage",
    {204: bare("It is gone; the jobs it made are not.")},
    refusals=(ScheduleNotFound,),
)
PAUSE_SCHEDULE = Doc(SCHEDULES, "manage", _SCHEDULE, refusals=(ScheduleNotFound,))
RESUME_SCHEDULE = Doc(
    SCHEDULES, "manage", _SCHEDULE, refusals=(ScheduleNotFound, InvalidSchedule)
)

# --- health -----------------------------------------------------------------------

_PLAIN = "text/plain"

LIVES = Doc(HEALTH, "nothing", {200: Answer("It is.", example="ok\n", kind=_PLAIN)})
READY = Doc(
    HEALTH,
    "nothing",
    {
        200: Answer("Requests are taken.", example="ok\n", kind=_PLAIN),
        503: Answer("None is, for now.", example="not ready\n", kind=_PLAIN),
    },
    (VERBOSE,),
)
VERSION = Doc(HEALTH, "nothing", {200: ok("Its version.", shapes.Version)})
