"""A real daemon for tests: a process on a free port of loopback."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
# The key itself, so that no start spends time on deriving it.
SECRET = "base64:" + base64.b64encode(bytes(range(32))).decode()
# For what is promised within a few seconds, on a machine that is busy besides.
PATIENCE_S = 20.0

CONFIG = """\
version: 1
queues:
  mail: {read: [mailer], write: [shop]}
"""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def until(look: Callable[[], T], what: str) -> T:
    """What *look* gives, once that is true of anything."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Daemon:
    """One `jobengine serve` after another over the same folder."""

    def __init__(self, folder: Path, *, server: str = "loop", **environ: str) -> None:
        folder.mkdir(exist_ok=True)
        self.server = server
        self.config = folder / "config.yml"
        self.configure(CONFIG)
        self.db = folder / "jobs.queuedb"
        self.log = folder / "log"
        self.port = free_port()
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SECRET": SECRET,
            "CONFIG_PATH": str(self.config),
            "DB_PATH": str(self.db),
            "PORT": str(self.port),
            **environ,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, text: str) -> None:
        """Write the configuration, for the server that this one is about."""
        self.config.write_text(f"server: {self.server}\n{text}")

    def launch(self, *flags: str) -> "Daemon":
        """Start it and return at once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jobengine", "serve", *flags],
                env=self.environ,
                stderr=log,
                stdout=log,
                cwd=self.config.parent,
                start_new_session=True,
            )
        return self

    def start(self, *flags: str) -> "Daemon":
        """Start it and return when it serves."""
        self.launch(*flags)
        until(self.lives, "the daemon serves")
        return self

    def lives(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("GET", "/livez").status == 200
        except (OSError, HTTPException):
            return False

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """The code that it ends with."""
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def ask(
        self,
        method: str,
        path: str,
        *,
        name: str | None = None,
        body: object = None,
        queue: str = "mail",
    ) -> Answer:
        """One exchange on a connection of its own, as *name* where one is given."""
        headers = {"Connection": "close"}
        if name is not None:
            headers |= {"X-Name": name, "X-Queue": queue}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, headers)
            reply = connection.getresponse()
            return Answer(reply.status, dict(reply.getheaders()), reply.read())
        finally:
            connection.close()

    def create(self, number: int = 0) -> str:
        """Queue a job as the shop; its uid."""
        job = {"content": {"number": number}, "priority": 50, "valid_for": 3600}
        answer = self.ask("PUT", "/api/v1/jobs/create", name="shop", body=job)
        assert answer.status == 201, answer.body
        return str(answer.json["uid"])

    def waiting(self, count: int) -> None:
        """Return when so many requests wait for a job."""

        def told() -> bool:
            text = self.ask("GET", "/metrics").body.decode()
            return f"\njobengine_waiters {float(count)}\n" in text

        until(told, f"{count} wait")

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """What it has logged so far, all or one kind of event."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line for line in lines if event in line["event"]]

    def workers(self) -> list[int]:
        """The processes under the one that was started."""
        assert self.process is not None
        return children(self.process.pid)

    def kill(self) -> None:
        """Kill both processes at once; when this returns they are gone."""
        if self.process is not None and self.process.poll() is None:
            group = self.process.pid
            os.killpg(group, signal.SIGKILL)
            self.process.wait()
            # A worker in the midst of a sync has the file until that is over.
            until(lambda: not living(group), "its processes are gone")


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def living(group: int) -> list[str]:
    """The processes of the group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "ZX":
                found.append(stat.parent.name)
    return found
