"""What holds for a job: what was agreed with its making, else the rules of its queue.

Pure. Knows no verb and no transition.
"""

from typing import TypeVar

from jobengine.core import backoff
from jobengine.core.job import FAILED, INSTANT_MAX, OWN, Job, State
from jobengine.core.queues import QueueRules

T = TypeVar("T")


def chosen(wanted: T | None, present: T) -> T:
    """What is wanted, where anything is."""
    return present if wanted is None else wanted


def leased_until(job: Job, now: int, rules: QueueRules) -> int:
    """When a lease of the job ends that begins now."""
    # A later instant has no text, and no listing would ever show the queue again.
    return min(now + chosen(job.terms.lease_ms, rules.lease_ms), INSTANT_MAX)


def kept_until(job: Job, state: State, now: int, rules: QueueRules) -> int:
    """Until when the job is kept if it ends now in *state*."""
    keep, dead = chosen(job.terms.keep_ms, rules.keep_ms), job.terms.dead_keep_ms
    if state is FAILED and dead is not None:
        keep = rules.dead_keep_ms if dead == OWN else dead
    return min(now + keep, INSTANT_MAX)


def may_run_again(job: Job, rules: QueueRules) -> bool:
    """Whether the job has an attempt left."""
    limit = _own(job.terms.max_attempts, rules.max_attempts)
    return limit is None or job.attempt < limit


def poison_after(job: Job, rules: QueueRules) -> int | None:
    """The leases lost in a row that make the job poison; None: no number does."""
    return _own(job.terms.poison_after, rules.poison_after)


def delay_ms(job: Job, rules: QueueRules) -> int:
    """How long the job waits after the run that it is at."""
    how = chosen(job.terms.backoff, rules.backoff)
    return backoff.delay_ms(how, uid=job.uid, attempt=job.attempt)


def _own(term: int | None, rule: int | None) -> int | None:
    return rule if term == OWN else term
