"""What goes over one connection of the loop: order, framing, and when it ends."""

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
    create,
    request,
    take,
)

from jobengine.core.access import Caller
from jobengine.core.job import NewJob
from jobengine.testing import memory_house, sim_house

SHOP = Caller("shop")
LIST = request("GET", "/api/v1/jobs", "mailer")
CREATE = "/api/v1/jobs/create"


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving(memory_house(RULES)) as made:
        yield made


@pytest.fixture
def serving(server: Serving) -> Serving:
    """One for all tests, with nothing in its queues."""
    with server.house.store.transaction() as tx:
        for queue in RULES.queues:
            tx.drop(*tx.jobs(queue))
    return server


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with serving.connect() as made:
        yield made


def head_lines(data: bytes) -> list[bytes]:
    return data.split(b"\r\n\r\n")[0].split(b"\r\n")


# --- order ------------------------------------------------------------------------


def test_answers_come_in_the_order_of_the_requests_whatever_their_lane(
    client: Client,
) -> None:
    client.say(create('{"n":1}')).hear()
    said = [
        (TEST, 200),
        (LIVE, 200),
        (take(), 200),
        (LIST, 200),
        (take(), 204),
        (request("GET", "/nothing"), 404),
        (create('{"n":2}'), 201),
        (LIST, 200),
        (create('{"n":3}', "A: 1", "A: 1"), 201),
        (take(), 200),
        (LIVE, 200),
    ]

    client.say(*[each for each, _ in said])
    heard = [client.hear() for _ in said]

    assert [each.status for each in heard] == [status for _, status in said]
    assert [len(json.loads(each.body)) for each in (heard[3], heard[7])] == [1, 2]
    assert json.loads(heard[9].body)["content"] == {"n": 2}


def test_a_hundred_at_once_are_all_answered(client: Client) -> None:
    client.say(*[create(f'{{"n":{n}}}') for n in range(50)], *[take()] * 50)

    made = [json.loads(client.hear().body)["content"]["n"] for _ in range(50)]
    taken = [json.loads(client.hear().body)["content"]["n"] for _ in range(50)]

    assert made == taken == list(range(50))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_it_does_not_matter_in_which_pieces_requests_come(
    serving: Serving, client: Client, size: int
) -> None:
    client.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = create('{"n":1}') + LIVE + take() + LIST + TEST
    for at in range(0, len(data), size):
        client.say(data[at : at + size])

    assert [client.hear().status for _ in range(5)] == [201, 200, 200, 200, 200]


def test_the_same_head_with_another_body_is_another_request(client: Client) -> None:
    contents = ['{"n":1}', '{"n":2}', '{"n":22}', '{"n":2}', '{"n":1}']

    for content in contents:
        heard = client.say(create(content)).hear()

        assert json.loads(heard.body)["content"] == json.loads(content)


def test_half_of_a_known_request_is_waited_for(client: Client) -> None:
    for _ in range(3):
        client.say(create()).hear()
    said = create()

    client.say(said[:-5])
    early = client.silent(0.05)
    client.say(said[-5:])

    assert early
    assert client.hear().status == 201


def test_a_known_request_with_more_behind_it_is_one_of_two(client: Client) -> None:
    for _ in range(3):
        client.say(create()).hear()

    client.say(create() + create() + create()[:30])
    first, second = client.hear(), client.hear()
    early = client.silent(0.05)
    client.say(create()[30:])

    assert early
    assert [first.status, second.status, client.hear().status] == [201] * 3


# --- framing ----------------------------------------------------------------------


def chunked(*parts: bytes, tail: bytes = b"0\r\n\r\n", **how: str) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + tail
    said = request("PUT", CREATE, "shop", "Transfer-Encoding: chunked", **how)  # type: ignore[arg-type]
    return said + body


@pytest.mark.parametrize(
    "said",
    [
        chunked(JOB),
        chunked(JOB[:1], JOB[1:20], JOB[20:]),
        chunked(JOB, tail=b"0\r\nX-Name: mailer\r\nX-Queue: both\r\n\r\n"),
        chunked(JOB, tail=b"0;x=y\r\n\r\n"),
    ],
)
def test_a_chunked_body_is_taken_and_its_trailers_say_nothing(
    client: Client, said: bytes
) -> None:
    heard = client.say(said, TEST).hear()

    assert heard.status == 201
    assert json.loads(heard.body)["content"] == {"n": 1}
    assert client.hear().status == 200


def test_an_answer_without_content_has_neither_length_nor_type(client: Client) -> None:
    heard = client.say(take()).hear()

    assert heard.status == 204
    assert not {"content-length", "content-type"} & heard.headers.keys()


