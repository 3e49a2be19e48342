"""No body, query or path makes the relay dialect break: at worst it says no."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from carriers import CARRIERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relaying import Relay, at, job, relaying, told

from jobengine.api.relay_jobs import BATCH_MAX


@pytest.fixture(params=CARRIERS)
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    with relaying(request.param) as found:
        yield found


def text(**members: str) -> bytes:
    """A job of which some members are these texts."""
    fine = {"id": '"1"', "queue": '"q"', "timeout": "30", "payload": "{}"} | members
    said = ",".join(f'"{name}":{value}' for name, value in fine.items() if value)
    return f"{{{said}}}".encode("utf-8", "surrogatepass")


BAD = {
    "nothing": b"",
    "null": b"null",
    "a number": b"1",
    "open": b'{"id":"1"',
    "NaN": text(payload="NaN"),
    "not UTF-8": text().replace(b'"1"', b'"\xff"'),
    "a lone surrogate": text(payload='"\\ud800"'),
    "a lone surrogate for an id": text(id='"\\udead"'),
    "a surrogate's bytes": text(payload='"\ud800"'),
    "a key twice": text().replace(b"{", b'{"id":"2",', 1),
    "a key twice, escaped": text().replace(b"{", b'{"\\u0069d":"2",', 1),
    "deep": text(payload='{"a":' * 100_000 + "1" + "}" * 100_000),
    "rather deep": text(payload="[" * 64 + "]" * 64),
    "no id": text(id=""),
    "no queue": text(queue=""),
    "no timeout": text(timeout=""),
    "an empty id": text(id='""'),
    "a long id": text(id='"' + "x" * 1025 + '"'),
    "a number for an id": text(id="1"),
    "null for an id": text(id="null"),
    "a text for a timeout": text(timeout='"30"'),
    "a fraction": text(timeout="30.0"),
    "below 0": text(timeout="-1"),
    "a long time": text(timeout="2147483648"),
    "huge": text(timeout="9" * 400),
    "true for a number": text(timeout="true"),
    "many retries": text(max_retries="2147483648"),
    "null retries": text(max_retries="null"),
    "half a retry": text(max_retries="0.5"),
    "a word for a flag": text(persist_data='"true"'),
    "1 for a flag": text(persist_data="1"),
    "no date": text(run_at='"tomorrow"'),
    "a date without a zone": text(run_at='"2027-01-15T08:00:00"'),
    "a day that is not": text(run_at='"2027-02-30T08:00:00Z"'),
    "before 1970": text(run_at="-1"),
    "after all time": text(run_at="253402300800"),
    "a fraction of a date": text(run_at="1800000000.5"),
    "a list for a date": text(run_at="[]"),
    "true for a date": text(run_at="true"),
    "a large state": text(state='"' + "x" * 70_000 + '"'),
}
FINE = {
    "unknown members": text(priority="1", x='{"a":[]}'),
    "spaces": b" \n" + text().replace(b":", b" :\t") + b"\r\n",
    "all that there is": text(
        max_retries="-1",
        state="[1]",
        run_at='"2027-01-15T08:00:00Z"',
        persist_data="true",
    ),
    "nulls": text(state="null", run_at="null", persist_data="null", payload="null"),
    "deep enough": text(payload="[" * 60 + "]" * 60),
    "a colon in all": text(id='"a:b"', payload='{"a:":":"}', state='":::"'),
    "a colon escaped": text(id='"a\\u003ab"', payload='"\\u003A"'),
    "an answer": text(updated_at='"2027-01-15T08:00:00Z"', run_id="null"),
    "a key twice in the payload": text(payload='{"a":1,"a":2}'),
}


@pytest.mark.parametrize("label", BAD)
def test_a_hostile_job_is_refused_alone_and_in_an_array(
    relay: Relay, label: str
) -> None:
    body = BAD[label]

    for method, path, said in (
        ("POST", "/enqueue", body),
        ("POST", "/reschedule", body),
        ("POST", "/enqueue/batch", b"[" + body + b"]" if body else b"[,]"),
        ("POST", "/v1/queues/jobs", b"[%b,%b]" % (text(id='"9"'), body)),
    ):
        refused = relay.ask(method, path, said)

        assert refused.status == 400, (path, refused)
        assert told(refused)["detail"]
    assert relay.next(10) == []


@pytest.mark.parametrize("label", FINE)
def test_a_strange_job_is_taken_alone_and_in_an_array(relay: Relay, label: str) -> None:
    body = FINE[label]

    for path, said in (("/enqueue", body), ("/enqueue/batch", b"[" + body + b"]")):
        assert relay.ask("POST", path, said).status == 202

        (taken,) = relay.next(10)
        assert relay.complete(taken["id"]).status == 200


@pytest.mark.parametrize(
    "path", ["/enqueue/batch", "/v1/queues/jobs", "/v2/queues/jobs"]
)
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"[1]", b"[null]", b"[[]]", b"[{}"]
)
def test_what_is_no_array_of_jobs_is_refused(
    relay: Relay, path: str, body: bytes
) -> None:
    assert relay.ask("POST", path, body).status == 400


def test_one_array_with_a_key_twice_in_one_job_of_many_is_refused(
    relay: Relay,
) -> None:
    # Another has a colon more in its texts: the two must not make up for each other.
    good = [text(id=f'"{n}::"', payload='{"a:b":":"}') for n in range(50)]
    twice = text().replace(b"{", b'{"payload":"",', 1)

    assert (
        relay.ask("POST", "/enqueue/batch", b"[%b]" % b",".join([*good, twice])).status
        == 400
    )
    assert relay.next(10) == []


@pytest.mark.parametrize(("size", "status"), [(BATCH_MAX, 202), (BATCH_MAX + 1, 413)])
def test_rl_18_so_many_jobs_are_taken_at_once_and_no_more(
    relay: Relay, size: int, status: int
) -> None:
    one = b'{"id":"%d","queue":"q","timeout":1}'
    body = b"[%b]" % b",".join(one % n for n in range(size))

    heard = relay.ask("POST", "/enqueue/batch", body)

    assert heard.status == status
    if status == 413:
        assert told(heard)["code"] == "too_many"
        assert relay.next() == []


def test_a_thousand_jobs_of_a_usual_size_are_taken_and_given(relay: Relay) -> None:
    jobs = [job(str(n), payload={"text": "x" * 250}) for n in range(1000)]

    assert relay.batch(*jobs).status == 202

    assert [each["id"] for each in relay.next(1000)] == [each["id"] for each in jobs]


def test_a_body_of_another_kind_is_refused(relay: Relay) -> None:
    for method, path, body in (
        ("POST", "/enqueue", job()),
        ("POST", "/enqueue/batch", [job()]),
        ("PATCH", at("1"), 1),
    ):
        refused = relay.ask(method, path, body, Content_Type="text/plain")

        assert refused.status == 400
        assert told(refused)["code"] == "wrong_content_type"


def test_a_heartbeat_without_a_body_needs_no_kind(relay: Relay) -> None:
    relay.enqueue("1")
    relay.next()

    assert relay.ask("PATCH", at("1"), Content_Type="text/plain").status == 202


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v1/queues/%00/jobs",
            "/v1/queues//jobs",
            "/v1/queues/q/jobs/1/",
            "/v3/next",
        ),
        *(
            "/next/",
            "/v1/v1/next?queue=q",
            "/v1/queues/q/jobs/1/run-id/2",
        ),
        *("/v2/queues/q/jobs/1/run-id/", "/v2/next?queue=q", "/enqueue/batch/x"),
    ],
)
def test_a_strange_path_is_not_there(relay: Relay, path: str) -> None:
    assert relay.ask("GET", path).status == 404


@pytest.mark.parametrize("name", ["q/x", "q\n", "x" * 300, "\u00e9", "*"])
def test_a_strange_queue_is_not_there(relay: Relay, name: str) -> None:
    assert relay.enqueue("1", queue=name).status == 404
    assert relay.ask("POST", "/enqueue", job(queue=name), name="maker").status == 400


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc:"), inner),
    max_leaves=6,
)
jobs = st.dictionaries(
    st.sampled_from(
        ["id", "queue", "timeout", "max_retries", "payload", "state", "run_at"]
    ),
    json_values,
) | st.fixed_dictionaries(
    {"id": st.text("ab/:", min_size=1), "queue": st.just("q"), "timeout": st.just(1)},
    optional={"payload": json_values, "state": json_values, "run_at": json_values},
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs)
def test_no_json_of_wrong_types_breaks_it(relay: Relay, said: Any) -> None:
    alone = relay.ask("POST", "/enqueue", said).status
    together = relay.ask("POST", "/enqueue/batch", json.dumps([said]).encode()).status

    assert alone in {202, 400, 404, 409}
    assert together in {202, 400, 404}
    assert (alone == 400) == (together == 400)
