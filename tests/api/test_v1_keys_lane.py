"""What the hot lane answers to the later dialect, Flask answers too (see test_lane.py).

The same bytes go to two servers with equal houses, of which only one has the lane.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from hostile import HELD, KINDS, NOBODY, QUEUED, VALUES
from msgspec.structs import replace
from serving import request
from test_lane import Twin, shape

from jobengine.api.app import ENDPOINTS
from jobengine.api.endpoint import Lane
from jobengine.core.access import Caller
from jobengine.core.job import Job, NewJob
from jobengine.core.queues import Rulebook

NAME, KEY = "keys", "a key"
JSON = "Content-Type: application/json"
JOB, NEXT = "/api/v1/job", "/api/v1/job/next"


class KeyedTwin(Twin):
    """A twin with a queue that a key opens, and two jobs in it; one is held."""

    def furnish(self) -> None:
        admin = Caller("admin", local=True)
        rules = Rulebook(admins=frozenset({admin.name}))
        self.house.upkeep.reconfigure(rules)
        self.house.admin.create_queue(admin, NAME, access_key=KEY)

    def begin(self) -> None:
        with self.house.store.transaction() as tx:
            tx.drop(*tx.jobs(NAME))
        self.number(1)
        engine = self.house.engine
        caller = engine.unlock(NAME, KEY)
        for _ in (HELD, QUEUED):
            engine.enqueue(caller, NAME, NewJob(b'{"n": 1}'))
        assert [job.uid for job in engine.claim(caller, NAME)] == [HELD]

    def rows(self) -> dict[tuple[str, str], Job]:
        with self.house.store.transaction() as tx:
            return {(NAME, job.uid): replace(job, seq=0) for job in tx.jobs(NAME)}


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[KeyedTwin, KeyedTwin]]:
    first, second = KeyedTwin(lane=True), KeyedTwin(lane=False)
    with first.serving, second.serving:
        for twin in (first, second):
            twin.furnish()
        yield first, second


def asked(
    method: str, path: str, *fields: str, body: bytes = b"", key: str = KEY
) -> bytes:
    shown = (f"X-Access-Key: {key}",) if key else ()
    return request(method, path, "", *shown, *fields, body=body)


def put(job: bytes, *fields: str, queue: str = NAME, **how: Any) -> bytes:
    body = b'{"queue_name":"%b","job":%b}' % (queue.encode(), job)
    return asked("PUT", JOB, *(fields or (JSON,)), body=body, **how)


def post(word: str, uid: str = HELD, *fields: str, **how: Any) -> bytes:
    body = f'{{"queue_name":"{NAME}","uid":"{uid}","new_status":"{word}"}}'.encode()
    return asked("POST", JOB, *(fields or (JSON,)), body=body, **how)


def take(query: str = f"queueName={NAME}&markQueued=true", **how: Any) -> bytes:
    return asked("GET", f"{NEXT}?{query}", **how)


def alike(twins: tuple[KeyedTwin, KeyedTwin], said: bytes) -> int:
    """How many answers the lane gave, both servers having answered the same."""
    for twin in twins:
        twin.begin()
        twin.number(100)
    spy = twins[0].spies[0]
    before = spy.answered

    hot, plain = (twin.ask(said) for twin in twins)

    assert shape(hot) == shape(plain), said
    assert twins[0].rows() == twins[1].rows(), said
    assert spy.changed == []
    return spy.answered - before


FINE = {
    "v1_keys.test": [asked("GET", "/test", key="")],
    "v1_keys.create": [
        put(b"{}"),
        put(b'{"content":{"a":[1]},"priority":7,"keep_minutes":1}'),
        put(b'{"timeout_minutes":9,"timeout_time":0}', JSON, "X-JobEngine-Commit: ?"),
    ],
    "v1_keys.next_job": [take(), take(f"queueName={NAME}"), take("queueName=ke%79s")],
    "v1_keys.update": [post("complete"), post("FAILED"), post("queued", QUEUED)],
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_plainly_fine_the_lane_answers(twins: Any, name: str) -> None:
    for said in FINE[name]:
        assert alike(twins, said) == 1, said


def test_every_hot_row_of_the_dialect_is_among_these() -> None:
    rows = [row for row in ENDPOINTS.values() if row.dialect.name == "v1_keys"]

    assert {row.name for row in rows if row.lane is Lane.HOT} == set(FINE)


FIELDS = ("content", "priority", "keep_minutes", "timeout_minutes", "timeout_time")


@pytest.mark.parametrize("field", [*FIELDS, "uid", "hello"])
def test_whatever_a_field_is_both_say_the_same(twins: Any, field: str) -> None:
    for value in VALUES:
        alike(twins, put(b'{"%b":%b}' % (field.encode(), value)))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value[:20]))
def test_whatever_is_sent_for_the_job_both_say_the_same(
    twins: Any, value: bytes
) -> None:
    alike(twins, put(value))
    alike(twins, asked("PUT", JOB, JSON, body=value))
    alike(twins, asked("POST", JOB, JSON, body=value))


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_body_is_called_both_say_the_same(twins: Any, kind: str) -> None:
    for other in ((), ("X-Content-Type: application/json",)):
        alike(twins, put(b"{}", f"Content-Type: {kind}", *other))
        alike(twins, post("complete", HELD, f"Content-Type: {kind}", *other))


ODD = [
    *(put(b"{}", key=key) for key in ("", "wrong", "a key ", "a\xe9", "\xc3\xa9")),
    put(b"{}", JSON, "X-Access-Key: a key"),
    put(b"{}", JSON, "Origin: http://localhost"),
    put(b"{}", queue="nope"),
    put(b"{}", queue=""),
    put(b'{"priority":1,"priority":2}'),
    put(b'{"content":1,"content":2}'),
    *(take(f"queueName={name}") for name in ("", "nope", "%ff", "ke+ys", "%00")),
    *(take(query) for query in ("", "markQueued=true", "queueName=keys;x=1", "&&=")),
    *(take(f"queueName=keys&markQueued={word}") for word in ("TRUE", "1", "%74rue")),
    take("queueName=nope&queueName=keys"),
    take(key="wrong"),
    *(post("complete", uid) for uid in (NOBODY, "", "\\u006aob-1", "job-1 ")),
    *(post(word) for word in ("", "done", "cancelled", "\\u0051ueued")),
    post("complete", HELD, JSON, "X-JobEngine-Lease: job-3"),
    post("complete", HELD, JSON, "X-JobEngine-Lease: other"),
    post("complete", key="wrong"),
    asked("HEAD", f"{NEXT}?queueName={NAME}&markQueued=true"),
]


@pytest.mark.parametrize("said", ODD, ids=lambda said: repr(said[:60]))
def test_with_something_odd_both_say_the_same(twins: Any, said: bytes) -> None:
    alike(twins, said)
