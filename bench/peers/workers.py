"""RQ and huey as their users run them: one process enqueues, one worker process works.

Run by the interpreter of var/bench-venv, as a script, in a process of its own:

    python bench/peers/workers.py rq enqueue PORT JOBS

An act prints its seconds; `hear` prints, after "ready", the microseconds from each
`tell` to the start of its handler. Knows nothing of JobEngine.
"""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

# enqueue_many takes so many at a time, as ours does.
BATCH = 1_000
PAYLOAD = '{"pad":"' + "x" * 190 + '"}'
HOST = "127.0.0.1"
# Between two jobs of `tell`: never in step with whatever may poll.
PAUSE_S = (0.01, 0.03)

# RQ finds the module by its name, so there are two of it: this is of that one.
HEARD: list[float] = []
# No act of a measurement comes near it: who waits longer has met a fault.
PATIENCE_S = 300


def nothing(payload: str) -> None:
    """The work of a job: none."""
    assert len(payload) == len(PAYLOAD)


def heard(told_ns: int) -> None:
    """A job that says when it was enqueued; the clock is the same in all processes."""
    HEARD.append((time.monotonic_ns() - told_ns) / 1e3)


def paced(count: int) -> Iterator[int]:
    """*count* instants, with a pause before each."""
    for _ in range(count):
        time.sleep(random.uniform(*PAUSE_S))
        yield time.monotonic_ns()


# --- RQ -------------------------------------------------------------------------------


def rq_queue(port: int) -> Any:
    """The queue, and its connection."""
    import redis
    import rq

    return rq.Queue("bench", connection=redis.Redis(HOST, port))


def rq_enqueue(port: int, jobs: int) -> None:
    """By enqueue_many, a pipeline for each batch."""
    queue = rq_queue(port)
    for _ in range(0, jobs, BATCH):
        queue.enqueue_many(
            [queue.prepare_data("workers.nothing", (PAYLOAD,)) for _ in range(BATCH)]
        )


def rq_worker(port: int) -> Any:
    """A worker that forks for no job."""
    import rq

    queue = rq_queue(port)
    return rq.SimpleWorker([queue], connection=queue.connection)


def rq_work(port: int, jobs: int) -> None:
    """Until the queue is empty."""
    rq_worker(port).work(burst=True, logging_level="ERROR")
    finished = rq_queue(port).finished_job_registry.count
    assert finished == jobs, f"{finished} of {jobs} jobs were finished"


def rq_tell(port: int, count: int) -> None:
    """Jobs with pauses between them."""
    queue = rq_queue(port)
    for told_ns in paced(count):
        queue.enqueue("workers.heard", told_ns)


def rq_hear(port: int, count: int) -> list[float]:
    """Its worker as it waits for jobs."""
    import workers  # type: ignore[import-not-found]

    worker = rq_worker(port)
    print("ready", flush=True)
    worker.work(max_jobs=count, logging_level="ERROR")
    return list(workers.HEARD)


# --- huey -----------------------------------------------------------------------------


def huey_queue(port: int) -> Any:
    """As it comes, on Redis."""
    import huey

    return huey.RedisHuey("bench", host=HOST, port=port)


def huey_enqueue(port: int, jobs: int) -> None:
    """One by one: it has no other way."""
    task = huey_queue(port).task()(nothing)
    for _ in range(jobs):
        task(PAYLOAD)


def huey_consume(
    port: int, count: int, handler: Callable[[Any], None], started: Callable[[], None]
) -> float:
    """Its consumer with one worker thread, until so many jobs were run; the seconds.

    Its stop is not counted: a thread that waits for a job does so for a second.
    """
    from huey.consumer import Consumer  # type: ignore[import-not-found]

    queue = huey_queue(port)
    left, done = count, threading.Event()

    def counting(given: Any) -> None:
        nonlocal left
        handler(given)
        left -= 1
        if not left:
            done.set()

    counting.__name__ = handler.__name__
    queue.task()(counting)
    consumer = Consumer(queue, workers=1, worker_type="thread")
    began = time.perf_counter()
    consumer.start()
    started()
    assert done.wait(PATIENCE_S), f"{left} jobs were not run"
    took = time.perf_counter() - began
    consumer.stop(graceful=True)
    return took


def huey_work(port: int, jobs: int) -> list[float]:
    """Until all are run."""
    return [huey_consume(port, jobs, nothing, lambda: None)]


def huey_tell(port: int, count: int) -> None:
    """Jobs with pauses between them."""
    task = huey_queue(port).task()(heard)
    for told_ns in paced(count):
        task(told_ns)


def huey_hear(port: int, count: int) -> list[float]:
    """Its consumer as it waits for jobs."""
    huey_consume(port, count, heard, lambda: print("ready", flush=True))
    return HEARD


ACTS: dict[tuple[str, str], Callable[[int, int], list[float] | None]] = {
    ("rq", "enqueue"): rq_enqueue,
    ("rq", "work"): rq_work,
    ("rq", "tell"): rq_tell,
    ("rq", "hear"): rq_hear,
    ("huey", "enqueue"): huey_enqueue,
    ("huey", "work"): huey_work,
    ("huey", "tell"): huey_tell,
    ("huey", "hear"): huey_hear,
}


def main() -> None:
    """One act; what it took."""
    library, act, port, count = sys.argv[1:]
    # What is loaded once is no part of an act.
    __import__(library)
    __import__("redis")
    began = time.perf_counter()
    told = ACTS[library, act](int(port), int(count))
    took = time.perf_counter() - began
    print(*([took] if told is None else told))


if __name__ == "__main__":
    main()
