"""What a job is, and what makes a new one valid. Knows no wire and no store."""

import re
from enum import IntEnum

from msgspec import Struct

from jobengine.core.backoff import Backoff
from jobengine.core.past import Past
from jobengine.errors import InvalidJob

PRIORITY_MIN, PRIORITY_MAX, PRIORITY_DEFAULT = 1, 100, 50

# The last millisecond of the year 9999: what RFC 3339 and every client can still say.
INSTANT_MAX = 253_402_300_799_999


class State(IntEnum):
    """Where a job stands. The numbers are those of the file: never reuse one."""

    QUEUED = 0
    INPROGRESS = 1
    COMPLETE = 2
    FAILED = 3
    CANCELLED = 4


# By name: a member looked up in its class costs more than most rules that ask for one.
QUEUED, INPROGRESS, COMPLETE, FAILED, CANCELLED = State

FINISHED = (COMPLETE, FAILED, CANCELLED)


class Terms(Struct, frozen=True, gc=False):
    """What was agreed when the job was queued. Times are milliseconds.

    None means the queue's own rule, but for `max_attempts` and `poison_after`, where
    it means never, and for `dead_keep_ms`, where it means as long as any finished job:
    there the queue's own rule is OWN. Jobs that agree share one object: at a million
    jobs that is real memory.

    Raises:
        InvalidJob: naming every field that is out of range.
    """

    max_attempts: int | None = None
    lease_ms: int | None = None
    keep_ms: int | None = None
    backoff: Backoff | None = None
    poison_after: int | None = None  # lost leases in a row
    dead_keep_ms: int | None = None  # of a job that failed for good
    durable: bool = True  # False: in memory only, gone with the process

    def __post_init__(self) -> None:
        faults = [
            (name, wrong)
            for name, least, most, wrong in _TERMS
            if (value := getattr(self, name)) is not None
            and not least <= value <= most
            and not (value == OWN and name in _LEFT_TO_QUEUE)
        ]
        if faults:
            raise InvalidJob(*faults)


# In terms: what the queue says, today and after every reload.
OWN = -1

# As many as relay can ask for, and one.
ATTEMPTS_MAX = 1 << 31

# What says OWN for that; the other times say None.
_LEFT_TO_QUEUE = ("max_attempts", "poison_after", "dead_keep_ms")

_TIME = "must be a time of at most ten thousand years"
_COUNT = f"must be from 1 to {ATTEMPTS_MAX}"
_TERMS = (
    ("max_attempts", 1, ATTEMPTS_MAX, _COUNT),
    ("poison_after", 1, ATTEMPTS_MAX, _COUNT),
    ("lease_ms", 0, INSTANT_MAX, _TIME),
    ("keep_ms", 0, INSTANT_MAX, _TIME),
    ("dead_keep_ms", 0, INSTANT_MAX, _TIME),
)


class Lease(Struct, frozen=True, gc=False):
    """The right to report on a job: a token, who holds it, until when and since when.

    A heartbeat moves `until` (ms) and leaves `since` (ms), when the run began.
    """

    token: str
    holder: str
    until: int
    since: int


class Keys(Struct, frozen=True, gc=False):
    """What its maker calls the job: see NewJob."""

    unique: str | None = None
    fingerprint: str | None = None
    trace: str | None = None


class Job(Struct, frozen=True, gc=False):
    """One job, as it stands at one instant. Instants are milliseconds of the epoch.

    `content` is the payload: JSON bytes exactly as they were sent. `seq` is its place
    in the order of creation and never changes.
    """

    uid: str
    queue: str
    seq: int
    priority: int
    state: State
    content: bytes
    created_at: int
    updated_at: int
    run_at: int
    expires_at: int | None
    attempt: int
    terms: Terms
    lease: Lease | None = None
    finished_at: int | None = None
    keep_until: int | None = None
    reason: str | None = None
    keys: Keys | None = None
    progress: bytes | None = None  # JSON, as its worker last told it
    past: Past | None = None
    result: bytes | None = None  # JSON, as its worker told it with the completion

    @property
    def error(self) -> str | None:
        """What the last run that went wrong had to say."""
        return self.past.runs[-1].error if self.past and self.past.runs else None


class NewJob(Struct, frozen=True):
    """What a caller asks to have queued.

    Of live jobs in a queue one at most has a `unique_key`. Jobs with a `fingerprint`
    can be cancelled together. It waits for `run_at`, or for `delay_ms`. `trace` is the
    W3C's traceparent of whoever asks.

    Raises:
        InvalidJob: naming every field that is out of range.
    """

    content: bytes
    priority: int = PRIORITY_DEFAULT
    valid_for_ms: int | None = None  # None: never expires
    terms: Terms = Terms()
    expires_at: int | None = None  # the same, as an instant
    run_at: int | None = None  # None: now
    delay_ms: int | None = None
    unique_key: str | None = None
    fingerprint: str | None = None
    progress: bytes | None = None
    trace: str | None = None

    def __post_init__(self) -> None:
        faults = priority_faults(self.priority)
        if self.valid_for_ms is not None and not 0 < self.valid_for_ms <= INSTANT_MAX:
            faults.append(
                ("valid_for", "must be a positive time before the year 10000")
            )
        # Asked one by one: a call costs more than all the rest of most jobs.
        if self.expires_at is not None:
            faults += instant_faults("expires_at", self.expires_at)
        if self.run_at is not None:
            faults += instant_faults("run_at", self.run_at)
        if self.delay_ms is not None:
            faults += instant_faults("delay_ms", self.delay_ms)
        if self.unique_key is not None:
            faults += key_faults("unique_key", self.unique_key)
        if self.fingerprint is not None:
            faults += key_faults("fingerprint", self.fingerprint)
        if self.progress is not None:
            faults += progress_faults(self.progress)
        if self.trace is not None:
            faults += key_faults("trace", self.trace, TRACE_CHARS_MAX)
        if faults:
            raise InvalidJob(*faults)

    @property
    def keys(self) -> Keys | None:
        """What it is called; None where it is not called anything."""
        called = (self.unique_key, self.fingerprint, self.trace)
        return None if called == (None, None, None) else Keys(*called)

    def times(self, now: int) -> tuple[int, int | None]:
        """When a job that is made now may run, and when it expires.

        Raises:
            InvalidJob: it would begin or expire after the year 9999.
        """
        # The same object where it may run now: a number takes 32 bytes, of each job.
        run_at = now if self.run_at is None else self.run_at
        if self.run_at is None and self.delay_ms:
            run_at = now + self.delay_ms
        expires_at = self.expires_at
        if self.valid_for_ms is not None:
            expires_at = now + self.valid_for_ms
        if run_at > INSTANT_MAX:
            raise InvalidJob(("delay", "must end before the year 10000"))
        if expires_at is not None and expires_at > INSTANT_MAX:
            raise InvalidJob(("valid_for", "must end before the year 10000"))
        return run_at, expires_at


