"""A job that was queued, for who waits for what comes of it. Works across processes:
queue and uid are all that it needs.
"""

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jobengine.client.jobs import Job
from jobengine.client.spans import Duration
from jobengine.errors import JobCancelled, JobFailed

if TYPE_CHECKING:
    from jobengine.client.aio import AsyncClient
    from jobengine.client.client import Client

C = TypeVar("C", bound="Client | AsyncClient")


class _Handle(Generic[C]):
    """A job by its name, and whom to ask for it."""

    def __init__(
        self,
        client: C,
        queue: str,
        uid: str,
        job: Job | None = None,
        created: bool = True,
    ) -> None:
        self.queue = queue
        self.uid = uid
        self.job = job
        self.created = created
        self._client = client

    def __repr__(self) -> str:
        return f"{type(self).__name__}(queue={self.queue!r}, uid={self.uid!r})"


class JobHandle(_Handle["Client"]):
    """A job by its name. `job` is it as it was answered when it was queued, None where
    that was not told; `created` is False where `keep` found it there."""

    def get(self) -> Job:
        """The job as it is now."""
        return self._client.get(self.queue, self.uid)

    def wait(self, timeout: Duration | None = None) -> Job | None:
        """The job as it ended, as soon as it has; None where it has not within
        *timeout*, rounded up to whole seconds.

        Raises:
            JobNotFound: it is gone: it expired, was deleted, or nothing of it is kept.
        """
        return self._client.wait(self.queue, self.uid, timeout)

    def result(self, timeout: Duration | None = None) -> Any:
        """What came of the job, as soon as it is done.

        Raises:
            JobFailed: it failed for good.
            JobCancelled: it was cancelled.
            JobNotFound: it is gone: it expired, was deleted, or nothing of it is kept.
            TimeoutError: it has not ended within *timeout*, as of `wait`.
        """
        return result_of(self.wait(timeout), self.uid)

    def cancel(self) -> Job:
        """Nobody is to do the work any more."""
        return self._client.cancel(self.queue, self.uid)

    def retry(self) -> Job:
        """Have it start anew where it failed or was cancelled."""
        return self._client.retry_job(self.queue, self.uid)


class AsyncJobHandle(_Handle["AsyncClient"]):
    """The same, awaited."""

    async def get(self) -> Job:
        """As of a JobHandle."""
        return await self._client.get(self.queue, self.uid)

    async def wait(self, timeout: Duration | None = None) -> Job | None:
        """As of a JobHandle."""
        return await self._client.wait(self.queue, self.uid, timeout)

    async def result(self, timeout: Duration | None = None) -> Any:
        """As of a JobHandle."""
        return result_of(await self.wait(timeout), self.uid)

    async def cancel(self) -> Job:
        """As of a JobHandle."""
        return await self._client.cancel(self.queue, self.uid)

    async def retry(self) -> Job:
        """As of a JobHandle."""
        return await self._client.retry_job(self.queue, self.uid)


def result_of(job: Job | None, uid: str) -> Any:
    """What came of a job that has ended; None: it has not in time.

    Raises:
        JobFailed, JobCancelled, TimeoutError: as of JobHandle.result.
    """
    if job is None:
        raise TimeoutError(f"job {uid} has not ended yet")
    if job.state == "failed":
        raise JobFailed(f"job {uid} failed for good: {job.reason}", job)
    if job.state == "cancelled":
        raise JobCancelled(f"job {uid} was cancelled")
    return job.result
