"""Handlers and strategies that do what nobody expects, and stops at the wrong moment:
no job is kept from others for ever, and no work is repeated for want of a report.
"""

import asyncio
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from crowds import Run
from daemons import PATIENCE_S, until
from seed_sites import worker_of

from jobengine import (
    AsyncHeldJob,
    Client,
    Failed,
    HeldJob,
    Later,
    NewJob,
    RescheduleAt,
    RetryAt,
    Strategy,
    Wait,
    Worker,
    constant,
)
from jobengine.client.jobs import Completion, Job, Reported
from jobengine.client.transport import Answer, Request, Transport
from jobengine.errors import Unanswered, Unreachable
from jobengine.worker.handlers import spec_of
from jobengine.worker.outbox import Outbox
from jobengine.worker.outcomes import Success
from jobengine.worker.reports import Report, tell

ODD_TIMES = [
    RetryAt("tomorrow"),  # type: ignore[arg-type]
    RetryAt(float("nan")),
    RetryAt(float("inf")),
    RetryAt(datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))),
    RetryAt(datetime.min.replace(tzinfo=UTC)),
    RescheduleAt(None),  # type: ignore[arg-type]
    RescheduleAt(timedelta.max),
]


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def ended(app: Client, queue: str, worker: Worker) -> Job:
    """A new job once the worker is through with it."""
    handle = app.enqueue(queue, {}, max_attempts=2, backoff=constant(0))
    with worker:
        job = handle.wait(PATIENCE_S)
    assert job is not None, "it has not ended"
    return job


# --- what a handler returns -------------------------------------------------------


@pytest.mark.parametrize("outcome", ODD_TIMES, ids=str)
def test_an_end_that_cannot_be_told_is_for_somebody_to_look_at(
    app: Client, queue: str, outcome: Any
) -> None:
    job = ended(app, queue, worker_of(app, queue, lambda job: outcome))

    assert (job.state, job.reason, job.attempt) == ("failed", "critical", 1)


@pytest.mark.parametrize("result", [nested(80), float("nan"), {"a": float("inf")}])
def test_work_is_not_repeated_because_the_daemon_does_not_take_its_result(
    app: Client, queue: str, result: Any
) -> None:
    job = ended(app, queue, worker_of(app, queue, lambda job: result))

    assert (job.state, job.reason, job.attempt) == ("failed", "critical", 1)


def test_an_error_may_be_an_exception(app: Client, queue: str) -> None:
    def work(job: HeldJob) -> Failed:
        return Failed(error=ValueError("no such page"))  # type: ignore[arg-type]

    job = ended(app, queue, worker_of(app, queue, work))

    assert (job.reason, job.error) == ("attempts", "ValueError: no such page")


def test_progress_that_is_no_number_is_refused_where_it_is_said(
    app: Client, queue: str
) -> None:
    def work(job: HeldJob) -> str:
        with pytest.raises(ValueError, match="finite") as caught:
            job.progress(float("nan"))
        return str(caught.type.__name__)

    assert ended(app, queue, worker_of(app, queue, work)).result == "ValueError"


def test_a_back_off_that_raises_is_for_somebody_to_look_at(
    app: Client, queue: str
) -> None:
    def wrong(attempt: int) -> float:
        return 1 / (attempt - attempt)

    worker = worker_of(app, queue, lambda job: Failed("x"), backoff=wrong)

    job = ended(app, queue, worker)

    assert (job.reason, job.attempt) == ("critical", 1)
    assert "ZeroDivisionError" in str(job.error)


def test_what_is_to_be_awaited_is_not_taken_for_a_result(
    app: Client, queue: str
) -> None:
    async def later() -> None: ...

    job = ended(app, queue, worker_of(app, queue, lambda job: later()))

    assert job.reason == "critical"
    assert "await" in str(job.error)


def test_a_task_that_cancels_itself_has_failed(app: Client, queue: str) -> None:
    async def cancel(job: AsyncHeldJob) -> None:
        other = asyncio.ensure_future(asyncio.sleep(PATIENCE_S))
        other.cancel()
        await other

    job = ended(app, queue, worker_of(app, queue, cancel))

    assert (job.reason, job.attempt) == ("attempts", 2)


# --- strategies -------------------------------------------------------------------


class Says(Strategy):
    def __init__(self, word: Any) -> None:
        self.word = word
        self.asked = threading.Event()

    def acquire(self, job: object) -> Any:
        self.asked.set()
        return self.word


def test_a_job_that_waits_for_its_strategy_goes_back_at_once(
    app: Client, queue: str
) -> None:
    says = Says(Wait(3600))
    worker = worker_of(app, queue, lambda job: None, strategy=says)
    handle = app.enqueue(queue, {})

    worker.start()
    assert says.asked.wait(PATIENCE_S)
    in_time = worker.stop(PATIENCE_S)

    assert in_time
    assert (handle.get().state, handle.get().attempt) == ("queued", 0)


def test_a_strategy_may_mean_a_time_that_nobody_can_wait(
    app: Client, queue: str
) -> None:
    says = Says(Wait(float("inf")))
    worker = worker_of(app, queue, lambda job: None, strategy=says)
    handle = app.enqueue(queue, {})

    worker.start()
    assert says.asked.wait(PATIENCE_S)

    assert worker.stop(PATIENCE_S)
    assert handle.get().state == "queued"


def test_a_strategy_that_means_no_time_is_for_somebody_to_look_at(
    app: Client, queue: str
) -> None:
    says = Says(Later("soon"))  # type: ignore[arg-type]
    worker = worker_of(app, queue, lambda job: None, strategy=says)

    assert ended(app, queue, worker).reason == "critical"


# --- stops ------------------------------------------------------------------------


