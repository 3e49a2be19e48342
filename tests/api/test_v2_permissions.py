"""Who may do what by the native API: every operation, and every right."""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from native import RULES, Native, OnFlask, code, speaking, told
from serving import Settings

from jobengine.api.endpoint import Lane
from jobengine.api.v2 import V2
from jobengine.core.access import Caller

# Each has the one right that it is named for, and what comes with it.
NAMES = ("nobody", "browser", "reader", "writer", "manager", "root")
JOB = {"content": 1}
SCHEDULE = {"cron": "@daily", "content": 1}

# What a right is worth, by the kind of operation: for nobody, who browses, reads,
# writes and manages, and for an administrator.
ANY = (False, True, True, True, True, True)
BROWSE = (False, True, True, False, True, True)
READ = (False, False, True, False, False, True)
WRITE = (False, False, False, True, False, True)
MANAGE = (False, False, False, False, True, True)
# Of a job that the reader has: an administrator may read, and does not hold it.
HOLD = (False, False, True, False, False, False)
ADMIN = (False, False, False, False, False, True)


class Case(NamedTuple):
    """How an operation is asked for, who may, and what they are answered."""

    path: str
    may: tuple[bool, ...]
    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = MappingProxyType({})


def of(which: str, verb: str = "") -> str:
    return f"/queues/q/jobs/{{{which}}}" + (f"/{verb}" if verb else "")


Q, S = "/queues/q", "/queues/q/schedules"
CASES = {
    "enqueue_job": Case(Q + "/jobs", WRITE, 201, JOB),
    "enqueue_jobs": Case(Q + "/jobs/batch", WRITE, 200, [JOB]),
    "claim_jobs": Case(Q + "/jobs/claim", READ),
    "heartbeat_jobs": Case(Q + "/jobs/heartbeat", READ, 200, [{"uid": "x"}]),
    "complete_jobs": Case(Q + "/jobs/complete", READ, 200, [{"uid": "x"}]),
    "heartbeat_job": Case(of("held", "heartbeat"), HOLD),
    "complete_job": Case(of("held", "complete"), HOLD),
    "fail_job": Case(of("held", "fail"), HOLD),
    "release_job": Case(of("held", "release"), HOLD),
    "reschedule_job": Case(of("held", "reschedule"), HOLD),
    "requeue_job": Case(of("held", "requeue"), HOLD, 201, {"jobs": []}),
    "list_jobs": Case(Q + "/jobs", BROWSE),
    "peek_job": Case(Q + "/jobs/peek", READ),
    "get_job": Case(of("waits"), ANY),
    "patch_job": Case(of("waits"), WRITE, 200, {"priority": 1}, {"If_Match": "*"}),
    "delete_job": Case(of("waits"), WRITE, 204),
    "cancel_job": Case(of("waits", "cancel"), WRITE),
    "retry_job": Case(of("dead", "retry"), WRITE),
    "explain_job": Case(of("waits", "explain"), ANY),
    "retry_jobs": Case(Q + "/jobs/bulk/retry", MANAGE),
    "cancel_group": Case(Q + "/jobs/cancel", WRITE, 200, {"fingerprint": "f"}),
    "cancel_jobs": Case(Q + "/jobs/bulk/cancel", MANAGE, 200, {"dry_run": True}),
    "delete_jobs": Case(Q + "/jobs/bulk/delete", MANAGE, 200, {"filter": {}}),
    "list_dead_letters": Case(Q + "/dead-letters", BROWSE),
    "group_dead_letters": Case(Q + "/dead-letters/groups", BROWSE),
    "replay_dead_letters": Case(Q + "/dead-letters/replay", MANAGE),
    "purge_dead_letters": Case(
        Q + "/dead-letters/purge", MANAGE, 200, {"queue": "q", "dry_run": True}
    ),
    "purge_queue": Case(Q + "/purge", MANAGE, 200, {"queue": "q"}),
    "get_queue": Case(Q, ANY),
    "delete_queue": Case("/queues/made", ADMIN, 204),
    "pause_queue": Case(Q + "/pause", MANAGE),
    "resume_queue": Case(Q + "/resume", MANAGE),
    "get_stats": Case(Q + "/stats", BROWSE),
    "list_schedules": Case(S, BROWSE),
    "create_schedule": Case(S, MANAGE, 201, {"name": "new", **SCHEDULE}),
    "get_schedule": Case(S + "/nightly", BROWSE),
    "replace_schedule": Case(S + "/nightly", MANAGE, 200, SCHEDULE),
    "delete_schedule": Case(S + "/nightly", MANAGE, 204),
    "pause_schedule": Case(S + "/nightly/pause", MANAGE),
    "resume_schedule": Case(S + "/nightly/resume", MANAGE),
}
# The same operations, said otherwise: nothing that a body says opens more.
OTHERWISE = {
    "cancel_group": Case(Q + "/jobs/cancel", WRITE, 200, {"unique_key": "k"}),
    "fail_job": Case(of("held", "fail"), HOLD, 200, {"kind": "cancel"}),
    "release_job": Case(
        of("held", "release"), HOLD, 200, {"run_at": "2100-01-31T08:00:00Z"}
    ),
}
# Those that are about no one queue: see their own tests.
OF_ALL = {"list_queues", "create_queue"}
ROWS = {row.route.__name__: row for row in V2.endpoints}
HOT = [name for name, row in ROWS.items() if row.lane is Lane.HOT]


