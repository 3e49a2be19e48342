"""Records what many clients see at once of one daemon, which may be killed meanwhile.

Judges nothing: what is recorded is one `Op` for every request that was sent.
"""

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from daemons import CONFIG, PATIENCE_S, Answer, Daemon, until
from jobs_model import Op
from load import LEASE, QUEUE, READER, WRITER, Gate, Unsent
from wire import JOB, job_of, listed

# No fewer: with two or three at once hardly any order is in doubt.
CLIENTS = 8
PRIORITIES = (1, 50, 100)
# The jobs' own times must not end while they are being recorded.
TIMES = "job_keep_minutes: 1440\njob_timeout_minutes: 1440\n"
# A worker that settles what it has settled already.
LATE = 0.1
# The queue fills, and then is drained until nothing is left: both are to be seen.
MOOD_OPS = 150
# What a client does, and how often: while it fills, and while it is drained.
WAYS = ("create", "claim", "settle", "delete", "look")
WEIGHTS = ((40, 25, 20, 6, 2), (18, 45, 28, 6, 2))


class Known(NamedTuple):
    """A job that a client may ask for: by its token it is in the record."""

    token: str
    uid: str
    lease: str = ""


class Recorder:
    """Clients on connections that they keep alive, and all that they saw."""

    def __init__(self, daemon: Daemon, *, seed: str) -> None:
        self.daemon = daemon
        self.ops: list[Op] = []  # appends are atomic
        self.kills = 0
        self.gate = Gate(CLIENTS)
        self.life = 0  # of the daemon: a connection of an earlier one is dead
        self.ended = False
        self.numbers = itertools.count()
        self.held: list[Known] = []
        self.shown: list[Known] = []
        self.lists = threading.Lock()  # one listing after the other
        self._chance = random.Random(seed)
        self._goal, self._reached = 0, threading.Event()
        self._asker = _Client(self, CLIENTS, seed)
        self._threads = [
            threading.Thread(target=_Client(self, n, f"{seed}.{n}").run, daemon=True)
            for n in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def run_to(self, operations: int) -> None:
        """Let the clients go until so many operations are recorded; they go on."""
        self._goal, self._reached = operations, threading.Event()
        self.gate.open()
        assert self._reached.wait(PATIENCE_S * 4), "the clients get no answers"

    def kill(self) -> None:
        """Kill the daemon under the clients and start it again on the same file."""
        self._chance.choice((self._kill_worker, self._kill_all))()
        self.kills += 1
        self._asker.look()

    def finish(self) -> list[Op]:
        """Take what is queued, list what is left, and give the whole record."""
        self.gate.close()
        while self._asker.claim():
            pass
        self._asker.look()
        self.stop()
        return sorted(self.ops, key=lambda op: op.began)

    def stop(self) -> None:
        self.ended = True
        self.gate.open()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._asker.hang_up()

    def note(self, op: Op) -> None:
        self.ops.append(op)
        if len(self.ops) >= self._goal:
            self._reached.set()

    def _kill_all(self) -> None:
        self.daemon.kill()
        self._rest(time.monotonic())
        self.daemon.start()

    def _kill_worker(self) -> None:
        """The parent starts another, for which the clients wait."""
        (worker,) = self.daemon.workers()
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in self.daemon.workers(), "the worker is gone")
        self._rest(time.monotonic())

    def _rest(self, gone_at: float) -> None:
        """Hold the clients. What was cut off was done by *gone_at* or never will be:
        the process that may have got it is gone, and its connections with it."""
        self.gate.close()
        self.life += 1
        now = time.monotonic()
        for number, op in enumerate(self.ops):
            if op.ended == float("inf"):
                # One that was sent later still got no further than a dead connection.
                ended = gone_at if op.began < gone_at else now
                self.ops[number] = op._replace(ended=ended)


