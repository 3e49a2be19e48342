"""A worker without threads, as tests have it: what handlers tell while they run."""

import pytest

from jobengine import Abandoned, AsyncHeldJob, HeldJob, RetryAt, Worker
from jobengine.testing import TestEngine, memory_engine


@pytest.fixture
def engine() -> TestEngine:
    return memory_engine()


def test_the_next_run_finds_what_the_one_before_has_told(engine: TestEngine) -> None:
    found: list[object] = []
    worker = Worker(engine)

    @worker.handler("mail")
    def send(job: HeldJob) -> object:
        found.append(job.saved)
        job.checkpoint({"page": job.attempt})
        job.progress({"page": 10 * job.attempt})
        return "sent" if job.attempt == 3 else RetryAt(0)

    handle = engine.enqueue("mail", "hello", max_attempts=3)

    assert engine.run_until_idle(worker, follow_time=True) == 3
    assert found == [None, {"page": 10}, {"page": 20}]
    assert handle.result(timeout=0) == "sent"


def test_an_async_handler_is_run_to_its_end(engine: TestEngine) -> None:
    kept: list[object] = []
    worker = Worker(engine)

    @worker.handler("mail")
    async def send(job: AsyncHeldJob) -> str:
        await job.checkpoint("half")
        kept.append(engine.get("mail", job.uid).progress)
        return f"{job.content} sent"

    handle = engine.enqueue("mail", "hello")

    assert worker.run_until_idle() == 1
    assert handle.result(timeout=0) == "hello sent"
    assert kept == ["half"]


def test_a_handler_learns_that_its_job_was_cancelled_when_it_tells_of_it(
    engine: TestEngine,
) -> None:
    seen: list[str | None] = []
    worker = Worker(engine)

    @worker.handler("mail")
    def send(job: HeldJob) -> str:
        engine.cancel("mail", job.uid)
        job.progress("half")
        seen.append(job.why)
        with pytest.raises(Abandoned):
            job.checkpoint("more")
        return "sent"

    handle = engine.enqueue("mail", "hello")
    worker.run_until_idle()

    assert seen == ["cancelled"]
    assert handle.get().state == "cancelled"
    assert worker.stats()["mail"].lost == 1
