"""Over HTTP: our two servers, a Flask hello beside them, and what the client can do."""

import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench import daemon, engine
from bench.client import Client, Load, by_wrk
from bench.process import Missing
from bench.table import Rates, progress, ratios, show, show_ratio

CONNECTIONS = (1, 8, 32)
MOST = CONNECTIONS[-1]
KINDS = ("creates", "lifecycles")
QUEUED = 1_000
# What stands beside ours: Flask on gunicorn's gthread, and what shows how much the
# client could do at most.
HELLO = "flask hello"
CEILING = "a server that does nothing"
WITNESS = ", by wrk"


class Case(NamedTuple):
    """One cell of the table."""

    who: str
    kind: str
    connections: int

    def __str__(self) -> str:
        return f"{self.who}: {self.kind}, {self.connections:>2} conn."


Loads = dict[Case, list[Load]]


def main(folder: Path, rounds: int, seconds: float) -> None:
    """Everything at 1, 8 and 32 connections, in turns; then what the plan asks."""
    client = Client(folder)
    print(f"\nload by {client.name}")
    filled = folder / "thousand.queuedb"
    house = engine.open_at(filled)
    engine.fill(house, QUEUED)
    house.close()
    loads: Loads = defaultdict(list)
    syncs = []
    for number in range(rounds):
        progress(f"over HTTP, round {number + 1} of {rounds}")
        syncs.append(engine.sync_us(folder))
        with ExitStack() as stack:
            ports = dict(_started(stack, folder, filled))
            for case in _cases(ports):
                load = client.load("http", case.kind, *_where(ports, case), seconds)
                loads[case].append(load)
            _witnessed(ports, loads, seconds)
    _report(loads, syncs)


def _started(stack: ExitStack, folder: Path, filled: Path) -> Iterator[tuple[str, int]]:
    """Every server anew, so that no round has the jobs of the one before."""
    for server in daemon.SERVERS:
        database = folder / f"{server}.queuedb"
        shutil.copy(filled, database)
        running = daemon.running(folder, database, server=server)
        yield f"ours, {server}", stack.enter_context(running).port
    yield HELLO, stack.enter_context(daemon.hello(folder))
    try:
        yield CEILING, stack.enter_context(daemon.nothing(folder))
    except Missing as why:
        progress(f"no ceiling of the client: {why}")


def _cases(ports: dict[str, int]) -> Iterator[Case]:
    """What is measured against each other comes one right after the other."""
    for connections in CONNECTIONS:
        for kind in KINDS:
            for who in ports:
                if who != HELLO:
                    yield Case(who, kind, connections)
                elif kind == KINDS[0]:
                    yield Case(who, "hello", connections)


def _where(ports: dict[str, int], case: Case) -> tuple[int, int]:
    return ports[case.who], case.connections


def _witnessed(ports: dict[str, int], loads: Loads, seconds: float) -> None:
    """The same at most connections by wrk, for what it is worth."""
    for kind in KINDS:
        for who in (f"ours, {daemon.SERVERS[0]}", CEILING):
            try:
                load = by_wrk(kind, ports[who], MOST, seconds)
            except (Missing, KeyError) as why:
                progress(f"no witness: {why}")
            else:
                loads[Case(who + WITNESS, kind, MOST)].append(load)


def _report(loads: Loads, syncs: list[float]) -> None:
    rates: Rates = {
        str(case): [load.rate for load in found]
        for case, found in sorted(loads.items(), key=lambda each: str(each[0]))
    }
    show("over HTTP, per second", rates)
    ours = f"ours, {daemon.SERVERS[0]}"
    hello = [load.rate for load in loads[Case(HELLO, "hello", MOST)]]
    print(f"\nat {MOST} connections, over the Flask hello's requests")
    for kind, asked in zip(KINDS, ("6 or more", "2.5 or more"), strict=True):
        mine = [load.rate for load in loads[Case(ours, kind, MOST)]]
        show_ratio(f"{ours}: {kind}", ratios(mine, hello), asked)
    print("\nthe client's own share of one core; at 1 it would be the limit")
    for case, found in loads.items():
        if case.connections == MOST and case.who != HELLO:
            busy = statistics.median(load.busy for load in found)
            print(f"  {case!s:<66}{busy:>10.2f}")
    one = [load.p50_us for load in loads[Case(ours, "creates", 1)]]
    eight = [load.p99_us for load in loads[Case(ours, "creates", 8)]]
    times: Rates = {
        "a write of 300 bytes and its sync, p50": syncs,
        "a create on 1 connection, p50 (asked: 100 where that takes 25)": one,
        "a create on 8 connections, p99 (asked: 5,000 or less)": eight,
    }
    show("microseconds", times)
