"""What the house does by itself: what time changes, and a new configuration.

No thread and no clock: daemon/sweeper.py says when.
"""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from jobengine.core import lifecycle
from jobengine.core.job import FAILED, INPROGRESS, Job, State
from jobengine.core.once import Answer
from jobengine.core.queues import (
    MadeQueue,
    PausedQueue,
    QueueRules,
    RemovedQueue,
    Rulebook,
    in_force,
)
from jobengine.core.schedules import Schedule
from jobengine.errors import StoreFull
from jobengine.store.port import Record, Store, Transaction

if TYPE_CHECKING:
    from jobengine.engine import Engine

# How many rows became what: (queue, "expired" | "lost" | "forgotten" | "removed"), and
# of its schedules "fired" | "missed"; ("", "unremembered") are answers of no queue.
Swept = Counter[tuple[str, str]]
_OUTCOMES = {State.QUEUED: "expired", State.INPROGRESS: "lost"}

# Schedules that fire in one transaction: to find out when one fires again takes ten
# times as long as any other row, and the store is held meanwhile.
FIRINGS_MAX = 20

# What is done about a due schedule: True when it made a job. Raises StoreFull.
Fire = Callable[[Transaction, Schedule], bool]


class Upkeep:
    """The chores of one house. *fire* is what becomes of a schedule that is due."""

    def __init__(self, engine: "Engine", store: Store, *, fire: Fire) -> None:
        self._engine = engine
        self._store = store
        self._fire = fire

    def sweep(self, limit: int = 500) -> Swept:
        """Do up to *limit* rows of what time has brought; empty when nothing is due."""
        with self._store.transaction() as tx:
            return sweep_in(tx, self._engine.rules, limit, self._fire)

    def next_due(self) -> int | None:
        """No later than the next instant at which there is something to sweep."""
        return self._store.next_due()

    def reconfigure(self, rules: Rulebook) -> None:
        """Put *rules* in force; jobs of queues that left wait hidden for them (D27)."""
        with self._store.transaction() as tx:
            rules = in_force(rules, tx.records(MadeQueue), tx.records(PausedQueue))
            here = set(rules.queues)
            known = {record.name: record for record in tx.records(RemovedQueue)}
            for name in known.keys() & here:
                tx.drop_record(known[name])
            scheduled = {schedule.queue for schedule in tx.records(Schedule)}
            for name in (set(tx.queues()) | scheduled | known.keys()) - here:
                removed_at = known[name].removed_at if name in known else tx.now
                record = _removed(name, removed_at, rules)
                # What is being deleted stays so, whatever rule is new.
                if known.get(name) != record and not _is_due(known.get(name), tx.now):
                    tx.put_record(record)
            for name in here:
                # There may be more to take of it now than those who wait have seen.
                if rules.queues[name] != self._engine.rules.queues.get(name):
                    tx.ring(name)
            # Within the block: a job admitted under the old rules must not slip in
            # after the queues that leave were counted.
            self._engine.rules = rules


def may_be_more(swept: Swept, limit: int) -> bool:
    """Whether a sweep of *limit* rows has left some that are due."""
    firings = sum(swept[key] for key in swept if key[1] in ("fired", "missed"))
    return firings >= FIRINGS_MAX or swept.total() >= limit


def sweep_in(
    tx: Transaction, rules: Rulebook, limit: int, fire: Fire | None = None
) -> Swept:
    """Do up to *limit* rows of what time has brought, within a transaction.

    Without *fire* schedules are left alone: what they make is claimable a moment later.
    """
    swept: Swept = Counter()
    due = tx.due(limit)
    if fire is not None and not _fire_some(tx, due, fire, swept):
        # They stay due. What is behind them may make room.
        due = tx.due(limit + tx.count_records(Schedule))
    removed: list[RemovedQueue] = []
    for entry in due:
        if swept.total() == limit:
            break
        if isinstance(entry, Job):
            queue = rules.queues.get(entry.queue) or QueueRules(entry.queue)
            let_pass(tx, entry, queue)
            swept[entry.queue, _OUTCOMES.get(entry.state, "forgotten")] += 1
        elif isinstance(entry, Answer):
            tx.drop_record(entry)
            swept["", "unremembered"] += 1
        elif isinstance(entry, RemovedQueue):
            removed.append(entry)
    for record in removed:
        room = limit - swept.total()
        if not room:
            break
        if count := remove_part(tx, record, room):
            swept[record.name, "removed"] += count
    return swept


def _fire_some(
    tx: Transaction, due: list[Job | Record], fire: Fire, swept: Swept
) -> bool:
    """Fire the first schedules that are due; False when the disk has no room for it."""
    schedules = [entry for entry in due if isinstance(entry, Schedule)]
    try:
        for schedule in schedules[:FIRINGS_MAX]:
            made = fire(tx, schedule)
            swept[schedule.queue, "fired" if made else "missed"] += 1
    except StoreFull:
        return False
    return True


def let_pass(tx: Transaction, job: Job, rules: QueueRules) -> Job | None:
    """Keep what time has made of the job by now: itself, another row, or nothing."""
    after = lifecycle.tick(job, now=tx.now, rules=rules)
    if after is job:
        return job
    if after is None and job.state is INPROGRESS:
        last = lifecycle.lost(job, now=tx.now, rules=rules)
        # Whoever waits for its end is told even what is not kept.
        tx.bury(last) if last.state is FAILED else tx.drop(job)
    elif after is None:
        tx.drop(job)
    else:
        tx.put(after)
    # Where only so many may be in progress, the end of one is the turn of another.
    if rules.max_inprogress is not None and job.state is INPROGRESS:
        tx.ring(rules.name)
    return after


def remove_part(tx: Transaction, record: RemovedQueue, room: int) -> int:
    """Delete up to *room* jobs and schedules of a removed queue, and its record with
    the last: how many."""
    jobs = tx.jobs(record.name, room)
    tx.drop(*jobs)
    room -= len(jobs)
    if not room:
        return len(jobs)
    every = tx.records(Schedule)
    schedules = [each for each in every if each.queue == record.name][:room]
    for schedule in schedules:
        tx.drop_record(schedule)
    if len(schedules) < room:
        tx.drop_record(record)
    return len(jobs) + len(schedules)


def _is_due(record: RemovedQueue | None, now: int) -> bool:
    return record is not None and record.due_at is not None and record.due_at <= now


def _removed(name: str, removed_at: int, rules: Rulebook) -> RemovedQueue:
    keep = rules.removed_keep_ms
    return RemovedQueue(name, removed_at, None if keep is None else removed_at + keep)
