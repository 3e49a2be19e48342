"""config.yml as a file: reads and checks it, and makes the default one.

Knows neither the environment nor what a setting brings about.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobengine.core.queues import NAME
from jobengine.daemon import schema, strict_yaml
from jobengine.daemon.strict_yaml import quoted
from jobengine.errors import ConfigError


def read(path: Path) -> bytes | None:
    """The file's bytes; None where there is no file.

    Raises:
        ConfigError: it is there and cannot be read.
    """
    try:
        with path.open("rb") as file:
            # One more than may be, so that a longer file is seen to be too long.
            return file.read(strict_yaml.BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(_unusable(path, error)) from None


def check(path: Path, data: bytes) -> tuple[dict[str, Any], list[str]]:
    """The values that *data* stands for, and every mistake in it with its line."""
    document = strict_yaml.read(data)
    found = [(fault.line, fault.message) for fault in document.faults]
    values: dict[str, Any] = {}
    if document.value is None and not found:
        # Rather a file cut short than a wish to lose every queue.
        found = [(1, "the file is empty; delete it to get the default")]
    elif document.value is not None:
        values, mistakes = schema.check(document.value)
        for where, what in mistakes:
            # What is missing has no line but that of its section.
            line = document.lines.get(where) or document.lines.get(where[:-1], 1)
            found.append((line, _at(where) + what))
    return values, [f"{path}:{line}: {what}" for line, what in sorted(found)]


def _at(where: strict_yaml.Path) -> str:
    steps = [
        each if isinstance(each, int) or NAME.fullmatch(each) else quoted(each)
        for each in where
    ]
    return ".".join(map(str, steps)) + ": " if steps else ""


def write_default(path: Path) -> None:
    """Make the file: whole or not at all, and on the disk before anyone relies on it.

    Raises:
        ConfigError: it cannot be written there.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_SYNC
        with open(os.open(new, flags, 0o644), "wb") as file:
            file.write(DEFAULT)
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise ConfigError(_unusable(path, error)) from None


def _unusable(path: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"{path}: {reason} (CONFIG_PATH says where the configuration is)"


DEFAULT = b"""\
# JobEngine's configuration. `jobengine config check` finds every mistake in it, with
# its line. A running daemon takes a change up within two seconds.
version: 1

# The daemon listens on 127.0.0.1 until host says otherwise.
port: 6010

# A finished job (complete or failed) is deleted this long after it ended.
job_keep_minutes: 60

# A job in progress this long, with no word of it, is failed.
job_timeout_minutes: 10

# Each queue names the services that may read it (list jobs, take the next one) and
# those that may write to it (create, change and delete jobs). For anyone else it does
# not exist:
#
#   queues:
#     mail:
#       read: [mailer]
#       write: [shop, billing]
#
# A queue taken out of this file is gone for callers at once; its jobs wait
# removed_keep_minutes (1440) for the name to come back, then they are deleted.
queues: {}
"""
