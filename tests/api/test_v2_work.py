"""The native API for those at work: enqueue, claim, heartbeat, complete, fail, ..."""

from collections.abc import Iterator
from typing import Any

import pytest
from carriers import CARRIERS
from native import RULES, TRACE, Native, at, code, pointers, speaking, told, uids
from serving import Settings

from jobengine.api.app import create_app
from jobengine.api.health import Status
from jobengine.testing import sim_house

NOW = "2027-01-15T08:00:00.000Z"
LATER = "2027-01-15T08:00:05.000Z"


@pytest.fixture(params=CARRIERS)
def api(request: pytest.FixtureRequest) -> Iterator[Native]:
    with speaking(request.param) as found:
        yield found


# --- enqueue -------------------------------------------------------------------------


def test_a_job_has_all_its_members_from_the_beginning(api: Native) -> None:
    heard = api.enqueue({"to": "ann"})

    assert heard.status == 201
    uid = told(heard)["uid"]
    assert told(heard) == {
        "uid": uid,
        "queue": "q",
        "state": "queued",
        "priority": 50,
        "created_at": NOW,
        "updated_at": NOW,
        "run_at": NOW,
        "expires_at": None,
        "attempt": 0,
        "max_attempts": 3,
        "lease": None,
        "finished_at": None,
        "keep_until": None,
        "reason": None,
        "error": None,
        "unique_key": None,
        "fingerprint": None,
        "traceparent": None,
        "lost_leases": 0,
        "reschedules": 0,
        "runs": [],
        "progress": None,
        "result": None,
    }
    assert heard.headers["location"] == f"/api/v2/queues/q/jobs/{uid}"


def test_all_that_a_new_job_may_say_is_kept(api: Native) -> None:
    said: dict[str, Any] = {
        "priority": 90,
        "run_at": LATER,
        "expires_at": "2027-01-16T09:00:00+01:00",
        "unique_key": 'a "key"',
        "fingerprint": "g\u00e9",
        "progress": [1],
        "max_attempts": 7,
    }
    uid = api.made({"n": 1}, **said)

    job = api.job(uid)

    assert {key: job[key] for key in said} == said | {
        "expires_at": "2027-01-16T08:00:00.000Z"
    }
    assert job["content"] == {"n": 1}


@pytest.mark.parametrize("content", [b"null", b"0", b'""', b"[ 1 ]", b'{"a":1,"a":2}'])
def test_the_content_is_any_json_and_comes_back_byte_for_byte(
    api: Native, content: bytes
) -> None:
    body = b'{"content":%b}' % content
    assert api.ask("POST", f"{at()}/jobs", body, name="shop").status == 201

    taken = api.ask("POST", f"{at()}/jobs/claim", name="worker")

    assert b'"content":%b,' % content in taken.body


def test_times_may_be_said_as_durations(api: Native) -> None:
    uid = api.made(delay_ms=5000, valid_for_ms=60_000)

    job = api.job(uid)

    assert (job["run_at"], job["expires_at"]) == (LATER, "2027-01-15T08:01:00.000Z")
    assert api.claim() == []


@pytest.mark.parametrize(
    ("said", "shown"),
    [({}, 3), ({"max_attempts": None}, None), ({"max_attempts": 1}, 1)],
)
def test_attempts_are_the_queues_own_or_none_or_so_many(
    api: Native, said: dict[str, Any], shown: int | None
) -> None:
    assert api.job(api.made(**said))["max_attempts"] == shown


def test_terms_rule_what_becomes_of_it(api: Native) -> None:
    backoff = {"kind": "list", "delays_ms": [7000, 9000]}
    uid = api.taken(backoff=backoff, max_attempts=2, lease_ms=3000)["uid"]
    assert api.job(uid)["lease"]["until"] == "2027-01-15T08:00:03.000Z"

    api.verb(uid, "fail", {"error": "no"})

    assert api.job(uid)["run_at"] == "2027-01-15T08:00:07.000Z"


def test_the_trace_is_kept_and_shown(api: Native) -> None:
    uid = api.made(traceparent=TRACE)

    assert api.job(uid)["traceparent"] == TRACE


