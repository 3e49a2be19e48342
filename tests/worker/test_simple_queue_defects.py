"""What breaks simple_queue (SQ-B1 to B9), each as tests that it would fail."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from daemons import PATIENCE_S, ROOT, Daemon, until
from seed_sites import (
    SITES,
    claimable,
    claimed,
    client_of,
    ended,
    queued,
    running,
    work,
    worker_of,
)

from jobengine import (
    Client,
    Done,
    Drop,
    Failed,
    Grant,
    HeldJob,
    Later,
    Strategy,
    Success,
    Wait,
    Worker,
    constant,
)
from jobengine.errors import JobCancelled, StaleLease
from jobengine.worker.held import Held

QUEUE, SLOW = "seed", "slow"
AT_ONCE = constant(0)
# Long enough to be written and read, short enough to be waited for.
SHORT_LEASE_S = 0.05


@pytest.fixture(scope="module", params=SITES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    with SITES[request.param](tmp_path_factory.mktemp(request.param)) as client:
        yield client


@pytest.fixture
def app(site: Client) -> Iterator[Client]:
    """A client, and two empty queues."""
    for queue in (QUEUE, SLOW):
        site.create_queue(queue, read=["app"], write=["app"])
    yield site
    for queue in (QUEUE, SLOW):
        site.delete_queue(queue)


def succeed(_job: HeldJob) -> None:
    pass


# --- B1: a job that kills its worker was tried for ever ---------------------------


def test_a_job_whose_workers_are_never_heard_of_again_is_poison(app: Client) -> None:
    terms: Any = {"max_attempts": None, "poison_after": 3, "backoff": AT_ONCE}
    first = claimed(app, QUEUE, lease=SHORT_LEASE_S, **terms)

    second, third = claimable(app, QUEUE), claimable(app, QUEUE)
    job = ended(app, QUEUE, first.uid)

    assert {first.uid, second.uid, third.uid} == {job.uid}
    assert (job.state, job.reason) == ("failed", "poison")
    assert (job.attempt, job.lost_leases) == (3, 3)
    assert app.claim(QUEUE) == []


KILLED_BY_ITS_JOB = """\
import os
import signal
from jobengine import Client, Worker

worker = Worker(Client.from_env())

@worker.handler("seed")
def die(job):
    os.kill(os.getpid(), signal.SIGKILL)

worker.run()
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """For what has two processes in it, or ends the daemon."""
    with running(tmp_path / "daemon") as daemon:
        with client_of(daemon) as client:
            client.create_queue(QUEUE, read=["app"], write=["app"])
        yield daemon


def test_a_job_that_kills_worker_processes_is_poison(daemon: Daemon) -> None:
    terms: Any = {"max_attempts": None, "poison_after": 2, "backoff": AT_ONCE}
    with client_of(daemon) as client:
        handle = client.enqueue(QUEUE, {}, lease=0.5, **terms)

        codes = [run_script(KILLED_BY_ITS_JOB, daemon) for _ in range(2)]
        job = ended(client, QUEUE, handle.uid)

    assert codes == [-signal.SIGKILL, -signal.SIGKILL]
    assert (job.reason, job.attempt) == ("poison", 2)


