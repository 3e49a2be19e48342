"""Our side of `python -m bench sdk`: one process enqueues, one worker process works.

Run in a process of its own, as bench/peers/workers.py is, which does the same for the
peers:

    python -m bench.working enqueue PORT JOBS

Client and Worker are as they come: no option is set but who is asking, and where; but
for `work-wide`, where more jobs are in hand.
"""

import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from bench.engine import NAME
from bench.peers.workers import BATCH, PATIENCE_S, paced
from jobengine import Client, HeldJob, Worker

CONTENT = {"pad": "x" * 190}
# So many jobs of one queue at once: batches of that size.
WIDE = 1_000


def client_of(port: int) -> Client:
    """As it comes."""
    return Client(f"http://127.0.0.1:{port}", name=NAME)


def enqueue(port: int, jobs: int) -> None:
    """By enqueue_many."""
    with client_of(port) as client:
        for _ in range(0, jobs, BATCH):
            client.enqueue_many(NAME, [CONTENT] * BATCH)


def enqueue_single(port: int, jobs: int) -> None:
    """One by one."""
    with client_of(port) as client:
        for _ in range(jobs):
            client.enqueue(NAME, CONTENT)


def worked(
    port: int,
    count: int,
    handler: Callable[[HeldJob], None],
    *,
    permits: int | None = None,
) -> None:
    """A worker, until so many jobs are run and reported; without *permits* as it is."""
    left, done = count, threading.Event()
    counting = threading.Lock()  # guards left

    def counted(job: HeldJob) -> None:
        nonlocal left
        handler(job)
        with counting:
            left -= 1
            if not left:
                done.set()

    with client_of(port) as client:
        worker = Worker(client)
        if permits is not None:
            worker = Worker(client, permits=permits, queue_permits=permits)
        worker.handler(NAME)(counted)
        with worker:
            print("ready", flush=True)
            assert done.wait(PATIENCE_S), f"{left} jobs were not run"


def nothing(job: HeldJob) -> None:
    """The work of a job: none."""
    assert len(job.content["pad"]) == len(CONTENT["pad"])


def work(port: int, jobs: int, permits: int | None = None) -> None:
    """Until all are run."""
    worked(port, jobs, nothing, permits=permits)
    with client_of(port) as client:
        complete = client.stats(NAME).complete
    assert complete == jobs, f"{complete} of {jobs} jobs are complete"


def tell(port: int, count: int) -> None:
    """Jobs with pauses between them."""
    with client_of(port) as client:
        for told_ns in paced(count):
            client.enqueue(NAME, told_ns)


def hear(port: int, count: int) -> list[float]:
    """A worker as it waits for jobs."""
    heard: list[float] = []

    def hearing(job: HeldJob) -> None:
        heard.append((time.monotonic_ns() - job.content) / 1e3)

    worked(port, count, hearing)
    return heard


ACTS: dict[str, Callable[[int, int], list[float] | None]] = {
    "enqueue": enqueue,
    "enqueue-single": enqueue_single,
    "work": work,
    "work-wide": partial(work, permits=WIDE),
    "tell": tell,
    "hear": hear,
}


def main() -> None:
    """One act; what it took."""
    act, port, count = sys.argv[1:]
    began = time.perf_counter()
    told = ACTS[act](int(port), int(count))
    took = time.perf_counter() - began
    print(*([took] if told is None else told))


if __name__ == "__main__":
    main()
