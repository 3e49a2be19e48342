"""Who is calling: a request to a Caller. Knows no queue and no right.

The first configured proof decides (docs: security). X-Name alone is the only proof yet;
Unix peers, client certificates and tokens are asked before it, in `identify`.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from jobengine.api.exchange import Sent
from jobengine.core.access import Caller
from jobengine.core.queues import NAME
from jobengine.errors import Refused

_FORWARDED = ("Forwarded", "Via")


class Unauthenticated(Refused):
    """Nothing proves who is calling."""

    code = "unauthenticated"


class WrongHost(Refused):
    """The request was meant for a host that this daemon is not."""

    code = "wrong_host"


class CrossSite(Refused):
    """A web page of another site sent the request."""

    code = "cross_site"


class BadHeader(Refused):
    """A header that is needed is missing, or says nothing that can be used."""

    code = "bad_header"


class Trust(Protocol):
    """What the settings say about proofs."""

    @property
    def auth_mode(self) -> str | None: ...
    @property
    def hosts(self) -> tuple[str, ...]: ...


def identify(request: Sent, trust: Trust, *, default: str | None = None) -> Caller:
    """The service that sends the request; *default* where it names none.

    Raises:
        Unauthenticated: X-Name alone does not count from where it comes.
        WrongHost: it counts, but a foreign host name was asked for.
        BadHeader: there is no usable X-Name.
    """
    if trust.auth_mode != "names":
        _check_local(request, trust)
    if default is None or request.header("X-Name") is not None:
        default = named(request, "X-Name")
    return Caller(default, local=is_local(request, trust))


def named(request: Sent, header: str) -> str:
    """The name in *header*. Two such headers arrive joined by a comma: not a name.

    Raises:
        BadHeader: it is missing, empty, or not a name.
    """
    name = request.header(header) or ""
    if not name:
        raise BadHeader(f"the header {header} is missing or empty")
    if not NAME.fullmatch(name):
        raise BadHeader(
            f"the header {header} must be one name of 1 to 255 characters of "
            "A-Z a-z 0-9 _ . : @ - and space, with no space at its ends"
        )
    return name


def check_same_site(request: Sent) -> None:
    """Refuse what a browser sends on behalf of a web page: no page is a service.

    Raises:
        CrossSite: the request carries an Origin or says that it crosses sites.
    """
    crosses = request.header("Sec-Fetch-Site") == "cross-site"
    if crosses or request.header("Origin") is not None:
        raise CrossSite("this API does not answer requests from web pages")


def is_local(sent: Sent, trust: Trust) -> bool:
    """Whether it comes from this machine, straight, and was meant for it."""
    host = sent.header("Host") or ""
    return _from_here(sent) and _ours(host, trust.hosts)


def _check_local(request: Sent, trust: Trust) -> None:
    """X-Name alone counts on this machine only, and only for a host that it is."""
    if not _from_here(request):
        raise Unauthenticated(
            "X-Name alone is trusted from this machine only: call the daemon from "
            "the machine it runs on, without a proxy, or set auth: {mode: names} in "
            "config.yml where everybody who can reach it may be trusted"
        )
    # A page that made its own name resolve to 127.0.0.1 still says its own name here.
    if not _ours(request.header("Host") or "", trust.hosts):
        raise WrongHost(
            "the Host header must be localhost, an IP address, or a name listed "
            "under hosts: in config.yml"
        )


def _from_here(request: Sent) -> bool:
    return not _forwarded(request) and _loopback(request.peer)


def _forwarded(request: Sent) -> bool:
    """Whether a proxy says it was there: its own address would make the world local."""
    return any(
        name.title() in _FORWARDED or name.lower().startswith("x-forwarded-")
        for name in request.header_names()
    )


def _loopback(address: str | None) -> bool:
    # A Unix socket has an empty address, a TCP peer never.
    if not address:
        return address == ""
    peer = ip_address(address)
    if isinstance(peer, IPv6Address) and peer.ipv4_mapped:
        return peer.ipv4_mapped.is_loopback
    return peer.is_loopback


def _ours(host: str, hosts: Iterable[str]) -> bool:
    name = re.sub(r":\d*$", "", host).lower()
    return name == "localhost" or name in hosts or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name[1:-1] if name.startswith("[") else name)
    except ValueError:
        return False
    return True
