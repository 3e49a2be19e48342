"""What the native API answers, as shapes: for its OpenAPI document, and for the tests
that hold what is sent against it. Renders nothing and reads nothing.

Every member that is `required` is always there; one with nothing to say is null.
"""

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

# What a program tells it by. Of `code` there may be more with time.
EXAMPLE_UID = "0192f0c1-7c3e-7b5a-9d1e-3f5a6b7c8d9e"
EXAMPLE_LEASE = "0192f0c1-9a10-7d44-8c2b-1e2d3c4b5a69"
EXAMPLE_AT = "2026-01-31T08:00:00.000Z"
EXAMPLE_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

STATES = ("queued", "inprogress", "complete", "failed", "cancelled")
RIGHTS = ("read", "write", "browse", "manage", "admin")


def text(says: str, example: str, **more: Any) -> fields.String:
    """A member that is text, null too where *allow_none*."""
    return fields.String(
        required=True, metadata={"description": says, "example": example}, **more
    )


def instant(says: str, **more: Any) -> fields.String:
    """A member that is an instant: RFC 3339, UTC, to the millisecond."""
    told = {"description": says, "format": "date-time", "example": EXAMPLE_AT}
    return fields.String(required=True, metadata=told, **more)


def whole(says: str, example: int = 0, *, least: int = 0, **more: Any) -> Any:
    """A member that is a whole number."""
    told = {"description": says, "example": example}
    rule = validate.Range(min=least)
    return fields.Integer(
        required=True, strict=True, metadata=told, validate=rule, **more
    )


def flag(says: str, *, example: bool = False) -> fields.Boolean:
    """A member that is true or false."""
    return fields.Boolean(
        required=True, metadata={"description": says, "example": example}
    )


def any_json(says: str, example: Any) -> fields.Raw:
    """A member that is any JSON, and not always there."""
    return fields.Raw(metadata={"description": says, "example": example})


class Shape(Schema):
    """An object that may have more members with time: clients ignore those."""

    class Meta:
        unknown = EXCLUDE


def many(kind: type[Schema], says: str, **more: Any) -> fields.List[Any]:
    """A member that is an array of such objects; an *example* of it where one of each
    member would mislead."""
    return fields.List(
        fields.Nested(kind), required=True, metadata={"description": says, **more}
    )


def example(schema: Schema) -> dict[str, Any]:
    """An object of this shape, of the examples of its members; null where it may."""
    return {name: _example_of(field) for name, field in schema.fields.items()}


def _example_of(field: Any) -> Any:
    if field.allow_none:
        return None
    if isinstance(field, fields.Nested):
        return example(field.schema)
    if "example" in field.metadata:
        return field.metadata["example"]
    if isinstance(field, fields.List):
        return [_example_of(field.inner)]
    return None


# --- refusals ---------------------------------------------------------------------


class Fault(Shape):
    """One thing that is wrong with a body."""

    pointer = text("Where it is, as a JSON pointer.", "/priority")
    detail = text("What is wrong with it.", "must be from 1 to 100")


class Problem(Shape):
    """Why a request was refused: RFC 9457. Programs go by `code`."""

    type = text("The kind of problem.", "/problems/job-not-found")
    title = text("The same in words.", "Job not found")
    status = whole("The status of the answer.", 404, least=100)
    detail = text("What happened, which one, what would help.", "no such job")
    instance = fields.String(
        metadata={
            "description": "The id of the request, as in X-Request-Id. What did not "
            "become a request has none.",
            "example": "5f2b1c0a9d8e4f6b8a7c6d5e4f3a2b1c",
        }
    )
    code = text("The kind of problem, for programs.", "job_not_found")
    errors = fields.List(
        fields.Nested(Fault),
        metadata={"description": "What is wrong with the body, member by member."},
    )


class ItemProblem(Shape):
    """Why one of many was refused."""

    status = whole("The status that it alone would have had.", 409, least=100)
    code = text("The kind of problem, for programs.", "duplicate_job")
    detail = text("What happened.", "a live job has this unique_key")


