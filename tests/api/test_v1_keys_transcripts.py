"""The recorded exchanges of era 2, asked again.

`transcripts/era2-http.txt` is what the original answered. The table says what was sent,
in the same order, and what we answer; DIFFERS says where the two part, and why. Bodies
of refusals are always ours (D14).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jobengine.core.queues import Rulebook

TRANSCRIPT = Path(__file__).parent / "transcripts" / "era2-http.txt"

QUEUE, JOB, NEXT = "/api/v1/queue", "/api/v1/job", "/api/v1/job/next"
KEY = "k"
NOBODY = str(UUID(int=0))
MADE = '{"name":"q","access_key":"k"}'
FULL = (
    '{"queue_name":"%s","job":{"priority":%s,"keep_minutes":60,"timeout_minutes":20,'
    '"content":{"foo":"bar"},"uid":"mine","state":"failed","created":1}}'
)


@dataclass(frozen=True)
class Row:
    """One exchange: what was sent, and what we answer."""

    label: str
    sent: tuple[str, ...]  # method, path and query, body, as far as they go
    status: int
    key: str | None = KEY
    kind: str | None = "application/json"


def post(uid: str, status: str) -> tuple[str, ...]:
    body = json.dumps({"queue_name": "q", "uid": uid, "new_status": status})
    return ("POST", JOB, body)


def put(job: str | None = '{"priority":5}', queue: str = "q") -> tuple[str, ...]:
    members = f'"queue_name":"{queue}"' + ("" if job is None else f',"job":{job}')
    return ("PUT", JOB, f"{{{members}}}")


# <low> and <high> are the uids of the two jobs.
ROWS = [
    Row("test", ("GET", "/test"), 200),
    Row("test api path", ("GET", "/api/v1/test"), 200),
    Row("create queue bad ctype", ("PUT", QUEUE, MADE), 400, kind="text/plain"),
    Row("create queue empty", ("PUT", QUEUE, '{"name":"","access_key":""}'), 400),
    Row("create queue", ("PUT", QUEUE, MADE), 201),
    Row("create queue dup", ("PUT", QUEUE, MADE), 409),
    Row("create queue bad json", ("PUT", QUEUE, '{"name":'), 400),
    Row("get queue no key", ("GET", f"{QUEUE}?name=q"), 400, key=None),
    Row("get queue wrong key", ("GET", f"{QUEUE}?name=q"), 401, key="wrong"),
    Row("get queue unknown", ("GET", f"{QUEUE}?name=nope"), 404),
    Row("get queue empty", ("GET", f"{QUEUE}?name=q"), 200),
    Row("add job no job (panic)", put(None), 400),
    Row("add job wrong key", put(), 401, key="wrong"),
    Row("add job unknown queue", put(queue="nope"), 404),
    Row("add job no key", put(), 400, key=None),
    Row("add job minimal (defaults)", put(), 201),
    Row(
        "add job full, client sets uid/state/created",
        ("PUT", JOB, FULL % ("q", 500)),
        400,
    ),
    Row("get queue", ("GET", f"{QUEUE}?name=q"), 200),
    Row("next peek", ("GET", f"{NEXT}?queueName=q"), 200),
    Row("next mark", ("GET", f"{NEXT}?queueName=q&markQueued=TRUE"), 200),
    Row("next unknown queue", ("GET", f"{NEXT}?queueName=nope"), 404),
    Row("next wrong key", ("GET", f"{NEXT}?queueName=q"), 401, key="wrong"),
    Row("get job", ("GET", f"{JOB}?queueName=q&jobUID=<low>"), 200),
    Row("get job unknown", ("GET", f"{JOB}?queueName=q&jobUID={NOBODY}"), 404),
    Row("get job missing params", ("GET", f"{JOB}?queueName=q"), 400),
    Row("update COMPLETE upper", post("<high>", "COMPLETE"), 200),
    Row("update invalid", post("<high>", "done"), 400),
    Row("update unknown uid", post(NOBODY, "complete"), 404),
    Row("delete job", ("DELETE", f"{JOB}?queueName=q&jobUID=<low>"), 204),
    Row("delete job again", ("DELETE", f"{JOB}?queueName=q&jobUID=<low>"), 404),
    Row("next none", ("GET", f"{NEXT}?queueName=q&markQueued=true"), 204),
    Row("delete queue wrong key", ("DELETE", f"{QUEUE}?name=q"), 401, key="wrong"),
    Row("delete queue", ("DELETE", f"{QUEUE}?name=q"), 204),
    Row("delete queue again", ("DELETE", f"{QUEUE}?name=q"), 404),
    Row("405", ("PATCH", QUEUE), 405),
]

# Where our status is another, and why.
DIFFERS = {
    "test api path": "v1 is there as well (D21)",
    "add job no job (panic)": "what is missing is the client's mistake, not ours",
    "add job full, client sets uid/state/created": "a priority is 1 to 100 (D25)",
}

# The job of priority 500 is made again with the most that there is, so that all that
# follows is as it was recorded.
AGAIN = "add job full, client sets uid/state/created"
PRIORITY = {500: 100}


@pytest.fixture(scope="module")
def recorded() -> dict[str, tuple[int, str | None, str]]:
    """Status, Content-Type and body of the original, by label."""
    parts = re.split(r"^--- (.*)\n", TRANSCRIPT.read_text(), flags=re.MULTILINE)[1:]
    answers = {}
    for label, text in zip(parts[::2], parts[1::2], strict=True):
        head, _, body = text.partition("\n\n")
        kind = re.search(r"^Content-Type: (.*)$", head, re.MULTILINE)
        status = int(head.split()[1])
        answers[label] = (status, kind and kind[1], body.strip())
    return answers


@pytest.fixture(scope="module")
def played(new_api: Any) -> dict[str, Any]:
    """What we answer to the whole table, by label."""
    api, answers, uids = new_api(), {}, {"<low>": NOBODY, "<high>": NOBODY}
    api.house.upkeep.reconfigure(Rulebook(admins=frozenset({"admin"})))
    for row in ROWS:
        method, path, *body = (said_with(uids, text) for text in row.sent)
        # Only an administrator makes queues (D16); the others need no name.
        named = "admin" if row.label.startswith("create queue") else None
        shown = {} if row.key is None else {"X_Access_Key": row.key}
        answer = api.ask(method, path, named, None, *body, kind=row.kind, **shown)
        answers[row.label] = answer
        if row.label == "add job minimal (defaults)":
            uids["<low>"] = answer.json["uid"]
        if row.label == AGAIN:
            made = api.ask("PUT", JOB, body=FULL % ("q", 100), X_Access_Key=KEY)
            answers["made again"] = made
            uids["<high>"] = made.json["uid"]
    return answers


def said_with(uids: dict[str, str], text: str) -> str:
    for name, uid in uids.items():
        text = text.replace(name, uid)
    return text


def test_the_table_has_every_recorded_exchange_in_its_order(recorded: Any) -> None:
    assert [row.label for row in ROWS] == list(recorded)
    assert len(ROWS) == 35


def test_no_more_differs_than_is_said(recorded: Any) -> None:
    differing = {row.label for row in ROWS if row.status != recorded[row.label][0]}

    assert differing == set(DIFFERS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
def test_an_exchange_is_as_recorded_or_differs_for_a_reason(
    row: Row, played: Any, recorded: Any
) -> None:
    _, kind, body = recorded[row.label]

    answer = played[row.label]

    assert answer.status_code == row.status, answer.text
    if row.status >= 400:
        assert answer.content_type == "application/problem+json"
    elif not body or row.label in DIFFERS:
        assert answer.data == b""
        assert "Content-Type" not in answer.headers
    else:
        assert answer.content_type == kind == "application/json"
        assert shape(answer.text) == shape(body)


def test_what_a_client_says_of_uid_state_and_times_is_ignored(
    played: Any, recorded: Any
) -> None:
    answer = played["made again"]

    assert answer.status_code == 201
    assert shape(answer.text) == shape(recorded[AGAIN][2])


def shape(text: str) -> Any:
    """An answer without what differs at every run, its keys in their order."""
    said = json.loads(text)
    if "jobs" in said:
        return [("jobs", list(map(shaped, said.pop("jobs")))), *said.items()]
    return shaped(said)


def shaped(job: dict[str, Any]) -> list[tuple[str, Any]]:
    UUID(job["uid"])
    assert job["last_updated"] == job["created"]
    priority = PRIORITY.get(job["priority"], job["priority"])
    masked = dict.fromkeys(("uid", "created", "last_updated"))
    return list((job | masked | {"priority": priority}).items())
