"""A client that is made of the document, by a tool that knows nothing of us, works."""

import subprocess
from pathlib import Path

import pytest
from daemons import ROOT, Daemon
from staged import ADMIN

TOOLS = ROOT / "var/client-venv/bin"
HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not (TOOLS / "openapi-python-client").exists(),
    reason="openapi-python-client could not be installed: `make clients` tries again",
)


def run(program: Path, *words: str, at: Path) -> str:
    """What it printed."""
    done = subprocess.run(
        [str(program), *words],
        cwd=at,
        env={"PATH": str(TOOLS), "PYTHONPATH": str(at)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def client(daemon: Daemon, tmp_path: Path) -> Path:
    """The folder in which there is a client, as a package `native`."""
    tmp_path.joinpath("openapi.json").write_bytes(
        daemon.ask("GET", "/openapi.json").body
    )
    # It would call a formatter of ours.
    tmp_path.joinpath("settings.yml").write_text("post_hooks: []\n")
    run(
        TOOLS / "openapi-python-client",
        *("generate", "--path", "openapi.json", "--output-path", "native"),
        *("--meta", "none", "--config", "settings.yml", "--fail-on-warning"),
        at=tmp_path,
    )
    return tmp_path


def test_it_runs_the_whole_life_of_a_job(client: Path, daemon: Daemon) -> None:
    address = f"http://127.0.0.1:{daemon.port}"

    run(TOOLS / "python", str(HERE / "lifecycle.py"), address, ADMIN, at=client)
