"""Daemons for the tests of this folder, none of which outlives its test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemons import Daemon


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
