"""The native API for jobs that come again and again. When they do is core's."""

from collections.abc import Iterator
from typing import Any

import pytest
from carriers import CARRIERS
from native import Native, at, code, pointers, speaking, told

S = f"{at()}/schedules"
NIGHTLY = {
    "name": "nightly",
    "cron": "0 3 * * *",
    "zone": "Europe/Berlin",
    "content": {"report": 1},
}
PUT = {key: value for key, value in NIGHTLY.items() if key != "name"}


@pytest.fixture(params=CARRIERS)
def api(request: pytest.FixtureRequest) -> Iterator[Native]:
    with speaking(request.param) as found:
        yield found


def made(api: Native, **more: Any) -> Any:
    heard = api.ask("POST", S, NIGHTLY | more)
    assert heard.status == 201, heard
    return told(heard)


def test_a_schedule_shows_what_it_will_do(api: Native) -> None:
    heard = api.ask("POST", S, NIGHTLY)

    assert heard.status == 201
    assert heard.headers["location"] == "/api/v2/queues/q/schedules/nightly"
    assert told(heard) == {
        "name": "nightly",
        "queue": "q",
        "cron": "0 3 * * *",
        "zone": "Europe/Berlin",
        "jitter_ms": 0,
        "misfire": "skip",
        "paused": False,
        "next_at": "2027-01-16T02:00:00.000Z",
        "next_runs": [f"2027-01-{day}T02:00:00.000Z" for day in range(16, 21)],
        "last_at": None,
        "last_uid": None,
        "made": 0,
        "missed": 0,
        "updated_at": "2027-01-15T08:00:00.000Z",
        "priority": 50,
        "valid_for_ms": None,
        "fingerprint": None,
        "content": {"report": 1},
    }
    assert told(api.ask("GET", S + "/nightly")) == told(heard)


def test_all_that_a_schedule_may_say_is_kept(api: Native) -> None:
    said = {
        "jitter_ms": 1000,
        "misfire": "once",
        "priority": 9,
        "valid_for_ms": 60_000,
        "fingerprint": "f",
        "max_attempts": None,
        "lease_ms": 5000,
        "keep_ms": 0,
        "dead_keep_ms": 7,
        "poison_after": 2,
        "durable": False,
    }

    found = made(api, **said, backoff={"kind": "constant", "base_ms": 1})

    assert {key: found[key] for key in said} == said
    assert (found["backoff"]["kind"], found["backoff"]["base_ms"]) == ("constant", 1)
    # What it shows may be sent back.
    shown = {key: found[key] for key in (*said, "backoff", "cron", "content")}
    assert api.ask("PUT", S + "/nightly", shown).status == 200


def test_its_time_makes_a_job(api: Native) -> None:
    made(api, cron="* * * * *", fingerprint="f")
    api.let_time_work(minutes=1)

    (job,) = api.list()["jobs"]
    schedule = told(api.ask("GET", S + "/nightly"))

    assert (job["content"], job["fingerprint"]) == ({"report": 1}, "f")
    assert job["unique_key"] == "schedule:nightly@2027-01-15T08:01:00.000Z"
    assert (schedule["made"], schedule["last_uid"]) == (1, job["uid"])


def test_schedules_are_listed_without_their_contents(api: Native) -> None:
    for name in ("b", "a"):
        made(api, name=name)

    said = told(api.ask("GET", S))["schedules"]

    assert [each["name"] for each in said] == ["a", "b"]
    assert all("content" not in each for each in said)
    assert [len(each["next_runs"]) for each in said] == [1, 1]


def test_a_schedule_is_replaced_and_keeps_its_name(api: Native) -> None:
    made(api)

    heard = api.ask("PUT", S + "/nightly", PUT | {"cron": "@hourly", "zone": "UTC"})

    assert (heard.status, told(heard)["next_at"]) == (200, "2027-01-15T09:00:00.000Z")
    assert told(heard)["name"] == "nightly"
    assert api.ask("PUT", S + "/nightly", NIGHTLY).status == 200
    named = api.ask("PUT", S + "/nightly", NIGHTLY | {"name": "daily"})
    assert (named.status, pointers(named)) == (422, ["/name"])


def test_a_paused_schedule_has_no_next_instant(api: Native) -> None:
    made(api)

    paused = told(api.ask("POST", S + "/nightly/pause"))
    resumed = told(api.ask("POST", S + "/nightly/resume"))

    assert (paused["paused"], paused["next_at"], paused["next_runs"]) == (
        True,
        None,
        [],
    )
    assert resumed["next_at"] == "2027-01-16T02:00:00.000Z"


def test_a_deleted_schedule_is_gone(api: Native) -> None:
    made(api, name="a b")

    assert api.ask("DELETE", S + "/a%20b").status == 204
    for method, verb, body in (
        *(("GET", "", None), ("PUT", "", PUT), ("DELETE", "", None)),
        *(("POST", "/pause", None), ("POST", "/resume", None)),
    ):
        refused = api.ask(method, f"{S}/a%20b{verb}", body)
        assert (refused.status, code(refused)) == (404, "schedule_not_found")


def test_a_name_is_taken_once(api: Native) -> None:
    made(api)

    refused = api.ask("POST", S, NIGHTLY)

    assert (refused.status, code(refused)) == (409, "schedule_exists")


def test_a_request_with_a_key_makes_one(api: Native) -> None:
    how = {"Idempotency_Key": "k", "Prefer": "keep-answer=60"}
    first, again = (api.ask("POST", S, NIGHTLY, **how) for _ in range(2))

    assert (again.status, again.body) == (201, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["preference-applied"] == "keep-answer=60"
    assert again.headers["location"] == first.headers["location"]
    other = api.ask("POST", S, NIGHTLY | {"name": "x"}, Idempotency_Key="k")
    assert (other.status, code(other)) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("more", "why", "wrong"),
    [
        ({"cron": "x"}, "invalid_schedule", ["/cron"]),
        ({"cron": "0 0 30 2 *"}, "invalid_schedule", ["/cron"]),
        ({"zone": "Mars/Base"}, "invalid_schedule", ["/zone"]),
        ({"name": "a/b"}, "invalid_schedule", ["/name"]),
        ({"name": ""}, "invalid_schedule", ["/name"]),
        ({"jitter_ms": -1}, "invalid_schedule", ["/jitter_ms"]),
        ({"priority": 0}, "invalid_schedule", ["/priority"]),
        ({"content": "x" * 70_000}, "invalid_schedule", ["/content"]),
        ({"misfire": "all"}, "invalid_job", ["/misfire"]),
        ({"cron": 5}, "invalid_job", ["/cron"]),
        ({"unique_key": "x"}, "invalid_job", ["/unique_key"]),
        ({"run_at": "2027-01-15T08:00:00Z"}, "invalid_job", ["/run_at"]),
        ({"valid_for_ms": 0}, "invalid_job", ["/valid_for_ms"]),
        ({"backoff": {"kind": "list"}}, "invalid_job", ["/backoff"]),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(
    api: Native, more: Any, why: str, wrong: list[str]
) -> None:
    refused = api.ask("POST", S, NIGHTLY | more)

    assert (refused.status, code(refused)) == (422, why)
    assert pointers(refused) == wrong
    assert told(api.ask("GET", S)) == {"schedules": []}
