"""What requests of the native API may say outside of their bodies, for its OpenAPI
document. The reading of it is elsewhere: tests hold the two together.
"""

from typing import Any

from jobengine.api.described import Parameter
from jobengine.api.v2_forms import BackoffBody, FollowingBody
from jobengine.api.v2_heads import CLAIM_MAX
from jobengine.api.v2_pages import PAGE_DEFAULT, PAGE_MAX, FilterBody
from jobengine.api.v2_shapes import EXAMPLE_AT, EXAMPLE_TRACE, EXAMPLE_UID, STATES
from jobengine.core.backoff import DELAYS_MAX, FACTOR_MAX
from jobengine.core.job import (
    ATTEMPTS_MAX,
    KEY_CHARS_MAX,
    PRIORITY_DEFAULT,
    PRIORITY_MAX,
    PRIORITY_MIN,
    PROGRESS_BYTES_MAX,
)
from jobengine.core.queues import NAME_CHARS_MAX

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
# What is not understood is ignored.
ANY: Schema = {"type": "string"}
TRUTH: Schema = {"type": "boolean"}
AT: Schema = {"type": "string", "format": "date-time"}
# `*`, or ETags parted by commas.
ETAGS: Schema = {
    "type": "string",
    "pattern": '^(\\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$',
}
# Seconds: what is longer than the daemon allows is cut, not refused.
SECONDS: Schema = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
# As core.queues.NAME has it, in the words of JSON Schema.
NAME: Schema = {
    "type": "string",
    "pattern": "^[A-Za-z0-9_.:@-]([A-Za-z0-9_.:@ -]*[A-Za-z0-9_.:@-])?$",
    "minLength": 1,
    "maxLength": NAME_CHARS_MAX,
}


def words(*choices: str) -> Schema:
    """One of these."""
    return {"type": "string", "enum": list(choices)}


def number(least: int, most: int) -> Schema:
    """A whole number between the two."""
    return {"type": "integer", "minimum": least, "maximum": most}


# --- in the path ------------------------------------------------------------------

PATH = {
    each.name: each
    for each in (
        Parameter("queue", "The queue.", NAME, "mail", "path", True),
        Parameter("uid", "The job.", TEXT, EXAMPLE_UID, "path", True),
        Parameter("schedule", "The schedule.", NAME, "nightly", "path", True),
    )
}

# --- in the head ------------------------------------------------------------------

IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "Makes the request safe to send again: for 24 hours, or as long as `Prefer` says, "
    "the same key with the same body is answered as it was the first time, with "
    "`Idempotency-Replayed: true`.",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "order-17-mail",
    "header",
)
IF_MATCH = Parameter(
    "If-Match",
    "Do it only while the job has this ETag; `*`: whatever it has.",
    ETAGS,
    "*",
    "header",
)
IF_MATCH_NEEDED = Parameter(
    "If-Match",
    "The ETag that the job was last seen with; `*`: whatever it has. Without it: 428.",
    ETAGS,
    "*",
    "header",
    True,
)
IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "The ETag that is known: 304 while the job still has it.",
    ETAGS,
    '"0f3c5a9e77d1b204"',
    "header",
)
PREFER_WAIT = Parameter(
    "Prefer", "`wait=N`: the same as `?wait=`.", ANY, "wait=0", "header"
)
PREFER_MINIMAL = Parameter(
    "Prefer",
    "`return=minimal`: no body in the answer.",
    ANY,
    "return=representation",
    "header",
)
PREFER_KEEP = Parameter(
    "Prefer",
    "`keep-answer=N`: what is answered to the `Idempotency-Key` is remembered for N "
    "seconds, 1 to 86400, instead of 24 hours.",
    ANY,
    "keep-answer=600",
    "header",
)
PREFER_MAKING = Parameter(
    "Prefer",
    f"{PREFER_MINIMAL.says} {PREFER_KEEP.says}",
    ANY,
    "return=representation, keep-answer=600",
    "header",
)
TRACEPARENT = Parameter(
    "traceparent",
    "The trace that the job belongs to (W3C): kept with the job and shown with it.",
    ANY,
    EXAMPLE_TRACE,
    "header",
)

# --- in the query -----------------------------------------------------------------

VERBOSE = Parameter("verbose", "Each check on a line of its own.", {"type": "string"})

ON_CONFLICT = Parameter(
    "on_conflict",
    "What of a job whose `unique_key` a live job has: `refuse` it, `keep` the one that "
    "is there, or `replace` that.",
    words("refuse", "keep", "replace"),
    "refuse",
)
ATOMIC = Parameter("atomic", "All jobs are queued, or none.", TRUTH, False)
MAX = Parameter("max", "How many jobs to take at most.", number(1, CLAIM_MAX), 1)
WAIT = Parameter(
    "wait",
    "How many seconds to wait; `limits.wait_seconds` at most.",
    SECONDS,
    0,
)
LIMIT = Parameter(
    "limit", "How many to show at most.", number(1, PAGE_MAX), PAGE_DEFAULT
)
CURSOR = Parameter("cursor", "Where to go on: `next` of the part before.", TEXT)
ORDER = Parameter("order", "Which first.", words("oldest", "newest"), "oldest")

_STATES: Schema = {"type": "array", "items": words(*STATES), "minItems": 1}
_ATTEMPTS = number(0, ATTEMPTS_MAX)

