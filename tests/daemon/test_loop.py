"""The event loop as a real daemon: signals, its parent, TLS, and those who wait."""

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from daemons import ROOT, Answer, Daemon, until
from serving import JOB, LIVE, TEST, Client, create, request, take

Make = Callable[..., Daemon]


def uid_of(client: Client) -> str:
    heard = client.hear()
    assert heard.status == 200
    return str(json.loads(heard.body)["uid"])


# --- waiting, on either server ----------------------------------------------------


@pytest.fixture(scope="module", params=["loop", "gthread"])
def either(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """One daemon a server, for all tests that leave its queues empty."""
    daemon = Daemon(tmp_path_factory.mktemp("either"), server=request.param).start()
    yield daemon
    daemon.kill()


def test_a_request_waits_until_there_is_a_job(either: Daemon) -> None:
    with Client(either.port) as client:
        client.say(take("Prefer: wait=30"))
        either.waiting(1)

        uid = either.create()

        assert uid_of(client) == uid


def test_those_who_wait_are_served_in_the_order_they_came(either: Daemon) -> None:
    with ExitStack() as ends:
        clients = []
        for number in range(3):
            clients.append(ends.enter_context(Client(either.port)))
            clients[-1].say(take(wait=30))
            either.waiting(number + 1)

        uids = []
        for client in clients:
            uids.append(either.create())
            assert uid_of(client) == uids[-1]


def test_when_the_time_is_up_there_is_nothing(either: Daemon) -> None:
    with Client(either.port) as client:
        assert client.say(take(wait=1)).hear().status == 204
    either.waiting(0)


def test_a_wait_that_makes_no_sense_is_a_mistake(either: Daemon) -> None:
    with Client(either.port) as client:
        said = request("GET", "/api/v1/jobs/next?wait=soon", "mailer")

        assert client.say(said).hear().status == 400


def test_a_job_given_back_wakes_the_one_who_waits(either: Daemon) -> None:
    uid = either.create()
    either.ask("GET", "/api/v1/jobs/next", name="mailer")
    with Client(either.port) as client:
        client.say(take(wait=30))
        either.waiting(1)

        either.ask(
            "POST", f"/api/v1/jobs/{uid}", name="mailer", body={"status": "queued"}
        )

        assert uid_of(client) == uid


def test_a_queue_that_is_taken_away_has_nobody_waiting_for_it(either: Daemon) -> None:
    with Client(either.port) as client:
        client.say(take(wait=30))
        either.waiting(1)
        before = either.config.read_text()
        reloads = len(either.lines("reloaded"))

        either.configure("queues: {other: {read: [mailer], write: [shop]}}\n")
        either.signal(signal.SIGHUP)

        assert client.hear().status == 404
        either.config.write_text(before)
        either.signal(signal.SIGHUP)
        until(lambda: len(either.lines("reloaded")) == reloads + 2, "both reloads")


def test_compaction_goes_on_beside_those_who_wait(either: Daemon) -> None:
    with Client(either.port) as client:
        client.say(take(wait=30))
        either.waiting(1)

        either.signal(signal.SIGUSR1)
        until(lambda: either.lines("compacted"), "the compaction")
        uid = either.create()

        assert uid_of(client) == uid


# --- stopping ---------------------------------------------------------------------


@pytest.mark.parametrize("server", ["loop", "gthread"])
def test_told_to_stop_it_answers_all_who_wait_at_once(daemon: Daemon) -> None:
    daemon.start()
    with ExitStack() as ends:
        clients = [ends.enter_context(Client(daemon.port)) for _ in range(4)]
        for client in clients:
            client.say(take(wait=60))
        daemon.waiting(4)

        daemon.signal(signal.SIGTERM)

        assert [client.hear().status for client in clients] == [204] * 4
    assert daemon.wait() == 0


def test_told_to_stop_it_ends_what_is_under_way_and_what_is_idle(
    daemon: Daemon,
) -> None:
    daemon.start()
    said = request("PUT", "/api/v1/jobs/create", "shop", body=JOB)
    with ExitStack() as ends:
        idle, half, many = (ends.enter_context(Client(daemon.port)) for _ in range(3))
        idle.say(LIVE).hear()
        half.say(said[:-9])
        many.say(create() * 300)
        many.hear()

        daemon.signal(signal.SIGTERM)
        assert idle.ended()
        until(lambda: daemon.lines("stopping"), "it has heard")
        half.say(said[-9:])
        answer = half.hear()

        assert (answer.status, answer.headers["connection"]) == (201, "close")
        assert half.ended()
        answered = 1 + many.rest().count(b"HTTP/1.1 201 ")
    assert daemon.wait() == 0
    daemon.start()
    listing = daemon.ask("GET", "/api/v1/jobs", name="mailer").json
    assert len(listing) >= answered + 1


# --- TLS --------------------------------------------------------------------------

# `jobengine serve`, with gunicorn's own settings for a certificate.
WITH_TLS = """\
import sys
from jobengine.cli import main
from jobengine.daemon import arbiter

plain = arbiter._gunicorn_settings
tls = {"certfile": sys.argv.pop(), "keyfile": sys.argv.pop()}
arbiter._gunicorn_settings = lambda settings: plain(settings) | tls
main()
"""


class TlsDaemon(Daemon):
    """One that speaks TLS."""

    certificate: Path
    key: Path

    def launch(self, *flags: str) -> "TlsDaemon":
        command = [sys.executable, "-c", WITH_TLS, "serve", *flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(self.key), str(self.certificate)],
                env=self.environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                cwd=self.config.parent,
                start_new_session=True,
            )
        return self

    def lives(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            with self.client() as client:
                return client.say(LIVE).hear().status == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, **_: object) -> Answer:
        with self.client() as client:
            return Answer(*client.say(request(method, path)).hear())

    def client(self) -> Client:
        context = ssl.create_default_context(cafile=str(self.certificate))
        client = Client(self.port)
        client._file.close()
        client.wire = context.wrap_socket(client.wire, server_hostname="localhost")
        client._file = client.wire.makefile("rb")
        return client


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that nobody else has signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return files


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsDaemon]:
    folder = tmp_path_factory.mktemp("tls")
    daemon = TlsDaemon(folder)
    daemon.certificate, daemon.key = make_certificate(folder)
    daemon.start()
    yield daemon
    daemon.kill()


