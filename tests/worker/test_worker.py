"""A worker with its threads, before a real daemon: nothing is lost, nothing done twice
that counts, and what is not its own it leaves alone.
"""

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from daemons import PATIENCE_S, Daemon, until
from seed_sites import claimed, client_of, ended, running, worker_of

from jobengine import (
    AsyncHeldJob,
    Cancel,
    Client,
    Context,
    Failed,
    Grant,
    Handler,
    HeldJob,
    Later,
    RetryAt,
    Strategy,
    Worker,
    constant,
)
from jobengine.worker import crew, fetch


def state_of(app: Client, queue: str, uid: str) -> str:
    return app.get(queue, uid).state


# --- it runs jobs -----------------------------------------------------------------


def test_a_worker_runs_the_jobs_of_its_queue(app: Client, queue: str) -> None:
    def double(job: HeldJob) -> int:
        return int(job.content) * 2

    with worker_of(app, queue, double):
        handles = [app.enqueue(queue, number) for number in range(20)]
        results = [handle.result(PATIENCE_S) for handle in handles]

    assert results == [number * 2 for number in range(20)]


def test_async_handlers_run_beside_each_other_on_one_loop(
    app: Client, queue: str
) -> None:
    there = 0
    all_there = asyncio.Event()

    async def meet(job: AsyncHeldJob) -> str:
        nonlocal there
        there += 1
        if there == 30:
            all_there.set()
        await all_there.wait()
        return threading.current_thread().name

    with worker_of(app, queue, meet):
        handles = app.enqueue_many(queue, range(30))
        names = {handle.result(PATIENCE_S) for handle in handles}

    assert names == {"jobengine-loop"}


def test_a_class_may_be_a_handler(app: Client, queue: str) -> None:
    class Greet(Handler):
        QUEUE = queue

        def process(self, ctx: Context, job: HeldJob) -> str:
            return f"{ctx.state} {job.content}"

    worker = Worker(app, state="hello")
    worker.add(Greet())

    with worker:
        assert app.enqueue(queue, "ada").result(PATIENCE_S) == "hello ada"


def test_a_run_that_follows_finds_what_the_one_before_has_told(
    app: Client, queue: str
) -> None:
    def count(job: HeldJob) -> Any:
        page = job.saved or 0
        job.checkpoint(page + 1)
        return page if page == 2 else Failed("not yet")

    options = {"max_attempts": 5, "backoff": constant(0)}
    handle = app.enqueue(queue, {}, **options)
    with worker_of(app, queue, count):
        assert handle.result(PATIENCE_S) == 2


def test_progress_can_be_seen_while_it_runs(app: Client, queue: str) -> None:
    seen = threading.Event()

    def work(job: HeldJob) -> None:
        job.progress({"percent": 40})
        assert seen.wait(PATIENCE_S)

    handle = app.enqueue(queue, {})
    with worker_of(app, queue, work):
        until(lambda: handle.get().progress == {"percent": 40}, "it can be seen")
        seen.set()
        assert handle.wait(PATIENCE_S) is not None


def test_a_job_outlives_its_lease_while_it_is_heard_of(app: Client, queue: str) -> None:
    runs: list[int] = []

    def slow(job: HeldJob) -> None:
        runs.append(job.attempt)
        job.wait_cancelled(2.5)

    handle = app.enqueue(queue, {}, lease=1)
    with worker_of(app, queue, slow):
        job = handle.wait(PATIENCE_S)

    assert job is not None
    assert (job.state, job.attempt, runs) == ("complete", 1, [1])


# --- permits ----------------------------------------------------------------------


def test_jobs_without_a_permit_are_left_to_others(app: Client, queue: str) -> None:
    # SQ-B4: not taken at all, so no attempt is used up.
    begun, go_on = threading.Semaphore(0), threading.Event()

    def hold(job: HeldJob) -> None:
        begun.release()
        assert go_on.wait(PATIENCE_S)

    app.enqueue_many(queue, range(5))
    with worker_of(app, queue, hold, permits=2):
        for _ in range(2):
            assert begun.acquire(timeout=PATIENCE_S)
        stats = app.stats(queue)
        go_on.set()
        until(lambda: app.stats(queue).complete == 5, "all are done")

    assert (stats.inprogress, stats.ready) == (2, 3)
    assert {job.attempt for job in app.iter_jobs(queue)} == {1}


def test_one_permit_goes_round_among_queues_that_wait(app: Client, queue: str) -> None:
    others = [f"{queue}-{number}" for number in range(3)]
    worker = Worker(app, permits=1)
    for other in others:
        app.create_queue(other, read=["app"], write=["app"])
        worker.handler(other)(lambda job: job.content)

    with worker:
        # All wait for a job, and not one of them holds the permit meanwhile.
        for turn in range(3):
            for other in reversed(others):
                assert app.enqueue(other, turn).result(PATIENCE_S) == turn


