"""/metrics: for this machine only, complete, and documented."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from jobengine.api import problem
from jobengine.api.carried import mount
from jobengine.api.metrics import METRICS
from jobengine.telemetry import families
from jobengine.telemetry.metrics import Meter

PAGE = Path(__file__).parents[2] / "docs/reference/metrics.md"


@dataclass
class Desk:
    house: Any
    settings: Any
    meter: Meter


@pytest.fixture
def metered(new_api: Any) -> Any:
    """Makes the API of a house with a meter that listens."""

    def make(**how: Any) -> Any:
        api = new_api(**how)
        meter = Meter(routes=(), version="1", now=api.clock.now)
        meter.use_names(["q1", "q2", "hidden"], ["reader"])
        api.house.store.listen(lambda changes, now, *_: meter.commit(changes, now))
        settings = api.app.extensions["jobengine"].settings
        app = Flask(__name__, static_folder=None)
        rows = {row.name: row for row in METRICS.endpoints}
        mount(app, Desk(api.house, settings, meter), rows)  # type: ignore[arg-type]
        app.register_error_handler(
            Exception, lambda e: problem.answer(e, statuses={}, request_id="r")
        )
        return api, replace(api, app=app)

    return make


def told(answer: Any) -> dict[str, float]:
    """The lines of the page that are not of histograms, as they begin."""
    assert answer.status_code == 200, answer.text
    lines = re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(number) for name, number in lines}


def test_who_is_on_this_machine_is_told_without_a_name(metered: Any) -> None:
    _, page = metered()

    answer = page.ask("GET", "/metrics")

    assert answer.status_code == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert list(text_string_to_metric_families(answer.text))


@pytest.mark.parametrize("auth_mode", [None, "names"])
@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("192.0.2.1", {}),
        ("2001:db8::1", {}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"Via": "1.1 proxy"}),
        ("127.0.0.1", {"Host": "evil.example"}),
    ],
)
def test_nobody_else_is_told_whatever_names_are_worth(
    metered: Any, auth_mode: str | None, address: str, headers: dict[str, str]
) -> None:
    _, page = metered(auth_mode=auth_mode)

    answer = page.ask("GET", "/metrics", environ={"REMOTE_ADDR": address}, **headers)

    assert answer.status_code == 403
    assert answer.json["code"] == "forbidden"
    assert "jobengine_" not in answer.text


@pytest.mark.parametrize("auth_mode", [None, "names"])
def test_a_unix_socket_and_a_listed_host_are_this_machine(
    metered: Any, auth_mode: str | None
) -> None:
    _, page = metered(auth_mode=auth_mode, hosts=("jobs.example",))

    assert page.ask("GET", "/metrics", environ={"REMOTE_ADDR": ""}).status_code == 200
    assert page.ask("GET", "/metrics", Host="jobs.example").status_code == 200


def test_the_page_shows_how_every_queue_stands(metered: Any) -> None:
    api, page = metered()
    for priority in (60, 5, 50):
        api.made(priority=priority)
        api.clock.advance(seconds=10)
    api.next()

    seen = told(page.ask("GET", "/metrics"))

    assert seen['jobengine_jobs{queue="q1",state="queued"}'] == 2
    assert seen['jobengine_jobs{queue="q1",state="inprogress"}'] == 1
    assert seen['jobengine_jobs{queue="q2",state="queued"}'] == 0
    assert seen['jobengine_jobs{queue="hidden",state="queued"}'] == 0
    assert seen['jobengine_oldest_ready_age_seconds{queue="q1"}'] == 20
    assert 'jobengine_oldest_ready_age_seconds{queue="q2"}' not in seen


def test_the_page_counts_what_has_happened(metered: Any) -> None:
    api, page = metered()
    uid = api.made()
    api.next()
    api.update(uid, '{"status":"complete"}', caller="reader")

    seen = told(page.ask("GET", "/metrics"))

    assert seen['jobengine_jobs_enqueued_total{queue="q1"}'] == 1
    assert seen['jobengine_jobs_claimed_total{queue="q1"}'] == 1
    settled = 'jobengine_jobs_settled_total{outcome="complete",queue="q1"}'
    assert seen[settled] == 1
    assert seen['jobengine_job_run_seconds_count{queue="q1"}'] == 1


def test_more_queues_than_one_look_takes_in_are_all_there(
    metered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobengine.api.metrics.SLICE_QUEUES", 1)
    api, page = metered()
    api.made()

    seen = told(page.ask("GET", "/metrics"))

    queues = {re.search('queue="([^"]*)"', name)[1] for name in seen if "state" in name}
    assert queues == {"q1", "q2", "hidden"}


# --- documented -------------------------------------------------------------------


def documented() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name, type and labels, as the page has them."""
    rows = re.findall(
        r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([\w, ]*)\|",
        PAGE.read_text(),
        re.MULTILINE,
    )
    for name, kind, labels in rows:
        yield name, kind, tuple(labels.replace(" ", "").split(",")) if labels else ()


def test_every_metric_is_documented_and_every_documented_one_is_there(
    metered: Any,
) -> None:
    text = metered()[1].ask("GET", "/metrics").text
    there = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)

    assert sorted((name, kind) for name, kind, _ in documented()) == sorted(there)


def test_the_labels_are_documented() -> None:
    labels = {name: labels for name, _, labels in documented()}

    for family in families.FAMILIES:
        assert labels[family.name] == family.labels


def test_every_outcome_is_documented() -> None:
    text = PAGE.read_text()

    for family, events in families.COUNTED.items():
        (row,) = re.findall(rf"^\| `{family.name}`.*$", text, re.MULTILINE)
        for outcome in events.values():
            assert all(f"`{word}`" in row for word in outcome)