def test_over_tls_everything_is_as_without(tls: TlsDaemon) -> None:
    with tls.client() as client:
        heard = client.say(TEST, LIVE, create(), take(), take()).hear()

        assert heard.status == 200
        assert [client.hear().status for _ in range(4)] == [200, 201, 200, 204]
        pad = "x" * 200_000
        for _ in range(3):
            assert client.say(create(f'{{"pad":"{pad}"}}')).hear().status == 201
        listing = client.say(request("GET", "/api/v1/jobs", "mailer")).hear()
        assert len(listing.body) > 600_000
        for _ in range(3):
            assert client.say(take()).hear().status == 200


def test_over_tls_one_waits_and_one_that_has_left_is_passed_over(
    tls: TlsDaemon,
) -> None:
    with ExitStack() as ends:
        gone, stays = (ends.enter_context(tls.client()) for _ in range(2))
        gone.say(take(wait=30))
        tls.waiting(1)
        stays.say(take(wait=30))
        tls.waiting(2)
        gone.close()

        maker = ends.enter_context(tls.client())
        uid = json.loads(maker.say(create()).hear().body)["uid"]

        assert uid_of(stays) == uid


def test_over_tls_what_is_no_request_is_refused_and_the_connection_ends(
    tls: TlsDaemon,
) -> None:
    with tls.client() as client:
        assert client.say(b"nonsense\r\n\r\n").hear().status == 400
        assert client.ended()


def test_who_does_not_speak_tls_is_not_answered(tls: TlsDaemon) -> None:
    with Client(tls.port) as client:
        client.say(LIVE)

        assert b"HTTP" not in client.rest()
    assert tls.lives()
