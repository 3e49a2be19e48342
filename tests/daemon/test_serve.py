"""The daemon as a process: how it starts, reloads, recovers and ends."""

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from daemons import Daemon, until

TWO_QUEUES = """\
queues:
  mail: {read: [mailer], write: [shop]}
  print: {read: [printer], write: [shop]}
"""
BAD_CONFIG = "queues: {mail: {read: [mailer], wriet: [shop]}}\n"

Make = Callable[..., Daemon]

# What either server does alike.
SERVERS = ["loop", "gthread"]
on_both = pytest.mark.parametrize("server", SERVERS)


def verbose(daemon: Daemon) -> str:
    return daemon.ask("GET", "/readyz?verbose").body.decode()


# --- starting and stopping --------------------------------------------------------


@on_both
def test_it_serves_keeps_what_it_was_told_and_stops_cleanly(daemon: Daemon) -> None:
    daemon.start()
    uid = daemon.create()

    begun = time.monotonic()
    code = daemon.stop()
    took = time.monotonic() - begun
    daemon.start()

    assert code == 0
    assert took < 10
    assert daemon.ask("GET", "/api/v1/jobs/next", name="mailer").json["uid"] == uid
    found = [line["found"] for line in daemon.lines("database open")]
    assert found == ["created", "clean"]


@on_both
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_ctrl_c_is_a_clean_stop_too(daemon: Daemon, number: signal.Signals) -> None:
    daemon.start()
    assert daemon.process is not None

    # As a terminal does it: to every process of the group.
    os.killpg(daemon.process.pid, number)
    code = daemon.wait()
    daemon.start()

    assert code == 0
    assert daemon.lines("database open")[-1]["found"] == "clean"


@on_both
def test_a_request_under_way_is_answered_before_it_stops(daemon: Daemon) -> None:
    daemon.start()
    with socket.create_connection(("127.0.0.1", daemon.port)) as client:
        client.sendall(
            b"PUT /api/v1/jobs/create HTTP/1.1\r\nHost: localhost\r\nX-Name: shop\r\n"
            b"X-Queue: mail\r\nContent-Type: application/json\r\n"
            b"Content-Length: 49\r\nExpect: 100-continue\r\n\r\n"
        )
        begun = client.recv(1024)
        daemon.signal(signal.SIGTERM)
        until(lambda: daemon.lines("stopping"), "it has heard")
        client.sendall(b'{"content": {}, "priority": 50, "valid_for": 600}')
        answer = client.recv(4096)
    code = daemon.wait()

    assert begun.startswith(b"HTTP/1.1 100 ")
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert code == 0


def test_a_client_that_never_finishes_does_not_keep_it_up(daemon: Daemon) -> None:
    daemon.start()
    with socket.create_connection(("127.0.0.1", daemon.port)) as client:
        client.sendall(b"PUT /api/v1/jobs/create HTTP/1.1\r\nContent-Length: 9\r\n")

        begun = time.monotonic()
        code = daemon.stop()

    assert code == 0
    assert time.monotonic() - begun < 10
    daemon.start()
    assert daemon.lines("database open")[-1]["found"] == "clean"


@on_both
def test_told_to_stop_while_it_starts_it_stops(daemon: Daemon) -> None:
    daemon.launch()
    until(lambda: daemon.lines("listening"), "it begins")

    begun = time.monotonic()
    code = daemon.stop()

    assert code == 0
    assert time.monotonic() - begun < 5


def test_it_listens_on_loopback_and_its_file_is_nobody_elses(daemon: Daemon) -> None:
    daemon.start()

    assert daemon.lines("listening")[0]["address"].startswith("http://127.0.0.1:")
    assert daemon.db.stat().st_mode & 0o777 == 0o600


def test_it_leaves_no_core_and_nothing_for_others_to_read(
    daemon: Daemon,
) -> None:
    daemon.start()

    (worker,) = daemon.workers()

    limits = Path(f"/proc/{worker}/limits").read_text()
    (core,) = [line for line in limits.splitlines() if "core file" in line]
    assert core.split()[4:6] == ["0", "0"]
    status = Path(f"/proc/{worker}/status").read_text()
    assert "Umask:\t0077" in status


# --- refusing to start ------------------------------------------------------------


def test_without_secret_it_ends_with_78_and_touches_nothing(make_daemon: Make) -> None:
    daemon = make_daemon(SECRET="")

    code = daemon.launch().wait()

    assert code == 78
    assert "SECRET" in daemon.log.read_text()
    assert not daemon.db.exists()


