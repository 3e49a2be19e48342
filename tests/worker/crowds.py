"""Child processes for tests, without a daemon: jobs, and whoever holds their leases."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import crunching
import msgspec
from daemons import PATIENCE_S

from jobengine.client.jobs import Job, Lease
from jobengine.worker.handlers import Context, Meanings, Spec, spec_of, spec_of_class
from jobengine.worker.held import Held, HeldJob
from jobengine.worker.outcomes import Success
from jobengine.worker.processes import Processes
from jobengine.worker.work import End, Work

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LEASE = Lease("worker", NOW, NOW + timedelta(minutes=10), "token")


class Told:
    """Whoever holds the leases, for a test: remembers what it was told."""

    def __init__(self) -> None:
        self.progress: list[Any] = []
        self.kept: list[Any] = []
        self.refuses: Exception | None = None

    def tell(self, held: Held) -> None:
        assert held.hold.told is not None
        self.progress.append(msgspec.json.decode(held.hold.told))

    def checkpoint(self, held: Held, told: msgspec.Raw) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.kept.append(msgspec.json.decode(told))

    def monotonic(self) -> float:
        return 100.0


class Run:
    """A job that was submitted."""

    def __init__(self, uid: str, content: Any, spec: Spec) -> None:
        self.keeper = Told()
        instants = {"created_at": NOW, "updated_at": NOW, "run_at": NOW}
        job = Job(
            uid=uid,
            queue="numbers",
            state="inprogress",
            priority=50,
            attempt=2,
            lease=LEASE,
            content=content,
            progress={"page": 7},
            **instants,
        )
        self.held = HeldJob(job, self.keeper, 100.0)
        self.ends: list[End] = []
        self._over = threading.Event()
        context = Context(None, "the worker's own", "numbers")
        self.work = Work(self.held, spec, context, {}, self._ended)

    def _ended(self, _work: Work, end: End) -> None:
        self.ends.append(end)
        self._over.set()

    def end(self) -> End:
        """How it ended, its result decoded."""
        assert self._over.wait(PATIENCE_S), "the run has not ended"
        [end] = self.ends
        if isinstance(end, Success) and end.result is not None:
            return Success(msgspec.json.decode(end.result))
        return end


class Place:
    """The processes of one handler."""

    def __init__(self, call: Any, meanings: Meanings, **options: Any) -> None:
        given = {
            "permits": None,
            "backoff": None,
            "strategy": None,
            "exceptions": None,
            "processes": 1,
        }
        self.spec = (
            spec_of(call, ("numbers",), **(given | options))
            if not isinstance(call, crunching.Handler)
            else spec_of_class(call)
        )
        self.processes = Processes(self.spec, meanings, self._start)
        self._runs = 0

    def _start(self, name: str, run: Callable[[], None]) -> None:
        threading.Thread(target=run, name=name, daemon=True).start()

    def begin(self, content: Any = None) -> Run:
        """Submit a job."""
        self._runs += 1
        run = Run(f"job-{self._runs}", content, self.spec)
        self.processes.submit([run.work])
        return run

    def run(self, content: Any = None) -> End:
        """How a job ended."""
        return self.begin(content).end()


Make = Callable[..., Place]


@contextmanager
def places() -> Iterator[Make]:
    """Makes them, and sees that none of their processes is left."""
    made: list[Place] = []

    def make(call: Any, meanings: Meanings | None = None, **options: Any) -> Place:
        made.append(Place(call, meanings or {}, **options))
        return made[-1]

    yield make
    for each in made:
        each.processes.stop()
        assert each.processes.join(PATIENCE_S), "a process is still there"
        assert each.processes.pids() == []


def gone(pid: int) -> bool:
    """Whether the process is no more, or but a zombie that nobody has asked for."""
    place = Path(f"/proc/{pid}")
    try:
        state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        threads = len(list((place / "task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return True
    # Its first thread may be one before the others have ended.
    return state == "Z" and threads == 1


def read(path: Path) -> str:
    """What is in the file; nothing while there is none."""
    return path.read_text() if path.exists() else ""
