"""A daemon in which the later dialect is spoken: one queue, and its access key."""

import json
from typing import Any
from urllib.parse import urlencode

from werkzeug.test import TestResponse

from jobengine.core.queues import Rulebook

QUEUE, JOB, NEXT = "/api/v1/queue", "/api/v1/job", "/api/v1/job/next"
KEY = "the key of q"


class Keyed:
    """The requests of the dialect by name. `admin` makes queues, and `maker` may."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.clock = api.clock
        self.house = api.house
        template = self.house.engine.rules.template
        self.house.upkeep.reconfigure(
            Rulebook(
                queues=self.house.engine.rules.queues,
                admins=frozenset({"admin"}),
                dynamic=type(template)("", write=frozenset({"maker"})),
            )
        )
        assert self.make_queue().status_code == 201

    def ask(
        self,
        method: str,
        path: str,
        body: Any = b"",
        *,
        key: str | None = KEY,
        caller: str | None = None,
        query: dict[str, str] | None = None,
        **how: Any,
    ) -> TestResponse:
        shown = {} if key is None else {"X_Access_Key": key}
        said = body if isinstance(body, bytes | str) else json.dumps(body)
        path = path + "?" + urlencode(query) if query else path
        answer: TestResponse = self.api.ask(
            method, path, caller, None, said, **shown, **how
        )
        return answer

    def make_queue(
        self, name: str = "q", key: str = KEY, *, caller: str = "admin", **how: Any
    ) -> TestResponse:
        body = {"name": name, "access_key": key}
        return self.ask("PUT", QUEUE, body, key=None, caller=caller, **how)

    def delete_queue(self, name: str = "q", *, key: str = KEY) -> TestResponse:
        return self.ask("DELETE", QUEUE, key=key, query={"name": name})

    def jobs(self, name: str = "q", *, key: str = KEY, **how: Any) -> TestResponse:
        return self.ask("GET", QUEUE, key=key, query={"name": name}, **how)

    def put(
        self, job: Any = None, *, queue: str = "q", key: str = KEY, **how: Any
    ) -> TestResponse:
        body = {"queue_name": queue, "job": job or {}}
        return self.ask("PUT", JOB, body, key=key, **how)

    def made(self, queue: str = "q", key: str = KEY, **job: Any) -> str:
        """The uid of a new job that has minutes enough."""
        terms = {"keep_minutes": 60, "timeout_minutes": 60}
        answer = self.put(terms | job, queue=queue, key=key)
        assert answer.status_code == 201, answer.text
        return str(answer.json["uid"])

    def show(self, uid: str, *, queue: str = "q", key: str = KEY) -> TestResponse:
        return self.ask("GET", JOB, key=key, query={"queueName": queue, "jobUID": uid})

    def delete(self, uid: str, *, queue: str = "q", key: str = KEY) -> TestResponse:
        query = {"queueName": queue, "jobUID": uid}
        return self.ask("DELETE", JOB, key=key, query=query)

    def next(
        self, mark: str | None = "true", *, queue: str = "q", key: str = KEY, **how: Any
    ) -> TestResponse:
        query = {"queueName": queue} | ({} if mark is None else {"markQueued": mark})
        return self.ask("GET", NEXT, key=key, query=query, **how)

    def update(
        self, uid: str, word: str, *, queue: str = "q", key: str = KEY, **how: Any
    ) -> TestResponse:
        body = {"queue_name": queue, "uid": uid, "new_status": word}
        return self.ask("POST", JOB, body, key=key, **how)

    def state(self, uid: str) -> str:
        return str(self.show(uid).json["state"])

    def listed(self) -> list[str]:
        """The uids of the queue's jobs, and `size` is right."""
        said = self.jobs().json
        assert list(said) == ["jobs", "size", "name"]
        assert said["size"] == len(said["jobs"])
        return [job["uid"] for job in said["jobs"]]
