"""What is still to be told to the daemon: the ends of runs. Successes of one queue go
many at a time. What does not come through is tried again; what the daemon refuses has
been decided by somebody else meanwhile.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from random import random
from time import monotonic, sleep

from jobengine.client.client import Client
from jobengine.client.jobs import Reported
from jobengine.client.retry import reconnect_s
from jobengine.errors import Forbidden, JobEngineError, QueueNotFound, Unavailable
from jobengine.worker.leases import GONE, GONE_CODES
from jobengine.worker.outcomes import Critical, Success
from jobengine.worker.reports import Report, completion_of, tell

# Successes of one request, as the daemon takes them; and of their results so much, that
# the body stays under what it takes.
TOLD_MAX = 1000
TOLD_BYTES = 256 << 10
# Where one report follows another so soon, many go together after so long. Seconds.
BUSY_S = 0.005
LINGER_S = 0.001
FEW = 100
# Threads that tell: one that waits for a slow answer holds up no other.
COURIERS = 2
log = logging.getLogger("jobengine.worker")

# What became of a run: whether the daemon has taken it.
Told = Callable[[list[Report], list[bool]], None]


class Outbox:
    """A line of reports, in the order in which the runs ended."""

    def __init__(
        self, client: Client, told: Told, *, share: Callable[[], float] = random
    ) -> None:
        self._client = client
        self._told = told
        self._share = share
        self._lock = threading.Lock()  # guards all below
        self._filled = threading.Condition(self._lock)
        self._line: deque[Report] = deque()
        self._idle = 0
        self._sent_at = 0.0  # when the last request was made up
        self._closed = threading.Event()

    def put(self, report: Report) -> None:
        """Tell it soon. Never blocks."""
        self._line.append(report)
        # Who becomes idle looks at the line once more after it has said so: one of the
        # two sees the other.
        if self._idle:
            with self._filled:
                self._filled.notify()

    def run(self) -> None:
        """Tell, until closed and empty."""
        while (parcel := self._next()) is not None:
            if parcel:
                self._deliver(parcel)

    def close(self) -> None:
        """Tell what is in the line, once more at most, and then no more."""
        with self._filled:
            self._closed.set()
            self._filled.notify_all()

    def _next(self) -> list[Report] | None:
        """What goes into one request; None when there will be no more."""
        with self._filled:
            self._idle += 1
            while not self._line:
                if self._closed.is_set():
                    return None
                self._filled.wait()
            self._idle -= 1
            busy = len(self._line) < FEW and monotonic() < self._sent_at + BUSY_S
        if busy:
            sleep(LINGER_S)
        with self._lock:
            self._sent_at = monotonic()
            return self._take() if self._line else []

    def _take(self) -> list[Report]:
        """The first, and where it is a success those of its queue that follow it."""
        first = self._line.popleft()
        parcel, size = [first], _size(first)
        while (
            self._line
            and isinstance(first.end, Success)
            and isinstance(self._line[0].end, Success)
            and self._line[0].held.queue == first.held.queue
            and len(parcel) < TOLD_MAX
            and (size := size + _size(self._line[0])) <= TOLD_BYTES
        ):
            parcel.append(self._line.popleft())
        return parcel

    def _deliver(self, parcel: list[Report]) -> None:
        for tried in count(1):
            parcel = self._without_lost(parcel)
            try:
                took = self._sent(parcel, tried)
            except BaseException:
                # Of a fault of our own: it must not keep the leases for ever.
                self._told(parcel, [False] * len(parcel))
                raise
            if took is not None:
                self._told(parcel, took)
                return

    def _sent(self, parcel: list[Report], tried: int) -> list[bool] | None:
        """Which of them the daemon took; None: they are to be sent again."""
        try:
            return self.send(parcel)
        except Unavailable as error:
            log.warning("%d reports did not come through: %s", len(parcel), error)
            wait = reconnect_s(error, tried=tried, share=self._share())
        # At the end, whoever has these jobs next finds them when the leases run out.
        return [False] * len(parcel) if self._closed.wait(wait) else None

    def _without_lost(self, parcel: list[Report]) -> list[Report]:
        lost = [report for report in parcel if report.held.hold.gone]
        if lost:
            self._told(lost, [False] * len(lost))
        return [report for report in parcel if not report.held.hold.gone]

    def send(self, parcel: Sequence[Report]) -> list[bool]:
        """Tell these, which go into one request; whether each was taken.

        Raises:
            Unavailable: none of them came through.
        """
        if len(parcel) > 1:
            return self._send_many(parcel)
        return [self._send_one(report) for report in parcel]

    def _send_many(self, parcel: Sequence[Report]) -> list[bool]:
        queue = parcel[0].held.queue
        try:
            answers = self._client.complete_many(
                queue, [completion_of(report) for report in parcel]
            )
        except Unavailable:
            raise
        except JobEngineError:
            # One that cannot be taken must not take the others along.
            return [self._send_one(report) for report in parcel]
        return [
            _was_taken(report, answer)
            for report, answer in zip(parcel, answers, strict=True)
        ]

    def _send_one(self, report: Report) -> bool:
        try:
            tell(self._client, report)
        except Unavailable:
            raise
        except _NOT_OURS as error:
            _warn(report, error)
            return False
        except JobEngineError as error:
            return self._send_fault(report, error)
        return True

    def _send_fault(self, report: Report, fault: JobEngineError) -> bool:
        """What the handler has said cannot be carried out: somebody has to look. Work
        that may be done is not to be done again because of that."""
        log.error("job %s: its end is refused: %s", report.held.uid, fault)
        try:
            error = f"what the handler returned was refused: {fault}"
            tell(self._client, Report(report.held, Critical(error)))
        except Unavailable:
            raise
        except JobEngineError as error:
            _warn(report, error)
        return False


# Nothing that this worker could say of the job would be heard.
_NOT_OURS = (*GONE, QueueNotFound, Forbidden)


def _was_taken(report: Report, answer: Reported) -> bool:
    if answer.status == 200:
        return True
    level = logging.INFO if answer.code in GONE_CODES else logging.ERROR
    log.log(level, "job %s: its end does not count: %s", report.held.uid, answer.code)
    return False


def _warn(report: Report, error: JobEngineError) -> None:
    level = logging.INFO if isinstance(error, GONE) else logging.ERROR
    log.log(level, "job %s: its end does not count: %s", report.held.uid, error)


def _size(report: Report) -> int:
    # Names and punctuation, and the result where there is one.
    result = report.end.result if isinstance(report.end, Success) else None
    return 128 + (0 if result is None else memoryview(result).nbytes)
