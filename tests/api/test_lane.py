"""What the hot lane answers, Flask answers too; what it declines has changed nothing.

The same bytes go to two servers with equal houses: one has the lane, the other leaves
everything to Flask. Requests are made of parts that are fine and parts that are not.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hostile import HELD, QUEUED, UIDS, one_thing_wrong, requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from serving import JOB, LIMITS, RULES, Serving, Settings, create, request, take

from jobengine.api.app import ENDPOINTS
from jobengine.api.endpoint import Lane
from jobengine.api.exchange import Reply
from jobengine.api.lane import Head, HotLane, Incoming
from jobengine.api.v1 import V1
from jobengine.build import House
from jobengine.core.access import Caller
from jobengine.core.job import Job, NewJob
from jobengine.testing import memory_house

# Nobody waits here: test_waiting.py is about those who do.
NO_WAIT = dataclasses.replace(LIMITS, wait_seconds=0)


class Spy(HotLane):
    """The lane, and what it did."""

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self.answered = 0
        self.changed: list[bytes] = []  # bodies of what it declined too late

    def answer(self, asked: Incoming) -> Reply | None:
        store = self._desk.house.store
        before = store.rows.copy(), store.rows.next_due()  # type: ignore[attr-defined]
        reply = super().answer(asked)
        if reply is not None:
            self.answered += 1
        elif before != (store.rows.copy(), store.rows.next_due()):  # type: ignore[attr-defined]
            self.changed.append(asked.body_bytes)
        return reply


class Twin:
    """A house and its server; uids are counted, so that twins have the same."""

    def __init__(self, *, lane: bool) -> None:
        self.house: House = memory_house(RULES)
        self.spies: list[Spy] = []
        self.serving = Serving(
            self.house,
            Settings(limits=NO_WAIT),
            lane=self._spy if lane else lambda desk, _rows: HotLane(desk, []),
        )

    def begin(self) -> None:
        """Start from the same two jobs, of which the mailer holds one."""
        with self.house.store.transaction() as tx:
            for queue in RULES.queues:
                tx.drop(*tx.jobs(queue))
        self.number(1)
        engine = self.house.engine
        for _ in (HELD, QUEUED):
            engine.enqueue(Caller("shop"), "mail", NewJob(b'{"n": 1}'))
        assert [job.uid for job in engine.claim(Caller("mailer"), "mail")] == [HELD]

    def number(self, start: int) -> None:
        uids = (f"job-{number}" for number in count(start))
        self.house.engine._new_uid = uids.__next__
        self.house.engine._new_uids = lambda: uids

    def ask(self, said: bytes) -> bytes:
        with self.serving.connect() as client:
            client.say(said).hang_up()
            return client.rest()

    def rows(self) -> dict[tuple[str, str], Job]:
        """All jobs; a place in the order of creation that nobody took is no matter."""
        with self.house.store.transaction() as tx:
            jobs = [job for queue in RULES.queues for job in tx.jobs(queue)]
        return {(job.queue, job.uid): replace(job, seq=0) for job in jobs}

    def _spy(self, *how: Any) -> Spy:
        self.spies.append(Spy(*how))
        return self.spies[0]


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Twin, Twin]]:
    first, second = Twin(lane=True), Twin(lane=False)
    with first.serving, second.serving:
        yield first, second


def shape(data: bytes) -> list[tuple[Any, ...]]:
    """The answers without what differs from one to the next."""
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        named = sorted(
            (n.lower(), v) for n, _, v in (f.partition(": ") for f in fields)
        )
        size = int(dict(named).get("content-length", 0))
        body, data = data[:size], data[size:]
        if dict(named).get("content-type") == "application/problem+json" and body:
            said = json.loads(body)
            size -= len(str(said.pop("instance", "")))
            body = json.dumps(said, sort_keys=True).encode()
        told = [each for each in named if each[0] not in VARIES]
        # The phrase behind the number says nothing (RFC 9112, 4).
        answers.append((line.split(" ")[:2], told, size, body))
    return answers


VARIES = {"date", "x-request-id", "content-length"}


@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(requests(), min_size=1, max_size=3))
def test_what_the_lane_answers_flask_answers_too(
    twins: tuple[Twin, Twin], said: list[bytes]
) -> None:
    for twin in twins:
        twin.begin()

    for step, each in enumerate(said):
        for twin in twins:
            twin.number(100 * (step + 1))
        hot, plain = (twin.ask(each) for twin in twins)

        assert shape(hot) == shape(plain)
        assert twins[0].rows() == twins[1].rows()
    assert twins[0].spies[0].changed == []


WRONG = one_thing_wrong()


@pytest.mark.parametrize("part", WRONG)
def test_with_one_thing_wrong_both_say_the_same(
    twins: tuple[Twin, Twin], part: str
) -> None:
    for said in WRONG[part]:
        for twin in twins:
            twin.begin()
            twin.number(100)
        hot, plain = (twin.ask(said) for twin in twins)

        assert shape(hot) == shape(plain), said
        assert twins[0].rows() == twins[1].rows(), said
    assert twins[0].spies[0].changed == []


FINE_ONES = [
    create('{"a":1}'),
    create('{"s":"\\u00e9"}', "Content-Type: application/json"),
    take(),
    take("Accept: */*", "User-Agent: worker/1"),
    request("POST", f"/api/v1/jobs/{HELD}", "mailer", body=b'{"status":"complete"}'),
    request(
        "POST", f"/api/v1/jobs/{HELD}", "shop", body=b'{"priority":9,"content":{}}'
    ),
    request(
        "POST", f"/api/v1/jobs/{HELD}", "shop", "X-JobEngine-Commit: ?", body=b"{}"
    ),
    request("DELETE", f"/api/v1/jobs/{HELD}", "shop"),
    request("GET", "/api/v1/test"),
]


@pytest.mark.parametrize("said", FINE_ONES)
def test_what_is_plainly_fine_the_lane_answers(
    twins: tuple[Twin, Twin], said: bytes
) -> None:
    for twin in twins:
        twin.begin()
        twin.number(100)
    spy = twins[0].spies[0]
    before = spy.answered

    hot, plain = (twin.ask(said) for twin in twins)

    assert spy.answered == before + 1
    assert shape(hot) == shape(plain)


def test_every_hot_row_is_among_these() -> None:
    lines = [said.decode("latin-1").partition(" HTTP")[0] for said in FINE_ONES]

    # The other dialects have their own.
    for row in V1.endpoints:
        pattern = re.sub(r"{\w+}", "[^/]+", f"{row.method} {row.path}")
        told = any(re.fullmatch(pattern, line) for line in lines)
        assert told is (row.lane is Lane.HOT), row.name


@pytest.mark.parametrize("body", [b"\\u0041", b"\xc3\xa9", b"{" * 3])
def test_a_form_never_takes_what_its_schema_would_not(body: bytes) -> None:
    forms = [row.form for row in ENDPOINTS.values() if row.form is not None]

    for form in forms:
        with pytest.raises(Exception):  # noqa: B017, PT011 a doubt is enough
            form.glance(body)


@pytest.mark.parametrize("size", [0, 1, 1500, 5000])
def test_what_is_known_of_a_head_holds_for_that_head_alone(
    twins: tuple[Twin, Twin], size: int
) -> None:
    for twin in twins:
        twin.begin()

    for step, caller in enumerate(["shop"] * 3 + ["mailer"] * 3 + ["shop"]):
        said = request(
            *("PUT", "/api/v1/jobs/create", caller, f"A: {'b' * size}"), body=JOB
        )
        for twin in twins:
            twin.number(100 * (step + 1))
        hot, plain = (twin.ask(said) for twin in twins)

        assert shape(hot) == shape(plain)
    assert twins[0].rows() == twins[1].rows()


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/jobs",
        "/api/v1/job%73?x",
        "/%61pi/v1/jobs",
        "http://localhost/api/v1/jobs",
    ],
)
def test_long_work_is_slow_however_its_path_is_written(
    twins: tuple[Twin, Twin], target: str
) -> None:
    lane = twins[0].spies[0]

    def is_slow(target: str) -> bool:
        head = Head(b"GET", target.encode(), [], {}, "127.0.0.1")
        return lane.is_slow(Incoming(head, b""))

    assert is_slow(target)
    assert not is_slow("/api/v1/job%73/next")


@pytest.mark.parametrize("method", ["POST", "DELETE", "GET"])
def test_of_a_known_head_the_path_may_be_another(
    twins: tuple[Twin, Twin], method: str
) -> None:
    for twin in twins:
        twin.begin()
    body = b'{"priority":7}' if method == "POST" else b""

    for step, uid in enumerate([HELD, QUEUED, HELD, *UIDS, HELD, QUEUED]):
        said = request(method, f"/api/v1/jobs/{uid}", "shop", body=body)
        for twin in twins:
            twin.number(100 * (step + 1))
        hot, plain = (twin.ask(said) for twin in twins)

        assert shape(hot) == shape(plain), uid
        assert twins[0].rows() == twins[1].rows(), uid
