"""What simple_queue's own tests ask for, asked of the SDK, under their names.

Each runs on an engine in this process, and on a daemon. `ORIGINALS` has the names, by
the file that they come from. An original's status is here a state, and a reason:

- pending, running, completed, cancelled: queued, inprogress, complete, cancelled
- failed, once the reaper has come by: failed at once, by its attempts
- critical_failure, unprocessable, bad_job: failed, as critical, unprocessable, poison
- in the archive, where a janitor puts what is completed: complete, while it is kept
- a dead letter: failed, as each of those has a reason. What is cancelled is none

What else is otherwise, on purpose:

- test_insert_job_duplicate_unique_key: None there. Here DuplicateJob, or the job that
  is there, by `on_conflict` (D11)
- test_unique_key_no_duplicate: a key counts for its queue, not for all of them (D11)
- test_reschedule_at_result: the back-off that it waits for is the job's (SQ-R4)
- test_poison_job: after 100 times, by a rule of the server, not of a worker (SQ-R9)
- test_wait_for_job_first_failure: who waits is told of the job's end, not of the first
  run's (SQ-B6)
- test_queue_isolation: the slow jobs wait until it has looked, and sleep no half second
- all of janitor_test: jobs come to their states as jobs do, by verbs. The original
  writes a status into its table
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from inspect import signature
from typing import Any

import pytest
from daemons import PATIENCE_S, until
from seed_sites import SITES, claimed, ended, queued, work, worker_of

from jobengine import (
    Cancel,
    Client,
    Critical,
    Failed,
    HeldJob,
    Job,
    JobHandle,
    NewJob,
    RescheduleAt,
    RetryAt,
    Success,
    Unprocessable,
    Worker,
    constant,
)
from jobengine.core.lifecycle import RESCHEDULES_MAX
from jobengine.errors import (
    DuplicateJob,
    JobCancelled,
    JobFailed,
    JobNotFound,
)

ORIGINALS = {
    "integration_test": (
        "test_job_creation",
        "test_insert_and_process_success",
        "test_cancel_result",
        "test_failed_result",
        "test_critical_result",
        "test_unprocessable_result",
        "test_retry_at_result",
        "test_reschedule_at_result",
        "test_unique_key_no_duplicate",
        "test_missing_handler",
        "test_max_attempts",
        "test_concurrent_processing",
        "test_job_with_fingerprint",
        "test_poison_job",
        "test_queue_isolation",
    ),
    "job_api_test": (
        "test_insert_job",
        "test_insert_job_with_unique_key",
        "test_insert_job_duplicate_unique_key",
        "test_insert_job_duplicate_unique_key_but_cancelled",
        "test_cancel_job_by_unique_key",
        "test_cancel_all_jobs_by_fingerprint",
        "test_insert_jobs",
        "test_insert_jobs_conflicting",
    ),
    "janitor_test": (
        "test_archiver_moves_completed_job",
        "test_archiver_moves_multiple_completed_jobs",
        "test_archiver_ignores_non_completed_statuses",
        "test_archiver_empty_queue_is_noop",
        "test_dlq_moves_all_terminal_statuses",
        "test_dlq_ignores_running_and_completed",
        "test_dlq_empty_queue_is_noop",
        "test_archiver_and_dlq_do_not_overlap",
        "test_full_janitor_cycle_moves_correct_jobs",
        "test_e2e_completed_job_is_archived",
        "test_e2e_cancelled_job_is_archived_by_dlq",
        "test_e2e_critical_job_is_archived_by_dlq",
        "test_e2e_unprocessable_job_is_archived_by_dlq",
    ),
    "wait_for_job_test": (
        "test_wait_for_job_success",
        "test_wait_for_job_success_db_state",
        "test_wait_for_job_first_failure",
        "test_wait_for_job_critical_failure",
        "test_wait_for_job_unprocessable",
        "test_wait_for_job_cancel",
        "test_no_waiter_success_does_not_fail",
        "test_no_waiter_fail_does_not_fail",
        "test_insert_jobs_and_wait_all_resolve",
    ),
}

HOUR = timedelta(hours=1)
# A run that failed is not repeated before the test is over.
LATER = constant(HOUR)
AT_ONCE = constant(0)


@pytest.fixture(scope="module", params=SITES)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """The client of a site on which each test has queues of its own."""
    with SITES[request.param](tmp_path_factory.mktemp(request.param)) as client:
        yield client


def make_queue(app: Client, name: str) -> str:
    app.create_queue(name, read=["app"], write=["app"])
    return name


def succeed(_job: HeldJob) -> None:
    pass


def saying(outcome: Any) -> Callable[[HeldJob], Any]:
    return lambda _job: outcome


def archived(app: Client, queue: str) -> list[str]:
    return [job.uid for job in app.archive(queue).jobs]


def dead(app: Client, queue: str) -> list[str]:
    return [job.uid for job in app.dead_letters(queue).jobs]


def listed(app: Client, queue: str) -> dict[str, str]:
    return {job.uid: job.state for job in app.list_jobs(queue).jobs}


def test_each_original_has_its_counterpart_on_both_sites() -> None:
    names = [name for names in ORIGINALS.values() for name in names]

    assert len(names) == len(set(names)) == 45
    assert all("app" in signature(globals()[name]).parameters for name in names)


# --- integration_test -------------------------------------------------------------


def test_job_creation(app: Client, queue: str) -> None:
    """A new job is queued, has not been run, and may be run three times."""
    handle = app.enqueue(queue, {"to": "ada"})

    job = handle.get()
    assert (job.queue, job.state, job.content) == (queue, "queued", {"to": "ada"})
    assert (job.attempt, job.max_attempts) == (0, 3)


def test_insert_and_process_success(app: Client, queue: str) -> None:
    """Its handler says Success: it is complete, with what came of it."""
    handle = app.enqueue(queue, {"n": 20})

    runs = work(app, queue, lambda job: Success(job.content["n"] + 1))

    job = handle.get()
    assert (runs, job.state, job.result) == (1, "complete", 21)
    assert job.finished_at is not None


def test_cancel_result(app: Client, queue: str) -> None:
    """Its handler says Cancel: it is cancelled, and not run again."""
    handle = app.enqueue(queue, {})

    runs = work(app, queue, saying(Cancel()))

    assert (runs, handle.get().state) == (1, "cancelled")


def explode(_job: HeldJob) -> None:
    raise ValueError("boom")


@pytest.mark.parametrize("process", [explode, saying(Failed("boom"))], ids="rs")
def test_failed_result(
    app: Client, queue: str, process: Callable[[HeldJob], Any]
) -> None:
    """It fails, in either way: it is queued again for later, and the run counts."""
    handle = app.enqueue(queue, {}, backoff=LATER)

    runs = work(app, queue, process)

    job = handle.get()
    assert (runs, job.state, job.attempt) == (1, "queued", 1)
    assert job.run_at == job.updated_at + HOUR
    assert job.error is not None
    assert "boom" in job.error


def test_critical_result(app: Client, queue: str) -> None:
    """Its handler says Critical: a dead letter, whatever attempts it had left."""
    handle = app.enqueue(queue, {})

    runs = work(app, queue, saying(Critical("on fire")))

    job = handle.get()
    assert (runs, job.state, job.reason) == (1, "failed", "critical")
    assert (job.attempt, job.error) == (1, "on fire")


def test_unprocessable_result(app: Client, queue: str) -> None:
    """Its handler says Unprocessable: the same."""
    handle = app.enqueue(queue, {})

    runs = work(app, queue, saying(Unprocessable("no address")))

    job = handle.get()
    assert (runs, job.state, job.reason) == (1, "failed", "unprocessable")
    assert (job.attempt, job.error) == (1, "no address")


def test_retry_at_result(app: Client, queue: str) -> None:
    """Its handler says when: it is queued for then, and the run counts."""
    handle = app.enqueue(queue, {}, backoff=AT_ONCE)
    at = handle.get().created_at + HOUR

    runs = work(app, queue, saying(RetryAt(at)))

    job = handle.get()
    assert (runs, job.state, job.attempt) == (1, "queued", 1)
    assert job.run_at == at


def test_reschedule_at_result(app: Client, queue: str) -> None:
    """Its handler puts it off: it is queued for then, and the run does not count."""
    handle = app.enqueue(queue, {}, backoff=AT_ONCE)
    at = handle.get().created_at + HOUR

    runs = work(app, queue, saying(RescheduleAt(at)))

    job = handle.get()
    assert (runs, job.state, job.attempt) == (1, "queued", 0)
    assert (job.run_at, job.reschedules) == (at, 1)


def test_unique_key_no_duplicate(app: Client, queue: str) -> None:
    """The second of one key is the first."""
    first = app.enqueue(queue, {"n": 1}, unique_key="k", on_conflict="keep")
    second = app.enqueue(queue, {"n": 2}, unique_key="k", on_conflict="keep")

    assert (first.created, second.created) == (True, False)
    assert second.uid == first.uid
    assert listed(app, queue) == {first.uid: "queued"}


def test_missing_handler(app: Client, queue: str) -> None:
    """A worker takes from a queue for which it has no handler: a dead letter."""
    handle = app.enqueue(queue, {})

    Worker(app, queues=[queue]).run_until_idle()

    job = handle.get()
    assert (job.state, job.reason) == ("failed", "critical")


def test_max_attempts(app: Client, queue: str) -> None:
    """It fails each time: after the last of its attempts it is a dead letter."""
    handle = app.enqueue(queue, {}, max_attempts=5)

    with worker_of(app, queue, saying(Failed("no")), backoff=constant(0.1)):
        job = ended(app, queue, handle.uid)

    assert (job.state, job.reason, job.attempt) == ("failed", "attempts", 5)
    assert [run.attempt for run in job.runs] == [1, 2, 3, 4, 5]


def test_concurrent_processing(app: Client, queue: str) -> None:
    """Twenty jobs run at once, and all of them are done."""
    together = threading.Barrier(20)
    handles = [app.enqueue(queue, {"n": n}) for n in range(20)]

    def meet(_job: HeldJob) -> None:
        together.wait(PATIENCE_S)

    with worker_of(app, queue, meet):
        states = [ended(app, queue, each.uid).state for each in handles]

    assert states == ["complete"] * 20


def test_job_with_fingerprint(app: Client, queue: str) -> None:
    """Its fingerprint is kept, and its handler knows it."""
    seen = []
    handle = app.enqueue(queue, {}, fingerprint="campaign-9")

    work(app, queue, lambda job: seen.append(job.fingerprint))

    assert seen == ["campaign-9"]
    assert handle.get().fingerprint == "campaign-9"


def test_poison_job(app: Client, queue: str) -> None:
    """It is put off again and again: a dead letter in the end, of poison."""
    handle = app.enqueue(queue, {}, backoff=AT_ONCE)

    runs = work(app, queue, lambda job: RescheduleAt(job.created_at))

    job = handle.get()
    assert (job.state, job.reason) == ("failed", "poison")
    assert (runs, job.reschedules) == (RESCHEDULES_MAX, RESCHEDULES_MAX)


@pytest.mark.timeout(240)  # 1,500 jobs, on a machine that is busy besides
def test_queue_isolation(app: Client, queue: str) -> None:
    """All the fast jobs are done while none of the slow ones is."""
    slow, looked = make_queue(app, f"{queue}.slow"), threading.Event()
    queued(app, slow, [{"n": n} for n in range(1000)])
    queued(app, queue, [{"n": n} for n in range(500)])
    worker = worker_of(app, queue, succeed)
    worker.handler(slow, permits=10)(lambda _job: looked.wait(PATIENCE_S))

    with worker:
        until(lambda: app.stats(queue).complete == 500, "the fast jobs are done")
        stats = app.stats(slow)
        looked.set()

    assert (stats.complete, stats.failed, stats.total) == (0, 0, 1000)
    assert stats.inprogress <= 10


# --- job_api_test -----------------------------------------------------------------


def test_insert_job(app: Client, queue: str) -> None:
    """A job that is queued is there, under the uid that was answered."""
    handle = app.enqueue(queue, {"key": "value"})

    assert handle.created
    assert listed(app, queue) == {handle.uid: "queued"}


def test_insert_job_with_unique_key(app: Client, queue: str) -> None:
    """It is found by its key."""
    handle = app.enqueue(queue, {}, unique_key="k")

    [found] = app.list_jobs(queue, unique_key="k").jobs
    assert (found.uid, found.unique_key) == (handle.uid, "k")


def test_insert_job_duplicate_unique_key(app: Client, queue: str) -> None:
    """A second job of a key is refused, unless the first one will do."""
    first = app.enqueue(queue, {}, unique_key="k")

    with pytest.raises(DuplicateJob, match=first.uid):
        app.enqueue(queue, {}, unique_key="k")
    kept = app.enqueue(queue, {}, unique_key="k", on_conflict="keep")

    assert (kept.uid, kept.created) == (first.uid, False)
    assert listed(app, queue) == {first.uid: "queued"}


def test_insert_job_duplicate_unique_key_but_cancelled(app: Client, queue: str) -> None:
    """The key of a job that was cancelled is free."""
    first = app.enqueue(queue, {}, unique_key="k")
    first.cancel()

    second = app.enqueue(queue, {}, unique_key="k")

    assert listed(app, queue) == {first.uid: "cancelled", second.uid: "queued"}


def test_cancel_job_by_unique_key(app: Client, queue: str) -> None:
    """The live job of the key is cancelled, and no other."""
    other = app.enqueue(queue, {}, unique_key="another")
    handle = app.enqueue(queue, {}, unique_key="k")

    cancelled = app.cancel_by_key(queue, "k")

    assert cancelled == 1
    assert listed(app, queue) == {other.uid: "queued", handle.uid: "cancelled"}
    assert app.cancel_by_key(queue, "k") == 0


def test_cancel_all_jobs_by_fingerprint(app: Client, queue: str) -> None:
    """All of the fingerprint are cancelled, and no other."""
    other = app.enqueue(queue, {}, fingerprint="another")
    handles = [app.enqueue(queue, {}, fingerprint="f", delay=HOUR) for _ in range(2)]

    cancelled = app.cancel_all(queue, "f")

    assert cancelled == 2
    assert listed(app, queue) == {
        other.uid: "queued",
        **{handle.uid: "cancelled" for handle in handles},
    }


def test_insert_jobs(app: Client, queue: str) -> None:
    """Several at once: a handle of each, in their order."""
    made = queued(app, queue, [NewJob({"n": 1}), {"n": 2}])

    assert [each.get().content for each in made] == [{"n": 1}, {"n": 2}]
    assert listed(app, queue) == dict.fromkeys((each.uid for each in made), "queued")


def test_insert_jobs_conflicting(app: Client, queue: str) -> None:
    """All or none, where that is asked for: two of one key are none."""
    jobs = [NewJob({}, unique_key="k"), NewJob({}, unique_key="k")]

    with pytest.raises(DuplicateJob):
        app.enqueue_many(queue, jobs, atomic=True)
    none = listed(app, queue)
    first, second = app.enqueue_many(queue, jobs)

    assert none == {}
    assert isinstance(first, JobHandle)
    assert isinstance(second, DuplicateJob)
    assert listed(app, queue) == {first.uid: "queued"}


# --- janitor_test -----------------------------------------------------------------


def make_queued(app: Client, queue: str) -> str:
    return app.enqueue(queue, {}, priority=1, backoff=LATER).uid


def make_running(app: Client, queue: str) -> str:
    return claimed(app, queue).uid


def make_completed(app: Client, queue: str) -> str:
    job = claimed(app, queue)
    app.complete(job)
    return job.uid


def make_cancelled(app: Client, queue: str) -> str:
    uid = app.enqueue(queue, {}).uid
    app.cancel(queue, uid)
    return uid


def make_failed(app: Client, queue: str) -> str:
    job = claimed(app, queue, max_attempts=1)
    app.fail(job)
    return job.uid


def make_critical(app: Client, queue: str) -> str:
    job = claimed(app, queue)
    app.fail(job, kind="critical")
    return job.uid


def make_unprocessable(app: Client, queue: str) -> str:
    job = claimed(app, queue)
    app.fail(job, kind="unprocessable")
    return job.uid


def make_poison(app: Client, queue: str) -> str:
    job = claimed(app, queue, poison_after=1, lease=0.05)
    return ended(app, queue, job.uid).uid


# By the status that the original gives them.
DEAD = {
    "unprocessable": make_unprocessable,
    "critical_failure": make_critical,
    "bad_job": make_poison,
    "failed": make_failed,
}
STATUSES = {
    "pending": make_queued,
    "running": make_running,
    "completed": make_completed,
    "cancelled": make_cancelled,
    **DEAD,
}


def test_archiver_moves_completed_job(app: Client, queue: str) -> None:
    """A complete job waits no more, and is in the archive for as long as it is kept."""
    job = claimed(app, queue, keep=HOUR)

    app.complete(job, result={"sent": True})

    [kept] = app.archive(queue).jobs
    assert (kept.uid, kept.result) == (job.uid, {"sent": True})
    assert kept.finished_at is not None
    assert kept.keep_until == kept.finished_at + HOUR
    assert app.claim(queue) == []


def test_archiver_moves_multiple_completed_jobs(app: Client, queue: str) -> None:
    """So are several."""
    uids = [make_completed(app, queue) for _ in range(5)]

    assert archived(app, queue) == uids


def test_archiver_ignores_non_completed_statuses(app: Client, queue: str) -> None:
    """Nothing else is in the archive."""
    others = [make for status, make in STATUSES.items() if status != "completed"]

    uids = [make(app, queue) for make in others]

    assert archived(app, queue) == []
    assert list(listed(app, queue)) == uids


def test_archiver_empty_queue_is_noop(app: Client, queue: str) -> None:
    """An empty queue has an empty archive."""
    assert archived(app, queue) == []


def test_dlq_moves_all_terminal_statuses(app: Client, queue: str) -> None:
    """Whatever failed for good is a dead letter; a cancelled job is kept as that."""
    uids = [make(app, queue) for make in DEAD.values()]
    cancelled = make_cancelled(app, queue)

    letters = app.dead_letters(queue).jobs
    assert [job.uid for job in letters] == uids
    assert [job.reason for job in letters] == [
        "unprocessable",
        "critical",
        "poison",
        "attempts",
    ]
    assert app.get(queue, cancelled).state == "cancelled"


def test_dlq_ignores_running_and_completed(app: Client, queue: str) -> None:
    """What runs, or is complete, is no dead letter."""
    uids = [make_running(app, queue), make_completed(app, queue)]

    assert dead(app, queue) == []
    assert list(listed(app, queue)) == uids


def test_dlq_empty_queue_is_noop(app: Client, queue: str) -> None:
    """An empty queue has no dead letters, and none to start anew, or to delete."""
    replayed = app.replay_dead_letters(queue)
    purged = app.purge_dead_letters(queue)

    assert dead(app, queue) == []
    assert (replayed.matched, purged.matched) == (0, 0)


def test_archiver_and_dlq_do_not_overlap(app: Client, queue: str) -> None:
    """A job is in one of the two, or in none."""
    completed, critical = make_completed(app, queue), make_critical(app, queue)
    make_cancelled(app, queue)

    assert (archived(app, queue), dead(app, queue)) == ([completed], [critical])


def test_full_janitor_cycle_moves_correct_jobs(app: Client, queue: str) -> None:
    """All kinds of jobs at once: each is where it belongs. Dead letters can be started
    anew, and deleted, which the original cannot; the others stay as they are."""
    made = {status: make(app, queue) for status, make in STATUSES.items()}
    letters = [made[status] for status in DEAD]
    before = (archived(app, queue), dead(app, queue))

    replayed = app.replay_dead_letters(queue, {"reason": "critical"})
    purged = app.purge_dead_letters(queue)

    assert before == ([made["completed"]], letters)
    assert (replayed.changed, purged.changed) == (1, 3)
    assert listed(app, queue) == {
        made["pending"]: "queued",
        made["running"]: "inprogress",
        made["completed"]: "complete",
        made["cancelled"]: "cancelled",
        made["critical_failure"]: "queued",
    }


def test_e2e_completed_job_is_archived(app: Client, queue: str) -> None:
    """A handler that is done leaves its job in the archive, until its keep ends."""
    kept = app.enqueue(queue, {}, keep=HOUR)
    dropped = app.enqueue(queue, {}, keep=0)

    work(app, queue, succeed)

    assert archived(app, queue) == [kept.uid]
    with pytest.raises(JobNotFound):
        dropped.get()


def test_e2e_cancelled_job_is_archived_by_dlq(app: Client, queue: str) -> None:
    """One that gives up its job leaves it cancelled, and kept."""
    handle = app.enqueue(queue, {}, keep=HOUR)

    work(app, queue, saying(Cancel()))

    job = handle.get()
    assert (job.state, archived(app, queue), dead(app, queue)) == ("cancelled", [], [])
    assert job.finished_at is not None
    assert job.keep_until == job.finished_at + HOUR


def test_e2e_critical_job_is_archived_by_dlq(app: Client, queue: str) -> None:
    """One that calls it critical leaves a dead letter, which has a keep of its own."""
    handle = app.enqueue(queue, {}, keep=0, dead_keep=HOUR)

    work(app, queue, saying(Critical()))

    [letter] = app.dead_letters(queue).jobs
    assert (letter.uid, letter.reason) == (handle.uid, "critical")
    assert letter.finished_at is not None
    assert letter.keep_until == letter.finished_at + HOUR


def test_e2e_unprocessable_job_is_archived_by_dlq(app: Client, queue: str) -> None:
    """One that can make nothing of it does so too."""
    handle = app.enqueue(queue, {}, keep=0, dead_keep=HOUR)

    work(app, queue, saying(Unprocessable()))

    [letter] = app.dead_letters(queue).jobs
    assert (letter.uid, letter.reason) == (handle.uid, "unprocessable")


# --- wait_for_job_test ------------------------------------------------------------


def test_wait_for_job_success(app: Client, queue: str) -> None:
    """Who waits for a job gets what came of it."""
    with worker_of(app, queue, lambda job: job.content["n"] * 2):
        assert app.enqueue(queue, {"n": 21}).result(PATIENCE_S) == 42


def test_wait_for_job_success_db_state(app: Client, queue: str) -> None:
    """By then the job is complete for everybody."""
    with worker_of(app, queue, succeed):
        handle = app.enqueue(queue, {})
        handle.result(PATIENCE_S)

        assert app.get(queue, handle.uid).state == "complete"


def test_wait_for_job_first_failure(app: Client, queue: str) -> None:
    """A run that failed is not the end; the last one that may fail is."""

    def second_time(job: HeldJob) -> Any:
        return Success("done") if job.attempt == 2 else Failed("not yet")

    with worker_of(app, queue, second_time):
        again = app.enqueue(queue, {}, backoff=AT_ONCE)
        once = app.enqueue(queue, {}, max_attempts=1)

        assert again.result(PATIENCE_S) == "done"
        assert failed(once).error == "not yet"
        assert again.get().attempt == 2


def failed(handle: JobHandle) -> Job:
    """What its failure says of a job that is waited for."""
    with pytest.raises(JobFailed) as caught:
        handle.result(PATIENCE_S)
    assert isinstance(caught.value.job, Job)
    return caught.value.job


def test_wait_for_job_critical_failure(app: Client, queue: str) -> None:
    """Who waits is told why it failed."""
    with worker_of(app, queue, saying(Critical("on fire"))):
        job = failed(app.enqueue(queue, {}))

    assert (job.state, job.reason, job.error) == ("failed", "critical", "on fire")


def test_wait_for_job_unprocessable(app: Client, queue: str) -> None:
    """The same of one that nobody can do."""
    with worker_of(app, queue, saying(Unprocessable("no address"))):
        job = failed(app.enqueue(queue, {}))

    assert (job.reason, job.error) == ("unprocessable", "no address")


def test_wait_for_job_cancel(app: Client, queue: str) -> None:
    """Who waits is told that it was cancelled."""
    with worker_of(app, queue, saying(Cancel())):
        handle = app.enqueue(queue, {})

        with pytest.raises(JobCancelled):
            handle.result(PATIENCE_S)


def test_no_waiter_success_does_not_fail(app: Client, queue: str) -> None:
    """A job that nobody waits for is complete as well."""
    handle = app.enqueue(queue, {})

    work(app, queue, succeed)

    assert handle.get().state == "complete"


def test_no_waiter_fail_does_not_fail(app: Client, queue: str) -> None:
    """One that fails, and that nobody waits for, is queued again as well."""
    handle = app.enqueue(queue, {}, backoff=LATER)

    work(app, queue, saying(Failed()))

    job = handle.get()
    assert (job.state, job.attempt) == ("queued", 1)


def test_insert_jobs_and_wait_all_resolve(app: Client, queue: str) -> None:
    """Three jobs of one batch, and three who wait at once: each gets its own."""
    handles = queued(app, queue, [{"n": n} for n in range(3)])
    with ThreadPoolExecutor(3) as waiters:
        waiting = [waiters.submit(each.result, PATIENCE_S) for each in handles]

        with worker_of(app, queue, lambda job: job.content["n"]):
            results = [each.result(PATIENCE_S) for each in waiting]

    assert results == [0, 1, 2]
