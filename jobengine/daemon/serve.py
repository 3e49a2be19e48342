"""Serving: makes the process ready, then hands it to gunicorn's arbiter for good."""

import os
import resource
from collections.abc import Callable

import structlog

from jobengine.daemon.settings import Settings, hide_from_gunicorn
from jobengine.telemetry import logs

log = structlog.get_logger()


def run(settings: Settings, *, load: Callable[[], Settings]) -> int:
    """Serve until told to stop; the exit code.

    *load* gives the settings anew: every worker begins with it, and so does a reload.
    """
    logs.configure(settings.log_level)
    _protect()
    for note in settings.notes:
        log.info(note)
    for warning in settings.warnings:
        log.warning(warning)
    hide_from_gunicorn()
    # Only now: gunicorn reads its variables while it is imported.
    from jobengine.daemon.arbiter import serve

    return serve(settings, load)


def _protect() -> None:
    """Nothing that this process writes is for others, its memory least of all."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
