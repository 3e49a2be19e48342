"""A folder with a configuration file, for the tests of what the settings make of it."""

from pathlib import Path

import pytest

from jobengine.daemon.settings import Settings, load
from jobengine.errors import ConfigError

SECRET = "correct horse battery staple"
SEED = """\
version: 1
port: 6011
job_keep_minutes: 30
job_timeout_minutes: 5
queues:
  test_queue_1:
    read: [service1, service2]
    write: [service3]
"""


# What stands in the file of whoever says nothing of limits.
LIMITS = {
    "body_bytes": 1024 * 1024,
    "connections": 20_000,
    "connections_per_address": 4096,
    "waiters_per_service": 10_000,
    "wait_seconds": 60,
    "read_seconds": 10,
    "header_seconds": 5,
    "idle_seconds": 75,
    "pipeline": 32,
    "buffered_bytes": 2 * 1024 * 1024,
    "inflight_bytes": 256 * 1024 * 1024,
}


class Place:
    """A folder with a config file, and the environment that names it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.yml"
        self.environ = {
            "SECRET": SECRET,
            "CONFIG_PATH": str(self.file),
            "DB_PATH": str(folder / "jobs.queuedb"),
        }

    def load(self, text: str = SEED, **environ: str) -> Settings:
        self.file.write_text(text)
        return load(self.environ | environ)

    def mistakes(self, text: str = SEED, **environ: str) -> list[str]:
        """The lines of the refusal, without the file's path and the headline."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, **environ)
        _, *lines = str(caught.value).splitlines()
        return [line.strip().removeprefix(f"{self.file}:") for line in lines]
