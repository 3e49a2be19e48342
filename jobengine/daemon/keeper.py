"""The keeper: what every worker is besides a server, the owner of the file.

Knows in which order a house comes up and goes down, and how a process that owns one
ends. How requests are served is its workers' business.
"""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import chain
from typing import Any

import structlog
from flask import Flask
from msgspec.structs import asdict

from jobengine.api.app import create_app, new_meter, use_settings
from jobengine.api.health import Status
from jobengine.build import House, open_house
from jobengine.daemon import reload
from jobengine.daemon.clock import SystemClock
from jobengine.daemon.compactor import Compacting
from jobengine.daemon.exits import exit_code
from jobengine.daemon.reload import Reloader
from jobengine.daemon.settings import Settings
from jobengine.daemon.sweeper import Sweeper
from jobengine.errors import JobEngineError, StoreFailed
from jobengine.store.journal.disk import OsDisk
from jobengine.store.port import Change
from jobengine.telemetry.metrics import Meter

# How long requests under way may take to end once we were told to stop. What is left of
# the 10 s of a stop is for the sweeper's batch and the last sync.
DRAIN_S = 5

IO_ERROR, BUG = 74, 1
# Any code that the parent does not take as final: another worker may do better.
BROKE_OFF = 70

# The signals that mean something to a worker. The parent holds them back over the fork.
TOLD = (
    *(signal.SIGHUP, signal.SIGUSR1),
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT),
)

log = structlog.get_logger()


class Keeper(ABC):
    """Opens the house after the fork, and closes it before the process ends."""

    app: Any  # gunicorn's: what the arbiter was started with
    alive: bool
    ppid: int
    _house: House
    _flask: Flask
    _settings: Settings
    _meter: Meter
    _sweeper: Sweeper
    _reloader: Reloader
    _compacting: Compacting

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._status = Status()
        self._exit_code = 0

    @abstractmethod
    def _soon(self, call: Callable[[], object]) -> None:
        """Have *call* made by the main loop. From any thread, and from a signal."""

    @abstractmethod
    def _stop_serving(self) -> None:
        """Take no more requests, and let those under way end."""

    def load_wsgi(self) -> None:
        """Bring the house up. Where it cannot be: one line says why, and we end."""
        try:
            self._open()
        except JobEngineError as error:
            log.error("cannot start", code=error.code, detail=str(error))
            leave(exit_code(error))
        except Exception:
            log.exception("cannot start", code="bug")
            leave(BUG)

    def is_parent_alive(self) -> bool:
        """Whether we are to go on; nobody would tell us to stop any more."""
        if os.getppid() != self.ppid:
            log.error("the parent process is gone: stopping")
            self._stop_serving()
        return bool(self.alive)

    def _open(self) -> None:
        # Not the parent's settings: they may be days old by now.
        seen = reload.read(self.app.settings.config_path)
        settings = self._settings = self.app.load_settings()
        clock = SystemClock()
        self._house = open_house(
            db_path=settings.db_path,
            secret=settings.secret,
            previous=settings.secret_previous,
            rules=settings.rules,
            clock=clock,
            on_failure=self._fail,
        )
        _tell_how(self._house, OsDisk(settings.db_path).doubtful())
        self._meter = self._new_meter(clock, settings)
        self._flask = create_app(self._house, settings, self._status, self._meter)
        self._sweeper = Sweeper(
            self._house.upkeep, self._house.store, clock, swept=self._meter.swept
        )
        self._reloader = Reloader(
            settings,
            seen=seen,
            load=self.app.load_settings,
            apply=self._apply,
            status=self._status,
            told=self._meter.reloaded,
        )
        assert self._house.compactor is not None
        self._compacting = Compacting(self._house.compactor)
        self._sweeper.start()
        self._reloader.start()
        self._compacting.start()

    def _apply(self, settings: Settings) -> None:
        """Put a new configuration in force. From the reloader's thread."""
        self._house.upkeep.reconfigure(settings.rules)
        use_settings(self._flask, settings)
        self._meter.use_names(*_names(settings))
        self._settings = settings
        # Who waits for a queue that is gone, or may not read it now, should know.
        self._house.doorbell.ring_all()

    def _new_meter(self, clock: SystemClock, settings: Settings) -> Meter:
        meter = new_meter(clock.now)
        meter.use_names(*_names(settings))
        meter.tell_made(self._is_made)
        meter.watch(
            file_bytes=lambda: self._house.file_bytes,
            waiters=lambda: self._house.doorbell.waiters,
            auth_insecure=lambda: self._settings.auth_mode == "names",
        )
        self._house.store.listen(self._overhear)
        return meter

    def _is_made(self, queue: str) -> bool:
        rules = self._house.engine.rules.queues.get(queue)
        return rules is not None and rules.made is not None

    def _overhear(
        self, changes: list[Change], now: int, size: int, seconds: float
    ) -> None:
        self._meter.commit(changes, now)
        self._meter.committed(size, len(changes), seconds)

    def _fail(self, error: BaseException) -> None:
        """A write or a sync has failed: those who wait are told, then we end."""
        log.critical("storage failed", code=StoreFailed.code, detail=str(error))
        self._exit_code = IO_ERROR
        # A worker that is stopping anyway has no main loop left to tell.
        if self.alive:
            self._soon(self._stop_serving)

    def _stop_chores(self) -> None:
        self._reloader.stop()
        self._compacting.stop()
        self._sweeper.stop()

    def _ask_reload(self, *_: object) -> None:
        # Through the main loop: a signal may come while this thread holds a lock.
        self._soon(lambda: self._reloader.ask())

    def _ask_compact(self, *_: object) -> None:
        self._soon(lambda: self._compacting.ask())


def _names(settings: Settings) -> tuple[set[str], set[str]]:
    """The queues and services that the configuration names."""
    rules = settings.rules
    every = [*rules.queues.values(), *([rules.dynamic] if rules.dynamic else [])]
    lists = [(each.read, each.write, each.browse, each.manage) for each in every]
    return set(rules.queues), set(rules.admins).union(*chain(*lists))


def _tell_how(house: House, doubtful: str | None) -> None:
    """Log in what state the file was found, and on what."""
    log.info("database open", found=house.opened)
    if doubtful is not None:
        log.warning("the file system may not keep its promises", kind=doubtful)
    if house.torn is not None:
        log.warning("dropped a commit that nobody was told of", **asdict(house.torn))


def leave(code: int) -> None:
    """End the process now.

    Not by way of the interpreter's end: that would wait for a thread whose client never
    finishes its request.
    """
    os._exit(code)
