"""What values v1 takes and how it shows them: JE1-V1 to V8, JE1-B6, times, bytes."""

import json
from typing import Any

import pytest

UPDATES_REFUSED = {
    "JE1-V3 priority 0": '{"priority":0}',
    "JE1-V3 priority 101": '{"priority":101}',
    "JE1-V4 timeout 0": '{"timeout_time":0}',
    "JE1-V4 timeout -5": '{"timeout_time":-5}',
    "timeout after 9999": '{"timeout_time":253402300800}',
    "JE1-V5 content null": '{"content":null}',
    "JE1-V5 content array": '{"content":[]}',
    "JE1-V5 content string": '{"content":"{}"}',
    "JE1-V6 status number": '{"status":1}',
    "JE1-V6 status null": '{"status":null}',
    "status unknown": '{"status":"cancelled"}',
    "status in capitals": '{"status":"QUEUED"}',
    "JE1-B6 priority text": '{"priority":"9"}',
    "JE1-B6 timeout text": '{"timeout_time":"x"}',
    "priority true": '{"priority":true}',
    "priority null": '{"priority":null}',
    "priority 9.0": '{"priority":9.0}',
    "priority 1e1": '{"priority":1e1}',
    "priority huge": '{"priority":' + "9" * 10_000 + "}",
    "priority object": '{"priority":{}}',
    "timeout 60.0": '{"timeout_time":60.0}',
}

FIELDS = {"content": "{}", "priority": "50", "valid_for": "600"}
CREATES_REFUSED = [
    ("content", None),
    ("content", "null"),
    ("content", "[]"),
    ("content", '"{}"'),
    ("content", "1"),
    ("priority", None),
    ("priority", "null"),
    ("priority", '"50"'),
    ("priority", "true"),
    ("priority", "0"),
    ("priority", "-1"),
    ("priority", "101"),
    ("priority", "300"),
    ("priority", "55.9"),
    ("priority", "50.0"),
    ("priority", "1e99999"),
    ("valid_for", None),
    ("valid_for", "null"),
    ("valid_for", "0"),
    ("valid_for", "-1"),
    ("valid_for", "0.5"),  # JE1-V8
    ("valid_for", "60.0"),
    ("valid_for", '"60"'),
    ("valid_for", "false"),
    ("valid_for", "[]"),
    ("valid_for", "253402300799"),  # from now on: after the year 9999
    ("valid_for", "9" * 400),
    ("valid_for", "9" * 400_000),
]


def envelope(**fields: str | None) -> str:
    """A body from JSON texts; None leaves a member out."""
    members = {**FIELDS, **fields}.items()
    return "{" + ",".join(f'"{k}":{v}' for k, v in members if v is not None) + "}"


@pytest.mark.parametrize("priority", [1, 50, 100])
def test_je1_v1_a_priority_in_range_is_kept(api: Any, priority: int) -> None:
    assert api.create(envelope(priority=str(priority))).json["priority"] == priority


@pytest.mark.parametrize(("field", "text"), CREATES_REFUSED)
def test_create_refuses_what_means_nothing(api: Any, field: str, text: str) -> None:
    answer = api.create(envelope(**{field: text}))

    assert answer.status_code == 400, answer.text
    assert api.list().status_code == 204


def test_je1_v2_a_refusal_names_every_field_at_fault(api: Any) -> None:
    shape = api.create('{"content":1,"priority":"x"}').json
    meaning = api.create(envelope(priority="300", valid_for="0")).json

    assert {e["pointer"] for e in shape["errors"]} == {
        "/content",
        "/priority",
        "/valid_for",
    }
    assert {e["pointer"] for e in meaning["errors"]} == {"/priority", "/valid_for"}


@pytest.mark.parametrize("label", UPDATES_REFUSED)
def test_update_refuses_what_means_nothing_and_changes_nothing(
    api: Any, label: str
) -> None:
    uid = api.made('{"a":1}')
    before = api.job(uid)
    api.clock.advance(seconds=5)

    answer = api.update(uid, UPDATES_REFUSED[label])

    assert answer.status_code == 400, answer.text
    assert api.job(uid) == before


def test_a_change_with_one_bad_field_changes_none(api: Any) -> None:
    uid = api.made()

    assert api.update(uid, '{"priority":7,"timeout_time":0}').status_code == 400
    assert api.job(uid)["priority"] == 50


def test_je1_v7_an_empty_update_changes_nothing(api: Any) -> None:
    uid = api.made()
    before = api.job(uid)
    api.clock.advance(seconds=5)

    assert api.update(uid, '{"unknown":1}').status_code == 200
    assert api.job(uid) == before


def test_an_update_sets_all_that_it_names(api: Any) -> None:
    uid = api.made()
    api.clock.advance(seconds=5)

    body = (
        '{"content":{"z":[1]},"priority":99,"timeout_time":99999999999,'
        '"status":"failed"}'
    )
    answer = api.update(uid, body)

    assert (answer.status_code, answer.data) == (200, b"")
    job = api.job(uid)
    assert job["last_updated"] == job["created"] + 5
    assert job["content"] == {"z": [1]}
    assert (job["priority"], job["state"]) == (99, "failed")
    assert job["timeout_time"] == 99999999999


@pytest.mark.parametrize("first", ["queued", "inprogress", "complete", "failed"])
@pytest.mark.parametrize("then", ["queued", "inprogress", "complete", "failed"])
def test_je1_s1_a_writer_may_set_any_state(api: Any, first: str, then: str) -> None:
    uid = api.made()

    assert api.update(uid, f'{{"status":"{first}"}}').status_code == 200
    assert api.update(uid, f'{{"status":"{then}"}}').status_code == 200

    assert api.job(uid)["state"] == then