FILTER = (
    Parameter("state", "In one of these states.", _STATES, ["queued"]),
    Parameter("dead", "Dead letters, or all others.", TRUTH, False),
    Parameter("scheduled", "Whose time has not come, or all others.", TRUTH, False),
    *(
        Parameter(
            f"{what}_{side}",
            f"{says} {'at this instant or later' if side == 'after' else 'before it'}.",
            AT,
            EXAMPLE_AT,
        )
        for what, says in (
            ("created", "Queued"),
            ("updated", "Last changed"),
            ("run", "Free to run"),
            ("finished", "Ended"),
        )
        for side in ("after", "before")
    ),
    Parameter("attempts_min", "Taken at least so often.", _ATTEMPTS, 0),
    Parameter("attempts_max", "Taken at most so often.", _ATTEMPTS, 10),
    Parameter("unique_key", "With this key.", ANY, "invoice-17"),
    Parameter("fingerprint", "With this fingerprint.", ANY, "t-9"),
    Parameter("reason", "That ended for this reason.", ANY, "attempts"),
)
LISTING = (*FILTER, LIMIT, CURSOR, ORDER)

# --- in the body ------------------------------------------------------------------

# By the name of the member, which means the same in every body; where it does not,
# with the name of the body before it.
MEMBERS: dict[str, Schema] = {
    **{f"FilterBody.{each.name}": {"description": each.says} for each in FILTER},
    "content": {"description": "What is to be done: any JSON, kept as it is sent."},
    "priority": {
        "description": "Higher is sooner.",
        "minimum": PRIORITY_MIN,
        "maximum": PRIORITY_MAX,
        "default": PRIORITY_DEFAULT,
    },
    "run_at": {"description": "When it may run at the earliest; absent: now."},
    "delay_ms": {"description": "The same, from now on. One of the two at most."},
    "expires_at": {"description": "When it is too late for it to begin."},
    "valid_for_ms": {"description": "The same, from now on. One of the two at most."},
    "unique_key": {
        "description": "One live job of the queue at most has it.",
        "minLength": 1,
        "maxLength": KEY_CHARS_MAX,
    },
    "fingerprint": {
        "description": "What the job is found by together with others.",
        "minLength": 1,
        "maxLength": KEY_CHARS_MAX,
    },
    "progress": {
        "description": f"How far it is: JSON of at most {PROGRESS_BYTES_MAX} bytes.",
    },
    "result": {
        "description": f"What came of it: JSON of at most {PROGRESS_BYTES_MAX} bytes.",
    },
    "max_attempts": {
        "description": "How often it may be taken. null: without limit. Absent: as the "
        "queue has it."
    },
    "lease_ms": {"description": "How long it may go without a word of its worker."},
    "keep_ms": {"description": "How long it is kept after its end."},
    "dead_keep_ms": {"description": "The same of one that failed for good."},
    "poison_after": {
        "description": "After how many lost leases in a row it has failed for good. "
        "null: never. Absent: as the queue has it."
    },
    "backoff": {"description": "How long it waits after a run that failed."},
    "durable": {"description": "false: in memory only, gone with the daemon."},
    "queue": {"description": "A queue by its name."},
    "lease": {
        "description": "The lease as it was given with the claim. Without it the name "
        "of the caller counts."
    },
    "uid": {"description": "The job."},
    "error": {"description": "What went wrong. The first 1000 characters are kept."},
    "retry_at": {"description": "When to try again, instead of after the back-off."},
    "kind": {
        "description": "Whether trying again can help. `cancel`: nobody is to do it "
        "any more, and it is no failure."
    },
    "GroupBody.fingerprint": {
        "description": "The jobs that have it. This or unique_key.",
        "minLength": 1,
        "maxLength": KEY_CHARS_MAX,
    },
    "GroupBody.unique_key": {
        "description": "The job that has it. This or fingerprint.",
        "minLength": 1,
        "maxLength": KEY_CHARS_MAX,
    },
    "ReleaseBody.run_at": {
        "description": "When it may be taken again, instead of in its old place."
    },
    "BackoffBody.kind": {"description": "How the waits grow."},
    "base_ms": {"description": "The first wait."},
    "factor": {
        "description": "How fast they grow, where they are exponential.",
        "minimum": 1,
        "maximum": FACTOR_MAX,
    },
    "max_ms": {"description": "The longest wait."},
    "delays_ms": {
        "description": "The waits one after another; the last one from then on.",
        "maxItems": DELAYS_MAX,
    },
    "jitter": {
        "description": "What part of a wait is left to chance.",
        "minimum": 0,
        "maximum": 1,
    },
    "jobs": {"description": "The jobs that follow it."},
    "uids": {"description": "These jobs."},
    "filter": {"description": "The jobs that fit."},
    "dry_run": {"description": "Only count.", "default": False},
    "expected_count": {
        "description": "How many must fit: otherwise nothing is done, with 409."
    },
    "name": {"description": "What it is called.", **NAME},
    "read": {"description": "Services that may read.", "items": NAME},
    "write": {"description": "Services that may write.", "items": NAME},
    "access_key": {"description": "What opens it in the API of the access keys."},
    "reason": {"description": "Why, for whoever looks at the queue."},
    "cron": {
        "description": "Five fields, six with seconds first, or @daily and the like.",
        "minLength": 1,
    },
    "zone": {"description": "A time zone of the IANA.", "default": "UTC"},
    "jitter_ms": {"description": "By how much at most it fires later.", "default": 0},
    "misfire": {
        "description": "What of instants that were missed: `skip` them, or make one "
        "job for them `once`.",
        "default": "skip",
    },
}

# Members that are read by themselves, and as what; and those that are arrays of it.
INNER = {"backoff": BackoffBody, "jobs": FollowingBody, "filter": FilterBody}
INNER_MANY = frozenset({"jobs"})
