"""The daemon as a whole: a large queue under load, and what its log may never hold."""

import base64
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from statistics import quantiles

import pytest
from daemons import CONFIG, SECRET, Answer, Daemon, until

from jobengine.build import open_house
from jobengine.core import lifecycle
from jobengine.core.job import NewJob
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.daemon.clock import SystemClock
from jobengine.store.sealer import new_uid

JOBS = 50_000
# What one transaction may change.
PART = 1000
RULES = Rulebook(queues={"mail": QueueRules("mail")})

LISTING = (
    b"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
    b"X-Name: mailer\r\nX-Queue: mail\r\n\r\n"
)

# --- a large queue ----------------------------------------------------------------


@pytest.fixture
def large(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon whose queue has very many jobs."""
    daemon = make_daemon()
    house = open_house(
        db_path=daemon.db,
        secret=SECRET.encode(),
        rules=RULES,
        clock=SystemClock(),
        on_failure=lambda error: None,
    )
    for first in range(0, JOBS, PART):
        with house.store.transaction() as tx:
            for number in range(first, first + PART):
                new = NewJob(b'{"number": %d}' % number, priority=number % 100 + 1)
                tx.add(
                    lifecycle.create(
                        new, uid=new_uid(), queue="mail", seq=tx.next_seq(), now=tx.now
                    )
                )
    house.close()
    return daemon.start()


def list_jobs(daemon: Daemon) -> Answer:
    return daemon.ask("GET", "/api/v1/jobs", name="mailer")


def creating_while(daemon: Daemon, busy: threading.Thread) -> Iterator[float]:
    """Create jobs on one connection for as long as *busy* runs; seconds for each."""
    connection = HTTPConnection("127.0.0.1", daemon.port, timeout=20)
    job = json.dumps({"content": {}, "priority": 100, "valid_for": 600})
    headers = {"X-Name": "shop", "X-Queue": "mail", "Content-Type": "application/json"}
    while busy.is_alive():
        begun = time.monotonic()
        connection.request("PUT", "/api/v1/jobs/create", job, headers)
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 201
        yield time.monotonic() - begun
    connection.close()


def test_jobs_are_created_while_a_large_queue_is_listed(large: Daemon) -> None:
    answers: list[Answer] = []
    listing = threading.Thread(target=lambda: answers.append(list_jobs(large)))

    listing.start()
    took = list(creating_while(large, listing))

    p99 = quantiles(took, n=100)[98]
    print(f"{len(took)} creates meanwhile, p99 {p99 * 1000:.0f} ms")
    assert len(took) > 10
    assert p99 < 2
    jobs = answers[0].json
    assert list(jobs) == [str(place) for place in range(len(jobs))]
    numbers = [job["content"].get("number") for job in jobs.values()]
    assert sorted(n for n in numbers if n is not None) == list(range(JOBS))
    priorities = [job["priority"] for job in jobs.values()]
    assert priorities == sorted(priorities, reverse=True)


def test_a_third_listing_at_once_is_refused_and_stops_nobody(large: Daemon) -> None:
    # Two that ask for all and read next to nothing.
    slow = [socket.socket() for _ in range(2)]
    for client in slow:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", large.port))
        client.sendall(LISTING)
        assert client.recv(12) == b"HTTP/1.1 200"

    third = list_jobs(large)
    large.create()
    next_ = large.ask("GET", "/api/v1/jobs/next", name="mailer")
    for client in slow:
        client.close()

    assert third.status == 429
    assert third.headers["Retry-After"]
    assert third.json["code"] == "overloaded"
    assert next_.status == 200
    # Who goes away makes room.
    until(lambda: list_jobs(large).status == 200, "a place for a listing")


# --- the log ----------------------------------------------------------------------

NEEDLE = "needle-3f9a"


def raw(daemon: Daemon, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as client:
        client.sendall(request)
        return client.recv(65536)


def send(daemon: Daemon, text: str, **headers: str) -> bytes:
    """Send *text* as a new job; the answer's first bytes."""
    given = {
        "Host": "localhost",
        "Connection": "close",
        "X-Name": "shop",
        "X-Queue": "mail",
        "Content-Type": "application/json",
        "Content-Length": str(len(text)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return raw(
        daemon, f"PUT /api/v1/jobs/create HTTP/1.1\r\n{lines}\r\n{text}".encode()
    )


def refusals(daemon: Daemon) -> dict[str, bytes]:
    """Requests that carry a needle and are refused, by what is wrong with them."""
    needle = f'"{NEEDLE}"'
    wrong = '{"content":%s,"priority":%s,"valid_for":%s}'
    right = wrong % (f"{{{needle}:1}}", 1, 60)
    return {
        "no JSON": send(daemon, '{"content": ' + NEEDLE),
        "no object": send(daemon, needle),
        "wrong types": send(daemon, wrong % (needle, needle, needle)),
        "twice": send(daemon, f'{{"content":{needle},"content":{needle}}}'),
        "not JSON": send(daemon, needle, Content_Type="text/plain"),
        "too large": send(daemon, needle, Content_Length="99999999"),
        "no right": send(daemon, right, X_Name="mailer"),
        "no queue": send(daemon, right, X_Queue="other"),
        "not HTTP": raw(daemon, f"{NEEDLE}\r\n\r\n".encode()),
        "bad header": raw(
            daemon, f"GET /livez HTTP/1.1\r\nX\x01: {NEEDLE}\r\n\r\n".encode()
        ),
    }


def exchange(daemon: Daemon) -> str:
    """A job from its creation to its end, and a worker that was late; its lease."""
    daemon.ask(
        "PUT",
        "/api/v1/jobs/create",
        name="shop",
        body={"content": {"card": NEEDLE}, "priority": 1, "valid_for": 60},
    )
    taken = daemon.ask("GET", "/api/v1/jobs/next", name="mailer")
    lease, uid = taken.headers["X-JobEngine-Lease"], taken.json["uid"]
    done = '{"status":"complete"}'
    request = (
        f"POST /api/v1/jobs/{uid} HTTP/1.1\r\nHost: localhost\r\nX-Name: mailer\r\n"
        f"X-Queue: mail\r\nX-JobEngine-Lease: {lease}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(done)}\r\n\r\n{done}"
    ).encode()
    statuses = [raw(daemon, request)[9:12] for _ in range(2)]
    assert statuses == [b"200", b"409"]
    return lease


def test_no_payload_no_lease_and_no_secret_is_ever_logged(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(GIN_MODE="debug").start()

    lease = exchange(daemon)
    refused = refusals(daemon)
    daemon.config.write_text("queues: {mail: 1}\n")
    daemon.signal(signal.SIGHUP)
    until(lambda: daemon.lines("rejected"), "the refusal")
    daemon.config.write_text(CONFIG)
    daemon.stop()
    daemon.environ["SECRET"] = "another " + NEEDLE
    code = daemon.launch().wait()

    assert code == 77
    for what, answer in refused.items():
        assert answer.startswith(b"HTTP/1.1 4"), what
        assert NEEDLE.encode() not in answer, what
    log = daemon.log.read_text()
    assert "/api/v1/jobs/create" in log  # it is the log of all that
    key = base64.b64decode(SECRET.removeprefix("base64:"))
    secrets = [SECRET.removeprefix("base64:"), key.hex(), repr(key)]
    assert [word for word in [NEEDLE, lease, *secrets] if word in log] == []
