"""Serving: makes the process ready, then hands it to gunicorn's arbiter for good."""

import os
import resource
from collections.abc import Callable

import structlog

from jobengine.daemon.settings import Settings, hide_from_gunicorn
from jobengine.telemetry import logs

# What a process has open besides its connections: the file and the one that replaces
# it, the port, the configuration, the pipes of its parent, with room to spare.
DESCRIPTORS_KEPT = 64

# The soft and the hard number of descriptors that this process may have open.
Descriptors = tuple[int, int]

log = structlog.get_logger()


def run(settings: Settings, *, load: Callable[[], Settings]) -> int:
    """Serve until told to stop; the exit code.

    *load* gives the settings anew: every worker begins with it, and so does a reload.
    """
    logs.configure(settings.log_level)
    _protect()
    raise_descriptors()
    for note in settings.notes:
        log.info(note)
    for warning in settings.warnings:
        log.warning(warning)
    # gunicorn's threads have a number of connections of their own.
    if settings.server == "loop":
        warn_of_descriptors(settings.limits.connections)
    hide_from_gunicorn()
    # Only now: gunicorn reads its variables while it is imported.
    from jobengine.daemon.arbiter import serve

    return serve(settings, load)


def _protect() -> None:
    """Nothing that this process writes is for others, its memory least of all."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# --- descriptors ------------------------------------------------------------------


def _descriptors() -> Descriptors:
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _set_descriptors(both: Descriptors) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, both)


def raise_descriptors(
    *,
    get: Callable[[], Descriptors] = _descriptors,
    put: Callable[[Descriptors], None] = _set_descriptors,
) -> None:
    """Let this process, and its children, open as many files as they ever may.

    A system that refuses leaves it as it was; `connections_possible` knows.
    """
    _, hard = get()
    try:
        put((hard, hard))
    except (OSError, ValueError) as error:
        log.warning("the number of open files stays as it is", detail=str(error))


def connections_possible(
    limits_connections: int, *, get: Callable[[], Descriptors] = _descriptors
) -> int:
    """How many connections this process can really hold: the limit, or fewer."""
    # The soft number, for it is what counts: the hard one once it was raised.
    soft, _ = get()
    if soft == resource.RLIM_INFINITY:
        return limits_connections
    # Somebody has to be answered, to find out what is wrong.
    return max(1, min(limits_connections, soft - DESCRIPTORS_KEPT))


def warn_of_descriptors(
    limits_connections: int, *, get: Callable[[], Descriptors] = _descriptors
) -> None:
    """Say so in the log where fewer connections are possible than the limit allows."""
    possible = connections_possible(limits_connections, get=get)
    if possible == limits_connections:
        return
    needed = limits_connections + DESCRIPTORS_KEPT
    log.warning(
        "too few open files for limits.connections",
        open_files=get()[0],
        connections=limits_connections,
        possible=possible,
        detail=f"allow {needed} open files (ulimit -n, or LimitNOFILE in a systemd "
        "unit), or lower limits.connections",
    )
