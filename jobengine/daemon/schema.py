"""What config.yml may say: its keys, types, limits and defaults, declared once.

Knows neither the file nor the environment, and nothing of what a value brings about.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from marshmallow import (
    Schema,
    ValidationError,
    fields,
    missing,
    post_load,
    validate,
    validates_schema,
)
from marshmallow.exceptions import SCHEMA

from jobengine.daemon.strict_yaml import Path

# Longer than anybody waits for a job, and far from the end of the calendar.
MINUTES_MAX = 10 * 366 * 24 * 60
# Room for any one sensible job and its headers.
BODY_BYTES_MIN = 1024
# Half of what one frame of the file holds: a job must always fit into a frame.
BODY_BYTES_MAX = 8 * 1024 * 1024
# A few small requests beside the largest body that is taken by default.
BUFFERED_BYTES = 2 * 1024 * 1024
# Eight of the largest bodies: what one connection may hold is memory, many times over.
BUFFERED_BYTES_MAX = 8 * BODY_BYTES_MAX
# One connection at its limit must not use up what there is for all.
INFLIGHT_BYTES_MIN = BUFFERED_BYTES_MAX
INFLIGHT_BYTES_MAX = 16 << 30
# What the kernel gives one process, unless it was told otherwise (fs.nr_open).
CONNECTIONS_MAX = 1024 * 1024
# An hour: whatever is between a client and the daemon has given up long before.
SECONDS_MAX = 3600
# Everybody else waits while the requests of one connection are worked on.
PIPELINE_MAX = 1024

NAME = re.compile(r"(?! )[A-Za-z0-9_.:@ -]{1,255}(?<! )")
WRONG_NAME = "must be 1 to 255 of A-Z a-z 0-9 _ . : @ - and inner spaces"
HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
ADDRESS = re.compile(r"[A-Za-z0-9._:%-]{1,253}")

Mistake = tuple[Path, str]


# Empty, as when all that they held is commented out, these mean their default.
MAY_BE_EMPTY = frozenset({"queues", "hosts", "auth", "limits"})


def check(value: object) -> tuple[dict[str, Any], list[Mistake]]:
    """The values with every default filled in, and all that is wrong, by path.

    With mistakes there are no values.
    """
    if isinstance(value, dict):
        value = {
            key: below
            for key, below in value.items()
            if below is not None or key not in MAY_BE_EMPTY
        }
    try:
        return dict(_Config().load(value)), []  # type: ignore[arg-type]
    except ValidationError as error:
        return {}, list(_flat((), error.messages))


def _flat(path: Path, messages: Any) -> Iterator[Mistake]:
    """Every message in a nest of dicts, by key or index, and lists."""
    if isinstance(messages, str):
        yield path, messages
    elif isinstance(messages, list):
        for below in messages:
            yield from _flat(path, below)
    else:
        for key, below in messages.items():
            yield from _flat(path if key == SCHEMA else (*path, key), below)


class _Texts(fields.Field[list[str]]):
    """A list of texts of one *pattern*."""

    def __init__(self, pattern: re.Pattern[str], wrong: str, **options: Any) -> None:
        super().__init__(**options)
        self._pattern, self._wrong = pattern, wrong

    def _deserialize(self, value: object, *_: Any, **__: Any) -> list[str]:
        if not isinstance(value, list):
            raise self.make_error("null")
        faults = {
            index: [fault]
            for index, each in enumerate(value)
            if (fault := _fault(each, self._pattern, self._wrong))
        }
        if faults:
            raise ValidationError(faults)
        return value


class _Queues(fields.Field[dict[str, Any]]):
    """The queues by name."""

    default_error_messages = {  # noqa: RUF012
        "invalid": "must be a mapping of queue names to their read and write lists",
    }

    def _deserialize(self, value: object, *_: Any, **__: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        queue = _Queue()
        found: dict[str, Any] = {}
        faults: dict[str, list[Any]] = {}
        for name, lists in value.items():
            told: list[Any] = []
            if fault := _fault(name, NAME, WRONG_NAME):
                told.append(fault)
            try:
                found[name] = queue.load(lists)
            except ValidationError as error:
                told.append(error.messages)
            if told:
                faults[name] = told
        if faults:
            raise ValidationError(faults)
        return found


class _Flag(fields.Field[bool]):
    """true or false, and nothing that merely looks like it."""

    default_error_messages = {"invalid": "must be true or false"}  # noqa: RUF012

    def _deserialize(self, value: object, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class _Version(fields.Field[int]):
    """The version of the configuration's form."""

    default_error_messages = {"invalid": "must be 1"}  # noqa: RUF012

    def _deserialize(self, value: object, *_: Any, **__: Any) -> int:
        # 1.0 is what the original's examples say; "1.0" in quotes it refused too.
        if isinstance(value, bool) or not isinstance(value, int | float) or value != 1:
            raise self.make_error("invalid")
        return 1


