"""Our daemon under measurement, and the servers it is measured against over HTTP."""

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import engine
from bench.process import (
    NOTHING,
    built,
    children,
    free_port,
    listens,
    serving,
)

SECRET = "the secret of a benchmark"
# The default one first: what is said of "ours" is said of it.
SERVERS = ("loop", "gthread")
FLASK_THREADS = 8


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that serves."""

    port: int
    pid: int
    log: Path

    @property
    def worker(self) -> int:
        """The process that owns the file."""
        return children(self.pid)[0]

    def compact(self) -> None:
        """Ask for a compaction."""
        os.kill(self.pid, signal.SIGUSR1)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has logged of *event*."""
        told = map(json.loads, self.log.read_text().splitlines())
        return [line for line in told if line["event"] == event]


@contextmanager
def running(
    folder: Path,
    database: Path,
    *,
    server: str = SERVERS[0],
    environ: Mapping[str, str] = NOTHING,
) -> Iterator[Daemon]:
    """`jobengine serve` over *database*, made if it is not there.

    Raises:
        Missing: it did not start.
    """
    port = free_port()
    config = folder / f"{port}.yml"
    queues = {
        name: {"read": [engine.NAME], "write": [engine.NAME]}
        for name in engine.RULES.queues
    }
    # JSON is YAML.
    config.write_text(json.dumps({"port": port, "server": server, "queues": queues}))
    log = folder / f"{port}.log"
    with serving(
        [sys.executable, "-m", "jobengine", "serve"],
        ready=lambda: _ready(port),
        log=log,
        environ={
            "SECRET": SECRET,
            "CONFIG_PATH": str(config),
            "DB_PATH": str(database),
            **environ,
        },
    ) as pid:
        yield Daemon(port, pid, log)


def _ready(port: int) -> bool:
    # Connections are taken before the file is open: ask.
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60).close()
    except OSError:
        return False
    return True


@contextmanager
def hello(folder: Path) -> Iterator[int]:
    """A Flask application that says hello, on gunicorn's threads; its port."""
    port = free_port()
    with serving(
        [
            *(sys.executable, "-m", "gunicorn", "bench.hello:app"),
            *("--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"),
            *("--threads", str(FLASK_THREADS), "--no-control-socket"),
        ],
        ready=lambda: listens(port),
        log=folder / f"{port}.log",
    ):
        yield port


@contextmanager
def nothing(folder: Path) -> Iterator[int]:
    """The server that costs nothing; its port.

    Raises:
        Missing: there is no C compiler.
    """
    port = free_port()
    with serving(
        [built("answer.c", folder), str(port)],
        ready=lambda: listens(port),
        log=folder / "answer.log",
    ):
        yield port
