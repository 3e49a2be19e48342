"""Child processes that run the jobs of one handler, for work that computes. See
work.Runner.

Each has a thread here, its seat: it gives the process one job after another and does
what the handler wants done. No pickle: what they say to each other is in frames.py.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

from jobengine.client.retry import Retry, rest_s
from jobengine.errors import JobEngineError
from jobengine.worker.child_process import ChildProcess, Gone
from jobengine.worker.frames import (
    FAULTS,
    STUBBORN_S,
    Abandon,
    Begin,
    Broken,
    Checkpoint,
    FromChild,
    Hello,
    Kept,
    Over,
    Progress,
    Ready,
    Rule,
    end_of,
    kind_of,
    said_of,
)
from jobengine.worker.handlers import Meaning, Meanings, Spec
from jobengine.worker.held import HeldJob
from jobengine.worker.outcomes import OUTCOMES, Failed
from jobengine.worker.references import reference, script
from jobengine.worker.work import End, PutBack, Work

# Between two looks whether a run is to be given up, or its process has ended without a
# word.
LOOK_S = 0.2
# For a process to import its handler.
START_S = 60.0
# Between two starts that go wrong: each fails a job.
REST = Retry(first_s=1.0, most_s=30.0)
# When told to stop, so long is waited for processes that have nothing to do.
STOP_S = 1.0

CHILD = "jobengine.worker.child"

log = logging.getLogger("jobengine.worker")

Start = Callable[[str, Callable[[], None]], object]


class Processes:
    """The processes of one handler. *worker_meanings* is the worker's own table of
    exceptions; *start* starts a thread by a name.

    Raises:
        ValueError: the handler, or what is in a table, cannot be found by another
            process.
        RuntimeError: this is a child itself.
    """

    def __init__(self, spec: Spec, worker_meanings: Meanings, start: Start) -> None:
        _refuse_within_child()
        self._hello = _hello(spec, worker_meanings)
        self._spec = spec
        self._start = start
        self._line = _Line()
        self._lock = threading.Lock()  # guards the seats, while they are made
        self._seats: list[_Seat] = []

    def submit(self, works: list[Work]) -> None:
        """See work.Runner."""
        self._line.add(works)
        with self._lock:
            while len(self._seats) < self._spec.processes:
                seat = _Seat(self._line, self._hello)
                self._seats.append(seat)
                self._start(f"{self._spec.name}-process-{len(self._seats)}", seat.run)

    def take_back(self) -> list[Work]:
        """See work.Runner."""
        return self._line.empty()

    def stop(self) -> None:
        """See work.Runner. What a process is at, it is told to give up."""
        self._line.close()
        self.join(STOP_S)

    def join(self, timeout: float) -> bool:
        """Whether all processes have ended before the time is up."""
        deadline = time.monotonic() + timeout
        return all(
            seat.over.wait(max(0.0, deadline - time.monotonic()))
            for seat in self._seats
        )

    def pids(self) -> list[int]:
        """Those of the processes that are there now."""
        children = [seat.child for seat in self._seats]
        return [child.pid for child in children if child is not None]


class _Line:
    """The jobs that wait for a process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.closed = False
        self._monotonic = monotonic
        self._changed = threading.Condition()  # guards all here
        self._works: deque[Work] = deque()
        self._faults = 0
        self._rests_until = 0.0

    def add(self, works: list[Work]) -> None:
        with self._changed:
            self._works.extend(works)
            self._changed.notify(len(works))

    def wait(self, ready: bool) -> bool:
        """Until a job waits that may be begun; False: there will be none. Who has a
        process is *ready*, and need not rest."""
        with self._changed:
            while not self.closed:
                rest = 0.0 if ready else self._rests_until - self._monotonic()
                if self._works and rest <= 0:
                    return True
                self._changed.wait(rest if self._works else None)
            return False

    def take(self) -> Work | None:
        with self._changed:
            return self._works.popleft() if self._works else None

    def empty(self) -> list[Work]:
        with self._changed:
            left = list(self._works)
            self._works.clear()
            return left

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def rest(self) -> None:
        """No process could be started: none soon."""
        with self._changed:
            self._faults += 1
            self._rests_until = self._monotonic() + rest_s(REST, tried=self._faults)
            self._changed.notify_all()

    def started(self) -> None:
        """One could."""
        with self._changed:
            self._faults = 0


