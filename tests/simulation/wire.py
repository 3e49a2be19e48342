"""Jobs as they travel: payloads that are hard to keep, and listings read as text."""

import random
import re

from daemons import Answer
from oracle import Seen

# Mostly small, at times many pages: a kill should also meet a write half done.
SIZES = (0, 0, 0, 20, 20, 300, 3_000, 60_000)

# The bytes of one listed job. Parsed as text: what was sent must come back untouched.
JOB = re.compile(
    rb'\{"content":(\{.*?\}),"created":\d+,"last_updated":\d+,"priority":(\d+),'
    rb'"state":"(\w+)","timeout_time":\d+,"uid":"([0-9a-f-]{36})"\}'
)
TOKEN = re.compile(rb'^\{"token": "(\w+)"')


def listed(answer: Answer) -> list[Seen]:
    """The jobs of a listing."""
    if answer.status == 204:
        return []
    assert answer.status == 200, answer
    assert list(answer.json) == [str(place) for place in range(len(answer.json))]
    jobs = [job_of(match) for match in JOB.finditer(answer.body)]
    assert len(jobs) == len(answer.json)
    return jobs


def job_of(match: "re.Match[bytes]") -> Seen:
    content, priority, state, uid = match.groups()
    return Seen(token_of(content), uid.decode(), state.decode(), int(priority), content)


def token_of(content: bytes) -> str:
    found = TOKEN.match(content)
    assert found, f"nobody sent this: {content[:100]!r}"
    return found[1].decode()


def content_of(token: str, chance: random.Random) -> bytes:
    """A payload that only survives untouched if nobody reads anything into it."""
    return b'{"token": "%b", "n": 9007199254740993, "s": "\\u003c\xc3\xa9%b"}' % (
        token.encode(),
        chance.randbytes(chance.choice(SIZES)).hex().encode(),
    )
