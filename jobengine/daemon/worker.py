"""The worker: the process that owns the file, from opening it to closing it.

Knows in which order a house comes up and goes down; gunicorn's threads do the serving.
"""

import json
import os
import signal
from functools import partial
from typing import Any

import structlog
from flask import Flask
from gunicorn import util
from gunicorn.http import errors as http
from gunicorn.workers.gthread import ThreadWorker
from msgspec.structs import asdict

from jobengine.api.app import create_app, use_settings
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

# What gunicorn's parser refuses -> the status; the first that fits.
# In our own words: those of http.HTTPStatus differ from one Python to the next.
REFUSED = {
    http.LimitRequestLine: (414, "URI too long"),
    http.LimitRequestHeaders: (431, "Request header fields too large"),
    http.ExpectationFailed: (417, "Expectation failed"),
    http.UnsupportedTransferCoding: (501, "Not implemented"),
    http.ParseException: (400, "Bad request"),
    Exception: (500, "Internal server error"),
}

log = structlog.get_logger()


class Worker(ThreadWorker):  # type: ignore[misc]
    """Opens the house after the fork, serves, and closes it before it ends."""

    _house: House
    _sweeper: Sweeper
    _reloader: Reloader
    _compacting: Compacting
    _exit_code = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._status = Status()

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGHUP, self.handle_reload)
        # Ctrl-C reaches us directly, and the parent sends TERM: both mean drain.
        signal.signal(signal.SIGINT, self.handle_exit)
        signal.signal(signal.SIGQUIT, self.handle_exit)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)

    def handle_reload(self, _signal: int, _frame: object) -> None:
        # Through the main loop: a signal may come while this thread holds a lock.
        self.method_queue.defer(lambda: self._reloader.ask())

    def handle_usr1(self, _signal: int, _frame: object) -> None:
        self.method_queue.defer(lambda: self._compacting.ask())

    def handle_exit(self, sig: int, frame: object) -> None:
        self._status.draining = True
        super().handle_exit(sig, frame)

    def is_parent_alive(self) -> bool:
        if not super().is_parent_alive():
            log.error("the parent process is gone: stopping")
            self.handle_exit(signal.SIGTERM, None)
        return bool(self.alive)

    def load_wsgi(self) -> None:
        """Bring the house up. Where it cannot be: one line says why, and we end."""
        try:
            self.wsgi = self._open()
        except JobEngineError as error:
            log.error("cannot start", code=error.code, detail=str(error))
            _leave(exit_code(error))
        except Exception:
            log.exception("cannot start", code="bug")
            _leave(BUG)

    def run(self) -> None:
        """Serve until told to stop, then take the house down in order."""
        log.info("ready", pid=os.getpid())
        # gunicorn drains for this long; the arbiter, which waits longer, has its own.
        self.cfg.set("graceful_timeout", DRAIN_S)
        try:
            super().run()
        except Exception:  # the outermost loop of this process
            log.exception("serving broke off", code="bug")
            self._exit_code = BROKE_OFF
        self._close()
        _leave(self._exit_code)

    def _open(self) -> Flask:
        # Not the parent's settings: they may be days old by now.
        seen = reload.read(self.app.settings.config_path)
        settings = self.app.load_settings()
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
        app = create_app(self._house, settings, self._status)
        self._sweeper = Sweeper(self._house.upkeep, self._house.store, clock)
        self._reloader = Reloader(
            settings,
            seen=seen,
            load=self.app.load_settings,
            apply=partial(self._apply, app),
            status=self._status,
        )
        assert self._house.compactor is not None
        self._compacting = Compacting(self._house.compactor)
        self._sweeper.start()
        self._reloader.start()
        self._compacting.start()
        return app

    def _apply(self, app: Flask, settings: Settings) -> None:
        self._house.upkeep.reconfigure(settings.rules)
        use_settings(app, settings)

    def _fail(self, error: BaseException) -> None:
        """A write or a sync has failed: those who wait are told, then we end."""
        log.critical("storage failed", code=StoreFailed.code, detail=str(error))
        self._exit_code = IO_ERROR
        # A worker that is stopping anyway has no main loop left to tell.
        if self.alive:
            self.method_queue.defer(self.handle_exit, signal.SIGTERM, None)

    def _close(self) -> None:
        self._reloader.stop()
        self._compacting.stop()
        self._sweeper.stop()
        self._house.close()

    def handle_error(self, _req: Any, client: Any, _addr: Any, exc: Exception) -> None:
        """Answer what never became a request. Its bytes are not for the log."""
        refused = next(at for kind, at in REFUSED.items() if isinstance(exc, kind))
        log.debug("not a request", status=refused[0], error=type(exc).__name__)
        util.write_nonblock(client, _problem(*refused))


def _tell_how(house: House, doubtful: str | None) -> None:
    """Log in what state the file was found, and on what."""
    log.info("database open", found=house.opened)
    if doubtful is not None:
        log.warning("the file system may not keep its promises", kind=doubtful)
    if house.torn is not None:
        log.warning("dropped a commit that nobody was told of", **asdict(house.torn))


def _problem(status: int, title: str) -> bytes:
    code = title.lower().replace(" ", "_")
    body = {
        "type": "/problems/" + code.replace("_", "-"),
        "title": title,
        "status": status,
        "detail": "what was sent is not a request that this server takes",
        "code": code,
    }
    text = json.dumps(body)
    return (
        f"HTTP/1.1 {status} {title}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(text)}\r\n\r\n{text}"
    ).encode("ascii")


def _leave(code: int) -> None:
    """End the process now.

    Not by way of the interpreter's end: that would wait for a thread whose client never
    finishes its request.
    """
    os._exit(code)
