"""SECRET: where it comes from, and which ones are refused. Derives no key."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jobengine.errors import ConfigError
from jobengine.store.sealer import raw_key

# Shorter ones are warned about: they can be guessed from a copy of the file.
CHARACTERS_MIN = 16
# Nobody types more; a path that names a disk image by mistake is not read whole.
BYTES_MAX = 64 * 1024

# What `serve --dev` uses where no secret is set. Refused everywhere else.
DEV_SECRET = b"jobengine-dev"

# Secrets that stand in examples and in every list of first guesses. Letters and digits
# only, small: change-me, CHANGE_ME and changeme are one.
SAMPLES = frozenset(
    (
        *("admin", "changeit", "changeme", "changethis", "default", "dev", "example"),
        *("helloworld", "jobengine", "jobenginedev", "letmein", "mysecret", "password"),
        *("placeholder", "qwerty", "replaceme", "root", "sample", "secret", "string"),
        *("supersecret", "test", "testing", "topsecret", "yoursecret"),
        *("yoursecrethere", "123456", "12345678", "123456789", "1234567890"),
    )
)


class Secrets(NamedTuple):
    """What opens the file, as the operator wrote it: `base64:` is still in front."""

    secret: bytes
    previous: bytes | None
    warnings: tuple[str, ...]


def read_secrets(environ: Mapping[str, str], *, dev: bool = False) -> Secrets:
    """SECRET and SECRET_PREVIOUS, each from its variable or the file it names.

    Raises:
        ConfigError: SECRET is missing, empty, malformed or a known sample. *dev* allows
            all of these but the malformed.
    """
    secret = _read(environ, "SECRET")
    previous = _read(environ, "SECRET_PREVIOUS")
    sample = secret is None or _letters(secret) in SAMPLES
    if dev and sample:
        warning = (
            "--dev: SECRET is missing or a known sample: the file is not protected"
        )
        return Secrets(secret or DEV_SECRET, previous, (warning,))
    if secret is None:
        raise ConfigError(
            "SECRET is missing or empty: set SECRET, or SECRET_FILE to the path of a "
            "file that holds it"
        )
    if sample:
        raise ConfigError("SECRET is a known sample: choose one that nobody can guess")
    return Secrets(secret, previous, _warnings(secret))


def secrets_to_read(environ: Mapping[str, str]) -> Secrets | None:
    """SECRET and SECRET_PREVIOUS for tools that only read; None where there is none.

    A sample will do: to read a file with it makes nothing weaker.

    Raises:
        ConfigError: one of them is malformed.
    """
    secret = _read(environ, "SECRET")
    if secret is None:
        return None
    return Secrets(secret, _read(environ, "SECRET_PREVIOUS"), ())


def legacy_secret(environ: Mapping[str, str]) -> bytes | None:
    """LEGACY_SECRET, which opens a file of an older JobEngine: any will do (D28)."""
    return _text(environ, "LEGACY_SECRET")


def _read(environ: Mapping[str, str], name: str) -> bytes | None:
    """The secret called *name*, None where neither variable has one."""
    secret = _text(environ, name)
    if secret is not None:
        raw_key(secret, name=name)  # refuses what says base64: and is no key
    return secret


def _text(environ: Mapping[str, str], name: str) -> bytes | None:
    value, path = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if value and path:
        raise ConfigError(f"both {name} and {name}_FILE are set: keep one")
    secret = _contents(name, path) if path else os.fsencode(value)
    return secret if secret.strip() else None


def _contents(name: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            secret = file.read(BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{name}_FILE cannot be read: {path}: {reason}") from None
    if len(secret) > BYTES_MAX:
        raise ConfigError(f"{name}_FILE is over {BYTES_MAX} bytes: {path}")
    # Editors end a file with a newline; a second one is meant.
    return secret.removesuffix(b"\n")


def _letters(secret: bytes) -> str:
    return re.sub(r"[\W_]", "", secret.decode("utf-8", "replace")).casefold()


def _warnings(secret: bytes) -> tuple[str, ...]:
    if len(secret.decode("utf-8", "replace")) >= CHARACTERS_MIN:
        return ()
    return (f"SECRET is shorter than {CHARACTERS_MIN} characters: it can be guessed",)
