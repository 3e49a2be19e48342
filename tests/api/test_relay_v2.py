"""The relay dialect, version 2: runs that are fenced, modes, requeue (RL-17)."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from carriers import CARRIERS
from relaying import Relay, at, ids, job, relaying, run_at, told


@pytest.fixture(params=CARRIERS)
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    with relaying(request.param) as found:
        yield found


def started(relay: Relay, *jobs: Any) -> Any:
    """The runs of these new jobs."""
    relay.enqueue_v2(*jobs)
    return relay.next_v2(len(jobs))


def end_leases(relay: Relay, seconds: int) -> None:
    relay.clock.advance(seconds=seconds)
    relay.let_leases_end()


# --- the path that every job goes ---------------------------------------------------


def test_lifecycle(relay: Relay) -> None:
    assert relay.enqueue_v2(job("1", max_retries=3)).status == 202
    assert relay.exists("1", version=2)

    (run,) = relay.next_v2(10)

    assert UUID(run["run_id"])
    assert (run["max_retries"], run["retries_remaining"]) == (3, 3)
    assert run["created_at"] == run["run_at"] == "2027-01-15T08:00:00.000Z"
    assert relay.ask("PATCH", run_at(run), {"at": 1}).status == 202
    assert relay.get("1", version=2)["state"] == {"at": 1}
    assert relay.ask("DELETE", run_at(run)).status == 200
    assert relay.get("1", version=2) is None


def test_retries_without_end_are_null_and_what_is_absent_means(relay: Relay) -> None:
    relay.enqueue_v2(job("1"), job("2", max_retries=None), job("3", max_retries=0))

    found = [relay.get(id, version=2) for id in "123"]

    assert [each["max_retries"] for each in found] == [None, None, 0]
    assert [each["retries_remaining"] for each in found] == [None, None, 0]
    assert relay.get("1")["max_retries"] == -1


def test_every_run_has_a_name_of_its_own(relay: Relay) -> None:
    (first,) = started(relay, job("1", timeout=1))
    end_leases(relay, 1)

    (second,) = relay.next_v2()

    assert first["run_id"] != second["run_id"]
    assert relay.get("1", version=2)["run_id"] == second["run_id"]


def test_a_job_that_waits_has_no_run(relay: Relay) -> None:
    relay.enqueue_v2(job("1"))

    assert relay.get("1", version=2)["run_id"] is None


@pytest.mark.parametrize("query", ["num_jobs=0", "num_jobs=-1", "num_jobs=x"])
def test_num_jobs_must_be_one_or_more(relay: Relay, query: str) -> None:
    assert relay.ask("GET", f"/v2/queues/q/jobs?{query}").status == 400


def test_an_empty_queue_is_204(relay: Relay) -> None:
    assert relay.ask("GET", "/v2/queues/q/jobs").status == 204


def test_max_retries_below_0_are_refused(relay: Relay) -> None:
    assert relay.enqueue_v2(job("1", max_retries=-1)).status == 400


# --- modes --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, "unique", "nonsense", ""])
def test_enqueue_already_exists_rolls_all_back(relay: Relay, mode: str | None) -> None:
    relay.enqueue_v2(job("1"))

    refused = relay.enqueue_v2(job("2"), job("1"), mode=mode)

    assert refused.status == 409
    assert not relay.exists("2")


def test_unique_refuses_one_id_twice_in_a_batch(relay: Relay) -> None:
    assert relay.enqueue_v2(job("1"), job("1"), mode="unique").status == 409
    assert not relay.exists("1")


def test_enqueue_do_nothing_keeps_the_job_and_its_run(relay: Relay) -> None:
    (run,) = started(relay, job("1", payload="old"))

    assert (
        relay.enqueue_v2(job("1", payload="new"), job("2"), mode="ignore").status == 202
    )

    kept = relay.get("1", version=2)
    assert (kept["payload"], kept["run_id"]) == ("old", run["run_id"])
    assert relay.exists("2")


def test_enqueue_replace_changes_the_job_and_ends_its_run(relay: Relay) -> None:
    (run,) = started(relay, job("1", payload="old", state=[1]))
    relay.clock.advance(seconds=5)

    new = job("1", payload="new", timeout=9, max_retries=4)
    assert relay.enqueue_v2(new, mode="replace").status == 202

    found = relay.get("1", version=2)
    assert {key: found[key] for key in new} == new
    assert (found["run_id"], found["state"]) == (None, None)
    assert found["created_at"] == run["created_at"]
    assert relay.ask("PATCH", run_at(run)).status == 404
    assert ids(relay.next_v2()) == ["1"]


# --- requeue ------------------------------------------------------------------------


def test_requeue_puts_other_jobs_in_its_place(relay: Relay) -> None:
    (run,) = started(relay, job("1"))

    heard = relay.requeue(run, job("2"), job("3", queue="other"))

    assert (heard.status, heard.body) == (202, b"")
    assert not relay.exists("1")
    assert relay.exists("2")
    assert relay.exists("3", queue="other")


def test_requeue_under_its_own_id_replaces_what_it_was(relay: Relay) -> None:
    (run,) = started(relay, job("1", state=[1]))
    new = job("1", payload="new", timeout=7, max_retries=2)

    assert relay.requeue(run, new).status == 202

    found = relay.get("1", version=2)
    assert {key: found[key] for key in new} == new
    assert (found["run_id"], found["state"]) == (None, None)
    # The same run once more changes nothing, and is no error.
    assert relay.requeue(run, job("1", payload="late"), job("9")).status == 202
    assert relay.get("1")["payload"] == "new"
    assert not relay.exists("9")


def test_requeue_of_a_missing_job_is_no_error_and_queues_nothing(relay: Relay) -> None:
    run = {"id": "nobody", "queue": "q", "run_id": "gone"}

    assert relay.requeue(run, job("2")).status == 202
    assert not relay.exists("2")


@pytest.mark.parametrize(
    ("mode", "status", "payload"),
    [("unique", 409, "there"), ("ignore", 202, "there"), ("replace", 202, "new")],
)
def test_requeue_across_queues_onto_an_id_that_is_there(
    relay: Relay, mode: str, status: int, payload: str
) -> None:
    relay.enqueue_v2(job("2", queue="other", payload="there"))
    (run,) = started(relay, job("1"))

    heard = relay.requeue(run, job("2", queue="other", payload="new"), mode=mode)

    assert heard.status == status
    assert relay.get("2", queue="other")["payload"] == payload
    # Refused, the old job is still there, and still in flight.
    assert relay.exists("1") is (status == 409)
    if status == 409:
        assert relay.get("1", version=2)["run_id"] == run["run_id"]


def test_requeue_of_nothing_ends_the_run(relay: Relay) -> None:
    (run,) = started(relay, job("1"))

    assert relay.requeue(run).status == 202
    assert not relay.exists("1")


def test_requeue_into_a_queue_that_there_is_not_changes_nothing(relay: Relay) -> None:
    (run,) = started(relay, job("1"))

    assert relay.requeue(run, job("2"), job("3", queue="nope")).status == 404
    assert relay.exists("1")
    assert not relay.exists("2")


# --- ends ---------------------------------------------------------------------------


def test_delete_twice_is_fine(relay: Relay) -> None:
    relay.enqueue_v2(job("1"))

    for _ in range(2):
        assert relay.ask("DELETE", at("1", version=2)).status == 200
        assert not relay.exists("1")


def test_delete_ends_a_run_too(relay: Relay) -> None:
    (run,) = started(relay, job("1"))

    assert relay.ask("DELETE", at("1", version=2)).status == 200
    assert relay.ask("PATCH", run_at(run)).status == 404


def test_complete_twice_is_fine(relay: Relay) -> None:
    (run,) = started(relay, job("1"))

    for _ in range(2):
        assert relay.ask("DELETE", run_at(run)).status == 200
        assert not relay.exists("1")


def test_rl_17_a_run_that_is_over_changes_nothing(relay: Relay) -> None:
    (lost,) = started(relay, job("1", timeout=5))
    end_leases(relay, 5)
    (held,) = relay.next_v2()

    beat = relay.ask("PATCH", run_at(lost), [1])
    done = relay.ask("DELETE", run_at(lost))

    assert (beat.status, done.status) == (404, 200)
    found = relay.get("1", version=2)
    assert (found["run_id"], found["state"]) == (held["run_id"], None)


def test_heartbeat_after_the_end_is_404(relay: Relay) -> None:
    (run,) = started(relay, job("1"))
    relay.ask("PATCH", run_at(run), "kept")
    kept = relay.get("1")["state"]
    relay.ask("DELETE", run_at(run))

    refused = relay.ask("PATCH", run_at(run), "late")

    assert kept == "kept"
    assert (refused.status, told(refused)["code"]) == (404, "job_not_found")


def test_reap_counts_retries_down(relay: Relay) -> None:
    # given: jobs without a retry, with one, and with no end of them
    relay.enqueue_v2(
        *(
            job(id, timeout=0, max_retries=n)
            for id, n in (("0", 0), ("1", 1), ("n", None))
        )
    )

    # when their first runs end
    assert ids(relay.next_v2(3)) == ["0", "1", "n"]
    end_leases(relay, 1)

    assert relay.get("0", version=2) is None
    assert relay.get("1", version=2)["retries_remaining"] == 0
    # and when their second runs do
    assert ids(relay.next_v2(3)) == ["1", "n"]
    end_leases(relay, 1)

    assert relay.get("1", version=2) is None
    for _ in range(5):
        assert ids(relay.next_v2(3)) == ["n"]
        end_leases(relay, 1)


# --- the clients of the originals -----------------------------------------------------


def test_poller(relay: Relay) -> None:
    relay.enqueue_v2(*(job(str(n), payload=n) for n in range(4)))

    first, second = relay.next_v2(2), relay.next_v2(2)

    assert [run["payload"] for run in first + second] == [0, 1, 2, 3]
    assert relay.ask("DELETE", run_at(first[0])).status == 200
    assert relay.ask("PATCH", run_at(first[1]), {"done": 50}).status == 202
    assert relay.get("1")["state"] == {"done": 50}
    assert relay.requeue(first[1], job("1", payload="again")).status == 202
    assert relay.next_v2(2)[0]["payload"] == "again"


def test_the_go_clients_job_that_reschedules_itself(relay: Relay) -> None:
    relay.ask("POST", "/v1/queues/jobs", [job("1", max_retries=-1)])
    (taken,) = told(relay.ask("GET", "/v1/queues/q/jobs?num_jobs=1"))

    again = taken | {"run_at": "2027-01-15T08:00:00Z", "state": None}
    assert relay.ask("PUT", "/v1/queues/jobs", again).status == 202

    (taken,) = told(relay.ask("GET", "/v1/queues/q/jobs?num_jobs=1"))
    assert taken["id"] == "1"
    assert relay.ask("DELETE", at("1")).status == 200


def test_versions_may_be_mixed(relay: Relay) -> None:
    relay.enqueue("1", max_retries=2)

    (run,) = relay.next_v2()

    assert run["retries_remaining"] == 2
    assert relay.heartbeat("1", 5).status == 202
    assert relay.complete("1").status == 200


def test_a_run_with_an_id_that_must_be_encoded(relay: Relay) -> None:
    (run,) = started(relay, job("a/b %2F?"))

    assert relay.ask("PATCH", run_at(run), 1).status == 202
    assert relay.requeue(run, job("/")).status == 202
    (run,) = relay.next_v2()
    assert (run["id"], relay.ask("DELETE", run_at(run)).status) == ("/", 200)
