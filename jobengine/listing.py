"""A queue's jobs at one instant, worked out a slice at a time. Changes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from jobengine.core import lifecycle
from jobengine.core.job import Job
from jobengine.core.queues import QueueRules

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


def parts(jobs: Iterable[T], size: int = SLICE) -> Iterator[list[T]]:
    """The same in lists of *size* and less."""
    rest = iter(jobs)
    while part := list(islice(rest, size)):
        yield part
