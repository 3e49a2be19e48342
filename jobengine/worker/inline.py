"""A worker without threads: one job after another, where it was called. For tests."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from jobengine.client.client import Client
from jobengine.client.jobs import Job
from jobengine.errors import Abandoned
from jobengine.worker.handlers import Context, Spec
from jobengine.worker.held import AsyncHeldJob, Held, HeldJob
from jobengine.worker.leases import GONE
from jobengine.worker.outbox import Outbox
from jobengine.worker.reports import Report, column_of
from jobengine.worker.tally import Tally
from jobengine.worker.work import End, PutBack, Work

if TYPE_CHECKING:
    from jobengine.worker.worker import Worker


def run_inline(
    worker: "Worker", specs: Mapping[str, Spec], client: Client, tally: Tally
) -> int:
    """See Worker.run_until_idle."""
    line = _Line(worker, specs, client, tally)
    runs = 0
    while (found := line.round()) > 0:
        runs += found
    return runs


class _Line:
    """The queues of a worker, one job of each at a time."""

    def __init__(
        self,
        worker: "Worker",
        specs: Mapping[str, Spec],
        client: Client,
        tally: Tally,
    ) -> None:
        self._worker = worker
        self._specs = specs
        self._client = client
        self._tally = tally
        self._keeper = _Keeper(client)
        self._outbox = Outbox(client, lambda _reports, _took: None)

    def round(self) -> int:
        """One job of each queue that has one; how many there were."""
        runs = 0
        for queue in self._specs:
            for job in self._client.claim(queue, max=1):
                self._run(queue, job)
                runs += 1
        return runs

    def _run(self, queue: str, job: Job) -> None:
        spec = self._specs[queue]
        kind = AsyncHeldJob if spec.is_async else HeldJob
        held = kind(job, self._keeper, now=0.0)
        context = Context(self._client, self._worker.state, queue)
        self._tally.claimed(queue, 1)
        work = _Work(held, spec, context, self._worker.exceptions, self._ended)
        if spec.is_async:
            asyncio.run(work.arun())
        else:
            work.run()

    def _ended(self, work: Work, end: End) -> None:
        held = work.held
        self._tally.ended(held)
        report = Report(held, end, work.spec.backoff or self._worker.backoff)
        took = not held.hold.gone and self._outbox.send([report])[0]
        self._tally.told([(held.queue, column_of(end, took=took))])


class _Work(Work):
    """On the caller's own thread, where Ctrl-C is no fault of the handler's."""

    __slots__ = ()

    def outcome_of_error(self, error: BaseException) -> End:
        if isinstance(error, KeyboardInterrupt) or _is_interrupted(error):
            self.end(PutBack())
            raise error
        return super().outcome_of_error(error)


def _is_interrupted(error: BaseException) -> bool:
    """Whether the loop was told to end, for which asyncio cancels its task."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Keeper:
    """Tells at once what a job says of itself. See held.Keeper."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def tell(self, held: Held) -> None:
        told = held.hold.take_told()
        assert told is not None, "it was just said"
        with suppress(Abandoned):  # the handler sees that it is
            self.checkpoint(held, told)

    def checkpoint(self, held: Held, told: msgspec.Raw) -> None:
        try:
            self._client.heartbeat(held.job, progress=told)
        except GONE as error:
            held.hold.lost(error.code)
            raise Abandoned(str(error)) from error

    def monotonic(self) -> float:
        # Time stands still during a run: what is "from now on" is from the claim on.
        return 0.0
