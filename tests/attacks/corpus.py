"""The attacks, as data: a name, and the bytes that one connection sends.

Most end with a request that must not be seen by anybody who was told that it belongs to
the body, or that the connection is over. It makes a job, so it leaves a trace.
"""

from collections.abc import Iterable

HOST = b"Host: localhost\r\n"
SHOP = HOST + b"X-Name: shop\r\nX-Queue: mail\r\n"
JSON = b"Content-Type: application/json\r\n"
JOB = b'{"content":{"a":1},"priority":5,"valid_for":600}'
CREATE = b"PUT /api/v1/jobs/create HTTP/1.1\r\n"

VERSION = b"GET /version HTTP/1.1\r\n" + HOST + b"\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
TEST = b"GET /api/v1/test HTTP/1.1\r\n" + HOST + b"\r\n"
EMPTY = b"GET /api/v1/jobs/next HTTP/1.1\r\n" + HOST + b"X-Name: mailer\r\n\r\n"
SMUGGLED = CREATE + SHOP + JSON + b"Content-Length: %d\r\n\r\n" % len(JOB) + JOB
LENGTH = b"Content-Length: %d\r\n" % len(JOB)
IN_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(JOB), JOB)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
GARBAGE = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """A create with these lines in its head."""
    return CREATE + SHOP + JSON + b"".join(fields) + b"\r\n" + body


def get(*fields: bytes, target: bytes = b"/version", version: bytes = b"1.1") -> bytes:
    """A request without a body."""
    return b"GET %b HTTP/%b\r\n%b%b\r\n" % (target, version, HOST, b"".join(fields))


def each(name: str, samples: Iterable[bytes]) -> Iterable[tuple[str, bytes]]:
    """*samples* with names of their own."""
    return ((f"{name}: {sample!r:.60}", sample) for sample in samples)


def _lengths() -> dict[str, bytes]:
    found = {
        f"content-length {value!r:.40}": post(
            b"Content-Length:%b\r\n" % value, body=JOB + SMUGGLED
        )
        for value in (
            *(
                b"",
                b" ",
                b" +48",
                b" -48",
                b" -1",
                b" 0x30",
                b" 48.0",
                b" 4 8",
                b" 48,48",
            ),
            *(b" 48, 48", b" 48;q", b" 48 ", b"\t48", b" \x0b48", b" 48\x00", b" 048"),
            *(b" 18446744073709551616", b" 18446744073709551664", b" 9" * 40),
            *(b" 9223372036854775808", b" 99999999999999999999999999", b" 1e1"),
            *(
                b" 1048577",
                b" \xb2",
                b" 48\xa0",
                b" 0",
                b" 47",
                b" 000000000048",
                b"48",
            ),
        )
    }
    pairs = (
        (b"48", b"48"),
        (b"48", b"0"),
        (b"0", b"48"),
        (b"48", b"+48"),
        (b"", b"48"),
    )
    for first, second in pairs:
        found[f"two lengths {first!r} {second!r}"] = post(
            b"Content-Length: %b\r\nContent-Length: %b\r\n" % (first, second),
            body=JOB + SMUGGLED,
        )
    return found | {
        "length then chunked": post(LENGTH, CHUNKED, body=IN_CHUNKS + SMUGGLED),
        "chunked then length": post(CHUNKED, LENGTH, body=IN_CHUNKS + SMUGGLED),
        "chunked and length 0": post(
            CHUNKED, b"Content-Length: 0\r\n", body=IN_CHUNKS + SMUGGLED
        ),
        "length 4, chunked, TE.CL": post(
            b"Content-Length: 4\r\n",
            CHUNKED,
            body=b"5c\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
        ),
        "length 6, chunked, CL.TE": post(
            b"Content-Length: 6\r\n", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED
        ),
        "no length, but a body": post(body=SMUGGLED),
        "a GET with a body": get(b"Content-Length: %d\r\n" % len(SMUGGLED)) + SMUGGLED,
        "a HEAD with a body": b"HEAD /version HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)
        + SMUGGLED,
        "a DELETE with a length": b"DELETE /api/v1/jobs/a HTTP/1.1\r\n"
        + SHOP
        + LENGTH
        + b"\r\n"
        + JOB
        + SMUGGLED,
        "content_length": post(b"Content_Length: 48\r\n", body=SMUGGLED),
        "a body that is short": post(b"Content-Length: 500\r\n", body=JOB),
        "length, folded": post(b"Content-Length:\r\n 48\r\n", body=JOB + SMUGGLED),
        "length with a bare CR": post(
            b"Content-Length: 48\r", b"\n", body=JOB + SMUGGLED
        ),
    }


