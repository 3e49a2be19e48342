"""The relay dialect over either carrier: Flask's own client, or the event loop."""

import json
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote, urlencode

from carriers import ByFlask, ByLoop, Site, open_site
from serving import Heard, Settings

from jobengine.core.queues import QueueRules, Rulebook
from jobengine.daemon.settings import RelaySettings
from jobengine.testing import SimClock, memory_house

ALL = frozenset({"both", "relay"})
# `both` may do all in q and other; in shared, `reader` and `writer` may each do half.
RULES = Rulebook(
    queues={
        "q": QueueRules("q", read=ALL, write=ALL),
        "other": QueueRules("other", read=ALL, write=ALL),
        "shared": QueueRules(
            "shared",
            read=frozenset({"reader", "reader2"}),
            write=frozenset({"writer"}),
        ),
    },
    admins=frozenset({"root"}),
    dynamic=QueueRules("", read=frozenset({"maker"}), write=frozenset({"maker"})),
)
RELAY = RelaySettings(service="relay")


class Relay(Site):
    """What clients of relay do, by name. They name nobody unless a test does."""

    def __init__(self, settings: Settings) -> None:
        self.clock = SimClock()
        self.house = memory_house(RULES, self.clock)
        self.settings = settings

    def ask(
        self,
        method: str,
        path: str,
        body: Any = b"",
        *,
        name: str | None = None,
        raw: bool = False,
        **headers: str,
    ) -> Heard:
        """*body* is JSON where it is not bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {n.replace("_", "-"): text for n, text in headers.items()}
        if name is not None:
            fields["X-Name"] = name
        return self.carry(method, path, fields, data)

    def enqueue(self, id: str = "1", queue: str = "q", **fields: Any) -> Heard:
        return self.ask("POST", "/enqueue", job(id, queue, **fields))

    def batch(self, *jobs: Any, **how: Any) -> Heard:
        return self.ask("POST", "/enqueue/batch", list(jobs), **how)

    def next(self, num_jobs: Any = None, queue: str = "q", **how: Any) -> Any:
        """The jobs; [] for none."""
        said = {"queue": queue} | ({} if num_jobs is None else {"num_jobs": num_jobs})
        heard = self.ask("GET", "/next?" + urlencode(said), **how)
        assert heard.status in {200, 204}, heard
        return told(heard) if heard.status == 200 else []

    def heartbeat(self, id: str = "1", body: Any = b"", **how: Any) -> Heard:
        return self.ask("PATCH", f"/heartbeat?queue=q&job_id={quote(id)}", body, **how)

    def reschedule(self, id: str = "1", **fields: Any) -> Heard:
        return self.ask("POST", "/reschedule", job(id, **fields))

    def complete(self, id: str = "1", **how: Any) -> Heard:
        return self.ask("DELETE", f"/complete?queue=q&job_id={quote(id)}", **how)

    def get(self, id: str = "1", queue: str = "q", version: int = 1) -> Any:
        """The job; None where there is none."""
        heard = self.ask("GET", at(id, queue, version))
        assert heard.status in {200, 404}, heard
        return told(heard) if heard.status == 200 else None

    def exists(self, id: str = "1", queue: str = "q", version: int = 1) -> bool:
        heard = self.ask("HEAD", at(id, queue, version))
        assert heard.status in {200, 404}, heard
        return heard.status == 200

    def enqueue_v2(self, *jobs: Any, mode: str | None = None) -> Heard:
        query = "" if mode is None else f"?mode={mode}"
        return self.ask("POST", f"/v2/queues/jobs{query}", list(jobs))

    def next_v2(self, num_jobs: int = 1, queue: str = "q") -> Any:
        heard = self.ask("GET", f"/v2/queues/{queue}/jobs?num_jobs={num_jobs}")
        return told(heard) if heard.status == 200 else []

    def requeue(self, run: Any, *jobs: Any, mode: str = "unique") -> Heard:
        return self.ask("PUT", f"{run_at(run)}?mode={mode}", list(jobs))

    def let_leases_end(self) -> None:
        """Later, when the house has looked at what is due."""
        self.clock.advance(seconds=1)
        while self.house.upkeep.sweep():
            pass


class OnFlask(ByFlask, Relay):
    """By Flask."""


class OnLoop(ByLoop, Relay):
    """By the loop."""


def relaying(
    carrier: str, relay: RelaySettings = RELAY, **settings: Any
) -> AbstractContextManager[Relay]:
    """A daemon with these settings."""
    kind = OnFlask if carrier == "flask" else OnLoop
    return open_site(kind(Settings(relay=relay, **settings)))


def job(id: str = "1", queue: str = "q", **fields: Any) -> dict[str, Any]:
    """The body of a new job."""
    return {"id": id, "queue": queue, "timeout": 30, "payload": {"n": 1}} | fields


def at(id: str, queue: str = "q", version: int = 1) -> str:
    """The path of a job."""
    return f"/v{version}/queues/{queue}/jobs/{quote(id, safe='')}"


def run_at(run: Any) -> str:
    """The path of a run."""
    return f"{at(run['id'], run['queue'], 2)}/run-id/{run['run_id']}"


def told(heard: Heard) -> Any:
    """What an answer says."""
    return json.loads(heard.body)


def ids(jobs: Any) -> list[str]:
    return [job["id"] for job in jobs]
