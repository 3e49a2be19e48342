"""The relay dialect, versions 0 and 1: the rows RL-1 to RL-18 of its behaviour."""

from collections.abc import Iterator
from typing import Any

import pytest
from carriers import CARRIERS
from msgspec.structs import replace
from relaying import OnLoop, Relay, at, ids, job, relaying, run_at, told
from serving import request as asked

from jobengine.api.problem import answer
from jobengine.api.relay import RELAY
from jobengine.api.relay_v2 import RELAY_V2
from jobengine.core.access import Caller
from jobengine.core.job import NewJob
from jobengine.daemon.settings import RelaySettings
from jobengine.engine import LiveKey
from jobengine.errors import (
    JobEngineError,
    MemoryFull,
    Overloaded,
    QueueFull,
    StoreFailed,
    StoreFull,
)

HOUR_S = 3600


@pytest.fixture(params=CARRIERS)
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    with relaying(request.param) as found:
        yield found


def seconds(relay: Relay, after: int = 0) -> int:
    return relay.clock.now() // 1000 + after


# --- the path that every job goes ---------------------------------------------------


def test_enqueue_next_complete(relay: Relay) -> None:
    assert relay.enqueue("1").status == 202

    (taken,) = relay.next()

    assert taken["id"] == "1"
    assert relay.complete("1").status == 200
    assert not relay.exists("1")


def test_enqueue_batch_next_complete(relay: Relay) -> None:
    new = job("1", timeout=7, max_retries=3, payload={"a": [1, 2.50]})

    assert relay.batch(new).status == 202

    assert relay.exists("1")
    found = relay.get("1")
    assert {key: found[key] for key in new} == new
    assert found["run_at"] == "2027-01-15T08:00:00.000Z"
    assert ids(relay.next()) == ["1"]
    relay.complete("1")
    assert relay.get("1") is None


def test_oneshot(relay: Relay) -> None:
    relay.ask("POST", "/v1/queues/jobs", [job("1", max_retries=-1)])

    found = relay.get("1")
    assert found["max_retries"] == -1
    assert found["updated_at"] >= "2027-01-15T08:00:00.000Z"
    (taken,) = told(relay.ask("GET", "/v1/queues/q/jobs?num_jobs=10"))
    assert taken["id"] == "1"
    assert relay.ask("PATCH", at("1"), 3).status == 202
    assert relay.get("1")["state"] == 3
    assert relay.ask("DELETE", at("1")).status == 200
    assert not relay.exists("1")


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_d7_every_path_answers_with_and_without_its_version(
    relay: Relay, prefix: str
) -> None:
    def ask(method: str, path: str, body: Any = b"") -> int:
        return relay.ask(method, prefix + path, body).status

    assert ask("GET", "/health") == 200
    assert ask("POST", "/enqueue", job("1")) == 202
    assert ask("POST", "/enqueue/batch", [job("2")]) == 202
    assert ask("GET", "/next?queue=q") == 200
    assert ask("PATCH", "/heartbeat?queue=q&job_id=1", {"a": 1}) == 202
    assert ask("POST", "/reschedule", job("1")) == 202
    assert ask("GET", "/next?queue=q&num_jobs=2") == 200
    assert ask("DELETE", "/complete?queue=q&job_id=1") == 200


# --- enqueue ------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [False, True])
def test_rl_1_an_id_that_is_there_is_refused_in_flight_too(
    relay: Relay, in_flight: bool
) -> None:
    relay.enqueue("1", payload="first")
    if in_flight:
        relay.next()

    refused = relay.enqueue("1", payload="second")

    assert refused.status == 409
    assert told(refused)["code"] == "duplicate_job"
    assert relay.get("1")["payload"] == "first"
    assert relay.enqueue("1", queue="other").status == 202


def test_rl_1_what_is_taken_is_answered_with_nothing(relay: Relay) -> None:
    heard = relay.enqueue("1")

    assert (heard.status, heard.body) == (202, b"")


def test_rl_2_of_a_batch_what_is_there_is_left_out(relay: Relay) -> None:
    relay.enqueue("1", payload="old")

    heard = relay.batch(
        job("1", payload="new"), job("2", payload="first"), job("2", payload="second")
    )

    assert (heard.status, heard.body) == (202, b"")
    assert relay.get("1")["payload"] == "old"
    assert relay.get("2")["payload"] == "first"
    assert ids(relay.next(10)) == ["1", "2"]


