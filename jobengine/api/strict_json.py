"""The door for JSON: bytes of a body to the bytes of its members. Knows no field.

Stricter than most parsers, because what one reader forgives another misreads: UTF-8
only, one value and nothing after it, no key twice in the envelope, no NaN or Infinity,
no lone surrogates, no endless nesting. What passes is never rewritten.
"""

import re

import msgspec

from jobengine.errors import Refused

# Deeper than any honest payload, and far from where recursive readers of it give up.
DEPTH_MAX = 64

# Strings are matched only to be stepped over. Possessive, so that no body, however
# crooked, is looked at twice; the closing quote may be missing for the same reason.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{},]', re.DOTALL)
_SPACE = b" \t\r\n"
_DEEPER, _BACK = frozenset({b"[", b"{"}), frozenset({b"]", b"}"})

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


class NotJson(Refused):
    """The body is not JSON that this door lets through."""

    code = "not_json"


def members(body: bytes) -> dict[str, bytes]:
    """The members of the one JSON object in *body*, each value byte for byte as sent.

    Every value is valid JSON, checked to its last character.

    Raises:
        NotJson: the body is anything else, or goes deeper than DEPTH_MAX.
    """
    _check_utf8(body)
    deepest, commas = _measure(body)
    _check_depth(deepest, DEPTH_MAX)
    try:
        found = _decode(body)
    except msgspec.DecodeError as error:
        raise _not_one("object", body, error) from None
    if found and len(found) != commas + 1:
        raise NotJson("the body has a key twice")
    return {key: bytes(value) for key, value in found.items()}


def elements(body: bytes) -> list[bytes]:
    """The elements of the one JSON array in *body*, each byte for byte as sent.

    Raises:
        NotJson: the body is anything else, or goes deeper than DEPTH_MAX and one more.
    """
    _check_utf8(body)
    _check_depth(depth(body), DEPTH_MAX + 1)
    try:
        return [bytes(each) for each in _decode_array(body)]
    except msgspec.DecodeError as error:
        raise _not_one("array", body, error) from None


def whole(body: bytes) -> bytes:
    """The one JSON value that *body* is, as sent, without space around it.

    Raises:
        NotJson: the body is anything else, or goes deeper than DEPTH_MAX.
    """
    _check_utf8(body)
    # As many brackets as levels: most have fewer, and counting takes no time.
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        _check_depth(depth(body), DEPTH_MAX)
    try:
        return bytes(_decode_raw(body)).strip(_SPACE)
    except msgspec.DecodeError as error:
        raise _not_one("value", body, error) from None


def _not_one(what: str, body: bytes, error: msgspec.DecodeError) -> NotJson:
    why = error if body.strip(_SPACE) else "it is empty"
    return NotJson(f"the body must be one JSON {what}: {why}")


def value(text: bytes) -> object:
    """What one value that `members` gave means.

    Raises:
        NotJson: it is a number that no field could hold.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise NotJson(f"a value cannot be read: {error}") from None


def _check_utf8(body: bytes) -> None:
    # msgspec.Raw hands bytes through without looking at their encoding.
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise NotJson(f"the body is not UTF-8 (byte {error.start})") from None


def depth(text: bytes) -> int:
    """How deep it is nested. Asked before it is parsed: the parser recurses."""
    return _measure(text)[0]


def _check_depth(found: int, most: int) -> None:
    if found > most:
        raise NotJson(f"the body is nested deeper than {most}")


def _measure(text: bytes) -> tuple[int, int]:
    """How deep it is nested, and the commas between the parts of the whole."""
    deepest = level = commas = 0
    for token in _TOKENS.findall(text):
        if token in _DEEPER:
            level += 1
            deepest = max(deepest, level)
        elif token in _BACK:
            level -= 1
        elif level == 1 and token == b",":
            commas += 1
    return deepest, commas
