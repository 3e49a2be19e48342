"""A worker process that is made to be killed: the SDK's Worker with handlers of five
kinds. What it does, and what the daemon answers, it writes to its own file.

    JOBENGINE_URL=… JOBENGINE_NAME=… python chaos_worker.py FILE
"""

import asyncio
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from chaos_records import (
    Answered,
    Beaten,
    Claimed,
    Crashed,
    Kept,
    Log,
    Ran,
    Record,
    Told,
)
from msgspec import Struct

from jobengine import AsyncHeldJob, Client, Failed, HeldJob, Worker
from jobengine.client.environment import told as environment
from jobengine.client.http import connect
from jobengine.client.jobs import Job
from jobengine.client.transport import Answer, Request, Transport
from jobengine.worker.held import Held

# A run under way may end, when the worker is told to stop at the end.
GRACE_S = 20.0
# Verbs after which a lease holds its job no more.
ENDS = ("complete", "fail", "release", "reschedule")
TARGET = re.compile(r"/api/v2/queues/[^/]+/jobs/(?:([^/]+)/)?(\w+)(?:\?.*)?")


class Jobs(Struct, frozen=True):
    jobs: list[Job]


class Result(Struct, frozen=True):
    """What was said of one report: of many, of one alone, or of all together."""

    status: int = 0
    code: str | None = None
    lease_until: datetime | None = None


class Results(Struct, frozen=True):
    results: list[Result]


_read_claim = msgspec.json.Decoder(Jobs).decode
_read_one = msgspec.json.Decoder(Result).decode
_read_results = msgspec.json.Decoder(Results).decode


class Watched:
    """A Transport that writes down what it carries."""

    def __init__(self, inner: Transport, log: Log) -> None:
        self._inner = inner
        self._log = log

    def send(self, request: Request) -> Answer:
        """Carry the request, once."""
        found = TARGET.fullmatch(request.target)
        if request.method != "POST" or found is None:
            return self._inner.send(request)
        uid, verb = found.groups()
        reports = _reports(uid, request.body) if verb != "claim" else []
        if verb in ENDS:
            # Before it is sent: it may be carried out, and we killed before we know.
            self._log.write(*(Told(verb, *each) for each in reports))
        answer = self._inner.send(request)
        self._log.write(*_heard(verb, uid, reports, answer))
        return answer

    def another(self) -> "Watched":
        """The same with connections of its own."""
        return Watched(self._inner.another(), self._log)

    def hang_up(self) -> None:
        """Have all that wait for an answer wait no more, once the daemon knows."""
        self._inner.hang_up()

    def interrupt(self) -> None:
        """Have all that wait for an answer wait no more."""
        self._inner.interrupt()

    def close(self) -> None:
        """Let go of the connections."""
        self._inner.close()


def _reports(uid: str | None, body: bytes | None) -> list[tuple[str, str]]:
    """The uid and the lease of each job that is reported on."""
    said = msgspec.json.decode(body or b"{}")
    if uid is not None:
        return [(uid, said["lease"])]
    return [(each["uid"], each["lease"]) for each in said]


def _heard(
    verb: str, uid: str | None, reports: list[tuple[str, str]], answer: Answer
) -> Iterator[Record]:
    if verb == "claim":
        if answer.status == 200:
            yield from map(_claimed, _read_claim(answer.body).jobs)
        return
    if uid is None and answer.status == 200:
        results = _read_results(answer.body).results
    else:
        # One alone, or all refused as one.
        one = _read_one(answer.body)
        results = [Result(answer.status, one.code, one.lease_until)] * len(reports)
    for each, result in zip(reports, results, strict=True):
        yield Answered(verb, *each, result.status, result.code)
        if result.lease_until is not None:
            yield Beaten(*each, result.lease_until)


def _claimed(job: Job) -> Claimed:
    lease = job.lease
    assert lease is not None, "it was just claimed"
    assert lease.token is not None, "who claims it is told"
    return Claimed(job.uid, lease.token, lease.since, lease.until)


class Handlers:
    """What is done with the jobs of each queue. `content` says how."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def quick(self, job: HeldJob) -> Any:
        """Does nothing but its effect."""
        return self._ran(job)

    def slow(self, job: HeldJob) -> Any:
        """Takes its time, whether it is still wanted or not: who holds a lease that is
        lost is to come back with it."""
        time.sleep(job.content["ms"] / 1000)
        return self._ran(job)

    def flaky(self, job: HeldJob) -> Any:
        """Goes wrong a few times, in either way, before it goes right."""
        if job.attempt > job.content["fails"]:
            return self._ran(job)
        self._ran(job, done=False)
        if job.content["number"] % 2:
            return Failed("not this time")
        raise RuntimeError("nor that time")

    def steps(self, job: HeldJob) -> Any:
        """Goes on from where the run before it was."""
        for step in range(job.saved or 0, job.content["steps"]):
            job.progress(step)
            time.sleep(job.content["ms"] / 1000)
            job.checkpoint(step + 1)
            self._log.write(Kept(job.uid, job.hold.token, step + 1))
        return self._ran(job)

    async def waiting(self, job: AsyncHeldJob) -> Any:
        """As slow, on the loop."""
        await asyncio.sleep(job.content["ms"] / 1000)
        return self._ran(job)

    def _ran(self, job: Held, *, done: bool = True) -> dict[str, str]:
        """The effect; and the result, which names the lease that it was done under."""
        saved, number = job.saved or 0, job.content["number"]
        self._log.write(Ran(job.uid, job.attempt, job.hold.token, number, done, saved))
        return {"lease": job.hold.token}


QUEUES = ("quick", "slow", "flaky", "steps", "waiting")


def main(path: Path) -> int:
    log = Log(path)
    threading.excepthook = lambda args: log.write(Crashed(repr(args.exc_value)))
    logging.basicConfig(format="%(asctime)s %(threadName)s %(message)s")
    carrier = connect(
        environment()["url"], files=(None, None, None), timeout=30.0, connections=16
    )
    worker = Worker(Client.from_env(transport=Watched(carrier, log)), grace_s=GRACE_S)
    handlers = Handlers(log)
    for queue in QUEUES:
        handler: Callable[..., Any] = getattr(handlers, queue)
        worker.handler(queue)(handler)
    return 0 if worker.run() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
