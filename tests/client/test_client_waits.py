"""What takes more than one request, or comes in an odd shape: asked of a server that
does as it is told.
"""

from typing import Any

import pytest
from faulty import JOB, Faulty, answer, problem, says

from jobengine.client import aio, hearing, verbs_jobs
from jobengine.client.bodies import PART_MAX
from jobengine.errors import BadAnswer, InvalidJob

SHOWN = answer(200, JOB)
DONE = answer(200, JOB.replace(b'"queued"', b'"complete"'))


def test_a_daemon_that_lets_nobody_wait_is_asked_now_and_then(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs_jobs, "LOOK_S", 0.001)
    with Faulty([says(SHOWN, SHOWN, DONE)]) as server:
        client = connect(server.url, name="shop", retry=None)

        job = client.wait("mail", "u-1")

    assert job.state == "complete"
    assert [b"?wait=30 " in each for each in server.requests] == [True] * 3


def test_who_has_no_time_to_wait_looks_once(connect: Any) -> None:
    with Faulty([says(SHOWN)]) as server:
        client = connect(server.url, name="shop", retry=None)

        job = client.wait("mail", "u-1", timeout=0)

    assert job is None
    assert [b"wait=" in each for each in server.requests] == [False]


def test_a_handle_has_its_job_start_anew(connect: Any) -> None:
    with Faulty([says(SHOWN)]) as server:
        client = connect(server.url, name="shop", retry=None)

        job = client.handle("mail", "u-1").retry()

    assert job.uid == "u-1"
    assert server.requests[0].startswith(
        b"POST /api/v2/queues/mail/jobs/u-1/retry HTTP"
    )


def test_all_jobs_with_a_fingerprint_are_cancelled_however_many_requests_it_takes(
    connect: Any,
) -> None:
    some = answer(200, b'{"cancelled":1000,"more":true}')
    rest = answer(200, b'{"cancelled":7,"more":false}')
    with Faulty([says(some, some, rest)]) as server:
        client = connect(server.url, name="shop", retry=None)

        count = client.cancel_all("mail", "ada")

    assert count == 2007
    assert len(server.requests) == 3


def test_a_job_of_many_that_is_refused_without_a_reason_says_so(connect: Any) -> None:
    made = b'{"results":[{"status":201,"uid":"u-1"},{"status":400}]}'
    with Faulty([says(answer(207, made))]) as server:
        client = connect(server.url, name="shop", retry=None)

        first, second = client.enqueue_many("mail", [1, 2])

    assert first.uid == "u-1"
    assert isinstance(second, BadAnswer)


def test_an_answer_that_is_far_too_long_is_not_read(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (hearing, aio):
        monkeypatch.setattr(module, "ANSWER_BYTES_MAX", len(JOB) - 1)
    with Faulty([says(SHOWN)]) as server:
        client = connect(server.url, name="shop", retry=None)

        with pytest.raises(BadAnswer, match="answers with more than"):
            client.get("mail", "u-1")


def test_a_job_that_cannot_be_said_is_found_before_any_is_queued(connect: Any) -> None:
    with Faulty([says(SHOWN)]) as server:
        client = connect(server.url, name="shop", retry=None)

        with pytest.raises(InvalidJob):
            client.enqueue_many("mail", [*range(2 * PART_MAX), object()])

    assert server.requests == []


def test_what_is_queued_is_told_whatever_becomes_of_the_rest(connect: Any) -> None:
    made = b",".join([b'{"status":201,"uid":"u"}'] * PART_MAX)
    first = answer(207, b'{"results":[%b]}' % made)
    with Faulty([says(first, problem(500, "internal_error"))]) as server:
        client = connect(server.url, name="shop", retry=None)

        found = client.enqueue_many("mail", range(PART_MAX + 2))

    assert [each.uid for each in found[:PART_MAX]] == ["u"] * PART_MAX
    assert [each.code for each in found[PART_MAX:]] == ["internal_error"] * 2
