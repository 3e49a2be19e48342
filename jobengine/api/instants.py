"""Instants as answers show them. Knows no job."""

from datetime import UTC, datetime
from functools import lru_cache

# Instants, and seconds, whose text is remembered: what is done in one turn has one
# instant, and the jobs of an answer have few seconds between them.
INSTANTS_KEPT = SECONDS_KEPT = 4096


@lru_cache(INSTANTS_KEPT)
def instant(ms: int) -> bytes:
    """RFC 3339, UTC, to the millisecond."""
    return b"%b.%03dZ" % (_second(ms // 1000), ms % 1000)


def instant_or_null(ms: int | None) -> bytes:
    """The same as a JSON value; null for None."""
    return b"null" if ms is None else b'"%b"' % instant(ms)


@lru_cache(SECONDS_KEPT)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19].encode()
