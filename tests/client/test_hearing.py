"""Answers as they come from a socket: whole, in parts, cut off, and none at all."""

import socket
from collections.abc import Iterator
from time import monotonic

import pytest

from jobengine.client.hearing import CutOff, NotHttp, hear

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Some: thing\r\n\r\n{}"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


Ends = tuple[socket.socket, socket.socket]


def test_an_answer_has_a_status_headers_and_a_body(ends: Ends) -> None:
    ends[1].sendall(OK)

    answer, more = hear(ends[0], monotonic() + 10)

    assert (answer.status, answer.body, more) == (200, b"{}", True)
    assert answer.headers["x-some"] == "thing"


@pytest.mark.parametrize("sent", [OK, CHUNKED])
def test_it_may_come_byte_by_byte(ends: Ends, sent: bytes) -> None:
    heard = []
    for at in range(len(sent)):
        ends[1].sendall(sent[at : at + 1])
    heard.append(hear(ends[0], monotonic() + 10)[0].body)

    assert heard in ([b"{}"], [b"[1]"])


def test_what_is_announced_first_is_not_the_answer(ends: Ends) -> None:
    ends[1].sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)

    answer, _ = hear(ends[0], monotonic() + 10)

    assert (answer.status, "link" in answer.headers) == (200, False)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_may_have_no_body(ends: Ends, status: bytes) -> None:
    ends[1].sendall(b"HTTP/1.1 " + status + b"\r\n\r\n")

    answer, more = hear(ends[0], monotonic() + 10)

    assert (answer.status, answer.body, more) == (int(status[:3]), b"", True)


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        OK + OK,  # nobody has asked for the second
    ],
)
def test_a_connection_that_ends_is_not_used_again(ends: Ends, sent: bytes) -> None:
    ends[1].sendall(sent)

    answer, more = hear(ends[0], monotonic() + 10)

    assert (answer.body, more) == (b"{}", False)


def test_an_answer_may_end_where_its_connection_does(ends: Ends) -> None:
    ends[1].sendall(b"HTTP/1.0 200 OK\r\n\r\n{}")
    ends[1].shutdown(socket.SHUT_WR)

    answer, more = hear(ends[0], monotonic() + 10)

    assert (answer.body, more) == (b"{}", False)


@pytest.mark.parametrize("length", range(len(OK)))
def test_half_an_answer_is_none(ends: Ends, length: int) -> None:
    ends[1].sendall(OK[:length])
    ends[1].shutdown(socket.SHUT_WR)

    with pytest.raises(CutOff):
        hear(ends[0], monotonic() + 10)


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * (128 << 10) + b"\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_told_apart(ends: Ends, sent: bytes) -> None:
    ends[1].sendall(sent)
    ends[1].shutdown(socket.SHUT_WR)

    with pytest.raises(NotHttp):
        hear(ends[0], monotonic() + 10)


def test_who_drips_has_no_more_time_than_others(ends: Ends) -> None:
    ends[1].sendall(OK[:20])

    with pytest.raises(TimeoutError):
        hear(ends[0], monotonic() + 0.05)