@pytest.mark.parametrize(
    "trace",
    [
        "x",
        "",
        TRACE.upper(),
        TRACE + "-more",
        "ff" + TRACE[2:],
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + "-01",
    ],
)
def test_a_trace_that_is_none_is_ignored(api: Native, trace: str) -> None:
    heard = api.ask(
        "POST", f"{at()}/jobs", {"content": 1}, name="shop", traceparent=trace
    )

    assert told(heard)["traceparent"] is None


def test_of_a_later_version_a_trace_may_say_more(api: Native) -> None:
    trace = "01" + TRACE[2:] + "-more"

    assert api.job(api.made(traceparent=trace))["traceparent"] == trace


@pytest.mark.parametrize("conflict", ["", "?on_conflict=refuse"])
def test_a_key_that_is_there_is_refused(api: Native, conflict: str) -> None:
    uid = api.made(unique_key="k")

    refused = api.enqueue(unique_key="k", query=conflict)

    assert (refused.status, code(refused)) == (409, "duplicate_job")
    assert uid in told(refused)["detail"]


def test_or_the_job_that_is_there_is_kept(api: Native) -> None:
    uid = api.made(1, unique_key="k", priority=9)

    kept = api.enqueue(2, unique_key="k", query="?on_conflict=keep")

    assert (kept.status, told(kept)["uid"]) == (200, uid)
    assert "location" not in kept.headers
    assert kept.headers["etag"] == api.get(uid).headers["etag"]
    # A writer may not read what it did not send.
    assert "content" not in told(kept)
    assert (api.job(uid)["content"], api.job(uid)["priority"]) == (1, 9)


def test_or_it_is_replaced(api: Native) -> None:
    uid = api.made(1, unique_key="k")

    replaced = api.enqueue(2, unique_key="k", query="?on_conflict=replace")

    assert (replaced.status, told(replaced)["uid"]) == (201, uid)
    assert api.job(uid)["content"] == 2


def test_who_wants_little_is_told_where_it_is(api: Native) -> None:
    heard = api.enqueue(Prefer="return=minimal")

    assert (heard.status, heard.body) == (201, b"")
    assert heard.headers["preference-applied"] == "return=minimal"
    assert "content-type" not in heard.headers
    uid = heard.headers["location"].rpartition("/")[2]
    assert api.job(uid)["state"] == "queued"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["/content"]),
        ({"content": 1, "what": 1, "a/b": 1}, ["/a~1b", "/what"]),
        ({"content": 1, "priority": 0}, ["/priority"]),
        ({"content": 1, "priority": 60.0}, ["/priority"]),
        ({"content": 1, "priority": True}, ["/priority"]),
        ({"content": 1, "priority": None}, ["/priority"]),
        ({"content": 1, "run_at": 1_800_000_000}, ["/run_at"]),
        ({"content": 1, "run_at": "1800000000"}, ["/run_at"]),
        ({"content": 1, "run_at": "1969-12-31T23:59:59Z"}, ["/run_at"]),
        ({"content": 1, "run_at": "2027-01-15T08:00:00"}, ["/run_at"]),
        ({"content": 1, "run_at": LATER, "delay_ms": 1}, ["/delay_ms"]),
        ({"content": 1, "expires_at": LATER, "valid_for_ms": 1}, ["/valid_for_ms"]),
        ({"content": 1, "valid_for_ms": 0}, ["/valid_for_ms"]),
        ({"content": 1, "max_attempts": 0}, ["/max_attempts"]),
        ({"content": 1, "max_attempts": -1}, ["/max_attempts"]),
        ({"content": 1, "poison_after": -1}, ["/poison_after"]),
        ({"content": 1, "dead_keep_ms": -1}, ["/dead_keep_ms"]),
        ({"content": 1, "lease_ms": None}, ["/lease_ms"]),
        ({"content": 1, "durable": 0}, ["/durable"]),
        ({"content": 1, "unique_key": ""}, ["/unique_key"]),
        ({"content": 1, "unique_key": 1}, ["/unique_key"]),
        ({"content": 1, "progress": "x" * 70_000}, ["/progress"]),
        ({"content": 1, "backoff": []}, ["/backoff"]),
        ({"content": 1, "backoff": {}}, ["/backoff/kind"]),
        ({"content": 1, "backoff": {"kind": "list"}}, ["/backoff"]),
        (
            {"content": 1, "backoff": {"kind": "slow", "x": 1}},
            ["/backoff/x", "/backoff/kind"],
        ),
        (
            {"content": 1, "backoff": {"kind": "list", "delays_ms": [1, "2"]}},
            ["/backoff/delays_ms/1"],
        ),
        (
            {"content": 1, "backoff": {"kind": "linear", "factor": "2"}},
            ["/backoff/factor"],
        ),
        ({"content": 1, "backoff": {"kind": "linear", "jitter": 2}}, ["/backoff"]),
    ],
)
def test_what_means_nothing_is_refused_and_named(
    api: Native, body: Any, wrong: list[str]
) -> None:
    refused = api.ask("POST", f"{at()}/jobs", body, name="shop")

    assert (refused.status, code(refused)) == (422, "invalid_job")
    assert pointers(refused) == wrong


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?on_conflict=ignore", "refuse, keep, replace"),
        ("?on_conflict=keep&on_conflict=keep", "twice"),
        ("?onconflict=keep", "'onconflict'"),
        ("?x=%ff", "UTF-8"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    api: Native, query: str, says: str
) -> None:
    refused = api.enqueue(query=query)

    assert (refused.status, code(refused)) == (400, "bad_query")
    assert says in told(refused)["detail"]


