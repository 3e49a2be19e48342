"""A worker while it runs: its parts, put together, and their threads."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakSet

from jobengine.client.client import Client
from jobengine.client.jobs import Job
from jobengine.worker.crew import Crew, Stoker
from jobengine.worker.fetch import Fetcher
from jobengine.worker.handlers import Context, Spec, Waits
from jobengine.worker.held import AsyncHeldJob, Held, HeldJob
from jobengine.worker.leases import Leases
from jobengine.worker.loop import Loop
from jobengine.worker.outbox import COURIERS, Outbox
from jobengine.worker.permits import Permits
from jobengine.worker.processes import Processes
from jobengine.worker.reports import Report, column_of
from jobengine.worker.tally import Tally
from jobengine.worker.work import End, PutBack, Runner, Work

if TYPE_CHECKING:
    from jobengine.worker.worker import Worker

# For what is still to be told when a worker ends, and the daemon does not answer.
FLUSH_S = 5.0
# How long a claim may take whose answer is awaited at the end: it asks for no wait.
CLAIM_S = 2.0
# After a fault of our own. Seconds.
AGAIN_S = 1.0
# How often a worker that is stopping looks whether it is to hurry.
LOOK_S = 0.1

log = logging.getLogger("jobengine.worker")


class Running:
    """From the start of a worker to its end. Made for one of them."""

    def __init__(
        self,
        worker: "Worker",
        specs: Mapping[str, Spec],
        client: Client,
        tally: Tally,
    ) -> None:
        self.hurry: Callable[[], bool] = lambda: False
        self._client = client
        # Of its own: what waits for jobs is interrupted at the end, and each part tries
        # again by itself.
        self._polls = client.another(retry=None)
        self._claims = client.another(retry=None)
        self._tells = client.another(retry=None)
        self._tally = tally
        self._worker = worker
        self._specs = specs
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # guards all below
        self._heard: list[Callable[[], None]] = []
        self._in_time: bool | None = None
        self._over = threading.Event()
        self._threads: WeakSet[threading.Thread] = WeakSet()
        self._permits = _permits(worker, specs)
        self._leases = Leases(
            self._tells.heartbeat_many,
            lambda job, told: client.heartbeat(job, progress=told),
            monotonic=time.monotonic,
            heartbeat_s=worker.heartbeat_s,
        )
        self._outbox = Outbox(self._tells, self._told)
        self._stoker = Stoker(os.cpu_count() or 1)
        self._loop: Loop | None = None
        self._runners: dict[str, Runner] = {}
        self._contexts = {
            queue: Context(client, worker.state, queue) for queue in specs
        }
        self._fetchers: list[threading.Thread] = []
        self._couriers: list[threading.Thread] = []

    # --- start ------------------------------------------------------------------

    def start(self) -> None:
        """Take jobs from now on."""
        log.info("works with %r", self._client)
        made: dict[int, Runner] = {}
        for queue, spec in self._specs.items():
            if id(spec) not in made:
                made[id(spec)] = self._runner(spec)
            self._runners[queue] = made[id(spec)]
        self._thread("stoker", self._stoker.run)
        self._thread("heartbeats", self._leases.run)
        self._couriers = [
            self._thread(f"courier-{number}", self._outbox.run)
            for number in range(COURIERS)
        ]
        self._fetchers = [
            self._thread(f"fetch-{queue}", self._fetcher(queue).run)
            for queue in self._specs
        ]

    def _runner(self, spec: Spec) -> Runner:
        if spec.processes:
            return Processes(spec, self._worker.exceptions, self._thread)
        if not spec.is_async:
            return Crew(spec.name, self._thread, self._stoker)
        if self._loop is None:
            self._loop = Loop()
            self._thread("loop", self._loop.run)
        return self._loop

    def _fetcher(self, queue: str) -> Fetcher:
        return Fetcher(
            self._claims,
            self._polls,
            queue,
            self._permits,
            take=lambda jobs: self._take(queue, jobs),
            put_back=lambda jobs: self._put_back(queue, jobs),
            sleep=self._stopping.wait,
            share=random.random,
        )

    def _thread(self, name: str, run: Callable[[], None]) -> threading.Thread:
        # No thread outlives the process: what it held is given back, or runs out.
        thread = threading.Thread(
            target=_kept_up, args=(run,), name=f"jobengine-{name}", daemon=True
        )
        self._threads.add(thread)
        thread.start()
        return thread

    def apart(self, act: Callable[[], object]) -> None:
        """Have this done by a thread that no job is run by."""

        def run() -> None:
            act()

        self._thread("apart", run)

    def is_part(self, thread: threading.Thread) -> bool:
        """Whether it is one of the threads that run jobs, or serve those."""
        return thread in self._threads

    # --- a job's way ------------------------------------------------------------

    def _hold(self, queue: str, jobs: list[Job]) -> list[Work]:
        spec, context = self._specs[queue], self._contexts[queue]
        kind = AsyncHeldJob if spec.is_async else HeldJob
        now = time.monotonic()
        helds = [kind(job, self._leases, now) for job in jobs]
        self._leases.hold(helds)
        self._tally.claimed(queue, len(jobs))
        meanings = self._worker.exceptions
        return [Work(held, spec, context, meanings, self._ended) for held in helds]

    def _take(self, queue: str, jobs: list[Job]) -> None:
        works = self._hold(queue, jobs)
        if self._stopping.is_set():
            for work in works:
                work.end(PutBack())
            return
        self._runners[queue].submit(works)

    def _put_back(self, queue: str, jobs: list[Job]) -> None:
        for work in self._hold(queue, jobs):
            self._end(work.held, PutBack(), permit=False)

    def _ended(self, work: Work, end: End) -> None:
        waits = work.spec.backoff or self._worker.backoff
        self._end(work.held, end, waits=waits)

    def _end(
        self,
        held: Held,
        end: End,
        *,
        waits: Waits | None = None,
        permit: bool = True,
    ) -> None:
        """A run is over. What it says counts once, and not when it was given up."""
        if not self._tally.ended(held):
            return
        if permit:
            self._permits.give_back(held.queue)
        self._outbox.put(Report(held, end, waits))

    def _told(self, reports: list[Report], took: list[bool]) -> None:
        """The daemon has been told of these, or they are lost."""
        self._tally.told(
            (report.held.queue, column_of(report.end, took=was_taken))
            for report, was_taken in zip(reports, took, strict=True)
        )
        self._leases.let_go([report.held for report in reports])

    # --- stop -------------------------------------------------------------------

    def stop(self, grace_s: float) -> bool:
        """See Worker.stop. Whoever comes second waits for the first."""
        with self._lock:
            first = not self._stopping.is_set()
            self._stopping.set()
            heard = self._heard
        if first:
            try:
                self._end_all(grace_s, heard)
            finally:
                self._over.set()
        self._over.wait()
        return bool(self._in_time)

    def when_stopping(self, hear: Callable[[], None]) -> None:
        """Have *hear* called when it stops; at once, if it does."""
        with self._lock:
            if not self._stopping.is_set():
                self._heard.append(hear)
                return
        hear()

    def _end_all(self, grace_s: float, heard: list[Callable[[], None]]) -> None:
        for hear in heard:
            hear()
        self._permits.close()
        self._polls.hang_up()
        for runner in set(self._runners.values()):
            for work in runner.take_back():
                work.end(PutBack())
        self._end_fetching()
        for held in self._leases.in_hand():
            # What waits for its strategy has not begun.
            if held.hold.waits:
                held.hold.abandon("stopping")
        self._in_time = self._wait(grace_s)
        for held in self._leases.in_hand():
            held.hold.abandon("stopping")
            self._end(held, PutBack())
        self._leases.wait_empty(FLUSH_S)
        self._close()

    def _end_fetching(self) -> None:
        """What is asked for at this moment is waited for, and then put back: if nobody
        heard the answer, those jobs would be nobody's until their leases run out."""
        ends = time.monotonic() + CLAIM_S
        for thread in self._fetchers:
            thread.join(max(0.0, ends - time.monotonic()))
        self._polls.interrupt()
        self._claims.interrupt()
        for thread in self._fetchers:
            thread.join()

    def _wait(self, seconds: float) -> bool:
        """Whether all runs end before the time is up."""
        ends = time.monotonic() + seconds
        while not self._leases.wait_empty(LOOK_S):
            if self.hurry() or time.monotonic() >= ends:
                return False
        return True

    def _close(self) -> None:
        self._outbox.close()
        self._leases.close()
        self._stoker.close()
        for runner in set(self._runners.values()):
            runner.stop()
        for thread in self._couriers:
            thread.join(FLUSH_S)
        self._polls.close()
        self._claims.close()
        self._tells.close()


def _permits(worker: "Worker", specs: Mapping[str, Spec]) -> Permits:
    own = {
        queue: spec.permits for queue, spec in specs.items() if spec.permits is not None
    }
    return Permits(worker.permits, worker.queue_permits, own)


def _kept_up(run: Callable[[], None]) -> None:
    """Run it to its end, whatever faults it has: without its threads a worker would
    lose its jobs, and say nothing."""
    while True:
        try:
            run()
        except Exception:  # the outermost loop of a thread
            log.exception("a fault of the worker's own")
            time.sleep(AGAIN_S)
        else:
            return