def run_script(script: str, daemon: Daemon) -> int:
    """Run the script as a process until it ends; how it ended."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "JOBENGINE_URL": f"http://127.0.0.1:{daemon.port}",
        "JOBENGINE_NAME": "app",
    }
    run = [sys.executable, "-c", script]
    return subprocess.run(run, env=environ, timeout=PATIENCE_S, check=False).returncode


# --- B2: a worker that died in the last attempt left the job running for ever -----


def test_a_job_whose_worker_is_lost_in_its_last_attempt_ends(app: Client) -> None:
    uid = claimed(app, QUEUE, max_attempts=1, lease=SHORT_LEASE_S).uid

    job = ended(app, QUEUE, uid)

    assert (job.state, job.reason) == ("failed", "lease_lost")
    assert [letter.uid for letter in app.dead_letters(QUEUE).jobs] == [uid]


# --- B3: a worker that died before its first beat was never noticed ---------------


def test_a_job_is_taken_back_from_who_died_before_the_first_beat(app: Client) -> None:
    first = claimed(app, QUEUE, lease=SHORT_LEASE_S, backoff=AT_ONCE)

    second = claimable(app, QUEUE)

    assert first.lease is not None
    assert first.lease.until > first.lease.since
    assert (second.uid, second.attempt) == (first.uid, 2)
    with pytest.raises(StaleLease):
        app.complete(first)


# --- B4: waiting for a permit used up attempts ------------------------------------


def test_a_job_that_waits_for_a_permit_of_its_queue_uses_no_attempt(
    app: Client,
) -> None:
    begun, looked = threading.Semaphore(0), threading.Event()
    handles = [app.enqueue(QUEUE, {}, max_attempts=1) for _ in range(5)]

    def rest(_job: HeldJob) -> None:
        begun.release()
        assert looked.wait(PATIENCE_S)

    with worker_of(app, QUEUE, rest, permits=1):
        assert begun.acquire(timeout=PATIENCE_S)
        waiting = sum(handle.get().state == "queued" for handle in handles)
        looked.set()
        jobs = [ended(app, QUEUE, handle.uid) for handle in handles]

    assert waiting == 4
    assert [(job.state, job.attempt) for job in jobs] == [("complete", 1)] * 5


class Busy(Strategy):
    """Says what it is told to, word by word, and Grant from then on."""

    def __init__(self, *words: Any) -> None:
        self.words = list(words)
        self.held = 0

    def acquire(self, job: Held) -> Any:
        word = self.words.pop(0) if self.words else Grant()
        self.held += isinstance(word, Grant)
        return word

    def release(self, job: Held) -> None:
        self.held -= 1


def test_a_job_that_its_strategy_puts_back_uses_no_attempt(app: Client) -> None:
    handle = app.enqueue(QUEUE, {}, max_attempts=1)
    busy = Busy(Later(0), Later(0.01), Wait(0.01), Later(0.01))

    with worker_of(app, QUEUE, succeed, strategy=busy):
        job = ended(app, QUEUE, handle.uid)

    assert (job.state, job.attempt, job.reschedules) == ("complete", 1, 0)
    assert (busy.words, busy.held) == ([], 0)


def test_a_strategy_may_end_a_job_without_a_run(app: Client) -> None:
    dropped, done = app.enqueue(QUEUE, {}), app.enqueue(QUEUE, {})
    runs: list[str] = []

    work(
        app,
        QUEUE,
        lambda job: runs.append(job.uid),
        strategy=Busy(Drop(), Done("cached")),
    )

    assert runs == []
    assert dropped.get().state == "cancelled"
    assert (done.get().state, done.get().result) == ("complete", "cached")


# --- B5: the first error of its database ended the poller -------------------------


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill])
def test_a_worker_goes_on_when_its_daemon_is_back(
    daemon: Daemon, end: Callable[[Daemon], object]
) -> None:
    client = client_of(daemon)

    with client, worker_of(client, QUEUE, lambda job: job.content):
        before = client.enqueue(QUEUE, 1).result(PATIENCE_S)
        end(daemon)
        daemon.start()
        after = client.enqueue(QUEUE, 2).result(PATIENCE_S)

    assert (before, after) == (1, 2)


def test_a_run_that_outlasts_its_daemon_is_told_to_the_next(daemon: Daemon) -> None:
    begun, again = threading.Event(), threading.Event()

    def outlast(_job: HeldJob) -> str:
        begun.set()
        assert again.wait(PATIENCE_S)
        return "done"

    with client_of(daemon) as client:
        handle = client.enqueue(QUEUE, {})
        with worker_of(client, QUEUE, outlast):
            assert begun.wait(PATIENCE_S)
            daemon.kill()
            daemon.start()
            again.set()
            result = handle.result(PATIENCE_S)
        job = handle.get()

    assert (result, job.attempt) == ("done", 1)


# --- B6: who waits was told too late, or too early --------------------------------


def test_who_waits_after_the_job_has_ended_is_told_at_once(app: Client) -> None:
    handle = app.enqueue(QUEUE, {})
    work(app, QUEUE, lambda _job: "done")

    assert handle.result(PATIENCE_S) == "done"


def test_who_waits_is_not_told_of_a_job_that_was_put_back(app: Client) -> None:
    handle = app.enqueue(QUEUE, {}, backoff=AT_ONCE)
    app.fail(app.claim(QUEUE)[0], error="not yet")

    assert handle.wait(timeout=0) is None
    with pytest.raises(TimeoutError):
        handle.result(timeout=0)
    work(app, QUEUE, lambda _job: "done")
    assert handle.result(PATIENCE_S) == "done"


WAITS = """\
from jobengine import Client

