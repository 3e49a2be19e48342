"""A daemon is killed while requests with keys are under way; they are sent again.

Whatever it had done of them, and whether the answer left or not: each is done once.
"""

import itertools
import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from daemons import PATIENCE_S, Answer, Daemon

CLIENTS, KILLS = 8, 6
# Answers between two kills.
ANSWERS = (5, 60)


class Sender:
    """Sends jobs with a key each, from many threads at once, until nobody answers."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.answers: dict[int, Answer] = {}  # by the number of the job
        self.unanswered: set[int] = set()
        self._numbers = itertools.count()
        self._change = threading.Condition()  # guards all of it

    def send_until_killed(self, answers: int) -> None:
        """Send, and kill the daemon after so many answers."""
        enough = len(self.answers) + answers
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._send_on) for _ in range(CLIENTS)]
            with self._change:
                assert self._change.wait_for(
                    lambda: len(self.answers) >= enough, PATIENCE_S
                )
            self.daemon.kill()
            for client in clients:
                client.result()

    def _send_on(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.daemon.port, timeout=PATIENCE_S)
        with suppress(OSError, HTTPException):
            while True:
                with self._change:
                    number = next(self._numbers)
                    self.unanswered.add(number)
                answer = send(connection, number)
                with self._change:
                    self.answers[number] = answer
                    self.unanswered.remove(number)
                    self._change.notify_all()
        connection.close()

    def send_again(self) -> dict[int, Answer]:
        """The same requests once more, all that there were."""
        connection = HTTPConnection("127.0.0.1", self.daemon.port, timeout=PATIENCE_S)
        every = sorted(self.answers.keys() | self.unanswered)
        again = {number: send(connection, number) for number in every}
        connection.close()
        return again


def send(connection: HTTPConnection, number: int) -> Answer:
    headers = {
        "X-Name": "shop",
        "Content-Type": "application/json",
        "Idempotency-Key": f"key-{number}",
    }
    body = json.dumps({"content": {"number": number}})
    connection.request("POST", "/api/v2/queues/mail/jobs", body, headers)
    reply = connection.getresponse()
    return Answer(reply.status, dict(reply.getheaders()), reply.read())


def listed(daemon: Daemon) -> list[int]:
    """The numbers of all jobs that there are."""
    found: list[int] = []
    path: str | None = "/api/v2/queues/mail/jobs?limit=1000"
    while path is not None:
        answer = daemon.ask("GET", path, name="mailer")
        assert answer.status == 200, answer.body
        found += [job["content"]["number"] for job in answer.json["jobs"]]
        following = answer.json["next"]
        path = following and f"/api/v2/queues/mail/jobs?limit=1000&cursor={following}"
    return found


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "daemon").start()
    yield daemon
    daemon.kill()


@pytest.mark.timeout(300)  # 10 s when nothing else runs
def test_each_request_is_done_once_over_kills_and_repetitions(daemon: Daemon) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance, sender = random.Random(seed), Sender(daemon)

    for _ in range(KILLS):
        sender.send_until_killed(chance.randint(*ANSWERS))
        daemon.start()
        again = sender.send_again()

        # What was acknowledged is answered as it was; the rest is done by now.
        for number, first in sender.answers.items():
            assert again[number].headers["Idempotency-Replayed"] == "true"
            assert (again[number].status, again[number].body) == (201, first.body)
            for name in ("Location",):
                assert again[number].headers[name] == first.headers[name]
        assert {answer.status for answer in again.values()} == {201}
        sender.answers |= again
        sender.unanswered.clear()
        assert sorted(listed(daemon)) == sorted(again)

    uids = [answer.json["uid"] for answer in sender.answers.values()]
    assert len(uids) == len(set(uids))
    assert "Traceback" not in daemon.log.read_text()
