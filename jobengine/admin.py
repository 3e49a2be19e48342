"""What is done to whole queues, and to many jobs at once.

Long work is done in parts, each a transaction of its own: whoever iterates can pause in
between, and what was done stays done. Asks the engine's gate who may.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from jobengine.core import lifecycle
from jobengine.core.access import (
    BROWSE,
    MANAGE,
    WRITE,
    Caller,
    administers,
    digest,
)
from jobengine.core.job import FAILED, FINISHED, Job
from jobengine.core.queues import MadeQueue, PausedQueue, QueueRules, RemovedQueue
from jobengine.engine import Engine, keep
from jobengine.errors import DuplicateJob, Forbidden, InvalidQueue
from jobengine.listing import SLICE, parts
from jobengine.store.port import Store, Transaction
from jobengine.upkeep import remove_part

# A line in a log; it stands in the record of the queue.
REASON_CHARS_MAX = 500
ACCESS_KEY_CHARS_MAX = 1024
# More services than anybody lists by hand; each list is one record of the file.
SERVICES_MAX = 1000
# Jobs that are changed in one transaction: one frame holds their rows, whatever keys,
# progress and past there are in them.
PART = 100


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
            Forbidden: it neither administers nor has the key; or config.yml has it.
        """
        with self._store.transaction() as tx:
            # Within the block: else a reload might put another of its name in force.
            rules, _ = self._engine.seen(caller, name)
            may = administers(caller, self._engine.rules) or caller.key_of == name
            if not may:
                raise Forbidden(f"{caller.name!r} may not delete queue {name!r}")
            if rules.made is None:
                raise Forbidden(f"queue {name!r} is in config.yml: take it out there")
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

    def dead(self, caller: Caller, queue: str) -> Iterator[list[Job]]:
        """The queue's dead letters in parts, some of them empty.

        Raises:
            QueueNotFound, Forbidden: the caller may not browse the queue.
        """
        rules = self._engine.admit(caller, queue, BROWSE)
        with self._store.transaction() as tx:
            jobs, now = tx.jobs(queue), tx.now
        return (_dead(part, now, rules) for part in parts(jobs))

    def replay(
        self, caller: Caller, queue: str, uids: Iterable[str] | None = None
    ) -> Iterator[int]:
        """Have all dead letters, or these, start anew: how many, part by part.

        One whose unique key another live job has by now stays where it is.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
        """

        def replay(tx: Transaction, job: Job, rules: QueueRules) -> bool:
            try:
                keep(tx, rules, lifecycle.retry(job, now=tx.now, rules=rules))
            except DuplicateJob:
                return False
            return True

        return self._in_parts(caller, queue, uids, replay)

    def purge(
        self, caller: Caller, queue: str, uids: Iterable[str] | None = None
    ) -> Iterator[int]:
        """Forget all dead letters, or these: how many, part by part.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
        """

        def purge(tx: Transaction, job: Job, _rules: QueueRules) -> bool:
            tx.drop(job)
            return True

        return self._in_parts(caller, queue, uids, purge)

    def _in_parts(
        self,
        caller: Caller,
        queue: str,
        uids: Iterable[str] | None,
        act: Callable[[Transaction, Job, QueueRules], bool],
    ) -> Iterator[int]:
        rules = self._engine.admit(caller, queue, MANAGE)
        if uids is None:
            with self._store.transaction() as tx:
                uids = [job.uid for job in _dead(tx.jobs(queue), tx.now, rules)]
        return (self._part(queue, part, rules, act) for part in parts(uids, PART))

    def _part(
        self,
        queue: str,
        uids: list[str],
        rules: QueueRules,
        act: Callable[[Transaction, Job, QueueRules], bool],
    ) -> int:
        with self._store.transaction() as tx:
            # A caller may have named one of them twice.
            named = dict.fromkeys(uids)
            there = [job for uid in named if (job := tx.get(queue, uid))]
            return sum(act(tx, job, rules) for job in _dead(there, tx.now, rules))

    def cancel_group(self, caller: Caller, queue: str, fingerprint: str) -> int:
        """Cancel all live jobs of this fingerprint, running ones too: how many.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
        """
        rules = self._engine.admit(caller, queue, WRITE)
        count, more = 0, True
        while more:
            cancelled, more = self._cancel_part(rules, fingerprint)
            count += cancelled
        return count

    def _cancel_part(self, rules: QueueRules, fingerprint: str) -> tuple[int, bool]:
        """How many were cancelled, and whether there may be more."""
        with self._store.transaction() as tx:
            group = tx.group(rules.name, fingerprint, PART)
            cancelled = 0
            for job in group:
                left = lifecycle.tick(job, now=tx.now, rules=rules)
                if left is None:
                    tx.drop(job)
                elif left.state in FINISHED:
                    keep(tx, rules, left)
                else:
                    keep(tx, rules, lifecycle.cancel(left, now=tx.now, rules=rules))
                    cancelled += 1
            if group and rules.max_inprogress is not None:
                tx.ring(rules.name)
        return cancelled, len(group) == PART


def _dead(jobs: Iterable[Job], now: int, rules: QueueRules) -> list[Job]:
    """Those that time has left as dead letters, whether or not it was noticed."""
    seen = (lifecycle.tick(job, now=now, rules=rules) for job in jobs)
    return [job for job in seen if job is not None and is_dead(job)]


def is_dead(job: Job) -> bool:
    """Whether it is a dead letter: failed for good, for a reason."""
    return job.state is FAILED and job.reason is not None
