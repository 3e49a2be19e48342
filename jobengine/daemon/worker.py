"""The worker of `server: loop`, the default: an event loop that owns every socket.

uvloop and llhttp (httptools) do the reading, Turns the rest. An idle, slow or waiting
client costs memory and no thread.
"""

import asyncio
import gc
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog
import uvloop
from gunicorn.sock import ssl_context
from gunicorn.workers.base import Worker

from jobengine.api.app import ENDPOINTS
from jobengine.api.lane import HotLane
from jobengine.daemon.connection import Connection
from jobengine.daemon.keeper import BROKE_OFF, DRAIN_S, TOLD, Keeper, leave
from jobengine.daemon.serve import connections_possible
from jobengine.daemon.settings import Limits, Settings
from jobengine.daemon.turns import Turns
from jobengine.daemon.wsgi import Gateway

# How often we look whether the parent is still there: an orphan would hold the port.
PARENT_S = 1.0
# A collection of garbage walks over what is not a job, and there is little of that.
GARBAGE = (50_000, 20, 100)

log = structlog.get_logger()


class LoopWorker(Keeper, Worker):  # type: ignore[misc]
    """Serves with an event loop."""

    _turns: Turns | None = None  # until the loop runs

    def init_signals(self) -> None:
        """Those that mean something come through the loop, and are held back until it
        runs. The parent's handlers are not for us."""
        for number in (signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGCHLD, signal.SIGWINCH):
            signal.signal(number, signal.SIG_DFL)

    def run(self) -> None:
        """Serve until told to stop, then take the house down in order."""
        try:
            self._loop.run_until_complete(self._serve())
        except Exception:  # the outermost loop of this process
            log.exception("serving broke off", code="bug")
            self._exit_code = BROKE_OFF
        self._house.close()
        leave(self._exit_code)

    def _open(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._ended = asyncio.Event()
        super()._open()
        gc.freeze()
        gc.set_threshold(*GARBAGE)

    def _soon(self, call: Callable[[], Any]) -> None:
        self._loop.call_soon_threadsafe(call)

    def _stop_serving(self) -> None:
        self._status.draining = True
        self.alive = False
        self._ended.set()

    async def _serve(self) -> None:
        turns = self._turns = self._make_turns()
        self._meter.watch(connections=lambda: len(turns.seats))
        context = ssl_context(self.cfg) if self.cfg.is_ssl else None
        servers = [
            await self._loop.create_server(
                lambda: Connection(turns),
                sock=listener.sock,
                ssl=context,
                ssl_handshake_timeout=context and self._settings.limits.header_seconds,
                backlog=self.cfg.backlog,
            )
            for listener in self.sockets
        ]
        self._listen_to_signals()
        log.info("ready", pid=self.pid, server="loop")
        while self.is_parent_alive():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), PARENT_S)
        for server in servers:
            server.close()
        await turns.drain(DRAIN_S)
        # Their last transactions are committed by us: they must not hold up the loop.
        await self._loop.run_in_executor(None, self._stop_chores)
        turns.close()

    def _make_turns(self) -> Turns:
        desk = self._flask.extensions["jobengine"]
        settings = self._settings
        return Turns(
            self._loop,
            house=self._house,
            lane=HotLane(desk, ENDPOINTS.values()),
            gateway=Gateway(
                self._flask,
                (settings.host, str(settings.port)),
                "https" if self.cfg.is_ssl else "http",
            ),
            meter=self._meter,
            limits=_possible(settings.limits),
            broken=self._break_off,
        )

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._loop.add_signal_handler(number, self._stop_serving)
        self._loop.add_signal_handler(signal.SIGHUP, self._ask_reload)
        self._loop.add_signal_handler(signal.SIGUSR1, self._ask_compact)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)

    def _apply(self, settings: Settings) -> None:
        super()._apply(settings)
        self._soon(self._follow)

    def _follow(self) -> None:
        """Serve by the settings as they are now."""
        if self._turns is not None:
            self._turns.use_limits(_possible(self._settings.limits))
            self._turns.ask_waiters_again()

    def _break_off(self) -> None:
        """What was answered last nobody knows: another worker starts from the file."""
        leave(BROKE_OFF)


def _possible(limits: Limits) -> Limits:
    """The limits, with as many connections as the process can have."""
    return replace(limits, connections=connections_possible(limits.connections))
