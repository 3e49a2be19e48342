"""The native API for many jobs at once: bulk, dead letters, purge."""

from collections.abc import Iterator
from typing import Any

import pytest
from carriers import CARRIERS
from native import Native, at, code, pointers, speaking, told, uids

from jobengine.api import v2_bulk


@pytest.fixture(params=CARRIERS)
def api(request: pytest.FixtureRequest) -> Iterator[Native]:
    with speaking(request.param) as found:
        yield found


def bulk(api: Native, what: str, body: Any = None) -> Any:
    heard = api.ask("POST", f"{at()}/{what}", body, name="manager")
    assert heard.status == 200, heard
    return told(heard)


def states(api: Native) -> list[str]:
    return [job["state"] for job in api.list()["jobs"]]


def came_to(matched: int, changed: int, remaining: int = 0) -> dict[str, Any]:
    return {
        "matched": matched,
        "changed": changed,
        "remaining": remaining,
        "dry_run": False,
    }


# --- bulk ----------------------------------------------------------------------------


def test_all_that_fits_is_cancelled_and_retried_and_deleted(api: Native) -> None:
    for key in "ab":
        api.made(fingerprint=key)
    only_a = {"filter": {"fingerprint": "a"}}

    assert bulk(api, "jobs/bulk/cancel", only_a) == came_to(1, 1)
    assert states(api) == ["cancelled", "queued"]
    assert bulk(api, "jobs/bulk/retry") == came_to(1, 1)
    assert states(api) == ["queued", "queued"]
    assert bulk(api, "jobs/bulk/delete", {"filter": {}}) == came_to(2, 2)
    assert states(api) == []


def test_the_jobs_of_a_fingerprint_are_cancelled_together(api: Native) -> None:
    api.taken(fingerprint="a")
    api.made(fingerprint="a")
    api.made(fingerprint="b")
    group = f"{at()}/jobs/cancel"

    for count in (2, 0):
        heard = api.ask("POST", group, {"fingerprint": "a"})
        assert told(heard) == {"cancelled": count, "more": False}
    assert states(api) == ["cancelled", "cancelled", "queued"]


def test_the_job_of_a_unique_key_is_cancelled_by_it(api: Native) -> None:
    api.taken(unique_key="a", fingerprint="b")
    api.made(unique_key="b", fingerprint="a")

    for count in (1, 0):
        heard = api.ask("POST", f"{at()}/jobs/cancel", {"unique_key": "a"})
        assert told(heard) == {"cancelled": count, "more": False}
    assert states(api) == ["cancelled", "queued"]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, "/fingerprint"),
        ({"fingerprint": "a", "unique_key": "a"}, "/unique_key"),
        ({"fingerprint": ""}, "/fingerprint"),
        ({"unique_key": ""}, "/unique_key"),
        ({"unique_key": "x" * 1025}, "/unique_key"),
        ({"unique_key": None}, "/unique_key"),
        ({"unique_keys": ["a"]}, "/unique_keys"),
    ],
)
def test_what_is_to_be_cancelled_is_named_in_one_way(
    api: Native, body: Any, wrong: str
) -> None:
    api.made(unique_key="a", fingerprint="a")

    refused = api.ask("POST", f"{at()}/jobs/cancel", body)

    assert (refused.status, pointers(refused)) == (422, [wrong])
    assert states(api) == ["queued"]


def test_a_dry_run_does_nothing(api: Native) -> None:
    api.made()

    found = bulk(api, "jobs/bulk/delete", {"dry_run": True})

    assert found == came_to(1, 0, 1) | {"dry_run": True}
    assert states(api) == ["queued"]


def test_where_the_count_differs_nothing_is_done(api: Native) -> None:
    api.made()
    for what, body in (
        ("jobs/bulk/delete", {}),
        ("purge", {"queue": "q"}),
    ):
        said = {"expected_count": 2, **body}
        refused = api.ask("POST", f"{at()}/{what}", said, name="manager")

        assert (refused.status, code(refused)) == (409, "count_differs")
        assert states(api) == ["queued"]
        done = bulk(api, what, {"expected_count": 1, **body})
        assert done == came_to(1, 1)
        api.made()


