"""What a worker has to tell its daemon: what goes together, what goes again, and what
becomes of that which is refused.
"""

import json
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from held_jobs import NOON, held_job

from jobengine import Client
from jobengine.client.transport import Answer, Request
from jobengine.errors import Unreachable
from jobengine.worker import outbox
from jobengine.worker.outbox import Outbox
from jobengine.worker.outcomes import Cancel, Failed, Success
from jobengine.worker.reports import Report
from jobengine.worker.work import End

PATIENCE_S = 20
ENDED = {"state": "complete", "finished_at": NOON, "keep_until": NOON}
SHOWN = {
    "uid": "a",
    "queue": "mail",
    "state": "failed",
    "priority": 50,
    "attempt": 1,
    "created_at": NOON,
    "updated_at": NOON,
    "run_at": NOON,
}

# What the daemon says to one request: the path's end, and the body.
Says = Callable[[str, Any], Answer]


class Daemon:
    """A transport to nowhere: notes what was asked, and answers as the test says."""

    def __init__(self, says: Says) -> None:
        self.asked: list[tuple[str, Any]] = []
        self._says = says

    def send(self, request: Request) -> Answer:
        asked = (
            request.target.removeprefix("/api/v2/queues/"),
            json.loads(request.body or b"{}"),
        )
        self.asked.append(asked)
        return self._says(*asked)

    def another(self) -> "Daemon":
        return self

    def interrupt(self) -> None: ...

    def close(self) -> None: ...

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


def answer(status: int, body: Any = None) -> Answer:
    return Answer(status, {}, msgspec.json.encode(body or {}))


def refusal(status: int, code: str) -> Answer:
    return answer(status, {"code": code, "status": status, "detail": "no"})


def takes(path: str, body: Any) -> Answer:
    """A daemon that takes whatever it is told."""
    if path.endswith("/jobs/complete"):
        told = [{"uid": each["uid"], "status": 200} for each in body]
        return answer(200, {"results": told})
    if path.endswith("/heartbeat"):
        return answer(200, {"lease_until": NOON})
    return answer(200, ENDED if path.endswith("/complete") else SHOWN)


def report(uid: str, end: End | None = None, *, queue: str = "mail") -> Report:
    return Report(held_job(uid=uid, queue=queue), end or Success())


def told(says: Says, *reports: Report) -> tuple[Daemon, dict[str, bool]]:
    """What was asked to tell of these, and of which the daemon took the end."""
    daemon, took = Daemon(says), dict[str, bool]()

    def note(reports: list[Report], took_each: list[bool]) -> None:
        for each, taken in zip(reports, took_each, strict=True):
            assert each.held.uid not in took, "of each it is said once"
            took[each.held.uid] = taken

    client = Client(name="worker", transport=daemon, retry=None)
    line = Outbox(client, note, share=lambda: 0.0)
    for each in reports:
        line.put(each)
    line.close()
    line.run()
    return daemon, took


def test_successes_of_one_queue_go_with_one_request() -> None:
    some = [report("a"), report("b"), report("c", queue="post")]

    daemon, took = told(takes, *some)

    assert daemon.paths == ["mail/jobs/complete", "post/jobs/c/complete"]
    assert took == {"a": True, "b": True, "c": True}


def test_the_order_in_which_runs_ended_is_kept() -> None:
    some = [report("a"), report("b", Failed("no")), report("c"), report("d", Cancel())]

    daemon, _ = told(takes, *some)

    verbs = ["a/complete", "b/fail", "c/complete", "d/fail"]
    assert daemon.paths == [f"mail/jobs/{verb}" for verb in verbs]


def test_large_results_go_with_several_requests() -> None:
    large = msgspec.Raw(b'"%b"' % (b"x" * (60 << 10)))

    daemon, took = told(takes, *(report(str(n), Success(large)) for n in range(10)))

    assert [len(body) for _, body in daemon.asked] == [4, 4, 2]
    assert all(took.values())


def test_no_more_go_with_one_request_than_the_daemon_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "TOLD_MAX", 3)

    daemon, took = told(takes, *(report(str(n)) for n in range(5)))

    assert [len(body) for _, body in daemon.asked] == [3, 2]
    assert all(took.values())


