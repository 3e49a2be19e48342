"""Every refusal is a problem that says what, which and what would help (D14)."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobengine import errors
from jobengine.api.app import ENDPOINTS
from jobengine.api.problem import STATUS, answer
from jobengine.api.v1 import V1

NEEDLE = "in the" + " payload"


def every_error(kind: type = errors.JobEngineError) -> list[type]:
    return [kind] + [each for sub in kind.__subclasses__() for each in every_error(sub)]


def test_a_problem_has_the_members_of_rfc_9457(api: Any) -> None:
    refused = api.next("stranger")

    assert refused.content_type == "application/problem+json"
    assert refused.json == {
        "type": "/problems/queue-not-found",
        "title": "Queue not found",
        "status": 404,
        "detail": refused.json["detail"],
        "instance": refused.headers["X-Request-Id"],
        "code": "queue_not_found",
    }
    assert "q1" in refused.json["detail"]


def test_every_answer_has_an_id_of_its_own_and_is_for_nobody_else(api: Any) -> None:
    answers = [
        api.create(),
        api.next(),
        api.list(),
        api.create("{"),
        api.ask("GET", "/nowhere"),
        api.ask("GET", "/livez"),
        api.ask("PUT", "/livez"),
        api.create("x" * (2 << 20)),
    ]

    assert len({each.headers["X-Request-Id"] for each in answers}) == len(answers)
    for each in answers:
        assert each.headers["X-Content-Type-Options"] == "nosniff"
        assert each.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/v1/jobs", {"GET", "HEAD"}),
        ("OPTIONS", "/api/v1/jobs", {"GET", "HEAD"}),
        ("GET", "/api/v1/jobs/some-uid", {"POST", "DELETE"}),
        ("HEAD", "/api/v1/jobs/next", {"GET", "POST", "DELETE"}),
        ("PATCH", "/api/v1/jobs/create", {"PUT", "POST", "DELETE"}),
        ("POST", "/readyz", {"GET", "HEAD"}),
    ],
)
def test_a_known_path_says_what_it_allows(
    api: Any, method: str, path: str, allow: set[str]
) -> None:
    refused = api.ask(method, path, "both", "q1")

    assert refused.status_code == 405
    assert set(refused.headers["Allow"].split(", ")) == allow


def test_a_head_takes_no_job(api: Any) -> None:
    uid = api.made()

    assert api.ask("HEAD", "/api/v1/jobs/next", "reader", "q1").status_code == 405
    assert api.next().json["uid"] == uid


def test_a_head_of_a_list_gives_its_place_back(api: Any) -> None:
    api.made()

    for _ in range(5):
        headed = api.ask("HEAD", "/api/v1/jobs", "reader", "q1")
        assert (headed.status_code, headed.data) == (200, b"")


@pytest.mark.parametrize(
    "path", ["/", "/api/v1", "/api/v1/jobs/", "/api/v1/test/", "//api/v1/test", "/%00"]
)
def test_an_unknown_path_is_a_404_and_never_a_redirect(api: Any, path: str) -> None:
    refused = api.ask("GET", path)

    assert refused.status_code == 404
    assert refused.json["code"] == "not_found"


def test_unknown_queries_do_no_harm(api: Any) -> None:
    assert api.ask("GET", "/api/v1/test?a=1&a=2&%ff").status_code == 200


def test_a_failed_store_asks_to_try_again(api: Any) -> None:
    refused = answer(
        errors.StoreFailed("the sync failed"), statuses=V1.statuses, request_id="r"
    )

    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json["code"] == "storage_failed"


def test_our_own_faults_tell_the_client_an_id_and_the_log_no_payload(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError(NEEDLE)

    monkeypatch.setattr(api.house.engine, "claim", broken)

    with capture_logs() as logs:
        failed = api.next()

    assert failed.status_code == 500
    assert failed.json["code"] == "internal_error"
    assert NEEDLE not in failed.text
    (line,) = logs
    assert line["request_id"] == failed.json["instance"]
    assert line["error"] == "ValueError"
    assert any("broken" in where for where in line["where"])
    assert NEEDLE not in json.dumps(line)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(kind: type[errors.JobEngineError]) -> None:
    error = (
        kind(("field", "what")) if issubclass(kind, errors.InvalidJob) else kind("why")
    )

    status = answer(error, statuses=STATUS, request_id="r").status_code

    refused, unavailable = isinstance(error, errors.Refused), status in (429, 503, 507)
    assert (400 <= status < 500) if refused else (unavailable or status == 500)
    assert isinstance(error, errors.Unavailable) == unavailable


def test_every_endpoint_says_what_it_is_for() -> None:
    assert all(
        row.summary.endswith(".") or ":" in row.summary for row in ENDPOINTS.values()
    )
    assert {row.statuses[0] for row in ENDPOINTS.values()} == {200, 201, 202, 204}