def test_every_answer_has_its_own_id_and_the_time(client: Client) -> None:
    heard = [client.say(said).hear() for said in (TEST, TEST, LIVE, take(), LIST)]

    ids = {each.headers["x-request-id"] for each in heard}
    assert len(ids) == len(heard)
    for each in heard:
        assert each.headers["date"].endswith(" GMT")
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/api/v1/test", "/livez", "/healthz", "/version"])
def test_head_is_get_without_the_body(client: Client, path: str) -> None:
    whole = client.say(request("GET", path)).hear()

    heard = client.say(request("HEAD", path), TEST).hear(head=True)

    assert heard.status == whole.status
    varies = {"x-request-id", "date"}
    assert {k: v for k, v in heard.headers.items() if k not in varies} == {
        k: v for k, v in whole.headers.items() if k not in varies
    }
    assert client.hear().status == 200


def test_head_of_a_listing_has_no_body_and_gives_its_place_back(
    client: Client,
) -> None:
    client.say(create()).hear()

    heard = [
        client.say(request("HEAD", "/api/v1/jobs", "mailer")).hear(head=True).status
        for _ in range(5)
    ]

    assert heard == [200] * 5


def test_head_of_the_next_job_takes_none(client: Client) -> None:
    client.say(create()).hear()

    refused = client.say(request("HEAD", "/api/v1/jobs/next", "mailer")).hear(head=True)

    assert refused.status == 405
    assert client.say(take()).hear().status == 200


@pytest.mark.parametrize("path", ["/livez", "/api/v1/test"])
def test_a_target_may_be_absolute(client: Client, path: str) -> None:
    heard = client.say(request("GET", f"http://localhost:6010{path}?x=1")).hear()

    assert heard.status == 200


def test_the_host_of_an_absolute_target_counts(client: Client) -> None:
    path = "http://evil.example/api/v1/jobs/next"

    assert client.say(request("GET", path, "mailer")).hear().status == 421


def test_a_listing_streams_and_the_connection_goes_on(
    serving: Serving, client: Client
) -> None:
    content = b'{"pad":"%b"}' % (b"x" * 9_000)
    uids = [
        serving.house.engine.enqueue(SHOP, "mail", NewJob(content)).uid
        for _ in range(200)
    ]

    heard = client.say(LIST, TEST).hear()

    assert heard.headers["transfer-encoding"] == "chunked"
    assert [job["uid"] for job in json.loads(heard.body).values()] == uids
    assert client.hear().status == 200


# --- Expect -----------------------------------------------------------------------


def expecting(body: bytes = JOB) -> bytes:
    return request("PUT", CREATE, "shop", "Expect: 100-continue", body=body)


def test_who_expects_to_be_asked_for_the_body_is_asked(client: Client) -> None:
    said = expecting()

    asked = client.say(said[: -len(JOB)]).hear()
    heard = client.say(JOB).hear()

    assert (asked.status, heard.status) == (100, 201)


def test_who_expects_and_sends_a_chunked_body_is_asked_too(client: Client) -> None:
    said = request(
        "PUT", CREATE, "shop", "Expect: 100-continue", "Transfer-Encoding: chunked"
    )

    asked = client.say(said).hear()
    heard = client.say(b"%x\r\n%b\r\n0\r\n\r\n" % (len(JOB), JOB)).hear()

    assert (asked.status, heard.status) == (100, 201)


def test_a_body_that_would_be_too_large_is_not_asked_for(client: Client) -> None:
    said = request("PUT", CREATE, "shop", "Expect: 100-continue")
    said = said[:-2] + b"Content-Length: 99999999\r\n\r\n"

    assert client.say(said).hear().status == 413


def test_another_expectation_is_refused(client: Client) -> None:
    said = request("PUT", CREATE, "shop", "Expect: a-pony", body=JOB)

    assert client.say(said).hear().status == 417
    assert client.ended()


# --- when a connection ends -------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"), [("/api/v1/test", 200), ("/livez", 200), ("/nothing", 404)]
)
def test_who_asks_for_the_end_gets_it_with_the_answer(
    client: Client, path: str, status: int
) -> None:
    client.say(request("GET", path, "", "Connection: close"), TEST)

    heard = client.hear()

    assert (heard.status, heard.headers["connection"]) == (status, "close")
    assert client.ended()


@pytest.mark.parametrize("path", ["/api/v1/test", "/livez"])
def test_http_1_0_is_answered_once(client: Client, path: str) -> None:
    client.say(request("GET", path, version="1.0"), TEST)

    heard = client.hear()

    assert (heard.status, heard.headers["connection"]) == (200, "close")
    assert client.ended()