def test_a_body_that_is_not_json_by_its_name_is_415(api: Native) -> None:
    refused = api.ask(
        "POST", f"{at()}/jobs", b"x", name="shop", Content_Type="text/plain"
    )

    assert (refused.status, code(refused)) == (415, "wrong_content_type")


# --- batches -------------------------------------------------------------------------


def batch(api: Native, *jobs: Any, query: str = "", **how: Any) -> Any:
    return api.ask("POST", f"{at()}/jobs/batch{query}", list(jobs), name="shop", **how)


def test_of_a_batch_each_is_told_what_became_of_it(api: Native) -> None:
    there = api.made(unique_key="k")

    heard = batch(
        api, {"content": 1}, {"content": 2, "unique_key": "k"}, {"content": 3}
    )

    first, refused, last = told(heard)["results"]
    assert heard.status == 200
    assert (first["status"], last["status"]) == (201, 201)
    assert refused["uid"] is None
    assert (refused["status"], refused["problem"]["code"]) == (409, "duplicate_job")
    assert there in refused["problem"]["detail"]
    assert uids(api.list()["jobs"]) == [there, first["uid"], last["uid"]]


def test_an_atomic_batch_is_all_or_nothing(api: Native) -> None:
    api.made(unique_key="k")

    refused = batch(
        api, {"content": 1}, {"content": 2, "unique_key": "k"}, query="?atomic=true"
    )
    done = batch(api, {"content": 1}, {"content": 2}, query="?atomic=true")

    assert (refused.status, code(refused)) == (409, "duplicate_job")
    assert (done.status, [each["status"] for each in told(done)["results"]]) == (
        201,
        [201] * 2,
    )
    assert len(api.list()["jobs"]) == 3


def test_of_a_batch_what_is_there_can_be_kept(api: Native) -> None:
    uid = api.made(unique_key="k")
    new = {"content": 2, "unique_key": "k"}

    for query in ("?on_conflict=keep", "?on_conflict=keep&atomic=true"):
        (kept,) = told(batch(api, new, query=query))["results"]

        assert kept == {"status": 200, "uid": uid}


def test_a_body_with_one_wrong_job_is_refused_whole(api: Native) -> None:
    refused = batch(api, {"content": 1}, {"content": 2, "priority": 101})

    assert (refused.status, pointers(refused)) == (422, ["/1/priority"])
    assert api.list()["jobs"] == []


def test_a_batch_for_a_queue_that_may_not_be_written_is_refused_whole(
    api: Native,
) -> None:
    for name, status in (("worker", 403), ("nobody", 404)):
        refused = api.ask("POST", f"{at()}/jobs/batch", [{"content": 1}], name=name)

        assert refused.status == status


def test_a_batch_may_be_empty(api: Native) -> None:
    assert told(batch(api)) == {"results": []}


def test_a_batch_has_an_end(api: Native) -> None:
    for verb in ("heartbeat", "complete"):
        refused = api.ask("POST", f"{at()}/jobs/{verb}", [{"uid": "x"}] * 1001)

        assert refused.status == 413
        assert code(refused) == "too_many"


# --- claim ---------------------------------------------------------------------------