def test_a_job_whose_strategy_says_later_costs_no_attempt(
    app: Client, queue: str
) -> None:
    class Third(Strategy):
        asked = 0

        def acquire(self, job: Any) -> Grant | Later:
            self.asked += 1
            return Later(0.05) if self.asked < 3 else Grant()

    strategy = Third()
    with worker_of(app, queue, lambda job: job.attempt, strategy=strategy):
        assert app.enqueue(queue, {}).result(PATIENCE_S) == 1

    assert strategy.asked == 3


# --- what is not its own any more -------------------------------------------------


def test_a_running_handler_is_told_that_its_job_was_cancelled(
    app: Client, queue: str
) -> None:
    why: list[str | None] = []

    def work(job: HeldJob) -> str:
        assert job.wait_cancelled(PATIENCE_S)
        why.append(job.why)
        return "done all the same"

    worker = Worker(app, heartbeat_s=0.1)
    worker.handler(queue)(work)
    handle = app.enqueue(queue, {}, unique_key="one")
    with worker:
        until(lambda: state_of(app, queue, handle.uid) == "inprogress", "it runs")
        assert app.cancel_by_key(queue, "one") == 1
        until(lambda: worker.stats()[queue].lost == 1, "its end is given up")

    assert why == ["cancelled"]
    job = handle.get()
    # SQ-B7: its result does not undo the cancellation.
    assert (job.state, job.result) == ("cancelled", None)


def test_a_task_is_cancelled_with_its_job(app: Client, queue: str) -> None:
    ends: list[str] = []

    async def work(job: AsyncHeldJob) -> None:
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            ends.append(str(job.why))
            raise

    worker = Worker(app, heartbeat_s=0.1)
    worker.handler(queue)(work)
    handle = app.enqueue(queue, {}, fingerprint="many")
    with worker:
        until(lambda: state_of(app, queue, handle.uid) == "inprogress", "it runs")
        assert app.cancel_all(queue, "many") == 1
        until(lambda: ends, "it is told")

    assert ends == ["cancelled"]


def test_a_handler_may_cancel_its_job(app: Client, queue: str) -> None:
    with worker_of(app, queue, lambda job: Cancel()):
        handle = app.enqueue(queue, {})

        assert ended(app, queue, handle.uid).state == "cancelled"


def test_a_worker_that_only_reads_may_say_all_of_it(
    daemon: Daemon, app: Client, queue: str
) -> None:
    name = f"{queue}-read"
    app.create_queue(name, read=["reader"], write=["app"])
    outcomes = {"cancelled": Cancel(), "failed": Failed("no"), "complete": "yes"}
    reader = app.as_caller("reader")

    with worker_of(reader, name, lambda job: outcomes[job.content]):
        for state in outcomes:
            handle = app.enqueue(name, state, max_attempts=1)
            assert ended(app, name, handle.uid).state == state


# --- back-off ---------------------------------------------------------------------


@pytest.mark.parametrize("backoff", [constant(100), lambda attempt: 100.0 * attempt])
def test_the_workers_back_off_says_when_it_is_tried_again(
    app: Client, queue: str, backoff: Any
) -> None:
    worker = Worker(app, backoff=backoff)
    worker.handler(queue)(lambda job: Failed("no"))
    handle = app.enqueue(queue, {}, backoff=constant(5))

    assert worker.run_until_idle() == 1

    job = handle.get()
    assert job.error == "no"
    assert 99 < (job.run_at - job.updated_at).total_seconds() < 101


def test_the_back_off_of_a_queue_comes_before_the_workers(
    app: Client, queue: str
) -> None:
    worker = Worker(app, backoff=constant(5))
    worker.handler(queue, backoff=constant(100))(lambda job: Failed())
    handle = app.enqueue(queue, {})

    worker.run_until_idle()

    job = handle.get()
    assert (job.run_at - job.updated_at).total_seconds() > 99


def test_without_one_the_job_says_it_itself(app: Client, queue: str) -> None:
    handle = app.enqueue(queue, {}, backoff=constant(100))

    worker_of(app, queue, lambda job: Failed()).run_until_idle()

    job = handle.get()
    assert (job.run_at - job.updated_at).total_seconds() == 100


def test_poison_is_counted_by_the_daemon(app: Client, queue: str) -> None:
    # SQ-B1: whatever has become of the workers that lost it.
    job = claimed(app, queue, lease=0.05, poison_after=2, backoff=constant(0))
    until(lambda: app.claim(queue), "it is queued again, and lost once more")

    dead = ended(app, queue, job.uid)

    assert (dead.state, dead.reason) == ("failed", "poison")


# --- its end ----------------------------------------------------------------------