class _Seat:
    """One process after another, as they end; one job after another."""

    def __init__(self, line: _Line, hello: Hello) -> None:
        self.over = threading.Event()
        self.child: ChildProcess | None = None
        self._line = line
        self._hello = hello
        self._run = 0

    def run(self) -> None:
        """Until the line is closed."""
        try:
            while self._line.wait(self.child is not None):
                # The process first: so a job that is not begun can be taken back.
                if self._has_child() and (work := self._line.take()) is not None:
                    work.run(partial(self._ended, work))
                    del work  # it holds the payload
        finally:
            if self.child is not None:
                self.child.close()
                self.child = None
            self.over.set()

    # --- the process ------------------------------------------------------------

    def _has_child(self) -> bool:
        if self.child is not None and self.child.ended():
            self._drop()
        if self.child is None:
            try:
                self.child = ChildProcess(self._hello.call)
                self._greet(self.child)
                self._line.started()
            except OSError as error:
                log.error("no process for %s: %s", self._hello.name, error)
                self._line.rest()
            except Gone as fault:
                self._drop()
                self._line.rest()
                self._tell_fault(f"{self._hello.call} has no process: {fault}")
        return self.child is not None and not self._line.closed

    def _greet(self, child: ChildProcess) -> None:
        """Have it import its handler.

        Raises:
            Gone: it cannot.
        """
        child.send(self._hello)
        deadline = time.monotonic() + START_S
        while not self._line.closed:
            for message in child.receive(LOOK_S):
                if isinstance(message, Broken):
                    raise Gone(message.error)
                if isinstance(message, Ready):
                    return
            if time.monotonic() > deadline:
                raise Gone(f"it was not ready within {START_S:.0f} s")

    def _drop(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.close()
            self.child = None

    def _tell_fault(self, text: str) -> None:
        """One job shows what is wrong; the others wait until it may be right again."""
        log.error("%s", text)
        work = self._line.take()
        if work is not None:
            work.end(Failed(text))

    # --- a job ------------------------------------------------------------------

    def _ended(self, work: Work) -> End:
        child, held = self.child, cast(HeldJob, work.held)
        assert child is not None, "the job was taken for it"
        self._run += 1
        try:
            child.send(_begin(self._run, held))
        except Gone:
            # It cannot have begun.
            self._drop()
            return PutBack()
        try:
            return self._talk(child, held)
        except Gone as fate:
            self._drop()
            log.error("job %s of queue %s: %s", held.uid, held.queue, fate)
            given_up = held.cancelled or self._line.closed
            return PutBack() if given_up else Failed(str(fate))
        except BaseException:
            # It would be at this job still when it is given the next.
            self._drop()
            raise

    def _talk(self, child: ChildProcess, held: HeldJob) -> End:
        """Do what the handler asks for until it is through.

        Raises:
            Gone: the process is.
        """
        killed_at = float("inf")
        while True:
            for message in child.receive(LOOK_S):
                if (end := self._heed(child, held, message)) is not None:
                    return end
            why = held.why or ("stopping" if self._line.closed else None)
            if why is not None and killed_at == float("inf"):
                child.send(Abandon(self._run, why))
                killed_at = time.monotonic() + STUBBORN_S
            if time.monotonic() >= killed_at:
                raise Gone("the process was told to stop, did not, and was killed")

    def _heed(
        self, child: ChildProcess, held: HeldJob, message: FromChild
    ) -> End | None:
        """What the handler wants done; how it ended, where that is what it says."""
        # A thread of a handler may speak up when the run is over.
        if isinstance(message, Ready | Broken) or message.run != self._run:
            return None
        match message:
            case Progress(value=value):
                held.progress(value)
            case Checkpoint():
                child.send(_kept(held, message))
            case Over(said=said):
                return end_of(said)
        return None


def _begin(run: int, held: HeldJob) -> Begin:
    assert held.job.lease is not None, "it was just claimed"
    passed = held.server_now() - held.job.lease.since
    return Begin(run, held.job, passed.total_seconds())


def _kept(held: HeldJob, asked: Checkpoint) -> Kept:
    try:
        held.checkpoint(asked.value)
    except JobEngineError as error:
        kind = next(name for name, each in FAULTS.items() if isinstance(error, each))
        return Kept(asked.run, kind, error.code, str(error))
    return Kept(asked.run)


# --- what a process is told first ---------------------------------------------------


def _hello(spec: Spec, worker_meanings: Meanings) -> Hello:
    return Hello(
        call=reference(spec.call),
        name=spec.name,
        takes_context=spec.takes_context,
        tables=(_rules(spec.exceptions), _rules(worker_meanings)),
        path=[entry for entry in sys.path if isinstance(entry, str)],
        script=script(),
    )


def _rules(meanings: Meanings) -> tuple[Rule, ...]:
    return tuple(_rule(reference(error), each) for error, each in meanings.items())


def _rule(error: str, meaning: Meaning) -> Rule:
    if isinstance(meaning, OUTCOMES):
        return Rule(error, outcome=said_of(meaning))
    if (kind := kind_of(meaning)) is not None:
        return Rule(error, kind=kind)
    return Rule(error, call=reference(meaning))


def _refuse_within_child() -> None:
    main = sys.modules["__main__"]
    if main.__spec__ is not None and main.__spec__.name == CHILD:
        raise RuntimeError(
            "a worker is started where its handlers are defined, and so in each of "
            'their processes too: put that under `if __name__ == "__main__":`'
        )