def test_a_claim_hands_out_a_job_under_a_lease(api: Native) -> None:
    uid = api.made({"n": 1}, progress=5)

    (job,) = api.claim()

    lease = job["lease"]
    assert (job["uid"], job["state"], job["attempt"]) == (uid, "inprogress", 1)
    assert (job["content"], job["progress"]) == ({"n": 1}, 5)
    assert (lease["holder"], lease["since"]) == ("worker", NOW)
    assert lease["until"] == "2027-01-15T08:10:00.000Z"
    # The token is told once, and to nobody else.
    assert lease["token"]
    assert "token" not in api.job(uid)["lease"]
    assert "token" not in api.job(uid, name="worker")["lease"]


def test_many_are_handed_out_in_order(api: Native) -> None:
    low, high = api.made(priority=1), api.made(priority=99)

    assert uids(api.claim("?max=1000")) == [high, low]
    assert api.claim() == []


@pytest.mark.parametrize(
    "query",
    ["?max=0", "?max=1001", "?max=-1", "?max=", "?max=1.0", "?wait=x", "?num=1"],
)
def test_a_claim_that_makes_no_sense_is_refused(api: Native, query: str) -> None:
    assert api.ask("POST", f"{at()}/jobs/claim{query}", name="worker").status == 400


# --- heartbeat -----------------------------------------------------------------------


def test_a_heartbeat_moves_the_lease_and_keeps_progress(api: Native) -> None:
    job = api.taken()
    api.clock.advance(seconds=60)

    heard = api.verb(
        job["uid"], "heartbeat", {"lease": job["lease"]["token"], "progress": {"at": 3}}
    )

    assert told(heard) == {"lease_until": "2027-01-15T08:11:00.000Z"}
    assert api.job(job["uid"])["progress"] == {"at": 3}


def test_a_heartbeat_needs_no_body(api: Native) -> None:
    job = api.taken()

    assert api.verb(job["uid"], "heartbeat").status == 200
    assert api.verb(job["uid"], "heartbeat", {}).status == 200


def test_many_heartbeats_tell_who_was_cancelled(api: Native) -> None:
    held, lost = api.taken()["uid"], api.taken()["uid"]
    api.verb(lost, "cancel", name="shop")

    said = [{"uid": held, "progress": 1}, {"uid": lost}, {"uid": 'no"ne'}]
    heard = api.ask("POST", f"{at()}/jobs/heartbeat", said, name="worker")

    assert heard.status == 200
    assert told(heard)["results"] == [
        {
            "uid": held,
            "status": 200,
            "code": None,
            "lease_until": "2027-01-15T08:10:00.000Z",
        },
        {"uid": lost, "status": 409, "code": "job_cancelled", "lease_until": None},
        {"uid": 'no"ne', "status": 404, "code": "job_not_found", "lease_until": None},
    ]
    assert api.job(held)["progress"] == 1


def test_a_worker_that_lost_the_job_is_told(api: Native) -> None:
    job = api.taken(lease_ms=1000, backoff={"kind": "constant"})
    api.let_time_work(seconds=1)
    (again,) = api.claim()

    stale = {"lease": job["lease"]["token"]}
    for verb in ("heartbeat", "complete", "fail", "release", "reschedule"):
        refused = api.verb(job["uid"], verb, stale)

        assert (refused.status, code(refused)) == (409, "stale_lease"), verb
    assert api.job(job["uid"])["lease"]["until"] == again["lease"]["until"]
    assert api.job(job["uid"])["lost_leases"] == 1


# --- complete ------------------------------------------------------------------------


def test_the_result_is_kept_with_the_job(api: Native) -> None:
    job = api.taken(progress=1)

    heard = api.verb(job["uid"], "complete", {"result": {"sent": True}})

    assert heard.status == 200
    # Who did the work knows all the rest.
    assert told(heard) == {
        "state": "complete",
        "finished_at": NOW,
        "keep_until": "2027-01-15T09:00:00.000Z",
    }
    done = api.job(job["uid"])
    assert (done["result"], done["progress"]) == ({"sent": True}, None)


def test_a_completion_may_be_answered_with_nothing(api: Native) -> None:
    heard = api.verb(api.taken()["uid"], "complete", Prefer="return=minimal")

    assert (heard.status, heard.body) == (204, b"")
    assert heard.headers["preference-applied"] == "return=minimal"


