"""A long job: it tells how far it is, goes on where it broke off, and can be stopped.

    JOBENGINE_NAME=app python examples/backfill.py

It prints:

    run 1 breaks off after 300 rows
    run 2 goes on from there
    {'rows': 1000}
"""

import sys
import time

from jobengine import Client, HeldJob, JobHandle, Worker, constant

ROWS = 1000
BATCH = 100

worker = Worker(backoff=constant(0))


@worker.handler("example-backfill")
def backfill(job: HeldJob) -> dict[str, int]:
    """Write all rows, a batch at a time."""
    done = job.saved or 0
    if done:
        print("run", job.attempt, "goes on from there")
    while done < ROWS:
        job.check()  # ends the run where somebody cancelled it
        if done == 300 and job.attempt == 1:
            print("run", job.attempt, "breaks off after", done, "rows")
            raise ConnectionError("the database is away")
        time.sleep(0.001)  # in place of the rows
        done += BATCH
        # On disk before the next batch: no run does this one again. Where that would be
        # too slow, job.progress tells it within a second.
        job.checkpoint(done)
    return {"rows": done}


def watch(job: JobHandle) -> None:
    """Wait until it has ended, as whoever sits before it."""
    while job.wait(timeout=1) is None:
        print("so far:", job.get().progress, file=sys.stderr)


def main() -> None:
    """Run one."""
    with Client.from_env() as client, worker:
        job = client.enqueue("example-backfill", None)
        watch(job)
        print(job.result())


if __name__ == "__main__":
    main()