assert Client.from_env().handle("seed", "{}").result(20) == "done"
"""


def test_who_waits_may_be_another_process(daemon: Daemon) -> None:
    with client_of(daemon) as client:
        handle = client.enqueue(QUEUE, "done")

        with worker_of(client, QUEUE, lambda job: job.content):
            code = run_script(WAITS.format(handle.uid), daemon)

    assert code == 0


# --- B7: a cancelled job was run on, and then overwritten -------------------------


def test_a_job_that_is_cancelled_while_it_runs_stays_cancelled(app: Client) -> None:
    begun, told = threading.Event(), []

    def run_on(job: HeldJob) -> Success:
        begun.set()
        told.append((job.wait_cancelled(PATIENCE_S), job.cancelled, job.why))
        return Success("too late")

    handle = app.enqueue(QUEUE, {}, lease=1)
    worker = Worker(app, heartbeat_s=0.1)
    worker.handler(QUEUE)(run_on)
    with worker:
        assert begun.wait(PATIENCE_S)
        handle.cancel()
        until(lambda: told, "its handler is told")

    job = handle.get()
    assert told == [(True, True, "cancelled")]
    assert (job.state, job.result) == ("cancelled", None)


def test_a_report_that_does_not_count_is_told_to_who_made_it(app: Client) -> None:
    done, cancelled = claimed(app, QUEUE), claimed(app, QUEUE)
    app.complete(done)
    app.cancel(QUEUE, cancelled.uid)

    with pytest.raises(StaleLease):
        app.complete(done)
    with pytest.raises(JobCancelled):
        app.complete(cancelled)


# --- B8: a queue without a handler, and the end of a worker, were not as they say ---


def test_a_job_without_a_handler_is_what_the_documents_say(app: Client) -> None:
    handle = app.enqueue(QUEUE, {})

    Worker(app, queues=[QUEUE]).run_until_idle()

    job = handle.get()
    assert (job.state, job.reason) == ("failed", "critical")
    assert job.error is not None
    assert QUEUE in job.error


def test_a_worker_has_stopped_when_all_that_was_begun_is_done(app: Client) -> None:
    begun, finish = threading.Event(), threading.Event()

    def rest(_job: HeldJob) -> None:
        begun.set()
        assert finish.wait(PATIENCE_S)

    handle = app.enqueue(QUEUE, {})
    worker = worker_of(app, QUEUE, rest)
    worker.start()
    assert begun.wait(PATIENCE_S)
    with ThreadPoolExecutor(1) as other:
        stopping = other.submit(worker.stop)
        finish.set()
        in_time = stopping.result(PATIENCE_S)
        state = handle.get().state

    assert (in_time, state) == (True, "complete")


# --- B9: a congested queue held up all others -------------------------------------


def test_a_congested_queue_does_not_hold_up_another(app: Client) -> None:
    looked, begun = threading.Event(), threading.Event()
    queued(app, SLOW, [{}] * 50)

    def rest(_job: HeldJob) -> None:
        begun.set()
        looked.wait(PATIENCE_S)

    worker = worker_of(app, QUEUE, succeed)
    worker.handler(SLOW, permits=1)(rest)
    with worker:
        assert begun.wait(PATIENCE_S)
        # One after the other, so that each has to get past the queue that is full.
        states = [each_done(app) for _ in range(50)]
        slow = app.stats(SLOW)
        looked.set()

    assert states == ["complete"] * 50
    assert (slow.complete, slow.failed) == (0, 0)


def each_done(app: Client) -> str:
    return ended(app, QUEUE, app.enqueue(QUEUE, {}).uid).state


def test_a_congested_queue_leaves_permits_of_all_to_another(app: Client) -> None:
    """With fewer permits in all than the two queues want, each gets its turn."""
    queued(app, SLOW, [{}] * 30)
    handles = queued(app, QUEUE, [{}] * 5)
    worker = Worker(app, permits=2)

    @worker.handler(SLOW, QUEUE)
    def fail_or_not(job: HeldJob) -> Failed | None:
        return Failed(SLOW) if job.queue == SLOW else None

    with worker:
        states = [ended(app, QUEUE, each.uid).state for each in handles]

    assert states == ["complete"] * 5
