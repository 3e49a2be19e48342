"""The worker: takes jobs, has its handlers run them, and tells how they ended.

    worker = Worker()

    @worker.handler("mail")
    def send(job):
        print("to", job.content["to"])

    worker.run()

What it is made of has a module each: permits, fetch, crew, loop, processes, leases and
outbox. None of them decides what an outcome leads to: that is the daemon's.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from jobengine.client.client import Client
from jobengine.worker.handlers import (
    Handler,
    Meanings,
    Spec,
    Waits,
    check_options,
    check_queues,
    nobody_for,
    spec_of,
    spec_of_class,
)
from jobengine.worker.inline import run_inline
from jobengine.worker.leases import HEARTBEAT_S
from jobengine.worker.permits import PERMITS, QUEUE_PERMITS
from jobengine.worker.running import Running
from jobengine.worker.strategy import Strategy
from jobengine.worker.tally import Counts, Tally

F = TypeVar("F", bound=Callable[..., Any])

# Under the 30 seconds that service managers and clusters wait before they kill.
GRACE_S = 25.0

log = logging.getLogger("jobengine.worker")


class Worker:
    """Runs the jobs of the queues that it has handlers for.

    *client* says where the daemon is, and as which service to ask; None: as the
    environment says, at the start. There are at most *permits* jobs in hand, and
    *queue_permits* of each queue, unless its handler says otherwise. *backoff* is how
    long a job waits after a run that failed; None: as it was queued, or as its queue
    says. *exceptions* says what an exception of a handler means; one that is not in it
    is Failed. A job is heard of every *heartbeat_s* seconds. *grace_s* is how long runs
    may go on once the worker is to stop. *state* is handed to handlers in their
    context. *queues* are further ones, whose jobs are all failed as critical.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        permits: int = PERMITS,
        queue_permits: int = QUEUE_PERMITS,
        backoff: Waits | None = None,
        exceptions: Meanings | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        grace_s: float = GRACE_S,
        state: Any = None,
        queues: Iterable[str] = (),
    ) -> None:
        if heartbeat_s <= 0 or grace_s < 0:
            raise ValueError("heartbeat_s must be above 0, and grace_s not below")
        if permits < 1 or queue_permits < 1:
            raise ValueError("permits and queue_permits must be at least 1")
        self.client = client
        self.permits = permits
        self.queue_permits = queue_permits
        self.backoff = backoff
        self.exceptions: Meanings = exceptions or {}
        self.heartbeat_s = heartbeat_s
        self.grace_s = grace_s
        self.state = state
        self._made: Client | None = None  # of the environment, and ours to close
        self._specs: dict[str, Spec] = {}
        self._orphans = _names(queues)
        self._life = threading.Lock()  # guards `_running`
        self._running: Running | None = None
        self._tally: Tally | None = None

    # --- what it runs -----------------------------------------------------------

    def handler(
        self,
        *queues: str,
        permits: int | None = None,
        backoff: Waits | None = None,
        strategy: Strategy | None = None,
        exceptions: Meanings | None = None,
        processes: int = 0,
    ) -> Callable[[F], F]:
        """Have the decorated function run the jobs of these queues.

        It takes `(job)` or `(ctx, job)`. A `def` runs on threads, as many as are of
        use; an `async def` on one loop; with *processes* a `def` runs in so many child
        processes. What else may be given is for these queues what the worker's own is
        for all; *strategy* is asked before each run.

        Raises:
            TypeError, ValueError: it cannot be a handler, or a queue has one.
        """

        # Here, and not only with the function: that may stand in place of a queue.
        check_queues(queues, "handler")

        def enter(call: F) -> F:
            spec = spec_of(
                call,
                queues,
                permits=permits,
                backoff=backoff,
                strategy=strategy,
                exceptions=exceptions,
                processes=processes,
            )
            self._enter(spec)
            return call

        return enter

    def add(self, handler: Handler) -> Handler:
        """The same with a handler that is a class.

        Raises:
            TypeError, ValueError: it cannot be one, or a queue has one.
        """
        self._enter(spec_of_class(handler))
        return handler

    def _enter(self, spec: Spec) -> None:
        if self._running is not None:
            raise ValueError(f"{spec.name}: the worker runs already, without it")
        for queue in spec.queues:
            if queue in self._specs:
                other = self._specs[queue].name
                raise ValueError(f"queue {queue!r} has a handler already: {other}")
        self._specs |= dict.fromkeys(spec.queues, spec)

    # --- its life ---------------------------------------------------------------

    def start(self) -> None:
        """Take jobs from now on, on threads of its own.

        Raises:
            ValueError: it has no handler, or runs already.
            TypeError: its client is none, or one of its options.
            ConfigError: the environment does not say where the daemon is.
        """
        with self._life:
            if self._running is not None:
                raise ValueError("the worker runs already")
            running = Running(self, self._all_specs(), self._asked(), self._counted())
            try:
                running.start()
            except BaseException:
                running.stop(0)  # what it has begun with
                raise
            self._running = running

    def stop(self, grace_s: float | None = None) -> bool:
        """Take no more jobs, let those that run end, and give back the others. Whether
        all of them ended in time: *grace_s* seconds, or the worker's own.

        After that a run still has its thread, which nothing can end, but its job is
        back in its queue: whatever it does does not count. A handler that stops its
        worker is not waited for: False, and the rest goes on without it.
        """
        running = self._running
        if running is None:
            return True
        grace_s = self.grace_s if grace_s is None else grace_s
        if running.is_part(threading.current_thread()):
            running.apart(lambda: self._stop(running, grace_s))
            return False
        return self._stop(running, grace_s)

    def _stop(self, running: Running, grace_s: float) -> bool:
        try:
            return running.stop(grace_s)
        finally:
            with self._life:
                if self._running is running:
                    self._running = None
                    self._leave()

    def only(self, queues: Iterable[str]) -> None:
        """Work for these of its queues, and for no others. Before the start.

        Raises:
            ValueError: it has no handler for one of them.
        """
        queues = frozenset(_names(queues))
        if unknown := sorted(queues.difference(self.queues)):
            known = ", ".join(self.queues)
            raise ValueError(
                f"no handler for {', '.join(unknown)}; there are some for {known}"
            )
        kept = queues & self._specs.keys()
        self._specs = {queue: self._specs[queue] for queue in kept}
        self._orphans = tuple(queues - kept)

    def __enter__(self) -> "Worker":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def run(self) -> bool:
        """Take jobs until SIGTERM or SIGINT, or until somebody calls `stop`, and then
        stop; at once with the second signal. Whether all runs ended in time.

        Raises:
            ValueError: this is not the main thread; or as of `start`.
        """
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("run is for the main thread: here, start() and stop()")
        # Not Events: a signal may come while this thread has the lock of one.
        told: SimpleQueue[int | None] = SimpleQueue()
        numbers: list[int] = []

        def heed(number: int, _frame: object) -> None:
            numbers.append(number)
            told.put(number)

        with _signals(heed):
            self.start()
            running = self._running
            if running is None:  # a handler was quicker
                return True
            running.hurry = lambda: len(numbers) > 1
            running.when_stopping(lambda: told.put(None))
            if (number := told.get()) is not None:
                log.info("%s: stopping", signal.Signals(number).name)
            return self._stop(running, self.grace_s)

    def run_until_idle(self) -> int:
        """Run what can be run now, job by job, on this thread; how many runs there
        were. For tests: nothing is started, and nothing waited for."""
        try:
            return run_inline(self, self._all_specs(), self._asked(), self._counted())
        finally:
            self._leave()

    def stats(self) -> dict[str, Counts]:
        """What it has done, by queue."""
        return self._counted().read()

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that it works for, by name."""
        return tuple(sorted({*self._orphans, *self._specs}))

    def _all_specs(self) -> dict[str, Spec]:
        orphans = {queue: nobody_for(queue) for queue in self._orphans}
        return orphans | self._specs

    def _asked(self) -> Client:
        if not self.queues:
            raise ValueError("the worker has no handler: see Worker.handler")
        check_options("the worker", self.backoff, self.exceptions)
        if self.client is not None:
            if not isinstance(self.client, Client):
                kind = type(self.client).__name__
                raise TypeError(f"the worker's client must be a Client, not {kind}")
            return self.client
        if self._made is None:
            self._made = Client.from_env()
        return self._made

    def _leave(self) -> None:
        """Close the client, where it is ours, and nothing needs it."""
        if self._made is not None and self._running is None:
            self._made.close()
            self._made = None

    def _counted(self) -> Tally:
        if self._tally is None or self._tally.queues != {*self.queues}:
            self._tally = Tally(self.queues)
        return self._tally


def _names(queues: Iterable[str]) -> tuple[str, ...]:
    if isinstance(queues, str):
        raise ValueError(f"queues must be a list, as in [{queues!r}]")
    return tuple(queues)


@contextmanager
def _signals(heed: Callable[[int, Any], None]) -> Iterator[None]:
    """*heed* the two that end a process, meanwhile."""
    numbers = signal.SIGTERM, signal.SIGINT
    before = [signal.signal(number, heed) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
