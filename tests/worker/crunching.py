"""Handlers that run in processes, good ones and hostile ones: test_processes.py."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jobengine.errors import Abandoned
from jobengine.worker.handlers import Context, Handler
from jobengine.worker.held import Held, HeldJob
from jobengine.worker.outcomes import (
    Cancel,
    Failed,
    Outcome,
    RescheduleAt,
    RetryAt,
    Unprocessable,
)

# Longer than any test lasts.
FOR_EVER_S = 1000.0

OUTCOMES = {
    "cancel": Cancel(),
    "failed": Failed("no luck"),
    "later": RetryAt(timedelta(minutes=2), "busy"),
    "now": RetryAt(0),
    "then": RescheduleAt(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
    "unprocessable": Unprocessable("who\ud800"),
    "nonsense": RetryAt("tomorrow"),  # type: ignore[arg-type]
}


class Busy(Exception):
    """Try again in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


def when_free(error: Busy, job: Held) -> Outcome:
    return RetryAt(error.seconds, f"attempt {job.attempt}")


def whoami(job: HeldJob) -> int:
    return os.getpid()


def echo(job: HeldJob) -> Any:
    return job.content


def size(job: HeldJob) -> int:
    return len(job.content)


def asks(ctx: Context, job: HeldJob) -> Any:
    """Asks the daemon for itself, unless it is to die."""
    if job.content == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    job.checkpoint("asking")
    return ctx.client.get(job.queue, job.uid).progress


def seen(ctx: Context, job: HeldJob) -> Any:
    job_is = [job.uid, job.attempt, job.saved, job.created_at]
    return [*job_is, ctx.queue, ctx.state]


def outcome(job: HeldJob) -> Outcome:
    return OUTCOMES[job.content]


def busy(job: HeldJob) -> None:
    raise Busy(job.content)


def worse(job: HeldJob) -> None:
    raise {"value": ValueError, "key": KeyError, "exit": SystemExit}[job.content]("x")


def steps(job: HeldJob) -> None:
    job.progress({"page": 1})
    job.checkpoint({"page": 2})


def told_after_all(job: HeldJob) -> str:
    try:
        job.checkpoint(1)
    except Abandoned as error:
        return f"{error.code}: {error}"
    return "kept"


def large(job: HeldJob) -> str:
    return "x" * job.content


def no_json(job: HeldJob) -> object:
    return object()


def chatty(job: HeldJob) -> None:
    print("said by the handler", flush=True)
    os.write(1, b"\x00\x00\x00\x05hello\n")


def reads_stdin(job: HeldJob) -> str:
    return sys.stdin.read()


def patient(job: HeldJob) -> str | None:
    """Goes on until it is told to stop."""
    Path(job.content).write_text(str(os.getpid()))
    job.wait_cancelled(FOR_EVER_S)
    return job.why


def deaf(job: HeldJob) -> None:
    """Goes on for ever."""
    Path(job.content).write_text(str(os.getpid()))
    time.sleep(FOR_EVER_S)


def deaf_with_offspring(job: HeldJob) -> None:
    other = subprocess.Popen(["sleep", str(FOR_EVER_S)])
    Path(job.content).write_text(str(other.pid))
    time.sleep(FOR_EVER_S)


def meets(job: HeldJob) -> None:
    """Ends when so many others have come."""
    here = Path(job.content)
    (here / job.uid).touch()
    while len(list(here.iterdir())) < 2:
        time.sleep(0.01)


def quits(job: HeldJob) -> None:
    os._exit(job.content)


def is_killed(job: HeldJob) -> None:
    os.kill(os.getpid(), job.content)


def closes_all(job: HeldJob) -> None:
    os.closerange(3, 4096)
    time.sleep(FOR_EVER_S)


def forks(job: HeldJob) -> int:
    """Both return: the job has one end."""
    other = os.fork()
    if other:
        os.waitpid(other, 0)
    return os.getpid()


def scribbles(job: HeldJob) -> None:
    """Writes where only the process itself may."""
    up = int(sys.argv[1].split(",")[1])
    os.write(up, b"\xff" * 64)
    time.sleep(FOR_EVER_S)


def speaks_later(job: HeldJob) -> None:
    """Has a thread that outlives the run."""
    if job.content == "first":
        threading.Thread(target=lambda: [job.progress(n) for n in range(2000)]).start()


def signals(job: HeldJob) -> list[Any]:
    """SIGTERM is not for the process, but for what it starts."""
    os.kill(os.getpid(), signal.SIGTERM)
    other = subprocess.Popen(["sleep", str(FOR_EVER_S)])
    other.terminate()
    return [other.wait()]


class Doubler(Handler):
    QUEUE = "numbers"
    PROCESSES = 1

    def process(self, ctx: Context, job: Any) -> Any:
        return 2 * job.content


class Scaler(Doubler):
    def __init__(self, factor: int) -> None:
        self.factor = factor
