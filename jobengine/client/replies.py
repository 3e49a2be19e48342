"""What was answered, as values and as exceptions. Knows no path and no verb."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

import jobengine.errors
from jobengine.client.transport import Answer
from jobengine.errors import (
    BadAnswer,
    InvalidJob,
    JobEngineError,
    Refused,
    Unanswered,
    Unavailable,
)

T = TypeVar("T")

# Longer than any detail of a daemon, and short enough for a line of a log.
DETAIL_CHARS_MAX = 2000
# What a daemon may ask a client to wait; more is as good as never.
RETRY_AFTER_S_MAX = 24 * 3600.0


class Fault(Struct, frozen=True):
    """One thing that is wrong with a body."""

    pointer: str = ""
    detail: str = ""


class Problem(Struct, frozen=True):
    """Why a request, or one of many, was refused."""

    code: str
    status: int = 0
    detail: str = ""
    errors: tuple[Fault, ...] = ()


def reading(kind: type[T]) -> Callable[[Answer], T]:
    """Reads answers whose body is a *kind*."""
    decode = msgspec.json.Decoder(kind).decode
    return lambda answer: decode(answer.body)


def nothing(answer: Answer) -> None:
    """Reads answers that say nothing."""


def read(answer: Answer, reader: Callable[[Answer], T]) -> T:
    """What *reader* makes of the answer.

    Raises:
        JobEngineError: it is a refusal, or no answer of a daemon.
    """
    if not 200 <= answer.status < 300:
        raise refusal(answer)
    try:
        return reader(answer)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _foreign(answer) from None


def refusal(answer: Answer) -> JobEngineError:
    """The exception that stands for an answer that is a refusal."""
    try:
        problem = _problem(answer.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _foreign(answer)
    error = exception(problem, answer.status)
    error.request_id = answer.headers.get("x-request-id")
    error.retry_after_s = _retry_after(answer)
    return error


def exception(problem: Problem, status: int) -> JobEngineError:
    """The exception that stands for a problem. Programs go by its `code`."""
    kind = KINDS.get(problem.code) or _kind_of(status)
    detail = problem.detail[:DETAIL_CHARS_MAX]
    if issubclass(kind, InvalidJob):
        pairs = [(each.pointer.lstrip("/"), each.detail) for each in problem.errors]
        error: JobEngineError = kind(*(pairs or [("request", detail)]))
    else:
        error = kind(detail)
    error.code = problem.code
    error.status = status
    return error


def _kinds(root: type[JobEngineError]) -> dict[str, type[JobEngineError]]:
    """The exceptions below *root* by what a daemon calls them."""
    found = {}
    for each in vars(jobengine.errors).values():
        if isinstance(each, type) and issubclass(each, root) and each is not root:
            found[each.code] = each
    return found


KINDS = _kinds(Refused) | _kinds(Unavailable)
_problem = msgspec.json.Decoder(Problem).decode


def _kind_of(status: int) -> type[JobEngineError]:
    if status in (429, 503, 507):
        return Unavailable
    return Refused if status < 500 else JobEngineError


def _foreign(answer: Answer) -> JobEngineError:
    """The exception for what no daemon answers: it comes from something in between."""
    kind = _IN_BETWEEN.get(answer.status, BadAnswer)
    told = answer.headers.get("content-type", "no content type")[:80]
    error = kind(
        f"the answer is not a JobEngine daemon's (status {answer.status}, {told}): "
        "look what is at this address, or in front of it"
    )
    error.status = answer.status
    error.retry_after_s = _retry_after(answer)
    return error


# A proxy that has no daemon to ask says 503; the others leave open what became of it.
_IN_BETWEEN: dict[int, type[JobEngineError]] = {
    429: Unavailable,
    502: Unanswered,
    503: Unavailable,
    504: Unanswered,
}


def _retry_after(answer: Answer) -> float | None:
    told: Any = answer.headers.get("retry-after", "")
    if not (told.isascii() and told.isdigit()):
        return None  # a date needs a clock that agrees with theirs
    return min(float(told[:12]), RETRY_AFTER_S_MAX)
