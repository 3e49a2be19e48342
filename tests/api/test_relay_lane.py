"""What the hot lane answers to relay's clients, Flask answers too (see test_lane.py).

The same bytes go to two servers with equal houses, of which only one has the lane.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hostile import FIELDS, HELD, KINDS, LEASE, QUEUED, UIDS, VALUES, WRAPS, mostly
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import request
from test_lane import Twin, shape

from jobengine.api.endpoint import Lane
from jobengine.api.lane import Head, Incoming
from jobengine.api.relay import RELAY
from jobengine.api.relay_v2 import RELAY_V2

# A house in which the shop may write to `mail`, and the mailer read it.
JOB = b'{"id":"a","queue":"mail","timeout":30,"payload":{"n":1}}'
OTHER = b'{"id":"b:c","queue":"mail","timeout":0,"max_retries":3,"state":":"}'
RUN = f"/v2/queues/mail/jobs/{HELD}/run-id/{LEASE}"


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Twin, Twin]]:
    first, second = Twin(lane=True), Twin(lane=False)
    with first.serving, second.serving:
        yield first, second


def asked(
    method: str, path: str, body: bytes = b"", *fields: str, name: str = "mailer"
) -> bytes:
    return request(method, path, name, *fields, body=body)


def post(path: str, body: bytes, *fields: str) -> bytes:
    return asked("POST", path, body, *fields, name="shop")


def alike(twins: tuple[Twin, Twin], *said: bytes) -> int:
    """How many answers the lane gave, both servers having answered the same."""
    spy = twins[0].spies[0]
    before = spy.answered
    for twin in twins:
        twin.begin()
    for step, each in enumerate(said):
        for twin in twins:
            twin.number(100 * (step + 1))
        hot, plain = (twin.ask(each) for twin in twins)

        assert shape(nameless(hot)) == shape(nameless(plain)), each
        assert twins[0].rows() == twins[1].rows(), each
    assert spy.changed == []
    return spy.answered - before


def nameless(answer: bytes) -> bytes:
    """An answer without the name that a refused job was given in vain."""
    return re.sub(rb"(unique key: job-)\d+", rb"\1N", answer)


FINE = [
    *(post(prefix + "/enqueue", JOB) for prefix in ("", "/v1")),
    *(post(prefix + "/enqueue/batch", b"[%b]" % JOB) for prefix in ("", "/v1")),
    *(asked("GET", f"{prefix}/next?queue=mail") for prefix in ("", "/v1")),
    asked("GET", "/next?queue=mail&num_jobs=10&wait=0", b"", "X-Relay-Version: 1"),
    asked("GET", "/next?num_jobs=1&queue=mail", b"", "X-Relay-Version: 0"),
    *(
        asked("PATCH", f"{prefix}/heartbeat?queue=mail&job_id={HELD}", b'{"a":1}')
        for prefix in ("", "/v1")
    ),
    *(
        asked("DELETE", f"{prefix}/complete?queue=mail&job_id={HELD}")
        for prefix in ("", "/v1")
    ),
    asked("DELETE", f"/complete?queue=mail&job_id={QUEUED}", name="shop"),
    post("/v1/queues/jobs", b"[%b,%b]" % (JOB, OTHER)),
    asked("GET", "/v1/queues/mail/jobs?num_jobs=2"),
    asked("GET", "/v1/queues/mail/jobs"),
    asked("PATCH", f"/v1/queues/mail/jobs/{HELD}"),
    asked("PATCH", f"/v1/queues/mail/jobs/{HELD}", b"null"),
    asked("DELETE", f"/v1/queues/mail/jobs/{HELD}"),
    post("/v2/queues/jobs?mode=ignore", b"[%b, %b ]" % (JOB, OTHER)),
    post("/v2/queues/jobs", b"[%b]" % JOB, "X-JobEngine-Commit: ?"),
    asked("GET", "/v2/queues/mail/jobs?num_jobs=2"),
    asked("PATCH", RUN, b"[]"),
    asked("DELETE", RUN),
    asked("DELETE", RUN + "x"),  # a run that is over
    asked("DELETE", f"/v2/queues/mail/jobs/{HELD}"),
    asked("DELETE", "/v2/queues/mail/jobs/nobody", name="shop"),
]


@pytest.mark.parametrize("said", FINE)
def test_what_is_plainly_fine_the_lane_answers(
    twins: tuple[Twin, Twin], said: bytes
) -> None:
    assert alike(twins, said) == 1


def test_every_hot_row_is_among_these() -> None:
    lines = [re.split(rb"[? ]", said)[:2] for said in FINE]

    for row in (*RELAY.endpoints, *RELAY_V2.endpoints):
        path = re.sub(r"{\w+}", "[^/]+", row.path)
        told = any(
            method == row.method.encode() and re.fullmatch(path.encode(), target)
            for method, target in lines
        )
        assert told is (row.lane is Lane.HOT), row.name


@pytest.mark.parametrize(("size", "answers"), [(250, 1), (550, 0)])
def test_a_batch_of_half_a_mebibyte_is_the_lanes_and_a_larger_one_is_not(
    twins: tuple[Twin, Twin], size: int, answers: int
) -> None:
    one = b'{"id":"%d","queue":"mail","timeout":30,"payload":"%b"}'
    body = b"[%b]" % b",".join(one % (n, b"x" * size) for n in range(1000))

    assert alike(twins, post("/enqueue/batch", body)) == answers


def test_one_job_of_more_than_64_kib_is_not_the_lanes(
    twins: tuple[Twin, Twin],
) -> None:
    body = JOB.replace(b"1}", b'"%b"}' % (b"x" * 70_000))

    assert alike(twins, post("/enqueue", body)) == 0


def test_what_is_remembered_of_a_head_that_comes_once_knows_no_query(
    twins: tuple[Twin, Twin],
) -> None:
    head = Head(b"DELETE", b"/complete?queue=mail&job_id=x", [], {}, "")
    head.row = next(row for row in RELAY.endpoints if row.path == "/complete")

    with pytest.raises(AssertionError):
        Incoming(head, b"").once(lambda _desk, sent: sent.query)


# --- one thing wrong --------------------------------------------------------------


MORE = [
    *(b'"2027-01-15T08:00:00Z"', b'"2027-01-15T08:00:00"', b'"1800000000"', b"[]"),
    *(b'"2027-01-15t08:00:00.123456789+01:00"', b'"2027-02-30T08:00:00Z"', b'":"'),
    *(b'"\\u003a"', b'{"\\u003a":1}', b'{":":":"}', b'"2147483648"', b"2147483647"),
    *(b'"2027-01-15T24:00:00Z"', b'"2027-01-15T08:00:60Z"', b"2147483648", b'"mail"'),
    *(b'"0000-01-01T00:00:00Z"', b'"9999-12-31T23:59:59.999Z"', b'"x"', b"1800000000"),
    *(
        b'"2027-01-15T08:00:00-99:99"',
        b"-2147483648",
        '"2027-01-15T08:00:0٣Z"'.encode(),
    ),
]
MEMBERS = {
    b"id": b'"a"',
    b"queue": b'"mail"',
    b"timeout": b"30",
    b"max_retries": b"3",
    b"payload": b'{"n":1}',
    b"state": b"[1]",
    b"run_at": b'"2027-01-15T08:00:00Z"',
    b"persist_data": b"true",
    b"updated_at": b"null",
}


def object_of(members: dict[bytes, bytes]) -> bytes:
    return b"{%b}" % b",".join(b'"%b":%b' % each for each in members.items())


@pytest.mark.parametrize("member", MEMBERS)
def test_with_one_member_wrong_both_say_the_same(
    twins: tuple[Twin, Twin], member: bytes
) -> None:
    for value in [*VALUES, *MORE]:
        one = object_of(MEMBERS | {member: value})
        if len(one) < 10_000:
            alike(
                twins,
                post("/enqueue", one),
                post("/v1/enqueue/batch", b"[%b,%b]" % (OTHER, one)),
                post("/v2/queues/jobs", b"[%b]" % one),
            )


@pytest.mark.parametrize("value", [*MORE, *VALUES])
def test_whatever_state_is_sent_both_say_the_same(
    twins: tuple[Twin, Twin], value: bytes
) -> None:
    alike(twins, asked("PATCH", f"/v1/queues/mail/jobs/{HELD}", value))


def test_with_a_member_twice_both_say_the_same(twins: tuple[Twin, Twin]) -> None:
    one = object_of(MEMBERS)
    for key, value in MEMBERS.items():
        for name in (key, b"\\u00%02x%b" % (key[0], key[1:])):
            twice = one[:-1] + b',"%b":%b}' % (name, value)
            alike(
                twins,
                post("/enqueue", twice),
                post("/enqueue/batch", b"[%b,%b]" % (twice, OTHER)),
            )


def test_with_something_around_it_both_say_the_same(twins: tuple[Twin, Twin]) -> None:
    for before, after in WRAPS:
        alike(
            twins,
            post("/enqueue", before + JOB + after),
            post("/enqueue/batch", before + b"[%b]" % JOB + after),
        )


def test_with_another_head_both_say_the_same(twins: tuple[Twin, Twin]) -> None:
    for field in [*FIELDS, *(f"Content-Type: {kind}" for kind in KINDS)]:
        alike(
            twins,
            post("/enqueue", JOB, field),
            asked("DELETE", f"/complete?queue=mail&job_id={HELD}", b"", field),
        )


QUERIES = [
    *("", "?", "?queue=", "?queue=mail&queue=mail", "?queue=m%61il", "?queue=ma+il"),
    *("?queue=mail&num_jobs=0", "?queue=mail&num_jobs=-1", "?queue=mail&num_jobs=1e1"),
    *("?queue=mail&num_jobs=9999999999", "?queue=%ff", "?queue=nope", "?num_jobs=1"),
    *("?queue=mail&wait=x", "?queue=mail&wait=99", "?Queue=mail", "?queue=mail&x=%ff"),
    *("?queue=mail&job_id=", "?job_id=job-1", "?queue=mail&job%5Fid=job-1", "?&&=&"),
    *("?queue=mail;job_id=job-1", "?queue=mail&job_id=job-1#x", "?queue=m\xe9il"),
    *(
        "?queue=mail&job_id=job-1?x",
        "?queue=mail?&job_id=job-1",
        "?mode=x",
        "?mode=%ff",
    ),
]


@pytest.mark.parametrize("query", QUERIES)
def test_whatever_is_queried_both_say_the_same(
    twins: tuple[Twin, Twin], query: str
) -> None:
    for method, path in (
        *(("GET", "/next"), ("DELETE", "/complete"), ("PATCH", "/v1/heartbeat")),
        *(("GET", "/v1/queues/mail/jobs"), ("GET", "/v2/queues/mail/jobs")),
        ("DELETE", f"/v1/queues/mail/jobs/{HELD}"),
        ("PATCH", RUN),
    ):
        alike(twins, asked(method, path + query))


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "HEAD"])
def test_whatever_job_is_named_both_say_the_same(
    twins: tuple[Twin, Twin], method: str
) -> None:
    for uid in [HELD, QUEUED, HELD, *UIDS, HELD, QUEUED]:
        alike(
            twins,
            asked(method, f"/v1/queues/mail/jobs/{uid}"),
            asked(method, f"/v2/queues/{uid}/jobs/{HELD}"),
            asked(method, f"/v2/queues/mail/jobs/{uid}/run-id/{LEASE}"),
            asked(method, f"/complete?queue=mail&job_id={uid}"),
        )


# --- anything ---------------------------------------------------------------------


@st.composite
def jobs(draw: st.DrawFn) -> bytes:
    """A job that is mostly fine, under one of a few ids."""
    members = MEMBERS | {b"id": b'"%d"' % draw(st.integers(1, 3))}
    for member in draw(st.lists(st.sampled_from(list(members)), max_size=3)):
        if draw(st.booleans()):
            members.pop(member, None)
        else:
            members[member] = draw(mostly([MEMBERS[member]], [*VALUES, *MORE]))
    return object_of(members)


ARRAYS = st.lists(jobs(), max_size=4).map(lambda said: b"[%b]" % b",".join(said))
NONE = st.just(b"")


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    id = draw(st.sampled_from([HELD, QUEUED, "1", "2", "3"]))
    name = draw(st.sampled_from(["shop", "mailer", "printer", "nobody", ""]))
    told: dict[str, tuple[str, st.SearchStrategy[bytes], str]] = {
        "/enqueue": ("POST", jobs(), "shop"),
        "/v1/enqueue/batch": ("POST", ARRAYS, "shop"),
        "/v1/queues/jobs": ("POST", ARRAYS, "shop"),
        "/v2/queues/jobs?mode=replace": ("POST", ARRAYS, "shop"),
        "/v2/queues/jobs": ("POST", ARRAYS, "shop"),
        "/next?queue=mail&num_jobs=2": ("GET", NONE, "mailer"),
        "/v1/queues/mail/jobs": ("GET", NONE, "mailer"),
        f"/v1/heartbeat?queue=mail&job_id={id}": ("PATCH", jobs(), "mailer"),
        f"/complete?queue=mail&job_id={id}": ("DELETE", NONE, "mailer"),
        f"/v1/queues/mail/jobs/{id}": ("DELETE", NONE, name),
        f"/v2/queues/mail/jobs/{id}": ("DELETE", NONE, name),
        f"/v2/queues/mail/jobs/{id}/run-id/{LEASE}": ("PUT", ARRAYS, "mailer"),
        RUN: (draw(st.sampled_from(["PATCH", "DELETE"])), NONE, "mailer"),
        "/reschedule": ("POST", jobs(), "mailer"),
    }
    path = draw(st.sampled_from(list(told)))
    method, bodies, usual = told[path]
    return asked(method, path, draw(bodies), name=draw(mostly([usual], [name])))


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(requests(), min_size=1, max_size=5))
def test_whatever_is_asked_both_say_the_same(
    twins: tuple[Twin, Twin], said: Any
) -> None:
    alike(twins, *said)