def furnished(api: Native) -> dict[str, str]:
    """The uids of a job of each kind; and there is a schedule, and a queue by hand."""
    root, reader = Caller("root", local=True), Caller("reader")
    uids = {"dead": api.made(), "held": api.made(), "waits": api.made()}
    api.house.engine.claim(reader, "q", 2)
    api.house.engine.fail(reader, "q", uids["dead"], reason="critical")
    made = {"name": "made", "read": ["reader"], "write": ["writer"]}
    assert api.ask("POST", "/queues", made).status == 201
    assert api.ask("POST", S, {"name": "nightly", **SCHEDULE}).status == 201
    assert api.house.engine.peek(root, "q") is not None
    return uids


def refusal(name: str) -> tuple[int, str]:
    """What is answered to who may not."""
    return (404, "queue_not_found") if name == "nobody" else (403, "forbidden")


def check(
    api: Native, operation: str, name: str, cases: Mapping[str, Case] = CASES
) -> None:
    case = cases[operation]
    path = case.path.format(**furnished(api))

    method = ROWS[operation].method
    heard = api.ask(method, path, case.body, name=name, **case.headers)

    if case.may[NAMES.index(name)]:
        assert heard.status == case.status, heard
    elif case.path == "/queues/made" and name in {"browser", "manager"}:
        # Nobody can be listed so in a queue that callers make.
        assert (heard.status, code(heard)) == refusal("nobody")
    else:
        assert (heard.status, code(heard)) == refusal(name)


def test_every_operation_is_in_the_table() -> None:
    assert CASES.keys() | OF_ALL == ROWS.keys()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operation", CASES)
def test_the_matrix(operation: str, name: str) -> None:
    check(OnFlask(Settings()), operation, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operation", OTHERWISE)
def test_the_matrix_of_what_may_be_said_otherwise(operation: str, name: str) -> None:
    check(OnFlask(Settings()), operation, name, OTHERWISE)


@pytest.fixture
def loop() -> Iterator[Native]:
    with speaking("loop") as found:
        yield found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operation", HOT)
def test_the_matrix_on_the_lane(loop: Native, operation: str, name: str) -> None:
    check(loop, operation, name)


@pytest.mark.parametrize("operation", CASES)
def test_a_queue_that_there_is_not_is_the_same_to_an_administrator(
    operation: str,
) -> None:
    api, case = OnFlask(Settings()), CASES[operation]
    path = re.sub("^/queues/[a-z]+", "/queues/nope", case.path)
    path = path.format(held="x", waits="x", dead="x")

    heard = api.ask(ROWS[operation].method, path, case.body, **case.headers)

    assert (heard.status, code(heard)) == (404, "queue_not_found"), path


# --- what is about no one queue -------------------------------------------------------


RIGHTS: dict[str, list[str]] = {
    "nobody": [],
    "browser": ["browse"],
    "reader": ["read", "browse"],
    "writer": ["write"],
    "manager": ["browse", "manage"],
    "root": ["read", "write", "browse", "manage", "admin"],
}


@pytest.mark.parametrize("name", NAMES)
def test_everybody_sees_the_queues_that_it_has_a_right_on(name: str) -> None:
    api = OnFlask(Settings())

    heard = api.ask("GET", "/queues", name=name)

    rights = {each["name"]: each["rights"] for each in told(heard)["queues"]}
    assert rights == {queue: RIGHTS[name] for queue in ("other", "q") if RIGHTS[name]}


@pytest.mark.parametrize(
    ("name", "status"),
    [*((name, 403) for name in NAMES[:-1]), ("root", 201), ("maker", 201)],
)
def test_queues_are_made_by_administrators_and_makers(name: str, status: int) -> None:
    api = OnFlask(Settings())

    assert api.ask("POST", "/queues", {"name": "new"}, name=name).status == status
    assert ("new" in api.house.engine.rules.queues) is (status == 201)


def test_an_administrators_name_from_far_away_is_nobodys() -> None:
    api = OnFlask(Settings(auth_mode="names"))

    for method, path in (("GET", "/queues/q"), ("DELETE", "/queues/q")):
        heard = api.ask(method, path, X_Forwarded_For="10.0.0.1")

        assert (heard.status, code(heard)) == (404, "queue_not_found")


# --- what of a job is shown -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("browser", set()),
        ("manager", set()),
        ("writer", {"progress", "result"}),
        ("reader", {"content", "progress", "result"}),
        ("root", {"content", "progress", "result"}),
    ],
)
def test_the_content_is_for_readers_and_what_came_of_it_for_writers_too(
    name: str, shown: set[str]
) -> None:
    api = OnFlask(Settings())
    uid = api.made({"secret": 1}, progress=1)

    jobs = [api.job(uid, name=name)]
    if name != "writer":
        jobs += api.list(name=name)["jobs"]

    for job in jobs:
        assert {"content", "progress", "result"} & job.keys() == shown


def test_the_content_of_a_schedule_is_for_readers() -> None:
    api = OnFlask(Settings())
    furnished(api)

    shown = {
        name: "content" in told(api.ask("GET", S + "/nightly", name=name))
        for name in ("browser", "manager", "reader", "root")
    }

    assert shown == {"browser": False, "manager": False, "reader": True, "root": True}
    assert all("content" not in each for each in told(api.ask("GET", S))["schedules"])


def test_a_writer_that_waits_for_the_end_sees_the_result() -> None:
    api = OnFlask(Settings())
    job = api.taken()
    api.verb(job["uid"], "complete", {"result": 7})

    assert api.job(job["uid"], name="writer")["result"] == 7


def test_the_table_of_rights_is_of_these_rules() -> None:
    rules = RULES.queues["q"]

    assert "reader" in rules.read - rules.write
    assert "writer" in rules.write - rules.read