class Renewal(Struct, frozen=True):
    """How the holder of a job wants it to be run again.

    With `terms` it is as good as new: `progress` is what is given here, attempts are
    counted anew. Without, the run just does not count.

    Raises:
        InvalidJob: naming every field that is out of range.
    """

    run_at: int | None = None  # None: now
    content: bytes | None = None
    terms: Terms | None = None
    progress: bytes | None = None

    def __post_init__(self) -> None:
        faults = instant_faults("run_at", self.run_at) + progress_faults(self.progress)
        if faults:
            raise InvalidJob(*faults)


class Change(Struct, frozen=True):
    """What a caller asks to have changed on a job; None leaves a field as it is.

    Raises:
        InvalidJob: naming every field that is out of range.
    """

    state: State | None = None
    priority: int | None = None
    content: bytes | None = None
    expires_at: int | None = None
    run_at: int | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.priority is not None:
            faults += priority_faults(self.priority)
        if self.expires_at is not None and not 0 < self.expires_at <= INSTANT_MAX:
            faults.append(("timeout_time", "must be an instant before the year 10000"))
        faults += instant_faults("run_at", self.run_at)
        if faults:
            raise InvalidJob(*faults)

    @property
    def state_alone(self) -> bool:
        """Whether it sets the state and nothing else: how a worker reports."""
        return (
            self.state is not None
            and self.priority is None
            and self.content is None
            and self.expires_at is None
            and self.run_at is None
        )


def row_bytes(job: Job) -> int:
    """What a row of the job takes at most beyond its fixed fields and its payload."""
    size = len(job.queue) + rare_bytes(job)
    return size if job.lease is None else size + len(job.lease.holder)


def rare_bytes(job: Job) -> int:
    """The same of what most jobs lack: back-off, keys, progress, past and result."""
    backoff, keys, past = job.terms.backoff, job.keys, job.past
    # One or the other, if any: a completed job has no progress.
    told = job.result if job.progress is None else job.progress
    if backoff is None and keys is None and past is None and told is None:
        return 0
    size = RARE_BYTES
    if told is not None:
        size += len(told)
    if backoff is not None:
        size += _DELAY_BYTES * len(backoff.delays_ms)
    if keys is not None:
        if keys.unique is not None:
            size += _text_bytes(keys.unique)
        if keys.fingerprint is not None:
            size += _text_bytes(keys.fingerprint)
        if keys.trace is not None:
            size += _text_bytes(keys.trace)
    if past is not None:
        size += sum(RUN_BYTES + _text_bytes(run.error or "") for run in past.runs)
    return size


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


# The fields of all these as they stand in a row, but for what is counted apart: a
# remembered run without its error, and a delay of a list.
RARE_BYTES = 96
RUN_BYTES = 48
_DELAY_BYTES = 9


def priority_faults(priority: int) -> list[tuple[str, str]]:
    """What is wrong with *priority*: nothing, or one fault."""
    if PRIORITY_MIN <= priority <= PRIORITY_MAX:
        return []
    return [("priority", f"must be from {PRIORITY_MIN} to {PRIORITY_MAX}")]


def instant_faults(name: str, value: int | None) -> list[tuple[str, str]]:
    """What is wrong with an instant, or a time, in milliseconds."""
    if value is None or 0 <= value <= INSTANT_MAX:
        return []
    return [(name, "must be from 1970 to before the year 10000")]


# Names and addresses fit, whole documents do not: it stands in every row of its job.
KEY_CHARS_MAX = 1024
# A traceparent of version 00 has 55; later ones may say more.
TRACE_CHARS_MAX = 256

# What would break a line of a log, or a table.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

# A place to go on from, not the work itself: it stands in every row of its job.
PROGRESS_BYTES_MAX = 64 << 10


def key_faults(
    name: str, value: str, most: int = KEY_CHARS_MAX
) -> list[tuple[str, str]]:
    """What is wrong with what a maker calls its job."""
    if not 0 < len(value) <= most:
        return [(name, f"must be 1 to {most} characters")]
    if _CONTROL.search(value):
        return [(name, "must be without control characters")]
    try:
        value.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair: the file could not hold it.
        return [(name, "must be text that UTF-8 can hold")]
    return []


def progress_faults(
    progress: bytes | None, name: str = "progress"
) -> list[tuple[str, str]]:
    """What is wrong with what a worker says of how far it has come, or came."""
    if progress is None or len(progress) <= PROGRESS_BYTES_MAX:
        return []
    return [(name, f"must be JSON of at most {PROGRESS_BYTES_MAX} bytes")]
