"""What load must not mind: a deep backlog, idle connections, slow work beside it."""

import http.client
import resource
import shutil
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import daemon, engine
from bench.client import Client
from bench.daemon import Daemon
from bench.process import resident_bytes
from bench.table import Rates, progress, ratios, show, show_ratio
from bench.wire import KINDS, MOST

BACKLOGS = (1_000, 1_000_000)
IDLE = 1_000
EXPIRING = LISTED = 100_000
# A compaction is asked for this often; asked while one runs, the next follows it.
ASK_S = 0.1


def backlog(folder: Path, rounds: int, seconds: float) -> None:
    """Throughput with a million jobs queued, over that with a thousand."""
    client = Client(folder)
    rates: Rates = defaultdict(list)
    with ExitStack() as stack:
        ports = {}
        for jobs in BACKLOGS:
            progress(f"filling a queue with {jobs:,} jobs")
            path = folder / f"backlog-{jobs}.queuedb"
            _filled(path, {engine.NAME: jobs})
            ports[jobs] = stack.enter_context(daemon.running(folder, path)).port
        for number in range(rounds):
            progress(f"backlog, round {number + 1} of {rounds}")
            for kind in KINDS:
                for jobs, port in ports.items():
                    load = client.load("http", kind, port, MOST, seconds)
                    rates[f"{kind}, {jobs:,} queued"].append(load.rate)
    show(f"by backlog, {MOST} connections, per second", rates)
    for kind in KINDS:
        few, many = (rates[f"{kind}, {jobs:,} queued"] for jobs in BACKLOGS)
        show_ratio(f"{kind}, most over fewest", ratios(many, few), "0.85 or more")


def idle(folder: Path, _rounds: int, _seconds: float) -> None:
    """What connections that have nothing to say cost the worker in memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        ours = stack.enter_context(daemon.running(folder, folder / "idle.queuedb"))
        # What the first ones cost, all share.
        _greeted(ours.port, stack, count=10)
        before = resident_bytes(ours.worker)
        kept = _greeted(ours.port, stack, count=IDLE)
        mib = (resident_bytes(ours.worker) - before) / 2**20
    print(
        f"\n{IDLE:,} connections that made one request each and stayed:"
        f" {kept:,} kept, {mib:.1f} MiB (asked: 64 or less)"
    )


def _greeted(port: int, stack: ExitStack, *, count: int) -> int:
    """Connections that stay open: *count*, or as many as are answered."""
    for kept in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=5)
        stack.callback(one.close)
        one.sendall(b"GET /api/v1/test HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            one.recv(4096)
        except TimeoutError:
            return kept
    return count


def busy(folder: Path, rounds: int, seconds: float) -> None:
    """Throughput beside a sweep, a listing and a compaction, over that without."""
    client = Client(folder)
    rates: Rates = defaultdict(list)
    quiet, expired = folder / "quiet.queuedb", folder / "expired.queuedb"
    jobs = {engine.NAME: 1_000, engine.BIG: LISTED, engine.DYING: EXPIRING}
    progress(f"filling two files with {sum(jobs.values()):,} jobs each")
    _filled(quiet, jobs)
    # All over before its daemon starts, which sweeps from its first instant.
    _filled(expired, jobs, dying_ms=1)
    for number in range(rounds):
        for kind in KINDS:
            progress(f"slow work, {kind}, round {number + 1} of {rounds}")
            _beside_each(folder, quiet, client, kind, seconds, rates)
            _beside_all(folder, expired, client, kind, seconds, rates)
    show(f"beside slow work, {MOST} connections", rates)
    for kind in KINDS:
        alone = rates[f"{kind}/s, alone"]
        for what, asked in ASKED.items():
            found = ratios(rates[f"{kind}/s, {what}"], alone)
            show_ratio(f"{kind}, {what}, over alone", found, asked)


ALL = "beside listings, compactions and a sweep"
ASKED = {
    "beside listings": "-",
    "beside compactions": "-",
    ALL: "0.4 or more",
}


@contextmanager
def _anew(folder: Path, filled: Path) -> Iterator[Daemon]:
    path = folder / "busy-now.queuedb"
    shutil.copy(filled, path)
    with daemon.running(folder, path) as ours:
        yield ours


def _beside_each(
    folder: Path, filled: Path, client: Client, kind: str, s: float, rates: Rates
) -> None:
    with _anew(folder, filled) as ours:
        with _listing(ours):
            load = client.load("http", kind, ours.port, MOST, s)
            rates[f"{kind}/s, beside listings"].append(load.rate)
        with _compacting(ours):
            load = client.load("http", kind, ours.port, MOST, s)
            rates[f"{kind}/s, beside compactions"].append(load.rate)
        load = client.load("http", kind, ours.port, MOST, s)
        rates[f"{kind}/s, alone"].append(load.rate)


def _beside_all(
    folder: Path, filled: Path, client: Client, kind: str, s: float, rates: Rates
) -> None:
    with _anew(folder, filled) as ours, _listing(ours), _compacting(ours):
        swept, compacted = _swept(ours), len(ours.lines("compacted"))
        load = client.load("http", kind, ours.port, MOST, s)
        rates[f"{kind}/s, {ALL}"].append(load.rate)
        # Less than all of them: the sweep went on to the end of the load.
        rates[f"  swept meanwhile, {kind}"].append(_swept(ours) - swept)
        compacted = len(ours.lines("compacted")) - compacted
        rates[f"  compactions ended meanwhile, {kind}"].append(compacted)


def _swept(ours: Daemon) -> int:
    lines = ours.lines("jobs removed")
    return sum(line["count"] for line in lines if line["queue"] == engine.DYING)


@contextmanager
def _compacting(ours: Daemon) -> Iterator[None]:
    """One compaction after the other."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(ASK_S):
            ours.compact()

    with _until_set(stop, ask):
        yield


@contextmanager
def _listing(ours: Daemon) -> Iterator[None]:
    """One listing after the other, each read as fast as it comes."""
    stop = threading.Event()
    headers = {"X-Name": engine.NAME, "X-Queue": engine.BIG}

    def read() -> None:
        while not stop.is_set():
            asked = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
            asked.request("GET", "/api/v1/jobs", headers=headers)
            answer = asked.getresponse()
            while answer.read(1 << 20) and not stop.is_set():
                pass
            asked.close()

    with _until_set(stop, read):
        yield


@contextmanager
def _until_set(stop: threading.Event, work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _filled(path: Path, jobs: dict[str, int], *, dying_ms: int = engine.DAY_MS) -> None:
    house = engine.open_at(path)
    for queue, count in jobs.items():
        valid_for_ms = dying_ms if queue == engine.DYING else engine.DAY_MS
        engine.fill(house, count, queue=queue, valid_for_ms=valid_for_ms)
    house.close()
