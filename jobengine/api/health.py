"""Whether the daemon lives, is ready, and which it is. Shows nothing of anybody's."""

from dataclasses import dataclass
from urllib.parse import parse_qs

from jobengine._version import __version__
from jobengine.api import v2_docs as docs
from jobengine.api.endpoint import Desk, Dialect
from jobengine.api.exchange import TEXT, Asked, Reply

HEALTH = Dialect("health", open=True, always=True)


@dataclass(slots=True)
class Status:
    """What the daemon says about itself: it sets, /readyz reads."""

    draining: bool = False
    config_error: str | None = None


@HEALTH.endpoint("GET", "/livez", statuses=(200,), head=True, doc=docs.LIVES)
def livez(_desk: Desk, _asked: Asked) -> Reply:
    """The process answers. Asks neither the disk nor a lock."""
    return _text("ok")


@HEALTH.endpoint("GET", "/startupz", statuses=(200,), head=True, doc=docs.LIVES)
def startupz(_desk: Desk, _asked: Asked) -> Reply:
    """The file is open: before that nobody is answered."""
    return _text("ok")


@HEALTH.endpoint("GET", "/readyz", statuses=(200, 503), head=True, doc=docs.READY)
def readyz(desk: Desk, asked: Asked) -> Reply:
    """Whether requests are taken; with `?verbose`, each check on a line."""
    ready, checks = look(desk)
    lines = checks if "verbose" in parse_qs(asked.query, keep_blank_values=True) else []
    lines.append("ok" if ready else "not ready")
    return _text("\n".join(lines), 200 if ready else 503)


@HEALTH.endpoint("GET", "/healthz", statuses=(200, 503), head=True, doc=docs.READY)
def healthz(desk: Desk, asked: Asked) -> Reply:
    """The same as /readyz, under the name that load balancers expect."""
    return readyz(desk, asked)


@HEALTH.endpoint("GET", "/version", statuses=(200,), head=True, doc=docs.VERSION)
def version(_desk: Desk, _asked: Asked) -> Reply:
    """Which JobEngine this is."""
    text = f'{{"version":"{__version__}"}}'
    return Reply(200, text.encode(), "application/json")


def look(desk: Desk) -> tuple[bool, list[str]]:
    """Whether the daemon is ready, and what each check found."""
    stored = desk.house.store.failure is None
    draining = desk.status.draining
    # Why it was rejected is in the log: the reason may name queues, this page is open.
    config = "ok" if desk.status.config_error is None else "rejected"
    lines = [
        f"store: {'ok' if stored else 'failed'}",
        f"room: {desk.house.room}",
        f"serving: {'draining' if draining else 'ok'}",
        f"config: {config}",
    ]
    return stored and not draining, lines


def _text(text: str, status: int = 200) -> Reply:
    return Reply(status, f"{text}\n".encode(), TEXT)
