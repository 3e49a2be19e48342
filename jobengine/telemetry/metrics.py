"""The meter: counts what happens, and says how things stand, for Prometheus.

Others tell it what happened, and are held up as little as can be; what can be worked
out later is, when somebody asks. Labels are names from the configuration and words from
families.py, never what a request said: no request makes a new series. All queues that
callers have made share one.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from jobengine.core.events import Changes, Event, event_of, ran_ms, waited_ms
from jobengine.core.job import Job
from jobengine.telemetry import families as f
from jobengine.telemetry.exposition import Family, Histogram, Process, Series, text

# What stands for every name that is not known.
OTHER = "_other"
# What stands for all queues that callers made: there may be ten thousand. None can have
# such a name.
MADE = "(made)"

METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})

# By the first digit of the status.
CODES = tuple(f"{digit}xx" for digit in range(10))

# The template of the path ("" where none fits), the method, the status, the seconds.
Answer: TypeAlias = tuple[str, str, int, float]

# A family and its series.
Told: TypeAlias = tuple[Family, Iterable[Series]]


class Level(Struct, frozen=True):
    """How a queue stands.

    `jobs` has their number by the word for their state; `ready_ms` is for how long the
    one that waits longest could have been claimed, None where there is none.
    """

    queue: str
    jobs: Mapping[str, int]
    ready_ms: int | None
    paused: bool = False


class _Queue:
    """What has happened to the jobs of one queue."""

    __slots__ = ("dead", "events", "run", "wait")

    def __init__(self) -> None:
        self.events = [0] * len(Event)
        self.dead: Counter[str] = Counter()  # by core.lifecycle's reasons
        self.wait, self.run = Histogram(f.JOB_MS), Histogram(f.JOB_MS)


class _Route:
    """How one route has answered to one method."""

    __slots__ = ("codes", "time")

    def __init__(self) -> None:
        self.codes = [0] * len(CODES)
        self.time = Histogram(f.REQUEST_S)


# Looked up for every change: see core/events.py.
_ENQUEUED, _CLAIMED = Event.ENQUEUED, Event.CLAIMED
_SETTLED = frozenset(f.COUNTED[f.SETTLED])
_DEATHS = f.DEATHS


class Meter:
    """Told by any thread, asked by any thread.

    *routes* are the templates of all paths there are. *now* gives milliseconds of the
    epoch.
    """

    def __init__(
        self, *, routes: Iterable[str], version: str, now: Callable[[], int]
    ) -> None:
        self._paths = frozenset(routes)
        self._version, self._now = version, now
        self._process = Process()
        self._lock = threading.Lock()  # guards everything below
        self._queues: dict[str, _Queue] = {OTHER: _Queue(), MADE: _Queue()}
        self._made: Callable[[str], bool] = lambda _queue: False
        self._services: frozenset[str] = frozenset()
        self._routes: dict[tuple[str, str], _Route] = {}
        self._denied: Counter[tuple[str, str]] = Counter()
        self._commits = {
            f.COMMIT_TIME: Histogram(f.COMMIT_S),
            f.COMMIT_SIZE: Histogram(f.COMMIT_BYTES),
            f.COMMIT_ROWS: Histogram(f.COMMIT_CHANGES),
        }
        self._lag = Histogram(f.LAG_S)
        self._reloads = {"accepted": 0, "rejected": 0}
        self._in_force, self._loaded_at = True, now()
        self._watched: dict[str, Callable[[], float]] = {}

    # --- What it is told ----------------------------------------------------------

    def use_names(self, queues: Iterable[str], services: Iterable[str]) -> None:
        """Know these queues and services by name, and no others, from now on."""
        with self._lock:
            known = self._queues
            self._queues = {
                name: known.get(name) or _Queue() for name in (OTHER, MADE, *queues)
            }
            self._services = frozenset(services)
            # Those who left take their series along.
            stay = self._services | {OTHER}
            self._denied = Counter(
                {
                    (queue, service): count
                    for (queue, service), count in self._denied.items()
                    if queue in self._queues and service in stay
                }
            )

    def tell_made(self, made: Callable[[str], bool]) -> None:
        """Ask *made* of a queue that is not known whether a caller has made it."""
        with self._lock:
            self._made = made

    def watch(self, **readings: Callable[[], float]) -> None:
        """Ask these whenever somebody looks: each a key of families.WATCHED."""
        assert readings.keys() <= f.WATCHED.keys(), "there is no such metric"
        with self._lock:
            self._watched |= readings

    def commit(self, changes: Changes, now: int) -> None:
        """Count what has become durable: a listener of the store's."""
        old: Any  # An event is one of a job: where there is one, these are jobs.
        new: Any
        with self._lock:
            queues = self._queues
            for old, new in changes:
                # Of a batch most are new, which takes no thought.
                fresh = old is None and type(new) is Job
                event = _ENQUEUED if fresh else event_of(old, new, now)
                if event is None:
                    continue
                name = (old if new is None else new).queue
                queue = queues.get(name) or queues[self._label(name)]
                queue.events[event] += 1
                if event is _CLAIMED:
                    queue.wait.observe(waited_ms(old, new))
                elif event in _SETTLED and (ran := ran_ms(old, new)) is not None:
                    queue.run.observe(ran)
                if event in _DEATHS and new is not None and new.reason is not None:
                    queue.dead[new.reason] += 1

    def committed(self, size_bytes: int, rows: int, seconds: float) -> None:
        """Count a commit."""
        with self._lock:
            self._commits[f.COMMIT_TIME].observe(seconds)
            self._commits[f.COMMIT_SIZE].observe(size_bytes)
            self._commits[f.COMMIT_ROWS].observe(rows)

    def answered(self, *answers: Answer) -> None:
        """Count answers: those of a turn at once cost half as much."""
        with self._lock:
            routes = self._routes
            for route, method, status, seconds in answers:
                found = routes.get((route, method)) or self._route(route, method)
                found.codes[status // 100] += 1
                found.time.observe(seconds)

    def denied(self, queue: str, service: str) -> None:
        """Count a refusal for want of a right or a proof, by what was claimed."""
        with self._lock:
            known = service if service in self._services else OTHER
            self._denied[self._label(queue), known] += 1

    def swept(self, lag_seconds: float) -> None:
        """Count a sweep, which did what had been due for so long."""
        with self._lock:
            self._lag.observe(lag_seconds)

    def reloaded(self, *, accepted: bool) -> None:
        """Count a configuration that was read anew, and put in force or not."""
        with self._lock:
            self._reloads["accepted" if accepted else "rejected"] += 1
            self._in_force = accepted
            if accepted:
                self._loaded_at = self._now()

    def _label(self, queue: str) -> str:
        """The name that a queue goes by."""
        if queue in self._queues:
            return queue
        return MADE if self._made(queue) else OTHER

    def _route(self, route: str, method: str) -> _Route:
        known = (
            route if route in self._paths else OTHER,
            method if method in METHODS else OTHER,
        )
        return self._routes.setdefault(known, _Route())

    # --- What it says -------------------------------------------------------------

    def text(self, levels: Iterable[Iterable[Level]]) -> Iterator[bytes]:
        """All metrics as Prometheus reads them, in slices; some are empty.

        Each slice is bounded work, so whoever iterates can pause in between. *levels*
        are of all queues, in parts of bounded work too.
        """
        found: list[Level] = []
        for part in levels:
            found += part
            yield b""
        for family, series in self._everything(found):
            yield from text(family, series)
        yield from self._process.text()

    def _everything(self, levels: list[Level]) -> Iterator[Told]:
        # A number is read whole, without the lock; a histogram is several.
        yield from self._of_queues()
        yield f.JOBS, self._jobs(levels)
        yield f.OLDEST, self._oldest(levels)
        yield f.PAUSED, self._paused(levels)
        yield from self._of_requests()
        yield from self._of_commits()
        yield from self._of_the_house()

    def _of_queues(self) -> Iterator[Told]:
        queues = self._queues  # replaced, and never changed, by use_names
        for family, outcomes in f.COUNTED.items():
            series = (
                ((name, *outcome), queue.events[event])
                for name, queue in queues.items()
                for event, outcome in outcomes.items()
            )
            yield family, series
        dead = [
            ((name, reason), count)
            for name, queue in queues.items()
            for reason, count in queue.dead.copy().items()
        ]
        yield f.DEAD, dead
        yield f.WAIT, self._copies({(n,): q.wait for n, q in queues.items()})
        yield f.RUN, self._copies({(n,): q.run for n, q in queues.items()})

    def _jobs(self, levels: list[Level]) -> Iterator[Series]:
        shared: dict[str, Counter[str]] = {}
        for level in levels:
            name = self._label(level.queue)
            if name == level.queue:
                for state, count in level.jobs.items():
                    yield (name, state), count
            else:
                shared.setdefault(name, Counter()).update(level.jobs)
        for name, jobs in shared.items():
            for state, count in jobs.items():
                yield (name, state), count

    def _oldest(self, levels: list[Level]) -> Iterator[Series]:
        oldest: dict[str, int] = {}
        for level in levels:
            name = self._label(level.queue)
            # Of a queue that left the configuration no job can be claimed.
            if level.ready_ms is not None and name != OTHER:
                oldest[name] = max(level.ready_ms, oldest.get(name, 0))
        return (((name,), ms / 1000) for name, ms in oldest.items())

    def _paused(self, levels: list[Level]) -> Iterator[Series]:
        paused = Counter({MADE: 0})
        for level in levels:
            if (name := self._label(level.queue)) != OTHER:
                paused[name] += level.paused
        return (((name,), count) for name, count in paused.items())

    def _of_requests(self) -> Iterator[Told]:
        with self._lock:
            routes, denied = self._routes.copy(), self._denied.copy()
        yield f.DENIED, denied.items()
        series = (
            ((*key, code), count)
            for key, route in routes.items()
            for code, count in zip(CODES, route.codes, strict=True)
            if count
        )
        yield f.REQUESTS, series
        yield f.REQUEST_TIME, self._copies({k: r.time for k, r in routes.items()})

    def _of_commits(self) -> Iterator[Told]:
        for family, histogram in (*self._commits.items(), (f.LAG, self._lag)):
            yield family, self._copies({(): histogram})

    def _of_the_house(self) -> Iterator[Told]:
        for name, family in f.WATCHED.items():
            reading = self._watched.get(name)
            yield family, [] if reading is None else [((), reading())]
        yield f.RELOADS, [((outcome,), n) for outcome, n in self._reloads.items()]
        yield f.RELOAD_OK, [((), self._in_force)]
        yield f.RELOADED_AT, [((), self._loaded_at / 1000)]
        yield f.BUILD, [((self._version,), 1)]

    def _copies(self, kept: Mapping[tuple[str, ...], Histogram]) -> Iterator[Series]:
        for values, histogram in kept.items():
            if histogram:
                with self._lock:
                    copy = histogram.copy()
                yield values, copy
