"""The native API over either carrier: Flask's own client, or the event loop."""

import json
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

from carriers import ByFlask, ByLoop, Site, open_site
from serving import Heard, Settings

from jobengine.core.queues import QueueRules, Rulebook
from jobengine.testing import SimClock, memory_house

# In q and other `root` may do all, `worker` read, `shop` write; each of the others has
# the one right that it is named for.
READ, WRITE = frozenset({"worker", "reader"}), frozenset({"shop", "writer"})
QUEUES = {
    name: QueueRules(
        name,
        read=READ,
        write=WRITE,
        browse=frozenset({"browser"}),
        manage=frozenset({"manager"}),
    )
    for name in ("q", "other")
}
RULES = Rulebook(
    queues=QUEUES,
    admins=frozenset({"root"}),
    dynamic=QueueRules("", read=frozenset({"maker"}), write=frozenset({"maker"})),
)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Native(Site):
    """What clients of the native API do, by name."""

    def __init__(self, settings: Settings, rules: Rulebook = RULES) -> None:
        self.clock = SimClock()
        self.house = memory_house(rules, self.clock)
        self.settings = settings

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        name: str | None = "root",
        **headers: str,
    ) -> Heard:
        """*body* is JSON where it is not bytes; *path* begins behind /api/v2, or with a
        queue's part of it."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {n.replace("_", "-"): text for n, text in headers.items()}
        if name is not None:
            fields["X-Name"] = name
        if body is not None:
            fields.setdefault("Content-Type", "application/json")
        return self.carry(
            method, "/api/v2" + path, fields, b"" if body is None else data
        )

    def enqueue(self, content: Any = None, *, query: str = "", **how: Any) -> Heard:
        """A new job in q. Members in lower case, headers with a capital."""
        headers = {key: how.pop(key) for key in list(how) if key[0].isupper()}
        name, queue = how.pop("name", "shop"), how.pop("queue", "q")
        if trace := how.pop("traceparent", None):
            headers["traceparent"] = trace
        body = {"content": content, **how}
        return self.ask("POST", f"{at(queue)}/jobs{query}", body, name=name, **headers)

    def made(self, content: Any = None, **how: Any) -> str:
        """The uid of a new job."""
        heard = self.enqueue(content, **how)
        assert heard.status == 201, heard
        return str(told(heard)["uid"])

    def claim(self, query: str = "", *, name: str = "worker", **how: Any) -> Any:
        """The jobs; [] for none."""
        heard = self.ask("POST", f"{at()}/jobs/claim{query}", name=name, **how)
        assert heard.status in {200, 204}, heard
        return told(heard)["jobs"] if heard.status == 200 else []

    def taken(self, content: Any = None, **how: Any) -> Any:
        """A new job that the worker holds."""
        uid = self.made(content, **how)
        (job,) = self.claim()
        assert job["uid"] == uid
        return job

    def verb(
        self, uid: str, verb: str, body: Any = None, *, name: str = "worker", **how: Any
    ) -> Heard:
        return self.ask("POST", f"{at()}/jobs/{uid}/{verb}", body, name=name, **how)

    def get(self, uid: str, *, name: str = "root", **how: Any) -> Heard:
        return self.ask("GET", f"{at()}/jobs/{uid}", name=name, **how)

    def job(self, uid: str, *, name: str = "root") -> Any:
        heard = self.get(uid, name=name)
        assert heard.status == 200, heard
        return told(heard)

    def dead(self, error: str = "no", **how: Any) -> str:
        """The uid of a new dead letter."""
        uid = str(self.taken(**how)["uid"])
        assert (
            self.verb(uid, "fail", {"error": error, "kind": "critical"}).status == 200
        )
        return uid

    def list(self, query: str = "", *, name: str = "root", **how: Any) -> Any:
        heard = self.ask("GET", f"{at()}/jobs{query}", name=name, **how)
        assert heard.status == 200, heard
        return told(heard)

    def let_time_work(self, **time: int) -> None:
        """Later, when the house has looked at what is due."""
        self.clock.advance(**time)
        while self.house.upkeep.sweep():
            pass


class OnFlask(ByFlask, Native):
    """By Flask."""


class OnLoop(ByLoop, Native):
    """By the loop."""


def speaking(
    carrier: str, rules: Rulebook = RULES, **settings: Any
) -> AbstractContextManager[Native]:
    """A daemon with these settings."""
    kind = OnFlask if carrier == "flask" else OnLoop
    return open_site(kind(Settings(**settings), rules))


def at(queue: str = "q") -> str:
    """The path of a queue."""
    return f"/queues/{quote(queue, safe='')}"


def told(heard: Heard) -> Any:
    """What an answer says."""
    return json.loads(heard.body)


def code(heard: Heard) -> str:
    """The code of a refusal."""
    assert heard.headers["content-type"] == "application/problem+json", heard
    said = told(heard)
    assert said["status"] == heard.status
    return str(said["code"])


def pointers(heard: Heard) -> list[str]:
    """What is wrong with a body, by where it is."""
    return [each["pointer"] for each in told(heard)["errors"]]


def uids(jobs: Any) -> list[str]:
    return [job["uid"] for job in jobs]
