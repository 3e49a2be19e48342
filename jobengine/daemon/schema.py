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
    post_load,
    validates_schema,
)
from marshmallow.exceptions import SCHEMA

from jobengine.core.backoff import FACTOR_MAX, KINDS
from jobengine.core.queues import NAME, WRONG_NAME
from jobengine.daemon.strict_yaml import Path
from jobengine.daemon.values import (
    CountOr,
    Delays,
    Flag,
    Number,
    Seconds,
    Texts,
    Version,
    text,
    text_fault,
    whole,
)

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
# More jobs than any machine holds in memory today.
JOBS_MAX = 1_000_000_000
# One largest body and the work on it; with less hardly a job could be taken.
MEMORY_BYTES_MIN = 16 << 20
# 16 TiB: beyond any machine that a daemon like this one runs on.
MEMORY_BYTES_MAX = 16 << 40

# What a queue does that says nothing of backoff: core.backoff.DEFAULT.
BACKOFF = {
    "kind": "exponential",
    "base_seconds": 5,
    "factor": 2,
    "max_seconds": 3600,
    "jitter": 0.1,
}

# The times that a queue may have for itself.
TIMES = ("job_keep_minutes", "job_timeout_minutes", "dead_keep_minutes")

# What a backoff of each kind must say, and may say besides its jitter.
_NEEDS = {
    "constant": "base_seconds",
    "linear": "base_seconds",
    "exponential": "base_seconds",
    "list": "delays_seconds",
}
_MAY_HAVE: dict[str, tuple[str, ...]] = {
    "constant": (),
    "linear": ("max_seconds",),
    "exponential": ("factor", "max_seconds"),
    "list": (),
}

HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
ADDRESS = re.compile(r"[A-Za-z0-9._:%-]{1,253}")

Mistake = tuple[Path, str]


# Empty, as when all that they held is commented out, these mean their default.
MAY_BE_EMPTY = frozenset(
    {
        *("queues", "hosts", "auth", "limits"),
        *("relay", "dialects", "dynamic_queues", "admins"),
    }
)


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
            if fault := text_fault(name, NAME, WRONG_NAME):
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


