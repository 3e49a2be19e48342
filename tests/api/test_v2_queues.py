"""The native API for whole queues."""

from collections.abc import Iterator
from typing import Any

import pytest
from carriers import CARRIERS
from msgspec.structs import replace
from native import RULES, Native, at, code, speaking, told

from jobengine.core.backoff import Backoff


@pytest.fixture(params=CARRIERS)
def api(request: pytest.FixtureRequest) -> Iterator[Native]:
    with speaking(request.param) as found:
        yield found


def test_a_queue_shows_its_rules(api: Native) -> None:
    said = told(api.ask("GET", at(), name="worker"))

    assert said == {
        "name": "q",
        "rights": ["read", "browse"],
        "configured": True,
        "paused": False,
        "pause_reason": None,
        "lease_ms": 600_000,
        "keep_ms": 3_600_000,
        "dead_keep_ms": 604_800_000,
        "max_attempts": 3,
        "poison_after": 3,
        "backoff": {
            "kind": "exponential",
            "base_ms": 5000,
            "factor": 2.0,
            "max_ms": 3_600_000,
            "delays_ms": [],
            "jitter": 0.1,
        },
        "max_jobs": None,
        "max_bytes": None,
        "max_job_bytes": None,
        "max_inprogress": None,
    }


def test_rules_that_are_others_are_shown_as_they_are(api: Native) -> None:
    queue = replace(
        RULES.queues["q"],
        max_attempts=None,
        max_jobs=9,
        backoff=Backoff("list", delays_ms=(1, 2)),
    )
    api.house.upkeep.reconfigure(replace(RULES, queues={"q": queue}))

    said = told(api.ask("GET", at()))

    assert (said["max_attempts"], said["max_jobs"]) == (None, 9)
    assert said["backoff"]["delays_ms"] == [1, 2]


def test_queues_are_listed_by_name(api: Native) -> None:
    api.ask("POST", "/queues", {"name": "a b"})

    said = told(api.ask("GET", "/queues"))

    assert [each["name"] for each in said["queues"]] == ["a b", "other", "q"]
    assert [each["configured"] for each in said["queues"]] == [False, True, True]


def test_a_queue_is_made_used_and_deleted(api: Native) -> None:
    new = {"name": "a b@c", "read": ["worker"], "write": ["shop"]}

    made = api.ask("POST", "/queues", new)

    path = made.headers["location"].removeprefix("/api/v2")
    assert (made.status, path) == (201, "/queues/a%20b%40c")
    assert told(made)["rights"] == ["read", "write", "browse", "manage", "admin"]
    heard = api.enqueue(1, queue="a b@c")
    assert heard.headers["location"].startswith("/api/v2/queues/a%20b%40c/jobs/")
    assert api.ask("GET", path, name="worker").status == 200
    assert api.ask("DELETE", path).status == 204
    assert api.ask("GET", path).status == 404


def test_a_queue_may_have_a_key(api: Native) -> None:
    api.ask("POST", "/queues", {"name": "locked", "access_key": "open"})

    assert api.house.engine.unlock("locked", "open").key_of == "locked"


def test_who_makes_a_queue_that_it_may_not_use_sees_it_once(api: Native) -> None:
    made = api.ask("POST", "/queues", {"name": "new", "read": ["x"]}, name="maker")

    assert (made.status, told(made)["rights"]) == (201, [])
    assert api.ask("GET", "/queues/new", name="maker").status == 404


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"name": "q"}, 409, "queue_exists"),
        ({"name": ""}, 422, "invalid_queue"),
        ({"name": "a/b"}, 422, "invalid_queue"),
        ({"name": "x" * 256}, 422, "invalid_queue"),
        ({"name": "new", "read": ["a/b"]}, 422, "invalid_queue"),
        ({"name": "new", "read": [f"s{n}" for n in range(1001)]}, 422, "invalid_queue"),
        ({"name": "new", "access_key": ""}, 422, "invalid_queue"),
        ({"name": "new", "access_key": "a\n"}, 422, "invalid_queue"),
        ({"name": "new", "access_key": "x" * 1025}, 422, "invalid_queue"),
        ({}, 422, "invalid_job"),
        ({"name": 1}, 422, "invalid_job"),
        ({"name": "new", "read": "worker"}, 422, "invalid_job"),
        ({"name": "new", "browse": []}, 422, "invalid_job"),
    ],
)
def test_a_queue_that_cannot_be_is_not_made(
    api: Native, body: Any, status: int, why: str
) -> None:
    refused = api.ask("POST", "/queues", body)

    assert (refused.status, code(refused)) == (status, why)
    assert api.ask("GET", "/queues/new").status == 404


