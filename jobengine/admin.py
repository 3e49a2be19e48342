"""What is done to whole queues, and to many jobs at once.

Long work is done in parts, each a transaction of its own: whoever iterates can pause in
between, and what was done stays done. Asks the engine's gate who may.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from jobengine.core import lifecycle
from jobengine.core.access import (
    MANAGE,
    WRITE,
    Caller,
    administers,
    digest,
)
from jobengine.core.job import FINISHED, Job, key_faults
from jobengine.core.queues import MadeQueue, PausedQueue, QueueRules, RemovedQueue
from jobengine.core.where import Where
from jobengine.engine import Engine, keep, ring_for
from jobengine.errors import (
    CountDiffers,
    DuplicateJob,
    Forbidden,
    InvalidJob,
    InvalidQueue,
    QueueConfigured,
)
from jobengine.listing import SLICE, matching
from jobengine.store.port import Store, Transaction
from jobengine.upkeep import remove_part

# A line in a log; it stands in the record of the queue.
REASON_CHARS_MAX = 500
ACCESS_KEY_CHARS_MAX = 1024
# More services than anybody lists by hand; each list is one record of the file.
SERVICES_MAX = 1000
# Jobs that are changed in one transaction: one frame holds their rows, whatever keys,
# progress and past there are in them, and those of as many jobs whose end nobody has
# noticed and whose unique keys they take.
PART = 50


class Progress(Struct, frozen=True):
    """How many jobs are meant, how many were come to, and how many of them changed."""

    matched: int
    done: int
    changed: int


class Act(Enum):
    """What can be done to many jobs at once."""

    RETRY = "retry"
    CANCEL = "cancel"
    DELETE = "delete"

    def fits(self, job: Job) -> bool:
        """Whether it can be done to the job as it is."""
        verb = _VERBS.get(self)
        return verb is None or (job.state, verb) in lifecycle.BECOMES

    def do(self, tx: Transaction, job: Job, rules: QueueRules) -> bool:
        """Do it; False where the job stays as it is."""
        try:
            if self is Act.RETRY:
                keep(tx, rules, lifecycle.retry(job, now=tx.now, rules=rules))
            elif self is Act.CANCEL:
                keep(tx, rules, lifecycle.cancel(job, now=tx.now, rules=rules))
            else:
                ring_for(tx, rules, job.uid)
                tx.drop(job)
        except DuplicateJob:
            return False
        return True


_VERBS = {Act.RETRY: lifecycle.Verb.RETRY, Act.CANCEL: lifecycle.Verb.CANCEL}


class Admin:
    """The queues themselves, as one caller at a time may change them."""

    def __init__(
        self, engine: Engine, store: Store, *, new_uid: Callable[[], str]
    ) -> None:
        self._engine = engine
        self._store = store
        self._new_uid = new_uid

    def create_queue(
        self,
        caller: Caller,
        name: str,
        *,
        read: Iterable[str] = (),
        write: Iterable[str] = (),
        access_key: str | None = None,
    ) -> None:
        """Make a queue that is not in the configuration (D16).

        Raises:
            Forbidden: the caller neither administers nor may make queues.
            InvalidQueue: it cannot be called so, or its lists or key make no sense.
            QueueExists: there is one, or jobs of one that was removed are kept.
        """
        rules = self._engine.rules
        dynamic = rules.dynamic is not None and caller.name in rules.dynamic.write
        if not (dynamic or administers(caller, rules)):
            raise Forbidden(
                f"{caller.name!r} may not make queues: list it under admins:, or under "
                "dynamic_queues: write:, in config.yml"
            )
        lists = tuple(sorted(set(read))), tuple(sorted(set(write)))
        if max(map(len, lists)) > SERVICES_MAX:
            raise InvalidQueue(f"a list has more than {SERVICES_MAX} services")
        lock = (None, None) if access_key is None else self._lock(access_key)
        with self._store.transaction() as tx:
            made = MadeQueue(name, tx.now, *lists, *lock)
            self._engine.use([self._engine.make(tx, made)])

    def _lock(self, access_key: str) -> tuple[str, bytes]:
        if not 0 < len(access_key) <= ACCESS_KEY_CHARS_MAX:
            raise InvalidQueue(
                f"an access key must be 1 to {ACCESS_KEY_CHARS_MAX} characters"
            )
        salt = self._new_uid()
        return salt, digest(access_key, salt)

    def delete_queue(self, caller: Caller, name: str) -> None:
        """Forget a queue that a caller made, and all its jobs.

        Raises:
            QueueNotFound: there is no such queue, or none it may know of.
            Forbidden: it neither administers nor has the key.
            QueueConfigured: config.yml has it.
        """
        with self._store.transaction() as tx:
            # Within the block: else a reload might put another of its name in force.
            rules, _ = self._engine.seen(caller, name)
            may = administers(caller, self._engine.rules) or caller.key_of == name
            if not may:
                raise Forbidden(f"{caller.name!r} may not delete queue {name!r}")
            if rules.made is None:
                raise QueueConfigured(
                    f"queue {name!r} is in config.yml: take it out there"
                )
            for record in (rules.made, tx.record(PausedQueue, name)):
                if record is not None:
                    tx.drop_record(record)
            # So that a start goes on with it, where the process ends half way.
            tx.put_record(RemovedQueue(name, tx.now, tx.now))
            self._engine.use((), without=name)
        while self._remove_part(name):
            pass

    def _remove_part(self, name: str) -> bool:
        with self._store.transaction() as tx:
            record = tx.record(RemovedQueue, name)
            return record is not None and remove_part(tx, record, SLICE) == SLICE

    def pause(self, caller: Caller, queue: str, reason: str) -> None:
        """Hand out no jobs of the queue, until it is resumed.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
            InvalidQueue: the reason is too long.
        """
        if len(reason) > REASON_CHARS_MAX:
            raise InvalidQueue(
                f"the reason must be at most {REASON_CHARS_MAX} characters"
            )
        with self._store.transaction() as tx:
            rules = self._engine.admit(caller, queue, MANAGE)
            tx.put_record(PausedQueue(queue, tx.now, reason))
            self._engine.use([replace(rules, paused=reason)])

    def resume(self, caller: Caller, queue: str) -> None:
        """Hand out jobs of the queue again.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
        """
        with self._store.transaction() as tx:
            rules = self._engine.admit(caller, queue, MANAGE)
            paused = tx.record(PausedQueue, queue)
            if paused is not None:
                tx.drop_record(paused)
                tx.ring(queue)
                self._engine.use([replace(rules, paused=None)])

    def bulk(
        self,
        caller: Caller,
        queue: str,
        act: Act,
        where: Where,
        *,
        dry_run: bool = False,
        expected: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Progress]:
        """Do the same to all jobs that are meant, part by part; the last told is all.

        Those to which it cannot be done, as a retry of a job that runs, are not meant;
        one whose unique key another live job has by now stays where it is. Changes
        *limit* at most, the first created first.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
            CountDiffers: others than *expected* are meant; nothing was done.
        """
        with self._store.transaction() as tx:
            rules = self._engine.admit(caller, queue, MANAGE)
            jobs, now = tx.jobs(queue), tx.now
        found = matching(jobs, where, now=now, rules=rules)
        return self._bulk(rules, act, where, found, dry_run, expected, limit)

    def _bulk(
        self,
        rules: QueueRules,
        act: Act,
        where: Where,
        found: Iterator[list[Job]],
        dry_run: bool,
        expected: int | None,
        limit: int | None,
    ) -> Iterator[Progress]:
        meant: list[str] = []
        for part in found:
            meant += [job.uid for job in part if act.fits(job)]
            yield Progress(len(meant), 0, 0)
        if expected is not None and expected != len(meant):
            raise CountDiffers(
                f"{len(meant)} jobs are meant, not the {expected} expected: "
                "nothing was done"
            )
        done = changed = 0
        # Those that stay as they are count for nothing: else whoever asks again, for
        # what remains, would meet the same ones first.
        most = 0 if dry_run else len(meant) if limit is None else limit
        while done < len(meant) and changed < most:
            uids = meant[done : done + min(PART, most - changed)]
            done += len(uids)
            changed += self._part(rules.name, uids, act, where)
            yield Progress(len(meant), done, changed)
        yield Progress(len(meant), done, changed)

    def _part(self, queue: str, uids: list[str], act: Act, where: Where) -> int:
        with self._store.transaction() as tx:
            # By the rules of now: a queue that is gone has no jobs that are meant.
            rules = self._engine.rules.queues.get(queue)
            if rules is None:
                return 0
            there = [job for uid in uids if (job := tx.get(queue, uid))]
            seen = (lifecycle.tick(job, now=tx.now, rules=rules) for job in there)
            return sum(
                act.do(tx, job, rules)
                for job in seen
                if job is not None and act.fits(job) and where.meets(job, tx.now)
            )

    def cancel_group(
        self, caller: Caller, queue: str, fingerprint: str
    ) -> Iterator[int]:
        """Cancel all live jobs of this fingerprint, running ones too: how many, part by
        part.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
            InvalidJob: no job can have this fingerprint.
        """
        rules = self._engine.admit(caller, queue, WRITE)
        if faults := key_faults("fingerprint", fingerprint):
            raise InvalidJob(*faults)
        return self._cancel_parts(rules, fingerprint)

    def cancel_key(self, caller: Caller, queue: str, unique_key: str) -> int:
        """Cancel the live job of this unique key, a running one too: 1, or 0 where
        there is none.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
            InvalidJob: no job can have this key.
        """
        with self._store.transaction() as tx:
            rules = self._engine.admit(caller, queue, WRITE)
            if faults := key_faults("unique_key", unique_key):
                raise InvalidJob(*faults)
            job = tx.find(queue, unique_key)
            return 0 if job is None else _cancel(tx, rules, job)

    def _cancel_parts(self, rules: QueueRules, fingerprint: str) -> Iterator[int]:
        more = True
        while more:
            cancelled, more = self._cancel_part(rules, fingerprint)
            yield cancelled

    def _cancel_part(self, rules: QueueRules, fingerprint: str) -> tuple[int, bool]:
        """How many were cancelled, and whether there may be more."""
        with self._store.transaction() as tx:
            group = tx.group(rules.name, fingerprint, PART)
            cancelled = sum(_cancel(tx, rules, job) for job in group)
            if group and rules.max_inprogress is not None:
                tx.ring(rules.name)
        return cancelled, len(group) == PART


def _cancel(tx: Transaction, rules: QueueRules, job: Job) -> int:
    """Cancel a live job, where time has not ended it already: 1, or 0."""
    left = lifecycle.tick(job, now=tx.now, rules=rules)
    if left is None:
        tx.drop(job)
        return 0
    if left.state in FINISHED:
        keep(tx, rules, left)
        return 0
    keep(tx, rules, lifecycle.cancel(left, now=tx.now, rules=rules))
    return 1
