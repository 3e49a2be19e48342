"""How much the loop takes, from how many and for how long; nobody else pays for it.

The loop's time stands until the test moves it.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from serving import (
    JOB,
    LIVE,
    RULES,
    TEST,
    Client,
    Serving,
    StoppedLoop,
    create,
    request,
    take,
)

from jobengine.core.access import Caller
from jobengine.core.job import NewJob
from jobengine.testing import memory_house

SHOP = Caller("shop")
LIST = request("GET", "/api/v1/jobs", "mailer")
CREATE = "/api/v1/jobs/create"
# Few of these fill what there is of buffers.
LONG = request("GET", "/api/v1/test", "", f"A: {'b' * 8000}")
WHOLE = create()
HEAD = WHOLE[: -len(JOB)]


@pytest.fixture
def serving() -> Iterator[Serving]:
    with Serving(memory_house(RULES), loop=StoppedLoop()) as made:
        yield made


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with serving.connect() as made:
        yield made


def connections(serving: Serving, count: int) -> None:
    """Return when so many are open."""
    serving.until(lambda: len(serving.turns.seats) == count, f"{count} connections")


def read(serving: Serving) -> None:
    """Return when the loop has read what was sent."""
    serving.rest()


# --- deadlines --------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"G", HEAD[:20], HEAD[:-1]])
def test_a_head_must_come_in_time(
    serving: Serving, client: Client, said: bytes
) -> None:
    client.say(said)
    read(serving)

    serving.skip(4)
    early = client.silent(0.02)
    serving.skip(3)

    assert early
    heard = client.hear()
    assert (heard.status, heard.headers["connection"]) == (408, "close")
    assert client.ended()


@pytest.mark.parametrize("said", [HEAD, WHOLE[:-1]])
def test_a_body_must_come_in_time(
    serving: Serving, client: Client, said: bytes
) -> None:
    client.say(said)
    read(serving)

    serving.skip(9)
    early = client.silent(0.02)
    serving.skip(3)

    assert early
    assert client.hear().status == 408
    assert client.ended()


def test_one_byte_now_and_then_does_not_buy_time(
    serving: Serving, client: Client
) -> None:
    for at in range(4):
        client.say(HEAD[at : at + 1])
        read(serving)
        serving.skip(2)

    assert client.hear().status == 408


def test_every_request_of_a_connection_has_its_own_time(
    serving: Serving, client: Client
) -> None:
    for _ in range(5):
        client.say(WHOLE[:100])
        read(serving)
        serving.skip(4)
        client.say(WHOLE[100:])

        assert client.hear().status == 201


def test_a_request_is_timed_from_its_own_first_byte(
    serving: Serving, client: Client
) -> None:
    client.say(WHOLE + WHOLE[:30])
    first = client.hear()
    serving.skip(4)
    client.say(WHOLE[30:])

    assert [first.status, client.hear().status] == [201, 201]


@pytest.mark.parametrize("before", [b"", TEST, LIVE, WHOLE, take(), LIST])
def test_a_connection_that_asks_for_nothing_is_closed_without_a_word(
    serving: Serving, client: Client, before: bytes
) -> None:
    if before:
        client.say(before).hear()
        read(serving)
    connections(serving, 1)

    serving.skip(74)
    still = client.silent(0.02)
    serving.skip(3)

    assert still
    assert client.ended()


def test_a_connection_that_asks_again_lives_on(
    serving: Serving, client: Client
) -> None:
    for _ in range(4):
        for said in (TEST, LIVE, WHOLE):
            serving.skip(60)
            assert client.say(said).hear().status in {200, 201}


def test_while_nothing_is_read_no_deadline_of_the_head_runs(
    serving: Serving, client: Client
) -> None:
    client.say(take(wait=60) + HEAD[:20])
    serving.waiting(1)
    for _ in range(4):
        serving.skip(10)

    serving.house.engine.enqueue(SHOP, "mail", NewJob(b"{}"))

    assert client.hear().status == 200
    client.say(HEAD[20:] + JOB)
    assert client.hear().status == 201


def fill(serving: Serving) -> None:
    """A listing far larger than what the system takes off our hands."""
    content = b'{"pad":"%b"}' % (b"x" * 500_000)
    for _ in range(40):
        serving.house.engine.enqueue(SHOP, "mail", NewJob(content))


def slow_reader(serving: Serving) -> Client:
    client = Client.__new__(Client)
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.settimeout(20)
    wire.connect(("127.0.0.1", serving.port))
    client.wire, client._file = wire, wire.makefile("rb")
    return client


def test_who_does_not_read_an_answer_is_cut_off(serving: Serving) -> None:
    fill(serving)
    with slow_reader(serving) as client:
        client.say(LIST)
        serving.until(lambda: choked(serving), "its buffers are full")

        serving.skip(9)
        assert choked(serving)
        serving.skip(3)

        connections(serving, 0)
    # Its place among the listings is free again.
    for _ in range(3):
        assert serving.ask(LIST).status == 200


def choked(serving: Serving) -> bool:
    return any(each.choked for each in list(serving.turns.seats._taken))


def test_who_reads_slowly_but_reads_gets_it_all(serving: Serving) -> None:
    fill(serving)
    with slow_reader(serving) as client:
        client.say(LIST)
        serving.until(lambda: choked(serving), "its buffers are full")
        for _ in range(3):
            serving.skip(5)
            client._file.peek(1)
            got = client._file.read(3_000_000)  # so that it is written to again
            assert len(got) == 3_000_000
            serving.until(lambda: choked(serving), "its buffers are full again")

        rest = client._file.read(20_000_000 - 9_000_000)

        assert len(rest) == 11_000_000


def test_a_client_that_reads_nothing_is_not_read_from_either(serving: Serving) -> None:
    fill(serving)
    with slow_reader(serving) as client:
        client.wire.setblocking(False)
        client.wire.send(LIST)
        serving.until(lambda: choked(serving), "its buffers are full")
        sent = 0
        try:
            while sent < 64 << 20:
                sent += client.wire.send(TEST * 500)
                read(serving)
        except BlockingIOError:
            pass

        assert sent < 64 << 20
        assert serving.turns.held < 8 << 20


# --- how many ---------------------------------------------------------------------


@pytest.mark.parametrize("cap", ["connections", "connections_per_address"])
def test_one_connection_too_many_is_closed_unanswered(
    serving: Serving, cap: str
) -> None:
    serving.limit(**{cap: 2})
    with serving.connect() as first, serving.connect() as second:
        connections(serving, 2)

        with serving.connect() as third:
            assert third.ended()

        assert [each.say(TEST).hear().status for each in (first, second)] == [200, 200]
        first.close()
        connections(serving, 1)
        assert serving.ask(TEST).status == 200


def test_another_address_has_connections_of_its_own(serving: Serving) -> None:
    serving.limit(connections_per_address=1)
    with serving.connect(), serving.connect(source_address=("127.0.0.2", 0)) as other:
        connections(serving, 2)

        assert other.say(TEST).hear().status == 200


def test_a_pipeline_is_worked_on_a_part_a_turn_and_all_of_it(
    serving: Serving, client: Client
) -> None:
    serving.limit(pipeline=2)
    tell = "X-JobEngine-Commit: ?"
    del tell  # a house in memory has no commits to tell

    client.say(TEST * 9, LIVE, create() * 3, take() * 3)
    statuses = [client.hear().status for _ in range(16)]

    assert statuses == [200] * 10 + [201] * 3 + [200] * 3


def test_a_pipeline_does_not_hold_up_others(serving: Serving, client: Client) -> None:
    serving.limit(pipeline=1)
    with serving.connect() as other:
        connections(serving, 2)
        with serving.hold():
            client.say(create() * 20)
            other.say(create('{"other":1}'))
        assert other.hear().status == 201
        for _ in range(20):
            assert client.hear().status == 201

    with serving.house.store.transaction() as tx:
        contents = [job.content for job in tx.jobs("mail")]
    assert contents.index(b'{"other":1}') < 5


# --- how much ---------------------------------------------------------------------


def test_what_waits_unread_is_bounded(serving: Serving, client: Client) -> None:
    serving.limit(body_bytes=1024, buffered_bytes=100_000)
    client.say(take(wait=60))
    serving.waiting(1)
    client.wire.setblocking(False)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += client.wire.send(LONG * 20)
            read(serving)
    except BlockingIOError:
        pass
    held = serving.turns.held
    client.wire.settimeout(20)

    serving.house.engine.enqueue(SHOP, "mail", NewJob(b"{}"))

    assert sent < 64 << 20
    assert held < 2 << 20  # one read of the loop's beyond the limit, at most
    assert client.hear().status == 200
    for _ in range(sent // len(LONG)):
        assert client.hear().status == 200
    read(serving)
    assert serving.turns.held <= len(LONG)


def test_over_what_all_may_have_under_way_the_one_who_sends_is_refused(
    serving: Serving,
) -> None:
    serving.limit(inflight_bytes=300_000)
    said = request("PUT", CREATE, "shop")[:-2] + b"Content-Length: 900000\r\n\r\n"
    with ExitStack() as ends:
        first, second, third = (ends.enter_context(serving.connect()) for _ in range(3))
        first.say(said, b" " * 200_000)
        third.say(TEST).hear()
        serving.until(lambda: serving.turns.held >= 200_000, "the first has sent")

        second.say(said, b" " * 200_000)

        heard = second.hear()
        assert (heard.status, heard.headers["connection"]) == (503, "close")
        assert int(heard.headers["retry-after"]) >= 1
        assert third.say(TEST).hear().status == 200
        assert first.silent(0.02)
    connections(serving, 0)
    assert serving.turns.held == 0


@pytest.mark.parametrize(
    "said",
    [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
    ],
)
def test_an_endless_head_is_refused_before_it_ends(client: Client, said: bytes) -> None:
    client.say(said)

    assert client.hear().status == 431


def test_a_body_that_announces_too_much_is_refused_unread(
    serving: Serving, client: Client
) -> None:
    serving.limit(body_bytes=2000)
    said = request("PUT", CREATE, "shop")[:-2] + b"Content-Length: 2001\r\n\r\n"

    heard = client.say(said).hear()

    assert heard.status == 413
    assert "2000 bytes (limits.body_bytes" in json.loads(heard.body)["detail"]
    assert client.ended()


@pytest.mark.parametrize("size", [1, 7, 2001])
def test_a_chunked_body_is_counted_while_it_comes(
    serving: Serving, client: Client, size: int
) -> None:
    serving.limit(body_bytes=2000)
    said = request("PUT", CREATE, "shop", "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n" % (size, b" " * size)

    heard = client.say(said, chunk * (2000 // size + 1)).hear()

    assert heard.status == 413
    assert client.ended()


def test_chunks_that_are_nearly_all_framing_are_refused(
    serving: Serving, client: Client
) -> None:
    serving.limit(body_bytes=2000)
    said = request("PUT", CREATE, "shop", "Transfer-Encoding: chunked")
    chunk = b"1;" + b"x" * 1000 + b"\r\n \r\n"

    heard = client.say(said, chunk * 200).hear()

    assert heard.status in {400, 413}
    assert client.ended()


def test_a_smaller_limit_holds_for_those_who_are_connected(
    serving: Serving, client: Client
) -> None:
    said = create('{"pad":"%s"}' % ("x" * 1500))
    before = [client.say(said).hear().status for _ in range(3)]

    serving.limit(body_bytes=1024)
    after = client.say(said).hear().status

    assert (before, after) == ([201] * 3, 413)


def test_after_everybody_has_gone_nothing_is_left(serving: Serving) -> None:
    with ExitStack() as ends:
        clients = [ends.enter_context(serving.connect()) for _ in range(7)]
        for client, said in zip(
            clients,
            (
                take(wait=60),
                WHOLE[:-3],
                HEAD[:10],
                b"\0",
                take("A: 1", "A: 1", wait=60) + TEST,
                TEST,
                b"",
            ),
            strict=True,
        ):
            client.say(said)
        serving.waiting(2)

    connections(serving, 0)
    assert serving.turns.held == 0
    assert serving.house.doorbell.waiters == 0