class _Client:
    """One client, which does whatever comes to its mind."""

    def __init__(self, recorder: Recorder, number: int, seed: str) -> None:
        self._recorder = recorder
        self._number = number
        self._chance = random.Random(seed)
        self._connection: HTTPConnection | None = None
        self._life = 0

    def run(self) -> None:
        ways: dict[str, Callable[[], object]] = {
            way: getattr(self, way) for way in WAYS
        }
        while True:
            self._recorder.gate.pass_through()
            if self._recorder.ended:
                self.hang_up()
                return
            mood = len(self._recorder.ops) // MOOD_OPS % 2
            way = self._chance.choices(WAYS, WEIGHTS[mood])[0]
            try:
                ways[way]()
            except Unsent:
                time.sleep(0.002)  # nobody is there to be asked for a while

    def create(self) -> None:
        token = f"t{next(self._recorder.numbers)}"
        priority = self._chance.choice(PRIORITIES)
        body = b'{"content":{"token": "%b"},"priority":%d,"valid_for":86400}' % (
            token.encode(),
            priority,
        )
        op = self._op("create", job=token, priority=priority)
        self._ask(op, "PUT", "create", WRITER, body)

    def claim(self) -> bool:
        """Whether there was a job."""
        op = self._op("claim")
        answer = self._ask(op, "GET", "next", READER, seen=_claimed)
        if answer is None or answer.status != 200:
            return False
        found = JOB.fullmatch(answer.body)
        assert found, answer.body
        job = job_of(found)
        self._recorder.held.append(Known(job.token, job.uid, answer.headers[LEASE]))
        return True

    def settle(self) -> None:
        held = self._one_of(self._recorder.held)
        if held is None:
            return
        if self._chance.random() >= LATE:
            with suppress(ValueError):  # another client settles it too
                self._recorder.held.remove(held)
        state = self._chance.choice(["complete"] * 3 + ["failed", "queued"])
        op = self._op("settle", job=held.token, lease=held.lease, state=state)
        body = b'{"status":"%b"}' % state.encode()
        self._ask(op, "POST", held.uid, READER, body)

    def delete(self) -> None:
        job = self._one_of(self._recorder.shown)
        if job is not None:
            op = self._op("delete", job=job.token)
            self._ask(op, "DELETE", job.uid, WRITER)

    def look(self) -> None:
        recorder = self._recorder
        if not recorder.lists.acquire(blocking=False):
            return
        try:
            answer = self._ask(self._op("list"), "GET", "", READER, seen=_listed)
            if answer is not None:
                recorder.shown[:] = [Known(j.token, j.uid) for j in listed(answer)]
        finally:
            recorder.lists.release()

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _op(
        self,
        verb: str,
        *,
        job: str = "",
        priority: int = 0,
        lease: str = "",
        state: str = "",
    ) -> Op:
        # A claim that is never answered gives a lease that nobody knows.
        return Op(self._number, verb, 0, 0, None, job, priority, lease, state)

    def _ask(
        self,
        op: Op,
        method: str,
        path: str,
        name: str,
        body: bytes = b"",
        seen: Callable[[Op, Answer], Op] = lambda op, _answer: op,
    ) -> Answer | None:
        """Ask, and record the answer, or that none came."""
        headers = {"X-Name": name, "X-Queue": QUEUE}
        headers |= {"Content-Type": "application/json"} if body else {}
        headers |= {LEASE: op.lease} if op.lease else {}
        connection = self._connected()
        path = f"/api/v1/jobs/{path}".rstrip("/")
        began = time.monotonic()
        try:
            connection.request(method, path, body or None, headers)
            reply = connection.getresponse()
            answer = Answer(reply.status, dict(reply.getheaders()), reply.read())
        except TimeoutError:
            raise  # a daemon that hangs is no daemon that was killed
        except (OSError, HTTPException):
            self.hang_up()
            self._recorder.note(op._replace(began=began, ended=float("inf")))
            return None
        ended = time.monotonic()
        op = op._replace(began=began, ended=ended, status=answer.status)
        self._recorder.note(seen(op, answer))
        return answer

    def _connected(self) -> HTTPConnection:
        if self._life != self._recorder.life:
            self.hang_up()
            self._life = self._recorder.life
        if self._connection is None:
            port = self._recorder.daemon.port
            self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            try:
                self._connection.connect()
            except OSError as error:
                self.hang_up()
                raise Unsent from error
        return self._connection

    def _one_of(self, some: list[Known]) -> Known | None:
        # A copy: other clients put in and take out.
        found = some.copy()
        return self._chance.choice(found) if found else None


def _claimed(op: Op, answer: Answer) -> Op:
    found = JOB.fullmatch(answer.body)
    if found is None:
        return op
    return op._replace(job=job_of(found).token, lease=answer.headers[LEASE])


def _listed(op: Op, answer: Answer) -> Op:
    listing = tuple((job.token, job.state) for job in listed(answer))
    return op._replace(listing=listing)


def record(daemon: Daemon, *, seed: str, operations: int, kills: int) -> list[Op]:
    """What the clients saw of a daemon that was killed so often under them.

    It has run by then, over its file and no other's jobs, and is left running.
    """
    recorder = Recorder(daemon, seed=seed)
    try:
        for nth in range(kills):
            recorder.run_to(operations * (nth + 1) // (kills + 1))
            recorder.kill()
        recorder.run_to(operations)
        return recorder.finish()
    finally:
        recorder.stop()


def configured(daemon: Daemon) -> Daemon:
    """A daemon whose jobs outlive the record."""
    daemon.configure(CONFIG + TIMES)
    return daemon