# --- jobs -------------------------------------------------------------------------


class Lease(Shape):
    """Who works at a job, and until when nobody else may."""

    holder = text("The service that took the job.", "mailer")
    since = instant("When it took it.")
    until = instant("When the job is taken back, unless a heartbeat moves it.")
    token = fields.String(
        metadata={
            "description": "What a worker shows to be told from one that lost the "
            "job. To its holder only, when the job is claimed.",
            "example": EXAMPLE_LEASE,
        }
    )


class Run(Shape):
    """A run of a job that did not complete it."""

    attempt = whole("Which run it was.", 1)
    began_at = instant("When it began.")
    ended_at = instant("When it ended.")
    outcome = text("How it ended.", "attempts")
    error = text("What its worker said.", "timeout", allow_none=True)


class Job(Shape):
    """A job, as far as the caller may see it."""

    uid = text("Its name.", EXAMPLE_UID)
    queue = text("Its queue.", "mail")
    state = text("Where it stands.", "queued", validate=validate.OneOf(STATES))
    priority = whole("1 to 100; higher is sooner.", 50, least=1)
    created_at = instant("When it was queued.")
    updated_at = instant("When it last changed.")
    run_at = instant("When it may run at the earliest.")
    expires_at = instant("When it is too late for it to run.", allow_none=True)
    attempt = whole("How often it was taken.", 0)
    max_attempts = whole(
        "How often it may be taken; null: without limit.", 3, allow_none=True
    )
    lease = fields.Nested(Lease, required=True, allow_none=True)
    finished_at = instant("When it ended.", allow_none=True)
    keep_until = instant("When it is deleted.", allow_none=True)
    reason = text("Why it ended as it did.", "attempts", allow_none=True)
    error = text("What the last run that failed said.", "timeout", allow_none=True)
    unique_key = text("Of live jobs one has it.", "invoice-17", allow_none=True)
    fingerprint = text("What it is found by with others.", "t-9", allow_none=True)
    traceparent = text("The trace it belongs to.", EXAMPLE_TRACE, allow_none=True)
    lost_leases = whole("Leases that ran out, in a row.", 0)
    reschedules = whole("How often its worker put it off.", 0)
    runs = many(Run, "The last runs that did not complete it.", example=[])
    content = any_json("What is to be done. For readers.", {"to": "ann"})
    progress = any_json("How far it is. For readers and writers.", None)
    result = any_json("What came of it. For readers and writers.", None)


class Jobs(Shape):
    """Jobs that were taken."""

    jobs = many(Job, "The jobs, the first in order first.")


class JobPage(Shape):
    """A part of a list."""

    jobs = many(Job, "The jobs in the order that was asked for.")
    next = text(
        "Where the list goes on, for `cursor`; null: it ends here.",
        "o.4711",
        allow_none=True,
    )


class Enqueued(Shape):
    """What became of one of many jobs."""

    status = whole("As one alone would have been answered.", 201, least=100)
    uid = text("The job, where there is one.", EXAMPLE_UID, allow_none=True)
    problem = fields.Nested(ItemProblem)


class EnqueuedMany(Shape):
    """What became of each."""

    results = many(Enqueued, "In the order of the body.")


class LeaseUntil(Shape):
    """A lease that was moved."""

    lease_until = instant("When the job is taken back, unless it is moved again.")


class Ended(Shape):
    """A job that is done."""

    state = text("Where it stands.", "complete", validate=validate.OneOf(STATES))
    finished_at = instant("When it was done.")
    keep_until = instant("When it will be forgotten.")


class Beaten(Shape):
    """What became of one of many heartbeats."""

    uid = text("The job.", EXAMPLE_UID)
    status = whole("As one alone would have been answered.", 200, least=100)
    code = text("The refusal, if any.", "job_cancelled", allow_none=True)
    lease_until = instant("When the job is taken back.", allow_none=True)


