"""What callers may see: jobs, queues, and why a job is not running. Changes nothing.

A part of the engine, which is the door.
"""

from collections.abc import Iterator

from msgspec import Struct

from jobengine.core.access import (
    ALL,
    BROWSE,
    READ,
    Caller,
    Right,
    administers,
    rights,
)
from jobengine.core.explain import Circumstances, Explanation, explain
from jobengine.core.job import INPROGRESS, QUEUED, Job
from jobengine.core.queues import QueueRules
from jobengine.core.where import Where
from jobengine.listing import Listing, ahead_of, matching
from jobengine.reports import Ref, Reports, present
from jobengine.settled import Settled, Watch
from jobengine.store.port import Transaction


class Seen(Struct, frozen=True):
    """A job as a caller with these rights on its queue sees it.

    `watch`, where it was asked for, tells when the job is settled: see settled.py.
    """

    job: Job
    rules: QueueRules
    rights: frozenset[Right]
    watch: Watch | None = None


class Stats(Struct, frozen=True):
    """A queue in numbers. `queued` are ready and scheduled, `failed` dead letters and
    others; `oldest_ready_ms` is how long the one that waits for longest has done so.

    A job that has expired, or lost its holder, counts as what it was until the sweeper
    has been by, which is at once.
    """

    ready: int
    scheduled: int
    queued: int
    inprogress: int
    complete: int
    failed: int
    cancelled: int
    dead: int
    total: int
    content_bytes: int
    oldest_ready_ms: int
    paused: bool


class Views(Reports):
    """The verbs of whoever looks."""

    settled: Settled  # whoever builds the house has the store tell it

    def peek(self, caller: Caller, queue: str) -> Job | None:
        """The job that a claim would take now.

        Raises:
            QueueNotFound, Forbidden: the caller may not read the queue.
        """
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, READ)
            return next(iter(offered(tx, rules, 1)), None)

    def get(self, caller: Caller, queue: str, ref: Ref) -> Job:
        """The job as it is now.

        Raises:
            QueueNotFound, Forbidden: the caller may not read the queue.
            JobNotFound: there is no such job.
        """
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, READ)
            return present(tx, rules, ref)

    def look(
        self, caller: Caller, queue: str, uid: str, *, watch: bool = False
    ) -> Seen:
        """The job as it is now, for anybody with a right on the queue.

        With *watch*, whoever keeps what is given back learns when the job is settled,
        and what came of it, even where nothing of it is kept.

        Raises:
            QueueNotFound: there is no such queue, or none the caller may know of.
            JobNotFound: there is no such job.
        """
        with self._store.transaction() as tx:
            rules, held = self.seen(caller, queue)
            # Within the block: what settles the job comes after, and is seen.
            watching = self.settled.watch(queue, uid) if watch else None
            if watching is not None and watching.final is not None:
                return Seen(watching.final, rules, held)
            job = present(tx, rules, uid)
            return Seen(job, rules, held, None if job.finished_at else watching)

    def explain(
        self, caller: Caller, queue: str, uid: str, *, waiters: int = 0
    ) -> Iterator[Explanation | None]:
        """Why the job is not running: None for each slice of work, then the answer.

        *waiters* are the requests that wait for a job of the queue.

        Raises:
            QueueNotFound: there is no such queue, or none the caller may know of.
            JobNotFound: there is no such job.
        """
        with self._store.transaction() as tx:
            rules, _ = self.seen(caller, queue)
            job, now = present(tx, rules, uid), tx.now
            inprogress = tx.counts(queue)[INPROGRESS]
            others = tx.jobs(queue) if job.state is QUEUED else []
        return _explained(job, Circumstances(now, rules, inprogress, waiters), others)

    def listing(self, caller: Caller, queue: str) -> Listing:
        """The queue's jobs as they stand now.

        Raises:
            QueueNotFound, Forbidden: the caller may not read the queue.
        """
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, READ)
            return Listing(tx.jobs(queue), now=tx.now, rules=rules)

    def matching(self, caller: Caller, queue: str, where: Where) -> Iterator[list[Job]]:
        """The queue's jobs that are meant, a slice at a time, in no order.

        Raises:
            QueueNotFound, Forbidden: the caller may not browse the queue.
        """
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, BROWSE)
            return matching(tx.jobs(queue), where, now=tx.now, rules=rules)

    def stats(self, caller: Caller, queue: str) -> Stats:
        """The queue in numbers.

        Raises:
            QueueNotFound, Forbidden: the caller may not browse the queue.
        """
        with self._store.transaction() as tx:
            rules = self.admit(caller, queue, BROWSE)
            counts = tx.counts(queue)
            scheduled, oldest = tx.scheduled(queue), tx.oldest_ready(queue)
            since = tx.now if oldest is None else max(oldest.run_at, oldest.updated_at)
            return Stats(
                ready=counts[QUEUED] - scheduled,
                scheduled=scheduled,
                **{state.name.lower(): count for state, count in counts.items()},
                dead=tx.dead(queue),
                total=sum(counts.values()),
                content_bytes=tx.content_bytes(queue),
                oldest_ready_ms=max(tx.now - since, 0),
                paused=rules.paused is not None,
            )

    def queues(self, caller: Caller) -> list[tuple[QueueRules, frozenset[Right]]]:
        """The queues that the caller may know of, by name, and its rights on them."""
        rules = self.rules
        every = administers(caller, rules)
        found = [
            (queue, ALL if every else rights(caller, queue))
            for _, queue in sorted(rules.queues.items())
        ]
        return [(queue, held) for queue, held in found if held]


def offered(tx: Transaction, rules: QueueRules, limit: int) -> list[Job]:
    """The first jobs that may be handed out now, *limit* at most."""
    if rules.paused is not None:
        return []
    if rules.max_inprogress is not None:
        limit = min(limit, rules.max_inprogress - tx.counts(rules.name)[INPROGRESS])
    return tx.ready(rules.name, limit) if limit > 0 else []


def in_one_answer(jobs: list[Job], most: int) -> list[Job]:
    """The first of *jobs*, and those behind it that *most* bytes have room for, of
    contents and what workers have told."""
    size = 0
    for at, job in enumerate(jobs):
        size += len(job.content) + len(job.progress or b"") + len(job.result or b"")
        if size > most and at:
            return jobs[:at]
    return jobs


def _explained(
    job: Job, around: Circumstances, others: list[Job]
) -> Iterator[Explanation | None]:
    ahead = 0
    for count in ahead_of(job, others, around.now):
        ahead = count
        yield None
    yield explain(job, around, ahead)
