"""Histories: what clients saw of a running daemon, judged for linearizability.

    make histories                        50 of 2,000 operations, most with kills
    make histories HISTORIES=5 OPS=500 KILLS_EACH=2 SEED=7

Each history is a daemon of its own, which is killed up to KILLS_EACH times under its
clients. Then the judge is judged: every fault that can be planted in the record must be
found. A history that cannot be explained is kept, and its place printed. A seed gives
the same requests, not the same moments.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter, deque
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from daemons import Daemon
from jobs_model import Op, judge
from planted_records import PLANTS
from recorder import configured, record

# Judging takes longer than recording; a process for each of two processors.
JUDGES = 2


class Findings(NamedTuple):
    """What came of one history."""

    name: str
    operations: int
    kills: int
    cut_off: int
    overlap: float
    # What no order explains, or nothing.
    fault: str
    seconds: float
    # By plant: whether it was found. What could not be planted is not there.
    plants: dict[str, bool]


def taken(name: str, folder: Path, *, operations: int, kills: int) -> list[Op]:
    """The record of a new daemon in *folder*."""
    daemon = configured(Daemon(folder, server="loop")).start()
    try:
        return record(daemon, seed=name, operations=operations, kills=kills)
    finally:
        daemon.kill()


def assess(name: str, ops: list[Op], kills: int) -> Findings:
    """Judge a record, and the judge by what is planted in it."""
    began = time.perf_counter()
    _verdict, stuck = judge(ops)
    seconds = time.perf_counter() - began
    return Findings(
        name,
        len(ops),
        kills,
        sum(op.status is None for op in ops),
        overlap(ops),
        "" if stuck is None else repr(stuck),
        seconds,
        {} if stuck else found_plants(name, ops),
    )


def found_plants(name: str, ops: list[Op]) -> dict[str, bool]:
    """For every fault that can be planted in *ops* whether the judge finds it."""
    found = {}
    for kind, plant in PLANTS.items():
        planted = plant(ops, random.Random(f"{name} {kind}"))
        if planted is not None:
            found[kind] = not judge(planted)[0].linearizable
    return found


def overlap(ops: list[Op]) -> float:
    """How many operations were under way at once, on the average."""
    whole = max(op.ended for op in ops) - min(op.began for op in ops)
    return sum(op.ended - op.began for op in ops) / whole


def save(name: str, ops: list[Op]) -> Path:
    """Keep a record, one operation a line."""
    folder = Path(tempfile.mkdtemp(prefix="jobengine-history-"))
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(op._asdict()) + "\n" for op in ops))
    return path


def summary(all_findings: list[Findings]) -> str:
    """What was recorded and what came of it."""
    tried: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for findings in all_findings:
        tried.update(findings.plants)
        missed.update(kind for kind, found in findings.plants.items() if not found)
    explained = [f for f in all_findings if not f.fault]
    lines = [
        f"{len(explained)} of {len(all_findings)} histories explained: "
        f"{sum(f.operations for f in all_findings)} operations, "
        f"{sum(f.kills for f in all_findings)} kills in "
        f"{sum(f.kills > 0 for f in all_findings)} of them, "
        f"{sum(f.cut_off for f in all_findings)} cut off; "
        f"{sum(f.overlap for f in all_findings) / len(all_findings):.1f} at once; "
        f"judged in {max(f.seconds for f in all_findings):.1f} s at most"
    ]
    for kind in PLANTS:
        lines.append(f"{kind}: found {tried[kind] - missed[kind]} of {tried[kind]}")
    return "\n".join(lines)


def run(histories: int, operations: int, kills: int, seed: int) -> list[Findings]:
    """Record one history after the other while others are judged."""
    # Not forked: the recorder has threads.
    spawn = get_context("spawn")
    pending: deque[tuple[list[Op], Future[Findings]]] = deque()
    findings = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(JUDGES, mp_context=spawn) as judges,
    ):
        for nth in range(histories):
            name, deaths = f"{seed}.{nth}", nth % (kills + 1)
            place = Path(folder) / str(nth)
            ops = taken(name, place, operations=operations, kills=deaths)
            pending.append((ops, judges.submit(assess, name, ops, deaths)))
            print(f"recorded {nth + 1}/{histories}", end="\r", flush=True)
            while pending and (pending[0][1].done() or nth + 1 == histories):
                ops, future = pending.popleft()
                findings.append(future.result())
                tell(findings[-1], ops)
    return findings


def tell(findings: Findings, ops: list[Op]) -> None:
    """One line of progress, and more of what is wrong."""
    verdict = "NOT EXPLAINED" if findings.fault else "explained"
    missed = [kind for kind, found in findings.plants.items() if not found]
    print(
        f"{findings.name}: {findings.operations} operations, {findings.kills} kills: "
        f"{verdict} in {findings.seconds:.1f} s; "
        f"{len(findings.plants) - len(missed)} of {len(findings.plants)} plants found",
        flush=True,
    )
    if findings.fault or missed:
        print(f"  {findings.fault[:1000]} {missed}: see {save(findings.name, ops)}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Record and judge histories.")
    parser.add_argument("--histories", type=int, default=50)
    parser.add_argument("--operations", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    began = time.monotonic()
    findings = run(asked.histories, asked.operations, asked.kills, asked.seed)
    print(summary(findings))
    print(f"{time.monotonic() - began:.0f} s in all")
    return 0 if all(not f.fault and all(f.plants.values()) for f in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
