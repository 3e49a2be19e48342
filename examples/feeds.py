"""async, and a strategy: one request at a time to each host, of however many jobs.

    JOBENGINE_NAME=app python examples/feeds.py

It prints:

    6 feeds, never two at once from one host: True
"""

import asyncio
import threading
from collections import Counter
from typing import Any

from jobengine import AsyncClient, AsyncHeldJob, Grant, Strategy, Wait, Worker

worker = Worker()


class OnePerHost(Strategy):
    """Grants one job of each host at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # it is asked from several threads
        self._busy: set[str] = set()

    def acquire(self, job: Any) -> Grant | Wait:
        """Soon again, where the host is busy."""
        host = job.content["host"]
        with self._lock:
            if host in self._busy:
                # It keeps the job. For longer waits: Later, which gives it back.
                return Wait(0.02)
            self._busy.add(host)
            return Grant()

    def release(self, job: Any) -> None:
        """The next one may go."""
        with self._lock:
            self._busy.discard(job.content["host"])


running: Counter[str] = Counter()
most: Counter[str] = Counter()


@worker.handler("example-feeds", strategy=OnePerHost())
async def fetch(job: AsyncHeldJob) -> str:
    """Fetch a feed, or sleep as if."""
    host = job.content["host"]
    running[host] += 1
    most[host] = max(most[host], running[host])
    await asyncio.sleep(0.02)
    running[host] -= 1
    return f"{host}{job.content['path']}"


async def main() -> None:
    """Fetch six feeds of two hosts."""
    feeds = [
        {"host": host, "path": f"/{number}"}
        for host in ("a.example", "b.example")
        for number in range(3)
    ]
    async with AsyncClient.from_env() as client:
        jobs = [await client.enqueue("example-feeds", feed) for feed in feeds]
        found = await asyncio.gather(*(job.result(timeout=30) for job in jobs))
    alone = set(most.values()) == {1}
    print(len(found), "feeds, never two at once from one host:", alone)


if __name__ == "__main__":
    with worker:
        asyncio.run(main())
