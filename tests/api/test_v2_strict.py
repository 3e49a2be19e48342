"""What looks as if it were heeded and is not: refused, by either carrier alike."""

from collections.abc import Iterator
from typing import Any

import pytest
from carriers import CARRIERS
from native import Native, at, code, speaking, told

from jobengine.api.app import ENDPOINTS
from jobengine.api.endpoint import Endpoint

BARE = [
    row
    for row in ENDPOINTS.values()
    if row.dialect.name == "v2"
    and row.doc is not None
    and not any(each.place == "query" for each in row.doc.parameters)
]


@pytest.fixture(params=CARRIERS)
def api(request: pytest.FixtureRequest) -> Iterator[Native]:
    with speaking(request.param) as found:
        yield found


@pytest.mark.parametrize("row", BARE, ids=lambda row: row.name)
def test_a_query_is_refused_where_none_is_known(api: Native, row: Endpoint) -> None:
    path = row.path.removeprefix("/api/v2").format(queue="q", uid="x", schedule="s")
    body: Any = None if row.form is None else {}

    refused = api.ask(row.method, f"{path}?dry_run=true", body)

    assert (refused.status, code(refused)) == (400, "bad_query")


def test_a_dry_run_in_the_query_deletes_nothing(api: Native) -> None:
    uid = api.made()

    refused = api.ask("POST", f"{at()}/jobs/bulk/delete?dry_run=true")

    assert refused.status == 400
    assert api.get(uid).status == 200


@pytest.mark.parametrize("verb", ["replay", "purge"])
def test_no_dead_letter_is_none(api: Native, verb: str) -> None:
    uid = api.dead()
    body: Any = {"queue": "q", "filter": {"dead": False}}
    if verb == "replay":
        del body["queue"]

    heard = api.ask("POST", f"{at()}/dead-letters/{verb}", body)

    assert told(heard)["matched"] == told(heard)["changed"] == 0
    assert told(api.get(uid))["state"] == "failed"


BODILESS = [
    row for row in ENDPOINTS.values() if row.dialect.name == "v2" and row.bodiless
]


@pytest.mark.parametrize("row", BODILESS, ids=lambda row: row.name)
def test_a_body_is_refused_where_none_is_read(api: Native, row: Endpoint) -> None:
    path = row.path.removeprefix("/api/v2").format(queue="q", uid="x", schedule="s")

    refused = api.ask(row.method, path, {"max": 2})

    assert (refused.status, code(refused)) == (400, "unwanted_body")


def test_an_empty_object_is_no_body_to_speak_of(api: Native) -> None:
    uid = api.made()

    assert api.ask("POST", f"{at()}/jobs/{uid}/cancel", {}).status == 200
