"""Servers that mean harm, and values that nobody has thought of: a client ends in time,
with an error that says so, and shows no secret.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from faulty import JOB, PATIENCE_S, Act, Faulty, answer, says

from jobengine.client.client import Client
from jobengine.client.retry import Retry
from jobengine.client.transport import Request
from jobengine.errors import BadAnswer, ConfigError, InvalidJob, Unanswered

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(JOB)


def drips(head: bytes, drops: Iterator[bytes]) -> Act:
    """Answers bit by bit, each long before anybody gives up to hear it."""

    def act(server: Faulty, connection: socket.socket) -> None:
        server.hear(connection)
        with suppress(OSError):
            connection.sendall(head)
            for drop in drops:
                connection.sendall(drop)
                time.sleep(0.02)

    return act


@pytest.mark.parametrize(
    ("head", "drop"),
    [(HEAD, b"{"), (b"HTTP/1.1 200 OK\r\n", b"X"), (b"", b"HTTP/1.1 100 C\r\n\r\n")],
    ids=["body", "head", "interim answers"],
)
def test_an_answer_that_drips_is_given_up_in_time(
    connect: Any, head: bytes, drop: bytes
) -> None:
    # It would drip for minutes.
    with Faulty([drips(head, iter([drop] * 10_000))]) as server:
        client = connect(server.url, name="shop", timeout=0.2, retry=None)

        with pytest.raises(Unanswered, match="too long"):
            client.get("mail", "u-1")


def test_a_chunk_of_less_than_nothing_is_no_answer(connect: Any) -> None:
    told = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n"
    with Faulty([says(told)]) as server:
        client = connect(server.url, name="shop", retry=None)

        with pytest.raises(BadAnswer, match="HTTP"):
            client.get("mail", "u-1")


def test_what_is_not_http_is_not_repeated(connect: Any) -> None:
    with Faulty([says(b'{"password":"hunter2"}\r\n\r\n')]) as server:
        client = connect(server.url, name="shop", retry=None)

        with pytest.raises(BadAnswer) as caught:
            client.get("mail", "u-1")

    assert "hunter2" not in str(caught.value)


def test_patience_may_be_without_end(connect: Any) -> None:
    with Faulty([says(answer(201, JOB))]) as server:
        client = connect(server.url, name="shop", retry=Retry(total_s=float("inf")))

        client.enqueue("mail", {})

    assert b"keep-answer=86400" in server.requests[0]


def test_a_result_may_be_waited_for_without_end(connect: Any) -> None:
    done = JOB.replace(b'"queued"', b'"complete"')
    with Faulty([says(answer(200, done))]) as server:
        client = connect(server.url, name="shop", retry=None)

        job = client.handle("mail", "u-1").wait(float("inf"))

    assert job.state == "complete"


@pytest.mark.parametrize(
    "option",
    [{"timeout": 0}, {"timeout": float("inf")}, {"timeout": -1}, {"connections": 0}],
    ids=str,
)
def test_what_no_socket_takes_is_refused_at_once(
    connect: Any, option: dict[str, float]
) -> None:
    [name] = option

    with pytest.raises(ConfigError, match=name):
        connect("http://127.0.0.1:1", **option)


@pytest.mark.parametrize("step", ["", ".", ".."])
def test_a_uid_cannot_lead_to_another_path(connect: Any, step: str) -> None:
    client = connect("http://127.0.0.1:1", name="shop", retry=None)

    with pytest.raises(ValueError, match="no uid"):
        client.delete("mail", step)


def test_an_instant_beyond_the_calendar_is_refused(connect: Any) -> None:
    client = connect("http://127.0.0.1:1", name="shop", retry=None)
    last = datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))

    with pytest.raises(InvalidJob, match="run_at"):
        client.enqueue("mail", {}, run_at=last)


def test_a_request_does_not_show_its_token() -> None:
    request = Request("GET", "/x", {"Authorization": "Bearer hunter2"})

    assert "hunter2" not in repr(request)


def test_who_hangs_up_still_hears_what_was_answered_before() -> None:
    heard, hung_up = threading.Event(), threading.Event()

    def answers_late(server: Faulty, connection: socket.socket) -> None:
        server.hear(connection)
        heard.set()
        assert connection.recv(1) == b"", "the client asks for nothing more"
        hung_up.set()
        connection.sendall(answer(200, b'{"jobs":[%b]}' % JOB))

    found: list[str] = []

    def claim() -> None:
        found.extend(job.uid for job in client.claim("mail", wait=30))
        with pytest.raises(Unanswered):
            client.claim("mail")

    with Faulty([answers_late]) as server:
        client = Client(server.url, name="shop", retry=None)
        waiting = threading.Thread(target=claim)
        waiting.start()
        assert heard.wait(PATIENCE_S)
        client.hang_up()
        waiting.join(PATIENCE_S)

    assert hung_up.is_set()
    assert found == ["u-1"]
