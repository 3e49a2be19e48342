"""What the daemon refuses of the corpus though llhttp's strict mode would take it, or
refuses sooner than that. Each for its reason."""

from typing import NamedTuple


class Own(NamedTuple):
    """A refusal of ours: its status, and how many requests are answered before it."""

    status: int
    after: int = 0


# chunked is the only coding spoken here: what llhttp would have to guess is refused.
_CODINGS = (
    *(" identity", " gzip", " gzip, chunked", " xchunked", " chunke", " chunkedd"),
    *(' "chunked"', " chunked;q=1", " chun ked", " ,chunked", " identity, chunked"),
    " x,chunked",
)
_BYTES = (b" chunked\xa0", b" \xefchunked")

_OWN = {
    **{f"coding {value.encode()!r}": Own(501) for value in _CODINGS},
    **{f"coding {value!r}": Own(501) for value in _BYTES},
    "a GET with a coding of its own": Own(501),
    "upgrade and a coding": Own(501),
    "upgrade with settings and a coding": Own(501),
    # RFC 9112, 6.1: chunks in HTTP/1.0 are a sign of bad framing.
    "chunks in HTTP/1.0": Own(400),
    "chunks in HTTP/1.0, kept alive": Own(400),
    # Only two versions are spoken here.
    "line b'GET /version'": Own(505),
    "line b'GET /version HTTP/0.9'": Own(505),
    "line b'GET /version HTTP/2.0'": Own(505),
    "upgrade in HTTP/2.0": Own(505),
    "upgrade in HTTP/0.9": Own(505),
    "upgrade with settings in HTTP/2.0": Own(505),
    "upgrade with settings in HTTP/0.9": Own(505),
    # One expectation is known.
    "field b'Expect: nothing\\r\\n'": Own(417),
    "field b'Expect: 100-Continue, a\\r\\n'": Own(417),
    # What is too large.
    "content-length b' 9223372036854775808'": Own(413),
    "content-length b' 1048577'": Own(413),
    "chunks of more than a body": Own(413),
    "chunking that costs too much": Own(413),
    "a larger body than there may be, then more": Own(413),
    "a target of 4,095": Own(414),
    "a target of 90,000": Own(431),
    "51 fields": Own(431),
    "upgrade and 51 fields": Own(431),
    "upgrade with settings and 51 fields": Own(431),
    "5,000 fields": Own(431),
    "a field of 8,191": Own(431),
    "a name of 8,191": Own(431),
    "a head of 96 KiB": Own(431),
    "a head that never ends": Own(431),
    "a field that never ends": Own(431),
}


def refused_by_us(name: str) -> Own | None:
    """Our refusal of the attack, if it is ours."""
    return _OWN.get(name)
