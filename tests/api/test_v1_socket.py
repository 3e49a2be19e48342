"""The API over a real socket: what only bytes on a wire can show."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest
from serving import Serving
from werkzeug.serving import WSGIRequestHandler, make_server

GOOD = b'{"content":{"n":9007199254740993},"priority":5,"valid_for":600}'


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_: Any) -> None:
        """A test's output is for failures."""


@contextmanager
def threads(api: Any) -> Iterator[int]:
    """A server that runs the application in threads, and its port."""
    server = make_server(
        "127.0.0.1", 0, api.app, threaded=True, request_handler=Handler
    )
    thread = threading.Thread(target=server.serve_forever, name="server")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def loop(api: Any) -> Iterator[int]:
    """The event loop, and its port."""
    with Serving(api.house) as serving:
        yield serving.port


@pytest.fixture(params=[threads, loop])
def port(request: pytest.FixtureRequest, api: Any) -> Iterator[int]:
    """Of either server: what is asked is answered alike."""
    with request.param(api) as number:
        yield number


def asked(
    port: int, method: str, path: str, caller: str, body: Any = None
) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        headers = {
            "X-Name": caller,
            "X-Queue": "q1",
            "Content-Type": "application/json",
        }
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def sent(port: int, *lines: str) -> bytes:
    """The first bytes of the answer to a request written by hand."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        wire.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        return wire.recv(64)


def test_a_chunked_body_is_taken(port: int) -> None:
    status, body = asked(
        port, "PUT", "/api/v1/jobs/create", "writer", iter([GOOD[:20], GOOD[20:]])
    )

    assert status == 201
    assert b'"n":9007199254740993' in body


def test_two_names_match_nothing(port: int) -> None:
    line = sent(
        port,
        "GET /api/v1/jobs/next HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "X-Queue: q1",
        "X-Name: reader",
        "X-Name: both",
    )

    assert line.startswith(b"HTTP/1.1 400 ")


def test_a_request_without_a_host_is_refused(port: int) -> None:
    line = sent(port, "GET /api/v1/jobs/next HTTP/1.0", "X-Queue: q1", "X-Name: reader")

    assert line.startswith(b"HTTP/1.1 421 ")


def test_a_long_list_streams_and_a_client_that_hangs_up_gives_its_place_back(
    api: Any, port: int
) -> None:
    pad = json.dumps({"pad": "x" * 60_000})
    uids = [api.made(pad) for _ in range(300)]  # more than the sockets' buffers hold

    for _ in range(2):
        line = sent(
            port,
            "GET /api/v1/jobs HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "X-Queue: q1",
            "X-Name: reader",
        )
        assert line.startswith(b"HTTP/1.1 200 ")

    status = 429
    while status == 429:  # until the server has noticed; the test's limit ends it
        status, body = asked(port, "GET", "/api/v1/jobs", "reader")
    assert status == 200
    assert [job["uid"] for job in json.loads(body).values()] == uids
