"""A queue's jobs at one instant, worked out a slice at a time. Changes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from jobengine.core import lifecycle
from jobengine.core.job import QUEUED, Job
from jobengine.core.queues import QueueRules
from jobengine.core.where import Where

T = TypeVar("T")

# Work done between two pauses: about half a millisecond.
SLICE = 500


class Listing:
    """A queue's jobs at one instant, in order, worked out a slice at a time.

    Iterating gives lists of (place in the whole queue, job). Every slice is bounded
    work, so whoever iterates can pause in between; a slice may be empty.
    """

    def __init__(self, jobs: list[Job], *, now: int, rules: QueueRules) -> None:
        self._jobs = jobs
        self._now = now
        self._rules = rules

    def __iter__(self) -> Iterator[list[tuple[int, Job]]]:
        by_priority: dict[int, list[Job]] = defaultdict(list)
        for part in parts(self._jobs):
            for job in part:
                # Time is applied to the view alone: reading changes nothing.
                seen = lifecycle.tick(job, now=self._now, rules=self._rules)
                if seen is not None:
                    by_priority[seen.priority].append(seen)
            yield []
        place = 0
        for priority in sorted(by_priority, reverse=True):
            # Nearly sorted already, which costs the sort next to nothing.
            lane = sorted(by_priority.pop(priority), key=lambda j: (j.run_at, j.seq))
            for part in parts(lane):
                yield list(enumerate(part, place))
                place += len(part)


def matching(
    jobs: list[Job], where: Where, *, now: int, rules: QueueRules
) -> Iterator[list[Job]]:
    """Those of *jobs* that are meant, as time has left them, a slice at a time."""
    for part in parts(jobs):
        seen = (lifecycle.tick(job, now=now, rules=rules) for job in part)
        yield [job for job in seen if job is not None and where.meets(job, now)]


def ahead_of(job: Job, others: list[Job], now: int) -> Iterator[int]:
    """How many claimable jobs come before *job*, as far as is known slice by slice."""
    place = _place(job)
    count = 0
    for part in parts(others):
        count += sum(
            other.state is QUEUED
            and other.run_at <= now
            and (other.expires_at is None or other.expires_at > now)
            and _place(other) < place
            for other in part
        )
        yield count


def _place(job: Job) -> tuple[int, int, int]:
    """In the order in which jobs are handed out."""
    return -job.priority, job.run_at, job.seq


def parts(jobs: Iterable[T], size: int = SLICE) -> Iterator[list[T]]:
    """The same in lists of *size* and less."""
    rest = iter(jobs)
    while part := list(islice(rest, size)):
        yield part
