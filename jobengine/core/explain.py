"""Why a job is not running, and what would change that. Pure.

What stands in its way is a list of blockers, the first the one that holds longest or
that only somebody can remove. A job that may be taken has none.
"""

from msgspec import Struct

from jobengine.core.job import CANCELLED, COMPLETE, FAILED, INPROGRESS, Job
from jobengine.core.queues import QueueRules


class Blocker(Struct, frozen=True):
    """One thing that stands in the way.

    `code` is for programs. `until` is the instant (ms) at which it ends by itself,
    `count` and `limit` are numbers of jobs, `holder` a service.
    """

    code: str
    detail: str
    remedy: str
    until: int | None = None
    count: int | None = None
    limit: int | None = None
    holder: str | None = None


class Circumstances(Struct, frozen=True):
    """What there is besides the job: how many of its queue are in progress, and how
    many requests wait for one."""

    now: int
    rules: QueueRules
    inprogress: int
    waiters: int


class Explanation(Struct, frozen=True):
    """What holds the job up. `claimable`: the next claim takes it."""

    job: Job
    claimable: bool
    blockers: tuple[Blocker, ...]


def explain(job: Job, around: Circumstances, ahead: int) -> Explanation:
    """Why the job is not running, at the instant *around.now*.

    *ahead* are the claimable jobs that come before it.
    """
    if job.state is INPROGRESS:
        blockers = [_held(job)]
    elif job.state in _FINISHED:
        blockers = [_FINISHED[job.state](job)]
    else:
        blockers = [*_by_the_queue(around), *_by_time(job, around.now)]
        if ahead and not blockers:
            blockers.append(_behind(ahead))
        if not blockers:
            return Explanation(job, True, (_nobody(around.waiters),))
    return Explanation(job, False, tuple(blockers))


def _held(job: Job) -> Blocker:
    assert job.lease is not None, "in progress, somebody has it"
    return Blocker(
        "leased",
        f"{job.lease.holder!r} has it in progress, attempt {job.attempt}",
        "wait for its report, or until its lease runs out; cancel the job to have it "
        "dropped",
        until=job.lease.until,
        holder=job.lease.holder,
    )


def _complete(job: Job) -> Blocker:
    return Blocker(
        "complete",
        "it is done",
        "queue a new job to have the work done again",
        until=job.keep_until,
    )


def _cancelled(job: Job) -> Blocker:
    return Blocker("cancelled", "it was cancelled", "retry it", until=job.keep_until)


def _dead(job: Job) -> Blocker:
    if job.reason is None:
        told = "a writer set it to failed"
    else:
        told = f"it failed for good: {_REASONS.get(job.reason, job.reason)}"
    return Blocker(
        "dead",
        f"{told}, after {job.attempt} attempts{_last_words(job)}",
        "retry it, once what failed is mended",
        until=job.keep_until,
    )


def _last_words(job: Job) -> str:
    return f"; the last run that went wrong said: {job.error}" if job.error else ""


_FINISHED = {COMPLETE: _complete, CANCELLED: _cancelled, FAILED: _dead}

# By the reasons of core.lifecycle.
_REASONS = {
    "attempts": "its attempts are used up",
    "lease_lost": "its holder was lost, and no attempt is left",
    "poison": "its holders were lost, or put it off, again and again",
    "critical": "its worker called the failure critical",
    "unprocessable": "its worker could not make sense of it",
}


def _by_the_queue(around: Circumstances) -> list[Blocker]:
    rules, found = around.rules, []
    if rules.paused is not None:
        why = f": {rules.paused}" if rules.paused else ""
        found.append(Blocker("paused", f"the queue is paused{why}", "resume the queue"))
    most = rules.max_inprogress
    if most is not None and around.inprogress >= most:
        found.append(
            Blocker(
                "limit",
                f"{around.inprogress} jobs of the queue are in progress, "
                f"and no more than {most} may be",
                "wait until one ends, or raise max_inprogress in config.yml",
                count=around.inprogress,
                limit=most,
            )
        )
    return found


def _by_time(job: Job, now: int) -> list[Blocker]:
    if job.run_at <= now:
        return []
    if job.attempt or job.past is not None:
        return [
            Blocker(
                "backoff",
                f"it waits for its next attempt, after {job.attempt} of them",
                "wait, or patch its run_at",
                until=job.run_at,
                count=job.attempt,
            )
        ]
    return [
        Blocker(
            "scheduled",
            "its run_at is still to come",
            "wait, or patch its run_at",
            until=job.run_at,
        )
    ]


def _behind(ahead: int) -> Blocker:
    return Blocker(
        "behind",
        f"{ahead} jobs come before it: of higher priority, or there for longer",
        "more workers, or patch its priority",
        count=ahead,
    )


def _nobody(waiters: int) -> Blocker:
    told = f"{waiters} requests wait for work" if waiters else "nobody waits for work"
    return Blocker(
        "next",
        f"the next claim takes it; {told} now",
        "claim it: see that a worker of the queue runs",
        count=waiters,
    )
