"""Queues that are Python libraries, each under the load that its own API makes.

Run by the interpreter of var/bench-venv, as a script, in a process of its own:

    python bench/peers/libraries.py rq lifecycles PORT SECONDS FOLDER

prints acts per second. Knows nothing of JobEngine.
"""

import asyncio
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

# 32 connections, as everywhere; one interpreter alone would be the limit too soon.
PROCESSES, CONNECTIONS = 2, 16
# What is put first and worked on afterwards: on a slow disk some do 30 a second.
PUTS_MAX = 200
PAYLOAD = '{"pad":"' + "x" * 190 + '"}'
HOST = "127.0.0.1"

Act = Callable[[], object]
# Acts, and the seconds they took.
Done = tuple[int, float]


def nothing(payload: str) -> None:
    """The work of a job: none. RQ and procrastinate find it by its name."""
    assert len(payload) == len(PAYLOAD)


def by_threads(made: Callable[[], Act], seconds: float, most: float = inf) -> Done:
    """What the threads of one process do within *seconds*, about *most* acts."""
    counts = [0] * CONNECTIONS
    began = time.perf_counter()

    def work(number: int) -> None:
        act = made()
        while time.perf_counter() - began < seconds and sum(counts) < most:
            act()
            counts[number] += 1

    threads = [
        threading.Thread(target=work, args=(number,)) for number in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts), time.perf_counter() - began


def everywhere(work: Callable[..., Done], *given: object) -> Done:
    """What *work* comes to in all processes together."""
    with multiprocessing.Pool(PROCESSES, end_with, (os.getpid(),)) as pool:
        found = pool.starmap(work, [given] * PROCESSES)
    return sum(done for done, _ in found), max(took for _, took in found)


def end_with(parent: int) -> None:
    """Let this process not outlive *parent*, which may be killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def puts_max(kind: str) -> float:
    """How many jobs one process puts."""
    return inf if kind == "creates" else PUTS_MAX


# --- RQ -------------------------------------------------------------------------------


def rq_puts(port: int, seconds: float, most: float) -> Done:
    """Queue.enqueue, a connection a thread."""
    import redis
    import rq

    def made() -> Act:
        queue = rq.Queue("bench", connection=redis.Redis(HOST, port))
        return lambda: queue.enqueue("libraries.nothing", PAYLOAD)

    return by_threads(made, seconds, most)


def rq_works(port: int) -> Done:
    """One worker that forks for no job, until the queue is empty."""
    import redis
    import rq

    connection = redis.Redis(HOST, port)
    queue = rq.Queue("bench", connection=connection)
    worker = rq.SimpleWorker([queue], connection=connection)
    began = time.perf_counter()
    worker.work(burst=True, logging_level="ERROR")
    return 0, time.perf_counter() - began


def by_rq(kind: str, port: int, seconds: float, _folder: str) -> float:
    """Enqueued; for lifecycles, then done by a worker a core."""
    made, took = everywhere(rq_puts, port, seconds, puts_max(kind))
    if kind == "lifecycles":
        took += everywhere(rq_works, port)[1]
    return made / took


# --- huey -----------------------------------------------------------------------------


def huey_acts(port: int, seconds: float, kind: str) -> Done:
    """A task enqueued; for lifecycles, then one dequeued and executed."""
    import huey

    queue = huey.RedisHuey("bench", host=HOST, port=port)
    task = queue.task()(nothing)

    def lifecycle() -> None:
        task(PAYLOAD)
        if (taken := queue.dequeue()) is not None:
            queue.execute(taken)

    act: Act = (lambda: task(PAYLOAD)) if kind == "creates" else lifecycle
    return by_threads(lambda: act, seconds)


def by_huey(kind: str, port: int, seconds: float, _folder: str) -> float:
    """Each thread enqueues, dequeues and executes by turns."""
    made, took = everywhere(huey_acts, port, seconds, kind)
    return made / took


# --- procrastinate --------------------------------------------------------------------


def with_app(port: int, act: Callable[[Any, Any], Awaitable[int]]) -> Done:
    """What *act* comes to, given the application and its one task."""
    import procrastinate

    async def run() -> Done:
        app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=f"host={HOST} port={port} user=bench dbname=postgres",
                min_size=CONNECTIONS,
                max_size=CONNECTIONS,
            )
        )
        task = app.task(name="nothing")(nothing)
        async with app.open_async():
            began = time.perf_counter()
            done = await act(app, task)
            return done, time.perf_counter() - began

    return asyncio.run(run())


def procrastinate_puts(port: int, seconds: float, most: float) -> Done:
    """Task.defer_async, a connection a coroutine."""

    async def puts(_app: Any, task: Any) -> int:
        stop = time.perf_counter() + seconds
        done = 0

        async def put() -> None:
            nonlocal done
            while time.perf_counter() < stop and done < most:
                await task.defer_async(payload=PAYLOAD)
                done += 1

        await asyncio.gather(*(put() for _ in range(CONNECTIONS)))
        return done

    return with_app(port, puts)


def procrastinate_works(port: int) -> Done:
    """One worker of as many jobs at once, until the queue is empty."""

    async def work(app: Any, _task: Any) -> int:
        await app.run_worker_async(
            concurrency=CONNECTIONS, wait=False, install_signal_handlers=False
        )
        return 0

    return with_app(port, work)


def procrastinate_schema(port: int) -> None:
    """Its tables, where they are not there yet."""

    async def apply(app: Any, _task: Any) -> int:
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        return 0

    with_app(port, apply)


def by_procrastinate(kind: str, port: int, seconds: float, _folder: str) -> float:
    """Deferred; for lifecycles, then done by a worker a core."""
    procrastinate_schema(port)
    made, took = everywhere(procrastinate_puts, port, seconds, puts_max(kind))
    if kind == "lifecycles":
        took += everywhere(procrastinate_works, port)[1]
    return made / took


# --- persist-queue --------------------------------------------------------------------


def by_persist_queue(kind: str, _port: int, seconds: float, folder: str) -> float:
    """In process, on one thread: its SQLite takes one writer at a time."""
    import persistqueue

    queue = persistqueue.SQLiteAckQueue(os.path.join(folder, kind), auto_commit=True)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        queue.put(PAYLOAD)
        if kind == "lifecycles":
            queue.ack(queue.get(block=False))
        done += 1
    return done / (time.perf_counter() - began)


LIBRARIES: dict[str, Callable[[str, int, float, str], float]] = {
    "rq": by_rq,
    "huey": by_huey,
    "procrastinate": by_procrastinate,
    "persist-queue": by_persist_queue,
}

if __name__ == "__main__":
    library, kind, port, seconds, folder = sys.argv[1:]
    print(LIBRARIES[library](kind, int(port), float(seconds), folder))
