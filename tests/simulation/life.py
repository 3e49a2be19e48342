"""What happens to a machine until its power fails, and what it must not forget.

Processes come and go: some stop, some are killed, some meet a disk that fails a sync or
has no room; some compact, some are given a new SECRET; between them somebody restores a
backup, rotates the secret or imports jobs. All of it comes from one seed.
"""

import errno
from collections.abc import Callable
from contextlib import closing
from random import Random

import msgspec
from driven import QUEUES, Process, Rows, Secrets, Stored, power, tool
from machine import Image, Machine

from jobengine.core.job import Job, Lease, State, Terms
from jobengine.core.queues import RemovedQueue
from jobengine.errors import StoreError, StoreFailed
from jobengine.store.journal import copies, placing
from jobengine.store.journal.disk import OsDisk
from jobengine.store.port import Change, Record
from jobengine.testing import SimClock

JOBS_MAX = 8


class Failure(AssertionError):
    """What must not be lost or refused was."""


class Span:
    """One process's share of a history: the rows after each of its commits."""

    def __init__(self, opened_at: int, rows: Rows) -> None:
        self.opened_at = opened_at
        self.rows = [rows]
        self.acknowledged = [(opened_at, 0)]

    def possible(self, at: int) -> list[Rows]:
        """What may be found when the power fails at this point of the log."""
        return self.rows[max(n for point, n in self.acknowledged if point <= at) :]


class History:
    """What a machine's processes did, against its log."""

    def __init__(self, machine: Machine, rows: Rows, secrets: Secrets) -> None:
        self._log = machine.log
        self._spans = [Span(0, rows)]
        self._secrets = [(0, secrets)]

    @property
    def now(self) -> Span:
        """The process that runs."""
        return self._spans[-1]

    @property
    def served(self) -> bool:
        """Whether a process has: then the file is under SECRET and no older one."""
        return len(self._spans) > 1

    def opened(self, rows: Rows) -> None:
        """A process serves, and whoever asks it now may see these rows."""
        self._spans.append(Span(len(self._log), rows))

    def staged(self, rows: Rows) -> None:
        """A commit is on its way."""
        self.now.rows.append(rows)

    def acknowledged(self) -> None:
        """All commits so far have been acknowledged."""
        self.now.acknowledged.append((len(self._log), len(self.now.rows) - 1))

    def rotated(self, secrets: Secrets) -> None:
        """From the next start on SECRET is another."""
        self._secrets.append((len(self._log), secrets))

    def possible(self, at: int) -> list[Rows]:
        """What may be found when the power fails at this point of the log."""
        span = next(span for span in reversed(self._spans) if span.opened_at <= at)
        return span.possible(at)

    def secrets(self, at: int) -> Secrets:
        """What the next start would be given then."""
        return next(pair for point, pair in reversed(self._secrets) if point <= at)