def _fault(text: object, pattern: re.Pattern[str], wrong: str) -> str | None:
    if not isinstance(text, str):
        return "must be text: put it in quotes"
    return None if pattern.fullmatch(text) else wrong


def _whole(least: int, most: int, default: object = missing) -> fields.Integer:
    wrong = f"must be a whole number from {least} to {most}"
    return fields.Integer(
        strict=True,
        load_default=default,
        validate=validate.Range(least, most, error=wrong),
        error_messages={"invalid": wrong, "null": wrong},
    )


def _text(pattern: re.Pattern[str], wrong: str, **options: Any) -> fields.String:
    return fields.String(
        validate=lambda text: _must_match(text, pattern, wrong),
        error_messages={"invalid": wrong, "null": wrong},
        **options,
    )


def _must_match(text: str, pattern: re.Pattern[str], wrong: str) -> None:
    if not pattern.fullmatch(text):
        raise ValidationError(wrong)


def _names() -> _Texts:
    return _Texts(
        NAME,
        WRONG_NAME,
        required=True,
        error_messages={
            "null": "must be a list of service names, as in [service1, service2]",
            "required": "is missing; write [] to let nobody",
        },
    )


class _Section(Schema):
    """Some keys that stand together. An unknown one is a mistake."""

    error_messages = {  # noqa: RUF012
        "unknown": "unknown key",
        "type": "must hold keys and values, as in `key: value`",
    }

    def handle_error(self, error: ValidationError, *_: Any, **__: Any) -> None:
        """Name the nearest known key beside each unknown one."""
        assert isinstance(error.messages, dict)
        for key, messages in error.messages.items():
            if messages == [self.error_messages["unknown"]]:
                near = get_close_matches(str(key)[:60], self.fields, n=1)
                known = near or sorted(self.fields)
                hint = "did you mean {}?" if near else "known here: {}"
                messages[0] += "; " + hint.format(", ".join(known))


class _Queue(_Section):
    error_messages = {  # noqa: RUF012
        "type": "needs its lists, as in {read: [service1], write: [service2]}",
    }

    read = _names()
    write = _names()


class _Auth(_Section):
    mode = _text(
        re.compile("names"), "must be names; to trust no names, leave auth out"
    )


class _Limits(_Section):
    body_bytes = _whole(BODY_BYTES_MIN, BODY_BYTES_MAX, 1024 * 1024)
    connections = _whole(1, CONNECTIONS_MAX, 20_000)
    connections_per_address = _whole(1, CONNECTIONS_MAX, 4096)
    waiters_per_service = _whole(1, CONNECTIONS_MAX, 10_000)
    wait_seconds = _whole(0, SECONDS_MAX, 60)
    read_seconds = _whole(1, SECONDS_MAX, 10)
    header_seconds = _whole(1, SECONDS_MAX, 5)
    idle_seconds = _whole(1, SECONDS_MAX, 75)
    pipeline = _whole(1, PIPELINE_MAX, 32)
    buffered_bytes = _whole(BODY_BYTES_MIN, BUFFERED_BYTES_MAX)
    inflight_bytes = _whole(INFLIGHT_BYTES_MIN, INFLIGHT_BYTES_MAX, 256 << 20)

    @validates_schema
    def _must_hold_a_body(self, limits: dict[str, int], **_: Any) -> None:
        """Refuse a limit under which a body that is allowed could never arrive."""
        body_bytes = limits["body_bytes"]
        if limits.get("buffered_bytes", body_bytes) < body_bytes:
            wrong = f"must be at least limits.body_bytes, {body_bytes}"
            raise ValidationError(wrong, "buffered_bytes")

    @post_load
    def _fit(self, limits: dict[str, int], **_: Any) -> dict[str, int]:
        """Let buffered_bytes, where it is not given, grow with body_bytes."""
        limits.setdefault("buffered_bytes", max(BUFFERED_BYTES, limits["body_bytes"]))
        return limits


class _Config(_Section):
    version = _Version(load_default=1)
    port = _whole(1, 65535, 6010)
    host = _text(ADDRESS, "must be a host name or address", load_default="127.0.0.1")
    server = _text(
        re.compile("loop|gthread"), "must be loop or gthread", load_default="loop"
    )
    job_keep_minutes = _whole(0, MINUTES_MAX, 60)
    job_timeout_minutes = _whole(1, MINUTES_MAX, 10)
    queues = _Queues(load_default=dict)
    on_queue_removed = _text(
        re.compile("drop|keep"), "must be drop or keep", load_default="drop"
    )
    removed_keep_minutes = _whole(0, MINUTES_MAX, 1440)
    strict_acl = _Flag(load_default=False)
    auth = fields.Nested(_Auth, load_default=dict)
    hosts = _Texts(
        HOST_NAME,
        "must be a host name, without a port",
        load_default=list,
        error_messages={"null": "must be a list of host names, as in [jobs.example]"},
    )
    limits = fields.Nested(_Limits, load_default=lambda: _Limits().load({}))
