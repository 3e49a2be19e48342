"""Handlers in child processes: what they are given, and what they say, arrives."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import crunching
import msgspec
import pytest
from crowds import Make, Run, places
from daemons import PATIENCE_S, Daemon

from jobengine import Client, JobFailed, Worker
from jobengine.errors import Abandoned
from jobengine.worker import frames
from jobengine.worker.handlers import Meanings
from jobengine.worker.held import Held
from jobengine.worker.outcomes import (
    Cancel,
    Critical,
    Failed,
    RescheduleAt,
    RetryAt,
    Success,
    Unprocessable,
)
from jobengine.worker.strategy import Drop, Grant, Later, Strategy, Wait
from jobengine.worker.work import End, PutBack


@pytest.fixture
def place() -> Iterator[Make]:
    with places() as make:
        yield make


# --- what a handler does ------------------------------------------------------------


def test_a_handler_runs_in_another_process_which_serves_job_after_job(
    place: Make,
) -> None:
    crowd = place(crunching.whoami)

    first, second = crowd.run(), crowd.run()

    assert first == second == Success(crowd.processes.pids()[0])
    assert first != Success(os.getpid())


def test_two_processes_work_at_the_same_time(place: Make, tmp_path: Path) -> None:
    crowd = place(crunching.meets, processes=2)

    runs = [crowd.begin(str(tmp_path)) for _ in range(2)]

    assert [run.end() for run in runs] == [Success(), Success()]


@pytest.mark.parametrize("content", [0, 1.5, "ä\u2028", [{"a": [None, 2**70]}]])
def test_the_content_arrives_as_it_is(place: Make, content: Any) -> None:
    assert place(crunching.echo).run(content) == Success(content)


def test_content_that_is_larger_than_a_pipe_arrives(place: Make) -> None:
    assert place(crunching.size).run("x" * 3_000_000) == Success(3_000_000)


def test_the_handler_sees_its_job_but_not_the_memory_of_the_worker(
    place: Make,
) -> None:
    crowd = place(crunching.seen)

    end = crowd.run()

    instant = "2026-11-22T12:00:00Z"
    assert end == Success(["job-1", 2, {"page": 7}, instant, "numbers", None])


def test_a_handler_that_is_a_class_is_made_in_the_process(place: Make) -> None:
    crowd = place(crunching.Doubler())

    assert crowd.run(21) == Success(42)


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("cancel", Cancel()),
        ("failed", Failed("no luck")),
        ("later", RetryAt(120.0, "busy")),
        ("now", RetryAt(0)),
        ("then", RescheduleAt(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))),
        ("unprocessable", Unprocessable("who?")),
    ],
)
def test_each_outcome_arrives(place: Make, said: str, end: End) -> None:
    assert place(crunching.outcome).run(said) == end


def test_an_outcome_that_means_nothing_is_critical(place: Make) -> None:
    end = place(crunching.outcome).run("nonsense")

    assert isinstance(end, Critical)
    assert "means nothing" in str(end.error)


def test_exceptions_mean_what_the_tables_say_the_handlers_own_first(
    place: Make,
) -> None:
    workers: Meanings = {KeyError: Critical, ValueError: Cancel, SystemExit: Cancel()}
    crowd = place(crunching.worse, workers, exceptions={ValueError: RetryAt(5)})

    ends = [crowd.run(content) for content in ("value", "key", "exit")]

    assert ends == [RetryAt(5, "ValueError: x"), Critical("KeyError: 'x'"), Cancel()]


def test_what_an_exception_means_may_be_worked_out_in_the_process(place: Make) -> None:
    crowd = place(crunching.busy, exceptions={crunching.Busy: crunching.when_free})

    assert crowd.run(17.5) == RetryAt(17.5, "attempt 2")


def test_an_exception_of_which_nothing_is_said_is_failed(place: Make) -> None:
    assert place(crunching.worse).run("value") == Failed("ValueError: x")


def test_progress_and_checkpoints_are_told(place: Make) -> None:
    run = place(crunching.steps).begin()

    assert run.end() == Success()
    assert run.keeper.progress == [{"page": 1}]
    assert run.keeper.kept == [{"page": 2}]


def test_a_checkpoint_that_does_not_count_is_raised_in_the_handler(
    place: Make,
) -> None:
    crowd = place(crunching.told_after_all)
    run = Run("job-1", None, crowd.spec)
    run.keeper.refuses = Abandoned("somebody else has it")

    crowd.processes.submit([run.work])

    assert run.end() == Success("abandoned: somebody else has it")


def test_a_thread_that_outlives_its_run_says_nothing_of_the_next(place: Make) -> None:
    crowd = place(crunching.speaks_later)

    crowd.run("first")
    second = crowd.begin("second")

    assert second.end() == Success()
    assert second.keeper.progress == []


# --- strategies ---------------------------------------------------------------------


class Moods(Strategy):
    def __init__(self, *words: Any) -> None:
        self.words = list(words)
        self.released = 0

    def acquire(self, job: Held) -> Any:
        return self.words.pop(0)

    def release(self, job: Held) -> None:
        self.released += 1


def test_the_strategy_is_asked_in_the_worker(place: Make) -> None:
    moods = Moods(Wait(0), Grant(), Later(5), Drop())
    crowd = place(crunching.echo, strategy=moods)

    ends = [crowd.run(1) for _ in range(3)]

    assert ends == [Success(1), PutBack(5), Cancel()]
    assert moods.released == 1


# --- with a worker and a daemon -----------------------------------------------------

CONFIG = """
version: 1
queues:
  numbers: {read: [both], write: [both]}
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Of a daemon that the environment knows."""
    daemon = Daemon(tmp_path / "daemon")
    daemon.configure(CONFIG)
    monkeypatch.setenv("JOBENGINE_URL", f"http://127.0.0.1:{daemon.port}")
    monkeypatch.setenv("JOBENGINE_NAME", "both")
    try:
        daemon.start()
        with Client.from_env() as made:
            yield made
    finally:
        daemon.stop()


def test_a_worker_runs_the_jobs_of_a_daemon_in_processes(client: Client) -> None:
    worker = Worker(client)
    worker.handler("numbers", processes=2)(crunching.asks)
    good = [client.enqueue("numbers", "live") for _ in range(4)]
    bad = client.enqueue("numbers", "die", max_attempts=1)

    with worker:
        results = [job.result(PATIENCE_S) for job in good]
        with pytest.raises(JobFailed) as fault:
            bad.result(PATIENCE_S)

    assert results == ["asking"] * 4
    assert fault.value.job.error == "the process ended with signal 9"


# --- what they say to each other ----------------------------------------------------


@pytest.mark.parametrize("cut", range(1, 12))
def test_messages_are_whole_however_they_are_cut(cut: int) -> None:
    said = [frames.Ready(), frames.Broken("no"), frames.Progress(1, msgspec.Raw(b"2"))]
    written = b"".join(map(frames.frame, said))
    reader = frames.Frames()

    parts = [written[at : at + cut] for at in range(0, len(written), cut)]
    bodies = [body for part in parts for body in reader.feed(part)]

    assert b"".join(frames.frame(each) for each in said) == written
    assert [len(body) for body in bodies] == [len(frames.frame(s)) - 4 for s in said]


def test_a_message_that_is_too_long_is_refused_before_it_is_read() -> None:
    reader = frames.Frames(10)

    with pytest.raises(ValueError, match="11 bytes"):
        list(reader.feed((11).to_bytes(4, "big")))
