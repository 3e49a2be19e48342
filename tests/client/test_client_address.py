"""Whom the client asks, and as whom."""

from typing import Any

import pytest
from faulty import JOB, Faulty, answer, says

from jobengine.errors import ConfigError, Unreachable

SHOWN = answer(200, JOB)


def test_a_caller_shares_connections_and_closes_nothing(connect: Any) -> None:
    with Faulty([says(SHOWN, SHOWN, SHOWN)]) as server:
        client = connect(server.url, name="shop")
        client.get("mail", "u-1")

        other = client.as_caller("mailer")
        other.get("mail", "u-1")
        other.close()
        client.get("mail", "u-1")

    assert server.connections == 1
    names = [request.partition(b"X-Name: ")[2][:6] for request in server.requests]
    assert names == [b"shop\r\n", b"mailer", b"shop\r\n"]


def test_a_token_is_sent_and_shown_nowhere(connect: Any) -> None:
    with Faulty([says(SHOWN)]) as server:
        client = connect(server.url, token="s3cret")

        client.get("mail", "u-1")

    assert b"\r\nAuthorization: Bearer s3cret\r\n" in server.requests[0]
    assert "s3cret" not in repr(client)


@pytest.mark.parametrize("name", ["", "a\r\nX-Name: ops", "bücher"])
def test_a_name_that_is_no_header_is_refused(connect: Any, name: str) -> None:
    with pytest.raises(ConfigError):
        connect("http://127.0.0.1:6010", name=name)


@pytest.mark.parametrize("key", ["", "a\r\nb", "é"])
def test_a_key_that_is_no_header_is_refused(connect: Any, key: str) -> None:
    client = connect("http://127.0.0.1:6010", retry=None)

    with pytest.raises((ConfigError, Unreachable)):
        client.enqueue("mail", 1, idempotency_key=key)


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:6010", "ftp://localhost", "http://", "http://a:port"),
        *("http://shop:pass@localhost", "http://localhost?x=1", "http://local host"),
    ],
)
def test_a_url_that_says_no_address_is_refused(connect: Any, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(url)

    assert "pass" not in str(caught.value)


def test_a_prefix_stands_before_every_path(connect: Any) -> None:
    with Faulty([says(SHOWN)]) as server:
        client = connect(server.url + "/jobs/")

        client.get("a queue", "u/1?")

    assert server.requests[0].startswith(
        b"GET /jobs/api/v2/queues/a%20queue/jobs/u%2F1%3F HTTP/1.1\r\n"
    )