def test_rl_2_an_empty_batch_is_fine(relay: Relay) -> None:
    assert relay.batch().status == 202
    assert relay.ask("POST", "/v1/queues/jobs", []).status == 202


def test_rl_2_a_first_job_makes_the_queue_where_that_is_allowed(relay: Relay) -> None:
    new = job("1", queue="fresh")

    assert relay.batch(new, name="maker").status == 202

    assert ids(relay.next(queue="fresh", name="maker")) == ["1"]
    assert relay.batch(job("1", queue="another")).status == 404


def test_rl_3_of_an_array_one_is_refused_and_several_are_left_out(
    relay: Relay,
) -> None:
    path = "/v1/queues/jobs"
    assert relay.ask("POST", path, [job("1")]).status == 202

    one = relay.ask("POST", path, [job("1")])
    two = relay.ask("POST", path, [job("1"), job("2")])

    assert (one.status, two.status) == (409, 202)
    assert ids(relay.next(10)) == ["1", "2"]


def test_a_batch_with_one_bad_job_queues_none(relay: Relay) -> None:
    refused = relay.batch(job("1"), job("2", timeout=-1), job("3"))

    assert refused.status == 400
    assert told(refused)["errors"][0]["pointer"] == "/1/timeout"
    assert relay.next(10) == []


def test_a_batch_with_a_queue_that_there_is_not_queues_none(relay: Relay) -> None:
    assert relay.batch(job("1"), job("2", queue="nope")).status == 404
    assert relay.next(10) == []


def test_d18_a_payload_comes_back_as_it_was_sent(relay: Relay) -> None:
    texts = [
        b'{"b":1, "a":2,"b":3}',
        b"9007199254740993",
        b'"\\u00e9 \\" \\\\"',
        b"[1,\t[],{}]",
        b"1e400",
        b"null",
        "\u00e9\U0001f600".encode().join([b'"', b'"']),
    ]
    for at_, text in enumerate(texts):
        body = b'{"id":"%d","queue":"q","timeout":1,"payload": %b }' % (at_, text)
        assert relay.ask("POST", "/enqueue", body).status == 202, text

    heard = relay.ask("GET", "/next?queue=q&num_jobs=10")

    for text in texts:
        assert b'"payload":%b,"state"' % text in heard.body


def test_a_job_without_a_payload_has_null(relay: Relay) -> None:
    body = {"id": "1", "queue": "q", "timeout": 1}

    assert relay.ask("POST", "/enqueue", body).status == 202

    assert relay.next()[0]["payload"] is None


def test_state_may_be_given_and_what_an_answer_says_may_be_sent_back(
    relay: Relay,
) -> None:
    relay.enqueue("1", state={"at": 3})
    (taken,) = relay.next()
    relay.complete("1")

    assert taken["state"] == {"at": 3}
    assert relay.ask("POST", "/enqueue", taken).status == 202
    assert relay.get("1")["state"] == {"at": 3}


@pytest.mark.parametrize(
    "said", ["2027-01-15T09:00:00Z", "2027-01-15T10:30:00.5+01:30", 1800003600]
)
def test_run_at_is_rfc_3339_or_seconds(relay: Relay, said: Any) -> None:
    relay.enqueue("1", run_at=said)

    assert relay.get("1")["run_at"][:19] == "2027-01-15T09:00:00"
    assert relay.next() == []
    relay.clock.advance(seconds=HOUR_S + 1)
    assert ids(relay.next()) == ["1"]


def test_d17_a_job_that_is_not_to_be_kept_is_said_not_to_be(relay: Relay) -> None:
    relay.enqueue("1", persist_data=False)
    relay.enqueue("2", persist_data=True)
    relay.enqueue("3")

    with relay.house.store.transaction() as tx:
        durable = [job.terms.durable for job in tx.jobs("q")]

    assert durable == [False, True, True]


# --- next ---------------------------------------------------------------------------


def test_rl_4_next_takes_in_the_order_of_run_at(relay: Relay) -> None:
    relay.batch(
        job("late", run_at=seconds(relay, HOUR_S)),
        job("3"),
        job("2", run_at=seconds(relay, -10)),
        job("1", run_at=seconds(relay, -20)),
        job("4"),
    )

    assert ids(relay.next(10)) == ["1", "2", "3", "4"]


