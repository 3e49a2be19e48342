"""The attacks on a real daemon: nothing is answered that llhttp would refuse, nothing
is answered twice, and it lives on."""

from collections.abc import Iterator

import pytest
from corpus import ATTACKS
from daemons import CONFIG, Daemon
from own_refusals import refused_by_us
from sockets import exchange
from strict import Answer, Message, answers, read

TAKE = Message(
    b"GET",
    b"/api/v1/jobs/next",
    ((b"Host", b"localhost"), (b"X-Name", b"mailer"), (b"X-Queue", b"mail")),
    b"",
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("target"))
    daemon.config.write_text(CONFIG + "server: loop\n")
    try:
        yield daemon.start()
    finally:
        daemon.kill()


def said(daemon: Daemon, data: bytes, messages: list[Message]) -> list[Answer]:
    got = exchange(daemon.port, [data])
    return answers(got, [message.method for message in messages])


def again(
    daemon: Daemon, messages: list[Message], made: int
) -> tuple[list[int], list[int]]:
    """The statuses of takes until the queue is empty, and of the same *messages*
    written so that nothing is in doubt; what those make is taken too."""
    takes = [TAKE] * (made + 1)
    got = said(daemon, _plainly(takes + messages), takes + messages)
    statuses = [answer.status for answer in got]
    if made:
        said(daemon, _plainly(takes), takes)
    return statuses[: made + 1], statuses[made + 1 :]


def _plainly(messages: list[Message]) -> bytes:
    return b"".join(message.plainly() for message in messages)


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
    assert again(target, asked, made) == ([200] * made + [204], statuses)
    refused = [ours.status] if ours else [400] * reading.broken
    assert [answer.status for answer in refusals] == refused
    assert all(answer.closes for answer in refusals)
    assert not any(answer.closes for answer in routed[:-1])
    assert target.workers() == workers
    assert not troubles(target)
