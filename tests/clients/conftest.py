"""One daemon for all that speaks to it by the document."""

from collections.abc import Iterator

import pytest
from daemons import Daemon
from staged import CONFIG, Stage


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One that has an admin, and keeps nobody waiting."""
    one = Daemon(tmp_path_factory.mktemp("clients"))
    one.configure(CONFIG)
    yield one.start()
    one.kill()


@pytest.fixture(scope="module")
def stage(daemon: Daemon) -> Iterator[Stage]:
    one = Stage(daemon)
    yield one
    one.connection.close()