def test_rl_4_one_job_is_taken_unless_told_and_none_twice(relay: Relay) -> None:
    relay.batch(*(job(str(n)) for n in range(5)))

    taken = [ids(relay.next(*how)) for how in ((), (2,), (10,), (10,))]

    assert taken == [["0"], ["1", "2"], ["3", "4"], []]


def test_rl_4_an_empty_queue_is_204_without_a_body(relay: Relay) -> None:
    heard = relay.ask("GET", "/next?queue=q")

    assert (heard.status, heard.body) == (204, b"")


def test_rl_4_no_jobs_wanted_is_204_and_takes_none(relay: Relay) -> None:
    relay.enqueue("1")

    assert relay.ask("GET", "/next?queue=q&num_jobs=0").status == 204
    assert ids(relay.next()) == ["1"]


@pytest.mark.parametrize(
    "query",
    [
        *("queue=q&num_jobs=-1", "queue=q&num_jobs=abc", "queue=q&num_jobs="),
        *("queue=q&num_jobs=1.0", "queue=q&wait=abc", "queue=q&wait=-1", "", "queue="),
        *("queue=q&queue=other", "queue=%ff", "queue=q&num_jobs=1&num_jobs=2"),
    ],
)
def test_rl_4_a_query_that_makes_no_sense_is_refused(relay: Relay, query: str) -> None:
    refused = relay.ask("GET", f"/next?{query}")

    assert refused.status == 400
    assert told(refused)["code"] == "bad_query"


def test_rl_18_more_than_a_thousand_are_not_handed_out_at_once(relay: Relay) -> None:
    relay.batch(*(job(str(n)) for n in range(1001)))

    assert len(relay.next(5000)) == 1000
    assert len(relay.next(5000)) == 1


def test_next_waits_for_a_job_where_it_is_told_to(relay: Relay) -> None:
    relay.enqueue("1")

    assert relay.ask("GET", "/next?queue=q&wait=5").status == 200
    assert relay.ask("GET", "/next?queue=q&wait=0").status == 204


@pytest.mark.parametrize("path", ["/next?queue=q", "/v2/queues/q/jobs?num_jobs=9"])
def test_who_waits_is_given_the_job_that_comes(path: str) -> None:
    with relaying("loop") as relay:
        assert isinstance(relay, OnLoop)
        with relay.serving.connect() as waiter:
            also = "&" if "?" in path else "?"
            waiter.say(asked("GET", f"{path}{also}wait=60"))
            relay.serving.waiting(1)

            relay.enqueue("1")

            assert ids(told(waiter.hear())) == ["1"]


# --- one object, as the oldest clients know it --------------------------------------


def test_d7_version_0_answers_one_object(relay: Relay) -> None:
    relay.batch(job("1", persist_data=True), job("2", state=None), job("3", state=[1]))

    found = [
        told(relay.ask("GET", "/next?queue=q", X_Relay_Version="0")) for _ in range(3)
    ]

    assert ids(found) == ["1", "2", "3"]
    assert [each.get("state", "none") for each in found] == ["none", "none", [1]]
    assert found[0]["persist_data"] is True
    empty = relay.ask("GET", "/next?queue=q", X_Relay_Version="0")
    assert (empty.status, empty.body) == (204, b"")


def test_d7_one_object_is_one_job(relay: Relay) -> None:
    path = "/next?queue=q&num_jobs="

    assert relay.ask("GET", path + "2", X_Relay_Version="0").status == 400
    assert relay.ask("GET", path + "1", X_Relay_Version="0").status == 204


@pytest.mark.parametrize("carrier", CARRIERS)
def test_d7_the_configuration_may_ask_for_one_object(carrier: str) -> None:
    with relaying(carrier, RelaySettings(service="relay", next_shape="object")) as r:
        r.batch(job("1"), job("2"))

        assert told(r.ask("GET", "/v1/next?queue=q"))["id"] == "1"
        # The paths that came later never answered so.
        assert ids(told(r.ask("GET", "/v1/queues/q/jobs"))) == ["2"]


# --- heartbeat ------------------------------------------------------------------------


