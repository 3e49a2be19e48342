"""Requests that wait until a job is settled, each holding a thread of a WSGI server."""

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import TestResponse

from jobengine.core.access import Caller
from jobengine.core.job import Job, NewJob, Terms
from jobengine.doorbell import Place

WRITER, READER = Caller("writer"), Caller("reader")
GONE = Terms(max_attempts=1, keep_ms=0, dead_keep_ms=0)
PATIENCE_S = 20.0
THREADS = 40


def until(look: Callable[[], object]) -> None:
    """Return when *look* gives something true."""
    ends = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < ends, f"not within {PATIENCE_S} s"
        time.sleep(0.001)


class Site:
    """An API, and threads that ask it."""

    def __init__(self, api: Any) -> None:
        self.api, self.engine = api, api.house.engine
        self.doorbell = api.house.doorbell
        self.threads = ThreadPoolExecutor(THREADS)

    def held(self, terms: Terms = GONE) -> Job:
        self.engine.enqueue(WRITER, "q1", NewJob(b"{}", terms=terms))
        jobs: list[Job] = self.engine.claim(READER, "q1")
        return jobs[0]

    def complete(self, job: Job) -> None:
        self.engine.complete(READER, "q1", job.uid)

    def ask(self, job: Job, wait: int = 60) -> TestResponse:
        path = f"/api/v2/queues/q1/jobs/{job.uid}?wait={wait}"
        answer: TestResponse = self.api.ask("GET", path, "writer")
        return answer

    def asking(self, job: Job, wait: int = 60) -> "Future[TestResponse]":
        """Somebody who waits; returned once it has its place."""
        waiters = self.doorbell.waiters
        placed = self.threads.submit(self.ask, job, wait)
        until(lambda: self.doorbell.waiters > waiters or placed.done())
        return placed


@pytest.fixture(params=[False, True], ids=["memory", "file"])
def site(request: pytest.FixtureRequest, new_api: Callable[..., Any]) -> Iterator[Site]:
    made = Site(new_api(file=request.param))
    yield made
    made.doorbell.close()
    made.threads.shutdown()
    made.api.house.close()


def state_of(answer: TestResponse) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json["state"])


def test_a_thread_that_waits_is_told_how_the_job_ended(site: Site) -> None:
    job = site.held()
    waits = site.asking(job)

    site.complete(job)

    assert state_of(waits.result(PATIENCE_S)) == "complete"


def test_many_that_wait_for_one_job_are_all_told(site: Site) -> None:
    job = site.held()
    waiting = [site.asking(job) for _ in range(THREADS)]

    site.complete(job)

    assert {state_of(w.result(PATIENCE_S)) for w in waiting} == {"complete"}
    assert site.doorbell.waiters == 0


def test_one_that_ends_between_the_look_and_the_place_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = site.held()
    join = site.doorbell.join

    def settle_and_join(*where: Any) -> Place:
        monkeypatch.undo()
        site.threads.submit(site.complete, job).result(PATIENCE_S)
        place: Place = join(*where)
        return place

    monkeypatch.setattr(site.doorbell, "join", settle_and_join)

    assert state_of(site.ask(job)) == "complete"


def test_whenever_it_ends_whoever_had_seen_it_is_told(site: Site) -> None:
    for _ in range(100):
        job = site.held()
        asks = [site.threads.submit(site.ask, job) for _ in range(4)]
        until(lambda: site.doorbell.waiters)

        site.complete(job)

        told = [ask.result(PATIENCE_S).status_code for ask in asks]
        # Who came too late finds no job: nothing of it is kept.
        assert 200 in told
        assert set(told) <= {200, 404}


def test_who_waits_for_a_job_that_is_deleted_learns_that_there_is_none(
    site: Site,
) -> None:
    job = site.held()
    waits = site.asking(job)

    site.engine.delete(WRITER, "q1", job.uid)

    assert waits.result(PATIENCE_S).status_code == 404


def test_when_the_time_is_up_there_is_nothing_and_nobody_watches(site: Site) -> None:
    job = site.held()
    gc.disable()
    try:
        assert site.ask(job, wait=1).status_code == 204
        assert len(site.engine.settled) == 0
    finally:
        gc.enable()
    assert site.doorbell.waiters == 0


def test_those_who_wait_for_an_end_count_as_all_who_wait(
    new_api: Callable[..., Any],
) -> None:
    site = Site(new_api(waiters_per_service=1))
    job = site.held()
    waits = site.asking(job)

    assert site.ask(job).status_code == 429

    site.doorbell.close()
    assert waits.result(PATIENCE_S).status_code == 204
    site.threads.shutdown()