def test_one_that_the_daemon_does_not_take_is_lost_alone() -> None:
    def says(path: str, body: Any) -> Answer:
        codes = {"b": "stale_lease"}
        results = [
            {
                "uid": each["uid"],
                "status": 409 if each["uid"] in codes else 200,
                "code": codes.get(each["uid"]),
            }
            for each in body
        ]
        return answer(200, {"results": results})

    _, took = told(says, report("a"), report("b"), report("c"))

    assert took == {"a": True, "b": False, "c": True}


def test_where_many_are_refused_each_is_told_by_itself() -> None:
    def says(path: str, body: Any) -> Answer:
        if path.endswith("/jobs/complete"):
            return refusal(413, "body_too_large")
        return takes(path, body)

    daemon, took = told(says, report("a"), report("b"))

    assert daemon.paths[1:] == ["mail/jobs/a/complete", "mail/jobs/b/complete"]
    assert took == {"a": True, "b": True}


def test_an_end_that_is_refused_has_somebody_look_at_the_job() -> None:
    def says(path: str, body: Any) -> Answer:
        if path.endswith("/complete"):
            return refusal(422, "invalid_job")
        return takes(path, body)

    daemon, took = told(says, report("a"))

    _, (path, body) = daemon.asked
    assert (path, body["kind"]) == ("mail/jobs/a/fail", "critical")
    assert took == {"a": False}


@pytest.mark.parametrize("code", ["stale_lease", "job_not_found", "wrong_state"])
def test_what_somebody_else_has_decided_meanwhile_is_left_alone(code: str) -> None:
    daemon, took = told(lambda path, body: refusal(409, code), report("a", Failed("")))

    assert daemon.paths == ["mail/jobs/a/fail"]
    assert took == {"a": False}


def test_the_last_progress_is_told_before_a_run_is_to_come_again() -> None:
    some = [report("a", Failed("no")), report("b")]
    for each in some:
        each.held.progress({"page": 3})

    daemon, took = told(takes, *some)

    # Whoever reads the result of the second has no use for its progress.
    verbs = ["a/heartbeat", "a/fail", "b/complete"]
    assert daemon.paths == [f"mail/jobs/{verb}" for verb in verbs]
    assert daemon.asked[0][1]["progress"] == {"page": 3}
    assert took == {"a": True, "b": True}


def test_progress_that_is_refused_does_not_cost_the_end() -> None:
    def says(path: str, body: Any) -> Answer:
        if path.endswith("/heartbeat"):
            return refusal(422, "invalid_job")
        return takes(path, body)

    failed = report("a", Failed("no"))
    failed.held.progress(1)

    daemon, took = told(says, failed)

    assert daemon.paths[-1] == "mail/jobs/a/fail"
    assert took == {"a": True}


def test_of_a_job_that_is_lost_nothing_is_told() -> None:
    gone = report("a")
    gone.held.hold.lost("stale_lease")

    daemon, took = told(takes, gone, report("b"))

    assert daemon.paths == ["mail/jobs/b/complete"]
    assert took == {"a": False, "b": True}


def test_what_does_not_come_through_at_the_end_is_tried_once() -> None:
    def says(path: str, body: Any) -> Answer:
        raise Unreachable("no daemon")

    daemon, took = told(says, report("a"))

    assert len(daemon.asked) == 1
    assert took == {"a": False}


def test_what_does_not_come_through_goes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "reconnect_s", lambda *_, **__: 0.0)
    faults = [Unreachable("no daemon"), Unreachable("still none")]

    def says(path: str, body: Any) -> Answer:
        if faults:
            raise faults.pop()
        return takes(path, body)

    daemon, done = Daemon(says), threading.Event()
    client = Client(name="worker", transport=daemon, retry=None)
    took: list[bool] = []

    def note(_reports: list[Report], took_each: list[bool]) -> None:
        took.extend(took_each)
        done.set()

    line = Outbox(client, note)
    courier = threading.Thread(target=line.run)
    courier.start()
    line.put(report("a", Failed("no")))
    assert done.wait(PATIENCE_S)
    line.close()
    courier.join(PATIENCE_S)

    assert not courier.is_alive()
    assert daemon.paths == ["mail/jobs/a/fail"] * 3
    assert took == [True]
