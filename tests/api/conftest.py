"""The API over a house in memory, asked through Flask's own client."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import pytest
from flask import Flask
from serving import DIALECTS, NO_RELAY
from werkzeug.test import TestResponse

from jobengine.api.app import create_app
from jobengine.api.health import Status
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.daemon.settings import RelaySettings
from jobengine.testing import SimClock, memory_house, sim_house

JSON = "application/json"


@dataclass(frozen=True)
class Limits:
    body_bytes: int = 1 << 20
    wait_seconds: int = 60
    waiters_per_service: int = 100


LIMITS = {field.name for field in fields(Limits)}


@dataclass(frozen=True)
class Settings:
    auth_mode: str | None = None
    hosts: tuple[str, ...] = ()
    relay: RelaySettings = NO_RELAY
    dialects: frozenset[str] = DIALECTS
    limits: Limits = Limits()


@dataclass
class Api:
    """One daemon's API, and its requests by name."""

    app: Flask
    house: Any
    clock: SimClock
    status: Status

    def ask(
        self,
        method: str,
        path: str,
        caller: str | None = None,
        queue: str | None = None,
        body: bytes | str | Iterable[bytes] = b"",
        *,
        kind: str | None = JSON,
        environ: dict[str, Any] | None = None,
        buffered: bool = True,
        **headers: str,
    ) -> TestResponse:
        named = {"X-Name": caller, "X-Queue": queue} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }
        return self.app.test_client().open(
            path,
            method=method,
            headers={k: v for k, v in named.items() if v is not None},
            content_type=kind,
            environ_overrides=environ or {},
            data=body,
            buffered=buffered,
        )

    def create(
        self,
        body: bytes | str = '{"content":{},"priority":50,"valid_for":600}',
        *,
        caller: str | None = "writer",
        queue: str | None = "q1",
        **headers: Any,
    ) -> TestResponse:
        return self.ask("PUT", "/api/v1/jobs/create", caller, queue, body, **headers)

    def made(self, content: str = "{}", *, priority: int = 50, **how: Any) -> str:
        """The uid of a new job."""
        body = f'{{"content":{content},"priority":{priority},"valid_for":600}}'
        answer = self.create(body, **how)
        assert answer.status_code == 201, answer.text
        return str(answer.json["uid"])

    def next(
        self, caller: str | None = "reader", queue: str | None = "q1", **headers: Any
    ) -> TestResponse:
        return self.ask("GET", "/api/v1/jobs/next", caller, queue, **headers)

    def list(
        self, caller: str | None = "reader", queue: str | None = "q1", **headers: Any
    ) -> TestResponse:
        return self.ask("GET", "/api/v1/jobs", caller, queue, **headers)

    def update(
        self,
        uid: str,
        body: bytes | str = "{}",
        *,
        caller: str | None = "writer",
        queue: str | None = "q1",
        **headers: Any,
    ) -> TestResponse:
        return self.ask("POST", f"/api/v1/jobs/{uid}", caller, queue, body, **headers)

    def delete(
        self, uid: str, *, caller: str | None = "writer", queue: str | None = "q1"
    ) -> TestResponse:
        return self.ask("DELETE", f"/api/v1/jobs/{uid}", caller, queue)

    def job(self, uid: str) -> dict[str, Any]:
        """The job as a reader sees it in the list."""
        jobs = self.list().json
        return next(job for job in jobs.values() if job["uid"] == uid)


def _rules(*, strict_acl: bool) -> Rulebook:
    read, write = frozenset({"reader", "both"}), frozenset({"writer", "both"})
    queues = {name: QueueRules(name, read=read, write=write) for name in ("q1", "q2")}
    queues["hidden"] = QueueRules("hidden", read=frozenset({"other"}))
    return Rulebook(queues=queues, strict_acl=strict_acl)


@pytest.fixture(scope="session")
def new_api() -> Callable[..., Api]:
    """Makes the API of a fresh house. `reader` reads q1 and q2, `writer` writes."""

    def make(*, strict_acl: bool = False, file: bool = False, **settings: Any) -> Api:
        clock, status = SimClock(), Status()
        house_of = sim_house if file else memory_house
        house = house_of(_rules(strict_acl=strict_acl), clock)
        limits = Limits(**{key: settings.pop(key) for key in LIMITS & settings.keys()})
        app = create_app(house, Settings(limits=limits, **settings), status)
        return Api(app, house, clock, status)

    return make


@pytest.fixture
def api(new_api: Callable[..., Api]) -> Api:
    return new_api()
