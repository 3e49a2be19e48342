"""What the environment says of the daemon to speak to. The one reader of it here."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from jobengine.errors import ConfigError

# Where a daemon is unless told otherwise.
DEFAULT_URL = "http://127.0.0.1:6010"


class Told(TypedDict, total=False):
    """What a client is made with."""

    url: str
    name: str
    token: str
    ca_file: str
    cert_file: str
    key_file: str


def told(environ: Mapping[str, str] | None = None) -> Told:
    """What the variables say; an empty one says nothing.

    Raises:
        ConfigError: there are two tokens, or one that cannot be read.
    """
    environ = os.environ if environ is None else environ
    found: Told = {}
    for name, variable in VARIABLES.items():
        if value := environ.get(variable):
            found[name] = value  # type: ignore[literal-required]
    if path := environ.get(TOKEN_FILE):
        if "token" in found:
            raise ConfigError(f"say {VARIABLES['token']} or {TOKEN_FILE}, not both")
        found["token"] = _token(path)
    return found


def _token(path: str) -> str:
    try:
        token = Path(path).read_text("ascii").strip()
    except (OSError, UnicodeError):
        raise ConfigError(f"{TOKEN_FILE}: {path!r} cannot be read") from None
    if not token:
        raise ConfigError(f"{TOKEN_FILE}: {path!r} is empty")
    return token


VARIABLES = {
    "url": "JOBENGINE_URL",
    "name": "JOBENGINE_NAME",
    "token": "JOBENGINE_TOKEN",
    "ca_file": "JOBENGINE_CA_FILE",
    "cert_file": "JOBENGINE_CERT_FILE",
    "key_file": "JOBENGINE_KEY_FILE",
}
TOKEN_FILE = "JOBENGINE_TOKEN_FILE"
