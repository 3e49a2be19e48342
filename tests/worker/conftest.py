"""One daemon for the tests of each module, a client that may do anything there, and a
queue of its own for each test.
"""

import re
from collections.abc import Iterator

import pytest
from daemons import Daemon
from seed_sites import client_of, running

from jobengine import Client


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def app(daemon: Daemon) -> Iterator[Client]:
    with client_of(daemon) as client:
        yield client


@pytest.fixture
def queue(app: Client, request: pytest.FixtureRequest) -> str:
    """Named after the test."""
    name = re.sub(r"\W+", "-", request.node.name)[:200].strip("-")
    app.create_queue(name, read=["app"], write=["app"])
    return name