class Life:
    """A machine from its start to a power cut."""

    def __init__(self, image: Image, rows: Rows, secrets: Secrets, rng: Random) -> None:
        self.rng = rng
        self.machine = Machine(image, Random(rng.random()))
        # A cache that will not drop pages is survived by rewriting, which takes room.
        self.machine.stubborn = rng.random() < 0.5
        self.secrets = secrets
        self.fault = Fault("nothing", 1, 0)
        self.history = History(self.machine, rows, secrets)
        self.clock = SimClock()
        self._serial = 0

    def live(self) -> None:
        """Run a few processes, one after the other, and sometimes a tool."""
        for nth in range(self.rng.randint(1, 3)):
            if nth == 1 and self.history.served and self.rng.random() < 0.2:
                self.secrets = (self.rng.randbytes(9), self.secrets[0])
                self.history.rotated(self.secrets)
            self._break_something(first=nth == 0)
            try:
                if nth > 0 and self.rng.random() < 0.3:
                    self._use_a_tool()
                self._run(Process(self.machine, self.clock, self.secrets))
            except (StoreError, OSError):
                if not self.fault.happened:
                    raise
            self.machine.fault = lambda _call: None

    def _use_a_tool(self) -> None:
        act = self.rng.choice((self._rewrite, self._restore, self._import))
        tool(self.machine, self.secrets, act)

    def _rewrite(self, disk: OsDisk, secrets: placing.Secrets) -> None:
        if self.history.served:
            copies.rewrite(disk, secrets, watch=unwatched)

    def _restore(self, disk: OsDisk, secrets: placing.Secrets) -> None:
        rows: Rows = {job.uid: job for job in (self._new_job(), self._new_job())}
        backup = backup_of(rows, self.secrets)
        power(self.machine)
        self.history.staged(rows)
        copies.restore(backup, disk, secrets, watch=unwatched, keep=lambda: None)
        self.history.acknowledged()

    def _import(self, disk: OsDisk, secrets: placing.Secrets) -> None:
        possible = self.history.possible(len(self.machine.log))
        if len(possible) > 1:
            return  # only the next start will tell which of them it is
        job = msgspec.structs.replace(self._new_job(), seq=next_seq(possible[0]))
        self.history.staged(possible[0] | {job.uid: job})
        copies.add_jobs(disk, secrets, [job], watch=unwatched)
        self.history.acknowledged()

    def _break_something(self, *, first: bool) -> None:
        faults = [
            Fault("nothing", 1, 0),
            Fault("sync_folder", self.rng.randint(1, 2), errno.EIO),
            *[Fault("sync", self.rng.randint(1, 12), errno.EIO)] * 3,
        ]
        if not self.machine.stubborn:
            # First: a power cut has just been, and what it left cannot be repaired.
            faults += [Fault("create", 1, errno.ENOSPC)] * (12 if first else 2)
        self.fault = self.machine.fault = self.rng.choice(faults)

    def _run(self, process: Process) -> None:
        rows = process.rows()
        if rows not in self.history.possible(len(self.machine.log)):
            process.kill()
            raise Failure("a restart without a power cut found other rows")
        self.history.opened(rows)
        try:
            for _ in range(self.rng.randint(1, 9)):
                self._step(process)
            end = self.rng.choice((process.close, process.kill))
        except StoreFailed:
            end = process.kill
        end()

    def _step(self, process: Process) -> None:
        steps: dict[Callable[[Process], None], int] = {
            self._commit: 16,
            self._idle: 3,
            self._compact: 2,
            self._compact_late: 1,
        }
        self.rng.choices(list(steps), list(steps.values()))[0](process)

    def _commit(self, process: Process) -> None:
        # Long enough, sometimes, for a watermark to ride on the frame.
        self.clock.advance(ms=self.rng.choice((1, 60, 150)))
        process.commit(*self._stage_some())
        self.history.acknowledged()

    def _idle(self, process: Process) -> None:
        process.idle()

    def _compact(self, process: Process) -> None:
        try:
            with closing(process.compact()) as steps:
                for _ in steps:
                    if self.rng.random() < 0.3:
                        self._commit(process)
                    if self.rng.random() < 0.03:
                        return
        except OSError:
            assert self.fault.happened, "a compaction failed by itself"

    def _compact_late(self, process: Process) -> None:
        came = self._new_job()
        process.commit(self._stage((None, came)))
        went = self._changed(came)
        # What is copied has no trace of this job, whose rows are still to be written.
        process.compact_ahead_of(
            self._stage((came, went)), self._stage((went, None)), self._stage()
        )
        self.history.acknowledged()

    def _stage_some(self) -> list[list[Change]]:
        return [self._stage() for _ in range(self.rng.choice((1, 1, 1, 3)))]

    def _stage(self, *changes: Change) -> list[Change]:
        """A transaction on the newest rows, entered in the history."""
        rows = dict(self.history.now.rows[-1])
        made = []
        for change in changes or [None] * self.rng.choice((1, 1, 1, 3)):
            old, new = change or self._change(rows)
            made.append((old, new))
            rows.pop(name_of(old or new), None)
            if new is not None:
                rows[name_of(new)] = new
        self.history.staged(rows)
        return made

    def _change(self, rows: Rows) -> Change:
        jobs = [row for row in rows.values() if isinstance(row, Job)]
        records = [row for row in rows.values() if isinstance(row, RemovedQueue)]
        kind = self.rng.random()
        if kind < 0.08:
            old = self.rng.choice(records) if records else None
            if old is not None and kind < 0.04:
                return old, None
            name = old.name if old else f"gone{self._next()}"
            return old, RemovedQueue(name, self.clock.now(), None)
        if not jobs or (kind < 0.5 and len(jobs) < JOBS_MAX):
            return None, self._new_job()
        job = self.rng.choice(jobs)
        return job, None if kind > 0.85 else self._changed(job)

    def _new_job(self) -> Job:
        at = self.clock.now()
        return Job(
            uid=self.rng.randbytes(18).hex(),
            queue=self.rng.choice(QUEUES),
            seq=self._next(),
            priority=self.rng.randint(1, 100),
            state=State.QUEUED,
            content=self._content(),
            created_at=at,
            updated_at=at,
            run_at=at,
            expires_at=None,
            attempt=0,
            terms=Terms(),
        )

    def _changed(self, job: Job) -> Job:
        now = self.clock.now()
        lease = Lease(self.rng.randbytes(11).hex(), "worker", now + 9999, now)
        change: dict[str, object] = self.rng.choice(
            (
                {"state": State.INPROGRESS, "lease": lease, "attempt": job.attempt + 1},
                {"state": State.COMPLETE, "lease": None},
                {"priority": self.rng.randint(1, 100)},
                {"content": self._content()},
            )
        )
        return msgspec.structs.replace(job, updated_at=self.clock.now(), **change)

    def _content(self) -> bytes:
        size = self.rng.choice((0, 20, 300, 700, 5000))
        return b'"%b"' % self.rng.randbytes(size // 2).hex().encode()

    def _next(self) -> int:
        self._serial += 1
        return self._serial


def name_of(row: Job | Record) -> str:
    """What Rows has it under."""
    return row.uid if isinstance(row, Job) else row.name


def next_seq(rows: Rows) -> int:
    """The place of a job that comes after all of these."""
    return (
        max((row.seq for row in rows.values() if isinstance(row, Job)), default=-1) + 1
    )


def backup_of(rows: Rows, secrets: Secrets) -> Stored:
    """A file of these rows, made on another machine."""
    machine = Machine()
    process = Process(machine, SimClock(), secrets)
    process.commit([(None, row) for row in rows.values()])
    process.close()
    image = machine.cached()
    return Stored(image.files[image.names["db"]])


def unwatched(_done: int, _of: int) -> None:
    """Nobody looks on."""


class Fault:
    """Makes the *nth* call of a name fail, once."""

    def __init__(self, call: str, nth: int, fault: int) -> None:
        self._call = call
        self._left = nth
        self._fault = fault

    @property
    def happened(self) -> bool:
        return self._left <= 0

    def __call__(self, call: str) -> int | None:
        if call != self._call:
            return None
        self._left -= 1
        return self._fault if self._left == 0 else None