def test_many_completions_are_told_one_by_one(api: Native) -> None:
    first, second = api.taken(), api.taken()

    said = [
        {"uid": first["uid"], "lease": first["lease"]["token"], "result": [1]},
        {"uid": second["uid"], "lease": "another"},
    ]
    heard = api.ask("POST", f"{at()}/jobs/complete", said, name="worker")

    assert told(heard)["results"] == [
        {"uid": first["uid"], "status": 200, "code": None},
        {"uid": second["uid"], "status": 409, "code": "stale_lease"},
    ]
    assert api.job(first["uid"])["result"] == [1]
    assert api.job(second["uid"])["state"] == "inprogress"


# --- fail, release, reschedule, requeue ----------------------------------------------


def test_a_failure_leaves_another_attempt(api: Native) -> None:
    job = api.taken()

    heard = api.verb(
        job["uid"], "fail", {"error": "full", "retry_at": LATER, "kind": "retry"}
    )

    again = told(heard)
    assert (heard.status, again["state"], again["run_at"]) == (200, "queued", LATER)
    assert again["error"] == "full"
    assert again["runs"] == [
        {
            "attempt": 1,
            "began_at": NOW,
            "ended_at": NOW,
            "outcome": "attempts",
            "error": "full",
        }
    ]


@pytest.mark.parametrize("kind", ["critical", "unprocessable"])
def test_some_failures_leave_none(api: Native, kind: str) -> None:
    heard = api.verb(api.taken()["uid"], "fail", {"kind": kind})

    assert (told(heard)["state"], told(heard)["reason"]) == ("failed", kind)


def test_what_its_holder_calls_off_is_cancelled(api: Native) -> None:
    job = api.taken()
    said = {"lease": job["lease"]["token"], "kind": "cancel", "error": "void"}

    heard = api.verb(job["uid"], "fail", said)

    ended = told(heard)
    assert (heard.status, ended["state"], ended["reason"]) == (200, "cancelled", None)
    assert (ended["error"], ended["runs"][0]["outcome"]) == ("void", "cancelled")
    again = api.verb(job["uid"], "fail", said)
    assert (again.status, code(again)) == (409, "job_cancelled")


def test_who_has_lost_the_job_cannot_call_it_off(api: Native) -> None:
    job = api.taken()
    api.let_time_work(minutes=60)
    said = {"lease": job["lease"]["token"], "kind": "cancel"}

    refused = api.verb(job["uid"], "fail", said)

    assert (refused.status, code(refused)) == (409, "stale_lease")
    assert api.job(job["uid"])["state"] == "queued"


def test_a_released_job_is_as_if_it_had_not_been_taken(api: Native) -> None:
    job = api.taken()

    heard = api.verb(job["uid"], "release", {"lease": job["lease"]["token"]})

    assert (told(heard)["state"], told(heard)["attempt"]) == ("queued", 0)


def test_a_job_may_be_released_for_later(api: Native) -> None:
    job = api.taken(max_attempts=1, backoff={"kind": "constant", "base_ms": 10**9})

    heard = api.verb(job["uid"], "release", {"run_at": LATER})

    back = told(heard)
    assert (back["state"], back["run_at"]) == ("queued", LATER)
    # Neither the run counts, nor that it was put off.
    assert (back["attempt"], back["reschedules"], back["runs"]) == (0, 0, [])


def test_a_rescheduled_job_runs_later_and_otherwise(api: Native) -> None:
    job = api.taken(1, backoff={"kind": "constant"})

    said = {"run_at": LATER, "content": 2, "progress": 3}
    heard = api.verb(job["uid"], "reschedule", said)

    assert (told(heard)["run_at"], told(heard)["reschedules"]) == (LATER, 1)
    again = api.job(job["uid"])
    assert (again["content"], again["progress"], again["attempt"]) == (2, 3, 0)


def test_jobs_follow_one_that_is_done(api: Native) -> None:
    uid = api.made(1)
    assert uids(api.claim(name="root")) == [uid]

    jobs = [{"content": 2}, {"content": 3, "queue": "other"}]
    heard = api.verb(uid, "requeue", {"jobs": jobs}, name="root")

    first, second = told(heard)["results"]
    assert (heard.status, first["status"], second["status"]) == (201, 201, 201)
    assert api.job(uid)["state"] == "complete"
    assert api.job(first["uid"])["content"] == 2
    other = api.ask("GET", f"{at('other')}/jobs/{second['uid']}")
    assert told(other)["content"] == 3


