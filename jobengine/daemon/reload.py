"""Reload: a changed configuration is put in force, or refused, while the daemon runs.

Knows when to load and what to say about it; what a setting brings about is others'.
"""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from msgspec.structs import asdict

from jobengine.api.health import Status
from jobengine.core import plan
from jobengine.daemon.chore import Chore
from jobengine.daemon.settings import AT_START, Settings
from jobengine.errors import ConfigError, StoreFailed

LOOK_S = 0.25
# A file still being written reads otherwise a second later. With LOOK_S on top a change
# is in force well within the two seconds that are promised.
SETTLED_S = 1.0

log = structlog.get_logger()


def read(path: Path) -> bytes | None:
    """What the file holds; None while there is none, or none that can be read.

    Read whole each time: sizes and times say little where a symlink is swapped.
    """
    try:
        return path.read_bytes()
    except OSError:
        return None


class Reloader(Chore):
    """Watches the configuration file; asked to, or when it has changed, reloads.

    *seen* is what the file held just before *settings* were loaded from it. *load*
    gives the settings anew, or raises ConfigError, also where there is no file: a
    default one has no queues. *apply* puts them in force.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        seen: bytes | None,
        load: Callable[[], Settings],
        apply: Callable[[Settings], None],
        status: Status,
        told: Callable[..., None] = lambda **_accepted: None,
    ) -> None:
        super().__init__("reload")
        self._told = told
        self._started = self._current = settings
        self._load = load
        self._apply = apply
        self._status = status
        self._judged = self._seen = seen
        self._seen_at = 0.0

    def look(self, *, now: float, asked: bool = False) -> None:
        """Look at the file once. *now* is in seconds, of any clock that only runs.

        Raises:
            StoreFailed: the new rules cannot be put in force, nor anything else.
        """
        found = read(self._started.config_path)
        if found != self._seen:
            self._seen, self._seen_at = found, now
        settled = found != self._judged and now - self._seen_at >= SETTLED_S
        if asked or settled:
            self._judged = found
            self._judge()

    def _judge(self) -> None:
        try:
            settings = self._load()
        except ConfigError as error:
            self._status.config_error = str(error)
            self._told(accepted=False)
            log.error(
                "configuration rejected, nothing changed",
                code=error.code,
                detail=str(error),
            )
        else:
            self._accept(settings)

    def _accept(self, settings: Settings) -> None:
        change = asdict(plan.diff(self._current.rules, settings.rules))
        for section in ("limits", "relay"):
            change[section] = _changed(section, self._current, settings)
        self._apply(settings)
        self._current = settings
        self._status.config_error = None
        self._told(accepted=True)
        log.info(
            "configuration reloaded",
            **{key: what for key, what in change.items() if what},
        )
        waiting = [
            key
            for key in AT_START
            if getattr(settings, key) != getattr(self._started, key)
        ]
        if waiting:
            log.warning("changes wait for a restart", keys=waiting)

    def _run(self) -> None:
        while not self._stop.is_set():
            asked = self._bell.wait(LOOK_S)
            self._bell.clear()
            if self._stop.is_set():
                return
            try:
                self.look(now=monotonic(), asked=asked)
            except StoreFailed:
                log.error("reload ended: the store has failed", code=StoreFailed.code)
                return
            except Exception:  # the outermost loop of this thread
                log.exception("reload failed, going on as before", code="reload_failed")


def _changed(section: str, old: Settings, new: Settings) -> dict[str, Any]:
    """The keys of a section that are others now, as they are; None: it is gone."""
    before, now = old.effective[section], new.effective[section]
    return {
        key: now.get(key) for key in before | now if now.get(key) != before.get(key)
    }
