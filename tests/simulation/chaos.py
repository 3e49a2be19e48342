"""A storm: worker processes and a daemon, killed at random while they work.

    make chaos                        200 strikes on 8 workers and 20,000 jobs
    make chaos KILLS=300 JOBS=50000 SEED=7

Producers queue jobs of five kinds all the while. A strike kills a worker, the daemon,
or the process under it; or holds a worker up until its leases have run out, and lets it
go on, as if nothing had been. In the end every job must be complete, with its effect at
least once, and under the last lease that was given out. A seed gives the same strikes,
not the same moments.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from chaos_judge import Findings, Seen, gathered, judge
from chaos_records import Record, read
from daemons import PATIENCE_S, Daemon, until

from jobengine import Client, JobHandle, NewJob, constant
from jobengine.client.retry import Retry

HERE = Path(__file__).parent
QUEUES = ("quick", "slow", "flaky", "steps", "waiting")
CONFIG = "version: 1\nqueues:\n" + "".join(
    f"  {queue}: {{read: [hand], write: [shop]}}\n" for queue in QUEUES
)
# What is queued: most of it is done at once.
SHARES = (60, 14, 12, 7, 7)
# So short that a worker which is held up loses its jobs, and one that lives does not.
LEASE_S = 2.0
# Of the slow ones one in so many takes longer than its lease, which must be kept alive.
LONG_ONE_OF, LONG_MS = 40, 3000
# A run that goes wrong is soon followed by the next; and no number of them is too many.
OPTIONS: dict[str, Any] = {
    "lease": LEASE_S,
    "keep": 3600,
    "backoff": constant(0.1),
    "max_attempts": None,
    "poison_after": None,
}
# What is struck, and how often.
WEIGHTS = {"worker": 5, "worker held up": 2, "daemon": 2, "daemon's child": 1}
# Seconds between two strikes, at most.
PAUSE_S = 1.0
# Jobs that are queued one by one; the others go in batches.
ALONE_ONE_OF = 20
PRODUCERS = 2
# A queue that nothing has happened to for so long is stuck: twice as long as a worker
# waits at most before it asks a daemon again, and as a lease, and the starts of both.
STUCK_S = 30.0


class Hand:
    """One worker process after another; each has a file of its own."""

    def __init__(self, folder: Path, name: str, url: str) -> None:
        self._folder = folder
        self._name = name
        self._url = url
        self._numbers = count()
        self.held_until = 0.0  # 0: it is not held up
        self.start()

    def start(self) -> None:
        """The next one."""
        self.file = self._folder / f"{self._name}.{next(self._numbers)}.jsonl"
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE.parents[1])}
        with (self._folder / f"{self._name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "chaos_worker.py", self.file],
                env=environ | {"JOBENGINE_URL": self._url, "JOBENGINE_NAME": "hand"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def lives(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.held_until = 0.0

    def hold_up(self, until_: float) -> bool:
        """Stop it, if it has a job whose end it has not told."""
        self.process.send_signal(signal.SIGSTOP)
        if not self._has_jobs():
            self.process.send_signal(signal.SIGCONT)
            return False
        self.held_until = until_
        return True

    def let_go(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.held_until = 0.0

    def stop(self) -> int:
        """Its code, when it has ended as it should."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S * 2)

    def _has_jobs(self) -> bool:
        leases = gathered(read(self.file)).values()
        return any(not lease.told for of in leases for lease in of.values())