class BeatenMany(Shape):
    """What became of each."""

    results = many(Beaten, "In the order of the body.")


class Completed(Shape):
    """What became of one of many completions."""

    uid = text("The job.", EXAMPLE_UID)
    status = whole("As one alone would have been answered.", 200, least=100)
    code = text("The refusal, if any.", "stale_lease", allow_none=True)


class CompletedMany(Shape):
    """What became of each."""

    results = many(Completed, "In the order of the body.")


class Changed(Shape):
    """What a request on many jobs came to."""

    matched = whole("Jobs that fit.", 12)
    changed = whole("Jobs that were changed; none in a dry run.", 12)
    remaining = whole("Jobs that fit and are left: ask again.", 0)
    dry_run = flag("Whether nothing was done.")


class Cancelled(Shape):
    """How many jobs of a fingerprint, or of a unique key, were cancelled."""

    cancelled = whole("Jobs that were cancelled.", 3)
    more = flag("Whether there may be more: ask again.")


class Group(Shape):
    """Dead letters that say the same."""

    reason = text("Why they are dead.", "attempts", allow_none=True)
    error = text("What their last run said.", "timeout", allow_none=True)
    count = whole("How many there are.", 3)
    newest_uid = text("The one that died last.", EXAMPLE_UID)
    first_at = instant("When the first of them died.")
    last_at = instant("When the last of them died.")


class Groups(Shape):
    """The dead letters of a queue, by what they say."""

    groups = many(Group, "The largest first.")


class Blocker(Shape):
    """One thing that stands in the way of a job."""

    code = text("What it is, for programs.", "paused")
    detail = text("What it is.", "the queue is paused: maintenance")
    remedy = text("What would change it.", "resume the queue")
    until = instant("When it ends by itself.", allow_none=True)
    count = whole("Jobs, or requests, that it is about.", 3, allow_none=True)
    limit = whole("How many there may be.", 50, allow_none=True)
    holder = text("The service that it is about.", "mailer", allow_none=True)


class Explanation(Shape):
    """Why a job is not running, and what would change that."""

    uid = text("The job.", EXAMPLE_UID)
    queue = text("Its queue.", "mail")
    state = text("Where it stands.", "queued", validate=validate.OneOf(STATES))
    claimable = flag("Whether the next claim takes it.")
    blockers = many(Blocker, "What stands in its way, what holds longest first.")


# --- queues -----------------------------------------------------------------------


class Backoff(Shape):
    """How long a job waits after a run that failed."""

    kind = text("How the waits grow.", "exponential")
    base_ms = whole("The first wait.", 1000)
    factor = fields.Float(
        required=True, metadata={"description": "How fast they grow.", "example": 2.0}
    )
    max_ms = whole("The longest wait.", 3_600_000)
    delays_ms = fields.List(
        fields.Integer(strict=True),
        required=True,
        metadata={"description": "The waits, where they are a list.", "example": []},
    )
    jitter = fields.Float(
        required=True,
        metadata={
            "description": "What part of a wait is left to chance.",
            "example": 0.1,
        },
    )


class Queue(Shape):
    """A queue and its rules, and what the caller may do with it."""

    name = text("Its name.", "mail")
    rights = fields.List(
        fields.String(validate=validate.OneOf(RIGHTS)),
        required=True,
        metadata={"description": "What the caller may do.", "example": ["write"]},
    )
    configured = flag("Whether it is in config.yml.", example=True)
    paused = flag("Whether nothing is handed out.")
    pause_reason = text("Why.", "maintenance", allow_none=True)
    lease_ms = whole("How long a job may go without a word of it.", 600_000)
    keep_ms = whole("How long a job is kept after its end.", 3_600_000)
    dead_keep_ms = whole("How long a dead letter is kept.", 604_800_000)
    max_attempts = whole("How often a job may be taken.", 3, allow_none=True)
    poison_after = whole("After how many lost leases it is dead.", 3, allow_none=True)
    backoff = fields.Nested(Backoff, required=True)
    max_jobs = whole("How many unfinished jobs it takes.", 100_000, allow_none=True)
    max_bytes = whole("How many bytes of them.", 1 << 30, allow_none=True)
    max_job_bytes = whole("How many bytes of one.", 1 << 20, allow_none=True)
    max_inprogress = whole("How many are worked at at once.", 50, allow_none=True)