@pytest.mark.parametrize(
    ("jobs", "status", "wrong"),
    [
        ([{"content": 1}, {}], 422, ["/jobs/1/content"]),
        ([{"content": 1, "priority": 0}], 422, ["/jobs/0/priority"]),
        ([{"content": 1, "what": 0}], 422, ["/jobs/0/what"]),
        ({}, 400, None),
        (None, 400, None),
    ],
)
def test_what_follows_must_be_jobs(
    api: Native, jobs: Any, status: int, wrong: list[str] | None
) -> None:
    uid = api.made()
    api.claim(name="root")

    refused = api.verb(uid, "requeue", {"jobs": jobs}, name="root")

    assert refused.status == status
    assert wrong is None or pointers(refused) == wrong
    assert api.job(uid)["state"] == "inprogress"


@pytest.mark.parametrize(
    "verb", ["heartbeat", "complete", "fail", "release", "reschedule"]
)
def test_what_nobody_holds_cannot_be_reported_on(api: Native, verb: str) -> None:
    refused = api.verb(api.made(), verb)

    assert (refused.status, code(refused)) == (409, "wrong_state")


@pytest.mark.parametrize(
    ("verb", "body", "wrong"),
    [
        ("heartbeat", {"progres": 1}, "/progres"),
        ("heartbeat", {"lease": 1}, "/lease"),
        ("complete", {"progress": 1}, "/progress"),
        ("fail", {"kind": "attempts"}, "/kind"),
        ("fail", {"error": None}, "/error"),
        ("fail", {"retry_at": 5}, "/retry_at"),
        ("release", {"x": 1}, "/x"),
        ("release", {"run_at": 5}, "/run_at"),
        ("release", {"run_at": None}, "/run_at"),
        ("release", {"run_at": "9999-12-31T23:59:59-01:00"}, "/run_at"),
        ("reschedule", {"delay_ms": 1}, "/delay_ms"),
        ("requeue", {}, "/jobs"),
    ],
)
def test_reports_are_strict_too(api: Native, verb: str, body: Any, wrong: str) -> None:
    refused = api.verb(api.taken()["uid"], verb, body)

    assert (refused.status, pointers(refused)) == (422, [wrong])


# --- once ----------------------------------------------------------------------------


