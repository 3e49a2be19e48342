"""The recorded exchanges of era 1, asked again.

`transcripts/era1-http.txt` is what the original answered. The table says what was sent,
in the same order, and what we answer; where the two differ, a decision has a name.
Bodies of refusals are always ours (D14).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

TRANSCRIPT = Path(__file__).parent / "transcripts" / "era1-http.txt"

CREATE = "/api/v1/jobs/create"
JOBS = "/api/v1/jobs"
NEXT = "/api/v1/jobs/next"
HELD = "/api/v1/jobs/<held>"
GOOD = '{"content":{"a":1},"priority":50,"valid_for":600}'
BIG = '{"big":9007199254740993,"e":1e30,"f":1.5,"h":"<b>&"}'


@dataclass(frozen=True)
class Row:
    """One exchange: what was sent, what we answer, why not as the original did."""

    label: str
    sent: tuple[str, ...]  # method, path, caller, queue, body, as far as they go
    status: int
    decision: str | None = None
    headers: tuple[tuple[str, str | None], ...] = ()


def kind(media: str | None, **others: str) -> tuple[tuple[str, str | None], ...]:
    return (("kind", media), *others.items())


def put(body: str, caller: str = "writer", queue: str = "q1") -> tuple[str, ...]:
    return ("PUT", CREATE, caller, queue, body)


def post(body: str, path: str = HELD, caller: str = "writer") -> tuple[str, ...]:
    return ("POST", path, caller, "q1", body)


def with_priority(priority: str, content: str) -> str:
    return f'{{"content":{content},"priority":{priority},"valid_for":600}}'


ROWS = [
    Row("test", ("GET", "/api/v1/test"), 200),
    Row("create no headers", ("PUT", CREATE, "", "", GOOD), 400),
    Row("create no queue hdr", put(GOOD, queue=""), 400),
    Row("create unknown queue", put(GOOD, queue="nope"), 404),
    Row("create unknown app", put(GOOD, caller="stranger"), 404),
    Row("create reader only", put(GOOD, caller="reader"), 403, "D23"),
    Row("create bad json", put('{"content":'), 400),
    Row("create wrong ctype", put(GOOD), 400, headers=kind("text/plain")),
    Row(
        "create X-Content-Type (README)",
        put(with_priority("40", '{"x":1}')),
        201,
        "D24",
        kind(None, X_Content_Type="application/json"),
    ),
    Row(
        "create ctype charset",
        put(GOOD),
        201,
        headers=kind("application/json; charset=utf-8"),
    ),
    Row("create empty body", put(""), 400),
    Row("create missing content", put('{"priority":50,"valid_for":600}'), 400),
    Row("create content string", put(with_priority("50", '"s"')), 400),
    Row("create valid_for 0", put(GOOD.replace("600", "0")), 400),
    Row("create no priority", put('{"content":{},"valid_for":600}'), 400),
    Row("create priority 0", put(with_priority("0", '{"p":0}')), 400, "D25"),
    Row("create priority 300", put(with_priority("300", '{"p":300}')), 400, "D25"),
    Row("create priority -1", put(with_priority("-1", '{"p":-1}')), 400, "D25"),
    Row(
        "create priority 55.9 + big int + html",
        put(with_priority("55.9", BIG)),
        400,
        "D29",
    ),
    Row("trailing garbage", put(with_priority("5", '{"t":1}') + "xyz"), 400, "D29"),
    Row("all as writer", ("GET", JOBS, "writer", "q1"), 403),
    # What was refused above is not in our lists.
    Row("all as reader", ("GET", JOBS, "reader", "q1"), 200, "D25"),
    Row(
        "all bad filter",
        ("GET", JOBS, "reader", "q1"),
        400,
        headers=(("X_Status_Filter", "cancelled"),),
    ),
    Row(
        "all filter complete (none)",
        ("GET", JOBS, "reader", "q1"),
        204,
        headers=(("X_Status_Filter", "complete"),),
    ),
    Row("next as writer", ("GET", NEXT, "writer", "q1"), 403),
    Row("next as stranger", ("GET", NEXT, "stranger", "q1"), 404),
    Row("next no headers", ("GET", NEXT), 400),
    Row("next empty q2", ("GET", NEXT, "reader", "q2"), 204),
    # Here the recording takes a job, and calls it NEXT.
    Row(
        "all filter queued (index gaps?)",
        ("GET", JOBS, "reader", "q1"),
        200,
        "D25",
        (("X_Status_Filter", "queued"),),
    ),
    Row(
        "update as reader", post('{"status":"inprogress"}', caller="reader"), 200, "D1"
    ),
    Row("update unknown uid", post('{"priority":1}', f"{JOBS}/{UUID(int=0)}"), 404),
    Row("update bad status", post('{"status":"done"}'), 400),
    Row("update empty obj", post("{}"), 200),
    Row("update priority string (panic)", post('{"priority":"9"}'), 400, "JE1-H7"),
    Row("update priority 101", post('{"priority":101}'), 400, "D25"),
    Row("update status number", post('{"status":3}'), 400, "JE1-V6"),
    Row("update complete", post('{"status":"complete"}'), 200),
    Row("update back to queued", post('{"status":"queued"}'), 200),
    Row("all", ("GET", JOBS, "reader", "q1"), 200, "D25"),
    Row("404 path", ("GET", "/api/v1/nope"), 404),
    Row("405?", ("POST", "/api/v1/test"), 405, "D29"),
    Row("trailing slash", ("GET", "/api/v1/test/"), 404, "D29"),
]
TAKES_AFTER = "next empty q2"


@pytest.fixture(scope="module")
def recorded() -> dict[str, tuple[int, str]]:
    """Status and body of the original, by label."""
    parts = re.split(r"^--- (.*)\n", TRANSCRIPT.read_text(), flags=re.MULTILINE)[1:]
    answers = {}
    for label, text in zip(parts[::2], parts[1::2], strict=True):
        head, _, body = text.partition("\n\n")
        answers[label] = (int(head.split()[1]), body.partition("\nNEXT")[0].strip())
    return answers


@pytest.fixture(scope="module")
def played(new_api: Any) -> dict[str, Any]:
    """What we answer to the whole table, by label."""
    api, answers, held = new_api(), {}, ""
    for row in ROWS:
        method, path, *rest = row.sent
        path = path.replace("<held>", held)
        answers[row.label] = api.ask(method, path, *rest, **dict(row.headers))
        if row.label == TAKES_AFTER:
            held = api.next("reader", "q1").json["uid"]
    return answers


def test_the_table_has_every_recorded_exchange_in_its_order(recorded: Any) -> None:
    assert [row.label for row in ROWS] == list(recorded)
    assert len(ROWS) == 42


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
def test_an_exchange_is_as_recorded_or_differs_by_a_decision(
    row: Row, played: Any, recorded: Any
) -> None:
    status, body = recorded[row.label]

    answer = played[row.label]

    assert answer.status_code == row.status, answer.text
    if row.decision is None:
        assert answer.status_code == status
        assert_same_body(answer, body)
    else:
        # A list differs by what is in it.
        assert answer.status_code != status or row.label.startswith("all")
        assert re.fullmatch(r"D\d+|JE1-\w+", row.decision)


def assert_same_body(answer: Any, recorded: str) -> None:
    if answer.status_code >= 400:
        assert answer.content_type == "application/problem+json"
    elif not recorded:
        assert answer.data == b""
        assert "Content-Type" not in answer.headers
    else:
        assert answer.content_type == "application/json; charset=utf-8"
        assert shape(answer.text) == shape(recorded)


def shape(text: str) -> list[tuple[str, Any]]:
    """A job without what differs at every run, its keys in their order."""
    job = json.loads(text)
    UUID(job.pop("uid"))
    assert job["last_updated"] == job["created"]
    job["timeout_time"] -= job["created"]
    del job["created"], job["last_updated"]
    return list(job.items())


def test_a_filtered_list_keeps_the_places_of_the_whole_queue(played: Any) -> None:
    filtered = played["all filter queued (index gaps?)"].json

    assert list(filtered) == ["1"]
    assert filtered["1"]["content"] == {"x": 1}


def test_a_job_opened_again_is_back_in_its_place(played: Any) -> None:
    jobs = played["all"].json

    assert [job["priority"] for job in jobs.values()] == [50, 40]
    assert {job["state"] for job in jobs.values()} == {"queued"}
