"""The engine for tests of programs: in memory, on a clock that the test moves."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from daemons import until

from jobengine.client.backoff import constant
from jobengine.client.client import Client
from jobengine.errors import ConfigError, Forbidden, StaleLease
from jobengine.testing import SimClock, TestEngine, memory_engine, run_until_idle
from jobengine.worker.outcomes import RescheduleAt, RetryAt
from jobengine.worker.worker import Worker

PATIENCE_S = 30
MINUTE_MS = 60_000


@pytest.fixture
def engine() -> Iterator[TestEngine]:
    with memory_engine() as engine:
        yield engine


def worker_of(client: Client, process: Any) -> Worker:
    worker = Worker(client)
    worker.handler("mail")(process)
    return worker


# --- the engine -------------------------------------------------------------------


def test_it_has_neither_a_file_nor_a_thread(tmp_path: Path) -> None:
    before = threading.active_count()

    with memory_engine() as engine:
        engine.enqueue("mail", 1)

        assert threading.active_count() == before


def test_two_engines_know_nothing_of_each_other(engine: TestEngine) -> None:
    with memory_engine() as other:
        engine.enqueue("mail", 1)

        assert other.claim("mail") == []


def test_it_takes_a_configuration(engine: TestEngine) -> None:
    queues = {"queues": {"mail": {"read": ["mailer"], "write": ["shop"]}}}

    with memory_engine(queues, name="shop") as shop, pytest.raises(Forbidden):
        shop.claim("mail")
    with pytest.raises(ConfigError):
        memory_engine({"queue": {}})


def test_it_takes_a_clock() -> None:
    clock = SimClock(1_000_000)

    with memory_engine(clock=clock) as engine:
        engine.enqueue("mail", 1)

        assert engine.clock is clock
        assert engine.now.timestamp() == 1000


def test_no_time_passes_but_what_a_test_lets_pass(engine: TestEngine) -> None:
    handle = engine.enqueue("mail", 1, delay=60)

    early = engine.claim("mail")
    engine.advance(59.999)
    still = engine.claim("mail")
    engine.advance(timedelta(milliseconds=1))

    assert (early, still) == ([], [])
    assert [job.uid for job in engine.claim("mail")] == [handle.uid]


def test_a_test_takes_its_instants_from_the_engine(engine: TestEngine) -> None:
    engine.enqueue("mail", 1, run_at=engine.now + timedelta(hours=1))

    engine.advance(3600)

    assert len(engine.claim("mail")) == 1


def test_time_does_not_go_back(engine: TestEngine) -> None:
    with pytest.raises(ValueError, match="time goes on"):
        engine.advance(-1)


def test_a_lease_runs_out_when_the_test_says_so(engine: TestEngine) -> None:
    handle = engine.enqueue("mail", 1, lease=30, backoff=constant(0))
    (job,) = engine.claim("mail")

    engine.advance(31)

    with pytest.raises(StaleLease):
        engine.complete(job)
    assert handle.get().state == "queued"
    assert handle.get().lost_leases == 1


def test_each_instant_of_a_schedule_is_met_on_the_way(engine: TestEngine) -> None:
    engine.create_queue("mail")
    engine.create_schedule("mail", "tick", "* * * * *", "tick")

    engine.advance(timedelta(minutes=5))

    jobs = engine.claim("mail", max=10)
    made = [job.created_at for job in jobs]
    assert len(made) == 5
    assert {later - one for one, later in pairwise(made)} == {timedelta(minutes=1)}


def test_who_waits_in_another_thread_is_served_by_time(engine: TestEngine) -> None:
    engine.enqueue("mail", "later", delay=60)
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.extend(engine.claim("mail", wait=PATIENCE_S))
    )
    thread.start()
    until(lambda: engine._site.house.doorbell.waiters == 1, "who waits")

    engine.advance(60)
    thread.join(PATIENCE_S)

    assert [job.content for job in found] == ["later"]


def test_the_time_of_those_who_wait_passes_too(engine: TestEngine) -> None:
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(engine.claim("mail", wait=PATIENCE_S))
    )
    thread.start()
    until(lambda: engine._site.house.doorbell.waiters == 1, "who waits")

    engine.advance(PATIENCE_S)
    thread.join(PATIENCE_S / 2)

    assert found == [[]]


def test_a_worker_with_threads_may_run_on_it(engine: TestEngine) -> None:
    handle = engine.enqueue("mail", 20)

    with worker_of(engine, lambda job: job.content + 1):
        result = handle.result(timeout=PATIENCE_S)

    assert result == 21


# --- until idle -------------------------------------------------------------------


def test_a_worker_runs_on_the_thread_of_the_test_until_there_is_nothing(
    engine: TestEngine,
) -> None:
    threads = set()

    def process(job: Any) -> None:
        threads.add(threading.current_thread())
        if job.content:
            engine.enqueue("mail", job.content - 1)

    engine.enqueue("mail", 3)

    assert run_until_idle(worker_of(engine, process)) == 4
    assert threads == {threading.current_thread()}


def test_without_following_time_what_is_for_later_stays(engine: TestEngine) -> None:
    worker = worker_of(engine, lambda _job: None)
    engine.enqueue("mail", 1, delay=60)
    began = engine.now

    assert run_until_idle(worker) == 0
    assert engine.now == began


def test_following_time_retries_come_when_their_back_off_is_over(
    engine: TestEngine,
) -> None:
    runs: list[float] = []
    began = engine.now

    def process(job: Any) -> str:
        runs.append((engine.now - began).total_seconds())
        if job.attempt < 3:
            raise ConnectionError("not yet")
        return "sent"

    handle = engine.enqueue("mail", 1, backoff=constant(60), max_attempts=3)

    assert run_until_idle(worker_of(engine, process), follow_time=True) == 3
    assert runs == [0, 60, 120]
    assert handle.result() == "sent"


def test_following_time_leads_to_jobs_of_a_later_day_and_of_lost_leases(
    engine: TestEngine,
) -> None:
    done: list[Any] = []
    engine.enqueue("mail", "lost", lease=30)
    engine.claim("mail")
    engine.enqueue("mail", "tomorrow", delay=timedelta(days=1))

    run_until_idle(
        worker_of(engine, lambda job: done.append(job.content)), follow_time=True
    )

    assert done == ["lost", "tomorrow"]


def test_following_time_does_not_follow_schedules(engine: TestEngine) -> None:
    engine.create_queue("mail")
    engine.create_schedule("mail", "tick", "* * * * *", "tick")
    worker = worker_of(engine, lambda _job: None)

    assert run_until_idle(worker, follow_time=True) == 0
    engine.advance(60)
    assert run_until_idle(worker, follow_time=True) == 1


def test_a_job_that_puts_itself_off_for_ever_is_told_of(engine: TestEngine) -> None:
    engine.enqueue("mail", 1, max_attempts=None)
    worker = worker_of(engine, lambda _job: RetryAt(60))

    with pytest.raises(TimeoutError, match="for ever"):
        run_until_idle(worker, follow_time=True)


def test_a_job_that_puts_itself_off_too_often_is_poison(engine: TestEngine) -> None:
    handle = engine.enqueue("mail", 1, backoff=constant(0))
    worker = worker_of(engine, lambda _job: RescheduleAt(60))

    run_until_idle(worker, follow_time=True)

    assert handle.get().reason == "poison"


def test_a_worker_under_another_name_follows_time_too(engine: TestEngine) -> None:
    worker = worker_of(engine.as_caller("mailer"), lambda _job: None)
    engine.enqueue("mail", 1, delay=60)

    assert run_until_idle(worker, follow_time=True) == 1


def test_time_is_followed_on_a_test_engine_only() -> None:
    worker = worker_of(Client("http://127.0.0.1:9"), lambda _job: None)

    with pytest.raises(TypeError, match="TestEngine"):
        run_until_idle(worker, follow_time=True)


# --- the plugin -------------------------------------------------------------------

SUITE = """
import pytest
from datetime import timedelta


def test_an_engine_and_its_clock(job_engine, job_clock):
    job_engine.enqueue("mail", 1, delay=60)
    assert job_engine.claim("mail") == []
    job_engine.advance(60)
    assert job_engine.claim("mail")[0].content == 1
    assert job_clock is job_engine.clock


def test_a_new_one_for_each_test(job_engine):
    assert job_engine.claim("mail") == []


class TestConfigured:
    @pytest.fixture
    def job_config(self):
        return {"queues": {"mail": {"read": [], "write": ["app"]}}}

    def test_by_the_programs_own_fixture(self, job_engine):
        assert job_engine.get_queue("mail").configured
"""


def test_pytest_has_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)

    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "error"),
            *("-p", "jobengine.pytest_plugin", "-p", "no:cacheprovider", "."),
        ],
        # Whether the package is installed with its entry point is not asked here.
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "3 passed" in done.stdout, done.stdout + done.stderr