def test_rl_5_a_heartbeat_starts_the_time_over_and_keeps_a_state(
    relay: Relay,
) -> None:
    relay.enqueue("1", timeout=10)
    relay.next()
    relay.clock.advance(seconds=8)

    assert relay.heartbeat("1", {"at": 7}).status == 202

    relay.clock.advance(seconds=8)
    relay.let_leases_end()
    assert relay.next() == []
    found = relay.get("1")
    assert found["state"] == {"at": 7}
    assert found["updated_at"] == "2027-01-15T08:00:08.000Z"


def test_d5_no_body_keeps_the_state_and_null_clears_it(relay: Relay) -> None:
    relay.enqueue("1")
    relay.next()
    relay.heartbeat("1", [1])

    relay.heartbeat("1")
    kept = relay.get("1")["state"]
    relay.heartbeat("1", None)

    assert kept == [1]
    assert relay.get("1")["state"] is None


def test_rl_5_a_job_that_waits_or_is_not_there_has_no_heartbeat(relay: Relay) -> None:
    relay.enqueue("1")

    assert relay.heartbeat("1").status == 404
    assert relay.heartbeat("nobody").status == 404


def test_a_heartbeat_of_no_json_is_refused_and_does_nothing(relay: Relay) -> None:
    relay.enqueue("1")
    relay.next()
    relay.heartbeat("1", [1])

    refused = relay.heartbeat("1", b"{not json")

    assert refused.status == 400
    assert relay.get("1")["state"] == [1]


# --- complete -------------------------------------------------------------------------


def test_rl_6_a_job_that_waits_may_be_removed(relay: Relay) -> None:
    relay.enqueue("1")

    assert relay.complete("1").status == 200
    assert relay.next() == []


def test_d6_completing_what_is_not_there_is_404(relay: Relay) -> None:
    relay.enqueue("1")
    relay.next()
    relay.complete("1")

    assert relay.complete("1").status == 404
    assert relay.ask("DELETE", at("1")).status == 404


def test_an_id_is_free_again_when_its_job_is_done(relay: Relay) -> None:
    relay.enqueue("1")
    relay.next()
    relay.complete("1")

    assert relay.enqueue("1").status == 202


# --- reschedule -----------------------------------------------------------------------


def test_rl_7_a_job_that_is_rescheduled_comes_again_as_it_now_is(
    relay: Relay,
) -> None:
    relay.enqueue("1", state=[1], max_retries=1)
    relay.next()

    heard = relay.reschedule("1", timeout=5, max_retries=3, payload="new")

    assert (heard.status, heard.body) == (202, b"")
    (again,) = relay.next()
    assert again["payload"] == "new"
    assert (again["timeout"], again["max_retries"], again["state"]) == (5, 3, None)


def test_rl_7_state_and_time_may_be_given(relay: Relay) -> None:
    relay.enqueue("1")
    relay.next()

    relay.reschedule("1", state={"at": 2}, run_at=seconds(relay, HOUR_S))

    assert relay.next() == []
    assert relay.get("1")["run_at"] == "2027-01-15T09:00:00.000Z"
    relay.clock.advance(seconds=HOUR_S)
    assert relay.next()[0]["state"] == {"at": 2}


@pytest.mark.parametrize("how", [("POST", "/reschedule"), ("PUT", "/v1/queues/jobs")])
def test_rl_7_only_a_job_in_flight_is_rescheduled(
    relay: Relay, how: tuple[str, str]
) -> None:
    relay.enqueue("1")

    assert relay.ask(*how, job("1")).status == 404
    assert relay.ask(*how, job("2")).status == 404
    relay.next()
    assert relay.ask(*how, job("1")).status == 202


# --- lost leases ----------------------------------------------------------------------


@pytest.mark.parametrize(("retries", "runs"), [(None, 1), (0, 1), (1, 2), (3, 4)])
def test_rl_8_rl_14_a_job_runs_once_and_its_retries(
    relay: Relay, retries: int | None, runs: int
) -> None:
    relay.enqueue("1", timeout=5, **{} if retries is None else {"max_retries": retries})

    for _ in range(runs):
        assert ids(relay.next()) == ["1"]
        relay.clock.advance(seconds=5)
        relay.let_leases_end()

    assert relay.next() == []
    # Dead, and for relay not there; its id is free.
    assert not relay.exists("1")
    assert relay.enqueue("1").status == 202


