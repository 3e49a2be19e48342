"""The store contract: a store is a transaction over jobs. Stores find and keep; core
decides.

    with store.transaction() as tx:      # left normally => durable
        job = tx.get(queue, uid)         # left by exception => nothing happened
        tx.put(lifecycle.complete(job, now=tx.now, rules=rules))

The laws; each is a test in tests/store/laws.py, run on every store:

1.  Left normally means durable; left by exception means it changed nothing; and no
    answer leaves before what it shows is durable, refusals included.
2.  All or nothing.
3.  A job got is yours until the block ends.
4.  `ready` gives the queue's claimable jobs in (-priority, run_at, seq) order: a
    scheduled job from the instant its run_at has passed, never a queued job past its
    expiry, whether or not the sweeper has been by.
5.  Every due job reaches somebody, never two at once.
6.  `add` refuses a uid that is live in its queue, and whatever would make two live jobs
    of a queue have one unique key is refused.
7.  `now` is one instant a transaction and never goes back.
8.  You read your own writes.
9.  Every field round-trips exactly.
10. A commit that makes something due earlier than all else sounds the alarm, and one
    that makes a job claimable rings the doorbell.
11. A job with durable=False may vanish at restart, and only then.
12. After a failed commit nothing is acknowledged again.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TypeAlias, TypeVar

from jobengine.core.job import Job, State
from jobengine.core.once import Answer
from jobengine.core.queues import MadeQueue, PausedQueue, RemovedQueue
from jobengine.core.schedules import Schedule
from jobengine.errors import StoreFailed

# A record is a small frozen Struct with a `name`, a `due_at`, the instant at which it
# was `noted_at`, and its type as its kind.
Record: TypeAlias = RemovedQueue | PausedQueue | MadeQueue | Schedule | Answer
R = TypeVar("R", bound=Record)

# What a transaction did to one row: what was there, what is there now (None: nothing).
Change: TypeAlias = tuple[Job | None, Job | None] | tuple[Record | None, Record | None]

# A frame holds 16 MiB, and one transaction goes into one frame (file-format.md).
TRANSACTION_BYTES_MAX = (16 << 20) - 1024
# More than any row can take without its body and what core.job.row_bytes counts.
ROW_BYTES_MAX = 1024


def record_bytes(record: Record) -> int:
    """What a record's row takes at most beyond ROW_BYTES_MAX."""
    if isinstance(record, Answer):
        told = sum(len(name) + len(text) + 6 for name, text in record.headers)
        return told + len(record.body)
    if isinstance(record, Schedule):
        return _schedule_bytes(record)
    if isinstance(record, MadeQueue):
        # A name is 255 plain characters at most, and says how long it is.
        return sum(len(name) + 3 for name in (*record.read, *record.write))
    return 4 * len(record.reason) if isinstance(record, PausedQueue) else 0


def _schedule_bytes(schedule: Schedule) -> int:
    texts = (schedule.cron, schedule.zone, schedule.fingerprint or "")
    backoff = schedule.terms.backoff
    delays = () if backoff is None else backoff.delays_ms
    return len(schedule.content) + 4 * sum(map(len, texts)) + 9 * len(delays) + 64


# What a job takes in memory beside its payload and what row_bytes counts: measured by
# `python -m bench restart`.
JOB_BYTES = 640
# The same of a record, beside what record_bytes counts.
RECORD_BYTES = 800


class Clock(Protocol):
    """The time, told to the house by whoever runs it."""

    def now(self) -> int:
        """Milliseconds since the epoch; never goes back."""

    def monotonic(self) -> float:
        """Seconds of a clock that only runs."""

    def start_from(self, newest: int) -> None:
        """Go on from *newest* where the clock would be behind it."""


class Ticket(Protocol):
    """A place in the group that will be durable next."""

    @property
    def commit(self) -> tuple[int, int] | None:
        """Its commit (epoch, seq), once it is durable."""

    def wait(self) -> tuple[int, int] | None:
        """Return when it is: its commit (epoch, seq), where there is a journal.

        Raises:
            StoreFailed: it never will be.
        """


