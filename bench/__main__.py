"""make bench: the tables of docs/performance.md.

python -m bench [--rounds 5] [--seconds 1.5] [--quick] [in-process|http|restart ...]
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bench import engine, file

CONNECTIONS = (1, 16, 64)
BACKLOGS = (1_000, 100_000)
# Claims are timed in short blocks, one backlog after the other.
CLAIM_BLOCKS, CLAIMS = 4, 200

Rates = dict[str, list[float]]


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--folder", type=Path, default=Path("var"))
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=options.folder))
    try:
        for name in options.parts or PARTS:
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
        for threads in CONNECTIONS:
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
    show(f"in process: medians of {rounds} rounds", rates)
    few, many = (rates[f"claims,  1 thread,  {n:>7,} queued"] for n in BACKLOGS)
    ratio = statistics.median(b / a for a, b in zip(few, many, strict=True))
    print(
        f"  claims at {BACKLOGS[1]:,} queued over those at {BACKLOGS[0]:,}: {ratio:.2f}"
    )
    for house in houses.values():
        house.close()


def over_http(folder: Path, rounds: int, seconds: float) -> None:
    """The same through the daemon, its clients in a process of their own."""
    rates: Rates = defaultdict(list)
    for backlog in BACKLOGS:
        path = folder / f"http-{backlog}.queuedb"
        house = engine.open_at(path)
        progress(f"filling a queue with {backlog:,} jobs")
        engine.fill(house, backlog)
        house.close()
    for number in range(rounds):
        progress(f"over HTTP, round {number + 1} of {rounds}")
        for backlog in BACKLOGS:
            with Daemon(folder, folder / f"http-{backlog}.queuedb") as daemon:
                for connections in CONNECTIONS:
                    case = f"{connections:>3} connections, {backlog:>7,} queued"
                    for kind in ("creates", "lifecycles"):
                        rate = daemon.load(kind, connections, seconds)
                        rates[f"{kind}, {case}"].append(rate)
    show(f"over HTTP: medians of {rounds} rounds", rates)


class Daemon:
    """A daemon of ours on a free port."""

    def __init__(self, folder: Path, db_path: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = folder / "config.yml"
        config.write_text(
            f"port: {self.port}\nqueues: {{bench: {{read: [bench], write: [bench]}}}}\n"
        )
        self.environ = os.environ | {
            "SECRET": "the secret of a benchmark",
            "CONFIG_PATH": str(config),
            "DB_PATH": str(db_path),
        }

    def __enter__(self) -> "Daemon":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jobengine", "serve"],
            env=self.environ,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                # Connections are taken before the file is open: ask.
                url = f"http://127.0.0.1:{self.port}/readyz"
                urllib.request.urlopen(url, timeout=60).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the daemon did not start")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def load(self, kind: str, connections: int, seconds: float) -> float:
        """Acts per second."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "bench.load", f"127.0.0.1:{self.port}"),
                *(kind, str(connections), str(seconds)),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        return float(done.stdout)


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


def show(title: str, rates: Rates) -> None:
    """A table of medians, with the spread of the rounds."""
    print(f"\n{title}, per second (least and most)")
    for name, found in rates.items():
        spread = f"{min(found):,.0f}-{max(found):,.0f}"
        print(f"  {name:<50}{statistics.median(found):>8,.0f}  ({spread})")


def progress(text: str) -> None:
    """Say what is being done."""
    print(f"... {text}", file=sys.stderr, flush=True)


PARTS: dict[str, Callable[[Path, int, float], None]] = {
    "in-process": in_process,
    "http": over_http,
    "restart": restart,
    "file": file.main,
}

if __name__ == "__main__":
    main()
