"""What the client makes of a daemon, or a network, that fails."""

import asyncio
import socket
import threading
from typing import Any

import pytest
from daemons import free_port
from faulty import (
    JOB,
    Faulty,
    answer,
    drops,
    keeps_quiet,
    problem,
    refuses_to_hear,
    says,
)

from jobengine.client.client import Client
from jobengine.client.retry import Retry
from jobengine.errors import (
    BadAnswer,
    Forbidden,
    InvalidJob,
    JobEngineError,
    QueueFull,
    Refused,
    StaleLease,
    StoreFailed,
    Unanswered,
    Unavailable,
    Unreachable,
)

# Patient, and at once.
SOON = Retry(total_s=20, first_s=0.001, most_s=0.01)

MADE = answer(201, JOB)
SHOWN = answer(200, JOB)


def test_a_daemon_that_is_not_there_is_unreachable(connect: Any) -> None:
    client = connect(f"http://127.0.0.1:{free_port()}", name="shop", retry=None)

    with pytest.raises(Unreachable, match="refused"):
        client.enqueue("mail", 1)


def test_a_host_that_has_no_address_is_unreachable(connect: Any) -> None:
    client = connect("http://nowhere.invalid:6010", name="shop", retry=None)

    with pytest.raises(Unreachable, match="not reached"):
        client.peek("mail")


