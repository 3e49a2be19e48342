"""The peers that are servers: how each is started, durable, in a folder of its own."""

import os
import pwd
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.process import Missing, Words, found, free_port, listens, output, serving

# Where Debian keeps the newest server, which is not on the path.
POSTGRES_FOLDERS = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))[::-1]
USER = "bench"
PASSIVE = {"shared_buffers": "256MB", "unix_socket_directories": ""}
# fdatasync is Linux's default; named, because the slow disk depends on it.
SYNCED = {"fsync": "on", "synchronous_commit": "on", "wal_sync_method": "fdatasync"}

Environ = Mapping[str, str]


@contextmanager
def beanstalkd(folder: Path, environ: Environ, *flags: str) -> Iterator[int]:
    """beanstalkd with its binlog in *folder*; its port."""
    port = free_port()
    words = [found("beanstalkd"), "-l", "127.0.0.1", "-p", str(port)]
    with serving(
        [*words, "-b", folder, *flags],
        ready=lambda: listens(port),
        log=folder / "log",
        environ=environ,
    ):
        yield port


# Synced before it answers, as ours is.
REDIS_SYNCED = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")


@contextmanager
def redis(
    folder: Path, environ: Environ, settings: Words = REDIS_SYNCED
) -> Iterator[int]:
    """Redis that syncs its log before it answers, or as *settings* say; its port."""
    port = free_port()
    words = [
        *(found("redis-server"), "--bind", "127.0.0.1", "--port", str(port)),
        *("--dir", folder, *settings),
    ]
    with serving(
        words, ready=lambda: listens(port), log=folder / "log", environ=environ
    ):
        yield port


@contextmanager
def postgres(folder: Path, environ: Environ) -> Iterator[int]:
    """PostgreSQL that syncs its log at every commit; its port."""
    user = _not_root()
    data = folder / "data"
    shutil.copytree(_initialized(folder.parent, user), data)
    if user:
        _give(data, user)
    port = free_port()
    settings = PASSIVE | SYNCED | {"listen_addresses": "127.0.0.1", "port": str(port)}
    words: Words = [
        *(found("postgres", *POSTGRES_FOLDERS), "-D", data),
        *(word for name in settings for word in ("-c", f"{name}={settings[name]}")),
    ]
    ready = [found("pg_isready", *POSTGRES_FOLDERS), "-q", "-h", "127.0.0.1"]

    def answers() -> bool:
        try:
            output([*ready, "-p", str(port)])
        except Missing:
            return False
        return True

    with serving(
        words,
        ready=answers,
        log=folder / "log",
        environ=environ,
        stop=signal.SIGINT,  # do not wait for clients
        user=user,
    ):
        yield port


def _initialized(folder: Path, user: str | None) -> Path:
    """A cluster to be copied, made once."""
    made = folder / "postgres-empty"
    if not made.exists():
        made.mkdir()
        if user:
            shutil.chown(made, user)
        words = [found("initdb", *POSTGRES_FOLDERS), "-D", made, "-A", "trust"]
        output([*words, "-U", USER, "--no-sync", "--locale=C.UTF-8"], user=user)
    return made


def _not_root() -> str | None:
    """Whom PostgreSQL runs as: it refuses to be root.

    Raises:
        Missing: there is nobody else.
    """
    if os.geteuid():
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise Missing("no user postgres, and PostgreSQL refuses root") from None


def _give(folder: Path, user: str) -> None:
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user, user)
