"""Where a daemon is, and what proves that it is the right one. Opens nothing but the
files that the proofs are in.
"""

import ssl
from typing import Self
from urllib.parse import urlsplit

from msgspec import Struct

from jobengine.errors import ConfigError

_PORTS = {"http": 80, "https": 443}


class Address(Struct, frozen=True):
    """Where a daemon is. `prefix` is what a proxy has before the paths of the API."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """The address that the URL says.

        Raises:
            ConfigError: it says none, or more than an address.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
            plain = url.isascii() and url.isprintable() and " " not in url
        except (ValueError, TypeError, AttributeError):
            raise ConfigError(_refusal(url)) from None
        odd = parts.username is not None or parts.query or parts.fragment or not plain
        if parts.scheme not in _PORTS or not parts.hostname or odd:
            raise ConfigError(_refusal(url))
        if port is None:
            port = _PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))

    @property
    def netloc(self) -> str:
        """Host and port, as a URL and the header Host have them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.prefix}"


def _refusal(url: object) -> str:
    # Before an @ is a password, and in a query may be one.
    text = repr(url)
    shown = "" if any(sign in text for sign in "@?#") else f", and not {text}"
    return (
        "the daemon's URL must be http:// or https://, a host, and maybe :port and "
        f"/path{shown}"
    )


# The authorities that verify the daemon, else the machine's own; the certificate that
# is shown to it, where it asks for one; and the key of that.
Files = tuple[str | None, str | None, str | None]


def reached(
    url: str, files: Files, connections: int
) -> tuple[Address, ssl.SSLContext | None]:
    """Where a carrier with so many connections is to ask, and what is proved there.

    Raises:
        ConfigError: the URL says none, a file cannot be used, or there are to be none.
    """
    address = Address.parse(url)
    if connections < 1:
        raise ConfigError("connections must be at least 1")
    return address, proofs(files) if address.scheme == "https" else None


def proofs(files: Files) -> ssl.SSLContext:
    """How the daemon is verified, always, and what it is shown.

    Raises:
        ConfigError: a file cannot be read, or is not what it must be.
    """
    ca_file, cert_file, key_file = files
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            f"{ca_file!r} holds no certificates that can be read"
        ) from None
    if key_file is not None and cert_file is None:
        raise ConfigError("a key_file needs the cert_file that it belongs to")
    if cert_file is not None:
        try:
            context.load_cert_chain(cert_file, key_file)
        except (OSError, ssl.SSLError):
            raise ConfigError(
                f"{cert_file!r} and its key cannot be read, or do not fit"
            ) from None
    return context
