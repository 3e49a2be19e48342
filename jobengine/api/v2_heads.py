"""What the head of a request to the native API says, and the dialect itself.

Knows no endpoint: they are in the modules that v2.py names.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from jobengine.api.carried import WrongType
from jobengine.api.endpoint import Desk, Dialect
from jobengine.api.exchange import (
    COMMIT,
    IDEMPOTENCY_KEY,
    JSON,
    TRACEPARENT,
    Asked,
    Head,
    Reply,
    Sent,
)
from jobengine.api.identity import BadHeader, identify
from jobengine.api.query import (
    BadQuery,
    number,
    only,
    preferred_keep,
    preferred_wait,
    prefers_minimal,
)
from jobengine.core.access import Caller
from jobengine.core.job import TRACE_CHARS_MAX
from jobengine.core.once import REMEMBERED_MS, Answer, Headers, Once
from jobengine.core.queues import QueueRules
from jobengine.engine import Conflict, Receipt
from jobengine.errors import (
    InvalidJob,
    InvalidQueue,
    MustNameQueue,
    PreconditionRequired,
)

# What a body means is 422; what it is at all is 400 or 415.
V2 = Dialect(
    "v2",
    {
        InvalidJob: 422,
        InvalidQueue: 422,
        MustNameQueue: 422,
        WrongType: 415,
        PreconditionRequired: 428,
    },
    strict=True,
)

# Jobs handed out at once: each is rendered while everybody waits.
CLAIM_MAX = 1000
# Paths of queues that are remembered as they are shown.
PATHS_KEPT = 1024

_APPLIED = "Preference-Applied"
APPLIED = (_APPLIED, "return=minimal")
REPLAYED = ("Idempotency-Replayed", "true")

# Visible ASCII, as in RFC 9110's tokens and more; a UUID has 36.
_KEY = re.compile("[!-~]{1,255}")
# As the W3C has it; a later version than 00 may say more behind it.
_IDS = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACE = re.compile(rf"00-{_IDS}|(?!00|ff)[0-9a-f]{{2}}-{_IDS}(?:-[!-~]*)?")

Told = tuple[int, Headers, bytes]


class CallerHead(Head, frozen=True):
    """What the head of a request says."""

    caller: Caller
    minimal: bool  # it wants no body where none is needed


class Wanted(Struct, frozen=True):
    """Who wants how many jobs, and for how long it waits for the first."""

    head: CallerHead
    most: int
    seconds: int


class Making(Struct, frozen=True):
    """Who makes jobs, what of those that are there, and whether all or none."""

    head: CallerHead
    conflict: Conflict
    atomic: bool = False


def read_head(desk: Desk, sent: Sent) -> CallerHead:
    """Who asks, and how.

    Raises:
        Refused: it does not say, or not who may be believed.
    """
    return CallerHead(
        identify(sent, desk.settings),
        prefers_minimal(sent),
        told=sent.header(COMMIT) is not None,
    )


def read_wanted(desk: Desk, sent: Sent) -> Wanted:
    """The same of a claim.

    Raises:
        Refused: it does not say, or not what can be believed or understood.
    """
    said = only(sent.query, "max", "wait")
    most = number(said, "max", 1)
    if not 1 <= most <= CLAIM_MAX:
        raise BadQuery(f"?max= must be from 1 to {CLAIM_MAX}")
    return Wanted(read_head(desk, sent), most, _seconds(desk, sent, said))


def read_wait(desk: Desk, sent: Sent) -> int:
    """For how many seconds to wait until a job is settled.

    Raises:
        BadQuery: it makes no sense.
    """
    return _seconds(desk, sent, only(sent.query, "wait"))


def read_making(desk: Desk, sent: Sent) -> Making:
    """The head of a request that makes one job.

    Raises:
        Refused: it does not say, or not what can be believed or understood.
    """
    said = only(sent.query, "on_conflict")
    return Making(read_head(desk, sent), _conflict(said))


def read_making_many(desk: Desk, sent: Sent) -> Making:
    """The same of one that makes many.

    Raises:
        Refused: it does not say, or not what can be believed or understood.
    """
    said = only(sent.query, "on_conflict", "atomic")
    return Making(read_head(desk, sent), _conflict(said), truth(said, "atomic") is True)


def truth(said: dict[str, str], name: str) -> bool | None:
    """The parameter as true or false; None where it is not there.

    Raises:
        BadQuery: it is neither.
    """
    word = said.get(name)
    if word not in _TRUTHS:
        raise BadQuery(f"?{name}= must be true or false")
    return _TRUTHS[word]


_TRUTHS = {None: None, "true": True, "false": False}
_CONFLICTS = {
    "refuse": Conflict.REFUSE,
    "keep": Conflict.KEEP,
    "replace": Conflict.REPLACE,
}


def _conflict(said: dict[str, str]) -> Conflict:
    word = said.get("on_conflict", "refuse")
    if word not in _CONFLICTS:
        raise BadQuery(f"?on_conflict= must be one of {', '.join(_CONFLICTS)}")
    return _CONFLICTS[word]


def _seconds(desk: Desk, sent: Sent, said: dict[str, str]) -> int:
    seconds = number(said, "wait", preferred_wait(sent))
    return min(seconds, desk.settings.limits.wait_seconds)


def trace_of(asked: Asked) -> str | None:
    """The trace that the request belongs to; what is not understood is none, as the
    W3C has it."""
    text = asked.header(TRACEPARENT)
    if text is None or len(text) > TRACE_CHARS_MAX or not _TRACE.fullmatch(text):
        return None
    return text


def has_key(asked: Asked) -> bool:
    """Whether the request has an Idempotency-Key."""
    return asked.header(IDEMPOTENCY_KEY) is not None


def once_of(
    asked: Asked, caller: Caller, *route: str, told: Callable[[Any], Told]
) -> Once | None:
    """The request as one that is to be done once, where it has an Idempotency-Key.

    *route* is what the key holds for besides the caller, *told* what is answered to
    what was done.

    Raises:
        BadHeader: the key is none.
    """
    key = asked.header(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise BadHeader(
            f"the header {IDEMPOTENCY_KEY} must be 1 to 255 visible ASCII characters"
        )
    # No part has a newline in it.
    name = "\n".join((caller.name, *route, key))
    said = b"%b\n%b" % (asked.query.encode("latin-1"), asked.raw())
    return Once(
        blake2b(name.encode(), digest_size=16).hexdigest(),
        blake2b(said, digest_size=16).digest(),
        told,
        asked.once(_read_kept_ms),
    )


def _read_kept_ms(_desk: Desk, sent: Sent) -> int:
    """For how long an answer is to be remembered, a day at most."""
    asked = preferred_keep(sent) * 1000
    return asked if 0 < asked <= REMEMBERED_MS else REMEMBERED_MS


def reply(told: Told, receipt: Receipt | None = None) -> Reply:
    """The answer that says this."""
    status, headers, body = told
    return Reply(status, body, JSON if body else None, headers, receipt=receipt)


def reply_once(
    once: Once | None, told: Callable[[Any], Told], made: Any, receipt: Receipt | None
) -> Reply:
    """What is *told* of what was *made*; with *once*, now or the first time."""
    if once is None:
        return reply(told(made), receipt)
    answer = once.answer
    assert answer is not None, "it was done"
    headers = _headers_of(answer)
    if once.replayed:
        headers = (*headers, REPLAYED)
    return reply((answer.status, headers, answer.body), receipt)


def _headers_of(answer: Answer) -> Headers:
    """The same whenever it is given: those of then, and for how long it is kept."""
    headers = dict(answer.headers)
    if answer.kept_ms != REMEMBERED_MS:
        kept = f"keep-answer={answer.kept_ms // 1000}"
        there = headers.get(_APPLIED)
        headers[_APPLIED] = kept if there is None else f"{there}, {kept}"
    return tuple(headers.items())


@lru_cache(PATHS_KEPT)
def path_of(queue: str) -> str:
    """The queue's path."""
    return f"/api/v2/queues/{quote(queue, safe='')}"


def rules_of(desk: Desk, queue: str) -> QueueRules:
    """The rules of a queue of which a job is at hand."""
    return desk.engine.rules.queues.get(queue) or QueueRules(queue)
