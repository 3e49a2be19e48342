"""Load: clients that ask a daemon for everything at once and tell the oracle of it."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import NamedTuple, TypeVar

from daemons import PATIENCE_S, Answer, Daemon
from history import Act
from oracle import Oracle, Seen
from wire import JOB, content_of, job_of, listed

T = TypeVar("T")

READER, WRITER, QUEUE = "mailer", "shop", "mail"
LEASE = "X-JobEngine-Lease"
PRIORITIES = (1, 50, 100)


class Lost(Exception):
    """The connection died before the answer was whole."""


class Unsent(Exception):
    """Nobody listens: nothing was asked."""


class Held(NamedTuple):
    """A job that was handed out, as the worker that got it knows it."""

    token: str
    uid: str
    lease: str


class Gate:
    """Lets clients go on, or holds them all between two requests."""

    def __init__(self, clients: int) -> None:
        self._clients = clients
        self._held = 0
        self._open = False
        self._turn = threading.Condition()

    def pass_through(self) -> None:
        with self._turn:
            self._held += 1
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._open)
            self._held -= 1

    def open(self) -> None:
        with self._turn:
            self._open = True
            self._turn.notify_all()

    def close(self) -> None:
        """Return when every client waits."""
        with self._turn:
            self._open = False
            waits = self._turn.wait_for(
                lambda: self._held == self._clients, PATIENCE_S * 2
            )
        assert waits, "a client hangs, or has ended: see its traceback"


class Load:
    """Several clients on connections that they keep alive, stopped between requests."""

    def __init__(self, daemon: Daemon, oracle: Oracle, *, clients: int, seed: int):
        self.daemon = daemon
        self.oracle = oracle
        self.gate = Gate(clients)
        self.numbers = count()
        self.jobs: list[tuple[str, str]] = []  # (token, uid); appends are atomic
        self.held: list[Held] = []
        self.ended = False
        self._threads = [
            threading.Thread(target=_Client(self, f"{seed}.{n}").run, daemon=True)
            for n in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def listing(self) -> list[Seen]:
        """What the daemon lists, in its order; while the gate is closed."""
        answer = self.daemon.ask("GET", "/api/v1/jobs", name=READER, queue=QUEUE)
        jobs = listed(answer)
        self.jobs[:] = [(job.token, job.uid) for job in jobs]
        return jobs

    def stop(self) -> None:
        self.ended = True
        self.gate.open()
        for thread in self._threads:
            thread.join(PATIENCE_S)


class _Client:
    """One client, which does whatever comes to its mind."""

    def __init__(self, load: Load, seed: str) -> None:
        self._load = load
        self._oracle = load.oracle
        self._chance = random.Random(seed)
        self._connection: HTTPConnection | None = None
        # What it does, and how often.
        self._ways: dict[Callable[[], None], int] = {
            self._create: 35,
            self._claim: 30,
            self._settle: 20,
            self._override: 10,
            self._delete: 15,
        }

    def run(self) -> None:
        ways, weights = list(self._ways), list(self._ways.values())
        while True:
            self._load.gate.pass_through()
            if self._load.ended:
                self._hang_up()
                return
            try:
                self._chance.choices(ways, weights)[0]()
            except Unsent:
                time.sleep(0.002)  # nobody is there to be asked for a while

    def _create(self) -> None:
        token = f"t{next(self._load.numbers)}"
        content = content_of(token, self._chance)
        priority = self._chance.choice(PRIORITIES)
        body = b'{"content":%b,"priority":%d,"valid_for":86400}' % (content, priority)
        act = Act("create", 0, 0, None, priority=priority, content=content)
        answer = self._note(token, act, "PUT", "create", WRITER, body)
        if answer is not None and answer.status == 201:
            self._load.jobs.append((token, answer.json["uid"]))

    def _claim(self) -> None:
        began = time.monotonic()
        try:
            answer = self._exchange("GET", "next", READER)
        except Lost:
            self._oracle.note_unseen(began, time.monotonic())
            return
        ended = time.monotonic()
        if answer.status == 204:
            self._oracle.note_empty(began, ended)
            return
        assert answer.status == 200, answer
        found = JOB.fullmatch(answer.body)
        assert found, answer.body
        job, lease = job_of(found), answer.headers[LEASE]
        act = Act("claim", began, ended, 200, None, job.priority, job.content, lease)
        self._oracle.note(job.token, act)
        self._load.held.append(Held(job.token, job.uid, lease))

    def _settle(self) -> None:
        held = self._one_of(self._load.held)
        if held is None:
            return
        # Mostly once; a worker that comes back late is refused.
        if self._chance.random() < 0.8:
            self._forget(held)
        state = self._chance.choice(["complete"] * 4 + ["failed", "queued"])
        act = Act("change", 0, 0, None, state=state, lease=held.lease)
        body = b'{"status":"%b"}' % state.encode()
        self._note(held.token, act, "POST", held.uid, READER, body, lease=held.lease)

    def _override(self) -> None:
        job = self._one_of(self._load.jobs)
        if job is None:
            return
        token, uid = job
        way = self._chance.randrange(3)
        priority = self._chance.choice(PRIORITIES)
        content = content_of(token, self._chance)
        act, body = (
            (Act("change", 0, 0, None, state="queued"), b'{"status":"queued"}'),
            (
                Act("change", 0, 0, None, priority=priority),
                b'{"priority":%d}' % priority,
            ),
            (Act("change", 0, 0, None, content=content), b'{"content":%b}' % content),
        )[way]
        self._note(token, act, "POST", uid, WRITER, body)

    def _delete(self) -> None:
        job = self._one_of(self._load.jobs)
        if job is not None:
            act = Act("delete", 0, 0, None)
            self._note(job[0], act, "DELETE", job[1], WRITER)

    def _note(
        self,
        token: str,
        act: Act,
        method: str,
        path: str,
        name: str,
        body: bytes = b"",
        lease: str | None = None,
    ) -> Answer | None:
        """Ask, and tell the oracle of the answer, or that none came."""
        began = time.monotonic()
        try:
            answer = self._exchange(method, path, name, body, lease)
        except Lost:
            answer = None
        status = None if answer is None else answer.status
        act = act._replace(began=began, ended=time.monotonic(), answer=status)
        self._oracle.note(token, act)
        return answer

    def _exchange(
        self,
        method: str,
        path: str,
        name: str,
        body: bytes = b"",
        lease: str | None = None,
    ) -> Answer:
        headers = {"X-Name": name, "X-Queue": QUEUE}
        headers |= {"Content-Type": "application/json"} if body else {}
        headers |= {LEASE: lease} if lease else {}
        connection = self._connected()
        try:
            connection.request(method, f"/api/v1/jobs/{path}", body or None, headers)
            reply = connection.getresponse()
            return Answer(reply.status, dict(reply.getheaders()), reply.read())
        except TimeoutError:
            raise  # a daemon that hangs is no daemon that was killed
        except (OSError, HTTPException) as error:
            self._hang_up()
            raise Lost from error

    def _connected(self) -> HTTPConnection:
        if self._connection is None:
            port = self._load.daemon.port
            self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            try:
                self._connection.connect()
            except OSError as error:
                self._hang_up()
                raise Unsent from error
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _one_of(self, some: list[T]) -> T | None:
        # A copy: other clients put in and take out.
        found = list(some)
        return self._chance.choice(found) if found else None

    def _forget(self, held: Held) -> None:
        # Another client may settle it too.
        with suppress(ValueError):
            self._load.held.remove(held)
