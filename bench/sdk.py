"""The worker SDK end to end, beside RQ and huey: each as its users run it.

A lifecycle is a job enqueued, taken, run by a handler that does nothing, and done. One
process enqueues all, then one worker process works until all are done; both times
count, the start of the interpreter does not.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from bench import daemon
from bench.peers import servers
from bench.peers.compared import VENV
from bench.process import HERE, Missing, Words, output
from bench.table import Rates, markdown, progress, spread

ASKED = "10 or more"
TOLD, WARM = 300, 20
P50_ASKED_MS = 10
SHIPPED: Words = ()


@dataclass(frozen=True, slots=True)
class Side:
    """One of those compared: what runs its acts, over which server, and how many jobs
    it is given: about as many as take it the same time."""

    name: str
    acts: Words
    serving: Callable[[Path], AbstractContextManager[int]]
    jobs: int
    enqueue: str = "enqueue"
    work: str = "work"

    def timed(self, act: str, port: int) -> float:
        """The seconds that the act takes for all the jobs.

        Raises:
            Missing: it failed, in its own words.
        """
        return float(output([*self.acts, act, port, self.jobs]).split()[-1])


@contextmanager
def _daemon(folder: Path) -> Iterator[int]:
    with daemon.running(folder, folder / "jobs.queuedb") as ours:
        yield ours.port


@contextmanager
def _redis(folder: Path, *, settings: Words) -> Iterator[int]:
    if not VENV.exists():
        raise Missing("not installed: make bench-peers does")
    with servers.redis(folder, {}, settings) as port:
        yield port


SYNCED_REDIS = partial(_redis, settings=servers.REDIS_SYNCED)
SHIPPED_REDIS = partial(_redis, settings=SHIPPED)
BY_US = (sys.executable, "-m", "bench.working")
BY_PEER = (VENV, HERE / "peers" / "workers.py")
RQ, HUEY = (*BY_PEER, "rq"), (*BY_PEER, "huey")
OURS = Side("JobEngine", BY_US, _daemon, 20_000)
WIDE = Side("JobEngine, 1,000 permits", BY_US, _daemon, 20_000, work="work-wide")
SINGLY = Side("JobEngine, enqueued one by one", BY_US, _daemon, 4_000, "enqueue-single")
# Ours is measured again right before each; and as huey is used, which has no batches.
BATCHED, EITHER = (OURS, WIDE), (OURS, WIDE, SINGLY)
PEERS = {
    Side("RQ, Redis synced", RQ, SYNCED_REDIS, 1_000): BATCHED,
    Side("RQ, Redis as it comes", RQ, SHIPPED_REDIS, 1_000): BATCHED,
    Side("huey, Redis synced", HUEY, SYNCED_REDIS, 4_000): EITHER,
    Side("huey, Redis as it comes", HUEY, SHIPPED_REDIS, 4_000): EITHER,
}
HEARD = (OURS, *(peer for peer in PEERS if peer.serving is SYNCED_REDIS))
MEANS = {
    "JobEngine": "enqueue_many by 1,000; a Worker as it comes: claims by the batch,"
    " runs on threads, reports by the batch; leases, heartbeats, permits. Each commit"
    " is sealed and synced",
    "RQ": "enqueue_many by 1,000; a SimpleWorker, which forks for no job, in a burst:"
    " one job at a time; its status, heartbeat, result and registries in Redis",
    "huey": "enqueued one by one, since it has no batches; its consumer with one worker"
    " thread: a BRPOP and a call for each job. One that was taken is in nobody's list:"
    " it goes with its worker",
}


class Row:
    """Jobs per second of one side, round by round; and what ours over it came to."""

    def __init__(self) -> None:
        self.rates: Rates = {"all": [], "enqueued": [], "worked off": []}
        self.over: Rates = {side.name: [] for side in EITHER}
        self.missing = ""


def main(folder: Path, rounds: int, _seconds: float) -> None:
    """Throughput in turns, then the wait of a job on an idle server."""
    for name, means in MEANS.items():
        print(f"- {name}: {means}.")
    rows = {side.name: Row() for side in (*EITHER, *PEERS)}
    for number in range(rounds):
        progress(f"workers end to end, round {number + 1} of {rounds}")
        for peer, ours in PEERS.items():
            _beside(peer, ours, rows, folder)
    _print(rows)
    _latencies(folder)


def _beside(
    peer: Side, ours: tuple[Side, ...], rows: dict[str, Row], folder: Path
) -> None:
    """The peer, and ours right before it: the machine's moods are the same for both."""
    row = rows[peer.name]
    if row.missing:
        return
    for side in ours:
        _measure(side, rows[side.name], folder)
    try:
        rate = _measure(peer, row, folder)
    except Missing as why:
        row.missing = str(why)
        return
    for side in ours:
        row.over[side.name].append(rows[side.name].rates["all"][-1] / rate)