@pytest.mark.parametrize("path", ["/api/v1/test", "/livez"])
def test_http_1_0_may_ask_to_go_on(client: Client, path: str) -> None:
    said = request("GET", path, "", "Connection: keep-alive", version="1.0")

    for _ in range(3):
        heard = client.say(said).hear()

        assert (heard.status, heard.headers["connection"]) == (200, "keep-alive")


def test_to_http_1_0_a_listing_ends_with_the_connection(client: Client) -> None:
    client.say(create()).hear()
    said = request(
        "GET", "/api/v1/jobs", "mailer", "Connection: keep-alive", version="1.0"
    )

    heard = client.say(said).hear()

    assert "transfer-encoding" not in heard.headers
    assert heard.headers["connection"] == "close"
    assert len(json.loads(heard.body)) == 1


def test_chunks_in_http_1_0_are_refused(client: Client) -> None:
    assert client.say(chunked(JOB, version="1.0")).hear().status == 400
    assert client.ended()


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0"])
def test_another_version_is_not_spoken(client: Client, version: str) -> None:
    assert client.say(request("GET", "/livez", version=version)).hear().status in {
        400,
        505,
    }
    assert client.ended()


@pytest.mark.parametrize("said", [TEST, LIVE, LIST, create()])
def test_a_client_that_says_no_more_still_hears_its_answer(
    client: Client, said: bytes
) -> None:
    client.say(create()).hear()
    client.say(said).hang_up()

    assert client.hear().status in {200, 201}
    assert client.ended()


def test_a_client_that_says_nothing_and_hangs_up_is_let_go(client: Client) -> None:
    client.hang_up()

    assert client.ended()


# --- upgrades ---------------------------------------------------------------------

H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAQA")


def test_who_offers_http_2_is_answered_in_http_1(client: Client) -> None:
    # As one widely used client does with every first request, with a body too.
    for _ in range(2):
        heard = client.say(request("PUT", CREATE, "shop", *H2C, body=JOB)).hear()

        assert heard.status == 201
    assert client.say(request("GET", "/api/v1/jobs/next", "mailer", *H2C)).hear()[0]
    assert client.say(TEST).hear().status == 200


def test_an_offer_in_pieces_is_read_as_well(client: Client) -> None:
    said = request("PUT", CREATE, "shop", *H2C, body=JOB) + TEST
    for at in range(len(said)):
        client.say(said[at : at + 1])

    assert [client.hear().status for _ in range(2)] == [201, 200]


def test_an_offer_with_a_chunked_body_is_read_as_well(client: Client) -> None:
    said = request("PUT", CREATE, "shop", *H2C, "Transfer-Encoding: chunked")

    client.say(said, b"%x\r\n%b\r\n0\r\n\r\n" % (len(JOB), JOB), TEST)

    assert [client.hear().status for _ in range(2)] == [201, 200]


def test_who_would_tunnel_is_refused(client: Client) -> None:
    client.say(b"CONNECT localhost:6010 HTTP/1.1\r\nHost: localhost\r\n\r\n" + TEST)

    assert client.hear().status in {400, 404, 405}
    assert client.ended()


# --- what is no request -----------------------------------------------------------


def test_after_what_is_no_request_nothing_more_is_read(client: Client) -> None:
    client.say(TEST, LIVE, b"nonsense\r\n\r\n", TEST, TEST)

    statuses = [client.hear().status for _ in range(3)]

    assert statuses == [200, 200, 400]
    assert client.ended()


def test_a_refusal_comes_after_the_answers_that_are_still_owed(
    serving: Serving,
) -> None:
    with ExitStack() as ends:
        client = ends.enter_context(serving.connect())
        client.say(take(wait=60), b"nonsense\r\n\r\n")
        serving.waiting(1)
        early = client.silent(0.05)

        ends.enter_context(serving.connect()).say(create()).hear()

        assert early
        assert [client.hear().status for _ in range(2)] == [200, 400]


def test_a_client_that_is_still_sending_gets_to_read_why_it_should_not(
    client: Client,
) -> None:
    said = request("PUT", CREATE, "shop")[:-2] + b"Content-Length: 8000000\r\n\r\n"
    client.say(said)

    heard = client.hear()
    for _ in range(20):
        client.say(b"x" * 1000)

    assert heard.status == 413
    assert heard.headers["connection"] == "close"


def test_a_large_create_is_told_its_commit_once() -> None:
    # For the slow lane: its thread knows the commit before the loop writes.
    large = '{"pad":"%s"}' % ("x" * 70_000)
    with Serving(sim_house(RULES)) as serving:
        heard = serving.ask(create(large, "X-JobEngine-Commit: ?"))

    assert heard.status == 201
    assert heard.headers["x-jobengine-commit"]
