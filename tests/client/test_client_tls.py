"""TLS, and what a process and its threads share of a client."""

import asyncio
import os
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme
from faulty import JOB, Faulty, answer, says

from jobengine.client.aio import AsyncClient
from jobengine.client.client import Client
from jobengine.client.retry import Retry
from jobengine.errors import ConfigError, JobEngineError, Unreachable

SHOWN = answer(200, JOB)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def context_of(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Faulty]:
    """A daemon behind TLS that answers two requests of each connection."""
    context = context_of(authority, "127.0.0.1")
    with Faulty([says(SHOWN, SHOWN)], context) as server:
        yield server


def test_a_daemon_is_verified_by_the_authority_that_is_named(
    connect: Any, secure: Faulty, ca_file: str
) -> None:
    client = connect(secure.url, ca_file=ca_file, name="shop")

    client.get("mail", "u-1")
    client.get("mail", "u-1")

    assert secure.connections == 1
    assert b"X-Name: shop" in secure.requests[0]


def test_a_daemon_that_nobody_vouches_for_is_asked_nothing(
    connect: Any, secure: Faulty
) -> None:
    # Another try meets the same certificate.
    patient = Retry(total_s=3600, first_s=60, most_s=60)
    client = connect(secure.url, name="shop", retry=patient)

    with pytest.raises(Unreachable, match=r"(?i)certificate"):
        client.get("mail", "u-1")

    assert secure.requests == []


def test_a_daemon_of_another_name_is_asked_nothing(
    connect: Any, authority: trustme.CA, ca_file: str
) -> None:
    context = context_of(authority, "jobs.example")
    with Faulty([says(SHOWN)], context) as server:
        client = connect(server.url, ca_file=ca_file, retry=None)

        with pytest.raises(Unreachable):
            client.get("mail", "u-1")

    assert server.requests == []


def test_a_certificate_is_shown_to_a_daemon_that_asks_for_one(
    connect: Any, authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    context = context_of(authority, "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    own = authority.issue_cert("shop.example")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with Faulty([says(SHOWN)], context) as server:
        client = connect(
            server.url,
            ca_file=ca_file,
            cert_file=str(tmp_path / "cert.pem"),
            key_file=str(tmp_path / "key.pem"),
        )

        assert client.get("mail", "u-1").uid == "u-1"


def test_a_certificate_that_is_missing_is_no_answer(
    connect: Any, authority: trustme.CA, ca_file: str
) -> None:
    context = context_of(authority, "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    with Faulty([says(SHOWN)], context) as server:
        client = connect(server.url, ca_file=ca_file, retry=None)

        with pytest.raises(JobEngineError):
            client.cancel("mail", "u-1")

    assert server.requests == []


@pytest.mark.parametrize(
    "files",
    [
        {"ca_file": "nowhere.pem"},
        {"key_file": "key.pem"},
        {"cert_file": "nowhere.pem"},
    ],
)
def test_files_that_cannot_be_used_are_refused(
    connect: Any, files: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match=r"pem|key"):
        connect("https://127.0.0.1", **files)


def test_an_interrupted_client_waits_no_more_over_tls(
    authority: trustme.CA, ca_file: str
) -> None:
    context = context_of(authority, "127.0.0.1")

    def waits(server: Faulty, connection: Any) -> None:
        server.hear(connection)
        client.interrupt()
        connection.recv(1)

    with (
        Faulty([waits], context) as server,
        Client(server.url, ca_file=ca_file) as client,
        pytest.raises(JobEngineError, match="interrupted"),
    ):
        client.claim("mail", wait=60)


# --- what is shared ---------------------------------------------------------------


def test_threads_share_a_client(url: str, queue: str) -> None:
    with Client(url, name="app") as client, ThreadPoolExecutor(32) as threads:
        uids = list(threads.map(lambda n: client.enqueue(queue, n).uid, range(200)))

        jobs = client.claim(queue, max=1000)

    assert len(set(uids)) == 200
    assert {job.uid for job in jobs} == set(uids)


def test_tasks_share_a_client(url: str, queue: str) -> None:
    async def scene() -> int:
        async with AsyncClient(url, name="app", connections=4) as client:
            made = await asyncio.gather(*(client.enqueue(queue, n) for n in range(200)))
            return len({each.uid for each in made})

    assert asyncio.run(scene()) == 200


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_shares_no_connection_with_its_parent() -> None:
    with Faulty([says(SHOWN, SHOWN)]) as server, Client(server.url) as client:
        client.get("mail", "u-1")

        if not (child := os.fork()):
            # It has the socket too; were it to use that, it would read what is its
            # parent's. The server serves one connection at a time: what is asked over
            # a second one waits, and this one is asked nothing.
            client.close()
            os._exit(0)
        _, status = os.waitpid(child, 0)

        assert status == 0
        assert client.get("mail", "u-1").uid == "u-1"
    assert server.connections == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_asks_over_a_connection_of_its_own(url: str, queue: str) -> None:
    with Client(url, name="app") as client:
        client.enqueue(queue, "parent")

        if not (child := os.fork()):
            code = 1
            try:
                code = 0 if client.enqueue(queue, "child").created else 1
            finally:
                os._exit(code)
        client.enqueue(queue, "parent")
        _, status = os.waitpid(child, 0)

        contents = sorted(job.content for job in client.claim(queue, max=5))
    assert status == 0
    assert contents == ["child", "parent", "parent"]
