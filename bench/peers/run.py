"""make bench-peers: ours and the peers in turns, on a quick disk and on a slow one."""

import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bench.client import Client, Load
from bench.peers.compared import OURS, PEERS, Peer, Stage
from bench.process import Missing, built
from bench.table import markdown, progress, ratios, spread
from bench.wire import KINDS, MOST

SLOW_US = 2000

# What is asked of ours over the peer: (creates, lifecycles).
QUICK_ASKED = {
    "beanstalkd -f0": ("1.6", "1.4"),
    "PostgreSQL, SKIP LOCKED": ("1.2", "2"),
    "Redis, lists": ("0.4", "0.45"),
}
SLOW_ASKED = {
    "beanstalkd -f0": ("15", "10"),
    "PostgreSQL, SKIP LOCKED": ("1.3", "1.3"),
    "Redis, lists": ("0.95", "0.95"),
}
Asked = dict[str, tuple[str, str]]


class Syncs:
    """The slow disk, and how many syncs it has seen."""

    def __init__(self, folder: Path) -> None:
        self._counted = folder / "syncs"
        self._counted.write_bytes(bytes(8))
        self._counted.chmod(0o666)  # PostgreSQL runs as somebody else
        shim = built("slowsync.c", folder, "-shared", "-fPIC")
        self.environ = {
            "LD_PRELOAD": str(shim),
            "SLOWSYNC_US": str(SLOW_US),
            "SLOWSYNC_COUNT": str(self._counted),
        }

    def count(self) -> int:
        """Since the beginning, of everybody."""
        return int.from_bytes(self._counted.read_bytes(), "little")


@dataclass(slots=True)
class Row:
    """What was found of one peer, round by round, with ours of the same minute."""

    loads: dict[str, list[Load]] = field(default_factory=lambda: defaultdict(list))
    ours: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    syncs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    missing: str = ""

    def rates(self, kind: str) -> list[float]:
        """Acts per second."""
        return [load.rate for load in self.loads[kind]]


def main(folder: Path, rounds: int, seconds: float) -> None:
    """Two tables: the disk as it is, and every sync 2 ms longer."""
    folder.chmod(0o755)
    client = Client(folder)
    print(f"\n{MOST} connections, 200-byte payloads, medians of {rounds} rounds.")
    print(f"Ours, beanstalkd and Redis are loaded by {client.name}.\n")
    for peer in (OURS, *PEERS):
        print(f"- {peer.name}: {peer.means}.")
    _table(Stage(folder, {}, client), rounds, seconds, None, QUICK_ASKED)
    try:
        slow = Syncs(folder)
    except Missing as why:
        print(f"\nno slow disk: {why}")
        return
    print(f"\nEvery fsync and fdatasync {SLOW_US} µs longer:")
    _table(Stage(folder, slow.environ, client), rounds, seconds, slow, SLOW_ASKED)


def _table(
    stage: Stage, rounds: int, seconds: float, slow: Syncs | None, asked: Asked
) -> None:
    rows = {peer.name: Row() for peer in (OURS, *PEERS)}
    for number in range(rounds):
        for peer in (OURS, *PEERS):
            row = rows[peer.name]
            if peer.near and not row.missing:
                _measure(OURS, rows[OURS.name], stage, seconds, slow)
            if row.missing:
                continue
            disk = "slow disk" if slow else "disk"
            progress(f"{peer.name}, {disk}, round {number + 1} of {rounds}")
            _measure(peer, row, stage, seconds, slow)
            for kind in row.loads:
                row.ours[kind].append(rows[OURS.name].loads[kind][-1].rate)
    _print(rows, slow, asked)


def _measure(
    peer: Peer, row: Row, stage: Stage, seconds: float, slow: Syncs | None
) -> None:
    """Lifecycles first: all begin with an empty queue."""
    try:
        with peer.running(stage) as load:
            for kind in reversed(KINDS):
                before = slow.count() if slow else 0
                row.loads[kind].append(load(kind, seconds))
                row.syncs[kind] += slow.count() - before if slow else 0
    except Missing as why:
        if peer is OURS:
            raise SystemExit(f"ours failed: {why}") from why
        row.missing = str(why)
        row.loads.clear()


def _print(rows: dict[str, Row], slow: Syncs | None, asked: Asked) -> None:
    for place, kind in enumerate(KINDS):
        head = [kind, "per second", "least to most", "ours over it", "asked"]
        head += ["syncs seen"] * bool(slow) + ["client's core"]
        markdown(
            head,
            (
                _cells(name, row, kind, asked.get(name, ("", ""))[place], slow)
                for name, row in rows.items()
            ),
        )
    for name, row in rows.items():
        if row.missing:
            print(f"\n{name} is missing: {row.missing}")


def _cells(name: str, row: Row, kind: str, asked: str, slow: Syncs | None) -> list[str]:
    if row.missing:
        return [name, "missing", "", "", asked, *[""] * bool(slow), ""]
    rates, syncs = row.rates(kind), row.syncs[kind]
    seen = f"{syncs:,}" if syncs else "none: not slowed"
    busy = statistics.median(load.busy for load in row.loads[kind])
    return [
        name,
        f"{statistics.median(rates):,.0f}",
        spread(rates),
        "" if name == OURS.name else _over(row.ours[kind], rates),
        f"{asked} or more" if asked else "",
        *[seen] * bool(slow),
        f"{busy:.2f}",
    ]


def _over(ours: list[float], rates: list[float]) -> str:
    found = ratios(ours, rates)
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