PAYLOADS = [
    '{"big":9007199254740993}',
    '{"e":1e30,"f":1.50,"g":-0.0,"h":1E+2}',
    '{"z":1,"a":2,"m":{"y":1,"b":2}}',
    '{"k":1,"k":2}',
    '{ "spaced" : [ 1 , 2 ] ,\n\t"x":{ } }',
    '{"u":"é☃😀","e":"\\u00e9\\ud83d\\ude00"}',
    '{"h":"<b>&","j":"\\u003cb\\u003e\\u0026","s":"\\/"}',
    '{"d":"\x7f","n":"\\u0000"}',
    '{"long":' + "7" * 10_000 + "}",
    "{}",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_d18_a_payload_comes_back_byte_for_byte(api: Any, payload: str) -> None:
    marked = f'{{"content":{payload},'.encode()

    created = api.create(envelope(content=payload))
    listed = api.list()
    taken = api.next()

    assert created.data.startswith(marked)
    assert listed.data.startswith(b'{"0":' + marked)
    assert taken.data.startswith(marked)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_d18_an_updated_payload_does_too(api: Any, payload: str) -> None:
    uid = api.made('{"old":true}')

    api.update(uid, f'{{ "content" : {payload} }}'.encode())

    assert api.next().data.startswith(f'{{"content":{payload},'.encode())


def test_a_job_is_shown_with_its_keys_in_order(api: Any) -> None:
    answer = api.create()

    job = json.loads(answer.data)
    assert answer.content_type == "application/json; charset=utf-8"
    assert answer.content_length == len(answer.data)
    assert list(job) == [
        "content",
        "created",
        "last_updated",
        "priority",
        "state",
        "timeout_time",
        "uid",
    ]


def test_times_are_whole_seconds(api: Any) -> None:
    api.clock.advance(ms=999)
    second = api.clock.now() // 1000

    job = api.create(envelope(valid_for="600")).json

    assert job["created"] == job["last_updated"] == second
    assert job["timeout_time"] == second + 600


def test_je1_t2_a_job_is_valid_through_the_second_that_timeout_time_names(
    api: Any,
) -> None:
    uid = api.made()
    end = api.clock.now() // 1000 + 2
    api.update(uid, f'{{"timeout_time":{end}}}')
    assert api.job(uid)["timeout_time"] == end

    api.clock.advance(ms=2998)
    assert list(api.list().json) == ["0"]

    api.clock.advance(ms=2)
    assert api.next().status_code == 204


def test_a_job_of_v1_that_loses_its_lease_has_failed(api: Any) -> None:
    uid = api.made()
    api.next()

    api.clock.advance(minutes=11)

    assert api.job(uid)["state"] == "failed"
    assert api.next().status_code == 204


def test_the_highest_priority_goes_first_and_the_oldest_among_equals(api: Any) -> None:
    uids = [api.made(priority=p) for p in (1, 100, 50, 100, 50)]

    taken = [api.next().json["uid"] for _ in uids]

    assert taken == [uids[at] for at in (1, 3, 2, 4, 0)]


def test_a_deleted_job_is_gone(api: Any) -> None:
    uid = api.made()

    answer = api.delete(uid)

    assert (answer.status_code, answer.data) == (204, b"")
    assert api.delete(uid).status_code == 404
    assert api.next().status_code == 204


def test_a_job_is_found_in_its_own_queue_only(api: Any) -> None:
    uid = api.made(queue="q1")

    assert api.update(uid, "{}", queue="q2").status_code == 404
    assert api.delete(uid, caller="both", queue="q2").status_code == 404


@pytest.mark.parametrize(
    ("kind", "other", "status"),
    [
        ("application/json", None, 201),
        ("Application/JSON; charset=UTF-8", None, 201),
        (None, None, 201),
        (None, "application/json", 201),
        ("text/plain", "application/json", 201),
        ("application/json", "text/plain", 201),
        ("application/x-www-form-urlencoded", None, 400),
        (None, "text/plain", 400),
        ("application/jsonp", None, 400),
    ],
)
def test_d24_a_body_is_json_where_a_type_is_named(
    api: Any, kind: str | None, other: str | None, status: int
) -> None:
    headers = {} if other is None else {"X_Content_Type": other}

    assert api.create(kind=kind, **headers).status_code == status


@pytest.mark.parametrize("missing", ["caller", "queue"])
@pytest.mark.parametrize("text", [None, ""])
def test_a_missing_header_is_said_before_all_else(
    api: Any, missing: str, text: str | None
) -> None:
    answers = [
        api.create("not json", **{missing: text}),
        api.next(**{missing: text}),
        api.list(**{missing: text}, X_Status_Filter="nonsense"),
        api.update("nobody", "not json", **{missing: text}),
    ]

    named = {"caller": "X-Name", "queue": "X-Queue"}[missing]
    assert [answer.status_code for answer in answers] == [400] * 4
    assert all(named in answer.json["detail"] for answer in answers)


def test_checks_come_in_the_order_of_the_original(api: Any) -> None:
    # create: body, queue, fields. update: queue, body, uid. list: filter, queue.
    assert api.create("not json", queue="absent").status_code == 400
    assert api.create("{}", queue="absent").status_code == 404
    assert api.update("nobody", "not json", queue="absent").status_code == 404
    assert api.update("nobody", '{"status":"x"}').status_code == 400
    assert api.list(queue="absent", X_Status_Filter="x").status_code == 400
