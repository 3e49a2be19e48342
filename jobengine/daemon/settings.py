"""The one place where config.yml and the environment become settings.

Knows nothing of what the settings bring about. Only here is the environment read.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from jobengine.core.backoff import DELAY_MS_MAX, Backoff
from jobengine.core.queues import MINUTE_MS, QueueRules, Rulebook
from jobengine.daemon import config_file, schema
from jobengine.daemon.secret import Secrets, read_secrets
from jobengine.errors import ConfigError

CONFIG_PATH = "/jobengine/config.yml"
DB_PATH = "/jobengine/database.queuedb"
# The settings that only a start can change.
AT_START = ("host", "port", "server", "dialects")
# Enough to mend a file by; a file of another kind would fill the screen.
MISTAKES_SHOWN = 100

LogLevel = Literal["debug", "info"]
LOG_LEVELS: Mapping[str, LogLevel] = {"release": "info", "debug": "debug"}

# What to do where there is no config file.
Missing = Literal["write", "assume", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is taken, from how many, and for how long: `limits` of config.yml.

    docs/reference/configuration.md says what happens over each.
    """

    body_bytes: int
    connections: int
    connections_per_address: int
    waiters_per_service: int
    wait_seconds: int
    read_seconds: int
    header_seconds: int
    idle_seconds: int
    pipeline: int
    buffered_bytes: int
    inflight_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """What the relay dialect must know: `relay` of config.yml.

    `service` is who a caller is that names nobody, where its word would be taken.
    """

    service: str | None = None
    next_shape: Literal["array", "object"] = "array"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the operator has said, checked, with every default filled in.

    `dialects` are the names of those that are spoken. `effective` is all of it in the
    form of config.yml, without secrets. `notes` and `warnings` are for the log.
    """

    port: int
    host: str
    server: Literal["loop", "gthread"]
    db_path: Path
    config_path: Path
    secret: bytes = field(repr=False)
    secret_previous: bytes | None = field(repr=False)
    rules: Rulebook
    auth_mode: Literal["names"] | None
    hosts: tuple[str, ...]
    limits: Limits
    relay: RelaySettings
    dialects: frozenset[str]
    log_level: LogLevel
    dev: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    effective: Mapping[str, Any]


def environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ


def db_path(environ: Mapping[str, str]) -> Path:
    """Where the database is; for tools, which need no config file."""
    return _paths(environ)[0]["DB_PATH"]


def from_environment(*, dev: bool = False, missing: Missing = "write") -> Settings:
    """The settings of this process: `load` over its environment."""
    return load(environment(), dev=dev, missing=missing)


def hide_from_gunicorn() -> None:
    """Take its own variables out of the environment: the settings alone decide."""
    for name in _GUNICORNS:
        os.environ.pop(name, None)


_GUNICORNS = (
    *("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "SENDFILE"),
    *("GUNICORN_CMD_ARGS", "GUNICORN_PID", "GUNICORN_FD"),
)


def load(
    environ: Mapping[str, str], *, dev: bool = False, missing: Missing = "write"
) -> Settings:
    """The settings that *environ* and the config file it names stand for.

    Where there is no file its default is written, or assumed, or that is refused. A
    reload must refuse: a file that is being replaced would take every queue with it.

    Raises:
        ConfigError: naming every mistake; nothing was written. One in SECRET comes
            alone, before the file is looked at.
    """
    secrets = read_secrets(environ, dev=dev)
    return _load(environ, secrets, dev=dev, missing=missing)


def preview(environ: Mapping[str, str], path: Path | None = None) -> Settings:
    """What a start would find, without SECRET: never open a file with these.

    *path* stands for CONFIG_PATH, and must exist. Nothing is written.

    Raises:
        ConfigError: naming every mistake.
    """
    if path is not None:
        environ = {**environ, "CONFIG_PATH": str(path)}
    missing: Missing = "assume" if path is None else "refuse"
    return _load(environ, Secrets(b"", None, ()), dev=False, missing=missing)


def within(
    config: Path | Mapping[str, Any] | None,
    *,
    db_path: Path,
    secret: str | bytes | None,
) -> Settings:
    """The settings of an engine within a program, which has no environment of its own.

    *config* is the path of a config.yml, what one would say, or None: its defaults.
    Only v2 is spoken. Without *secret* there is no file to open.

    Raises:
        ConfigError: naming every mistake; nothing was written.
    """
    secrets, path = Secrets(b"", None, ()), Path()
    if secret is not None:
        secrets = read_secrets({"SECRET": os.fsdecode(secret)})
    if isinstance(config, Path):
        path = config.absolute()
        values, _ = _values(path, "refuse", [])
    else:
        values, mistakes = schema.check(dict(config or {}))
        if mistakes:
            raise ConfigError(_message([_said(*mistake) for mistake in mistakes]))
    # There is no port: who reaches it, and what is spoken there, means nothing.
    values |= {"auth": {}, "dialects": {"v2": True}}
    return _settings(values, secrets, config_path=path, db_path=db_path)


def _said(where: tuple[str | int, ...], what: str) -> str:
    return f"{'.'.join(map(str, where))}: {what}" if where else what


def _load(
    environ: Mapping[str, str], secrets: Secrets, *, dev: bool, missing: Missing
) -> Settings:
    paths, path_notes = _paths(environ)
    overlay, level, mistakes = _overlay(environ)
    values, notes = _values(paths["CONFIG_PATH"], missing, mistakes)
    return _settings(
        values | overlay,
        secrets,
        config_path=paths["CONFIG_PATH"],
        db_path=paths["DB_PATH"],
        log_level=level,
        dev=dev,
        notes=(*path_notes, *notes),
    )


def _settings(
    values: Mapping[str, Any],
    secrets: Secrets,
    *,
    config_path: Path,
    db_path: Path,
    log_level: LogLevel = "info",
    dev: bool = False,
    notes: tuple[str, ...] = (),
) -> Settings:
    auth_mode = values["auth"].get("mode")
    names = "auth mode names: whoever reaches the port may call itself any service"
    return Settings(
        port=values["port"],
        host=values["host"],
        server=values["server"],
        db_path=db_path,
        config_path=config_path,
        secret=secrets.secret,
        secret_previous=secrets.previous,
        rules=_rulebook(values),
        auth_mode=auth_mode,
        hosts=tuple(host.lower() for host in values["hosts"]),
        limits=Limits(**values["limits"]),
        relay=RelaySettings(**values["relay"]),
        dialects=frozenset(name for name, on in values["dialects"].items() if on),
        log_level=log_level,
        dev=dev,
        notes=notes,
        warnings=(*secrets.warnings, *([names] if auth_mode else [])),
        effective=values,
    )


def _values(
    path: Path, missing: Missing, mistakes: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """What the file says, and a note where there is none.

    Raises:
        ConfigError: for its mistakes and the *mistakes* found before.
    """
    data = config_file.read(path)
    if data is None and missing == "refuse":
        raise ConfigError(f"{path}: there is no such file")
    values, more = config_file.check(
        path, config_file.DEFAULT if data is None else data
    )
    if mistakes := [*mistakes, *more]:
        raise ConfigError(_message(mistakes))
    if data is not None:
        return values, []
    if missing == "assume":
        return values, [f"{path} does not exist: a start writes the default there"]
    config_file.write_default(path)
    return values, [f"{path} did not exist: wrote the default there"]


def _paths(environ: Mapping[str, str]) -> tuple[dict[str, Path], list[str]]:
    paths, notes = {}, []
    for name, default in (("CONFIG_PATH", CONFIG_PATH), ("DB_PATH", DB_PATH)):
        if not environ.get(name):
            notes.append(f"{name} Not Defined, Using Default {default}")
        paths[name] = Path(environ.get(name) or default).absolute()
    return paths, notes


def _message(mistakes: list[str]) -> str:
    shown = mistakes[:MISTAKES_SHOWN]
    if more := len(mistakes) - len(shown):
        shown.append(f"and {more} more")
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return f"{count} in the configuration:\n  " + "\n  ".join(shown)


# --- the environment --------------------------------------------------------------


class _Variable(NamedTuple):
    """An environment variable that overrides one key of the file."""

    path: tuple[str, ...]
    number: bool = False


_VARIABLES = {
    "HOST": _Variable(("host",)),
    "PORT": _Variable(("port",), number=True),
    "AUTH_MODE": _Variable(("auth", "mode")),
}


def _overlay(
    environ: Mapping[str, str],
) -> tuple[dict[str, Any], LogLevel, list[str]]:
    """What the environment overrides, the log level, and what is wrong with them.

    An empty variable counts as one that is not set.
    """
    overlay: dict[str, Any] = {}
    mistakes = []
    for name, variable in _VARIABLES.items():
        if not (text := environ.get(name)):
            continue
        value: Any = int(text) if variable.number and _DIGITS.fullmatch(text) else text
        for key in reversed(variable.path):
            value = {key: value}
        checked, wrong = schema.check(value)
        mistakes += [f"{name}: {what}" for _, what in wrong]
        overlay |= {key: checked[key] for key in value if key in checked}
    mode = environ.get("GIN_MODE") or "release"
    if mode not in LOG_LEVELS:
        mistakes.append("GIN_MODE: must be release or debug")
    return overlay, LOG_LEVELS.get(mode, "info"), mistakes


_DIGITS = re.compile(r"[0-9]{1,9}")


# --- the rules --------------------------------------------------------------------


def _rulebook(values: Mapping[str, Any]) -> Rulebook:
    keeps = values["on_queue_removed"] == "keep"
    template = QueueRules("", **_times(values))
    lists = values.get("dynamic_queues")
    return Rulebook(
        queues={name: _queue(name, said) for name, said in values["queues"].items()},
        strict_acl=values["strict_acl"],
        removed_keep_ms=None if keeps else values["removed_keep_minutes"] * MINUTE_MS,
        admins=frozenset(values["admins"]),
        template=template,
        dynamic=replace(template, **_services(lists)) if lists else None,
        memory_bytes=values.get("memory_bytes"),
    )


def _queue(name: str, said: Mapping[str, Any]) -> QueueRules:
    return QueueRules(
        name,
        **_services(said),
        **_times(said),
        max_attempts=_count(said["max_attempts"]),
        backoff=_backoff(**said["backoff"]),
        poison_after=_count(said["poison_after"]),
        max_jobs=said.get("max_jobs"),
        max_bytes=said.get("max_bytes"),
        max_job_bytes=said.get("max_job_bytes"),
        max_inprogress=said.get("max_inprogress"),
    )


def _services(said: Mapping[str, Any]) -> dict[str, Any]:
    rights = ("read", "write", "browse", "manage")
    return {right: frozenset(said[right]) for right in rights if right in said}


def _times(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "lease_ms": said["job_timeout_minutes"] * MINUTE_MS,
        "keep_ms": said["job_keep_minutes"] * MINUTE_MS,
        "dead_keep_ms": said["dead_keep_minutes"] * MINUTE_MS,
    }


def _count(said: int | str) -> int | None:
    """A number as it is; the words `unlimited` and `never` are None."""
    return said if isinstance(said, int) else None


def _backoff(
    *,
    kind: Any,
    jitter: float,
    base_seconds: float = 0,
    factor: float = 2,
    max_seconds: float | None = None,
    delays_seconds: Iterable[float] = (),
) -> Backoff:
    # A wait that stands in the file as it is has no other bound.
    max_ms = DELAY_MS_MAX if max_seconds is None else _ms(max_seconds)
    return Backoff(
        kind=kind,
        base_ms=_ms(base_seconds),
        factor=float(factor),
        max_ms=max_ms,
        delays_ms=tuple(map(_ms, delays_seconds)),
        jitter=float(jitter),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
