"""make bench: the tables of docs/performance.md.

python -m bench [--rounds 5] [--seconds 1.5] [--quick] [PART ...]
"""

import argparse
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bench import (
    batches,
    beside,
    engine,
    file,
    importing,
    profile,
    schedules,
    sdk,
    slow_clients,
    verbs,
    wire,
)
from bench.peers import run as peers
from bench.table import Rates, progress, show

THREADS = (1, 16, 64)
BACKLOGS = (1_000, 100_000)
# Claims are timed in short blocks, one backlog after the other.
CLAIM_BLOCKS, CLAIMS = 4, 200


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--quick", action="store_true", help="1 round of 0.5 s")
    parser.add_argument("--folder", type=Path, default=Path("var"))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    # Told to stop, end every server that was started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    options.folder.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=options.folder)).resolve()
    try:
        for name in options.parts or MAKE_BENCH:
            PARTS[name](folder, options.rounds, options.seconds)
    finally:
        shutil.rmtree(folder)


def in_process(folder: Path, rounds: int, seconds: float) -> None:
    """Durable creates and lifecycles by threads and by backlog."""
    houses = {}
    for backlog in BACKLOGS:
        progress(f"filling a queue with {backlog:,} jobs")
        houses[backlog] = engine.open_at(folder / f"{backlog}.queuedb")
        engine.fill(houses[backlog], backlog)
    rates: Rates = defaultdict(list)
    for number in range(rounds):
        progress(f"in process, round {number + 1} of {rounds}")
        rates["bare appends of 400 bytes, each synced"].append(
            engine.syncs_per_second(folder, seconds / 2)
        )
        for threads in THREADS:
            for backlog, house in houses.items():
                case = f"{threads:>2} threads, {backlog:>7,} queued"
                for kind, act in (
                    ("creates", engine.create),
                    ("lifecycles", engine.lifecycle_of),
                ):
                    rate = engine.rate(act, house, threads, seconds)
                    rates[f"{kind}, {case}"].append(rate)
                    engine.trim(house, backlog)
        with engine.one_core():
            rates["lifecycles, 16 threads,   1,000 queued, one core"].append(
                engine.rate(engine.lifecycle_of, houses[BACKLOGS[0]], 16, seconds)
            )
            engine.trim(houses[BACKLOGS[0]], BACKLOGS[0])
        for _ in range(CLAIM_BLOCKS):
            for backlog, house in houses.items():
                rates[f"claims,  1 thread,  {backlog:>7,} queued"].append(
                    engine.claims_per_second(house, CLAIMS)
                )
                engine.fill(house, CLAIMS)
    show(f"in process: medians of {rounds} rounds, per second", rates)
    few, many = (rates[f"claims,  1 thread,  {n:>7,} queued"] for n in BACKLOGS)
    ratio = statistics.median(b / a for a, b in zip(few, many, strict=True))
    print(
        f"  claims at {BACKLOGS[1]:,} queued over those at {BACKLOGS[0]:,}: {ratio:.2f}"
    )
    for house in houses.values():
        house.close()


def restart(folder: Path, rounds: int, _seconds: float) -> None:
    """Memory a job, and how long a start takes after a clean stop, its Argon2id too."""
    for jobs in (100_000, 1_000_000):
        path = folder / f"restart-{jobs}.queuedb"
        print(f"{jobs:>9,} jobs of 200 bytes:", flush=True)
        inside = subprocess.run(
            [sys.executable, "-m", "bench.restart", str(path), str(jobs), str(rounds)],
            check=True,
            capture_output=True,
            text=True,
        )
        print(inside.stdout, end="")
        path.unlink()


PARTS: dict[str, Callable[[Path, int, float], None]] = {
    "in-process": in_process,
    "http": wire.main,
    "backlog": beside.backlog,
    "idle": beside.idle,
    "busy": beside.busy,
    "profile": profile.main,
    "verbs": verbs.main,
    "restart": restart,
    "schedules": schedules.main,
    "file": file.main,
    "peers": peers.main,
    "batches": batches.main,
    "sdk": sdk.main,
    "import": importing.main,
    "slow": slow_clients.slow,
}
# The peers are programs that are no part of this project; "import" asks the registry.
WITH_OTHERS = ("peers", "batches", "sdk", "import")
MAKE_BENCH = [name for name in PARTS if name not in WITH_OTHERS]

if __name__ == "__main__":
    main()
