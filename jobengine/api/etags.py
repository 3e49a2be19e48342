"""The version of a job as HTTP compares it: ETag, If-Match, If-None-Match (RFC 9110).

Knows no route. Ours are all strong: what has one ETag is the same to
the byte, for whoever sees as much of it.
"""

import re
from collections.abc import Callable
from uuid import uuid4

from jobengine.api.exchange import IF_MATCH, IF_NONE_MATCH, Sent
from jobengine.api.identity import BadHeader
from jobengine.core.job import Job

# Nobody meets the same twice in one job.
_64_BITS = (1 << 64) - 1

_LIST = re.compile(
    r'\s*(?:(?:W/)?"[!#-~\x80-\xff]*"\s*(?:,\s*(?:(?:W/)?"[!#-~\x80-\xff]*"\s*)?)*)'
)
_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')

# Each process has a key of its own. Else those who may not read the content could try
# out what it says, until it has this ETag. What hashes is SipHash, which is made for
# keys, and has one of its own too, unless somebody has set PYTHONHASHSEED.
_KEY = uuid4().bytes


def etag_of(shown: bytes, content: bytes) -> str:
    """The ETag, in this process, of a job that is *shown* so, but for its content."""
    return '"%016x"' % (hash(b"%b%b%b" % (_KEY, shown, content)) & _64_BITS)


def if_match(sent: Sent, version: Callable[[Job], str]) -> Callable[[Job], bool] | None:
    """Whether a job, by the ETag that is its *version*, is one that If-Match lets be
    changed; None where it was not sent.

    Raises:
        BadHeader: it is neither `*` nor a list of ETags.
    """
    tags = _tags(sent, IF_MATCH)
    if tags is None:
        return None
    # A weak one never matches strongly (RFC 9110, 8.8.3.2): ours have no W/.
    return lambda job: tags == ["*"] or version(job) in tags


def if_none_match(sent: Sent, etag: str) -> bool:
    """Whether the caller knows this version already.

    Raises:
        BadHeader: it is neither `*` nor a list of ETags.
    """
    tags = _tags(sent, IF_NONE_MATCH) or []
    return tags == ["*"] or etag in {tag.removeprefix("W/") for tag in tags}


def _tags(sent: Sent, name: str) -> list[str] | None:
    text = sent.header(name)
    if text is None:
        return None
    if text.strip() == "*":
        return ["*"]
    if not _LIST.fullmatch(text):
        raise BadHeader(
            f'the header {name} must be * or ETags, as in "0f3c5a9e77d1b204"'
        )
    return _TAG.findall(text)
