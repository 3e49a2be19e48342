"""What a job is, and what makes a new one valid. Knows no wire and no store."""

from enum import IntEnum

from msgspec import Struct

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
    """What was agreed when the job was queued; None means the queue's own rule.

    Jobs that agree share one object: at a million jobs that is real memory.
    """

    max_attempts: int | None = None  # None: no limit
    lease_ms: int | None = None
    keep_ms: int | None = None


class Lease(Struct, frozen=True, gc=False):
    """The right to report on a job: a token, who holds it, until when and since when.

    A heartbeat moves `until` (ms) and leaves `since` (ms), when the run began.
    """

    token: str
    holder: str
    until: int
    since: int


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


class NewJob(Struct, frozen=True):
    """What a caller asks to have queued.

    Raises:
        InvalidJob: naming every field that is out of range.
    """

    content: bytes
    priority: int = PRIORITY_DEFAULT
    valid_for_ms: int | None = None  # None: never expires
    terms: Terms = Terms()

    def __post_init__(self) -> None:
        faults = [*priority_faults(self.priority)]
        if self.valid_for_ms is not None and not 0 < self.valid_for_ms <= INSTANT_MAX:
            faults.append(
                ("valid_for", "must be a positive time before the year 10000")
            )
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

    def __post_init__(self) -> None:
        faults = []
        if self.priority is not None:
            faults += priority_faults(self.priority)
        if self.expires_at is not None and not 0 < self.expires_at <= INSTANT_MAX:
            faults.append(("timeout_time", "must be an instant before the year 10000"))
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
        )


def priority_faults(priority: int) -> list[tuple[str, str]]:
    """What is wrong with *priority*: nothing, or one fault."""
    if PRIORITY_MIN <= priority <= PRIORITY_MAX:
        return []
    return [("priority", f"must be from {PRIORITY_MIN} to {PRIORITY_MAX}")]
