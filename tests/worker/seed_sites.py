"""The same client in two ways: of an engine in this process, and of a daemon.

For the tests of what simple_queue does, which hold for both.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from daemons import PATIENCE_S, SECRET, Daemon, until

import jobengine
from jobengine import Client, Job, JobHandle, Worker

CONFIG = "version: 1\nadmins: [app]\n"


@contextmanager
def embedded(folder: Path) -> Iterator[Client]:
    """An engine on a file, in this process."""
    with jobengine.open(folder / "jobs.queuedb", secret=SECRET) as engine:
        yield engine


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    """A daemon, where the client of `client_of` may do anything."""
    daemon = Daemon(folder)
    daemon.configure(CONFIG)
    try:
        yield daemon.start()
    finally:
        daemon.kill()


def client_of(daemon: Daemon) -> Client:
    return Client(f"http://127.0.0.1:{daemon.port}", name="app")


@contextmanager
def served(folder: Path) -> Iterator[Client]:
    """A daemon, over HTTP."""
    with running(folder) as daemon, client_of(daemon) as client:
        yield client


SITES: dict[str, Callable[[Path], AbstractContextManager[Client]]] = {
    "embedded": embedded,
    "daemon": served,
}


def worker_of(
    app: Client, queue: str, process: Callable[..., Any], **options: Any
) -> Worker:
    """A worker of this queue alone."""
    worker = Worker(app)
    worker.handler(queue, **options)(process)
    return worker


def work(app: Client, queue: str, process: Callable[..., Any], **options: Any) -> int:
    """Run what can be run now; how many runs that were."""
    return worker_of(app, queue, process, **options).run_until_idle()


def queued(app: Client, queue: str, contents: Iterable[Any]) -> list[JobHandle]:
    """New jobs, by one request."""
    found = app.enqueue_many(queue, contents)
    handles = [each for each in found if isinstance(each, JobHandle)]
    assert handles == found, "each was queued"
    return handles


def claimed(app: Client, queue: str, **options: Any) -> Job:
    """A new job in progress, which nobody will be heard of again."""
    handle = app.enqueue(queue, {}, priority=100, **options)
    [job] = app.claim(queue)
    assert job.uid == handle.uid
    return job


def ended(app: Client, queue: str, uid: str) -> Job:
    """The job, once it has ended."""
    job = app.handle(queue, uid).wait(PATIENCE_S)
    assert job is not None, f"not ended within {PATIENCE_S} s"
    return job


def claimable(app: Client, queue: str) -> Job:
    """The next job, once there is one."""
    return until(lambda: app.claim(queue), "there is a job to take")[0]