def _codings() -> dict[str, bytes]:
    values = (
        *(b" identity", b" gzip", b" gzip, chunked", b" chunked, gzip", b" xchunked"),
        *(
            b" chunked, chunked",
            b" chunked,chunked",
            b" chunked ",
            b"\tchunked",
            b"chunked",
        ),
        *(
            b" \x0bchunked",
            b"\x0bchunked",
            b" chunked\x0b",
            b" chunked\x0c",
            b" \x00chunked",
        ),
        *(
            b" chunked\x00",
            b" chunke",
            b" chunkedd",
            b' "chunked"',
            b" chunked;q=1",
            b" ",
        ),
        *(
            b" CHUNKED",
            b" Chunked",
            b" chun ked",
            b" chunked,",
            b" ,chunked",
            b" chunked\xa0",
        ),
        *(
            b"",
            b" identity, chunked",
            b" chunked, identity",
            b" \xefchunked",
            b" x,chunked",
        ),
    )
    found = {
        f"coding {value!r}": post(
            b"Transfer-Encoding:%b\r\n" % value, body=IN_CHUNKS + SMUGGLED
        )
        for value in values
    }
    found |= {
        f"coding {value!r} and a length": post(
            b"Transfer-Encoding:%b\r\n" % value, LENGTH, body=JOB + SMUGGLED
        )
        for value in values
    }
    lines = (
        *(b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding\t: chunked\r\n"),
        *(b" Transfer-Encoding: chunked\r\n", b"X: y\nTransfer-Encoding: chunked\r\n"),
        *(b"X: y\rTransfer-Encoding: chunked\r\n", b"Transfer_Encoding: chunked\r\n"),
        *(b"Transfer-Encoding:\r\n chunked\r\n", b"Transfer-Encoding: chunked\n\r\n"),
        *(b"Transfer-Encoding: a\r\nTransfer-Encoding: chunked\r\n", CHUNKED * 2),
        *(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: a\r\n", b"\r\nX: y\r\n"),
        *(
            b"Transfer\x00-Encoding: chunked\r\n",
            b"X: y\r\n\rTransfer-Encoding: chunked\r\n",
        ),
    )
    found |= {
        f"line {line!r}": post(line, LENGTH, body=JOB + SMUGGLED) for line in lines
    }
    return found | {
        "chunks in HTTP/1.0": post(CHUNKED, body=IN_CHUNKS + SMUGGLED).replace(
            b"HTTP/1.1", b"HTTP/1.0", 1
        ),
        "chunks in HTTP/1.0, kept alive": post(
            CHUNKED, b"Connection: keep-alive\r\n", body=IN_CHUNKS + SMUGGLED
        ).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        "a GET in chunks": get(CHUNKED) + b"0\r\n\r\n" + SMUGGLED,
        "a GET with a coding of its own": get(b"Transfer-Encoding: x\r\n") + SMUGGLED,
    }


def _chunks() -> dict[str, bytes]:
    size, rest = b"%x" % len(JOB), b"\r\n%b\r\n0\r\n\r\n" % JOB
    sizes = (
        *(
            b"+30",
            b"-30",
            b" 30",
            b"30 ",
            b"30\t",
            b"0x30",
            b"0X30",
            b"030",
            b"3 0",
            b"30h",
        ),
        *(
            b"",
            b"g",
            b"30;",
            b"30;a",
            b"30;a=b",
            b'30;a="b',
            b'30;a="b"',
            b"30 ;a=b",
            b"30;\x00",
        ),
        *(
            b"30;a=b;c",
            b"30,",
            b"00000000000000000030",
            b"10000000000000030",
            b"f" * 16,
        ),
        *(
            b"ffffffffffffffff0",
            b"7fffffffffffffff",
            b"30\r",
            b"30;a\n",
            b"30;\ra",
            b"\x0b30",
        ),
        *(
            b"30;" + b"a" * 9000,
            b"30;" + b"a=b;" * 20_000,
            b"110000",
            b"\xb230",
            b"30;a=\xff",
        ),
    )
    found = {
        f"chunk size {value!r:.40}": post(CHUNKED, body=value + rest + SMUGGLED)
        for value in sizes
    }
    ends = (
        *(
            b"\n",
            b"\r",
            b"",
            b"\r\r\n",
            b"\n\n",
            b"  \r\n",
            b"x\r\n",
            b"\r\nx",
            b"\x00\r\n",
        ),
    )
    for end in ends:
        found[f"chunk ended by {end!r}"] = post(
            CHUNKED, body=size + b"\r\n" + JOB + end + b"0\r\n\r\n" + SMUGGLED
        )
        found[f"chunk size ended by {end!r}"] = post(
            CHUNKED, body=size + end + JOB + b"\r\n0\r\n\r\n" + SMUGGLED
        )
        found[f"last chunk ended by {end!r}"] = post(
            CHUNKED, body=size + b"\r\n" + JOB + b"\r\n0\r\n" + end + SMUGGLED
        )
    trailers = (
        *(
            b"X-Name: mailer\r\n",
            b"X-Queue: print\r\n",
            b"Content-Length: 5\r\n",
            CHUNKED,
        ),
        *(b"Host: evil\r\n", b"A: b\r\n" * 60, b"A : b\r\n", b": b\r\n", b" A: b\r\n"),
        *(b"A: b\n", b"A\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n"),
        *(b"A: %b\r\n" % (b"b" * 9000), b"A: b\x00\r\n", b"Upgrade: h2c\r\n"),
        b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n",
    )
    found |= {
        f"trailer {lines!r:.50}": post(
            CHUNKED, body=b"%b\r\n%b\r\n0\r\n%b\r\n" % (size, JOB, lines) + SMUGGLED
        )
        for lines in trailers
    }
    bytewise = b"".join(b"1\r\n%c\r\n" % byte for byte in JOB) + b"0\r\n\r\n"
    return found | {
        "a chunk a byte": post(CHUNKED, body=bytewise + SMUGGLED),
        "chunks that never end": post(CHUNKED, body=size + b"\r\n" + JOB + b"\r\n"),
        "chunks of more than a body": post(
            CHUNKED, body=b"100001\r\n" + b" " * 0x100001
        ),
        "chunking that costs too much": post(
            CHUNKED, body=(b"1;" + b"a" * 200 + b"\r\n \r\n") * 50_000
        ),
    }


def _lines() -> dict[str, bytes]:
    fields = (
        *(
            b"X-Name : mailer\r\n",
            b"X-Name\t: mailer\r\n",
            b": empty\r\n",
            b"\x00: a\r\n",
        ),
        *(
            b"A: b\r\n folded\r\n",
            b"A: b\r\n\tfolded\r\n",
            b"A\r\n",
            b"A b: c\r\n",
            b"A: b\n",
        ),
        *(
            b"A: b\rC: d\r\n",
            b"A: b\x00c\r\n",
            b"A: \x7f\r\n",
            b"A: \x01\r\n",
            b"A: \xff\r\n",
        ),
        *(
            b"A\xff: b\r\n",
            b"(A): b\r\n",
            b'"A": b\r\n',
            b"A:b\r\n",
            b"A:\r\n",
            b"A:  \r\n",
        ),
        *(
            b"A: b\r\n\n",
            b"A: b\n\r\n",
            b"A: b\r\r\n",
            b"X-Name: mailer\r\n",
            b"X_Name: a\r\n",
        ),
        *(
            b"x-name: shop\r\n",
            b"X-Name: shop, shop\r\n",
            b"X-Queue: print\r\n",
            b"X-Name:\r\n",
        ),
        *(
            b"Host: evil\r\n",
            b"Host:\r\n",
            b"Host: a b\r\n",
            b"Host: \xff\r\n",
            b"Host: [::1\r\n",
        ),
        *(b"Content-Type: text/html\r\n", b"Cookie: a\r\nCookie: b\r\n", b"\tA: b\r\n"),
        *(
            b"Expect: 100-continue\r\n",
            b"Expect: nothing\r\n",
            b"Expect: 100-Continue, a\r\n",
        ),
        *(b"Connection: close, keep-alive\r\n", b"Connection: keep-alive, close\r\n"),
        *(
            b"Connection: X-Name\r\n",
            b"Connection: Content-Length\r\n",
            b"Proxy: a\r\n",
        ),
        *(
            b"Proxy-Connection: close\r\n",
            b"X-Forwarded-For: 1.1.1.1\r\n",
            b"Range: bytes=0-\r\n",
        ),
        *(b"Content-Length: 48\r\nConnection: close\r\nConnection: keep-alive\r\n",),
        *(b"X-HTTP-Method-Override: DELETE\r\n", b"Sec-Fetch-Site: cross-site\r\n"),
    )
    found = {
        f"field {line!r:.60}": post(line, LENGTH, body=JOB + SMUGGLED)
        for line in fields
    }
    starts = (
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n" * 50,
            b" ",
            b"\x00",
            b"\xef\xbb\xbf",
            b"\t",
            b"HTTP/1.1 ",
        ),
    )
    found |= {f"before it {start!r:.20}": start + VERSION + LIVEZ for start in starts}
    return found | {
        "all lines end in LF": SMUGGLED.replace(b"\r\n", b"\n") + SMUGGLED,
        "all lines end in CR": SMUGGLED.replace(b"\r\n", b"\r") + SMUGGLED,
        "no Host": b"GET /version HTTP/1.1\r\n\r\n" + VERSION,
        "51 fields": get(*(b"A%d: b\r\n" % n for n in range(50))) + SMUGGLED,
        "50 fields": get(*(b"A%d: b\r\n" % n for n in range(49))) + VERSION,
        "5,000 fields": get(*(b"A: b\r\n" for n in range(5000))) + SMUGGLED,
        "a field of 8,190": get(b"A: %b\r\n" % (b"b" * 8190)) + VERSION,
        "a field of 8,191": get(b"A: %b\r\n" % (b"b" * 8191)) + SMUGGLED,
        "a name of 8,191": get(b"%b: b\r\n" % (b"A" * 8191)) + SMUGGLED,
        "a head of 64 KiB": get(*(b"A: %b\r\n" % (b"b" * 8000) for n in range(8)))
        + VERSION,
        "a head of 96 KiB": get(*(b"A: %b\r\n" % (b"b" * 8000) for n in range(12)))
        + SMUGGLED,
        "a head that never ends": get(
            *(b"A: %b\r\n" % (b"b" * 8000) for n in range(9))
        )[:-2],
        "a field that never ends": get(b"A: %b" % (b"b" * 90_000)),
        "a method that never ends": b"G" * 70_000,
    }


def _first_lines() -> dict[str, bytes]:
    lines = (
        *(
            b"GET /version",
            b"GET /version HTTP/0.9",
            b"GET /version HTTP/1.0",
            b"GET  /version HTTP/1.1",
        ),
        *(b"GET /version HTTP/1.2", b"GET /version HTTP/2.0", b"GET /version HTTP/3.0"),
        *(
            b"GET /version HTTP/1.10",
            b"GET /version HTTP/01.1",
            b"GET /version HTTP/1",
            b"GET",
        ),
        *(
            b"GET /version HTTP/1.1 ",
            b"GET /version  HTTP/1.1",
            b" GET /version HTTP/1.1",
        ),
        *(
            b"GET /version http/1.1",
            b"get /version HTTP/1.1",
            b"GET\t/version HTTP/1.1",
        ),
        *(
            b"GET /version\tHTTP/1.1",
            b"GET /version HTTPS/1.1",
            b"GET /version RTSP/1.0",
        ),
        *(
            b"GET /version ICE/1.0",
            b"SOURCE /version ICE/1.0",
            b"PRI * HTTP/2.0",
            b"PRI * HTTP/1.1",
        ),
        *(
            b"OPTIONS * HTTP/1.1",
            b"GET * HTTP/1.1",
            b"OPTIONS /version HTTP/1.1",
            b"TRACE / HTTP/1.1",
        ),
        *(
            b"CONNECT localhost:1 HTTP/1.1",
            b"CONNECT / HTTP/1.1",
            b"CONNECT /version HTTP/1.1",
        ),
        *(
            b"GET http://localhost/version HTTP/1.1",
            b"GET http://evil/version HTTP/1.1",
        ),
        *(b"GET http:///version HTTP/1.1", b"GET http://a@localhost/version HTTP/1.1"),
        *(
            b"GET https://localhost:1/version?a HTTP/1.1",
            b"GET ://localhost/version HTTP/1.1",
        ),
        *(b"GET http://localhost HTTP/1.1", b"GET http://[::1]:80/version HTTP/1.1"),
        *(
            b"GET http://localhost:99999/version HTTP/1.1",
            b"GET http://[::1/version HTTP/1.1",
        ),
        *(
            b"GET localhost:80 HTTP/1.1",
            b"GET version HTTP/1.1",
            b"GET ?a HTTP/1.1",
            b"GET # HTTP/1.1",
        ),
        *(
            b"GET /version#a HTTP/1.1",
            b"GET /version?a#b HTTP/1.1",
            b"GET //version HTTP/1.1",
        ),
        *(
            b"GET /%2e/version HTTP/1.1",
            b"GET /./version HTTP/1.1",
            b"GET /a/../version HTTP/1.1",
        ),
        *(
            b"GET /%2fversion HTTP/1.1",
            b"GET /version%00 HTTP/1.1",
            b"GET /version\x00 HTTP/1.1",
        ),
        *(b"GET /%c0%ae%c0%ae/version HTTP/1.1", b"GET /%e0%80%afversion HTTP/1.1"),
        *(
            b"GET /%ff HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"GET /%zz HTTP/1.1",
            b"GET /% HTTP/1.1",
        ),
        *(
            b"GET /%76ersion HTTP/1.1",
            b"GET /version;a=b HTTP/1.1",
            b"GET /version/ HTTP/1.1",
        ),
        *(b"GET /version\\ HTTP/1.1", b"GET /<a> HTTP/1.1", b"GET /ver sion HTTP/1.1"),
        *(b"GET /version%0d%0aX-Name:%20a HTTP/1.1", b"GET /version\rX: HTTP/1.1"),
        *(b"GET /api/v1/jobs/%6eext HTTP/1.1", b"POST /api/v1/jobs/%2e%2e HTTP/1.1"),
        *(b"GET /version?%00=%ff&a=%c0%af HTTP/1.1", b"GET /api/v1/jobs?x HTTP/1.1"),
        *(
            b"FOO /version HTTP/1.1",
            b"G\x00T /version HTTP/1.1",
            b"M-SEARCH * HTTP/1.1",
        ),
        *(
            b"DELETE /version HTTP/1.1",
            b"HEAD /version HTTP/1.1",
            b"PURGE /version HTTP/1.1",
        ),
        *(b"GET /%b HTTP/1.1" % (b"a" * 4093), b"GET /%b HTTP/1.1" % (b"a" * 4094)),
        *(b"GET /%b HTTP/1.1" % (b"a" * 70_000), b"GET /\xc3\xa9 HTTP/1.1"),
    )
    found = {
        f"line {line!r:.60}": line + b"\r\n" + HOST + b"\r\n" + LIVEZ for line in lines
    }
    return found | {
        "HTTP/1.0, kept alive": get(b"Connection: keep-alive\r\n", version=b"1.0")
        + LIVEZ,
        "HTTP/1.1, closed": get(b"Connection: close\r\n") + SMUGGLED,
        "HTTP/1.1, closed and garbage": get(b"Connection: close\r\n") + GARBAGE,
        "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        "TLS where none is spoken": GARBAGE * 10,
        "nothing": b"",
        "one byte": b"G",
        "zeros": bytes(5000),
    }


def _following() -> dict[str, bytes]:
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    settings = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n"
    )
    found: dict[str, bytes] = {}
    for name, fields in (("upgrade", upgrade), ("upgrade with settings", settings)):
        found |= {
            name: get(fields),
            f"{name}, then a request": get(fields) + SMUGGLED,
            f"{name}, then garbage": get(fields) + GARBAGE,
            f"{name} and a body": post(fields, LENGTH, body=JOB),
            f"{name} and a body, then a request": post(
                fields, LENGTH, body=JOB + SMUGGLED
            ),
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
            f"{name} and 51 fields": get(
                fields, *(b"A%d: b\r\n" % n for n in range(50))
            )
            + SMUGGLED,
            f"{name} and a coding": post(
                fields, b"Transfer-Encoding: gzip\r\n", body=SMUGGLED
            ),
            f"{name} and a head of 64 KiB": get(
                fields, *(b"A: %b\r\n" % (b"b" * 8000) for n in range(8))
            )
            + LIVEZ,
        }
    least = b"GET / HTTP/1.1\r\nUpgrade:a\r\nConnection:upgrade\r\n\r\n"
    found["the smallest upgrade, 334 times"] = least * 334
    goods = {
        "hot": TEST,
        "plain": VERSION,
        "refused": EMPTY,
        "hot, with a body": SMUGGLED,
    }
    for name, good in goods.items():
        for count in (1, 2, 31, 32, 33, 70, 200):
            found[f"{name}, {count}, then garbage"] = good * count + GARBAGE
            found[f"{name}, {count}"] = good * count
            found[f"{name}, {count}, closed, then more"] = (
                good * count + get(b"Connection: close\r\n") + SMUGGLED
            )
    return found | {
        "an Upgrade alone": get(b"Upgrade: h2c\r\n") + SMUGGLED,
        "a CONNECT, then a request": b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
        + SMUGGLED,
        "a CONNECT with a body": b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n"
        + LENGTH
        + b"\r\n"
        + JOB
        + SMUGGLED,
        "a CONNECT in chunks": b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n"
        + CHUNKED
        + b"\r\n"
        + IN_CHUNKS
        + SMUGGLED,
        "a CONNECT with an Upgrade": b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n"
        + upgrade
        + b"\r\n"
        + SMUGGLED,
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
        "a job, then 33 listings": SMUGGLED
        + (
            b"GET /api/v1/jobs HTTP/1.1\r\n"
            + HOST
            + b"X-Name: mailer\r\nX-Queue: mail\r\n\r\n"
        )
        * 33,
        "a listing, then more": b"GET /api/v1/jobs HTTP/1.1\r\n"
        + HOST
        + b"X-Name: nobody\r\nX-Queue: mail\r\n\r\n"
        + SMUGGLED
        + GARBAGE,
    }


ATTACKS: dict[str, bytes] = {
    **_lengths(),
    **_codings(),
    **_chunks(),
    **_lines(),
    **_first_lines(),
    **_following(),
}
