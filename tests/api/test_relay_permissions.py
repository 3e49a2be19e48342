"""Who may do what on every path of relay, and who is who without a header (D15)."""

from collections.abc import Callable, Iterator

import pytest
from carriers import CARRIERS
from msgspec.structs import replace
from relaying import RELAY, Relay, at, job, relaying, told

from jobengine.daemon.settings import RelaySettings

NOBODY = RelaySettings()


@pytest.fixture(params=CARRIERS)
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    with relaying(request.param) as found:
        yield found


Asks = Callable[[Relay, str], int]


def asks(method: str, path: str, body: object = b"") -> Asks:
    return lambda relay, name: relay.ask(method, path, body, name=name).status


def asks_of_run(method: str, body: object = b"") -> Asks:
    """Of the run that is under way, by its name, which only its holder is told."""

    def ask(relay: Relay, name: str) -> int:
        with relay.house.store.transaction() as tx:
            found = tx.find("shared", "held")
        assert found is not None
        assert found.lease is not None
        path = f"{at('held', 'shared', 2)}/run-id/{found.lease.token}"
        return relay.ask(method, path, body, name=name).status

    return ask


NEW = job("new", queue="shared")
QUERY = "queue=shared&job_id="
# What is asked, and the answers to: nobody in particular, a reader that holds the job
# `held`, another reader, a writer.
MATRIX: dict[str, tuple[Asks, tuple[int, int, int, int]]] = {
    "enqueue": (asks("POST", "/enqueue", NEW), (404, 403, 403, 202)),
    "batch": (asks("POST", "/enqueue/batch", [NEW]), (404, 403, 403, 202)),
    "array": (asks("POST", "/v1/queues/jobs", [NEW]), (404, 403, 403, 202)),
    "array 2": (asks("POST", "/v2/queues/jobs", [NEW]), (404, 403, 403, 202)),
    "next": (asks("GET", "/next?queue=shared"), (404, 200, 200, 403)),
    "no jobs": (asks("GET", "/next?queue=shared&num_jobs=0"), (404, 204, 204, 403)),
    "rest": (asks("GET", "/v1/queues/shared/jobs"), (404, 200, 200, 403)),
    "rest 2": (asks("GET", "/v2/queues/shared/jobs"), (404, 200, 200, 403)),
    "beat": (asks("PATCH", f"/heartbeat?{QUERY}held"), (404, 202, 403, 403)),
    "beat it": (asks("PATCH", at("held", "shared")), (404, 202, 403, 403)),
    "beat run": (asks_of_run("PATCH"), (404, 202, 202, 403)),
    "again": (
        asks("POST", "/reschedule", job("held", queue="shared")),
        (404, 202, 403, 403),
    ),
    "put": (
        asks("PUT", "/v1/queues/jobs", job("held", queue="shared")),
        (404, 202, 403, 403),
    ),
    "done": (asks("DELETE", f"/complete?{QUERY}held"), (404, 200, 403, 200)),
    "done it": (asks("DELETE", at("held", "shared")), (404, 200, 403, 200)),
    "done run": (asks_of_run("DELETE"), (404, 200, 200, 403)),
    "delete": (asks("DELETE", at("held", "shared", 2)), (404, 200, 403, 200)),
    "remove": (asks("DELETE", f"/complete?{QUERY}waits"), (404, 403, 403, 200)),
    "remove 2": (asks("DELETE", at("waits", "shared", 2)), (404, 403, 403, 200)),
    "requeue": (asks_of_run("PUT", [NEW]), (404, 403, 403, 403)),
    "requeue none": (asks_of_run("PUT", []), (404, 202, 202, 403)),
    "get": (asks("GET", at("waits", "shared")), (404, 200, 200, 403)),
    "get 2": (asks("GET", at("waits", "shared", 2)), (404, 200, 200, 403)),
    "exists": (asks("HEAD", at("waits", "shared")), (404, 200, 200, 403)),
}
NAMES = ("nobody", "reader", "reader2", "writer")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", MATRIX)
def test_the_matrix(relay: Relay, what: str, name: str) -> None:
    relay.batch(*(job(id, queue="shared") for id in ("held", "waits")), name="writer")
    assert len(relay.next(queue="shared", name="reader")) == 1
    ask, expected = MATRIX[what]

    assert ask(relay, name) == expected[NAMES.index(name)]


