"""Refusals on the wire: an error to an RFC 9457 answer. Knows no route and no rule."""

import json
import traceback
from collections.abc import Mapping

import structlog
from flask import Response
from werkzeug.exceptions import HTTPException

from jobengine.api.forms import TooMany
from jobengine.api.identity import BadHeader, CrossSite, Unauthenticated, WrongHost
from jobengine.api.strict_json import NotJson
from jobengine.errors import (
    CountDiffers,
    DuplicateJob,
    Forbidden,
    InvalidJob,
    JobEngineError,
    JobNotFound,
    JobTooLarge,
    KeyReused,
    MemoryFull,
    Overloaded,
    PreconditionFailed,
    QueueConfigured,
    QueueExists,
    QueueFull,
    QueueNotFound,
    Refused,
    ScheduleExists,
    ScheduleNotFound,
    StaleLease,
    StoreFull,
    TransactionTooLarge,
    Unavailable,
    WrongKey,
    WrongState,
)

Statuses = Mapping[type[JobEngineError], int]

# What every dialect answers unless its own table says otherwise.
STATUS: Statuses = {
    Refused: 400,
    BadHeader: 400,
    NotJson: 400,
    Unauthenticated: 401,
    WrongKey: 401,
    CrossSite: 403,
    Forbidden: 403,
    QueueNotFound: 404,
    JobNotFound: 404,
    ScheduleNotFound: 404,
    WrongState: 409,
    StaleLease: 409,
    DuplicateJob: 409,
    QueueExists: 409,
    QueueConfigured: 409,
    ScheduleExists: 409,
    CountDiffers: 409,
    PreconditionFailed: 412,
    JobTooLarge: 413,
    TooMany: 413,
    TransactionTooLarge: 413,
    WrongHost: 421,
    KeyReused: 422,
    Overloaded: 429,
    QueueFull: 429,
    Unavailable: 503,
    StoreFull: 507,
    MemoryFull: 507,
    JobEngineError: 500,
}

# What a client is told besides; by status.
_HEADERS = {
    401: {"WWW-Authenticate": 'X-Name realm="jobengine"'},
    429: {"Retry-After": "1"},  # a listing ends within seconds
    503: {"Retry-After": "5"},  # about as long as a restart takes
    507: {"Retry-After": "60"},  # a person has to make room
}

log = structlog.get_logger()


def answer(error: Exception, *, statuses: Statuses, request_id: str) -> Response:
    """The answer that tells *error* to the client, whatever it is."""
    if isinstance(error, HTTPException) and error.code is not None:
        return _refused_by_http(error, error.code, request_id)
    if isinstance(error, JobEngineError):
        status = status_of(type(error), statuses)
        if status < 500 or isinstance(error, Unavailable):
            return _problem(status, error.code, str(error), request_id, _faults(error))
    return _broken(error, request_id)


def status_of(kind: type[JobEngineError], statuses: Statuses) -> int:
    """The status of the nearest class that the table has; STATUS has them all."""
    table = {**STATUS, **statuses}
    return next(table[each] for each in kind.__mro__ if each in table)


def _faults(error: JobEngineError) -> list[dict[str, str]]:
    if isinstance(error, InvalidJob):
        told = error.errors
        return [{"pointer": f"/{field}", "detail": what} for field, what in told]
    if error.at is None:
        return []
    return [{"pointer": f"/{error.at}", "detail": str(error)}]


def _refused_by_http(error: HTTPException, status: int, request_id: str) -> Response:
    """What the framework refused: no such path, wrong method, body too large, ..."""
    code = error.name.lower().replace(" ", "_")
    allow = dict(error.get_headers()).get("Allow")
    told = error.description or error.name
    if status == 404:
        told = "there is no such path: the documents of this version list all"
    elif allow:
        told = f"this path takes {allow}, and no other method"
    reply = _problem(status, code, told, request_id)
    if allow:
        reply.headers["Allow"] = allow
    return reply


def _broken(error: Exception, request_id: str) -> Response:
    # The message of an exception may quote what the caller sent, so only its type and
    # where it happened are logged, and the client is told neither.
    log.error(
        "request failed",
        code="internal_error",
        request_id=request_id,
        error=type(error).__name__,
        where=traceback.format_tb(error.__traceback__),
    )
    detail = "something went wrong here; the log has more under this request's id"
    return _problem(500, "internal_error", detail, request_id)


def _problem(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    faults: list[dict[str, str]] | None = None,
) -> Response:
    body: dict[str, object] = {
        "type": "/problems/" + code.replace("_", "-"),
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": request_id,
        "code": code,
    }
    if faults:
        body["errors"] = faults
    return Response(
        json.dumps(body),
        status,
        _HEADERS.get(status),
        content_type="application/problem+json",
    )
