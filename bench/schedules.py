"""What schedules cost the store: those that are due, and those that only wait."""

import os
import statistics
import time
from pathlib import Path

from msgspec.structs import replace

from bench.table import progress
from jobengine.build import House, open_house
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.core.schedules import NewSchedule, begun
from jobengine.store.sealer import RAW, Kdf
from jobengine.testing import SimClock

NAME = "bench"
RULES = Rulebook({NAME: QueueRules(NAME, read=frozenset({NAME}))})
CONTENT = b'{"pad":"' + b"x" * 190 + b'"}'
COUNTS = (100, 10_000)
DUE = 100
# As many rows as the sweeper asks for.
BATCH = 100
IDLE = 500


def main(folder: Path, rounds: int, _seconds: float) -> None:
    """Sweeps with none due, and with DUE of them due, by how many there are."""
    for count in COUNTS:
        path = folder / f"schedules-{count}.queuedb"
        clock = SimClock()
        house = open_house(
            db_path=path,
            secret=b"the secret of a benchmark",
            rules=RULES,
            clock=clock,
            on_failure=lambda _error: os._exit(74),
            kdf=Kdf(RAW),
        )
        progress(f"{count:,} schedules, {DUE} of them due every hour")
        begin(house, count)
        idle, firings = [], []
        for _ in range(rounds):
            idle.append(cpu_us(house, IDLE))
            clock.advance(minutes=60)
            firings.append(cpu_us(house, 1000) / DUE)
        print(
            f"{count:>9,} schedules: {statistics.median(idle) / IDLE:.0f} us a sweep "
            f"with none due, {statistics.median(firings):.0f} us a firing"
        )
        house.close()
        path.unlink()


def begin(house: House, count: int) -> None:
    """So many schedules, of which DUE fire every hour and the rest once a year."""
    with house.store.transaction() as tx:
        often, seldom = (
            begun(
                NewSchedule("s", cron, CONTENT, "Europe/Berlin"), queue=NAME, now=tx.now
            )
            for cron in ("0 * * * *", "0 0 1 12 *")
        )
        for number in range(count):
            kind = often if number < DUE else seldom
            tx.put_record(replace(kind, title=f"s{number}"))


def cpu_us(house: House, most: int) -> float:
    """Of up to *most* sweeps, or until one finds nothing where there is something."""
    busy = (house.upkeep.next_due() or 0) <= house.store.clock.now()
    began = time.process_time_ns()
    for _ in range(most):
        if not house.upkeep.sweep(BATCH) and busy:
            break
    return (time.process_time_ns() - began) / 1000