class Storm:
    """A daemon, its workers and producers, and what strikes them."""

    def __init__(self, folder: Path, *, workers: int, seed: int) -> None:
        self._chance = random.Random(seed)
        self._folder = folder
        self.strikes: Counter[str] = Counter()
        self.made = 0
        self.daemon = Daemon(folder / "daemon")
        self.daemon.configure(CONFIG)
        self.daemon.start()
        url = f"http://127.0.0.1:{self.daemon.port}"
        patient = Retry(total_s=PATIENCE_S * 3)
        self.shop = Client(url, name="shop", retry=patient)
        self.reader = Client(url, name="hand", retry=patient)
        self.hands = [Hand(folder, f"worker{n}", url) for n in range(workers)]
        self._producers = ThreadPoolExecutor(PRODUCERS)
        self._parts: list[Future[None]] = []
        self._ways: dict[str, Callable[[], None]] = {
            "worker": self._kill_worker,
            "worker held up": self._hold_up_worker,
            "daemon": self._kill_daemon,
            "daemon's child": self._kill_child,
        }

    def strike(self, way: str | None = None) -> None:
        """Wait a moment, and strike; in this way, or in any."""
        self._rest(self._chance.random() * PAUSE_S)
        if way is None:
            [way] = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        self._ways[way]()
        self.strikes[way] += 1

    def produce(self, jobs: int) -> None:
        """Have so many more jobs queued, while all else goes on."""
        new = [self._content(self.made + nth) for nth in range(jobs)]
        self.made += jobs
        self._parts.append(self._producers.submit(_enqueue, self.shop, new))

    def settle(self) -> None:
        """No more strikes: return when all jobs have ended."""
        while any(hand.held_until for hand in self.hands):
            self._rest(LEASE_S / 10)
        for part in self._parts:
            part.result(PATIENCE_S * 3)
        left, since = -1, time.monotonic()
        while (now_left := self._unfinished()) > 0:
            if now_left != left:
                left, since = now_left, time.monotonic()
            assert time.monotonic() - since < STUCK_S, f"{left} jobs are stuck"
            time.sleep(0.1)
        codes = [hand.stop() for hand in self.hands]
        assert codes == [0] * len(codes), f"the workers ended with {codes}"

    def findings(self) -> Findings:
        """Judge it, once settled."""
        found = [
            Seen(
                job.uid,
                job.content["number"],
                job.state,
                (job.result or {}).get("lease"),
            )
            for queue in QUEUES
            for job in self.reader.iter_jobs(queue, limit=1000)
        ]
        return judge(found, self._records(), self.made)

    def end(self) -> None:
        """Leave nothing running."""
        with ExitStack() as last:
            last.callback(self.daemon.kill)
            for hand in self.hands:
                last.callback(hand.kill)
            last.callback(self.reader.close)
            last.callback(self.shop.close)
            # A producer that is asking gives up.
            self.shop.interrupt()
            self._producers.shutdown(cancel_futures=True)

    def _records(self) -> Iterator[Record]:
        for path in sorted(self._folder.glob("*.jsonl")):
            yield from read(path)

    def _content(self, number: int) -> tuple[str, dict[str, int]]:
        [queue] = self._chance.choices(QUEUES, SHARES)
        content = {"number": number, "ms": self._chance.randint(10, 300)}
        if queue == "slow" and not self._chance.randrange(LONG_ONE_OF):
            content["ms"] = LONG_MS
        if queue == "flaky":
            content["fails"] = self._chance.randint(1, 3)
        if queue == "steps":
            content |= {"steps": 4, "ms": content["ms"] // 2}
        return queue, content

    def _unfinished(self) -> int:
        stats = [self.reader.stats(queue) for queue in QUEUES]
        return sum(each.queued + each.inprogress for each in stats)

    # --- the strikes ------------------------------------------------------------

    def _rest(self, seconds: float) -> None:
        """Let them go on, and let go of those that have been held up long enough."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))
            for hand in self.hands:
                if 0 < hand.held_until < time.monotonic():
                    hand.let_go()

    def _some_hand(self) -> Hand:
        hands = [hand for hand in self.hands if not hand.held_until]
        # One at least is always at work.
        return self._chance.choice(hands)

    def _kill_worker(self) -> None:
        hand = self._some_hand()
        assert hand.lives(), f"a worker ended by itself: see {hand.file}"
        hand.kill()
        hand.start()

    def _hold_up_worker(self) -> None:
        if sum(bool(hand.held_until) for hand in self.hands) == len(self.hands) - 1:
            self._rest(LEASE_S)
        # Beyond its lease: it does not know that it has lost its jobs.
        extra = LEASE_S * (1.25 + self._chance.random())

        looks = count(1)

        def held_up() -> bool:
            if next(looks) % 50 == 0:
                self.produce(10)  # all there were may be done
            return self._some_hand().hold_up(time.monotonic() + extra)

        until(held_up, "a worker has a job")

    def _kill_daemon(self) -> None:
        assert self.daemon.process is not None
        assert self.daemon.process.poll() is None, "the daemon ended by itself"
        self.daemon.kill()
        self.daemon.launch()

    def _kill_child(self) -> None:
        """What serves, and not what starts it again."""
        child = until(self.daemon.workers, "the daemon has a child")[0]
        os.kill(child, signal.SIGKILL)


def _enqueue(client: Client, new: list[tuple[str, dict[str, int]]]) -> None:
    """Queue these. What is answered to be queued must be done in the end."""
    batches: dict[str, list[NewJob]] = {queue: [] for queue in QUEUES}
    for queue, content in new:
        if content["number"] % ALONE_ONE_OF:
            batches[queue].append(NewJob(content, **OPTIONS))
        else:
            client.enqueue(queue, content, **OPTIONS)
    for queue, jobs in batches.items():
        for made in client.enqueue_many(queue, jobs):
            assert isinstance(made, JobHandle), made


def run(storm: Storm, jobs: int, strikes: int, tell: Callable[[str], None]) -> Findings:
    """So many strikes while so many jobs are queued; then all must be done."""
    for nth in range(strikes):
        storm.produce(max(0, jobs * (nth + 1) // strikes - storm.made))
        storm.strike()
        tell(f"{nth + 1}/{strikes} strikes, {storm.made} jobs queued")
    storm.settle()
    return storm.findings()


def summary(storm: Storm, found: Findings) -> str:
    """What was done and what came of it."""
    kinds = ", ".join(f"{times} {way}" for way, times in storm.strikes.items())
    faults = Counter(fault.kind for fault in found.faults)
    told = ", ".join(f"{times} {kind}" for kind, times in faults.items())
    return (
        f"{storm.strikes.total()} strikes ({kinds}) on {len(storm.hands)} workers: "
        f"{found.jobs} jobs, {found.runs} runs with their effect, {found.duplicates} "
        f"of them duplicates; {found.acknowledged} completions acknowledged; under "
        f"lost leases {found.refused} ends and {found.unheard} heartbeats refused; "
        f"{told or 'no'} faults"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill workers and their daemon.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="jobengine-chaos-"))
    storm = Storm(folder, workers=asked.workers, seed=asked.seed)
    try:
        found = run(
            storm,
            asked.jobs,
            asked.kills,
            lambda text: print(text, end="\r", flush=True),
        )
    finally:
        storm.end()
    for fault in found.faults[:20]:
        print(f"{fault.kind}: {fault.uid}: {fault.detail[:2000]}")
    print(f"{summary(storm, found)}; {time.monotonic() - began:.0f} s")
    if found.faults:
        print(f"what they wrote down: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