def _measure(side: Side, row: Row, folder: Path) -> float:
    """Jobs per second, with its server anew, and nothing in it.

    Raises:
        Missing: it is not here, or failed.
    """
    with side.serving(Path(mkdtemp(dir=folder))) as port:
        took = [side.timed(act, port) for act in (side.enqueue, side.work)]
    for found, seconds in zip(row.rates.values(), (sum(took), *took), strict=True):
        found.append(side.jobs / seconds)
    return row.rates["all"][-1]


def _print(rows: dict[str, Row]) -> None:
    head = ["end to end", "jobs per second", "enqueued", "worked off", "least to most"]
    over = ["JobEngine over it", "with 1,000 permits", "one by one", "asked"]
    markdown([*head, *over], (_cells(name, row) for name, row in rows.items()))
    for name, row in rows.items():
        if row.missing:
            print(f"\n{name} is missing: {row.missing}")


def _cells(name: str, row: Row) -> list[str]:
    if row.missing:
        return [name, "missing", *[""] * 7]
    medians = [f"{statistics.median(found):,.0f}" for found in row.rates.values()]
    over = [_ratio(found) for found in row.over.values()]
    asked = ASKED if any(over) else ""
    return [name, *medians, spread(row.rates["all"]), *over, asked]


def _ratio(found: list[float]) -> str:
    if not found:
        return ""
    return f"{statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f})"


# --- the wait of a job ----------------------------------------------------------------


def _latencies(folder: Path) -> None:
    """One job at a time, and nothing else to do, to a worker that waits."""
    rows = []
    for side in HEARD:
        progress(f"from enqueue to the handler's start: {side.name}")
        asked = f"p50 {P50_ASKED_MS} or less" if side is OURS else ""
        try:
            rows.append(
                [
                    side.name,
                    *_percentiles(_heard(side, Path(mkdtemp(dir=folder)))),
                    asked,
                ]
            )
        except Missing as why:
            rows.append([side.name, "missing", *[""] * 3])
            print(f"\n{side.name} is missing: {why}")
    title = "from before the enqueue to the handler's start, ms"
    markdown([title, "p50", "p99", "most", "asked"], rows)


def _heard(side: Side, folder: Path) -> list[float]:
    """The microseconds of each job; the first ones, which warm it up, are left out."""
    with (
        side.serving(folder) as port,
        subprocess.Popen(
            [str(word) for word in (*side.acts, "hear", port, TOLD)],
            stdout=subprocess.PIPE,
            text=True,
        ) as hears,
    ):
        assert hears.stdout is not None
        try:
            if hears.stdout.readline() != "ready\n":
                raise Missing("its worker did not start")
            output([*side.acts, "tell", port, TOLD])
            return [float(each) for each in hears.stdout.read().split()][WARM:]
        finally:
            hears.terminate()


def _percentiles(found: list[float]) -> list[str]:
    cuts = statistics.quantiles(found, n=100)
    return [f"{us / 1e3:.2f}" for us in (cuts[49], cuts[98], max(found))]
