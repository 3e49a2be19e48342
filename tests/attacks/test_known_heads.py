"""A head that the parser has read before is no way past it."""

import json
import re
from collections.abc import Callable

import pytest
from indoors import Indoors
from strict import Answer, answers
from words import JSON, SHOP, SMUGGLED, UID, update


def asked(house: Indoors, data: bytes) -> list[Answer]:
    line = house.connect()
    line.send(data)
    house.loop.rest()
    line.send(b"")
    house.loop.advance(4)
    return answers(bytes(line.got), [])


# What differs from one answer to the next of the same.
OWN = re.compile(rb'"(?:instance|uid)": ?"[^"]*"')


def gist(found: list[Answer]) -> list[tuple[int, bytes]]:
    return [(one.status, OWN.sub(b"", one.body)) for one in found]


TAILS = (
    *(UID, b"", b"next", b"create", b"a", b"a" * 64, b"a" * 65, b"a/b", b"/a", b"a/"),
    *(b"%2e%2e", b"..", b"a%00", b"a\x00", b"a b", b" a", b"a?b", b"?", b"#", b"a#b"),
    *(
        b"a HTTP/1.0\r\nX: /b",
        b"a HTTP/1.1\r\nX: /b",
        b"a\tb",
        b"\xc3\xa9",
        b"a;b",
        b"*",
    ),
)
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "less of a body": lambda data: data[:-1],
    "more of a body": lambda data: data + b" ",
    "a request behind it": lambda data: data + SMUGGLED,
    "garbage behind it": lambda data: data + b"\x00",
    "a line before it": lambda data: b"\r\n" + data,
    "a space before it": lambda data: b" " + data,
    "another length": lambda data: data.replace(b"th: 2", b"th: 3"),
    "another name": lambda data: data.replace(b"shop", b"mailer"),
    "a second name": lambda data: data.replace(b"X-Queue", b"X-Name: a\r\nX-Queue"),
    "another method": lambda data: data.replace(b"POST", b"DELETE"),
    "no such method": lambda data: data.replace(b"POST", b"POSTS"),
    "another version": lambda data: data.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no such version": lambda data: data.replace(b"HTTP/1.1", b"HTTP/1.2"),
    "a bare LF": lambda data: data.replace(b"\r\nX-Queue", b"\nX-Queue"),
    "a fold": lambda data: data.replace(b"X-Queue:", b"X-Queue:\r\n"),
}


@pytest.fixture
def house() -> Indoors:
    """A house that has updated a job so often that it knows how that is asked."""
    house = Indoors()
    (made,) = asked(house, SMUGGLED)
    uid = json.loads(made.body)["uid"].encode()
    for _ in range(3):
        (done,) = asked(house, update(uid))
        assert done.status == 200
    return house


def check_the_parser_says_the_same(house: Indoors, data: bytes) -> None:
    known = gist(asked(house, data))
    house.turns.heads.forget()
    assert known == gist(asked(house, data))


@pytest.mark.parametrize("tail", TAILS)
def test_another_path_is_read_as_if_it_were_the_first(
    house: Indoors, tail: bytes
) -> None:
    check_the_parser_says_the_same(house, update(tail))


@pytest.mark.parametrize("change", CHANGES)
def test_a_head_that_differs_is_read_as_if_it_were_the_first(
    house: Indoors, change: str
) -> None:
    check_the_parser_says_the_same(house, CHANGES[change](update(UID)))


# --- of a path that goes on behind its variable ---------------------------------------

BOTH = b"/api/v2/queues/both/jobs"


def native(path: bytes, body: bytes = b"{}") -> bytes:
    head = b"POST %b%b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b"
    return head % (BOTH, path, SHOP, JSON, len(body), body)


def beat(uid: bytes) -> bytes:
    """A request that starts the lease of a job over."""
    return native(b"/%b/heartbeat" % uid)


@pytest.fixture
def busy() -> Indoors:
    """A house that knows how it is asked to start a lease over."""
    house = Indoors()
    asked(house, native(b"", b'{"content":1}'))
    (taken,) = asked(house, native(b"/claim", b""))
    uid = json.loads(taken.body)["jobs"][0]["uid"].encode()
    for _ in range(3):
        (done,) = asked(house, beat(uid))
        assert done.status == 200
    assert house.turns.heads.recall(beat(UID), "127.0.0.1") is not None
    return house


@pytest.mark.parametrize("part", [*TAILS, b"bulk", b"x/y/z", b"x/heartbeat"])
def test_another_part_of_a_path_is_read_as_if_it_were_the_first(
    busy: Indoors, part: bytes
) -> None:
    check_the_parser_says_the_same(busy, beat(part))


@pytest.mark.parametrize("verb", [b"complete", b"fail", b"heartbeat/", b"", b"retry"])
def test_another_verb_is_read_as_if_it_were_the_first(
    busy: Indoors, verb: bytes
) -> None:
    check_the_parser_says_the_same(busy, native(b"/%b/%b" % (UID, verb)))
    check_the_parser_says_the_same(busy, native(b"/" + verb))


@pytest.mark.parametrize("change", CHANGES)
def test_a_head_of_such_a_path_that_differs_is_read_as_if_it_were_the_first(
    busy: Indoors, change: str
) -> None:
    check_the_parser_says_the_same(busy, CHANGES[change](beat(UID)))