class Transaction(Protocol):
    """Reads and writes that happen together, at one instant."""

    now: int
    ticket: Ticket | None  # for what its answer must wait for, once left

    def get(self, queue: str, uid: str) -> Job | None: ...
    def find(self, queue: str, key: str) -> Job | None:
        """The live job of this unique key."""

    def group(self, queue: str, fingerprint: str, limit: int) -> list[Job]:
        """Up to *limit* live jobs of this fingerprint."""

    def next_seq(self) -> int: ...

    def add(self, job: Job) -> None:
        """Raises: DuplicateJob, TransactionTooLarge."""

    def put(self, *jobs: Job) -> None: ...
    def drop(self, *jobs: Job) -> None: ...
    def bury(self, job: Job) -> None:
        """Tell what became of a job got in this block, and keep nothing of it."""

    def ring(self, queue: str) -> None:
        """Say that the queue may have work: more of it may be taken than before."""

    def ready(self, queue: str, limit: int) -> list[Job]: ...
    def oldest_ready(self, queue: str) -> Job | None:
        """The claimable job that has been so for longest, whatever its priority."""

    def due(self, limit: int) -> list[Job | Record]: ...

    def jobs(self, queue: str, limit: int | None = None) -> list[Job]:
        """The queue's jobs, all or *limit* of them, nearly in the order of creation.

        A shallow copy: rows are frozen, so it stays what it was.
        """

    def counts(self, queue: str) -> dict[State, int]: ...
    def dead(self, queue: str) -> int:
        """How many of the queue's jobs are dead letters."""

    def scheduled(self, queue: str) -> int:
        """How many of the queue's queued jobs have a run_at still to come."""

    def live(self, queue: str) -> int:
        """How many of the queue's jobs are queued or in progress."""

    def content_bytes(self, queue: str) -> int:
        """Of all payloads in the queue."""

    def memory_bytes(self) -> int:
        """What all jobs and records take in memory, about."""

    def queues(self) -> list[str]: ...
    def record(self, kind: type[R], name: str) -> R | None: ...
    def put_record(self, record: Record) -> None: ...
    def drop_record(self, record: Record) -> None: ...
    def records(self, kind: type[R]) -> list[R]: ...
    def count_records(self, kind: type[Record]) -> int: ...

    def __enter__(self) -> "Transaction": ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Store(Protocol):
    """Keeps jobs and records, and says no once it can keep no more."""

    @property
    def failure(self) -> StoreFailed | None: ...

    def transaction(self) -> Transaction:
        """Raises: StoreFailed on entry, once a commit has failed."""

    def next_due(self) -> int | None:
        """No later than the next instant at which time changes something."""

    def set_alarm(self, alarm: Callable[[], None]) -> None:
        """Call *alarm* when `next_due` has become earlier. It must not wait: within a
        turn the lock is held."""

    def set_bell(self, bell: Callable[[str], None]) -> None:
        """Call *bell* with a queue that has got work. It must not wait either."""

    def set_witness(self, witness: "Witness") -> None:
        """Have *witness* see what every block changes, under the lock."""

    def listen(self, listener: "Listener") -> None:
        """Have *listener* told of every commit, once it is durable."""

    def take_turns(self, wake: Callable[[], None]) -> "Committer":
        """Let the calling thread, an event loop's, commit by turns.

        From now on its transactions do not wait when they are left: no answer may leave
        before the `commit` that ends the turn. Those of other threads wait for it, and
        *wake* tells, from any thread, that there is something to commit.
        """

    def close(self) -> None: ...


class Witness(Protocol):
    """Sees what becomes of jobs, in the block that does it."""

    @property
    def watched(self) -> bool:
        """Whether any job is: else there is nothing to see."""

    def heed(self, changes: list[Change]) -> list[str]:
        """See these; the lines to ring. It must not wait: the lock is held."""


class Listener(Protocol):
    """Overhears commits. Called outside every lock, by whoever commits."""

    def __call__(
        self, changes: list[Change], now: int, size: int, seconds: float
    ) -> None:
        """*changes* were committed by the instant *now*, in a frame of *size* bytes
        that took *seconds*."""


class Committer(Protocol):
    """What ends the turns of an event loop. For its thread alone."""

    @property
    def frames(self) -> int:
        """How many frames it has committed."""

    @property
    def behind(self) -> bool:
        """Whether something that was staged waits for room on the disk: no answer may
        leave, until `commit` has been called again and this is over."""

    def commit(self) -> float | None:
        """Make durable all that is staged; the seconds after which to `tend`, if any.

        A failure is not raised: the store has it, as `failure`.
        """

    def tend(self) -> None:
        """Nothing has been committed for a while: see to what waits for that."""


class Journal(Committer, Protocol):
    """Where a memory store's changes are made durable."""

    end: int  # of the file, in bytes
    create_room: int  # the bytes of changes that are admitted, whatever they do

    @property
    def failure(self) -> StoreFailed | None: ...

    def admit(self, size: int, *, create: bool) -> None:
        """Raises: StoreFull, when *size* bytes of changes cannot be taken."""

    def stage(self, changes: list[Change], size: int) -> Ticket | None:
        """Take the changes into the open group. Called under the store's lock."""

    def pending(self) -> Ticket | None:
        """A ticket for all that is staged so far; None when it is durable already."""

    def take_over(self, wake: Callable[[], None]) -> None: ...
    def listen(self, listener: Callable[[list[Change], int, float], None]) -> None: ...
    def close(self) -> None: ...