def test_a_request_with_a_key_is_done_once(api: Native) -> None:
    first = api.enqueue(1, Idempotency_Key="k-1")
    api.let_time_work(seconds=10)

    again = api.enqueue(1, Idempotency_Key="k-1")

    assert (again.status, again.body) == (201, first.body)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    for name in ("location", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert len(api.list()["jobs"]) == 1


def test_with_something_else_the_key_is_refused(api: Native) -> None:
    api.enqueue(1, Idempotency_Key="k")

    for other in (
        api.enqueue(2, Idempotency_Key="k"),
        api.enqueue(1, Idempotency_Key="k", query="?on_conflict=keep"),
    ):
        assert (other.status, code(other)) == (422, "idempotency_key_reused")


def test_a_key_is_the_callers_and_the_routes_own(api: Native) -> None:
    answers = [
        api.enqueue(1, Idempotency_Key="k"),
        api.enqueue(1, Idempotency_Key="k", name="root"),
        api.enqueue(1, Idempotency_Key="k", queue="other"),
        batch(api, {"content": 1}, Idempotency_Key="k"),
    ]

    assert all("idempotency-replayed" not in each.headers for each in answers)


def test_a_refused_request_may_be_sent_again(api: Native) -> None:
    there = api.taken(unique_key="k")
    refused = api.enqueue(2, unique_key="k", Idempotency_Key="x")
    api.verb(there["uid"], "complete")

    again = api.enqueue(2, unique_key="k", Idempotency_Key="x")

    assert (refused.status, again.status) == (409, 201)


def test_the_answer_is_forgotten_after_a_day(api: Native) -> None:
    first = api.enqueue(1, Idempotency_Key="k")
    api.let_time_work(minutes=24 * 60)

    again = api.enqueue(1, Idempotency_Key="k")

    assert told(again)["uid"] != told(first)["uid"]


@pytest.mark.parametrize(
    ("seconds", "replayed"), [(599, True), (600, False), (601, False)]
)
def test_or_as_soon_as_it_was_asked_to_be(
    api: Native, seconds: int, replayed: bool
) -> None:
    how = {"Idempotency_Key": "k", "Prefer": "keep-answer=600"}
    first = api.enqueue(1, **how)
    assert first.headers["preference-applied"] == "keep-answer=600"
    api.let_time_work(seconds=seconds)

    again = api.enqueue(1, **how)

    assert ("idempotency-replayed" in again.headers) is replayed
    assert again.headers["preference-applied"] == "keep-answer=600"
    assert (told(again)["uid"] == told(first)["uid"]) is replayed


@pytest.mark.parametrize(
    "prefer",
    [
        *("keep-answer=0", "keep-answer=86401", "keep-answer=-1", "keep-answer=1.5"),
        *("keep-answer", "keep-answer=", "keep-answer=60 s", "x-keep-answer=60"),
        *("keep-answer=9999999999", "wait=60", "keep-answer=86400"),
    ],
)
def test_a_wish_that_makes_no_sense_is_none_and_a_day_is_as_without(
    api: Native, prefer: str
) -> None:
    first = api.enqueue(1, Idempotency_Key="k", Prefer=prefer)
    assert "preference-applied" not in first.headers
    api.let_time_work(seconds=86_399)

    again = api.enqueue(1, Idempotency_Key="k")

    assert again.headers["idempotency-replayed"] == "true"


def test_what_was_preferred_is_told_together_and_again(api: Native) -> None:
    prefer = 'return=minimal, Keep-Answer = "60"'
    first = api.enqueue(1, Idempotency_Key="k", Prefer=prefer)

    again = api.enqueue(1, Idempotency_Key="k", Prefer="keep-answer=3600")

    for heard in (first, again):
        assert heard.headers["preference-applied"] == "return=minimal, keep-answer=60"
        assert (heard.status, heard.body) == (201, b"")
    assert again.headers["location"] == first.headers["location"]


def test_without_a_key_there_is_no_answer_to_be_remembered(api: Native) -> None:
    heard = api.enqueue(1, Prefer="keep-answer=60")

    assert heard.status == 201
    assert "preference-applied" not in heard.headers


def test_the_answer_to_a_batch_may_be_forgotten_sooner_too(api: Native) -> None:
    how = {"Idempotency_Key": "k", "Prefer": "keep-answer=60"}
    assert batch(api, {"content": 1}, **how).headers["preference-applied"]
    api.let_time_work(seconds=60)

    again = batch(api, {"content": 1}, **how)

    assert "idempotency-replayed" not in again.headers
    assert len(api.list()["jobs"]) == 2


@pytest.mark.parametrize("query", ["", "?atomic=true", "?on_conflict=keep"])
def test_a_batch_with_a_key_is_done_once(api: Native, query: str) -> None:
    first, again = (
        batch(api, {"content": 1}, query=query, Idempotency_Key="k") for _ in range(2)
    )

    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(api.list()["jobs"]) == 1


def test_an_answer_without_a_body_is_the_same_again(api: Native) -> None:
    first, again = (
        api.enqueue(1, Idempotency_Key="k", Prefer="return=minimal") for _ in range(2)
    )

    assert (again.status, again.body) == (201, b"")
    assert again.headers["location"] == first.headers["location"]


@pytest.mark.parametrize("key", ["", " ", "a b", "\xe9", "x" * 256])
def test_a_key_that_is_none_is_refused(api: Native, key: str) -> None:
    refused = api.enqueue(1, Idempotency_Key=key)

    assert (refused.status, code(refused)) == (400, "bad_header")
    assert api.list()["jobs"] == []


# --- who asks for its commit ---------------------------------------------------------


def test_on_request_an_answer_tells_its_commit() -> None:
    house = sim_house(RULES)
    app = create_app(house, Settings(), Status())
    asks = {"X-Name": "shop", "X-JobEngine-Commit": "?"}

    answer = app.test_client().post(
        "/api/v2/queues/q/jobs", json={"content": 1}, headers=asks
    )

    assert answer.status_code == 201
    assert answer.headers["X-JobEngine-Commit"]