def _names(**options: Any) -> Texts:
    return Texts(
        NAME,
        WRONG_NAME,
        error_messages={
            "null": "must be a list of service names, as in [service1, service2]",
            "required": "is missing; write [] to let nobody",
        },
        **options,
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


class _Backoff(_Section):
    error_messages = {  # noqa: RUF012
        "type": "must say how, as in {kind: exponential, base_seconds: 5}",
    }

    kind = text(
        re.compile("|".join(KINDS)), f"must be one of {', '.join(KINDS)}", required=True
    )
    base_seconds = Seconds()
    factor = Number(1, FACTOR_MAX)
    max_seconds = Seconds()
    delays_seconds = Delays()
    jitter = Number(0, 1)

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _must_fit_its_kind(
        self, good: dict[str, Any], said: dict[str, Any], **_: Any
    ) -> None:
        """Refuse what is missing, means nothing, or could never be reached."""
        if (kind := good.get("kind")) is None:
            return
        needs, takes = _NEEDS[kind], [_NEEDS[kind], *_MAY_HAVE[kind], "jitter"]
        faults = {
            key: [f"means nothing with kind {kind}, which has {', '.join(takes)}"]
            for key in said
            if key in self.fields and key not in ("kind", *takes)
        }
        if needs not in said:
            faults[needs] = [f"is missing; kind {kind} needs it"]
        least = good.get("base_seconds", 0)
        if "max_seconds" not in faults and good.get("max_seconds", least) < least:
            faults["max_seconds"] = [f"must be at least base_seconds, {least}"]
        if faults:
            raise ValidationError(faults)

    @post_load
    def _fill(self, said: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Let each key of its kind that is not given have its default."""
        defaults = {"factor": 2, "max_seconds": max(3600, said.get("base_seconds", 0))}
        for key in _MAY_HAVE[said["kind"]]:
            said.setdefault(key, defaults[key])
        said.setdefault("jitter", 0)
        return said


class _Lists(_Section):
    error_messages = {  # noqa: RUF012
        "type": "needs its lists, as in {read: [service1], write: [service2]}",
    }

    read = _names(required=True)
    write = _names(required=True)


class _Queue(_Lists):
    manage = _names(load_default=list)
    browse = _names(load_default=list)
    job_keep_minutes = whole(0, MINUTES_MAX)
    job_timeout_minutes = whole(1, MINUTES_MAX)
    dead_keep_minutes = whole(0, MINUTES_MAX)
    max_attempts = CountOr("unlimited", load_default=3)
    # A dict of its own for each: YAML would tell one that is shared as an alias.
    backoff = fields.Nested(
        _Backoff,
        load_default=lambda: dict(BACKOFF),
        error_messages={"null": "must say how; leave it out for the default"},
    )
    poison_after = CountOr("never", load_default=3)
    max_jobs = whole(1, JOBS_MAX)
    max_bytes = whole(1, MEMORY_BYTES_MAX)
    max_job_bytes = whole(1, BODY_BYTES_MAX)
    max_inprogress = whole(1, JOBS_MAX)

    @validates_schema
    def _must_hold_a_job(self, queue: dict[str, Any], **_: Any) -> None:
        """Refuse a limit under which a job that is allowed could never be taken."""
        job_bytes = queue.get("max_job_bytes", 0)
        if queue.get("max_bytes", job_bytes) < job_bytes:
            raise ValidationError(
                f"must be at least max_job_bytes, {job_bytes}", "max_bytes"
            )


class _Auth(_Section):
    mode = text(re.compile("names"), "must be names; to trust no names, leave auth out")


class _Limits(_Section):
    body_bytes = whole(BODY_BYTES_MIN, BODY_BYTES_MAX, 1024 * 1024)
    connections = whole(1, CONNECTIONS_MAX, 20_000)
    connections_per_address = whole(1, CONNECTIONS_MAX, 4096)
    waiters_per_service = whole(1, CONNECTIONS_MAX, 10_000)
    wait_seconds = whole(0, SECONDS_MAX, 60)
    read_seconds = whole(1, SECONDS_MAX, 10)
    header_seconds = whole(1, SECONDS_MAX, 5)
    idle_seconds = whole(1, SECONDS_MAX, 75)
    pipeline = whole(1, PIPELINE_MAX, 32)
    buffered_bytes = whole(BODY_BYTES_MIN, BUFFERED_BYTES_MAX)
    inflight_bytes = whole(INFLIGHT_BYTES_MIN, INFLIGHT_BYTES_MAX, 256 << 20)

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


class _Relay(_Section):
    service = text(NAME, WRONG_NAME)
    next_shape = text(
        re.compile("array|object"), "must be array or object", load_default="array"
    )


class _Dialects(_Section):
    v1 = Flag(load_default=True)
    v2 = Flag(load_default=True)
    v1_keys = Flag(load_default=True)
    relay = Flag(load_default=True)


class _Config(_Section):
    version = Version(load_default=1)
    port = whole(1, 65535, 6010)
    host = text(ADDRESS, "must be a host name or address", load_default="127.0.0.1")
    server = text(
        re.compile("loop|gthread"), "must be loop or gthread", load_default="loop"
    )
    job_keep_minutes = whole(0, MINUTES_MAX, 60)
    job_timeout_minutes = whole(1, MINUTES_MAX, 10)
    dead_keep_minutes = whole(0, MINUTES_MAX, 10_080)
    queues = _Queues(load_default=dict)
    on_queue_removed = text(
        re.compile("drop|keep"), "must be drop or keep", load_default="drop"
    )
    removed_keep_minutes = whole(0, MINUTES_MAX, 1440)
    dynamic_queues = fields.Nested(_Lists)
    admins = _names(load_default=list)
    strict_acl = Flag(load_default=False)
    auth = fields.Nested(_Auth, load_default=dict)
    hosts = Texts(
        HOST_NAME,
        "must be a host name, without a port",
        load_default=list,
        error_messages={"null": "must be a list of host names, as in [jobs.example]"},
    )
    limits = fields.Nested(_Limits, load_default=lambda: _Limits().load({}))
    memory_bytes = whole(MEMORY_BYTES_MIN, MEMORY_BYTES_MAX)
    relay = fields.Nested(_Relay, load_default=lambda: _Relay().load({}))
    dialects = fields.Nested(_Dialects, load_default=lambda: _Dialects().load({}))

    @post_load
    def _fill(self, said: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Let the times of a queue, where it has none, be those of the house."""
        for queue in said["queues"].values():
            for key in TIMES:
                queue.setdefault(key, said[key])
        return said