@on_both
def test_a_wrong_secret_ends_it_with_77_and_leaves_the_file_as_it_is(
    daemon: Daemon,
) -> None:
    daemon.start()
    daemon.create()
    daemon.stop()
    before = (daemon.db.read_bytes(), daemon.db.stat().st_mtime_ns)
    daemon.environ["SECRET"] = "not the one that it was made with"

    code = daemon.launch().wait()

    assert code == 77
    assert (daemon.db.read_bytes(), daemon.db.stat().st_mtime_ns) == before
    (line,) = daemon.lines("cannot start")
    assert line["code"] == "wrong_secret"
    assert "Traceback" not in daemon.log.read_text()


def test_a_damaged_file_ends_it_with_65(daemon: Daemon) -> None:
    daemon.db.write_bytes(b"this is no database" * 1000)

    code = daemon.launch().wait()

    assert code == 65
    assert daemon.lines("cannot start")[0]["code"] == "not_a_database"


def test_a_second_daemon_on_the_same_file_ends_with_75(make_daemon: Make) -> None:
    first, second = make_daemon("one").start(), make_daemon("two")
    second.environ["DB_PATH"] = str(first.db)

    code = second.launch().wait()

    assert code == 75
    assert second.lines("cannot start")[0]["code"] == "store_busy"
    assert first.lives()


def test_a_second_daemon_on_the_same_port_ends_with_75(make_daemon: Make) -> None:
    first, second = make_daemon("one").start(), make_daemon("two")
    second.environ["PORT"] = str(first.port)

    code = second.launch().wait()

    assert code == 75
    assert second.lines("cannot listen")[0]["port"] == first.port
    assert not second.db.exists()


def test_an_address_of_another_machine_ends_it_with_78(make_daemon: Make) -> None:
    daemon = make_daemon(HOST="192.0.2.1")

    code = daemon.launch().wait()

    assert code == 78
    assert len(daemon.lines("cannot listen")) == 1


# --- one worker -------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["4", "auto"])
def test_whatever_gunicorns_variables_say_there_is_one_worker(
    make_daemon: Make, wanted: str
) -> None:
    daemon = make_daemon(
        WEB_CONCURRENCY=wanted, GUNICORN_CMD_ARGS="--workers=4 --threads=1"
    )

    daemon.start()

    assert len(daemon.workers()) == 1


@on_both
def test_signals_that_ask_for_more_workers_or_another_program_are_ignored(
    daemon: Daemon,
) -> None:
    daemon.start()
    workers = daemon.workers()

    for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2, signal.SIGHUP):
        daemon.signal(number)
    until(lambda: daemon.lines("reloaded"), "the last of the signals was heard")

    assert daemon.workers() == workers
    assert daemon.lives()


@on_both
def test_a_killed_worker_is_replaced_and_nothing_is_lost(daemon: Daemon) -> None:
    daemon.start()
    uids = [daemon.create(number) for number in range(5)]
    (worker,) = daemon.workers()

    os.kill(worker, signal.SIGKILL)
    until(lambda: daemon.workers() not in ([], [worker]), "another worker")
    until(daemon.lives, "it serves again")

    listing = daemon.ask("GET", "/api/v1/jobs", name="mailer").json
    assert [job["uid"] for job in listing.values()] == uids
    assert len(daemon.lines("worker died")) == 1


def test_a_new_worker_knows_what_was_reloaded(daemon: Daemon) -> None:
    daemon.start()
    daemon.configure(TWO_QUEUES)
    daemon.signal(signal.SIGHUP)
    until(lambda: daemon.lines("reloaded"), "the reload")
    (worker,) = daemon.workers()

    os.kill(worker, signal.SIGKILL)
    until(lambda: daemon.workers() not in ([], [worker]), "another worker")
    until(daemon.lives, "it serves again")

    path = "/api/v1/jobs/next"
    assert daemon.ask("GET", path, name="printer", queue="print").status == 204


@on_both
def test_a_worker_without_its_parent_ends_and_lets_go_of_the_file(
    daemon: Daemon,
) -> None:
    daemon.start()
    (worker,) = daemon.workers()

    daemon.signal(signal.SIGKILL)
    daemon.wait()
    until(lambda: not Path(f"/proc/{worker}").exists(), "the worker is gone")
    daemon.start()

    assert daemon.lines("database open")[-1]["found"] == "clean"


@on_both
def test_a_write_that_fails_is_told_to_the_client_and_ends_it_with_74(
    daemon: Daemon,
) -> None:
    daemon.start()
    uid = daemon.create()
    (worker,) = daemon.workers()
    room = daemon.db.stat().st_size + 100
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (room, room))

    body = {"content": {"text": "x" * 1000}, "priority": 50, "valid_for": 60}
    answer = daemon.ask("PUT", "/api/v1/jobs/create", name="shop", body=body)
    code = daemon.wait()
    daemon.start()

    assert (answer.status, code) == (503, 74)
    listing = daemon.ask("GET", "/api/v1/jobs", name="mailer").json
    assert [job["uid"] for job in listing.values()] == [uid]


