"""What a program may well get wrong the first time, and what it is told then."""

import logging
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from daemons import free_port
from faulty import JOB, Faulty, answer, problem, says

from jobengine.client.call import ROOT
from jobengine.client.jobs import NewJob
from jobengine.client.retry import Retry
from jobengine.errors import ConfigError, InvalidJob, Refused, Unreachable

# Nobody is asked.
NOWHERE = "http://127.0.0.1:1"
NO_NAME = problem(400, "bad_header")


@pytest.mark.parametrize("url", [None, "localhost:6010", b"http://localhost"])
def test_a_url_that_is_none_is_shown(connect: Any, url: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        connect(url)

    assert repr(url) in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://ada:s3cret@host", "http://host/?key=s3cret"])
def test_a_url_that_may_have_a_secret_in_it_is_not_shown(
    connect: Any, url: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        connect(url)

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("timeout", [0, -1])
def test_no_time_to_answer_is_refused(connect: Any, timeout: float) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        connect(NOWHERE, timeout=timeout)


def test_a_name_that_is_no_text_is_refused(connect: Any) -> None:
    with pytest.raises(ConfigError, match="name"):
        connect(NOWHERE, name=b"shop")


def test_who_has_forgotten_a_name_learns_where_to_say_it(connect: Any) -> None:
    with Faulty([says(NO_NAME)]) as server:
        client = connect(server.url)

        with pytest.raises(Refused, match=r"so it is: .*JOBENGINE_NAME"):
            client.peek("mail")


def test_who_has_a_name_is_told_what_the_daemon_said(connect: Any) -> None:
    with Faulty([says(NO_NAME)]) as server:
        client = connect(server.url, name="shop")

        with pytest.raises(Refused) as refused:
            client.peek("mail")

    assert "JOBENGINE_NAME" not in str(refused.value)


def test_who_waits_for_a_daemon_that_is_not_there_is_told_once(
    connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    retry = Retry(total_s=0.05, first_s=0.001, most_s=0.001)
    client = connect(f"http://127.0.0.1:{free_port()}", name="shop", retry=retry)

    with caplog.at_level(logging.WARNING), pytest.raises(Unreachable):
        client.peek("mail")

    [record] = caplog.records
    assert record.name == "jobengine.client"
    assert "refused" in record.getMessage()


@pytest.mark.parametrize("queue", [None, 5, {"to": "ada"}])
def test_what_is_no_name_of_a_queue_is_not_sent(connect: Any, queue: Any) -> None:
    client = connect(NOWHERE, name="shop", retry=None)

    with pytest.raises(TypeError, match="the queue comes first") as refused:
        client.enqueue(queue, 1)

    assert "ada" not in str(refused.value)


def test_an_empty_name_is_not_sent(connect: Any) -> None:
    client = connect(NOWHERE, name="shop", retry=None)

    with pytest.raises(ValueError, match="no name of a queue"):
        client.enqueue("", 1)


@pytest.mark.parametrize("jobs", ["abc", b"abc", {"to": "ada"}])
def test_one_content_is_not_taken_for_many(connect: Any, jobs: Any) -> None:
    client = connect(NOWHERE, name="shop", retry=None)

    with pytest.raises(TypeError, match="must be a list"):
        client.enqueue_many("mail", jobs)
    with pytest.raises(TypeError, match="must be a list"):
        client.create_queue("mail", read=jobs)


def test_a_new_job_is_no_content(connect: Any) -> None:
    client = connect(NOWHERE, name="shop", retry=None)

    with pytest.raises(TypeError, match="enqueue_many"):
        client.enqueue("mail", NewJob(1, priority=90))


def test_seconds_are_no_back_off(connect: Any) -> None:
    client = connect(NOWHERE, name="shop", retry=None)

    with pytest.raises(InvalidJob, match="constant"):
        client.enqueue("mail", 1, backoff=5)


def test_only_a_job_can_be_settled(connect: Any) -> None:
    client = connect(NOWHERE, name="shop", retry=None)
    handle = client.handle("mail", "u-1")

    with pytest.raises(TypeError, match="a Job that was claimed"):
        client.complete(handle)


def test_an_error_is_text(connect: Any) -> None:
    with Faulty([says(answer(200, JOB))]) as server:
        client = connect(server.url, name="mailer")
        job = client.get("mail", "u-1")

        with pytest.raises(TypeError, match="must be text, not ValueError"):
            client.fail(job, error=ValueError("no"))


def test_a_timeout_may_be_a_timedelta(connect: Any) -> None:
    ended = JOB.replace(b"queued", b"complete").replace(b"}", b',"result":5}')
    with Faulty([says(answer(200, ended))]) as server:
        client = connect(server.url, name="shop")

        found = client.handle("mail", "u-1").result(timedelta(seconds=2))

    assert found == 5
    target = f"GET {ROOT}/queues/mail/jobs/u-1?wait=2 "
    assert server.requests[0].startswith(target.encode())


def test_an_awaiting_client_says_what_it_needs() -> None:
    look = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "try:\n"
        "    from jobengine import AsyncClient\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)"
    )

    found = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True
    )

    assert "pip install 'jobengine[async]'" in found.stdout