class Queues(Shape):
    """The queues that the caller has a right on."""

    queues = many(Queue, "In the order of their names.")


class Stats(Shape):
    """How a queue stands, in numbers alone: a scaler can read them."""

    ready = whole("Jobs that may be taken now.", 4)
    scheduled = whole("Queued jobs whose time has not come.", 1)
    queued = whole("Jobs that wait, the scheduled ones too.", 5)
    inprogress = whole("Jobs that are worked at.", 2)
    complete = whole("Completed jobs that are kept.", 9)
    failed = whole("Failed jobs that are kept.", 1)
    cancelled = whole("Cancelled jobs that are kept.", 0)
    dead = whole("Dead letters: failed jobs that will not be tried again.", 1)
    total = whole("All of them.", 17)
    content_bytes = whole("What their contents take.", 4096)
    oldest_ready_seconds = fields.Float(
        required=True,
        metadata={"description": "How long the first has waited.", "example": 1.5},
        validate=validate.Range(min=0),
    )
    paused = whole("1 while nothing is handed out.", 0)


# --- schedules --------------------------------------------------------------------


def _term(example: Any) -> dict[str, Any]:
    return {
        "description": "Of its jobs; absent: as the queue has it.",
        "example": example,
    }


_BACKOFF = {
    "kind": "constant",
    "base_ms": 1000,
    "factor": 2.0,
    "max_ms": 3_600_000,
    "delays_ms": [],
    "jitter": 0.0,
}


class Schedule(Shape):
    """A job that comes again and again."""

    name = text("Its name.", "nightly")
    queue = text("Its queue.", "mail")
    cron = text("When it fires.", "0 3 * * *")
    zone = text("The time zone that this is meant in.", "Europe/Berlin")
    jitter_ms = whole("By how much at most it fires later.", 0)
    misfire = text(
        "What becomes of instants that were missed.",
        "skip",
        validate=validate.OneOf(("skip", "once")),
    )
    paused = flag("Whether it rests.")
    next_at = instant("For which instant it makes its next job.", allow_none=True)
    next_runs = fields.List(
        fields.String(metadata={"format": "date-time"}),
        required=True,
        metadata={"description": "The instants to come.", "example": [EXAMPLE_AT]},
    )
    last_at = instant("For which instant it made its last job.", allow_none=True)
    last_uid = text("That job.", EXAMPLE_UID, allow_none=True)
    made = whole("How many jobs it has made.", 7)
    missed = whole("How many instants made none.", 0)
    updated_at = instant("When it last changed.")
    priority = whole("Of its jobs.", 50, least=1)
    valid_for_ms = whole("How long its jobs may wait.", 60_000, allow_none=True)
    fingerprint = text("Of its jobs.", "t-9", allow_none=True)
    # What its jobs leave to the queue is not there.
    max_attempts = fields.Integer(allow_none=True, metadata=_term(3))
    poison_after = fields.Integer(allow_none=True, metadata=_term(3))
    lease_ms = fields.Integer(metadata=_term(60_000))
    keep_ms = fields.Integer(metadata=_term(60_000))
    dead_keep_ms = fields.Integer(metadata=_term(60_000))
    backoff = fields.Nested(Backoff, metadata=_term(_BACKOFF))
    durable = fields.Boolean(metadata=_term(True))
    content = any_json("Of its jobs. For readers.", {"report": "daily"})


class Schedules(Shape):
    """The schedules of a queue."""

    schedules = many(Schedule, "In the order of their names.")


class Version(Shape):
    """Which JobEngine this is."""

    version = text("Its version.", "0.1.0")
