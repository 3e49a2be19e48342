"""What the hot lane answers to clients of the native API, Flask answers too.

The same bytes go to two servers with equal houses, of which only one has the lane: see
test_lane.py.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hostile import FIELDS, HELD, KINDS, LEASE, QUEUED, UIDS, VALUES, WRAPS, mostly
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native import TRACE
from serving import request
from test_lane import Twin, shape

from jobengine.api.endpoint import Endpoint, Lane
from jobengine.api.lane import Head, Incoming, Pattern
from jobengine.api.v2 import V2
from jobengine.api.v2_work import JOB_AT, QUEUE

# A house in which the shop may write to `mail`, and the mailer read it.
JOBS = "/api/v2/queues/mail/jobs"
JOB = b'{"content":{"n":1}}'
KEYED = b'{"content":":","unique_key":"a:b","fingerprint":"x","max_attempts":null}'
REPORT = b'{"lease":"%b"}' % LEASE.encode()
NAMED = b'{"uid":"%b","lease":"%b"}' % (HELD.encode(), LEASE.encode())


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Twin, Twin]]:
    first, second = Twin(lane=True), Twin(lane=False)
    with first.serving, second.serving:
        yield first, second


def post(
    path: str, body: bytes = b"", *fields: str, name: str = "mailer", at: str = JOBS
) -> bytes:
    return request("POST", at + path, name, *fields, body=body)


def enqueue(body: bytes, *fields: str, query: str = "", name: str = "shop") -> bytes:
    return post(query, body, *fields, name=name)


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

        assert shape(nameless(hot)) == shape(nameless(plain)), each[:2000]
        assert twins[0].rows() == twins[1].rows(), each[:2000]
    assert spy.changed == []
    return spy.answered - before


def nameless(answer: bytes) -> bytes:
    """An answer without the name that a refused job was given in vain."""
    return re.sub(rb"(unique key: job-)\d+", rb"\1N", answer)


FINE = [
    enqueue(JOB),
    enqueue(KEYED, "Content-Type: application/json"),
    enqueue(JOB, "Prefer: return=minimal"),
    enqueue(JOB, f"traceparent: {TRACE}"),
    enqueue(JOB, "X-JobEngine-Commit: ?"),
    enqueue(KEYED, query="?on_conflict=keep"),
    enqueue(KEYED, query="?on_conflict=replace"),
    enqueue(b'{"content":1,"run_at":"2027-01-15T08:00:00.5+01:00","durable":false}'),
    enqueue(b'{"content":1,"backoff":{"kind":"list","delays_ms":[1,2]},"delay_ms":5}'),
    enqueue(b'{"content":1,"backoff":{"kind":"exponential","factor":3,"jitter":0.5}}'),
    post("/batch", b"[%b, %b ]" % (JOB, KEYED), name="shop"),
    post("/batch?atomic=true", b"[%b]" % JOB, name="shop"),
    post("/batch?on_conflict=keep&atomic=false", b"[%b]" % KEYED, name="shop"),
    post("/claim"),
    post("/claim?max=1000&wait=0"),
    post("/claim", b"", "Prefer: wait=0"),
    post("/heartbeat", b"[%b]" % NAMED),
    post("/heartbeat", b'[{"uid":"%b","progress":[1]}]' % HELD.encode()),
    post("/complete", b'[%b,{"uid":"\\u0041"}]' % NAMED),
    post(f"/{HELD}/heartbeat"),
    post(f"/{HELD}/heartbeat", REPORT),
    post(f"/{HELD}/heartbeat", b'{"progress":{":":1}}'),
    post(f"/{HELD}/complete"),
    post(f"/{HELD}/complete", b'{"result":null}'),
    post(f"/{HELD}/complete", REPORT, "Prefer: return=minimal"),
]


@pytest.mark.parametrize("said", FINE)
def test_what_is_plainly_fine_the_lane_answers(
    twins: tuple[Twin, Twin], said: bytes
) -> None:
    assert alike(twins, said) == 1


def test_every_hot_row_is_among_these() -> None:
    lines = [re.split(rb"[? ]", said)[:2] for said in FINE]

    for row in V2.endpoints:
        path = re.sub(r"{\w+}", "[^/]+", row.path).encode()
        told = any(
            method == row.method.encode() and re.fullmatch(path, target)
            for method, target in lines
        )
        assert told is (row.lane is Lane.HOT), row.name


def test_who_wants_its_answer_forgotten_soon_is_answered_by_the_lane(
    twins: tuple[Twin, Twin],
) -> None:
    for number, prefer in enumerate(
        ("keep-answer=60", "return=minimal,keep-answer=60", "keep-answer=0")
    ):
        same = enqueue(JOB, f"Idempotency-Key: p{number}", f"Prefer: {prefer}")

        assert alike(twins, same, same) == 2


def test_a_request_with_a_key_is_the_lanes_too(twins: tuple[Twin, Twin]) -> None:
    for number, key in enumerate(("k", "k-2")):
        same = enqueue(JOB, f"Idempotency-Key: {key}{number}")

        assert alike(twins, same, same) == 2


@pytest.mark.parametrize(("size", "answers"), [(250, 1), (550, 0)])
def test_a_batch_of_half_a_mebibyte_is_the_lanes_and_a_larger_one_is_not(
    twins: tuple[Twin, Twin], size: int, answers: int
) -> None:
    body = b"[%b]" % b",".join([b'{"content":"%b"}' % (b"x" * size)] * 1000)

    assert alike(twins, post("/batch", body, name="shop")) == answers


def test_more_reports_than_are_taken_are_not_the_lanes(
    twins: tuple[Twin, Twin],
) -> None:
    body = b"[%b]" % b",".join([b'{"uid":"a"}'] * 1001)

    assert alike(twins, post("/heartbeat", body), post("/complete", body)) == 0


# --- one thing wrong ------------------------------------------------------------------


MORE = [
    *(b'"2027-01-15T08:00:00Z"', b'"2027-01-15T08:00:00"', b'"1800000000"', b'":"'),
    *(b'"1969-12-31T23:59:59Z"', b'"9999-12-31T23:59:59.999Z"', b'"\\u003a"', b"2.5"),
    *(b'{"kind":"constant"}', b'{"kind":"list"}', b'{"kind":"list","delays_ms":[":"]}'),
    *(b'{"kind":"linear","factor":1e999}', b'{"kind":"linear","jitter":1,"jitter":1}'),
    *(b'{"kind":"linear","factor":"2"}', b'{"kind":"linear","x":1}', b"2147483648"),
    *(b'{"kind":"list","delays_ms":[1,"2"]}', b'{"kind":"list","delays_ms":[]}'),
    b'{"kind":"constant","base_ms":999999999999}',
    b'{"kind":"exponential","factor":true}',
]
MEMBERS = {
    b"content": b'{"n":1}',
    b"priority": b"50",
    b"run_at": b'"2027-01-15T08:00:00Z"',
    b"expires_at": b'"2027-02-15T08:00:00Z"',
    b"unique_key": b'"a"',
    b"fingerprint": b'"b"',
    b"progress": b"[1]",
    b"max_attempts": b"3",
    b"lease_ms": b"1000",
    b"keep_ms": b"0",
    b"dead_keep_ms": b"5",
    b"poison_after": b"null",
    b"backoff": b'{"kind":"constant"}',
    b"durable": b"true",
}


def object_of(members: dict[bytes, bytes]) -> bytes:
    return b"{%b}" % b",".join(b'"%b":%b' % each for each in members.items())


@pytest.mark.parametrize("member", [*MEMBERS, b"delay_ms", b"valid_for_ms", b"what"])
def test_with_one_member_wrong_both_say_the_same(
    twins: tuple[Twin, Twin], member: bytes
) -> None:
    for value in [*VALUES, *MORE]:
        one = object_of(MEMBERS | {member: value})
        if len(one) < 10_000:
            alike(
                twins,
                enqueue(one),
                post("/batch", b"[%b,%b]" % (JOB, one), name="shop"),
            )


@pytest.mark.parametrize("member", [b"uid", b"lease", b"progress", b"result", b"what"])
def test_with_one_member_of_a_report_wrong_both_say_the_same(
    twins: tuple[Twin, Twin], member: bytes
) -> None:
    for value in VALUES:
        one = object_of({b"uid": b'"%b"' % HELD.encode(), member: value})
        if len(one) < 10_000:
            alike(
                twins,
                post("/heartbeat", b"[%b]" % one),
                post(f"/{HELD}/heartbeat", b'{"%b":%b}' % (member, value)),
                post("/complete", b"[%b]" % one),
                post(f"/{HELD}/complete", b'{"%b":%b}' % (member, value)),
            )


def test_with_a_member_twice_both_say_the_same(twins: tuple[Twin, Twin]) -> None:
    one = object_of(MEMBERS)
    for key, value in MEMBERS.items():
        for name in (key, b"\\u00%02x%b" % (key[0], key[1:])):
            twice = one[:-1] + b',"%b":%b}' % (name, value)
            alike(
                twins,
                enqueue(twice),
                post("/batch", b"[%b,%b]" % (twice, JOB), name="shop"),
            )


def test_with_something_around_it_both_say_the_same(twins: tuple[Twin, Twin]) -> None:
    for before, after in WRAPS:
        alike(
            twins,
            enqueue(before + JOB + after),
            post("/batch", before + b"[%b]" % JOB + after, name="shop"),
            post(f"/{HELD}/complete", before + REPORT + after),
        )


HEADS = [
    *(f"Idempotency-Key: {key}" for key in ("a", "", "a b", "\xe9", "x" * 256)),
    *("traceparent: x", f"traceparent: {TRACE}-x", "If-Match: *", "If-None-Match: *"),
    *("Prefer: return=minimal; x", "Prefer: RETURN = minimal", "Prefer: wait=0,return"),
    "Prefer: return=representation",
]


def test_with_another_head_both_say_the_same(twins: tuple[Twin, Twin]) -> None:
    for field in [*FIELDS, *HEADS, *(f"Content-Type: {kind}" for kind in KINDS)]:
        alike(
            twins,
            enqueue(JOB, field),
            post("/claim", b"", field),
            post(f"/{HELD}/complete", b"", field),
            post(f"/{HELD}/heartbeat", REPORT, field),
        )


def test_a_header_that_is_there_twice_is_the_same_to_both(
    twins: tuple[Twin, Twin],
) -> None:
    for name in ("Idempotency-Key", "traceparent", "Prefer", "If-Match"):
        alike(twins, enqueue(JOB, f"{name}: a", f"{name}: return=minimal"))


QUERIES = [
    *("", "?", "?max=0", "?max=1001", "?max=1&max=1", "?wait=x", "?wait=", "?&&=&"),
    *("?m%61x=1", "?max=%31", "?max=+1", "?x=%ff", "?on_conflict=keep", "?atomic=1"),
    *("?atomic=true", "?on_conflict=", "?wait=99", "?max=1?x", "?max=\xe9", "?Max=1"),
]


@pytest.mark.parametrize("query", QUERIES)
def test_whatever_is_queried_both_say_the_same(
    twins: tuple[Twin, Twin], query: str
) -> None:
    alike(
        twins,
        post("/claim" + query),
        enqueue(JOB, query=query),
        post("/batch" + query, b"[%b]" % KEYED, name="shop"),
        post(f"/{HELD}/heartbeat{query}"),
        post("/complete" + query, b"[%b]" % NAMED),
    )


def test_whatever_job_or_queue_is_named_both_say_the_same(
    twins: tuple[Twin, Twin],
) -> None:
    for uid in [HELD, QUEUED, "batch", "bulk", "peek", *UIDS, HELD]:
        alike(
            twins,
            post(f"/{uid}/heartbeat"),
            post(f"/{uid}/complete", REPORT),
            post("/claim", at=f"/api/v2/queues/{uid}/jobs"),
            post("", JOB, at=f"/api/v2/queues/{uid}/jobs", name="shop"),
            request("GET", f"{JOBS}/{uid}", "mailer"),
        )


def test_of_a_known_head_the_job_may_be_another(twins: tuple[Twin, Twin]) -> None:
    for verb in ("heartbeat", "complete"):
        alike(
            twins,
            *(post(f"/{uid}/{verb}") for uid in [HELD, QUEUED, *UIDS, "bulk", HELD]),
            *(post(f"/{HELD}/{other}") for other in ("heartbeat", "fail", "complete")),
        )


def test_a_path_with_a_word_of_its_own_in_that_place_shares_no_head() -> None:
    def row(path: str) -> Endpoint:
        return next(row for row in V2.endpoints if row.path == path)

    beat, bulk = row(f"{JOB_AT}/heartbeat"), row(f"{QUEUE}/jobs/bulk/retry")
    clash = dataclasses.replace(bulk, path=f"{QUEUE}/jobs/bulk/heartbeat")

    assert Pattern(beat, V2.endpoints).shares
    assert not Pattern(beat, [*V2.endpoints, clash]).shares
    assert Pattern(row(f"{QUEUE}/jobs/claim"), V2.endpoints).tail == ""


# --- what is long work ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "slow"),
    [
        ("GET /api/v2/queues/mail/jobs", True),
        ("GET /api/v2/queues/m%61il/j%6fbs?limit=1", True),
        ("GET /api/v2/queues/a%2Fb/jobs", True),
        ("GET /api/v2/queues/mail/jobs/job-1/explain", True),
        ("POST /api/v2/queues/mail/jobs/bulk/retry", True),
        ("DELETE /api/v2/queues/mail", True),
        ("GET /api/v2/queues/mail/jobs/job-1", False),
        ("GET /api/v2/queues/mail%2Fjobs", False),
        ("POST /api/v2/queues/mail/jobs/job-1/retry", False),
        ("GET /api/v2/queues/mail", False),
        ("GET /api/v2/queues/mail/jobs/", False),
    ],
)
def test_long_work_is_slow_whatever_its_path_says(
    twins: tuple[Twin, Twin], line: str, *, slow: bool
) -> None:
    method, _, target = line.partition(" ")
    head = Head(method.encode(), target.encode(), [], {}, "127.0.0.1")

    assert twins[0].spies[0].is_slow(Incoming(head, b"")) is slow


# --- anything -------------------------------------------------------------------------


@st.composite
def jobs(draw: st.DrawFn) -> bytes:
    """A job that is mostly fine, under one of a few keys."""
    members = MEMBERS | {b"unique_key": b'"%d"' % draw(st.integers(1, 3))}
    for member in draw(st.lists(st.sampled_from(list(members)), max_size=4)):
        if draw(st.booleans()):
            members.pop(member, None)
        else:
            members[member] = draw(mostly([MEMBERS[member]], [*VALUES, *MORE]))
    return object_of(members)


ARRAYS = st.lists(jobs(), max_size=4).map(lambda said: b"[%b]" % b",".join(said))
NONE, REPORTS = st.just(b""), st.sampled_from([b"", REPORT])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    uid = draw(st.sampled_from([HELD, QUEUED, "job-100", "job-200"]))
    name = draw(st.sampled_from(["shop", "mailer", "printer", "nobody", ""]))
    fields = draw(st.sampled_from([[], ["Idempotency-Key: k"], ["Prefer: wait=0"]]))
    named = st.just(b'[{"uid":"%b"},%b]' % (uid.encode(), NAMED))
    path, bodies, usual = draw(
        st.sampled_from(
            [
                ("", jobs(), "shop"),
                ("?on_conflict=replace", jobs(), "shop"),
                ("/batch", ARRAYS, "shop"),
                ("/batch?atomic=true&on_conflict=keep", ARRAYS, "shop"),
                ("/claim?max=2", NONE, "mailer"),
                ("/heartbeat", named, "mailer"),
                ("/complete", named, "mailer"),
                (f"/{uid}/heartbeat", REPORTS, "mailer"),
                (f"/{uid}/complete", REPORTS, "mailer"),
                (f"/{uid}/fail", NONE, "mailer"),
                (f"/{uid}/cancel", NONE, "shop"),
            ]
        )
    )
    return post(path, draw(bodies), *fields, name=draw(mostly([usual], [name])))


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(requests(), min_size=1, max_size=5))
def test_whatever_is_asked_both_say_the_same(
    twins: tuple[Twin, Twin], said: Any
) -> None:
    alike(twins, *said)