def test_a_worker_that_stops_lets_its_runs_end(app: Client, queue: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(job: HeldJob) -> str:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return "done"

    worker = worker_of(app, queue, work)
    worker.start()
    handle = app.enqueue(queue, {})
    assert begun.wait(PATIENCE_S)
    ends: list[bool] = []
    stopping = threading.Thread(target=lambda: ends.append(worker.stop()))
    stopping.start()
    later = app.enqueue(queue, {})

    go_on.set()
    stopping.join(PATIENCE_S)

    assert ends == [True]
    assert handle.result(PATIENCE_S) == "done"
    assert later.get().state == "queued"


def test_what_does_not_end_in_time_goes_back_and_costs_no_attempt(
    app: Client, queue: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    why: list[str | None] = []

    def work(job: HeldJob) -> str:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        why.append(job.why)
        return "too late"

    worker = worker_of(app, queue, work)
    worker.start()
    handle = app.enqueue(queue, {})
    assert begun.wait(PATIENCE_S)

    assert not worker.stop(grace_s=0)

    job = handle.get()
    assert (job.state, job.attempt) == ("queued", 0)
    go_on.set()
    until(lambda: why, "the run is over")
    assert why == ["stopping"]
    assert handle.get().state == "queued"


def test_jobs_that_have_not_begun_go_back_at_once(
    app: Client, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(job: HeldJob) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)

    # Nobody looks whether jobs wait for a thread: there will be but one.
    monkeypatch.setattr(crew, "LOOK_S", PATIENCE_S)
    worker = worker_of(app, queue, work)
    app.enqueue_many(queue, range(50))
    worker.start()
    assert begun.wait(PATIENCE_S)
    until(lambda: app.stats(queue).inprogress == 50, "it has them in hand")

    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    until(lambda: app.stats(queue).queued == 49, "those that wait are back")
    go_on.set()
    stopping.join(PATIENCE_S)

    ends = Counter((job.state, job.attempt) for job in app.iter_jobs(queue))
    assert ends == {("complete", 1): 1, ("queued", 0): 49}


def test_a_worker_that_waits_for_jobs_stops_at_once(app: Client, queue: str) -> None:
    worker = worker_of(app, queue, lambda job: None)
    worker.start()
    app.enqueue(queue, {}).result(PATIENCE_S)

    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    stopping.join(PATIENCE_S)

    # It would have waited for a job for longer than that.
    assert fetch.POLL_S > PATIENCE_S
    assert not stopping.is_alive()


def test_a_worker_can_be_started_again(app: Client, queue: str) -> None:
    worker = worker_of(app, queue, lambda job: "done")

    for _ in range(3):
        with worker:
            assert app.enqueue(queue, {}).result(PATIENCE_S) == "done"

    assert worker.stats()[queue].completed == 3


def test_a_worker_without_a_handler_says_so(app: Client) -> None:
    with pytest.raises(ValueError, match="no handler"):
        Worker(app).start()


def test_a_queue_has_one_handler() -> None:
    worker = Worker()
    worker.handler("mail")(lambda job: None)

    with pytest.raises(ValueError, match="'mail' has a handler already"):
        worker.handler("mail")(lambda job: None)


# --- a daemon that goes away ------------------------------------------------------


def test_a_worker_outlives_its_daemon(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(job: HeldJob) -> Any:
        if job.content == "long":
            begun.set()
            assert go_on.wait(PATIENCE_S)
        return job.content

    with running(tmp_path) as daemon, client_of(daemon) as app:
        app.create_queue("jobs", read=["app"], write=["app"])
        long = app.enqueue("jobs", "long")
        with worker_of(app, "jobs", work) as worker:
            assert begun.wait(PATIENCE_S)
            daemon.kill()
            # Its run ends while there is nobody to tell.
            go_on.set()
            daemon.start()

            assert long.result(PATIENCE_S) == "long"
            assert app.enqueue("jobs", "next").result(PATIENCE_S) == "next"

    counts = worker.stats()["jobs"]
    assert (counts.completed, counts.lost) == (2, 0)


def test_a_worker_may_be_there_before_its_daemon_and_its_queue(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, client_of(daemon) as app:
        daemon.stop()
        with worker_of(app, "late", lambda job: "done"):
            daemon.start()
            app.create_queue("late", read=["app"], write=["app"])

            assert app.enqueue("late", {}).result(PATIENCE_S) == "done"


def test_retry_at_is_an_instant_of_the_daemon(app: Client, queue: str) -> None:
    handle = app.enqueue(queue, {})

    worker_of(app, queue, lambda job: RetryAt(50, "busy")).run_until_idle()

    job = handle.get()
    assert (job.state, job.error, job.attempt) == ("queued", "busy", 1)
    assert 49 < (job.run_at - job.updated_at).total_seconds() < 51
