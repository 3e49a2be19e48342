"""Attacks by what follows a request, or claims to."""

from words import (
    CHUNKED,
    EMPTY,
    GARBAGE,
    IN_CHUNKS,
    JOB,
    LENGTH,
    LIST,
    LIVEZ,
    SMUGGLED,
    TEST,
    VERSION,
    get,
    post,
)

_UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
_UPGRADES = {
    "upgrade": _UPGRADE,
    "upgrade with settings": (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n"
    ),
}
_LEAST = b"GET / HTTP/1.1\r\nUpgrade:a\r\nConnection:upgrade\r\n\r\n"
_CONNECT = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n"
_CLOSED = get(b"Connection: close\r\n") + SMUGGLED
_GOOD = {"hot": TEST, "plain": VERSION, "refused": EMPTY, "hot, with a body": SMUGGLED}
# Around what is worked on in one turn, and in one piece.
_COUNTS = (1, 2, 31, 32, 33, 70, 200)


def _upgraded(name: str, fields: bytes) -> dict[str, bytes]:
    return {
        name: get(fields),
        f"{name}, then a request": get(fields) + SMUGGLED,
        f"{name}, then garbage": get(fields) + GARBAGE,
        f"{name} and a body": post(fields, LENGTH, body=JOB),
        f"{name} and a body, then a request": post(fields, LENGTH, body=JOB + SMUGGLED),
        f"{name} and a body, then two": post(
            fields, LENGTH, body=JOB + VERSION + SMUGGLED
        ),
        f"{name} and chunks": post(fields, CHUNKED, body=IN_CHUNKS),
        f"{name} and chunks, then a request": post(
            fields, CHUNKED, body=IN_CHUNKS + SMUGGLED
        ),
        f"{name} and an empty body": post(
            fields, b"Content-Length: 0\r\n", body=SMUGGLED
        ),
        f"{name} and 100-continue": post(
            fields, LENGTH, b"Expect: 100-continue\r\n", body=JOB + SMUGGLED
        ),
        f"{name} and close": get(fields, b"Connection: close\r\n") + SMUGGLED,
        f"{name} in HTTP/1.0": get(fields, version=b"1.0") + SMUGGLED,
        f"{name} in HTTP/1.0, a body": post(
            fields, LENGTH, body=JOB + SMUGGLED
        ).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        f"{name} in HTTP/2.0": get(fields, version=b"2.0") + SMUGGLED,
        f"{name} in HTTP/0.9": get(fields, version=b"0.9") + SMUGGLED,
        f"{name} 300 times": get(fields) * 300,
        f"{name} and 51 fields": get(fields, *(b"A%d: b\r\n" % n for n in range(50)))
        + SMUGGLED,
        f"{name} and a coding": post(
            fields, b"Transfer-Encoding: gzip\r\n", body=SMUGGLED
        ),
        f"{name} and a head of 64 KiB": get(
            fields, *(b"A: %b\r\n" % (b"b" * 8000) for n in range(8))
        )
        + LIVEZ,
    }


def _counted(name: str, good: bytes, count: int) -> dict[str, bytes]:
    return {
        f"{name}, {count}": good * count,
        f"{name}, {count}, then garbage": good * count + GARBAGE,
        f"{name}, {count}, closed, then more": good * count + _CLOSED,
    }


FOLLOWING: dict[str, bytes] = {
    "the smallest upgrade, 334 times": _LEAST * 334,
    "an Upgrade alone": get(b"Upgrade: h2c\r\n") + SMUGGLED,
    "a CONNECT, then a request": _CONNECT + b"\r\n" + SMUGGLED,
    "a CONNECT with a body": _CONNECT + LENGTH + b"\r\n" + JOB + SMUGGLED,
    "a CONNECT in chunks": _CONNECT + CHUNKED + b"\r\n" + IN_CHUNKS + SMUGGLED,
    "a CONNECT with an Upgrade": _CONNECT + _UPGRADE + b"\r\n" + SMUGGLED,
    "all kinds, by turns": (TEST + VERSION + SMUGGLED + LIVEZ) * 20,
    "all kinds, by turns, then garbage": (TEST + VERSION + SMUGGLED) * 20 + GARBAGE,
    "a body that is a request": post(
        b"Content-Length: %d\r\n" % len(SMUGGLED), body=SMUGGLED + VERSION
    ),
    "100-continue without a body": get(b"Expect: 100-continue\r\n") + SMUGGLED,
    "100-continue twice": post(LENGTH, b"Expect: 100-continue\r\n", body=JOB) * 2,
    "a larger body than there may be, then more": post(
        b"Content-Length: 1048577\r\n", body=b" " * 1048577 + SMUGGLED
    ),
    "a body for the slow lane, then more": post(
        b"Content-Length: 70000\r\n",
        body=JOB + b" " * (70_000 - len(JOB)) + SMUGGLED,
    ),
    "a job, then 33 listings": SMUGGLED + LIST * 33,
    "a listing, then more": LIST.replace(b"mailer", b"nobody") + SMUGGLED + GARBAGE,
}
for _name, _fields in _UPGRADES.items():
    FOLLOWING |= _upgraded(_name, _fields)
for _name, _good in _GOOD.items():
    for _count in _COUNTS:
        FOLLOWING |= _counted(_name, _good, _count)
