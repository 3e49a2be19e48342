"""Every metric there is: its name, kind and labels, and what it says.

docs/reference/metrics.md has the same list for those who watch.
"""

from jobengine.core.events import Event
from jobengine.telemetry.exposition import Buckets, Family

# From a worker that was waiting to a job that waited for a day.
JOB_MS = Buckets(
    (
        *(1, 5, 25, 100, 500, 1000, 5000, 15_000, 60_000),
        *(300_000, 600_000, 1_800_000, 3_600_000, 21_600_000, 86_400_000),
    ),
    per=1000,
)
# From a hot request alone to a long poll that waited to its end.
REQUEST_S = Buckets(
    (
        *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
        *(0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 90),
    )
)
# From a disk with a battery to one that is about to fail.
COMMIT_S = Buckets(
    (
        *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
        *(0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
    )
)
# From one short row to the largest frame.
COMMIT_BYTES = Buckets(tuple(4**power for power in range(4, 13)))
COMMIT_CHANGES = Buckets((1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
# The sweeper rests a quarter of a second between sweeps: more is a backlog.
LAG_S = Buckets((0.05, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600))


def _counter(name: str, says: str, *labels: str) -> Family:
    return Family(f"jobengine_{name}_total", "counter", says, labels)


def _gauge(name: str, says: str, *labels: str) -> Family:
    return Family(f"jobengine_{name}", "gauge", says, labels)


def _histogram(name: str, says: str, *labels: str) -> Family:
    return Family(f"jobengine_{name}", "histogram", says, labels)


_HOW = ("queue", "outcome")
SETTLED = _counter("jobs_settled", "Jobs of which it was said how they went.", *_HOW)

# What is counted of jobs, and which events with which outcome are counted in it.
COUNTED: dict[Family, dict[Event, tuple[str, ...]]] = {
    _counter("jobs_enqueued", "Jobs queued.", "queue"): {Event.ENQUEUED: ()},
    _counter("jobs_claimed", "Runs begun.", "queue"): {Event.CLAIMED: ()},
    _counter("heartbeats", "Leases made longer by their holders.", "queue"): {
        Event.BEAT: ()
    },
    SETTLED: {
        Event.COMPLETED: ("complete",),
        Event.FAILED: ("failed",),
        Event.CANCELLED: ("cancelled",),
        Event.RELEASED: ("released",),
        Event.RETRIED: ("retried",),
        Event.RESCHEDULED: ("rescheduled",),
    },
    _counter("leases_lost", "Runs whose lease ran out.", *_HOW): {
        Event.LOST_RETRIED: ("retried",),
        Event.LOST_FAILED: ("failed",),
    },
    _counter("jobs_expired", "Jobs that nobody claimed in time.", "queue"): {
        Event.EXPIRED: ()
    },
    _counter("jobs_forgotten", "Finished jobs whose keep has ended.", "queue"): {
        Event.FORGOTTEN: ()
    },
    _counter("jobs_deleted", "Jobs deleted before their time.", "queue"): {
        Event.DELETED: ()
    },
    _counter("jobs_revived", "Finished jobs that were opened again.", "queue"): {
        Event.REVIVED: ()
    },
    _counter(
        "jobs_overwritten", "Jobs whose place a new one of their key took.", "queue"
    ): {Event.OVERWRITTEN: ()},
    _counter("jobs_updated", "Jobs changed in place.", "queue"): {Event.UPDATED: ()},
}

DEAD = _counter("jobs_dead", "Jobs that failed for good, by why.", "queue", "reason")
# The events with which a job may have become a dead letter.
DEATHS = frozenset({Event.FAILED, Event.LOST_FAILED})
PAUSED = _gauge("queue_paused", "1 while nothing is handed out of the queue.", "queue")
JOBS = _gauge("jobs", "Jobs there are.", "queue", "state")
OLDEST = _gauge(
    "oldest_ready_age_seconds",
    "How long the job that waits longest could have been claimed.",
    "queue",
)
WAIT = _histogram(
    "job_wait_seconds", "How long jobs could be claimed before they were.", "queue"
)
RUN = _histogram(
    "job_run_seconds", "How long jobs were held before they were settled.", "queue"
)
DENIED = _counter(
    "requests_denied",
    "Requests refused for want of a right or a proof.",
    *("queue", "service"),
)
REQUESTS = _counter("http_requests", "Requests answered.", "route", "method", "code")
REQUEST_TIME = _histogram(
    "http_request_duration_seconds",
    "How long requests took, waiting for jobs included.",
    *("route", "method"),
)
COMMIT_TIME = _histogram(
    "commit_duration_seconds", "How long commits took to be durable."
)
COMMIT_SIZE = _histogram("commit_size_bytes", "What commits wrote.")
COMMIT_ROWS = _histogram("commit_rows", "The rows that commits changed.")
LAG = _histogram("sweep_lag_seconds", "How late sweeps did what was due.")
RELOADS = _counter("config_reloads", "Configurations read anew.", "outcome")
RELOAD_OK = _gauge(
    "config_last_reload_successful", "1 while the newest configuration is in force."
)
RELOADED_AT = _gauge(
    "config_last_reload_success_timestamp_seconds",
    "When the configuration in force was loaded.",
)
BUILD = _gauge("build_info", "1, with the version of JobEngine.", "version")

# What is asked of others when somebody looks, by the name under which it is watched.
WATCHED = {
    "file_bytes": _gauge("file_bytes", "The size of the database file."),
    "connections": _gauge("connections", "Connections that clients have open."),
    "waiters": _gauge("waiters", "Requests that wait for work to come."),
    "auth_insecure": _gauge(
        "auth_insecure", "1 while X-Name alone is trusted from everywhere."
    ),
}

FAMILIES = (
    *COUNTED,
    *(DEAD, WAIT, RUN, JOBS, OLDEST, PAUSED, DENIED, REQUESTS, REQUEST_TIME),
    *(COMMIT_TIME, COMMIT_SIZE, COMMIT_ROWS, LAG),
    *(*WATCHED.values(), RELOADS, RELOAD_OK, RELOADED_AT, BUILD),
)
