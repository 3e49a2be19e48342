"""No body, header or path makes the API break: at worst it says no."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BODIES = {
    "nothing": b"",
    "spaces": b" " * 1000,
    "not UTF-8": b'{"content":{"a":"\xff"},"priority":5,"valid_for":60}',
    "UTF-16": '{"content":{}}'.encode("utf-16"),
    "deep in content": b'{"content":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "deep in an ignored field": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "only brackets": b"[" * 500_000,
    "open text": b'{"content":{"a":"' + b'\\"' * 200_000,
    "a key twice": b'{"content":{},"content":{},"priority":5,"valid_for":60}',
    "lone surrogate": b'{"content":{"a":"\\udead"},"priority":5,"valid_for":60}',
    "NaN": b'{"content":{"a":NaN},"priority":5,"valid_for":60}',
    "huge priority": b'{"content":{},"priority":' + b"1" * 900_000 + b"}",
    "huge exponent": b'{"content":{},"priority":1e999999999,"valid_for":60}',
    "array": b"[1]",
    "null": b"null",
    "NUL": b"\0" * 1000,
    "form": b"content=1&priority=5",
}


@pytest.mark.parametrize("label", BODIES)
@pytest.mark.parametrize("verb", ["create", "update"])
def test_a_hostile_body_is_refused(api: Any, verb: str, label: str) -> None:
    uid = api.made('{"mine":1}')
    before = api.job(uid)

    answer = (
        api.create(BODIES[label])
        if verb == "create"
        else api.update(uid, BODIES[label])
    )

    assert answer.status_code == 400, answer.text
    assert answer.json["detail"]
    assert api.job(uid) == before
    assert len(api.list().json) == 1


def test_a_body_up_to_the_limit_is_taken_and_no_larger(new_api: Any) -> None:
    api = new_api(body_bytes=1000)
    body = '{"content":{"a":"%s"},"priority":5,"valid_for":60}'
    room = 1000 - len(body % "")

    assert api.create(body % ("x" * room)).status_code == 201
    refused = api.create(body % ("x" * (room + 1)))
    assert refused.status_code == 413
    assert "1000 bytes" in refused.json["detail"]


def test_ten_megabytes_of_digits_are_too_large(api: Any) -> None:
    body = b'{"content":{},"valid_for":' + b"9" * 10_000_000 + b"}"

    assert api.create(body).status_code == 413


def test_a_chunked_body_is_counted_while_it_is_read(new_api: Any) -> None:
    api = new_api(body_bytes=1000)
    chunked = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    good = b'{"content":{},"priority":5,"valid_for":60}'

    assert api.create(good, environ=chunked).status_code == 201
    assert api.create(b" " * 2000 + good, environ=chunked).status_code == 413


@pytest.mark.parametrize(
    "uid", ["x" * 5000, "%00", "%F0%9F%98%80", "..%2e", "%ff", " "]
)
def test_a_strange_uid_is_not_found(api: Any, uid: str) -> None:
    assert api.update(uid, "{}").status_code == 404
    assert api.delete(uid).status_code == 404


@pytest.mark.parametrize("host", ["", "%%%", "[", "a b", "\x7f", "x" * 5000])
def test_a_strange_host_is_refused(api: Any, host: str) -> None:
    assert 400 <= api.create(Host=host).status_code < 500


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=6,
)
bodies = st.dictionaries(
    st.sampled_from(
        ["content", "priority", "valid_for", "timeout_time", "status", "x"]
    ),
    json_values,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies)
def test_je1_b6_no_json_of_wrong_types_breaks_it(api: Any, body: Any) -> None:
    text = json.dumps(body)

    assert api.create(text).status_code in (201, 400)
    assert api.update("nobody", text).status_code in (404, 400)