def test_rl_8_a_job_with_endless_retries_is_never_given_up(relay: Relay) -> None:
    relay.enqueue("1", timeout=1, max_retries=-1)

    for _ in range(10):
        assert ids(relay.next()) == ["1"]
        relay.clock.advance(seconds=1)
        relay.let_leases_end()

    assert relay.exists("1")


def test_rl_8_a_job_that_died_is_kept_as_a_dead_letter(relay: Relay) -> None:
    relay.enqueue("1", timeout=1)
    relay.next()
    relay.clock.advance(seconds=1)
    relay.let_leases_end()

    with relay.house.store.transaction() as tx:
        (dead,) = tx.jobs("q")

    assert (dead.state.name, dead.keep_until is not None) == ("FAILED", True)


def test_rl_9_a_lost_job_returns_at_once_to_its_place_with_its_state(
    relay: Relay,
) -> None:
    relay.batch(*(job(id, timeout=5, max_retries=1) for id in "12"))
    relay.next()
    relay.heartbeat("1", {"at": 9})
    relay.clock.advance(seconds=5)
    relay.let_leases_end()

    found = relay.next(2)

    assert ids(found) == ["1", "2"]
    assert found[0]["state"] == {"at": 9}


def test_timeout_0_is_allowed_and_ends_at_once(relay: Relay) -> None:
    relay.enqueue("1", timeout=0, max_retries=1)
    assert ids(relay.next()) == ["1"]

    relay.let_leases_end()

    assert ids(relay.next()) == ["1"]


# --- get and exists -------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [False, True])
def test_rl_11_get_and_exists_know_what_waits_and_what_is_in_flight(
    relay: Relay, in_flight: bool
) -> None:
    relay.enqueue("1")
    if in_flight:
        relay.next()

    heads = [relay.ask("HEAD", at(id)) for id in ("1", "2")]

    assert [head.status for head in heads] == [200, 404]
    assert relay.get("1")["id"] == "1"
    assert relay.get("2") is None


def test_d3_a_job_made_elsewhere_goes_by_its_uid(relay: Relay) -> None:
    engine = relay.house.engine
    made = engine.enqueue(Caller("both"), "q", NewJob(b'{"a":1}'))

    (taken,) = relay.next()

    assert taken["id"] == made.uid
    assert (taken["timeout"], taken["max_retries"]) == (600, -1)
    assert relay.exists(made.uid)
    assert relay.complete(made.uid).status == 200


STRANGE = [
    "a/b",
    "a%2Fb",
    "%",
    "%2f",
    "a b",
    "a+b",
    "?x=1",
    "#",
    "..",
    ".",
    "é\U0001f600",
]


@pytest.mark.parametrize("id", [*STRANGE, "a//b", "/", '"', "\\", "x" * 1024, "\ufffd"])
def test_an_id_may_hold_anything(relay: Relay, id: str) -> None:
    assert relay.enqueue(id).status == 202

    assert relay.exists(id)
    assert relay.get(id)["id"] == id
    assert ids(relay.next()) == [id]
    assert relay.heartbeat(id, 1).status == 202
    assert relay.ask("PATCH", at(id), 2).status == 202
    assert relay.get(id)["state"] == 2
    assert relay.ask("DELETE", at(id)).status == 200
    assert not relay.exists(id)


def test_an_encoded_slash_parts_nothing_and_another_does(relay: Relay) -> None:
    relay.enqueue("a/b")
    relay.enqueue("a%2Fb")

    assert relay.ask("GET", "/v1/queues/q/jobs/a/b").status == 404
    assert told(relay.ask("GET", "/v1/queues/q/jobs/a%2fb"))["id"] == "a/b"
    assert told(relay.ask("GET", "/v1/queues/q/jobs/a%252Fb"))["id"] == "a%2Fb"


def test_a_path_that_is_not_utf_8_is_no_path() -> None:
    # Flask's own client would not send it.
    with relaying("loop") as relay:
        relay.enqueue("\ufffd")

        assert relay.ask("GET", "/v1/queues/q/jobs/%ff").status == 404
        assert relay.ask("GET", "/v1/queues/q/jobs/%ef%bf%bd").status == 200


