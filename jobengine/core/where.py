"""Which of a queue's jobs are meant. Pure."""

from msgspec import Struct

from jobengine.core.job import FAILED, QUEUED, Job, State


class Span(Struct, frozen=True):
    """Instants from `after` on and before `before`; None is no limit."""

    after: int | None = None
    before: int | None = None

    def holds(self, instant: int | None) -> bool:
        """Whether the instant lies in it; None does in one without limits alone."""
        if self.after is None and self.before is None:
            return True
        return (
            instant is not None
            and (self.after is None or instant >= self.after)
            and (self.before is None or instant < self.before)
        )


class Where(Struct, frozen=True):
    """The jobs for which all of this is so; what is None, or empty, is no condition.

    `dead` and `scheduled` say whether it must be one, or must not. `attempts_max` is
    the highest that fits.
    """

    states: frozenset[State] = frozenset()
    dead: bool | None = None
    scheduled: bool | None = None
    created: Span = Span()
    updated: Span = Span()
    run: Span = Span()
    finished: Span = Span()
    attempts_min: int | None = None
    attempts_max: int | None = None
    unique_key: str | None = None
    fingerprint: str | None = None
    reason: str | None = None
    uids: frozenset[str] | None = None

    def meets(self, job: Job, now: int) -> bool:
        """Whether the job, as it is at the instant *now*, is one of these."""
        return (
            (not self.states or job.state in self.states)
            and (self.dead is None or is_dead(job) == self.dead)
            and (self.scheduled is None or is_scheduled(job, now) == self.scheduled)
            and self._was_when(job)
            and (self.attempts_min is None or job.attempt >= self.attempts_min)
            and (self.attempts_max is None or job.attempt <= self.attempts_max)
            and (self.reason is None or job.reason == self.reason)
            and (self.uids is None or job.uid in self.uids)
            and self._is_called(job)
        )

    def _was_when(self, job: Job) -> bool:
        return (
            self.created.holds(job.created_at)
            and self.updated.holds(job.updated_at)
            and self.run.holds(job.run_at)
            and self.finished.holds(job.finished_at)
        )

    def _is_called(self, job: Job) -> bool:
        unique = None if job.keys is None else job.keys.unique
        fingerprint = None if job.keys is None else job.keys.fingerprint
        return (self.unique_key is None or unique == self.unique_key) and (
            self.fingerprint is None or fingerprint == self.fingerprint
        )


def is_dead(job: Job) -> bool:
    """Whether it is a dead letter: failed for good, for a reason."""
    return job.state is FAILED and job.reason is not None


def is_scheduled(job: Job, now: int) -> bool:
    """Whether it waits for its run_at."""
    return job.state is QUEUED and job.run_at > now


# The dead letters.
DEAD = Where(dead=True)
EVERY = Where()
