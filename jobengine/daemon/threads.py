"""The worker of `server: gthread`: gunicorn's own parser and threads.

It says the same as the event loop does, but for what its parser decides; a slow client
takes one of its threads.
"""

import signal
from collections.abc import Callable
from typing import Any

import structlog
from gunicorn import util
from gunicorn.http import errors as http
from gunicorn.workers.gthread import ThreadWorker

from jobengine.daemon.keeper import BROKE_OFF, DRAIN_S, TOLD, Keeper, leave
from jobengine.daemon.wire import Wire

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


class ThreadsWorker(Keeper, ThreadWorker):  # type: ignore[misc]
    """Serves with gunicorn's threads."""

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGHUP, self._ask_reload)
        # Ctrl-C reaches us directly, and the parent sends TERM: both mean drain.
        signal.signal(signal.SIGINT, self.handle_exit)
        signal.signal(signal.SIGQUIT, self.handle_exit)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)

    def handle_usr1(self, _signal: int, _frame: object) -> None:
        self._ask_compact()

    def handle_exit(self, sig: int, frame: object) -> None:
        self._status.draining = True
        if self.booted:
            self._house.doorbell.close()
        super().handle_exit(sig, frame)

    def run(self) -> None:
        """Serve until told to stop, then take the house down in order."""
        log.info("ready", pid=self.pid, server="gthread")
        # gunicorn drains for this long; the arbiter, which waits longer, has its own.
        self.cfg.set("graceful_timeout", DRAIN_S)
        try:
            super().run()
        except Exception:  # the outermost loop of this process
            log.exception("serving broke off", code="bug")
            self._exit_code = BROKE_OFF
        self._stop_chores()
        self._house.close()
        leave(self._exit_code)

    def handle_error(self, _req: Any, client: Any, _addr: Any, exc: Exception) -> None:
        """Answer what never became a request. Its bytes are not for the log."""
        refused = next(at for kind, at in REFUSED.items() if isinstance(exc, kind))
        log.debug("not a request", status=refused[0], error=type(exc).__name__)
        util.write_nonblock(client, self._wire.refusal(*refused, DETAIL))

    def _open(self) -> None:
        super()._open()
        self.wsgi = self._flask
        self._wire = Wire()

    def _soon(self, call: Callable[[], object]) -> None:
        self.method_queue.defer(call)

    def _stop_serving(self) -> None:
        self.handle_exit(signal.SIGTERM, None)


DETAIL = "what was sent is not a request that this server takes"