def test_an_id_is_never_nothing(relay: Relay) -> None:
    assert relay.enqueue("").status == 400
    assert relay.ask("GET", "/v1/queues/q/jobs/").status == 404


# --- health, errors, fences ---------------------------------------------------------


def test_rl_12_health_is_200_and_empty(relay: Relay) -> None:
    for path in ("/health", "/v1/health"):
        heard = relay.ask("GET", path)

        assert (heard.status, heard.body) == (200, b"")


def test_rl_13_d14_refusals_say_why(relay: Relay) -> None:
    refused = relay.ask("POST", "/enqueue", b"{")

    assert refused.status == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert told(refused)["detail"]


@pytest.mark.parametrize(
    "kind", [QueueFull, MemoryFull, StoreFull, StoreFailed, Overloaded]
)
def test_rl_13_what_may_be_tried_again_is_what_its_clients_look_for(
    kind: type[JobEngineError],
) -> None:
    told = [
        answer(kind("why"), statuses=each.statuses, request_id="r").status_code
        for each in (RELAY, RELAY_V2)
    ]

    assert told == [429, 429 if kind is Overloaded else 503]


def test_rl_13_a_queue_that_is_full_may_be_tried_again(relay: Relay) -> None:
    rules = relay.house.engine.rules
    full = {"q": replace(rules.queues["q"], max_jobs=1)}
    relay.house.upkeep.reconfigure(replace(rules, queues=rules.queues | full))
    relay.enqueue("1")

    refused = [relay.enqueue("2"), relay.enqueue_v2(job("2"))]

    assert [each.status for each in refused] == [429, 503]
    assert all("retry-after" in each.headers for each in refused)


def test_a_cancelled_job_is_not_there_for_its_worker(relay: Relay) -> None:
    relay.enqueue("1")
    (taken,) = relay.next()
    relay.house.engine.cancel(Caller("both"), "q", LiveKey("1"))

    for late in (
        relay.heartbeat("1"),
        relay.heartbeat("1", X_JobEngine_Lease=taken["run_id"]),
        relay.ask("PATCH", run_at(taken)),
        relay.complete("1"),
    ):
        assert late.status == 404


def test_a_paused_queue_takes_jobs_and_hands_out_none(relay: Relay) -> None:
    relay.house.admin.pause(Caller("root", local=True), "q", "repairs")

    assert relay.enqueue("1").status == 202
    assert relay.next() == []


def test_rl_17_a_shown_lease_fences_a_run_that_is_over(relay: Relay) -> None:
    relay.enqueue("1", timeout=5, max_retries=5)
    lost = relay.next()[0]["run_id"]
    relay.clock.advance(seconds=5)
    relay.let_leases_end()
    held = relay.next()[0]["run_id"]

    for late in (
        relay.heartbeat("1", [1], X_JobEngine_Lease=lost),
        relay.complete("1", X_JobEngine_Lease=lost),
        relay.ask("POST", "/reschedule", job("1"), X_JobEngine_Lease=lost),
    ):
        assert late.status == 409
        assert told(late)["code"] == "stale_lease"
    assert relay.get("1")["state"] is None
    assert relay.complete("1", X_JobEngine_Lease=held).status == 200


def test_a_write_tells_its_commit_to_whoever_asks(relay: Relay) -> None:
    body = job("1")

    heard = relay.ask("POST", "/enqueue", body, X_JobEngine_Commit="?")

    assert heard.status == 202
    assert "x-jobengine-commit" not in relay.enqueue("2").headers


def test_next_is_not_for_head(relay: Relay) -> None:
    relay.enqueue("1")

    assert relay.ask("HEAD", "/next?queue=q").status == 405
    assert relay.ask("HEAD", "/v1/queues/q/jobs").status == 405
    assert ids(relay.next()) == ["1"]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_d21_what_is_switched_off_is_not_there(carrier: str) -> None:
    with relaying(carrier, dialects=frozenset({"v1"})) as relay:
        for method, path in (
            *(("POST", "/enqueue"), ("GET", "/next?queue=q"), ("GET", "/health")),
            *(("GET", "/v1/queues/q/jobs"), ("GET", "/v2/queues/q/jobs")),
        ):
            assert relay.ask(method, path).status == 404
        assert relay.ask("GET", "/api/v1/test").status == 200
        assert relay.ask("GET", "/livez").status == 200
