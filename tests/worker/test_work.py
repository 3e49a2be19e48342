"""One run: what a handler returns or raises, and what its strategy says, as an end."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from held_jobs import NOON, held_job

from jobengine.errors import Abandoned
from jobengine.worker.handlers import (
    Context,
    Handler,
    Meanings,
    nobody_for,
    spec_of,
    spec_of_class,
)
from jobengine.worker.held import AsyncHeldJob, Held, HeldJob
from jobengine.worker.outcomes import (
    Cancel,
    Critical,
    Failed,
    RescheduleAt,
    RetryAt,
    Success,
    Unprocessable,
)
from jobengine.worker.strategy import Done, Drop, Grant, Later, Strategy, Wait, Word
from jobengine.worker.work import End, PutBack, Work


def run(
    call: Callable[..., Any],
    *,
    strategy: Strategy | None = None,
    exceptions: Meanings | None = None,
    workers: Meanings | None = None,
    held: Held | None = None,
) -> End:
    spec = spec_of(
        *(call, ("mail",)),
        permits=None,
        backoff=None,
        strategy=strategy,
        exceptions=exceptions,
        processes=0,
    )
    held = held or held_job(AsyncHeldJob if spec.is_async else HeldJob)
    ends: list[End] = []
    context = Context(None, "the state", "mail")
    work = Work(held, spec, context, workers or {}, lambda _, end: ends.append(end))
    if spec.is_async:
        asyncio.run(work.arun())
    else:
        work.run()
    [end] = ends
    return end


def raising(error: BaseException) -> Callable[[Any], None]:
    def handle(_job: Any) -> None:
        raise error

    return handle


# --- what it returns --------------------------------------------------------------


def test_a_handler_that_returns_nothing_has_done_its_work() -> None:
    assert run(lambda job: None) == Success()


@pytest.mark.parametrize("value", [{"sent": True}, [1], "text", 0, False])
def test_what_it_returns_is_its_result(value: object) -> None:
    end = run(lambda job: value)

    assert isinstance(end, Success)
    assert msgspec.json.decode(end.result) == value


@pytest.mark.parametrize(
    "outcome",
    [
        *(Success(), Failed("no"), RetryAt(30), RescheduleAt(NOON), Cancel()),
        *(Critical("no"), Unprocessable()),
    ],
)
def test_an_outcome_stands_for_itself(outcome: End) -> None:
    assert run(lambda job: outcome) == outcome


@pytest.mark.parametrize("value", [object(), {1, object()}, "x" * (64 << 10)])
def test_work_is_not_repeated_for_a_result_that_cannot_be_kept(value: object) -> None:
    end = run(lambda job: value)

    assert isinstance(end, Critical)
    assert "the work is done" in str(end.error)


def test_an_outcome_may_be_named_without_being_made() -> None:
    assert run(lambda job: Failed) == Failed()
    assert run(lambda job: Cancel) == Cancel()


def test_a_coroutine_is_awaited() -> None:
    async def handle(job: AsyncHeldJob) -> int:
        await asyncio.sleep(0)
        return int(job.content) + 1

    end = run(handle)
    assert isinstance(end, Success)
    assert bytes(end.result) == b"8"


def test_a_handler_may_take_its_context() -> None:
    end = run(lambda ctx, job: [ctx.state, ctx.queue, job.attempt])

    assert isinstance(end, Success)
    assert bytes(end.result) == b'["the state","mail",2]'


# --- what it raises ---------------------------------------------------------------


def test_an_exception_is_a_run_that_failed() -> None:
    assert run(raising(KeyError("who"))) == Failed("KeyError: 'who'")


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_a_handler_cannot_end_its_worker(error: BaseException) -> None:
    end = run(raising(error))

    assert isinstance(end, Failed)


def test_the_table_says_what_an_exception_means() -> None:
    table: Meanings = {
        ConnectionError: RetryAt(30),
        ValueError: Unprocessable,
        LookupError: lambda error, job: Critical(f"{job.uid}: {error}"),
    }

    assert run(raising(ConnectionResetError("gone")), exceptions=table) == RetryAt(
        30, "ConnectionResetError: gone"
    )
    assert run(raising(ValueError("odd")), exceptions=table) == Unprocessable(
        "ValueError: odd"
    )
    assert run(raising(KeyError(1)), exceptions=table) == Critical("a: 1")


def test_the_nearest_class_counts() -> None:
    table: Meanings = {Exception: Critical, OSError: Failed, ConnectionError: Cancel}

    assert run(raising(ConnectionResetError()), exceptions=table) == Cancel()


def test_the_handlers_own_table_comes_first() -> None:
    mine: Meanings = {Exception: Unprocessable}
    workers: Meanings = {ValueError: Critical}

    end = run(raising(ValueError("odd")), exceptions=mine, workers=workers)

    assert end == Unprocessable("ValueError: odd")


@pytest.mark.parametrize("meaning", [lambda e, j: 5, lambda e, j: 1 / 0])
def test_a_table_that_makes_no_sense_is_told_and_loses_nothing(meaning: Any) -> None:
    end = run(raising(ValueError()), exceptions={ValueError: meaning})

    assert isinstance(end, Critical)
    assert "could not be told" in str(end.error)


def test_who_gives_up_a_job_that_is_lost_says_nothing_of_it() -> None:
    held = held_job()
    held.hold.abandon("lost")

    def handle(job: HeldJob) -> None:
        job.check()

    # It is lost before it begins, too.
    assert run(handle, held=held) == PutBack(0)

    late = held_job()

    def lose(job: HeldJob) -> None:
        job.hold.abandon("lost")
        job.check()

    assert run(lose, held=late) == PutBack()


@pytest.mark.parametrize("error", [Abandoned("I give up"), asyncio.CancelledError()])
def test_who_gives_up_a_job_that_is_still_its_own_has_failed(
    error: BaseException,
) -> None:
    # Put back, it would come again at once, and for ever.
    assert isinstance(run(raising(error)), Failed)


def test_a_task_that_is_cancelled_says_nothing_of_its_job() -> None:
    async def handle(job: AsyncHeldJob) -> None:
        task = asyncio.current_task()
        assert task is not None
        job.hold.when_abandoned(task.cancel)
        job.hold.abandon("cancelled")
        await asyncio.sleep(60)

    assert run(handle) == PutBack()


# --- its strategy -----------------------------------------------------------------


class Says(Strategy):
    """Gives these words, one after another, and counts what it lets go."""

    def __init__(self, *words: Word) -> None:
        self.words = list(words)
        self.released = 0

    def acquire(self, job: Held) -> Word:
        return self.words.pop(0)

    def release(self, job: Held) -> None:
        self.released += 1


def never(job: Any) -> None:
    raise AssertionError("it is not to be run")


@pytest.mark.parametrize(
    ("word", "end"),
    [(Later(30), PutBack(30)), (Drop(), Cancel()), (Done(), Success())],
)
def test_a_strategy_may_say_that_a_job_is_not_run(word: Word, end: End) -> None:
    strategy = Says(word)

    assert run(never, strategy=strategy) == end
    assert strategy.released == 0


def test_a_strategy_may_have_a_job_wait() -> None:
    strategy = Says(Wait(0.001), Wait(timedelta(0)), Grant())

    assert run(lambda job: None, strategy=strategy) == Success()
    assert (strategy.words, strategy.released) == ([], 1)


def test_a_task_waits_as_well() -> None:
    async def handle(job: AsyncHeldJob) -> None: ...

    strategy = Says(Wait(0.001), Grant())

    assert run(handle, strategy=strategy) == Success()
    assert strategy.released == 1


def test_its_permit_is_free_again_after_an_exception() -> None:
    strategy = Says(Grant())

    run(raising(ValueError()), strategy=strategy)

    assert strategy.released == 1


def test_a_strategy_that_raises_is_a_run_that_failed() -> None:
    assert run(never, strategy=Says()) == Failed("IndexError: pop from empty list")


def test_what_was_done_counts_though_a_permit_is_not_given_back() -> None:
    class Broken(Says):
        def release(self, job: Held) -> None:
            raise RuntimeError("no connection")

    assert run(lambda job: None, strategy=Broken(Grant())) == Success()


# --- what can be a handler --------------------------------------------------------


def make(call: Any, queues: tuple[Any, ...] = ("mail",), **options: Any) -> None:
    wanted = dict.fromkeys(("permits", "backoff", "strategy", "exceptions"))
    spec_of(call, queues, **{**wanted, "processes": 0, **options})


def test_what_cannot_be_a_handler_is_refused_where_it_is_said() -> None:
    async def later(job: Any) -> None: ...

    with pytest.raises(TypeError, match=r"takes \(job\), or \(ctx, job\)"):
        make(lambda: None)
    with pytest.raises(TypeError, match=r"takes \(job\), or \(ctx, job\)"):
        make(lambda a, b, c: None)
    with pytest.raises(ValueError, match="name the queues"):
        make(lambda job: None, ())
    with pytest.raises(ValueError, match="permits"):
        make(lambda job: None, permits=0)
    with pytest.raises(ValueError, match="not an async def"):
        make(later, processes=2)


def test_a_class_has_its_options_in_capitals() -> None:
    class Mail(Handler):
        QUEUE = "mail", "letters"
        PERMITS = 3
        BACKOFF = lambda attempt: 2.0 * attempt  # noqa: E731

        def process(self, ctx: Context, job: HeldJob) -> None: ...

    spec = spec_of_class(Mail())

    assert spec.queues == ("mail", "letters")
    assert (spec.permits, spec.takes_context) == (3, True)
    assert callable(spec.backoff)
    assert spec.backoff(4) == 8.0


def test_a_queue_without_a_handler_fails_its_jobs_for_good() -> None:
    # SQ-R8
    assert nobody_for("mail").call(held_job()) == Critical(
        "no handler for queue 'mail'"
    )
