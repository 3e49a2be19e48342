"""Daemons for the tests of this folder, none of which outlives its test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemons import Daemon


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons with the environment that is given, one a test."""
    made: list[Daemon] = []

    def make(**environ: str) -> Daemon:
        made.append(Daemon(tmp_path / f"daemon{len(made)}", **environ))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon that serves."""
    return make_daemon().start()
