"""What was tried against the native API, and must not work again."""

from collections.abc import Iterator
from typing import Any

import pytest
from carriers import CARRIERS
from msgspec.structs import replace
from native import QUEUES, Native, at, speaking, told

from jobengine.api import etags
from jobengine.api.etags import etag_of
from jobengine.api.v2_jobs import render
from jobengine.core.job import INSTANT_MAX
from jobengine.core.queues import Rulebook

ENDLESS: dict[str, Any] = {
    "lease_ms": INSTANT_MAX,
    "keep_ms": INSTANT_MAX,
    "dead_keep_ms": INSTANT_MAX,
}


@pytest.fixture(params=CARRIERS)
def api(request: pytest.FixtureRequest) -> Iterator[Native]:
    with speaking(request.param) as found:
        yield found


def test_no_job_can_be_made_that_nobody_can_be_shown(api: Native) -> None:
    api.made(**ENDLESS)
    api.made()

    held, other = api.claim("?max=2")
    done = api.verb(held["uid"], "complete")
    failed = api.enqueue(**ENDLESS)
    api.claim()
    dead = api.verb(told(failed)["uid"], "fail", {"kind": "critical"})

    assert held["lease"]["until"] == "9999-12-31T23:59:59.999Z"
    assert told(done)["keep_until"] == told(dead)["keep_until"]
    assert told(done)["keep_until"] == "9999-12-31T23:59:59.999Z"
    shown = [job["uid"] for job in api.list()["jobs"]]
    assert {held["uid"], other["uid"]} < set(shown)


@pytest.mark.parametrize(
    ("writers", "status"), [(frozenset(), 403), (None, 404)], ids=["reader", "stranger"]
)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/batch", "/jobs/batch?atomic=true"])
def test_what_was_answered_is_not_told_to_who_may_ask_no_more(
    api: Native, path: str, writers: frozenset[str] | None, status: int
) -> None:
    body = [{"content": 1}] if "batch" in path else {"content": 1}
    first = api.ask("POST", at() + path, body, name="shop", Idempotency_Key="k")
    assert first.status in {200, 201}
    taken = QUEUES["q"]
    reads = taken.read | {"shop"} if writers is not None else taken.read
    rules = replace(taken, write=frozenset(), read=reads)
    api.house.upkeep.reconfigure(Rulebook({"q": rules}))

    again = api.ask("POST", at() + path, body, name="shop", Idempotency_Key="k")

    assert again.status == status
    assert "idempotency-replayed" not in again.headers


def test_a_version_does_not_tell_a_browser_what_the_content_is(
    api: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = api.made({"pin": 4711})

    seen = api.get(uid, name="browser")

    assert "content" not in told(seen)
    with api.house.store.transaction() as tx:
        row = tx.get("q", uid)
    assert row is not None
    shown = render(row, api.house.engine.rules.queues["q"])
    assert etag_of(shown, row.content) == seen.headers["etag"]
    # Else whoever knows the rest of the row could try out contents, by this very file.
    monkeypatch.setattr(etags, "_KEY", b"")
    assert etag_of(shown, row.content) != seen.headers["etag"]
