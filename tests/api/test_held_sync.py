"""No answer leaves before what it shows is durable: refusals and reads included.

On a disk whose sync the test holds, every kind of answer is asked for and none comes;
released, all come; failed, all are 503. Without the sync in log.py this fails.
"""

import errno
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from serving import DIALECTS, NO_RELAY

from jobengine.api.app import create_app
from jobengine.api.health import Status
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.daemon.settings import RelaySettings
from jobengine.testing import SimClock, SimDisk, sim_house

BODY = b'{"content":{"n":1},"priority":50,"valid_for":600}'
EMPTY = "empty"
QUEUES = ("create", "next", "update", "delete", "lease", "list", EMPTY)
NOBODY = "00000000-0000-4000-8000-000000000000"
LIMIT_S = 10  # for what must come
MOMENT_S = 0.2  # for what must not


@dataclass(frozen=True)
class Limits:
    body_bytes: int = 1 << 20
    wait_seconds: int = 0
    waiters_per_service: int = 1


@dataclass(frozen=True)
class Settings:
    auth_mode: str | None = None
    hosts: tuple[str, ...] = ()
    relay: RelaySettings = NO_RELAY
    dialects: frozenset[str] = DIALECTS
    limits: Limits = Limits()


class CountingClock(SimClock):
    """Tells how many transactions have begun: each asks once what time it is."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)

    def now(self) -> int:
        self.begun.release()
        return super().now()


class Held:
    """One daemon's API on a disk that the test holds, and requests by what they do."""

    def __init__(self) -> None:
        rules = {
            name: QueueRules(name, read=frozenset({"me"}), write=frozenset({"me"}))
            for name in QUEUES
        }
        self.disk, self.clock = SimDisk(), CountingClock()
        self.failures: list[BaseException] = []
        self.house = sim_house(
            Rulebook(queues=rules),
            self.clock,
            self.disk,
            on_failure=self.failures.append,
        )
        self.tail: Any = self.house.store.journal._tail  # type: ignore[union-attr]
        self.calls: list[str] = []
        self.disk.fail = self.calls.append  # type: ignore[assignment]
        self.app: Flask = create_app(self.house, Settings(), Status())
        self.pool = ThreadPoolExecutor(16)
        self.uids = {
            name: self.ask("PUT", "jobs/create", name, BODY).json["uid"]
            for name in QUEUES
            if name != EMPTY
        }
        self.ask("GET", "jobs/next", "lease")
        job, stale = f"jobs/{self.uids['lease']}", {"X-JobEngine-Lease": "stale"}
        self.writes: dict[int | str, tuple[Any, ...]] = {
            "create 201": ("PUT", "jobs/create", "create", BODY),
            "next 200": ("GET", "jobs/next", "next"),
            "update 200": (
                "POST",
                f"jobs/{self.uids['update']}",
                "update",
                b'{"priority":9}',
            ),
            "delete 204": ("DELETE", f"jobs/{self.uids['delete']}", "delete"),
        }
        self.looks = {
            "list 200": ("GET", "jobs", "list"),
            "list 204": ("GET", "jobs", EMPTY),
            "next 204": ("GET", "jobs/next", EMPTY),
            "delete 404": ("DELETE", f"jobs/{NOBODY}", "delete"),
            "update 404": ("POST", f"jobs/{NOBODY}", "update", b'{"priority":9}'),
            "update 409": ("POST", job, "lease", b'{"status":"complete"}', stale),
        }

    def ask(
        self,
        method: str,
        path: str,
        queue: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Any:
        return self.app.test_client().open(
            f"/api/v1/{path}",
            method=method,
            data=body,
            content_type="application/json",
            headers={"X-Name": "me", "X-Queue": queue, **(headers or {})},
        )

    def ask_all(self, *asked: dict[str, tuple[Any, ...]]) -> dict[str, Future[Any]]:
        """Ask, each in a thread, and return when every transaction has begun."""
        while self.clock.begun.acquire(blocking=False):
            pass
        under_way = {
            what: self.pool.submit(self.ask, *request)
            for requests in asked
            for what, request in requests.items()
        }
        for _ in under_way:
            assert self.clock.begun.acquire(timeout=LIMIT_S)
        return under_way

    def come_to_rest(self) -> None:
        """Return when the last commit has its mark: no sync is still to come."""
        ends = time.monotonic() + LIMIT_S
        while not (self.tail.marked and self.calls[-1] == "sync"):
            assert time.monotonic() < ends
            time.sleep(0.001)

    def close(self) -> None:
        self.disk.syncs.release()
        self.pool.shutdown()
        self.house.close()


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.close()


def statuses(under_way: dict[str, Future[Any]]) -> dict[str, int]:
    return {
        what: answer.result(LIMIT_S).status_code for what, answer in under_way.items()
    }


def none_leaves(under_way: dict[str, Future[Any]]) -> bool:
    return not wait(under_way.values(), timeout=MOMENT_S).done


def first_of(held: Held, what: str) -> dict[str, Future[Any]]:
    """Ask for one change, and return when its sync is held."""
    held.come_to_rest()
    held.disk.syncs.hold()
    under_way = held.ask_all({what: held.writes.pop(what)})
    held.disk.syncs.wait_until_held()
    return under_way


WRITES = ["create 201", "next 200", "update 200", "delete 204"]


@pytest.mark.parametrize("what", WRITES)
def test_while_a_sync_is_held_no_answer_of_any_kind_leaves(
    held: Held, what: str
) -> None:
    under_way = first_of(held, what)
    under_way |= held.ask_all(held.looks)
    under_way |= held.ask_all(held.writes)

    assert none_leaves(under_way)
    held.disk.syncs.release()

    assert len(under_way) == 10
    for asked, status in statuses(under_way).items():
        assert asked.endswith(str(status))


@pytest.mark.parametrize("what", WRITES)
def test_when_the_held_sync_fails_every_answer_is_a_503(held: Held, what: str) -> None:
    under_way = first_of(held, what)
    under_way |= held.ask_all(held.writes, held.looks)

    held.disk.fail = lambda call: errno.EIO if call == "sync" else None
    held.disk.syncs.release()

    assert set(statuses(under_way).values()) == {503}
    assert len(under_way) == 10
    answer = under_way[what].result().json
    assert answer["code"] == "storage_failed"
    assert len(held.failures) == 1
    assert held.ask("GET", "jobs", "list").status_code == 503


def test_with_the_disk_at_rest_reads_and_refusals_wait_for_nothing(held: Held) -> None:
    held.come_to_rest()
    held.disk.syncs.hold()

    for what, status in statuses(held.ask_all(held.looks)).items():
        assert what.endswith(str(status))
