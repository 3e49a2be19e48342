"""What is asked, as JSON. Knows no path; what values may be the daemon says."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import asdict

from jobengine.client.jobs import Filter, JobOptions, NewJob, ScheduleOptions
from jobengine.client.spans import instant_of, ms_of
from jobengine.core.backoff import Backoff
from jobengine.errors import InvalidJob

T = TypeVar("T")

# Elements and bytes of one request where there may be several: a commit each that
# others wait for, and half of what a daemon takes as a body unless told.
PART_MAX = 1000
PART_BYTES_MAX = 512 * 1024

_encode = msgspec.json.Encoder().encode


def said(body: Mapping[str, Any]) -> bytes | None:
    """An object of what is not UNSET; no body where that is nothing.

    Raises:
        InvalidJob: it cannot be said in JSON.
    """
    kept = {name: value for name, value in body.items() if value is not UNSET}
    return json_of("body", kept) if kept else None


def json_of(field: str, value: Any) -> bytes:
    """The value as JSON.

    Raises:
        InvalidJob: it cannot be said in JSON; the message names *field*.
    """
    try:
        told = _encode(value)
    except UnicodeError:  # its message has the text
        raise InvalidJob((field, "has text that is not Unicode")) from None
    except RecursionError:
        raise InvalidJob((field, "is nested too deeply, or holds itself")) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidJob((field, f"is not JSON: {error}")) from None
    if b"null" in told and not is_finite(value):
        raise InvalidJob((field, "has a number that is not finite"))
    return told


def is_finite(value: Any) -> bool:
    """Whether no number became null, for which msgspec writes what JSON has not."""
    try:
        json.dumps(value, allow_nan=False, default=_inside)
    except ValueError:
        return False
    # A key that only msgspec can say; more brackets than any daemon takes.
    except (TypeError, RecursionError):
        return True
    return True


def _inside(value: Any) -> Any:
    """What json looks at in the place of what it does not know."""
    return asdict(value) if isinstance(value, Struct) else None


def new_job(
    content: Any, options: Mapping[str, Any], queue: str | None = None
) -> bytes:
    """A new job with these options.

    Raises:
        InvalidJob: a value cannot be said.
        TypeError: there is no such option.
    """
    body = terms(options, _JOB)
    if queue is not None:
        body["queue"] = queue
    body["content"] = msgspec.Raw(json_of("content", content))
    return json_of("job", body)


def any_new_job(job: Any, queue: str) -> bytes:
    """A new job of *queue*: a NewJob, or the content of one.

    Raises:
        InvalidJob: a value cannot be said, or it names another queue.
    """
    if not isinstance(job, NewJob):
        return b'{"content":%b}' % json_of("content", job)
    if job.queue not in (None, queue):
        raise InvalidJob(("queue", "must be the one that all of them go to"))
    return new_job(job.content, options_of(job))


def following(job: Any) -> bytes:
    """A new job that follows another: a NewJob, or the content of one."""
    if not isinstance(job, NewJob):
        return b'{"content":%b}' % json_of("content", job)
    return new_job(job.content, options_of(job), job.queue)


def options_of(job: NewJob) -> dict[str, Any]:
    """What it says besides its content and queue."""
    values = ((name, getattr(job, name)) for name in _OPTIONS)
    return {
        name: value
        for name, value in values
        if value is not UNSET and (value is not None or name in _NULL_SAYS)
    }


def terms(options: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The options as members.

    Raises:
        InvalidJob: a time makes no sense.
        TypeError: one is not *known*.
    """
    body: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"there is no option {name!r}: {', '.join(sorted(known))}")
        if value is None and name not in _NULL_SAYS:
            continue
        if name in _SPANS:
            body[name + "_ms"] = ms_of(name, value)
        elif name in _INSTANTS:
            body[name] = instant_of(name, value)
        elif name == "backoff" and not isinstance(value, Backoff):
            raise InvalidJob((name, "must be a Backoff, as constant(5) makes one"))
        else:
            body[name] = value
    return body


def schedule(
    name: str | None, cron: str, content: Any, more: Mapping[str, Any]
) -> bytes:
    """A schedule; without a name where that is in the path.

    Raises:
        InvalidJob, TypeError: as of a job.
    """
    body = terms(more, _SCHEDULE) | {"cron": cron, "content": content}
    if name is not None:
        body["name"] = name
    return json_of("schedule", body)


def filter_members(which: Filter | None) -> dict[str, Any]:
    """The filter as a body has it.

    Raises:
        InvalidJob: an instant makes no sense.
    """
    found: dict[str, Any] = {}
    for name, value in (which or {}).items():
        if isinstance(value, datetime):
            found[name] = instant_of(name, value)
        elif name == "state" and isinstance(value, str):
            found[name] = [value]
        else:
            found[name] = value
    return found


def filter_query(which: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The filter as a query has it.

    Raises:
        InvalidJob: an instant makes no sense.
    """
    return tuple(
        (name, _word(name, value)) for name, value in which.items() if value is not None
    )


def many(values: Iterable[T], what: str) -> Iterable[T]:
    """The values, where they are many.

    Raises:
        TypeError: it is one that happens to have parts, as a text has letters.
    """
    if isinstance(values, str | bytes | Mapping):
        raise TypeError(f"{what} must be a list, not one {type(values).__name__}")
    return values


def parts(
    items: Iterable[T], encode: Callable[[T], bytes]
) -> Iterator[tuple[list[T], bytes]]:
    """The items as arrays, so many of them that each fits one request."""
    kept: list[T] = []
    told: list[bytes] = []
    size = 0
    for item in items:
        text = encode(item)
        size += len(text) + 1
        if told and (len(told) == PART_MAX or size > PART_BYTES_MAX):
            yield kept, array(told)
            kept, told, size = [], [], len(text) + 1
        kept.append(item)
        told.append(text)
    if told:
        yield kept, array(told)


def array(told: Sequence[bytes]) -> bytes:
    """An array of what is JSON already."""
    return b"[%b]" % b",".join(told)


def _word(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        return instant_of(name, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    return ",".join(value)


_SPANS = frozenset({"delay", "valid_for", "lease", "keep", "dead_keep", "jitter"})
_INSTANTS = frozenset({"run_at", "expires_at"})
# Where null has a meaning of its own; that of progress is nothing.
_NULL_SAYS = frozenset({"max_attempts", "poison_after"})
_JOB = frozenset(JobOptions.__annotations__)
_SCHEDULE = frozenset(ScheduleOptions.__annotations__)
_OPTIONS = tuple(sorted(_JOB))