# --- reloading --------------------------------------------------------------------


@on_both
def test_hangup_reloads_in_the_same_process(daemon: Daemon) -> None:
    daemon.start()
    workers = daemon.workers()
    path = "/api/v1/jobs/next"
    before = daemon.ask("GET", path, name="printer", queue="print").status

    daemon.configure(TWO_QUEUES)
    daemon.signal(signal.SIGHUP)
    until(lambda: daemon.lines("reloaded"), "the reload")

    after = daemon.ask("GET", path, name="printer", queue="print").status
    assert (before, after) == (404, 204)
    assert daemon.workers() == workers


def test_a_changed_file_is_in_force_by_itself(daemon: Daemon) -> None:
    daemon.start()

    daemon.configure(TWO_QUEUES)

    def known() -> bool:
        path = "/api/v1/jobs/next"
        return daemon.ask("GET", path, name="printer", queue="print").status == 204

    until(known, "the new queue")


@on_both
def test_a_bad_file_changes_nothing_and_is_told(daemon: Daemon) -> None:
    daemon.start()
    uid = daemon.create()

    daemon.configure(BAD_CONFIG)
    daemon.signal(signal.SIGHUP)
    until(lambda: daemon.lines("rejected"), "the refusal")

    assert "config: rejected" in verbose(daemon)
    assert daemon.ask("GET", "/readyz").status == 200
    assert "wriet" in daemon.lines("rejected")[0]["detail"]
    assert daemon.ask("GET", "/api/v1/jobs/next", name="mailer").json["uid"] == uid


def test_a_reload_changes_more_than_queues(daemon: Daemon) -> None:
    daemon.start()
    body = {"content": {"text": "x" * 2000}, "priority": 1, "valid_for": 60}
    create = ("PUT", "/api/v1/jobs/create")
    before = daemon.ask(*create, name="shop", body=body).status

    daemon.configure(TWO_QUEUES + "limits: {body_bytes: 1024}\n")
    daemon.signal(signal.SIGHUP)
    until(lambda: daemon.lines("reloaded"), "the reload")

    after = daemon.ask(*create, name="shop", body=body).status
    assert (before, after) == (201, 413)


# --- the wire ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=SERVERS)
def talkative(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """One that logs all it can, for many tests."""
    folder = tmp_path_factory.mktemp("talkative")
    daemon = Daemon(folder, server=request.param, GIN_MODE="debug").start()
    yield daemon
    daemon.kill()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nX-A\x01: needle\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nA: 1\r\n folded: needle\r\n\r\n", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * 51 + b"\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nA: " + b"b" * 9000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nTransfer-Encoding: needle\r\n\r\n", 501),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_and_not_logged(
    talkative: Daemon, request_: bytes, status: int
) -> None:
    daemon = talkative
    with socket.create_connection(("127.0.0.1", daemon.port)) as client:
        client.sendall(request_)
        answer = client.recv(4096)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    assert b"needle" not in body
    assert "needle" not in daemon.log.read_text()


@on_both
def test_a_header_that_only_looks_like_x_name_is_dropped(daemon: Daemon) -> None:
    daemon.start()
    connection = HTTPConnection("127.0.0.1", daemon.port)

    connection.request(
        "GET", "/api/v1/jobs/next", headers={"X_Name": "mailer", "X-Queue": "mail"}
    )
    status = connection.getresponse().status
    connection.close()

    assert status == 400


@on_both
def test_answers_do_not_tell_the_servers_version(daemon: Daemon) -> None:
    daemon.start()

    headers = daemon.ask("GET", "/livez").headers

    assert not any(digit in headers.get("Server", "") for digit in "0123456789")


@on_both
def test_requests_are_logged_at_debug_only_and_never_what_they_carry(
    make_daemon: Make,
) -> None:
    quiet, loud = make_daemon("one"), make_daemon("two", GIN_MODE="debug")
    body = {"content": {"card": "needle"}, "priority": 50, "valid_for": 60}

    for daemon in (quiet, loud):
        daemon.start()
        daemon.ask("PUT", "/api/v1/jobs/create", name="shop", body=body)
        daemon.ask("GET", "/api/v1/jobs/next", name="mailer")
        daemon.stop()

    assert quiet.lines("request") == []
    paths = [line["path"] for line in loud.lines("request")]
    assert "/api/v1/jobs/next" in paths
    for log in (quiet.log, loud.log):
        assert "needle" not in log.read_text()
        assert quiet.environ["SECRET"] not in log.read_text()


@on_both
def test_clients_beyond_the_threads_wait_their_turn(daemon: Daemon) -> None:
    daemon.start()
    codes: list[int] = []

    def ask() -> None:
        codes.append(daemon.ask("GET", "/api/v1/test").status)

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert codes == [200] * 40
