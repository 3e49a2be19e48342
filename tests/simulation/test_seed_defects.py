"""What broke JobEngine's first version (JE1-B1 to B6), each as a test it would fail."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import pytest
from daemons import CONFIG, Daemon, until

CREATES = 10_000
JOB_ENDS = re.compile(rb'"uid":"([^"]+)"}$')
CLIENTS = 8


def body(number: int = 0, *, priority: int = 50, valid_for: int = 3600) -> str:
    job = {"content": {"n": number}, "priority": priority, "valid_for": valid_for}
    return json.dumps(job)


class Client:
    """One connection, kept alive."""

    def __init__(self, daemon: Daemon) -> None:
        self._connection = HTTPConnection("127.0.0.1", daemon.port, timeout=20)

    def ask(self, method: str, path: str, name: str, text: str | None = None) -> Any:
        """The status, and the JSON of the answer where there is some."""
        headers = {"X-Name": name, "X-Queue": "mail"}
        headers |= {"Content-Type": "application/json"} if text else {}
        self._connection.request(method, f"/api/v1/jobs{path}", text, headers)
        reply = self._connection.getresponse()
        found = reply.read()
        return reply.status, json.loads(found) if found else None

    def create(self, text: str) -> str:
        status, job = self.ask("PUT", "/create", "shop", text)
        assert status == 201, job
        return str(job["uid"])

    def drain(self) -> list[str]:
        """Take every job; their uids in the order they came."""
        uids = []
        while (answer := self.ask("GET", "/next", "mailer"))[0] == 200:
            uids.append(answer[1]["uid"])
        assert answer[0] == 204
        return uids

    def listed(self) -> list[str]:
        """The uids of the listing, in its order."""
        status, jobs = self.ask("GET", "", "mailer")
        return [job["uid"] for job in jobs.values()] if status == 200 else []

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def connect(daemon: Daemon) -> Any:
    """Makes clients of the daemon."""
    made: list[Client] = []

    def connect() -> Client:
        made.append(Client(daemon))
        return made[-1]

    yield connect
    for client in made:
        client.close()


Connect = Callable[[], Client]


# --- B1: the writer waited for itself, and the daemon hung for ever ---------------


@pytest.mark.timeout(400)  # a machine that is busy besides makes 200 a second
def test_one_client_creates_ten_thousand_jobs_on_one_connection(
    daemon: Daemon, connect: Connect
) -> None:
    text = body().encode()
    request = (
        b"PUT /api/v1/jobs/create HTTP/1.1\r\nHost: localhost\r\nX-Name: shop\r\n"
        b"X-Queue: mail\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b"
    ) % (len(text), text)
    uids = []

    begun = time.monotonic()
    # Bare bytes: a client library takes about as long as the daemon.
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as server:
        for _ in range(CREATES):
            server.sendall(request)
            answer = b""
            while not (end := JOB_ENDS.search(answer)):
                more = server.recv(4096)
                assert more, answer
                answer += more
            assert answer.startswith(b"HTTP/1.1 201 ")
            uids.append(end[1].decode())
    print(f"{CREATES / (time.monotonic() - begun):.0f} creates/s")

    assert len(set(uids)) == CREATES
    assert connect().listed() == uids


def test_eight_clients_at_once_are_all_answered(connect: Connect) -> None:
    taken: list[list[str]] = []

    def work(client: Client) -> None:
        mine = []
        for number in range(50):
            client.create(body(number))
            status, job = client.ask("GET", "/next", "mailer")
            assert status == 200
            done = client.ask(
                "POST", f"/{job['uid']}", "mailer", '{"status":"complete"}'
            )
            assert done == (200, None)
            mine.append(job["uid"])
        taken.append(mine)

    threads = [threading.Thread(target=work, args=(connect(),)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    uids = [uid for mine in taken for uid in mine]
    assert len(uids) == len(set(uids)) == CLIENTS * 50
    assert connect().drain() == []


# --- B2: after 256 jobs the file could never be loaded again ----------------------


def test_three_hundred_jobs_outlive_a_restart(daemon: Daemon, connect: Connect) -> None:
    client = connect()
    uids = [client.create(body(number)) for number in range(300)]
    client.close()

    code = daemon.stop()
    daemon.start()

    client = connect()
    assert code == 0
    assert client.listed() == uids
    assert client.drain() == uids


# --- B3: expiry deleted the wrong jobs --------------------------------------------


@pytest.mark.parametrize("lives", [(3600, 1, 1), (1, 3600, 1), (1, 1, 3600)])
def test_expiry_removes_the_expired_and_only_them(
    connect: Connect, lives: tuple[int, ...]
) -> None:
    client = connect()
    uids = [client.create(body(valid_for=seconds)) for seconds in lives]
    alive = [uid for uid, seconds in zip(uids, lives, strict=True) if seconds > 1]

    until(lambda: len(client.listed()) < 3, "time passes")
    # The later one had a little longer.
    until(lambda: len(client.listed()) < 2, "and some more")

    assert client.listed() == alive
    assert client.drain() == alive


# --- B4: edits of the permissions were ignored ------------------------------------

CLERK_TOO = CONFIG.replace("[mailer]", "[mailer, clerk]")


def test_an_edit_of_the_permissions_is_in_force_in_the_same_process(
    daemon: Daemon, connect: Connect
) -> None:
    client, workers = connect(), daemon.workers()
    client.create(body())
    before = client.ask("GET", "/next", "clerk")[0]

    daemon.config.write_text(CLERK_TOO)
    begun = time.monotonic()
    until(lambda: client.ask("GET", "", "clerk")[0] == 200, "the edit")
    print(f"in force after {time.monotonic() - begun:.1f} s")

    assert before == 404
    assert client.ask("GET", "/next", "clerk")[0] == 200
    assert daemon.workers() == workers


def test_an_edit_of_the_permissions_is_in_force_after_a_restart(
    daemon: Daemon, connect: Connect
) -> None:
    connect().create(body())
    daemon.stop()

    daemon.config.write_text(CLERK_TOO)
    daemon.start()

    assert connect().ask("GET", "/next", "clerk")[0] == 200


# --- B5: no order within a priority -----------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_jobs_of_one_priority_come_in_the_order_they_were_made(
    daemon: Daemon, connect: Connect, restarted: bool
) -> None:
    client = connect()
    made: dict[int, list[str]] = {100: [], 50: [], 1: []}
    for number in range(60):
        priority = (50, 1, 100)[number % 3]
        made[priority].append(client.create(body(number, priority=priority)))
    if restarted:
        client.close()
        daemon.stop()
        daemon.start()
        client = connect()

    in_order = [uid for uids in made.values() for uid in uids]
    assert client.listed() == in_order
    assert client.drain() == in_order


# --- B6: values that wrapped around, and types that broke it -----------------------

NEW = '{"content":{},"priority":%s,"valid_for":%s}'
WRONG_NEW = [
    *(NEW % (priority, 60) for priority in (0, 101, 255, 256, 300, -1, 55.9, 1e9)),
    *(NEW % (priority, 60) for priority in ('"9"', "true", "null", "[9]", "{}")),
    *(NEW % (9, valid_for) for valid_for in (0, -1, 0.5, '"60"', "null", "true")),
    '{"content":"text","priority":9,"valid_for":60}',
    '{"content":null,"priority":9,"valid_for":60}',
    '{"priority":9,"valid_for":60}',
    "[]",
    "{",
    NEW % (9, 60) + "x",
]
CHANGE = '{"%s":%s}'
WRONG_CHANGES = [
    *(CHANGE % ("priority", value) for value in (0, 101, 300, 9.5, '"9"', "null")),
    *(CHANGE % ("timeout_time", value) for value in (0, -1, '"x"', "null")),
    *(CHANGE % ("content", value) for value in ("null", '"text"', "[]")),
    *(CHANGE % ("status", value) for value in (1, "null", '"done"')),
    "null",
]


def test_values_out_of_range_and_of_wrong_types_are_refused_with_400(
    connect: Connect,
) -> None:
    client = connect()
    uid = client.create(body())
    _, before = client.ask("GET", "", "mailer")

    created = {t: client.ask("PUT", "/create", "shop", t)[0] for t in WRONG_NEW}
    changed = {t: client.ask("POST", f"/{uid}", "shop", t)[0] for t in WRONG_CHANGES}

    assert {text: status for text, status in created.items() if status != 400} == {}
    assert {text: status for text, status in changed.items() if status != 400} == {}
    assert client.ask("GET", "", "mailer") == (200, before)


@pytest.mark.parametrize(
    "config",
    [
        "port: x\n",
        "job_keep_minutes: [60]\n",
        "queues: [mail]\n",
        "queues: {mail: {read: mailer, write: [shop]}}\n",
        "queues: {mail: [mailer]}\n",
    ],
)
def test_a_configuration_of_wrong_types_ends_it_with_a_line_that_says_so(
    make_daemon: Callable[..., Daemon], config: str
) -> None:
    daemon = make_daemon()
    daemon.config.write_text(config)

    code = daemon.launch().wait()

    log = daemon.log.read_text()
    assert code == 78
    assert "config.yml:1" in log
    assert "Traceback" not in log


def test_a_configuration_without_queues_is_one(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.config.write_text("version: 1\nqueues:\n")

    daemon.start()

    assert daemon.ask("GET", "/api/v1/jobs/next", name="mailer").status == 404
