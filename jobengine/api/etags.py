"""The version of a job as HTTP compares it: ETag, If-Match, If-None-Match (RFC 9110).

Knows no route. Ours are all strong: two rows with one ETag are the same row.
"""

import re
from collections.abc import Callable
from uuid import uuid4

import msgspec

from jobengine.api.exchange import IF_MATCH, IF_NONE_MATCH, Sent
from jobengine.api.identity import BadHeader
from jobengine.core.job import Job

# Nobody meets the same twice in one job.
_64_BITS = (1 << 64) - 1

_LIST = re.compile(
    r'\s*(?:(?:W/)?"[!#-~\x80-\xff]*"\s*(?:,\s*(?:(?:W/)?"[!#-~\x80-\xff]*"\s*)?)*)'
)
_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')

_encode = msgspec.msgpack.Encoder().encode

# Each process has a key of its own. Else those who may not read the content could try
# out what it says, until it has this ETag. What hashes is SipHash, which is made for
# keys, and has one of its own too, unless somebody has set PYTHONHASHSEED.
_KEY = uuid4().bytes


def etag_of(job: Job) -> str:
    """The ETag of this row of the job, in this process."""
    return '"%016x"' % (hash(_KEY + _encode(job)) & _64_BITS)


def if_match(sent: Sent) -> Callable[[Job], bool] | None:
    """Whether a job is one that If-Match lets be changed; None where it was not sent.

    Raises:
        BadHeader: it is neither `*` nor a list of ETags.
    """
    tags = _tags(sent, IF_MATCH)
    if tags is None:
        return None
    # A weak one never matches strongly (RFC 9110, 8.8.3.2): ours have no W/.
    return lambda job: tags == ["*"] or etag_of(job) in tags


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
        raise BadHeader(f'the header {name} must be * or ETags, as in "q83vEjRWeJCr"')
    return _TAG.findall(text)
