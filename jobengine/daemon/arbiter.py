"""The arbiter: gunicorn's parent process, bent to one worker that owns one file.

Knows sockets, signals and how a worker ended; nothing of jobs, and never the file.
"""

import errno
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import structlog
from gunicorn import sock, util
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger

from jobengine.daemon.keeper import TOLD
from jobengine.daemon.settings import Settings
from jobengine.telemetry.logs import path_shown

# Stopping takes 10 s at most: the worker drains for five of them and closes the file.
STOP_S = 9
THREADS = 8
# An idle connection costs a descriptor, and 1024 are what a process gets by default.
CONNECTIONS = 900

# How a worker ends that another one would not do better than.
FINAL = frozenset({1, 65, 69, 74, 75, 77, 78})
# Why there is no socket to listen on: a busy port is busy, all else is configuration.
BUSY, CONFIG = 75, 78

log = structlog.get_logger()


def serve(settings: Settings, load: Callable[[], Settings]) -> int:
    """Listen, keep one worker running, and return how it all ended."""
    try:
        OneWorker(_Application(settings, load)).run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    raise AssertionError("the arbiter ended without saying how")


class _Application(BaseApplication):  # type: ignore[misc]
    """What gunicorn asks for: all its settings, which come from nowhere else."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self.settings = settings
        self.load_settings = load
        super().__init__()

    def load_config(self) -> None:
        for key, value in _gunicorn_settings(self.settings).items():
            self.cfg.set(key, value)


# The worker classes, by `server` in config.yml; only the one that is used is loaded.
WORKERS = {
    "loop": "jobengine.daemon.worker.LoopWorker",
    "gthread": "jobengine.daemon.threads.ThreadsWorker",
}


def _gunicorn_settings(settings: Settings) -> dict[str, object]:
    return {
        "workers": 1,  # one process owns the file
        "worker_class": WORKERS[settings.server],
        "threads": THREADS,
        "worker_connections": CONNECTIONS,
        "keepalive": settings.limits.idle_seconds,
        "timeout": 0,  # no watchdog may kill the owner of a file in a slow sync
        "graceful_timeout": STOP_S,
        "limit_request_line": 4094,
        "limit_request_fields": 50,
        "limit_request_field_size": 8190,
        "forwarded_allow_ips": "",  # nobody speaks for somebody else
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        "header_map": "drop",  # X_Name is not X-Name
        "http_parser": "python",
        "control_socket_disable": True,
        "umask": 0o077,
        "worker_tmp_dir": _memory_folder(),
        "logger_class": _Log,
    }


def _memory_folder() -> str | None:
    """Where gunicorn's scratch file may lie, on a read-only root too."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class OneWorker(Arbiter):  # type: ignore[misc]
    """One worker, never more; HUP asks it to reload instead of replacing it."""

    _verdict: int | None = None  # the exit code of a worker that must not come back

    def start(self) -> None:
        self.LISTENERS = [_listen(self.app.settings, self.cfg, self.log)]
        super().start()
        log.info("listening", address=str(self.LISTENERS[0]))

    def handle_hup(self) -> None:
        self.kill_workers(signal.SIGHUP)

    def handle_usr1(self) -> None:
        """Asks the worker to compact the file."""
        self.kill_workers(signal.SIGUSR1)

    def handle_ignored(self) -> None:
        """Signals that mean more or fewer workers, or another program."""

    handle_ttin = handle_ttou = handle_usr2 = handle_ignored

    def handle_term(self) -> None:
        raise StopIteration

    # Ctrl-C is how most people stop a daemon they started by hand: no less cleanly.
    handle_int = handle_quit = handle_term

    def spawn_worker(self) -> None:
        # What the worker is told before it can listen must reach it once it can.
        signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
        try:
            super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)

    def manage_workers(self) -> None:
        if self._verdict is not None:
            raise HaltServer("the worker cannot go on", self._verdict)
        super().manage_workers()

    def reap_workers(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = self.WORKERS.pop(pid, None)
            # As process 1 of a container we also bury orphans we never knew.
            if worker is not None:
                worker.tmp.close()
                self._note_end(pid, os.waitstatus_to_exitcode(status))

    def _note_end(self, pid: int, code: int) -> None:
        """*code* as in `subprocess`: negative is the signal that killed it."""
        if code in FINAL:
            self._verdict = code
        elif code != 0:
            log.error("worker died, starting another", pid=pid, exit=code)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        log.info("stopping", reason=reason or "asked to")
        self.stop()
        code = exit_status or self._verdict or 0
        log.info("stopped", exit=code)
        raise SystemExit(code)


def _listen(settings: Settings, cfg: Any, gunicorn_log: Any) -> Any:
    """The listening socket; where it cannot be had, one line says why, once."""
    kind = sock.TCP6Socket if util.is_ipv6(settings.host) else sock.TCPSocket
    try:
        return kind((settings.host, settings.port), cfg, gunicorn_log)
    except OSError as error:
        log.error(
            "cannot listen",
            host=settings.host,
            port=settings.port,
            detail=error.strerror,
        )
        raise SystemExit(BUSY if error.errno == errno.EADDRINUSE else CONFIG) from None


class _Log(Logger):  # type: ignore[misc]
    """gunicorn's warnings and errors among our lines, and our own access log."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self.error_log.propagate = True
        # The rest is its inner life, told for each request.
        self.error_log.setLevel(logging.WARNING)

    @property
    def access_log_enabled(self) -> bool:
        return bool(log.is_enabled_for(logging.DEBUG))

    def access(self, resp: Any, _req: Any, environ: Any, request_time: Any) -> None:
        log.debug(
            "request",
            method=environ.get("REQUEST_METHOD"),
            path=path_shown(environ.get("PATH_INFO", "")),
            status=resp.status_code,
            bytes=resp.sent,
            ms=round(request_time.total_seconds() * 1000, 1),
        )
