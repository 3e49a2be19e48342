"""The door for JSON lets through what json reads, byte for byte, and no more."""

import json
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobengine.api.strict_json import DEPTH_MAX, NotJson, members, value

# Text that UTF-8 can carry: no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | texts
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)
objects = st.dictionaries(texts, values)

# Characters that make crooked JSON, more often than chance would.
crooked = st.lists(
    st.sampled_from(
        [*'{}[]",:\\ \n0123456789.eE+-truefalsn', "{", '"a"', ":", "\\ud800", "\\u0041"]
    )
).map(lambda parts: "".join(parts).encode())


@settings(deadline=None)
@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_what_json_writes_comes_through_unchanged(
    envelope: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(envelope, ensure_ascii=ascii_only, indent=indent).encode()

    found = members(body)

    assert {key: json.loads(text) for key, text in found.items()} == envelope
    assert all(text in body for text in found.values())


@settings(deadline=None)
@given(crooked)
def test_what_comes_through_is_json_to_json_too(body: bytes) -> None:
    try:
        found = members(body)
    except NotJson:
        return

    assert {key: json.loads(text) for key, text in found.items()} == json.loads(body)


@settings(deadline=None)
@given(objects, st.binary(min_size=1, max_size=3), st.data())
def test_a_broken_body_is_refused_or_is_still_json(
    envelope: dict[str, object], junk: bytes, data: st.DataObject
) -> None:
    body = json.dumps(envelope).encode()
    at = data.draw(st.integers(0, len(body)))

    try:
        found = members(body[:at] + junk + body[at:])
    except NotJson:
        return

    broken = json.loads(body[:at] + junk + body[at:])
    assert {key: json.loads(text) for key, text in found.items()} == broken


@settings(deadline=None)
@given(st.integers(-(10**18), 10**18) | texts | st.booleans())
def test_a_value_means_what_it_means_to_json(meant: object) -> None:
    assert value(json.dumps(meant).encode()) == meant


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"a"',
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":+1}',
        b"{'a':1}",
        b'{"a":"\n"}',
        b'{"a":"\\x41"}',
        b'{"a":{"b":"\\ud800"}}',
        b'{"a":{"b":"\\udc00 and more"}}',
        b'{"a":{"\\ud800\\ud800":1}}',
        b'{"\\udc00":1}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\xaf"}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":1,"a":1}',
        b'{"a":1,"b":[1,2],"\\u0061":2}',
        b'{"a":1,"A":2,"a":[{"a":1,"a":2}]}',
    ],
)
def test_what_one_reader_forgives_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        members(body)


def test_a_key_may_come_twice_inside_a_payload() -> None:
    inner = b'{"k":1,"k":[{},{"k":2,"k":3}]}'

    assert members(b'{"a":' + inner + b"}") == {"a": inner}


def test_a_body_is_as_deep_as_the_limit_and_no_deeper() -> None:
    deepest = b'{"a":' + b"[" * (DEPTH_MAX - 1) + b"]" * (DEPTH_MAX - 1) + b"}"

    assert members(deepest)
    with pytest.raises(NotJson, match="deeper"):
        members(deepest.replace(b"[]", b"[[]]"))


def test_brackets_in_text_are_not_depth() -> None:
    text = b'"' + b"[{" * 1000 + b'\\""'

    assert members(b'{"a":' + text + b"}") == {"a": text}


def test_a_number_that_no_field_holds_is_refused_when_it_is_read() -> None:
    huge = members(b'{"a":' + b"9" * 100_000 + b"}")["a"]

    with pytest.raises(NotJson):
        value(huge)


@pytest.mark.parametrize("part", [b'\\"', b'"', b"{", b"\\", b'"a",', b'{"a":'])
def test_no_crooked_body_takes_more_than_one_look(part: bytes) -> None:
    # Quadratic work on a mebibyte would take minutes.
    began = perf_counter()

    with pytest.raises(NotJson):
        members(part * ((1 << 20) // len(part)))

    assert perf_counter() - began < 10