def test_a_queue_of_the_configuration_is_deleted_there(api: Native) -> None:
    refused = api.ask("DELETE", at())

    assert (refused.status, code(refused)) == (409, "queue_configured")
    assert "config.yml" in told(refused)["detail"]


def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(api: Native) -> None:
    uid = api.made()

    paused = told(api.ask("POST", f"{at()}/pause", {"reason": 'a "b"'}, name="manager"))
    nothing = api.claim()
    resumed = told(api.ask("POST", f"{at()}/resume", name="manager"))

    assert (paused["paused"], paused["pause_reason"]) == (True, 'a "b"')
    assert nothing == []
    assert (resumed["paused"], resumed["pause_reason"]) == (False, None)
    assert api.claim()[0]["uid"] == uid


def test_a_pause_needs_no_reason(api: Native) -> None:
    paused = api.ask("POST", f"{at()}/pause")

    assert (paused.status, told(paused)["pause_reason"]) == (200, "")


@pytest.mark.parametrize("body", [{"reason": 1}, {"why": "x"}, {"reason": "x" * 501}])
def test_a_reason_that_makes_no_sense_pauses_nothing(api: Native, body: Any) -> None:
    assert api.ask("POST", f"{at()}/pause", body).status == 422
    assert told(api.ask("GET", at()))["paused"] is False


def test_stats_are_flat_numbers(api: Native) -> None:
    api.dead(priority=99)
    api.taken("xx")
    api.made()
    api.made(delay_ms=60_000)
    api.clock.advance(ms=1500)

    said = told(api.ask("GET", f"{at()}/stats"))

    assert said == {
        "ready": 1,
        "scheduled": 1,
        "queued": 2,
        "inprogress": 1,
        "complete": 0,
        "failed": 1,
        "cancelled": 0,
        "dead": 1,
        "total": 4,
        "content_bytes": 16,
        "oldest_ready_seconds": 1.5,
        "paused": 0,
    }
    api.ask("POST", f"{at()}/pause")
    assert told(api.ask("GET", f"{at()}/stats"))["paused"] == 1


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/queues", {"GET", "HEAD", "POST"}),
        ("PATCH", "/queues/q", {"GET", "HEAD", "DELETE"}),
        ("GET", "/queues/q/jobs/claim", None),
        ("GET", "/queues/q/pause", {"POST"}),
        ("OPTIONS", "/queues/q/jobs", {"GET", "POST"}),
        ("PUT", "/queues/q/jobs/x", {"GET", "HEAD", "PATCH", "DELETE"}),
    ],
)
def test_a_known_path_says_what_it_allows(
    api: Native, method: str, path: str, allow: set[str] | None
) -> None:
    heard = api.ask(method, path)

    if allow is None:
        # A job might be called so.
        assert (heard.status, code(heard)) == (404, "job_not_found")
    else:
        assert (heard.status, code(heard)) == (405, "method_not_allowed")
        assert set(heard.headers["allow"].split(", ")) == allow


def test_a_dialect_that_is_switched_off_is_not_there() -> None:
    for carrier in CARRIERS:
        with speaking(carrier, dialects=frozenset({"v1"})) as api:
            assert api.ask("GET", "/queues").status == 404
            assert api.enqueue(1).status == 404


def test_none_of_our_paths_is_answered_to_a_web_page(api: Native) -> None:
    for heard in (
        api.ask("GET", "/queues", Origin="https://evil.example"),
        api.enqueue(1, Origin="https://evil.example"),
    ):
        assert (heard.status, code(heard)) == (403, "cross_site")


def test_nobody_in_particular_is_refused(api: Native) -> None:
    for method, path in (("GET", "/queues"), ("POST", f"{at()}/jobs/claim")):
        refused = api.ask(method, path, name=None)

        assert (refused.status, code(refused)) == (400, "bad_header")
