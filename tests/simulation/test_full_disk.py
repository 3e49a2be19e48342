"""A real daemon on a real, full disk: what it took it carries through."""

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemons import Answer, Daemon, until

# Threads of clients.
CLIENTS = 3
DISK = "24M"
BALLAST_BYTES = 6 << 20
KEEP_NOTHING = "job_keep_minutes: 0\n"


def mounted(kind: str, at: Path, image: Path) -> str | None:
    """Mount a small disk; what was said where that is not possible."""
    at.mkdir()
    commands = {
        "tmpfs": [["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", at]],
        "ext4": [
            ["truncate", "-s", DISK, image],
            ["mkfs.ext4", "-q", "-m", "0", image],
            ["mount", "-o", "loop", image, at],
        ],
    }[kind]
    for command in commands:
        try:
            ran = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError as error:
            return str(error)
        if ran.returncode:
            return ran.stderr.strip()
    return None


@pytest.fixture(params=["ext4", "tmpfs"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    at = tmp_path / "disk"
    fault = mounted(request.param, at, tmp_path / "image")
    if fault is not None:
        pytest.skip(f"cannot mount a small disk here: {fault}")
    yield at
    subprocess.run(["umount", "--lazy", at], check=True)


class Site:
    """A daemon whose database is on the small disk, with a ballast beside it."""

    def __init__(self, daemon: Daemon, disk: Path) -> None:
        self.daemon = daemon
        self.ballast = disk / "ballast"
        self.ballast.write_bytes(bytes(BALLAST_BYTES))
        daemon.config.write_text(daemon.config.read_text() + KEEP_NOTHING)
        daemon.start()

    def put(self, size: int, valid_for: int = 86_400) -> Answer:
        job = {"content": {"x": "x" * size}, "priority": 50, "valid_for": valid_for}
        return self.daemon.ask("PUT", "/api/v1/jobs/create", name="shop", body=job)

    def fill(self, size: int) -> set[str]:
        """Create jobs until the disk is full; their uids."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            return set().union(*pool.map(self._fill, [size] * CLIENTS))

    def _fill(self, size: int) -> set[str]:
        made = set()
        while (answer := self.put(size)).status == 201:
            made.add(answer.json["uid"])
        self.must_be_full(answer)
        return made

    def must_be_full(self, answer: Answer) -> None:
        assert answer.status == 507, answer
        assert answer.json["code"] == "storage_full"
        assert "Retry-After" in answer.headers

    def room(self) -> str:
        answer = self.daemon.ask("GET", "/readyz?verbose")
        assert answer.status == 200
        lines = answer.body.decode().splitlines()
        return next(line for line in lines if line.startswith("room"))

    def claim(self) -> str | None:
        answer = self.daemon.ask("GET", "/api/v1/jobs/next", name="mailer")
        assert answer.status in (200, 204), answer
        return str(answer.json["uid"]) if answer.status == 200 else None

    def complete(self, uid: str) -> None:
        answer = self.daemon.ask(
            "POST", f"/api/v1/jobs/{uid}", name="mailer", body={"status": "complete"}
        )
        assert answer.status == 200, answer

    def drain(self) -> set[str]:
        """Claim and complete all there is."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            parts = list(pool.map(lambda _: self._drain(), range(CLIENTS)))
        assert sum(map(len, parts)) == len(set().union(*parts))
        return set().union(*parts)

    def _drain(self) -> set[str]:
        done = set()
        while (uid := self.claim()) is not None:
            self.complete(uid)
            done.add(uid)
        return done

    def count(self) -> int:
        answer = self.daemon.ask("GET", "/api/v1/jobs", name="mailer")
        return len(answer.json) if answer.status == 200 else 0

    def swept(self) -> int:
        return sum(line["count"] for line in self.daemon.lines("jobs removed"))


@pytest.fixture
def site(small_disk: Path, tmp_path: Path) -> Iterator[Site]:
    daemon = Daemon(tmp_path / "daemon", DB_PATH=str(small_disk / "jobs.queuedb"))
    daemon.db = small_disk / "jobs.queuedb"
    yield Site(daemon, small_disk)
    daemon.kill()


def test_a_full_disk_takes_no_new_work_and_loses_none_that_it_took(site: Site) -> None:
    # Given a disk filled up under load, with jobs that will expire on it
    brief = {site.put(100, valid_for=3).json["uid"] for _ in range(20)}
    made = site.fill(50_000) | site.fill(100)
    assert len(made) > 100
    assert site.room() == "room: full"

    # Then the rest goes on: sweeps,
    until(lambda: site.swept() == len(brief), "expired jobs are swept")
    # deletes,
    gone = {made.pop() for _ in range(10)}
    for uid in gone:
        answer = site.daemon.ask("DELETE", f"/api/v1/jobs/{uid}", name="shop")
        assert answer.status == 204
    # a restart after a stop and after a kill,
    assert site.daemon.stop() == 0
    site.daemon.start()
    _serves_full(site, made)
    site.daemon.kill()
    site.daemon.start()
    _serves_full(site, made)
    # claims and completions, to the last job.
    assert site.drain() == made
    until(lambda: site.count() == 0, "what is complete is swept")

    # And when there is room again it takes new work, without being told.
    site.must_be_full(site.put(100))
    site.ballast.unlink()
    began = time.monotonic()
    until(lambda: site.put(20_000).status == 201, "new work is taken")
    assert time.monotonic() - began < 5  # it looks once a second
    assert site.room() == "room: ok"
    assert site.daemon.stop() == 0
    assert "Traceback" not in site.daemon.log.read_text()


def _serves_full(site: Site, made: set[str]) -> None:
    """One more job goes to its end; none is taken."""
    site.must_be_full(site.put(100))
    assert site.room() == "room: full"
    uid = site.claim()
    assert uid is not None
    site.complete(uid)
    made.remove(uid)
