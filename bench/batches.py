"""Jobs by the batch, over one connection and over a few, beside PostgreSQL and Redis.

Each speaks its own protocol through the same loop, batches.c, which makes the jobs and
keeps the time. A batch is durable when it is answered.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from bench import daemon
from bench.client import Client
from bench.peers import servers
from bench.process import HERE, Missing, built, found, measured, output
from bench.table import Rates, progress, ratios, show, show_ratio

BATCH = 1_000
# What is asked is asked of one connection; what a few come to is told beside it.
CONNECTIONS = (1, 4)
BACKLOGS = (1_000, 100_000)
# Claims of one, and of a batch.
CLAIMED = (1, BATCH)
# An answer of 1,000 jobs would drown the table.
REASON_MAX = 200
# A backlog is filled with no end of time.
FILL_S = 600

ENQUEUE = "enqueue"
TOGETHER = "lifecycles"
PIPELINED = "lifecycles-pipelined"
ONE_BY_ONE = "lifecycles-one-by-one"
MEANS = {
    ENQUEUE: "enqueued",
    TOGETHER: "lifecycles, one DELETE a batch",
    PIPELINED: "lifecycles, each finished alone, pipelined",
    ONE_BY_ONE: "lifecycles, each finished alone, in turn",
}

OURS, POSTGRES, REDIS = "JobEngine", "PostgreSQL", "Redis"
# Of the statements tried, the quickest are in batches_postgres.c. The key is what the
# relay dialect promises, too: no two jobs of a queue have one id.
TABLE = """\
CREATE TABLE job (
    queue text NOT NULL,
    id text NOT NULL,
    priority smallint NOT NULL DEFAULT 50,
    run_at timestamptz NOT NULL DEFAULT now(),
    timeout int NOT NULL DEFAULT 600,
    max_retries int NOT NULL DEFAULT 3,
    taken boolean NOT NULL DEFAULT false,
    expires_at timestamptz,
    payload text NOT NULL,
    PRIMARY KEY (queue, id)
);
CREATE INDEX ON job (queue, priority DESC, run_at) WHERE NOT taken;
"""
LIBPQ = Path("/usr/include/postgresql")


@dataclass(frozen=True, slots=True)
class Target:
    """A server that runs, and the program that loads it."""

    program: Path
    port: int

    def rate(
        self,
        kind: str,
        connections: int,
        seconds: float,
        *,
        batch: int = BATCH,
        jobs: int = 0,
    ) -> float:
        """Jobs per second; the end is after *seconds*, or *jobs* if that is sooner.

        Raises:
            Missing: an answer was not the expected one.
        """
        text, _busy = measured(
            [self.program, kind, self.port, connections, batch, seconds, jobs]
        )
        done, ns = map(int, text.split())
        return done / ns * 1e9


def _program(folder: Path, protocol: str, *flags: object) -> Path:
    loop = HERE / "batches.c"
    return built(f"batches_{protocol}.c", folder, loop, "-pthread", *flags)


@contextmanager
def _ours(folder: Path) -> Iterator[Target]:
    program = _program(folder, "relay")
    with daemon.running(folder, folder / "jobs.queuedb") as ours:
        yield Target(program, ours.port)


@contextmanager
def _redis(folder: Path) -> Iterator[Target]:
    program = _program(folder, "redis")
    with servers.redis(folder, {}) as port:
        yield Target(program, port)


@contextmanager
def _postgres(folder: Path) -> Iterator[Target]:
    program = _program(folder, "postgres", f"-I{LIBPQ}", "-lpq")
    with servers.postgres(folder, {}) as port:
        psql = [found("psql", *servers.POSTGRES_FOLDERS), "-qtA", "-h", "127.0.0.1"]
        output([*psql, "-p", port, "-U", servers.USER, "-c", TABLE, "postgres"])
        yield Target(program, port)


RUN: dict[str, Callable[[Path], AbstractContextManager[Target]]] = {
    OURS: _ours,
    POSTGRES: _postgres,
    REDIS: _redis,
}
# What is measured against each other comes one right after the other; the lifecycles
# come first, since all begin with an empty queue.
CASES = (
    (
        (OURS, PIPELINED),
        (POSTGRES, TOGETHER),
        (POSTGRES, PIPELINED),
        (POSTGRES, ONE_BY_ONE),
        (REDIS, PIPELINED),
    ),
    ((OURS, ENQUEUE), (POSTGRES, ENQUEUE), (REDIS, ENQUEUE)),
)
SINGLES = f"{OURS}, 1 conn.: enqueued by single creates"
# Ours, over what, and what the plan asks of it; all on one connection.
ASKED = (
    ((OURS, ENQUEUE), (POSTGRES, ENQUEUE), "0.4 or more"),
    ((OURS, PIPELINED), (POSTGRES, TOGETHER), "1.5 or more"),
    ((OURS, PIPELINED), (POSTGRES, PIPELINED), "1.5 or more"),
    ((OURS, ENQUEUE), (REDIS, ENQUEUE), "0.3 or more"),
)


def _row(who: str, kind: str, connections: int) -> str:
    return f"{who}, {connections} conn.: {MEANS[kind]}"


def main(folder: Path, rounds: int, seconds: float) -> None:
    """Batches beside the peers, in turns; then claims by backlog."""
    _beside_peers(folder, rounds, seconds)
    try:
        _claims(folder, rounds, seconds)
    except Missing as why:
        print(f"\n{OURS}, claims by backlog: missing: {_short(why)}")


def _beside_peers(folder: Path, rounds: int, seconds: float) -> None:
    client = Client(folder)
    rates: Rates = defaultdict(list)
    missing: dict[str, Missing] = {}
    for number in range(rounds):
        progress(f"batches of {BATCH:,}, round {number + 1} of {rounds}")
        with ExitStack() as stack:
            targets = dict(_started(stack, folder, number, missing))
            for cases, connections in product(CASES, CONNECTIONS):
                for who, kind in cases:
                    if who in targets:
                        measure = partial(targets[who].rate, kind, connections, seconds)
                        _note(_row(who, kind, connections), measure, rates, missing)
            if OURS in targets:
                measure = partial(_singles, client, targets[OURS].port, seconds)
                _note(SINGLES, measure, rates, missing)
    show(f"batches of {BATCH:,}, medians of {rounds} rounds, jobs per second", rates)
    _report(rates)
    for name, why in missing.items():
        print(f"\n{name} is missing: {_short(why)}")


def _started(
    stack: ExitStack, folder: Path, number: int, missing: dict[str, Missing]
) -> Iterator[tuple[str, Target]]:
    """Every server anew, so that no round has the jobs of the one before."""
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    for who, run in RUN.items():
        own = folder / f"batches-{who}-{number}"
        own.mkdir()
        try:
            yield who, stack.enter_context(run(own))
        except Missing as why:
            missing[who] = why


def _singles(client: Client, port: int, seconds: float) -> float:
    return client.load("http", "creates", port, 1, seconds).rate


def _short(why: Missing) -> str:
    return str(why).strip()[:REASON_MAX]


def _note(
    row: str,
    measure: Callable[[], float],
    rates: Rates,
    missing: dict[str, Missing],
) -> None:
    """Measure a row, unless it failed before."""
    if row in missing:
        return
    try:
        rate = measure()
    except Missing as why:
        missing[row] = why
        rates.pop(row, None)
    else:
        rates[row].append(rate)


def _report(rates: Rates) -> None:
    print("\non one connection, round by round")
    asked = [
        (f"{one[0]} over {other[0]}: {MEANS[other[1]]}", _row(*one, 1), _row(*other, 1))
        for one, other, _ in ASKED
    ]
    bounds = [bound for *_, bound in ASKED]
    singles = (f"{OURS}: by batches over by single creates", _row(OURS, ENQUEUE, 1))
    for (name, one, other), bound in zip(
        [*asked, (*singles, SINGLES)], [*bounds, "10 or more"], strict=True
    ):
        if one in rates and other in rates:
            show_ratio(name, ratios(rates[one], rates[other]), bound)


def _claims(folder: Path, rounds: int, seconds: float) -> None:
    """Claims of a deep queue, over those of a short one; the rest is not timed."""
    rates: Rates = defaultdict(list)
    with ExitStack() as stack:
        targets = {}
        for jobs in BACKLOGS:
            own = folder / f"claims-{jobs}"
            own.mkdir()
            targets[jobs] = stack.enter_context(_ours(own))
            progress(f"filling a queue with {jobs:,} jobs")
            targets[jobs].rate(ENQUEUE, 1, FILL_S, jobs=jobs)
        for number in range(rounds):
            progress(f"claims by backlog, round {number + 1} of {rounds}")
            for batch in CLAIMED:
                for jobs, target in targets.items():
                    rate = target.rate("claims", 1, seconds, batch=batch)
                    rates[_claim_row(batch, jobs)].append(rate)
    show("claims by backlog, 1 conn., jobs per second of claiming", rates)
    for batch in CLAIMED:
        few, many = (rates[_claim_row(batch, jobs)] for jobs in BACKLOGS)
        name = f"claims of {batch:,}, most queued over fewest"
        show_ratio(name, ratios(many, few), "0.9 or more")


def _claim_row(batch: int, jobs: int) -> str:
    return f"claims of {batch:,}, {jobs:,} queued"
