"""One daemon for all tests of the client, each with a queue of its own, and clients of
it that block and that are awaited.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from daemons import Daemon

from jobengine.client.aio import AsyncClient
from jobengine.client.client import Client
from jobengine.client.handle import AsyncJobHandle

CONFIG = """\
version: 1
admins: [ops]
dynamic_queues: {read: [app], write: [app]}
queues:
  mail: {read: [mailer], write: [shop], manage: [oncall]}
"""


@pytest.fixture(scope="session")
def sdk_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that takes what `ops` asks for. Nobody changes it."""
    daemon = Daemon(tmp_path_factory.mktemp("sdk") / "daemon")
    daemon.configure(CONFIG)
    daemon.start()
    yield daemon
    daemon.kill()


@pytest.fixture(scope="session")
def url(sdk_daemon: Daemon) -> str:
    return f"http://127.0.0.1:{sdk_daemon.port}"


_numbers = count(1)


@pytest.fixture
def queue(url: str) -> str:
    """A queue that nobody else knows."""
    name = f"queue-{next(_numbers)}"
    with Client(url, name="ops") as ops:
        ops.create_queue(name, read=["app"], write=["app"])
    return name


class Awaited:
    """A client that is awaited, for tests that are written for one that blocks."""

    def __init__(self, thing: Any, runner: asyncio.Runner) -> None:
        self._thing = thing
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        return self._awaiting(found) if callable(found) else found

    def _awaiting(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def carry_out(*args: Any, **options: Any) -> Any:
            found = verb(*args, **options)
            if hasattr(found, "__aiter__"):
                found = _all(found)
            if asyncio.iscoroutine(found):
                found = self._runner.run(found)
            return self._wrapped(found)

        return carry_out

    def _wrapped(self, found: Any) -> Any:
        if isinstance(found, AsyncClient | AsyncJobHandle):
            return Awaited(found, self._runner)
        if isinstance(found, list):
            return [self._wrapped(each) for each in found]
        return found


async def _all(found: Any) -> list[Any]:
    return [each async for each in found]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


Connect = Callable[..., Any]


@pytest.fixture(params=["blocking", "awaiting"])
def connect(
    request: pytest.FixtureRequest, runner: asyncio.Runner
) -> Iterator[Connect]:
    """Makes clients of one of the two kinds, which tests use as if they blocked."""
    made: list[Any] = []

    def make(url: str, **options: Any) -> Any:
        if request.param == "blocking":
            made.append(Client(url, **options))
        else:
            made.append(Awaited(AsyncClient(url, **options), runner))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def app(connect: Connect, url: str) -> Any:
    """The service that reads and writes the queue of the test."""
    return connect(url, name="app")


@pytest.fixture
def ops(connect: Connect, url: str) -> Any:
    """An administrator."""
    return connect(url, name="ops")
