"""Schedules, as one caller at a time may change them, and as their time comes.

What a schedule is and when it fires is core/schedules.py's to say. Each change, and
each firing with the job it makes, is one transaction: no instant makes two jobs,
whenever the process ends.
"""

from collections.abc import Callable

from jobengine.core import lifecycle
from jobengine.core.access import BROWSE, MANAGE, Caller
from jobengine.core.cron import Cron
from jobengine.core.job import Job
from jobengine.core.once import Once
from jobengine.core.queues import NAME_CHARS_MAX, QueueRules
from jobengine.core.schedules import (
    SCHEDULES_MAX,
    NewSchedule,
    Schedule,
    begun,
    fired,
    firing_of,
    job_of,
    never,
    paused,
    renewed,
    resumed,
)
from jobengine.engine import Engine
from jobengine.errors import (
    InvalidSchedule,
    MemoryFull,
    QueueFull,
    Refused,
    ScheduleExists,
    ScheduleNotFound,
    StoreFull,
)
from jobengine.intake import Receipt, at_last, note, was_done
from jobengine.store.port import Store, Transaction, record_bytes


class Schedules:
    """The schedules of all queues."""

    def __init__(
        self, engine: Engine, store: Store, *, new_uid: Callable[[], str]
    ) -> None:
        self._engine = engine
        self._store = store
        self._new_uid = new_uid

    def create(
        self,
        caller: Caller,
        queue: str,
        new: NewSchedule,
        *,
        once: Once | None = None,
        receipt: Receipt | None = None,
    ) -> Schedule | None:
        """Make jobs again and again from now on; None: *once* says it was done before.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
            KeyReused: something else was asked for with the key of *once*.
            ScheduleExists: the queue has one of this name.
            InvalidSchedule: it would never make a job.
            QueueFull, MemoryFull: there are as many as there may be.
        """
        self._check(caller, queue, new)
        with self._store.transaction() as tx:
            rules = self._engine.admit(caller, queue, MANAGE)
            if was_done(tx, once):
                return None
            schedule = begun(new, queue=queue, now=tx.now)
            if tx.record(Schedule, schedule.name) is not None:
                raise ScheduleExists(
                    f"queue {queue!r} has a schedule {new.title!r}: replace it, or "
                    "give this one another name"
                )
            if tx.count_records(Schedule) >= SCHEDULES_MAX:
                raise QueueFull(f"there are {SCHEDULES_MAX} schedules: delete some")
            self._keep(tx, rules, schedule, None)
            self._engine.remember(tx, once, schedule)
        note(receipt, tx)
        return schedule

    def replace(
        self,
        caller: Caller,
        queue: str,
        title: str,
        new: NewSchedule,
        *,
        receipt: Receipt | None = None,
    ) -> Schedule:
        """Make other jobs, or at other times, from now on. Paused, it stays so.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
            ScheduleNotFound: the queue has none of this name.
            InvalidSchedule: it would never make a job, or is given another name.
            MemoryFull: there is no room for it.
        """
        self._check(caller, queue, new)
        if new.title != title:
            raise InvalidSchedule(("title", f"must be {title[:NAME_CHARS_MAX]!r}"))
        with self._store.transaction() as tx:
            rules = self._engine.admit(caller, queue, MANAGE)
            schedule = _present(tx, queue, title)
            after = renewed(schedule, new, now=tx.now)
            self._keep(tx, rules, after, schedule)
        note(receipt, tx)
        return after

    def delete(
        self,
        caller: Caller,
        queue: str,
        title: str,
        *,
        receipt: Receipt | None = None,
    ) -> None:
        """Make no more jobs; those that were made stay.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
            ScheduleNotFound: the queue has none of this name.
        """
        with self._store.transaction() as tx:
            self._engine.admit(caller, queue, MANAGE)
            tx.drop_record(_present(tx, queue, title))
        note(receipt, tx)

    def pause(
        self,
        caller: Caller,
        queue: str,
        title: str,
        *,
        receipt: Receipt | None = None,
    ) -> Schedule:
        """Make no jobs until it is resumed. What passes meanwhile is not missed.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
            ScheduleNotFound: the queue has none of this name.
        """
        return self._changed(caller, queue, title, paused, receipt)

    def resume(
        self,
        caller: Caller,
        queue: str,
        title: str,
        *,
        receipt: Receipt | None = None,
    ) -> Schedule:
        """Make jobs again, from the next instant on. One that runs goes on as it is.

        Raises:
            QueueNotFound, Forbidden: the caller may not manage the queue.
            ScheduleNotFound: the queue has none of this name.
            InvalidSchedule: it would never make another job.
        """
        return self._changed(caller, queue, title, _going_on, receipt)

    def get(self, caller: Caller, queue: str, title: str) -> Schedule:
        """The schedule as it is now.

        Raises:
            QueueNotFound, Forbidden: the caller may not browse the queue.
            ScheduleNotFound: the queue has none of this name.
        """
        with self._store.transaction() as tx:
            self._engine.admit(caller, queue, BROWSE)
            return _present(tx, queue, title)

    def all(self, caller: Caller, queue: str) -> list[Schedule]:
        """The queue's schedules, by name.

        Raises:
            QueueNotFound, Forbidden: the caller may not browse the queue.
        """
        with self._store.transaction() as tx:
            self._engine.admit(caller, queue, BROWSE)
            every = tx.records(Schedule)
        mine = (schedule for schedule in every if schedule.queue == queue)
        return sorted(mine, key=lambda schedule: schedule.title)

    def fire(self, tx: Transaction, schedule: Schedule) -> bool:
        """Do what is due; True: a job was made. Else its instant was missed, for there
        was no room for a job, or its queue is not in force.

        Raises:
            StoreFull: nothing was done, and it is still due.
        """
        firing = firing_of(schedule, now=tx.now)
        job = None
        if firing.instant is not None:
            job = self._make(tx, schedule, firing.instant)
        uid = None if job is None else job.uid
        after = fired(schedule, firing, uid, now=tx.now)
        try:
            tx.put_record(after)
        except StoreFull:
            if job is not None:
                tx.drop(job)
            raise
        return job is not None

    def _make(self, tx: Transaction, schedule: Schedule, instant: int) -> Job | None:
        rules = self._engine.rules.queues.get(schedule.queue)
        if rules is None:
            return None
        try:
            new = job_of(schedule, instant)
            assert new.unique_key is not None, "it names the instant"
            if at_last(tx, rules, tx.find(rules.name, new.unique_key)) is not None:
                return None
            self._engine.check_room(tx, rules, len(new.content))
            job = lifecycle.create(
                new,
                uid=self._new_uid(),
                queue=rules.name,
                seq=tx.next_seq(),
                now=tx.now,
            )
            tx.add(job)
        except (Refused, QueueFull, MemoryFull):
            return None
        return job

    def _check(self, caller: Caller, queue: str, new: NewSchedule) -> None:
        """Refuse what never fires: outside every transaction, for it takes as long as
        a look at each day of fifty years, and only for those who may ask for it."""
        self._engine.admit(caller, queue, MANAGE)
        if Cron(new.cron, new.zone).after(0) is None:
            raise never()

    def _keep(
        self, tx: Transaction, rules: QueueRules, after: Schedule, old: Schedule | None
    ) -> None:
        most = rules.max_job_bytes
        if most is not None and len(after.content) > most:
            wrong = f"must be at most {most} bytes: the queue takes no larger ones"
            raise InvalidSchedule(("content", wrong))
        grown = record_bytes(after) - (0 if old is None else record_bytes(old))
        if grown > 0:
            self._engine.check_memory(tx, grown)
        tx.put_record(after)

    def _changed(
        self,
        caller: Caller,
        queue: str,
        title: str,
        change: Callable[..., Schedule],
        receipt: Receipt | None,
    ) -> Schedule:
        with self._store.transaction() as tx:
            self._engine.admit(caller, queue, MANAGE)
            schedule = _present(tx, queue, title)
            after = change(schedule, now=tx.now)
            if after is not schedule:
                tx.put_record(after)
        note(receipt, tx)
        return after


def _going_on(schedule: Schedule, *, now: int) -> Schedule:
    # What it waits for may be past, and not made yet.
    return schedule if schedule.next_at is not None else resumed(schedule, now=now)


def _present(tx: Transaction, queue: str, title: str) -> Schedule:
    """Raises: ScheduleNotFound."""
    schedule = tx.record(Schedule, f"{queue}/{title}")
    if schedule is None:
        raise ScheduleNotFound(
            f"queue {queue!r} has no schedule {title[:NAME_CHARS_MAX]!r}"
        )
    return schedule
