"""The native API for those who look: get, list, peek, explain; patch, delete, retry."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from carriers import CARRIERS
from native import Native, OnFlask, at, code, pointers, speaking, told, uids
from serving import Settings

from jobengine.api import v2_pages

NOW, LATER = "2027-01-15T08:00:00.000Z", "2027-01-15T08:00:05.000Z"


@pytest.fixture(params=CARRIERS)
def api(request: pytest.FixtureRequest) -> Iterator[Native]:
    with speaking(request.param) as found:
        yield found


# --- one job -------------------------------------------------------------------------


def test_a_job_that_there_is_not_is_404(api: Native) -> None:
    for uid in ("nobody", "%20", "%2F", "x" * 3000):
        refused = api.get(uid)

        assert (refused.status, code(refused)) == (404, "job_not_found")


def test_who_knows_the_version_is_told_so(api: Native) -> None:
    uid = api.made()
    etag = api.get(uid).headers["etag"]
    assert re.fullmatch('"[0-9a-f]{16}"', etag)

    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        heard = api.get(uid, If_None_Match=known)

        assert (heard.status, heard.body) == (304, b"")
        assert heard.headers["etag"] == etag
    assert api.get(uid, If_None_Match='"x"').status == 200


def test_every_change_is_another_version(api: Native) -> None:
    uid = api.made()
    etags = [api.get(uid).headers["etag"]]

    for change in ({"priority": 9}, {"content": 2}, {"run_at": LATER}):
        heard = api.ask("PATCH", f"{at()}/jobs/{uid}", change, If_Match=etags[-1])
        etags.append(heard.headers["etag"])

    assert api.get(uid).headers["etag"] == etags[-1]
    assert len(set(etags)) == 4


@pytest.mark.parametrize("text", ["x", '"x', "W/x", '"a" "b"', "", "*, *", '"a b"'])
def test_a_version_that_is_none_is_refused(api: Native, text: str) -> None:
    uid = api.made()

    for refused in (
        api.get(uid, If_None_Match=text),
        api.ask("DELETE", f"{at()}/jobs/{uid}", If_Match=text),
    ):
        assert (refused.status, code(refused)) == (400, "bad_header")


def test_head_shows_the_version_alone(api: Native) -> None:
    uid = api.made()

    heard = api.ask("HEAD", f"{at()}/jobs/{uid}")

    assert (heard.status, heard.body) == (200, b"")
    assert heard.headers["etag"] == api.get(uid).headers["etag"]


def test_a_settled_job_is_shown_at_once_to_who_would_wait(api: Native) -> None:
    job = api.taken()
    api.verb(job["uid"], "complete", {"result": 1})

    heard = api.get(job["uid"] + "?wait=60")

    assert (heard.status, told(heard)["result"]) == (200, 1)


@pytest.mark.parametrize("query", ["?wait=x", "?wait=", "?wait=-1", "?await=1"])
def test_a_wait_that_makes_no_sense_is_refused(api: Native, query: str) -> None:
    assert api.get(api.made() + query).status == 400


def test_what_befell_its_runs_is_shown(api: Native) -> None:
    uid = api.taken(backoff={"kind": "constant"}, lease_ms=1000)["uid"]
    api.let_time_work(seconds=1)
    api.claim()
    api.verb(uid, "fail", {"error": 'a "b"\n'})

    job = api.job(uid)

    assert [run["outcome"] for run in job["runs"]] == ["lease_lost", "attempts"]
    assert (job["error"], job["attempt"], job["lost_leases"]) == ('a "b"\n', 2, 0)


# --- patch ---------------------------------------------------------------------------


def test_a_job_is_changed_by_who_has_seen_it(api: Native) -> None:
    uid = api.made(1)
    change = {"content": {"n": 2}, "priority": 9, "run_at": LATER, "expires_at": LATER}

    heard = api.ask(
        *("PATCH", f"{at()}/jobs/{uid}", change),
        name="shop",
        If_Match=api.get(uid).headers["etag"],
    )

    assert heard.status == 200
    job = api.job(uid)
    assert {key: job[key] for key in change} == change
    assert told(heard) == {key: job[key] for key in job if key != "content"}


def test_a_job_that_is_held_goes_on_under_its_lease(api: Native) -> None:
    job = api.taken()

    api.ask("PATCH", f"{at()}/jobs/{job['uid']}", {"priority": 1}, If_Match="*")

    found = api.job(job["uid"])
    assert (found["state"], found["lease"]["until"]) == (
        "inprogress",
        job["lease"]["until"],
    )


@pytest.mark.parametrize("tag", ['"other"', 'W/"other"', '"a", "b"'])
def test_who_has_not_seen_it_as_it_is_changes_nothing(api: Native, tag: str) -> None:
    uid = api.made()

    for method, body in (("PATCH", {"priority": 1}), ("DELETE", None)):
        refused = api.ask(method, f"{at()}/jobs/{uid}", body, If_Match=tag)

        assert (refused.status, code(refused)) == (412, "precondition_failed")
    assert api.job(uid)["priority"] == 50


def test_a_weak_version_never_matches(api: Native) -> None:
    uid = api.made()
    weak = "W/" + api.get(uid).headers["etag"]

    refused = api.ask("PATCH", f"{at()}/jobs/{uid}", {"priority": 1}, If_Match=weak)

    assert refused.status == 412


def test_who_says_nothing_of_what_it_has_seen_is_asked_to(api: Native) -> None:
    refused = api.ask("PATCH", f"{at()}/jobs/{api.made()}", {"priority": 1})

    assert (refused.status, code(refused)) == (428, "precondition_required")


def test_a_finished_job_is_not_changed(api: Native) -> None:
    uid = api.dead()

    refused = api.ask("PATCH", f"{at()}/jobs/{uid}", {"priority": 1}, If_Match="*")

    assert (refused.status, code(refused)) == (409, "wrong_state")


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"state": "queued"}, ["/state"]),
        ({"priority": 101}, ["/priority"]),
        ({"run_at": None}, ["/run_at"]),
        ({"expires_at": "soon"}, ["/expires_at"]),
    ],
)
def test_a_change_is_strict_too(api: Native, body: Any, wrong: list[str]) -> None:
    refused = api.ask("PATCH", f"{at()}/jobs/{api.made()}", body, If_Match="*")

    assert (refused.status, pointers(refused)) == (422, wrong)


def test_an_empty_change_is_none(api: Native) -> None:
    uid = api.made()

    assert api.ask("PATCH", f"{at()}/jobs/{uid}", {}, If_Match="*").status == 200


# --- delete, cancel, retry -----------------------------------------------------------


def test_a_deleted_job_is_gone(api: Native) -> None:
    uid = api.made()

    heard = api.ask(
        "DELETE", f"{at()}/jobs/{uid}", If_Match=api.get(uid).headers["etag"]
    )

    assert (heard.status, heard.body) == (204, b"")
    assert api.get(uid).status == 404


def test_a_cancelled_job_can_be_retried(api: Native) -> None:
    uid = api.made(1)

    cancelled = api.verb(uid, "cancel", name="shop")
    again = api.verb(uid, "retry", name="shop")

    assert (told(cancelled)["state"], told(again)["state"]) == ("cancelled", "queued")
    assert "content" not in told(again)
    assert code(api.verb(uid, "retry", name="shop")) == "wrong_state"


# --- peek ----------------------------------------------------------------------------


def test_peek_shows_the_next_job_and_takes_none(api: Native) -> None:
    empty = api.ask("GET", f"{at()}/jobs/peek", name="worker")
    uid = api.made(7)

    heard = api.ask("GET", f"{at()}/jobs/peek", name="worker")

    assert (empty.status, heard.status) == (204, 200)
    assert (told(heard)["uid"], told(heard)["content"]) == (uid, 7)
    assert heard.headers["etag"] == api.get(uid).headers["etag"]
    assert api.job(uid)["state"] == "queued"


# --- explain -------------------------------------------------------------------------


def blockers(api: Native, uid: str) -> list[str]:
    heard = api.ask("GET", f"{at()}/jobs/{uid}/explain")
    assert heard.status == 200
    return [each["code"] for each in told(heard)["blockers"]]


def test_what_stands_in_its_way_is_named(api: Native) -> None:
    first, second = api.made(), api.made()
    later, dead = api.made(run_at=LATER), api.dead(priority=99)

    assert blockers(api, first) == ["next"]
    assert blockers(api, second) == ["behind"]
    assert blockers(api, later) == ["scheduled"]
    assert blockers(api, dead) == ["dead"]
    api.ask("POST", f"{at()}/pause", {"reason": "tea"})
    assert blockers(api, first) == ["paused"]


def test_an_explanation_has_all_its_members(api: Native) -> None:
    uid = api.taken()["uid"]

    said = told(api.ask("GET", f"{at()}/jobs/{uid}/explain"))

    (blocker,) = said.pop("blockers")
    assert said == {
        "uid": uid,
        "queue": "q",
        "state": "inprogress",
        "claimable": False,
    }
    assert blocker.keys() == {
        *("code", "detail", "remedy", "until", "count", "limit", "holder")
    }
    assert (blocker["code"], blocker["holder"]) == ("leased", "worker")
    assert blocker["until"] == "2027-01-15T08:10:00.000Z"


def test_who_waits_for_work_is_counted(api: Native) -> None:
    uid = api.made()
    api.house.doorbell.join("q", "worker", 10, lambda: None)
    api.house.doorbell.join("other", "worker", 10, lambda: None)

    said = told(api.ask("GET", f"{at()}/jobs/{uid}/explain"))

    assert said["claimable"] is True
    assert said["blockers"][0]["count"] == 1


# --- lists ---------------------------------------------------------------------------


def test_a_list_is_in_the_order_of_making(api: Native) -> None:
    made = [api.made(priority=n) for n in (1, 99, 50)]

    assert uids(api.list()["jobs"]) == made
    assert uids(api.list("?order=newest")["jobs"]) == made[::-1]


@pytest.mark.parametrize("order", ["oldest", "newest"])
def test_pages_go_on_where_the_one_before_ended(api: Native, order: str) -> None:
    made = [api.made(fingerprint="f", priority=n) for n in range(1, 8)]
    path = f"{at()}/jobs?limit=3&order={order}&state=queued&fingerprint=f"

    found, pages = [], 0
    while path:
        heard = api.ask("GET", path)
        page = told(heard)
        found += uids(page["jobs"])
        pages += 1
        link = heard.headers.get("link", "")
        path = ""
        if page["next"]:
            fits = re.fullmatch(r'</api/v2(/queues/q/jobs\?(.*))>; rel="next"', link)
            assert fits
            assert urlencode({"cursor": page["next"]}) in fits[2]
            path = fits[1]

    assert pages == 3
    assert found == (made if order == "oldest" else made[::-1])
    assert link == ""


def test_what_goes_between_two_pages_takes_no_other_along(api: Native) -> None:
    made = [api.made() for _ in range(5)]
    first = api.list("?limit=2")
    for uid in (made[1], made[2]):
        api.ask("DELETE", f"{at()}/jobs/{uid}")
    late = api.made()

    rest = api.list(f"?limit=9&cursor={first['next']}")

    assert uids(rest["jobs"]) == [*made[3:], late]
    assert rest["next"] is None


def test_a_page_ends_early_where_its_contents_are_large(
    api: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v2_pages, "PAGE_BYTES", 250)
    made = [api.made("x" * 98) for _ in range(5)]

    first = api.list()
    second = api.list(f"?cursor={first['next']}")

    assert uids(first["jobs"]) == made[:2]
    assert uids(second["jobs"]) == made[2:4]


def test_one_job_is_shown_however_large(
    api: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v2_pages, "PAGE_BYTES", 10)
    api.made("x" * 98)

    assert len(api.list()["jobs"]) == 1


def test_filters_leave_what_fits(api: Native) -> None:
    # given: one of each kind, the last made five seconds later
    dead = api.dead("no", priority=9)
    held = api.taken(fingerprint="f")["uid"]
    keyed = api.made(unique_key="k&=")
    api.clock.advance(seconds=5)
    later = api.made(delay_ms=60_000)

    def found(**filters: Any) -> list[str]:
        return uids(api.list("?" + urlencode(filters, doseq=True))["jobs"])

    everything = [dead, held, keyed, later]
    assert found(state="failed") == [dead]
    assert found(state="failed,inprogress") == [dead, held]
    assert found(state=["failed", "inprogress"]) == [dead, held]
    assert found(dead="true") == [dead]
    assert found(dead="false") == [held, keyed, later]
    assert found(scheduled="true") == [later]
    assert found(scheduled="false") == [dead, held, keyed]
    assert found(created_after=LATER) == [later]
    assert found(created_before=LATER) == [dead, held, keyed]
    assert found(created_after=NOW, created_before=LATER) == [dead, held, keyed]
    assert found(updated_after="2027-01-15T09:00:05+01:00") == [later]
    assert found(run_after="2027-01-15T08:01:00Z") == [later]
    assert found(finished_after=NOW) == [dead]
    assert found(finished_before=NOW) == []
    assert found(attempts_min=1) == [dead, held]
    assert found(attempts_max=0) == [keyed, later]
    assert found(unique_key="k&=") == [keyed]
    assert found(fingerprint="f") == [held]
    assert found(reason="critical") == [dead]
    assert found(state="queued", scheduled="false", attempts_max=9) == [keyed]
    assert found() == everything


@pytest.mark.parametrize(
    "query",
    [
        *("?limit=0", "?limit=1001", "?limit=x", "?limit=", "?order=up", "?cursor=x"),
        *("?cursor=o.", "?cursor=n.1", "?cursor=o.1.2", "?cursor=o.-1", "?cursor="),
        *("?cursor=o.9999999999999999999", "?order=newest&cursor=o.1", "?state="),
        *("?state=waiting", "?state=queued,", "?dead=1", "?dead=", "?scheduled=yes"),
        *("?created_after=1", "?run_before=2027-01-15", "?attempts_min=-1", "?x=1"),
        *("?attempts_max=9999999999", "?dead=true&dead=true", "?uids=x", "?reason=%ff"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(api: Native, query: str) -> None:
    refused = api.ask("GET", f"{at()}/jobs{query}")

    assert (refused.status, code(refused)) == (400, "bad_query")


def test_a_list_of_nothing_is_empty(api: Native) -> None:
    assert api.list() == {"jobs": [], "next": None}


def test_so_many_listings_at_once_and_no_more() -> None:
    api = OnFlask(Settings())
    desk = api.app.extensions["jobengine"]
    give_up = [desk.begin_listing() for _ in range(2)]

    refused = api.ask("GET", f"{at()}/jobs")

    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    for each in give_up:
        each()
    for _ in range(3):
        assert api.ask("GET", f"{at()}/jobs").status == 200
        assert api.ask("GET", f"{at()}/jobs/nobody/explain").status == 404
        assert api.ask("GET", f"{at()}/dead-letters/groups").status == 200
