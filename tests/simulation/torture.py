"""Torture: kill a daemon under load, again and again, and have the oracle judge.

    make torture            at least 200 kills
    make torture KILLS=1000 SEED=7

Every acknowledged change must be there after every kill, and nothing that was not
asked for. SIGKILL leaves the page cache: that a sync comes before an answer is shown
elsewhere, on a disk that the test holds.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from daemons import CONFIG, PATIENCE_S, Daemon, until
from load import READER, Load
from oracle import Fault, Oracle

CLIENTS = 6
# The jobs' own times must not end while they are being judged.
TIMES = "job_keep_minutes: 1440\njob_timeout_minutes: 1440\n"
# Answers between two kills.
ANSWERS = (10, 80)


class Torture:
    """One daemon, its load and its judge."""

    def __init__(self, folder: Path, *, seed: int, **environ: str) -> None:
        self.daemon = Daemon(folder, **environ)
        self.daemon.config.write_text(CONFIG + TIMES)
        self.oracle = Oracle()
        self.kills: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self._chance = random.Random(seed)
        self.daemon.start()
        self.load = Load(self.daemon, self.oracle, clients=CLIENTS, seed=seed)

    def round(self) -> None:
        """Load, a kill or two, and the judgement."""
        self._chance.choice((self._kill_worker, self._kill_all))()
        self.judge()

    def run_for(self, answers: int) -> None:
        """Let the clients go until so many more answers have come."""
        enough = self.oracle.after(answers)
        self.load.gate.open()
        assert enough.wait(PATIENCE_S), "the clients get no answers"

    def judge(self) -> list[Fault]:
        """Hold the clients, and compare what is listed with what was answered."""
        self.load.gate.close()
        faults = self.oracle.judge(self.load.listing())
        self.faults += faults
        return faults

    def drain(self) -> list[str]:
        """Take every job that is queued; their uids in the order they came."""
        uids: list[str] = []
        while True:
            answer = self.daemon.ask("GET", "/api/v1/jobs/next", name=READER)
            if answer.status == 204:
                return uids
            uids.append(answer.json["uid"])

    def queued(self) -> list[str]:
        """The uids that are listed as queued."""
        return [job.uid for job in self.load.listing() if job.state == "queued"]

    def end(self) -> None:
        self.load.stop()
        self.daemon.kill()

    def _kill_worker(self) -> None:
        """The parent starts another worker while the clients go on asking."""
        (worker,) = self.daemon.workers()
        self._await_moment()
        self._strike("worker", worker)
        while self._chance.random() < 0.3:
            worker = self._next_worker(worker)
            time.sleep(self._chance.random() * 0.03)  # in the midst of opening
            self._strike("worker, while it opened", worker)
        self.run_for(5)

    def _kill_all(self) -> None:
        """Both processes at once, and a new daemon."""
        self._await_moment()
        self._strike_all("daemon")
        while self._chance.random() < 0.3:
            before = len(self.daemon.lines("listening"))
            self.daemon.launch()
            self._until_more_lines(before)
            self._strike_all("daemon, while it opened")
        self.daemon.start()

    def _await_moment(self) -> None:
        """Load, until an answer has come just now, or a little later."""
        self.run_for(self._chance.randint(*ANSWERS))
        if self._chance.random() < 0.5:
            time.sleep(self._chance.random() * 0.01)

    def _strike(self, kind: str, worker: int) -> None:
        os.kill(worker, signal.SIGKILL)
        self.kills[kind] += 1

    def _strike_all(self, kind: str) -> None:
        self.daemon.kill()
        self.kills[kind] += 1

    def _next_worker(self, worker: int) -> int:
        def others() -> list[int]:
            return [pid for pid in self.daemon.workers() if pid != worker]

        return until(others, "another worker")[0]

    def _until_more_lines(self, before: int) -> None:
        """Return when the worker is about to open the database."""
        until(lambda: len(self.daemon.lines("listening")) > before, "a start")


def summary(torture: Torture) -> str:
    """What was done and what came of it, in one line."""
    oracle = torture.oracle
    kinds = ", ".join(f"{count} {kind}" for kind, count in torture.kills.items())
    found = Counter(fault.kind for fault in torture.faults)
    return (
        f"{torture.kills.total()} kills ({kinds}): {oracle.acknowledged} answers "
        f"({oracle.created} creates, {oracle.delivered} deliveries), "
        f"{oracle.unknown} cut off, {found['lost']} lost, "
        f"{found['delivered twice']} delivered twice, {found.total()} faults in all"
    )


def run(torture: Torture, kills: int, tell: Callable[[str], None]) -> None:
    """Go on until there were so many kills, or a fault."""
    while torture.kills.total() < kills and not torture.faults:
        torture.round()
        tell(f"{torture.kills.total()}/{kills} kills")


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill a daemon under load.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(Path(folder) / "daemon", seed=asked.seed)
        try:
            run(torture, asked.kills, lambda text: print(text, end="\r", flush=True))
        finally:
            torture.end()
    for fault in torture.faults:
        print(f"{fault.kind}: {fault.token}: {fault.detail[:2000]}")
    print(summary(torture))
    return 1 if torture.faults else 0


if __name__ == "__main__":
    sys.exit(main())
