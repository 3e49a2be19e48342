"""A real daemon in which every operation of the document finds what it is about.

An operation is named as in the document: method and path. What it needs to succeed is
made by requests to the same daemon.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from typing import Any
from urllib.parse import quote

from daemons import Answer, Daemon

ADMIN = "ops"
QUEUE = "mail"
# Nobody waits: what may be asked for as a wait is asked for very often.
CONFIG = f"""\
version: 1
admins: [{ADMIN}]
queues:
  {QUEUE}: {{read: [mailer], write: [shop]}}
limits: {{wait_seconds: 0}}
"""
API = "/api/v2/queues"


@dataclass
class Ready:
    """What to put into a request so that it finds what it is about.

    `body` are members of the body, or of the first of many.
    """

    variables: dict[str, str] = field(default_factory=lambda: {"queue": QUEUE})
    body: Mapping[str, Any] = field(default_factory=dict)

    def put_into(self, body: Any) -> Any:
        """The body with these members in place of its own."""
        if not self.body:
            return body
        if isinstance(body, list):
            return [{**body[0], **self.body}] if body else body
        return {**(body or {}), **self.body}


class Stage:
    """One daemon, on one connection that stays open."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.connection = HTTPConnection("127.0.0.1", daemon.port, timeout=20)
        self._numbers = count()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One exchange, as an admin."""
        sent = {"X-Name": ADMIN, **{n.replace("_", "-"): t for n, t in headers.items()}}
        data = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = json.dumps(body)
        self.connection.request(method, path, data, sent)
        reply = self.connection.getresponse()
        return Answer(reply.status, dict(reply.getheaders()), reply.read())

    def ready(self, operation: str) -> Ready:
        """What *operation* needs, made now."""
        return _NEEDS.get(operation, _needed_by_path(operation))(self)

    def done(self, method: str, path: str, body: Any = None) -> Any:
        """The content of an answer that is no refusal."""
        answer = self.ask(method, path, body)
        assert answer.status < 300, (method, path, answer)
        return answer.json if answer.body else None

    def new_name(self) -> str:
        return f"n{next(self._numbers)}"

    # --- what there may have to be ------------------------------------------------

    def queued(self) -> Ready:
        made = self.done("POST", f"{API}/{QUEUE}/jobs", {"content": {"to": "ann"}})
        return Ready({"queue": QUEUE, "uid": made["uid"]})

    def held(self) -> Ready:
        self.done("POST", f"{API}/{QUEUE}/resume")
        self.done("POST", f"{API}/{QUEUE}/jobs", {"content": 1, "priority": 100})
        (job,) = self.done("POST", f"{API}/{QUEUE}/jobs/claim")["jobs"]
        lease = {"lease": job["lease"]["token"]}
        return Ready({"queue": QUEUE, "uid": job["uid"]}, lease)

    def held_by_name(self) -> Ready:
        found = self.held()
        return Ready(found.variables, {"uid": found.variables["uid"], **found.body})

    def cancelled(self) -> Ready:
        found = self.queued()
        uid = found.variables["uid"]
        self.done("POST", f"{API}/{QUEUE}/jobs/{uid}/cancel")
        return found

    def claimable(self) -> Ready:
        self.done("POST", f"{API}/{QUEUE}/resume")
        return Ready({"queue": self.queued().variables["queue"]})

    def made_queue(self) -> Ready:
        name = self.new_name()
        self.done("POST", API, {"name": name, "read": ["mailer"], "write": ["shop"]})
        return Ready({"queue": name})

    def schedule(self) -> Ready:
        body = {"name": self.new_name(), "cron": "0 3 * * *", "content": {}}
        self.done("POST", f"{API}/{QUEUE}/schedules", body)
        return Ready({"queue": QUEUE, "schedule": body["name"]})

    def named(self) -> Ready:
        return Ready(body={"name": self.new_name()})

    def queue_said_again(self) -> Ready:
        return Ready(body={"queue": QUEUE})


Need = Callable[[Stage], Ready]

_JOB = f"{API}/{{queue}}/jobs/{{uid}}"
_HELD = ("heartbeat", "complete", "fail", "release", "reschedule", "requeue")
_NEEDS: dict[str, Need] = {
    **{f"POST {_JOB}/{verb}": Stage.held for verb in _HELD},
    f"POST {_JOB}/retry": Stage.cancelled,
    f"POST {API}/{{queue}}/jobs/heartbeat": Stage.held_by_name,
    f"POST {API}/{{queue}}/jobs/complete": Stage.held_by_name,
    f"POST {API}/{{queue}}/jobs/claim": Stage.claimable,
    f"POST {API}": Stage.named,
    f"DELETE {API}/{{queue}}": Stage.made_queue,
    f"POST {API}/{{queue}}/schedules": Stage.named,
    f"POST {API}/{{queue}}/purge": Stage.queue_said_again,
    f"POST {API}/{{queue}}/dead-letters/purge": Stage.queue_said_again,
}


def _needed_by_path(operation: str) -> Need:
    if "{uid}" in operation:
        return Stage.queued
    if "{schedule}" in operation:
        return Stage.schedule
    return lambda _stage: Ready()


def path_at(path: str, variables: Mapping[str, str]) -> str:
    """The path with its variables put in."""
    return path.format_map({n: quote(text, safe="") for n, text in variables.items()})
