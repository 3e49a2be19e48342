"""Ten thousand who wait for work at once, on one real daemon."""

import asyncio
import json
import resource
from collections.abc import Awaitable

import pytest
from daemons import Daemon
from serving import create, take

WAITERS = 10_000
# Besides the connections: what a test process has open anyway.
SPARE = 500
# How many connect at once: fewer than the system queues for a busy listener.
AT_ONCE = 200
MAKERS = 8

CROWDED = """\
queues:
  mail: {read: [mailer], write: [shop]}
limits: {connections_per_address: 20000}
"""

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def descriptors() -> None:
    """As many as the clients need; the daemon sees to its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < WAITERS + SPARE:
        pytest.skip(f"only {hard} open files are allowed here (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split()[1])
    size = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return status, await reader.readexactly(int(size or 0))


async def uid_of(answered: Awaitable[tuple[int, bytes]], status: int) -> str:
    told, body = await answered
    assert told == status, body
    return str(json.loads(body)["uid"])


async def wait(port: int, places: asyncio.Semaphore) -> Wire:
    """One that waits for a job."""
    async with places:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(take(wait=60))
        return reader, writer


async def make(port: int, count: int) -> list[str]:
    """So many jobs, over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    uids = []
    for _ in range(count):
        writer.write(create("{}"))
        uids.append(await uid_of(answer(reader), 201))
    writer.close()
    return uids


async def crowd(daemon: Daemon) -> tuple[list[str], list[str]]:
    """The uids that were made, and those that came to the ones who waited."""
    port, places = daemon.port, asyncio.Semaphore(AT_ONCE)
    wires = await asyncio.gather(*[wait(port, places) for _ in range(WAITERS)])
    await asyncio.to_thread(daemon.waiting, WAITERS)

    made = asyncio.gather(*[make(port, WAITERS // MAKERS) for _ in range(MAKERS)])
    taken = [await uid_of(answer(reader), 200) for reader, _ in wires]
    for _, writer in wires:
        writer.close()
    return [uid for uids in await made for uid in uids], taken


@pytest.mark.timeout(120)
def test_ten_thousand_wait_and_every_job_goes_to_one_of_them(daemon: Daemon) -> None:
    daemon.configure(CROWDED)
    daemon.start()

    made, taken = asyncio.run(crowd(daemon))

    assert len(set(made)) == WAITERS
    assert sorted(taken) == sorted(made)
    assert daemon.ask("GET", "/api/v1/jobs/next", name="mailer").status == 204
    assert daemon.stop() == 0
