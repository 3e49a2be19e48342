"""Daemons and loops for the tests of this folder; none of them outlives its test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemons import Daemon
from serving import RULES, Serving, StoppedLoop

from jobengine.build import House
from jobengine.testing import SimClock, memory_house


@pytest.fixture
def server() -> str:
    """What serves; a test that is about both is parametrised by it."""
    return "loop"


@pytest.fixture
def make_daemon(tmp_path: Path, server: str) -> Iterator[Callable[..., Daemon]]:
    """Daemons, each in a folder of its own unless told otherwise."""
    made: list[Daemon] = []

    def make(name: str = "one", **environ: str) -> Daemon:
        made.append(Daemon(tmp_path / name, server=server, **environ))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    return make_daemon()


@pytest.fixture
def house(clock: SimClock) -> House:
    return memory_house(RULES, clock)


@pytest.fixture
def serving(house: House) -> Iterator[Serving]:
    with Serving(house) as made:
        yield made


@pytest.fixture
def stopped(house: House) -> Iterator[Serving]:
    """The same, with a loop whose time stands."""
    with Serving(house, loop=StoppedLoop()) as made:
        yield made
