"""A house with one queue and those who use it, and how the tests of it ask."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from jobengine.admin import Act, Progress
from jobengine.build import House
from jobengine.core.access import Caller
from jobengine.core.backoff import AT_ONCE
from jobengine.core.events import Changes, Event, event_of
from jobengine.core.job import Job, NewJob, Renewal, Terms
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.core.where import EVERY, Where
from jobengine.errors import JobEngineError
from jobengine.testing import SimClock, SimDisk, memory_house, sim_house

ME, OTHER = Caller("me"), Caller("other")  # both read and write
READER, WRITER, STRANGER = Caller("reader"), Caller("writer"), Caller("stranger")
MANAGER, BROWSER = Caller("manager"), Caller("browser")
ADMIN = Caller("admin", local=True)

QUEUE = QueueRules(
    "q",
    read=frozenset({"me", "other", "reader"}),
    write=frozenset({"me", "other", "writer"}),
    manage=frozenset({"manager"}),
    browse=frozenset({"browser"}),
    lease_ms=60_000,
    keep_ms=60_000,
    backoff=AT_ONCE,
)
ADMINS = frozenset({"admin"})

ONCE = Terms(max_attempts=1)
TWICE = Terms(max_attempts=2)
GONE = Terms(keep_ms=0)


def rulebook(
    *others: QueueRules, house: dict[str, Any] | None = None, **queue: Any
) -> Rulebook:
    """The queue "q", with *queue* set otherwise, beside *others*."""
    queues = (replace(QUEUE, **queue), *others)
    return Rulebook(
        {each.name: each for each in queues}, admins=ADMINS, **(house or {})
    )


class Desk:
    """A house, and short words for what is asked of it. *disk* gives it a file."""

    def __init__(
        self, rules: Rulebook | None = None, *, disk: SimDisk | None = None
    ) -> None:
        self.clock = SimClock()
        self.disk = disk
        self.rung: list[str] = []
        self.events: list[Event] = []
        self.open(rules or rulebook())

    def open(self, rules: Rulebook) -> House:
        if self.disk is None:
            self.house = memory_house(rules, self.clock)
        else:
            self.house = sim_house(rules, self.clock, self.disk)
        self.engine, self.admin = self.house.engine, self.house.admin
        self.house.store.set_bell(self.rung.append)
        self.house.store.listen(self._hear)
        return self.house

    def restart(self, rules: Rulebook | None = None) -> None:
        """Close the house and open it on the same file."""
        self.house.close()
        self.open(rules or rulebook())

    def put(self, content: bytes = b"{}", *, queue: str = "q", **fields: Any) -> Job:
        return self.engine.enqueue(ME, queue, NewJob(content, **fields))

    def take(self, caller: Caller = ME) -> Job:
        [job] = self.engine.claim(caller, "q")
        return job

    def held(self, caller: Caller = ME, **fields: Any) -> Job:
        self.put(**fields)
        return self.take(caller)

    def rows(self, queue: str = "q") -> dict[str, Job]:
        """Every job there is in the queue, as it is kept."""
        with self.house.store.transaction() as tx:
            return {job.uid: job for job in tx.jobs(queue)}

    def row(self, job: Job) -> Job | None:
        return self.rows(job.queue).get(job.uid)

    def bulk(
        self,
        act: Act,
        where: Where = EVERY,
        caller: Caller = MANAGER,
        *,
        queue: str = "q",
        **how: Any,
    ) -> Progress:
        """Do the same to many jobs; what was told last."""
        *_, last = self.admin.bulk(caller, queue, act, where, **how)
        return last

    def found(
        self, where: Where = EVERY, caller: Caller = BROWSER, queue: str = "q"
    ) -> list[Job]:
        """The jobs that are meant."""
        parts = self.engine.matching(caller, queue, where)
        return [job for part in parts for job in part]

    def sweep(self) -> dict[tuple[str, str], int]:
        return dict(self.house.upkeep.sweep())

    def _hear(self, changes: Changes, now: int, *_how: object) -> None:
        told = (event_of(old, new, now) for old, new in changes)
        self.events += [event for event in told if event is not None]


def token(job: Job) -> str:
    assert job.lease is not None
    return job.lease.token


def refusal(ask: Any, *of: Any, **how: Any) -> type[JobEngineError] | None:
    """How it was refused; None: it was not."""
    try:
        ask(*of, **how)
    except JobEngineError as error:
        return type(error)
    return None


# What a holder may say of its job, in one way each.
Say = Callable[..., object]
FOLLOW_UP = [("q", NewJob(b"next"))]
SAYS: dict[str, Say] = {
    "beat": lambda e, *who, **how: e.beat(*who, progress=b"1", **how),
    "complete": lambda e, *who, **how: e.complete(*who, **how),
    "fail": lambda e, *who, **how: e.fail(*who, error="no", **how),
    "call off": lambda e, *who, **how: e.fail(*who, reason="cancelled", **how),
    "release": lambda e, *who, **how: e.release(*who, **how),
    "release for later": lambda e, *who, **how: e.release(*who, run_at=1, **how),
    "reschedule": lambda e, *who, **how: e.reschedule(*who, Renewal(run_at=1), **how),
    "requeue": lambda e, *who, **how: e.requeue(*who, FOLLOW_UP, **how),
}
each_verb = pytest.mark.parametrize("verb", SAYS)


def say(
    desk: Desk, verb: str, job: Job, caller: Caller = ME, **how: str | None
) -> object:
    return SAYS[verb](desk.engine, caller, "q", job.uid, **how)
