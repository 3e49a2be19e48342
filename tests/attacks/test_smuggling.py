"""The attacks on a real daemon: nothing is answered that llhttp would refuse, nothing
is answered twice, and it lives on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus import ATTACKS, HOST
from daemons import CONFIG, Daemon
from own_refusals import refused_by_us
from sockets import exchange
from strict import Answer, Message, answers, read

TAKE = b"GET /api/v1/jobs/next HTTP/1.1\r\n" + HOST + b"X-Name: mailer\r\nX-Queue: mail\r\n"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("target"))
    daemon.config.write_text(CONFIG + "server: loop\n")
    yield daemon.start()
    daemon.kill()


def said(daemon: Daemon, data: bytes, messages: list[Message]) -> list[Answer]:
    got = exchange(daemon.port, [data])
    return answers(got, [message.method for message in messages])


def one_by_one(daemon: Daemon, messages: list[Message]) -> list[int]:
    """The statuses of the same requests, written so that nothing is in doubt."""
    data = b"".join(message.plainly() for message in messages)
    return [answer.status for answer in said(daemon, data, messages)]


def take_all(daemon: Daemon, count: int) -> list[int]:
    """The statuses of *count* takes and one more, and the queue is empty."""
    got = exchange(daemon.port, [(TAKE + b"\r\n") * (count + 1)])
    return [answer.status for answer in answers(got, [])]


def troubles(daemon: Daemon) -> list[str]:
    """The lines of the log that speak of a bug of ours."""
    lines = daemon.log.read_text().splitlines()
    return [line for line in lines if '"bug"' in line or "internal_error" in line]


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_answered_is_what_the_strict_parser_read(
    target: Daemon, name: str
) -> None:
    data = ATTACKS[name]
    reading = read(data)
    ours = refused_by_us(name)
    asked = reading.messages[: ours.after] if ours else reading.messages
    workers = target.workers()

    got = said(target, data, asked)

    routed, refusals = got[: len(asked)], got[len(asked) :]
    statuses = [answer.status for answer in routed]
    made = statuses.count(201)
    assert take_all(target, made) == [200] * made + [204]
    assert statuses == one_by_one(target, asked)
    take_all(target, made)
    refused = [ours.status] if ours else [400] * reading.broken
    assert [answer.status for answer in refusals] == refused
    assert all(answer.closes for answer in refusals)
    assert not any(answer.closes for answer in routed[:-1])
    assert target.workers() == workers
    assert not troubles(target)
