"""What the environment says of the daemon, and what a client loads."""

import subprocess
import sys
from pathlib import Path

import pytest
from faulty import JOB, Faulty, answer, says

from jobengine.client.client import Client
from jobengine.client.environment import told
from jobengine.errors import ConfigError


def test_nothing_is_said_by_an_empty_environment() -> None:
    assert told({}) == {}
    assert told({"JOBENGINE_URL": ""}) == {}


def test_each_variable_is_read(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")

    found = told(
        {
            "JOBENGINE_URL": "https://jobs.example",
            "JOBENGINE_NAME": "shop",
            "JOBENGINE_TOKEN_FILE": str(token),
            "JOBENGINE_CA_FILE": "ca.pem",
            "JOBENGINE_CERT_FILE": "cert.pem",
            "JOBENGINE_KEY_FILE": "key.pem",
        }
    )

    assert found == {
        "url": "https://jobs.example",
        "name": "shop",
        "token": "s3cret",
        "ca_file": "ca.pem",
        "cert_file": "cert.pem",
        "key_file": "key.pem",
    }


def test_a_token_is_said_once(tmp_path: Path) -> None:
    environ = {"JOBENGINE_TOKEN": "a", "JOBENGINE_TOKEN_FILE": "b"}

    with pytest.raises(ConfigError, match="not both"):
        told(environ)


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
def test_a_token_file_has_a_token(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match="JOBENGINE_TOKEN_FILE"):
        told({"JOBENGINE_TOKEN_FILE": str(path)})


def test_options_count_more_than_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Faulty([says(answer(200, JOB))]) as server:
        monkeypatch.setenv("JOBENGINE_URL", server.url)
        monkeypatch.setenv("JOBENGINE_NAME", "shop")

        with Client.from_env(name="mailer") as client:
            client.get("mail", "u-1")

    assert b"X-Name: mailer\r\n" in server.requests[0]


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    with Faulty([says(answer(200, JOB))]) as server, Client(server.url) as client:
        assert client.get("mail", "u-1").uid == "u-1"


def test_a_client_loads_neither_the_server_nor_what_it_does_not_use() -> None:
    look = (
        "import sys; from jobengine import Client; Client(name='shop'); "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )

    found = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True
    )

    loaded = set(found.stdout.split())
    assert "httptools" in loaded
    unwanted = {"flask", "cryptography", "yaml", "aiohttp", "marshmallow", "asyncio"}
    assert not loaded & unwanted
