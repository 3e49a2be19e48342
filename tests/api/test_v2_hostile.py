"""Whatever is sent to the native API, nothing breaks, and a refusal says what it is."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hostile import DEEP, FIELDS, KINDS, UIDS, VALUES
from native import Native, OnFlask, code, told
from serving import LIMITS, Heard, Settings

from jobengine.api.endpoint import Endpoint
from jobengine.api.v2 import V2

ROWS = {row.name: row for row in V2.endpoints}
WITH_BODY = {name: row for name, row in ROWS.items() if row.form is not None}
NEEDLE = "needle-4711"


@pytest.fixture
def api() -> Native:
    # Nobody waits here: nothing may hold the test up.
    found = OnFlask(Settings(limits=replace(LIMITS, wait_seconds=0)))
    found.taken()
    return found


def target(row: Endpoint, **variables: str) -> str:
    """A path of the row, of a queue that there is."""
    named = {"queue": "q", "uid": "x", "schedule": "x"} | variables
    return row.path.removeprefix("/api/v2").format(**named)


def check(heard: Heard) -> None:
    """It is fine, or refused as it should be."""
    assert heard.status < 500, heard
    if heard.status >= 400:
        assert heard.headers["content-type"] == "application/problem+json"
        said = told(heard)
        assert said["status"] == heard.status
        assert re.fullmatch("[a-z0-9_]+", said["code"])
        assert said["type"] == "/problems/" + said["code"].replace("_", "-")
        assert said["instance"] == heard.headers["x-request-id"]
        assert len(heard.body) < 20_000
    elif heard.body:
        json.loads(heard.body)


@pytest.mark.parametrize("name", WITH_BODY)
def test_whatever_the_body_is_nothing_breaks(api: Native, name: str) -> None:
    row = WITH_BODY[name]
    members = list(row.form.schema.fields)  # type: ignore[union-attr]

    for at, value in enumerate(VALUES):
        # Each member meets some of the values: test_v2_lane.py has them meet all.
        member = b'{"%b":%b}' % (members[at % len(members)].encode(), value)
        for body in (value, member, b"[%b]" % member):
            check(api.ask(row.method, target(row), body, If_Match="*"))


@pytest.mark.parametrize("name", WITH_BODY)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((DEEP[-1], 400), (b"\xff", 400), (b"{", 400), (b'{"a":NaN}', 400)),
        *((b"{}{}", 400), (b'"\\ud800"', 400), (b"\xef\xbb\xbf{}", 400)),
        *((b'{"a":1,"a":2}', 400), (b"[" + b"[" * 70, 400), (b"7", 400)),
        (b"{" + b" " * (2 << 20) + b"}", 413),
    ],
)
def test_what_is_no_json_of_ours_is_refused_everywhere(
    api: Native, name: str, body: bytes, status: int
) -> None:
    row = WITH_BODY[name]

    heard = api.ask(row.method, target(row), body, If_Match="*")

    check(heard)
    assert heard.status == status


@pytest.mark.parametrize("name", ROWS)
def test_whatever_the_path_names_nothing_breaks(api: Native, name: str) -> None:
    row = ROWS[name]
    for odd in [*UIDS, "%00", "%0a", "..%2f..", "*", "%25", "%2525", "x" * 2000]:
        for where in ("queue", "uid", "schedule"):
            if "{" + where + "}" in row.path:
                check(api.ask(row.method, target(row, **{where: odd}), {}))


@pytest.mark.parametrize("name", ROWS)
def test_whatever_the_head_says_nothing_breaks(api: Native, name: str) -> None:
    row = ROWS[name]
    kinds = [f"Content-Type: {kind}" for kind in KINDS]
    more = [
        *("If-Match: x", 'If-None-Match: "', "Prefer: wait=1e9", "Prefer: ,;=,"),
        *("Idempotency-Key: \xff", "traceparent: \xff", "Prefer: return=minimal"),
    ]
    for field in [*FIELDS, *kinds, *more]:
        header, _, text = field.partition(":")
        if "_" not in header:
            said = {header.replace("-", "_"): text.strip()}
            check(api.ask(row.method, target(row), {}, **said))


@pytest.mark.parametrize("name", ROWS)
def test_whatever_is_queried_nothing_breaks(api: Native, name: str) -> None:
    row = ROWS[name]
    for query in ("?", "?&", "?=", "?%", "?x", "?wait=0&wait=0", "?%ff=%ff", "?a=\xe9"):
        check(api.ask(row.method, target(row) + query, {}))


def test_what_a_refusal_names_of_a_body_has_an_end(api: Native) -> None:
    body = {"x" * 5000 + str(n): 1 for n in range(150)}

    refused = api.ask("POST", "/queues/q/jobs", body)

    check(refused)
    assert len(told(refused)["errors"]) == 17


def test_a_refusal_tells_nothing_of_what_is_in_a_job(api: Native) -> None:
    for body in (
        {"content": NEEDLE, "priority": 0},
        {"content": NEEDLE, "unique_key": 5},
        {"content": NEEDLE, "x": NEEDLE},
        {"progress": NEEDLE},
    ):
        refused = api.ask("POST", "/queues/q/jobs", body)

        assert refused.status == 422
        assert NEEDLE not in refused.body.decode()


@pytest.mark.parametrize("uid", ["\ud800", "\U0001f600", "\u0000", "x" * 100_000])
def test_reports_on_jobs_of_odd_names_are_answered(api: Native, uid: str) -> None:
    body: Any = [{"uid": uid}]

    heard = api.ask("POST", "/queues/q/jobs/heartbeat", body)

    assert heard.status in {200, 400}
    if heard.status == 200:
        (result,) = told(heard)["results"]
        assert (result["uid"], result["code"]) == (uid, "job_not_found")
    else:
        assert code(heard) == "not_json"
