"""Who is compared: what each peer's rows mean, and how its load is made."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import daemon
from bench.client import Client, Load
from bench.peers import servers
from bench.process import HERE, Missing, found, measured, output
from bench.wire import MOST

VENV = HERE.parent / "var" / "bench-venv" / "bin" / "python"

Environ = Mapping[str, str]
# One kind of act, for so many seconds, of a server that runs.
Loading = Callable[[str, float], Load]


@dataclass(frozen=True, slots=True)
class Stage:
    """What a peer is given: a disk, quick or slow, and the client."""

    folder: Path
    environ: Environ
    client: Client


@dataclass(frozen=True, slots=True)
class Peer:
    """One row. *near*: compared closely, so ours is measured right before it."""

    name: str
    means: str
    run: Callable[[Stage, Path], AbstractContextManager[Loading]]
    near: bool = False

    @contextmanager
    def running(self, stage: Stage) -> Iterator[Loading]:
        """Started anew, on an empty folder.

        Raises:
            Missing: it is not here, or does not start.
        """
        with tempfile.TemporaryDirectory(dir=stage.folder) as name:
            folder = Path(name)
            folder.chmod(0o755)  # PostgreSQL runs as somebody else
            with self.run(stage, folder) as loading:
                yield loading


@contextmanager
def _ours(stage: Stage, folder: Path) -> Iterator[Loading]:
    database = folder / "jobs.queuedb"
    with daemon.running(folder, database, environ=stage.environ) as ours:
        yield partial(_by_client, stage.client, "http", ours.port)


def _by_client(
    client: Client, protocol: str, port: int, kind: str, seconds: float
) -> Load:
    if protocol != "http" and not client.compiled:
        raise Missing("no C compiler for its client")
    return client.load(protocol, kind, port, MOST, seconds)


@contextmanager
def _beanstalkd(*flags: str, stage: Stage, folder: Path) -> Iterator[Loading]:
    with servers.beanstalkd(folder, stage.environ, *flags) as port:
        yield partial(_by_client, stage.client, "beanstalkd", port)


@contextmanager
def _redis(stage: Stage, folder: Path) -> Iterator[Loading]:
    with servers.redis(folder, stage.environ) as port:
        yield partial(_by_client, stage.client, "redis", port)


TABLE = """\
CREATE TABLE job (
    id bigserial PRIMARY KEY,
    taken boolean NOT NULL DEFAULT false,
    payload text NOT NULL
);
CREATE INDEX ON job (id) WHERE NOT taken;
"""
PUT = "INSERT INTO job (payload) VALUES ('{}');\n".format("x" * 200)
# A statement sees what was there when it began: now and then it finds no job.
TAKE = """\
WITH mine AS (
    UPDATE job SET taken = true WHERE id = (
        SELECT id FROM job WHERE NOT taken ORDER BY id
        FOR UPDATE SKIP LOCKED LIMIT 1
    ) RETURNING id, payload
) SELECT coalesce(max(id), 0) AS mine, max(payload) AS payload FROM mine \\gset
"""
FINISH = "DELETE FROM job WHERE id = :mine;\n"
SCRIPTS = {"creates": PUT, "lifecycles": PUT + TAKE + FINISH}


@contextmanager
def _postgres(stage: Stage, folder: Path) -> Iterator[Loading]:
    with servers.postgres(folder, stage.environ) as port:
        where = ["-h", "127.0.0.1", "-p", str(port), "-U", servers.USER]
        psql = [found("psql", *servers.POSTGRES_FOLDERS), *where, "-qtA"]
        output([*psql, "-c", TABLE, "postgres"])

        def load(kind: str, seconds: float) -> Load:
            script = folder / "script.sql"
            script.write_text(SCRIPTS[kind])
            text, busy = measured(
                [
                    *(found("pgbench", *servers.POSTGRES_FOLDERS), *where, "-n"),
                    *("-c", str(MOST), "-j", "2", "-M", "prepared", "-f", script),
                    *("-T", str(max(1, round(seconds))), "postgres"),
                ]
            )
            left = output([*psql, "-c", "SELECT count(*) FROM job", "postgres"])
            rate = _pgbench_rate(text, 0 if kind == "creates" else int(left))
            return Load(rate, 0, 0, 0, busy)

        yield load


def _pgbench_rate(text: str, left: int) -> float:
    """Acts per second; those that found no job to take did not count."""
    told = dict(
        line.partition(separator)[::2]
        for line in text.splitlines()
        for separator in (": ", " = ")
        if separator in line
    )
    done = int(told["number of transactions actually processed"])
    if told.get("number of failed transactions", "0").split()[0] != "0":
        raise Missing("pgbench met failures")
    return float(told["tps"].split()[0]) * (done - left) / done


@contextmanager
def _library(
    name: str,
    server: Callable[[Path, Environ], AbstractContextManager[int]],
    *,
    stage: Stage,
    folder: Path,
) -> Iterator[Loading]:
    if not VENV.exists():
        raise Missing("not installed: make bench-peers does")
    with server(folder, stage.environ) as port:

        def load(kind: str, seconds: float) -> Load:
            script = HERE / "peers" / "libraries.py"
            given = [name, kind, str(port), str(seconds), folder]
            text, busy = measured([VENV, script, *given], stage.environ)
            return Load(float(text), 0, 0, 0, busy)

        yield load


@contextmanager
def _no_server(_folder: Path, _environ: Environ) -> Iterator[int]:
    yield 0


def _library_on(
    name: str, server: Callable[[Path, Environ], AbstractContextManager[int]]
) -> Callable[[Stage, Path], AbstractContextManager[Loading]]:
    return lambda stage, folder: _library(name, server, stage=stage, folder=folder)


OURS = Peer(
    "JobEngine",
    "PUT create; GET next; POST complete. Each is sealed and synced",
    _ours,
)
PEERS = (
    Peer(
        "beanstalkd -f0",
        "put; reserve; delete. put and delete are synced, reserve is not written",
        lambda stage, folder: _beanstalkd("-f0", stage=stage, folder=folder),
        near=True,
    ),
    Peer(
        "beanstalkd",
        "the same, synced every 50 ms at most: answered before",
        lambda stage, folder: _beanstalkd(stage=stage, folder=folder),
        near=True,
    ),
    Peer(
        "Redis, lists",
        "LPUSH; LMOVE to a list of what is under way; LREM. Each is synced",
        _redis,
        near=True,
    ),
    Peer(
        "PostgreSQL, SKIP LOCKED",
        "INSERT; UPDATE of the first not locked; DELETE. Each is a synced transaction",
        _postgres,
        near=True,
    ),
    Peer(
        "RQ",
        "enqueue; then 2 SimpleWorkers, which fork for no job, until all are done",
        _library_on("rq", servers.redis),
    ),
    Peer(
        "huey",
        "32 threads of 2 processes: enqueue, dequeue, execute; no scheduler",
        _library_on("huey", servers.redis),
    ),
    Peer(
        "procrastinate",
        "defer; then 2 workers of 16 jobs at once, until all are done",
        _library_on("procrastinate", servers.postgres),
    ),
    Peer(
        "persist-queue",
        "in process, 1 thread: put; get; ack. SQLite's log, synced at each commit",
        _library_on("persist-queue", _no_server),
    ),
)