def test_a_handler_may_stop_its_worker(app: Client, queue: str) -> None:
    worker = Worker(app)

    @worker.handler(queue)
    def last(job: HeldJob) -> bool:
        return worker.stop()

    handle = app.enqueue(queue, {})
    in_time = worker.run()

    assert in_time, "and that ends run()"
    assert handle.get().result is False


def test_an_async_handler_may_stop_its_worker(app: Client, queue: str) -> None:
    worker = Worker(app)

    @worker.handler(queue)
    async def last(job: AsyncHeldJob) -> bool:
        return worker.stop()

    handle = app.enqueue(queue, {})
    in_time = worker.run()

    assert in_time
    assert handle.get().result is False


def test_whoever_stops_a_worker_too_waits_as_well(app: Client, queue: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(job: HeldJob) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)

    worker = worker_of(app, queue, work)
    handle = app.enqueue(queue, {})
    worker.start()
    assert begun.wait(PATIENCE_S)
    states: list[str] = []

    def stop() -> None:
        worker.stop(PATIENCE_S)
        states.append(handle.get().state)

    stops = [threading.Thread(target=stop) for _ in range(3)]
    for each in stops:
        each.start()
    go_on.set()
    for each in stops:
        each.join(PATIENCE_S)

    assert states == ["complete"] * 3


def test_a_worker_that_cannot_start_leaves_nothing_behind(
    app: Client, queue: str
) -> None:
    worker = Worker(app)
    worker.handler(queue)(lambda job: None)
    # In a process nobody finds it by its name.
    worker.handler(f"{queue}-2", processes=1)(lambda job: None)
    before = set(threading.enumerate())

    with pytest.raises((TypeError, ValueError)):
        worker.start()

    until(lambda: set(threading.enumerate()) <= before, "its threads have ended")
    assert worker.stop(), "there is nothing to stop"


class Dawdling:
    """A carrier on which the answer to a claim stays until the worker stops."""

    def __init__(
        self, inner: Transport, claimed: threading.Event, stopped: threading.Event
    ) -> None:
        self.inner = inner
        self.claimed = claimed
        self.stopped = stopped
        self.over = False

    def send(self, request: Request) -> Answer:
        answer = self.inner.send(request)
        if "/claim?" in request.target and answer.status == 200:
            self.claimed.set()
            assert self.stopped.wait(PATIENCE_S)
            if self.over:
                raise Unanswered("the client was interrupted")
        return answer

    def another(self) -> Transport:
        return Dawdling(self.inner.another(), self.claimed, self.stopped)

    def hang_up(self) -> None:
        self.stopped.set()
        self.inner.hang_up()

    def interrupt(self) -> None:
        self.over = True
        self.stopped.set()
        self.inner.interrupt()

    def close(self) -> None:
        self.inner.close()


def test_jobs_that_come_while_a_worker_stops_go_back(app: Client, queue: str) -> None:
    claimed, stopped = threading.Event(), threading.Event()
    slow = Client(
        name="app", transport=Dawdling(app._transport.another(), claimed, stopped)
    )
    worker = worker_of(slow, queue, lambda job: None)
    app.enqueue_many(queue, [NewJob(number) for number in range(5)], atomic=True)

    worker.start()
    assert claimed.wait(PATIENCE_S)
    assert worker.stop()

    # And not: with nobody, until their leases run out.
    jobs = [(job.state, job.attempt) for job in app.iter_jobs(queue)]
    assert jobs == [("queued", 0)] * 5


# --- reports ----------------------------------------------------------------------


def report(end: Any) -> Report:
    spec = spec_of(
        lambda job: None,
        ("numbers",),
        permits=None,
        backoff=None,
        strategy=None,
        exceptions=None,
        processes=0,
    )
    return Report(Run("job-1", None, spec).held, end)


class Stub:
    """Stands where the daemon does."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.away = True

    def complete_many(self, queue: str, done: list[Completion]) -> list[Reported]:
        return []  # it answers, but not of what it was asked

    def heartbeat(self, job: Job, *, progress: object) -> None:
        if self.away:
            self.away = False
            raise Unreachable("it is not there")
        self.told.append(progress)

    def fail(self, job: Job, **options: object) -> None:
        self.told.append("failed")


def test_an_answer_that_makes_no_sense_lets_the_leases_go() -> None:
    told: list[list[bool]] = []
    stub: Any = Stub()
    outbox = Outbox(stub, lambda _reports, took: told.append(took))
    outbox.put(report(Success()))
    outbox.put(report(Success()))
    outbox.close()

    with pytest.raises(ValueError, match="shorter"):
        outbox.run()

    assert told == [[False, False]]


def test_progress_is_told_with_the_end_when_the_daemon_is_back() -> None:
    stub: Any = Stub()
    failed = report(Failed("x"))
    failed.held.progress({"page": 8})

    with pytest.raises(Unreachable):
        tell(stub, failed)
    tell(stub, failed)

    assert [bytes(stub.told[0]), stub.told[1]] == [b'{"page":8}', "failed"]


def test_no_permit_is_lost_whatever_handlers_do(app: Client, queue: str) -> None:
    def work(job: HeldJob) -> Any:
        if job.content % 3 == 0:
            raise SystemExit
        return RetryAt("x") if job.content % 3 == 1 else object()  # type: ignore[arg-type]

    worker = Worker(app, permits=2)
    worker.handler(queue)(work)
    app.enqueue_many(queue, [NewJob(number, max_attempts=1) for number in range(30)])

    with worker:
        until(lambda: app.stats(queue).dead == 30, "all have run")

    counts = worker.stats()[queue]
    assert (counts.claimed, counts.running) == (30, 0)
