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
_DEEPER, _BACK = frozenset({b"[", b"{"}), frozenset({b"]", b"}"})

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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
    commas = _measure(body)
    try:
        found = _decode(body)
    except msgspec.DecodeError as error:
        raise NotJson(f"the body must be one JSON object: {error}") from None
    if found and len(found) != commas + 1:
        raise NotJson("the body has a key twice")
    return {key: bytes(value) for key, value in found.items()}


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


def _measure(body: bytes) -> int:
    """How many commas part the members of the outermost value.

    Raises:
        NotJson: the body goes deeper than DEPTH_MAX. Asked before it is parsed: the
            parser recurses.
    """
    depth = commas = 0
    for token in _TOKENS.findall(body):
        if token in _DEEPER:
            depth += 1
            if depth > DEPTH_MAX:
                raise NotJson(f"the body is nested deeper than {DEPTH_MAX}")
        elif token in _BACK:
            depth -= 1
        elif depth == 1 and token == b",":
            commas += 1
    return commas