def test_what_was_never_carried_out_is_sent_again_whatever_it_is(connect: Any) -> None:
    with Faulty([says(problem(503, "unavailable")), says(SHOWN)]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        job = client.cancel("mail", "u-1")

    assert job.uid == "u-1"
    assert len(server.requests) == 2


def test_a_cancel_without_an_answer_is_not_sent_again(connect: Any) -> None:
    with Faulty([drops]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        with pytest.raises(Unanswered):
            client.cancel("mail", "u-1")

    assert len(server.requests) == 1


def test_a_new_job_without_an_answer_is_sent_again_under_the_same_key(
    connect: Any,
) -> None:
    with Faulty([drops, says(MADE)]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        handle = client.enqueue("mail", {"to": "ada"})

    assert handle.uid == "u-1"
    first, second = server.requests
    assert first == second
    assert b"\r\nIdempotency-Key: " in first
    assert b"\r\nPrefer: keep-answer=" in first


def test_two_jobs_have_two_keys(connect: Any) -> None:
    with Faulty([says(MADE, MADE)]) as server:
        client = connect(server.url, name="shop")

        client.enqueue("mail", 1)
        client.enqueue("mail", 1)

    first, second = server.requests
    assert first != second


@pytest.mark.parametrize(
    "options",
    [{"idempotency_key": False}, {"unique_key": "k", "idempotency_key": False}],
)
def test_a_new_job_without_a_key_is_not_sent_again(
    connect: Any, options: dict[str, Any]
) -> None:
    with Faulty([drops]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        with pytest.raises(Unanswered):
            client.enqueue("mail", 1, **options)

    assert len(server.requests) == 1
    assert b"Idempotency-Key" not in server.requests[0]


def test_a_unique_key_that_is_kept_needs_no_other(connect: Any) -> None:
    with Faulty([drops, says(SHOWN)]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        handle = client.enqueue("mail", 1, unique_key="k", on_conflict="keep")

    assert not handle.created
    assert len(server.requests) == 2
    assert b"Idempotency-Key" not in server.requests[0]


def test_a_key_of_the_callers_own_is_sent_as_it_is(connect: Any) -> None:
    with Faulty([drops, says(MADE)]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        client.enqueue("mail", 1, idempotency_key="order-17")

    assert all(b"\r\nIdempotency-Key: order-17\r\n" in r for r in server.requests)
    assert b"keep-answer" not in server.requests[0]


def test_a_client_that_never_retries_sends_once_and_no_key(connect: Any) -> None:
    with Faulty([drops]) as server:
        client = connect(server.url, name="shop", retry=None)

        with pytest.raises(Unanswered):
            client.enqueue("mail", 1)

    assert len(server.requests) == 1
    assert b"Idempotency-Key" not in server.requests[0]


def test_half_an_answer_is_none(connect: Any) -> None:
    with Faulty([says(SHOWN[:-20]), says(SHOWN)]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        job = client.get("mail", "u-1")

    assert job.uid == "u-1"
    assert len(server.requests) == 2


def test_an_answer_that_takes_too_long_is_none(connect: Any) -> None:
    with Faulty([keeps_quiet]) as server:
        client = connect(server.url, name="shop", retry=None, timeout=0.05)

        with pytest.raises(Unanswered, match="too long"):
            client.get("mail", "u-1")


def test_a_wait_is_given_the_time_it_asks_for(connect: Any) -> None:
    asked = threading.Event()
    go_on = threading.Event()

    def answers_late(server: Faulty, connection: socket.socket) -> None:
        server.hear(connection)
        asked.set()
        go_on.wait(20)
        connection.sendall(answer(204))

    with Faulty([answers_late]) as server:
        client = connect(server.url, name="shop", retry=None, timeout=0.05)
        # Later than the timeout alone would allow.
        threading.Timer(0.3, go_on.set).start()

        jobs = client.claim("mail", wait=20)

    assert jobs == []
    assert b"wait=20" in server.requests[0]


def test_what_the_daemon_asks_to_wait_is_waited(connect: Any) -> None:
    full = problem(429, "queue_full", b"Retry-After: 3600")
    with Faulty([says(full)]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        with pytest.raises(QueueFull) as caught:
            client.enqueue("mail", 1)

    # An hour is more than the patience of 20 seconds.
    assert len(server.requests) == 1
    assert caught.value.retry_after_s == 3600
    assert caught.value.status == 429


def test_a_failed_sync_leaves_open_what_was_done(connect: Any) -> None:
    with Faulty([says(problem(503, "storage_failed"))]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        with pytest.raises(StoreFailed):
            client.cancel("mail", "u-1")

    assert len(server.requests) == 1


def test_a_refusal_is_not_sent_again(connect: Any) -> None:
    with Faulty([says(problem(403, "forbidden"))]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        with pytest.raises(Forbidden) as caught:
            client.get("mail", "u-1")

    assert len(server.requests) == 1
    assert (caught.value.status, caught.value.request_id) == (403, "r-1")


@pytest.mark.parametrize(
    ("status", "kind"), [(418, Refused), (429, Unavailable), (503, Unavailable)]
)
def test_a_code_that_is_new_keeps_its_name(
    connect: Any, status: int, kind: type[JobEngineError]
) -> None:
    with Faulty([says(problem(status, "brand_new"))]) as server:
        client = connect(server.url, name="shop", retry=None)

        with pytest.raises(kind, match="so it is") as caught:
            client.get("mail", "u-1")

    assert caught.value.code == "brand_new"


def test_an_invalid_job_says_which_members_are_wrong(connect: Any) -> None:
    body = (
        b'{"code":"invalid_job","status":422,"detail":"x","errors":'
        b'[{"pointer":"/0/priority","detail":"must be less"}]}'
    )
    with Faulty([says(answer(422, body))]) as server:
        client = connect(server.url, name="shop")

        with pytest.raises(InvalidJob) as caught:
            client.enqueue_many("mail", [1])

    assert caught.value.errors == (("0/priority", "must be less"),)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_is_not_a_daemon_is_named_so(connect: Any, status: int) -> None:
    page = answer(status, b"<html>password: hunter2</html>", b"Content-Type: text/html")
    with Faulty([says(page)]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        with pytest.raises(BadAnswer, match="text/html") as caught:
            client.get("mail", "u-1")

    assert len(server.requests) == 1
    assert "hunter2" not in str(caught.value)


def test_what_is_not_http_is_named_so(connect: Any) -> None:
    with Faulty([says(b"220 mail.example ESMTP\r\n\r\n")]) as server:
        client = connect(server.url, name="shop", retry=None)

        with pytest.raises(BadAnswer, match="HTTP"):
            client.get("mail", "u-1")


def test_an_answer_of_chunks_is_read_whole(connect: Any) -> None:
    half = len(JOB) // 2
    told = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in (JOB[:half], JOB[half:], b"")
    )
    with Faulty([says(told)]) as server:
        client = connect(server.url, name="shop", retry=None)

        assert client.get("mail", "u-1").uid == "u-1"


def test_a_proxy_that_gave_up_leaves_open_what_was_done(connect: Any) -> None:
    page = answer(502, b"<html>", b"Content-Type: text/html")
    with Faulty([says(page), says(SHOWN)]) as server:
        client = connect(server.url, name="shop", retry=SOON)

        with pytest.raises(Unanswered):
            client.cancel("mail", "u-1")
        job = client.get("mail", "u-1")

    assert job.uid == "u-1"


def test_connections_are_used_again(connect: Any) -> None:
    with Faulty([says(SHOWN, SHOWN, SHOWN)]) as server:
        client = connect(server.url, name="shop")

        for _ in range(3):
            client.get("mail", "u-1")

    assert server.connections == 1


def test_a_connection_that_the_daemon_ended_is_not_used_again() -> None:
    acts = [says(SHOWN), says(SHOWN)]
    with Faulty(acts) as server, Client(server.url, retry=None) as client:
        client.get("mail", "u-1")
        assert server.hung_up.wait(20)

        # What is sent there would be lost, and nobody would know what became of it.
        job = client.cancel("mail", "u-1")

    assert job.uid == "u-1"
    assert server.connections == 2


def test_an_answer_that_says_so_is_the_last_of_its_connection(connect: Any) -> None:
    last = answer(200, JOB, b"Connection: close")
    with Faulty([says(last)]) as server:
        client = connect(server.url, name="shop", retry=None)

        client.get("mail", "u-1")
        client.get("mail", "u-1")

    assert server.connections == 2


def test_a_report_that_was_sent_before_says_so_when_it_is_refused(
    connect: Any,
) -> None:
    held = b'{"jobs":[%b,"lease":{"holder":"app","since":%b,"until":%b,"token":"t"}}]}'
    at = b'"2026-11-22T11:12:13.928Z"'
    claimed = answer(200, held % (JOB[:-1], at, at))
    acts = [says(claimed), drops, says(problem(409, "stale_lease"))]
    with Faulty(acts) as server:
        client = connect(server.url, name="app", retry=SOON)
        (job,) = client.claim("mail")

        with pytest.raises(StaleLease) as caught:
            client.complete(job)

    assert caught.value.__notes__
    assert server.requests[1] == server.requests[2]
    assert "t" not in repr(job.lease).replace("until", "")


def test_a_request_that_does_not_arrive_whole_was_not_carried_out() -> None:
    # More than the buffers between the two hold.
    content = "x" * (16 * 1024 * 1024)
    with (
        Faulty([refuses_to_hear]) as server,
        Client(server.url, retry=None) as client,
        pytest.raises(Unreachable),
    ):
        client.enqueue("mail", content)


def test_a_refusal_that_comes_before_the_body_is_whole_is_heard() -> None:
    def refuses_the_head(server: Faulty, connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(problem(413, "request_entity_too_large"))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    content = "x" * (16 * 1024 * 1024)
    with (
        Faulty([refuses_the_head]) as server,
        Client(server.url) as client,
        pytest.raises(Refused) as caught,
    ):
        client.enqueue("mail", content)

    assert caught.value.code == "request_entity_too_large"


def test_an_interrupted_client_waits_no_more() -> None:
    heard = threading.Event()

    def waits(server: Faulty, connection: socket.socket) -> None:
        server.hear(connection)
        heard.set()
        connection.recv(1)

    ended: list[BaseException] = []

    def claim(client: Client) -> None:
        try:
            client.claim("mail", wait=60)
        except Unanswered as error:
            ended.append(error)

    with Faulty([waits]) as server, Client(server.url, name="app") as client:
        thread = threading.Thread(target=claim, args=(client,))
        thread.start()
        assert heard.wait(20)

        client.interrupt()

        thread.join(20)
        assert not thread.is_alive()
        assert len(ended) == 1
        with pytest.raises(Unanswered, match="interrupted"):
            client.peek("mail")
    assert len(server.requests) == 1


def test_an_interrupted_client_does_not_wait_for_its_next_try() -> None:
    refused = threading.Event()

    def refuses(server: Faulty, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(problem(503, "unavailable", b"Retry-After: 60"))
        refused.set()

    ended: list[BaseException] = []

    def peek(client: Client) -> None:
        try:
            client.peek("mail")
        except Unavailable as error:
            ended.append(error)

    patient = Retry(total_s=120, first_s=60, most_s=60)
    with Faulty([refuses]) as server, Client(server.url, retry=patient) as client:
        thread = threading.Thread(target=peek, args=(client,))
        thread.start()
        assert refused.wait(20)

        client.interrupt()

        thread.join(20)
        assert not thread.is_alive()
        assert len(ended) == 1


def test_another_client_is_not_interrupted_with_the_first() -> None:
    with Faulty([says(SHOWN)]) as server, Client(server.url) as client:
        other = client.another()

        client.interrupt()

        assert other.get("mail", "u-1").uid == "u-1"
        other.close()


def test_a_cancelled_task_leaves_its_client_usable() -> None:
    from jobengine.client.aio import AsyncClient

    async def scene() -> str:
        with Faulty([keeps_quiet, says(SHOWN)]) as server:
            async with AsyncClient(server.url, name="app") as client:
                waiting = asyncio.create_task(client.claim("mail", wait=60))
                while not server.requests:
                    await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                job = await client.get("mail", "u-1")
                return job.uid

    assert asyncio.run(scene()) == "u-1"