def test_so_many_jobs_are_changed_at_once_and_the_rest_remains(
    api: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v2_bulk, "BULK_MAX", 2)
    made = [api.made() for _ in range(5)]

    assert bulk(api, "jobs/bulk/delete") == came_to(5, 2, 3)
    assert uids(api.list()["jobs"]) == made[2:]
    assert bulk(api, "jobs/bulk/delete") == came_to(3, 2, 1)
    assert bulk(api, "jobs/bulk/delete") == came_to(1, 1)
    assert bulk(api, "jobs/bulk/delete") == came_to(0, 0)


def test_jobs_may_be_named(api: Native) -> None:
    made = [api.made() for _ in range(3)]

    named = {"filter": {"uids": [made[0], made[2], "nobody", made[0]]}}

    assert bulk(api, "jobs/bulk/cancel", named) == came_to(2, 2)
    assert states(api) == ["cancelled", "queued", "cancelled"]
    assert bulk(api, "jobs/bulk/cancel", {"filter": {"uids": []}}) == came_to(0, 0)


def test_what_cannot_be_done_to_a_job_is_not_meant(api: Native) -> None:
    api.dead()
    api.taken()

    assert bulk(api, "jobs/bulk/retry") == came_to(1, 1)
    assert states(api) == ["queued", "inprogress"]
    assert bulk(api, "jobs/bulk/cancel") == came_to(2, 2)


def test_who_works_at_what_is_cancelled_is_told(api: Native) -> None:
    uid = api.taken()["uid"]

    bulk(api, "jobs/bulk/cancel", {"filter": {"state": ["inprogress"]}})

    assert code(api.verb(uid, "complete")) == "job_cancelled"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"filter": {"states": ["failed"]}}, ["/filter/states"]),
        ({"filter": {"state": "failed"}}, ["/filter/state"]),
        ({"filter": {"state": ["lost"]}}, ["/filter/state/0"]),
        ({"filter": {"state": []}}, ["/filter/state"]),
        ({"filter": {"created_after": 5}}, ["/filter/created_after"]),
        ({"filter": {"dead": "true"}}, ["/filter/dead"]),
        ({"filter": {"attempts_min": -1}}, ["/filter/attempts_min"]),
        ({"filter": {"uids": [1]}}, ["/filter/uids/0"]),
        ({"filter": {"uids": ["x"] * 10_001}}, ["/filter/uids"]),
        ({"filter": []}, ["/filter"]),
        ({"filter": None}, ["/filter"]),
        ({"dryrun": True}, ["/dryrun"]),
        ({"dry_run": 1}, ["/dry_run"]),
        ({"expected_count": -1}, ["/expected_count"]),
        ({"expected_count": None}, ["/expected_count"]),
        ({"expected_count": True}, ["/expected_count"]),
    ],
)
def test_a_body_that_makes_no_sense_does_nothing(
    api: Native, body: Any, wrong: list[str]
) -> None:
    api.made()
    for what in ("jobs/bulk/delete", "dead-letters/replay"):
        refused = api.ask("POST", f"{at()}/{what}", body, name="manager")

        assert (refused.status, pointers(refused)) == (422, wrong)
    assert states(api) == ["queued"]


# --- dead letters --------------------------------------------------------------------


def test_dead_letters_are_listed(api: Native) -> None:
    api.made()
    dead = [api.dead(priority=99) for _ in range(3)]

    heard = api.ask("GET", f"{at()}/dead-letters?limit=2")

    assert uids(told(heard)["jobs"]) == dead[:2]
    assert heard.headers["link"].startswith("</api/v2/queues/q/dead-letters?")
    rest = api.ask("GET", f"{at()}/dead-letters?cursor={told(heard)['next']}")
    assert uids(told(rest)["jobs"]) == dead[2:]
    assert told(rest)["jobs"][0]["reason"] == "critical"
    none = api.ask("GET", f"{at()}/dead-letters?reason=poison")
    assert told(none)["jobs"] == []