def test_a_run_is_named_to_its_holder_only(relay: Relay) -> None:
    relay.ask("POST", "/enqueue", job("1", queue="shared"), name="writer")
    (taken,) = relay.next(queue="shared", name="reader")

    seen = [
        told(relay.ask("GET", at("1", "shared", version), name=name))["run_id"]
        for name in ("reader", "reader2")
        for version in (1, 2)
    ]

    assert seen == [taken["run_id"]] * 2 + [None] * 2


def test_a_writer_that_shows_a_lease_is_not_let_around_it(relay: Relay) -> None:
    relay.ask("POST", "/enqueue", job("1", queue="shared"), name="writer")
    relay.next(queue="shared", name="reader")

    path = "/complete?queue=shared&job_id=1"
    late = relay.ask("DELETE", path, name="writer", X_JobEngine_Lease="stale")

    assert late.status == 403
    assert relay.ask("GET", at("1", "shared"), name="reader").status == 200


@pytest.mark.parametrize("carrier", CARRIERS)
def test_d15_without_a_name_and_a_service_nobody_is_let_in(carrier: str) -> None:
    with relaying(carrier, NOBODY) as relay:
        for method, path, body in (
            ("POST", "/enqueue", job()),
            ("GET", "/next?queue=q", b""),
            ("DELETE", at("1", version=2), b""),
        ):
            refused = relay.ask(method, path, body)

            assert refused.status == 400
            assert "X-Name" in told(refused)["detail"]
        assert relay.ask("GET", "/next?queue=q", name="both").status == 204


@pytest.mark.parametrize("carrier", CARRIERS)
def test_d15_the_service_is_who_names_nobody_and_a_name_goes_before(
    carrier: str,
) -> None:
    with relaying(carrier, RELAY) as relay:
        assert relay.ask("GET", "/next?queue=q").status == 204
        assert relay.ask("GET", "/next?queue=q", name="stranger").status == 404
        assert relay.ask("GET", "/next?queue=q", name="").status == 400


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_Forwarded_For": "10.0.0.1"}, 401),
        ({"Via": "1.1 proxy"}, 401),
        ({"Origin": "https://evil.example"}, 403),
    ],
)
def test_d15_the_service_is_nobody_from_where_a_name_would_not_count(
    carrier: str, headers: dict[str, str], status: int
) -> None:
    with relaying(carrier, RELAY) as relay:
        assert relay.ask("GET", "/next?queue=q", **headers).status == status


@pytest.mark.parametrize("carrier", CARRIERS)
def test_d15_where_everybodys_name_counts_the_service_does(carrier: str) -> None:
    with relaying(carrier, RELAY, auth_mode="names") as relay:
        heard = relay.ask("GET", "/next?queue=q", X_Forwarded_For="10.0.0.1")

        assert heard.status == 204


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/enqueue", job("1", queue="other")),
        ("/enqueue/batch", [job("1", queue="other")]),
        ("/v1/queues/jobs", [job("1", queue="other")]),
        ("/v2/queues/jobs", [job("1", queue="other")]),
    ],
)
def test_d16_a_queue_whose_name_was_anothers_is_not_there(
    relay: Relay, path: str, body: object
) -> None:
    relay.enqueue("1", "other")
    rules = relay.house.engine.rules
    left = {name: each for name, each in rules.queues.items() if name != "other"}
    relay.house.upkeep.reconfigure(replace(rules, queues=left))

    heard = relay.ask("POST", path, body, name="maker")

    # 409 would say that the job is queued already.
    assert heard.status == 404
    assert told(heard)["code"] == "queue_exists"


def test_an_administrator_from_close_by_may_do_all(relay: Relay) -> None:
    new = job("1", queue="shared")

    assert relay.ask("POST", "/enqueue", new, name="root").status == 202
    assert relay.ask("GET", "/next?queue=shared", name="root").status == 200
