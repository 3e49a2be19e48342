"""What the author of a worker may well get wrong the first time: told where it stands,
and not when a job has been spent on it.
"""

import asyncio
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from jobengine.client.client import Client
from jobengine.errors import JobEngineError
from jobengine.testing import TestEngine, memory_engine
from jobengine.worker.handlers import Context, Handler
from jobengine.worker.held import AsyncHeldJob, Held, HeldJob
from jobengine.worker.outcomes import RetryAt, Success
from jobengine.worker.strategy import Grant, Strategy
from jobengine.worker.worker import Worker

HERE = Client(retry=None)


@pytest.fixture
def engine() -> Iterator[TestEngine]:
    with memory_engine() as made:
        yield made


def send(job: HeldJob) -> None:
    """Runs nowhere."""


class Send(Handler):
    QUEUE = "mail"

    def process(self, ctx: Context, job: HeldJob) -> None:
        """Runs nowhere."""


# --- handlers ---------------------------------------------------------------------


def test_a_decorator_without_its_queue_is_refused() -> None:
    worker: Any = Worker()

    with pytest.raises(ValueError, match="name the queues"):
        worker.handler(send)


@pytest.mark.parametrize("wrong", [Send, send, "mail"])
def test_only_an_instance_of_a_handler_can_be_added(wrong: Any) -> None:
    with pytest.raises(TypeError, match="an instance of a Handler"):
        Worker().add(wrong)


@pytest.mark.parametrize("wrong", [5, 0.5, "soon", [1, 2]])
def test_what_is_no_back_off_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="send: backoff must be"):
        Worker().handler("mail", backoff=wrong)(send)


@pytest.mark.parametrize(
    "wrong",
    [
        *([ValueError], {"ValueError": Success()}, {ValueError: "retry"}),
        *({ValueError: RetryAt}, {ValueError: Success}, {int: Success()}),
    ],
)
def test_what_is_no_table_of_exceptions_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="send: "):
        Worker().handler("mail", exceptions=wrong)(send)


def test_a_strategy_is_an_instance() -> None:
    strategy: Any = Strategy

    with pytest.raises(TypeError, match="send: strategy"):
        Worker().handler("mail", strategy=strategy)(send)


def test_a_worker_that_runs_takes_no_other_handler(engine: TestEngine) -> None:
    worker = Worker(engine)
    worker.handler("mail")(send)

    with worker, pytest.raises(ValueError, match="runs already"):
        worker.handler("post")(send)


# --- a worker ---------------------------------------------------------------------


def test_one_queue_is_not_taken_for_its_letters() -> None:
    with pytest.raises(ValueError, match=r"\['mail'\]"):
        Worker(queues="mail")


@pytest.mark.parametrize("limit", [{"permits": 0}, {"queue_permits": -1}])
def test_a_worker_may_have_a_job_in_hand(limit: Any) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Worker(**limit)


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:6010", "mail", object()])
def test_what_is_no_client_is_refused_at_the_start(wrong: Any) -> None:
    worker = Worker(wrong)
    worker.handler("mail")(send)

    with pytest.raises(TypeError, match="must be a Client"):
        worker.start()
    with pytest.raises(TypeError, match="must be a Client"):
        worker.run_until_idle()


def test_options_that_are_set_later_are_looked_at_too() -> None:
    worker: Any = Worker(HERE)
    worker.handler("mail")(send)
    worker.backoff = 5

    with pytest.raises(TypeError, match="the worker: backoff"):
        worker.start()


def test_run_is_for_the_main_thread() -> None:
    worker = Worker(HERE)
    worker.handler("mail")(send)
    told: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except (ValueError, JobEngineError) as error:
            told.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    [error] = told
    assert "main thread" in str(error)


@pytest.mark.parametrize("word", [True, None, Grant])
def test_what_a_strategy_may_not_say_fails_the_run(
    engine: TestEngine, word: Any
) -> None:
    class Odd(Strategy):
        def acquire(self, job: Held) -> Any:
            return word

    worker = Worker(engine)
    worker.handler("mail", strategy=Odd())(send)
    handle = engine.enqueue("mail", 1, max_attempts=1)

    worker.run_until_idle()

    assert "a strategy says Grant()" in str(handle.get().error)


# --- Ctrl-C, where jobs run on the thread of a test -------------------------------


def test_a_run_that_is_interrupted_is_given_back(engine: TestEngine) -> None:
    worker = Worker(engine)

    @worker.handler("mail")
    def interrupt(job: HeldJob) -> None:
        signal.raise_signal(signal.SIGINT)

    handle = engine.enqueue("mail", 1)
    with pytest.raises(KeyboardInterrupt):
        worker.run_until_idle()

    job = handle.get()
    assert (job.state, job.attempt) == ("queued", 0)


def test_so_is_one_that_is_awaited(engine: TestEngine) -> None:
    worker = Worker(engine)

    @worker.handler("mail")
    async def interrupt(job: AsyncHeldJob) -> None:
        signal.raise_signal(signal.SIGINT)
        await never_ends()

    handle = engine.enqueue("mail", 1)
    with pytest.raises(KeyboardInterrupt):
        worker.run_until_idle()

    job = handle.get()
    assert (job.state, job.attempt) == ("queued", 0)


async def never_ends() -> None:
    await asyncio.Event().wait()