@pytest.mark.parametrize("query", ["?state=failed", "?dead=true", "?scheduled=false"])
def test_what_dead_letters_are_is_no_filter_of_them(api: Native, query: str) -> None:
    assert api.ask("GET", f"{at()}/dead-letters{query}").status == 400


def test_dead_letters_are_grouped_by_what_they_died_of(api: Native) -> None:
    for error in ("full", 'a "b"', "full"):
        newest = api.dead(error)
        api.clock.advance(seconds=1)

    groups = told(api.ask("GET", f"{at()}/dead-letters/groups"))["groups"]

    assert [(each["error"], each["count"]) for each in groups] == [
        ("full", 2),
        ('a "b"', 1),
    ]
    assert groups[0] == {
        "reason": "critical",
        "error": "full",
        "count": 2,
        "newest_uid": newest,
        "first_at": "2027-01-15T08:00:00.000Z",
        "last_at": "2027-01-15T08:00:02.000Z",
    }


def test_there_are_groups_up_to_a_number(
    api: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v2_bulk, "GROUPS_MAX", 2)
    for error in "abcc":
        api.dead(error)

    groups = told(api.ask("GET", f"{at()}/dead-letters/groups"))["groups"]

    assert [each["error"] for each in groups] == ["c", "a"]


def test_dead_letters_are_replayed_all_or_some(api: Native) -> None:
    first, second, third = (api.dead(error, priority=99) for error in "aab")

    assert bulk(api, "dead-letters/replay", {"uids": [first]}) == came_to(1, 1)
    assert states(api) == ["queued", "failed", "failed"]
    both = {"uids": [second, third], "filter": {"uids": [third]}}
    assert bulk(api, "dead-letters/replay", both) == came_to(1, 1)
    assert bulk(api, "dead-letters/replay") == came_to(1, 1)
    assert states(api) == ["queued"] * 3


def test_only_dead_letters_are_replayed(api: Native) -> None:
    cancelled = api.made()
    api.verb(cancelled, "cancel", name="shop")

    assert bulk(api, "dead-letters/replay") == came_to(0, 0)
    said = {"filter": {"dead": False}}
    assert bulk(api, "dead-letters/replay", said) == came_to(0, 0)


def test_dead_letters_are_purged_by_who_names_their_queue(api: Native) -> None:
    api.made()
    dead = api.dead(priority=99)

    for said in ({"queue": "other"}, {"queue": ""}):
        refused = api.ask("POST", f"{at()}/dead-letters/purge", said)
        assert (refused.status, code(refused)) == (422, "must_name_queue")
    unnamed = api.ask("POST", f"{at()}/dead-letters/purge", {})
    assert (unnamed.status, pointers(unnamed)) == (422, ["/queue"])
    assert api.get(dead).status == 200

    assert bulk(api, "dead-letters/purge", {"queue": "q"}) == came_to(1, 1)
    assert states(api) == ["queued"]


# --- purge ---------------------------------------------------------------------------


def test_a_queue_is_purged_by_who_names_it(api: Native) -> None:
    api.dead()
    api.taken()
    api.made()

    refused = api.ask("POST", f"{at()}/purge", {"queue": "other"})
    assert (refused.status, code(refused)) == (422, "must_name_queue")
    nothing = bulk(api, "purge", {"queue": "q", "dry_run": True})
    assert (nothing["matched"], len(states(api))) == (3, 3)

    assert bulk(api, "purge", {"queue": "q"}) == came_to(3, 3)
    assert states(api) == []


def test_a_purge_needs_a_body(api: Native) -> None:
    assert api.ask("POST", f"{at()}/purge").status == 400
