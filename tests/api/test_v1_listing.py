"""GET /jobs: places, filters, streaming, and how many at a time."""

import json
from typing import Any

import pytest


def test_an_empty_queue_lists_as_no_content(api: Any) -> None:
    answer = api.list()

    assert (answer.status_code, answer.data) == (204, b"")


def test_a_list_has_every_job_under_its_place(api: Any) -> None:
    uids = [api.made(priority=p) for p in (10, 90, 10)]

    jobs = api.list().json

    assert list(jobs) == ["0", "1", "2"]
    assert [job["uid"] for job in jobs.values()] == [uids[1], uids[0], uids[2]]


def test_a_filter_keeps_the_places_and_leaves_gaps(api: Any) -> None:
    uids = [api.made() for _ in range(6)]
    for at in (0, 3, 4):
        api.update(uids[at], '{"status":"complete"}')

    queued = api.list(X_Status_Filter="queued").json
    complete = api.list(X_Status_Filter="complete").json

    assert list(queued) == ["1", "2", "5"]
    assert list(complete) == ["0", "3", "4"]
    assert api.list(X_Status_Filter="failed").status_code == 204
    assert list(api.list(X_Status_Filter="").json) == list("012345")


@pytest.mark.parametrize("word", ["QUEUED", "cancelled", "all", "queued,failed"])
def test_an_unknown_filter_is_refused(api: Any, word: str) -> None:
    assert api.list(X_Status_Filter=word).status_code == 400


def test_listing_changes_nothing(api: Any) -> None:
    uid = api.made()
    before = api.list().data
    api.clock.advance(seconds=5)

    assert api.list().data == before
    assert api.next().json["uid"] == uid


def test_many_jobs_and_large_ones_come_whole(api: Any) -> None:
    contents = [{"n": n, "pad": "x" * (n % 7) * 10_000} for n in range(300)]
    for content in contents:
        api.made(json.dumps(content))
    for _ in range(1500):
        api.made(priority=1)

    answer = api.list()

    jobs = json.loads(answer.data)
    assert list(jobs) == [str(place) for place in range(1800)]
    assert [job["content"] for job in jobs.values()][:300] == contents


def test_a_list_comes_in_pieces(api: Any) -> None:
    for _ in range(20):
        api.made(json.dumps({"pad": "x" * 20_000}))

    answer = api.list(buffered=False)

    pieces = list(answer.response)
    assert len(pieces) > 4
    assert max(map(len, pieces)) < 100_000
    assert len(json.loads(b"".join(pieces))) == 20
    answer.close()


def test_two_lists_at_a_time_and_no_third(api: Any) -> None:
    api.made()
    first, second = api.list(buffered=False), api.list(buffered=False)

    third = api.list()

    assert third.status_code == 429
    assert third.headers["Retry-After"] == "1"
    assert third.json["code"] == "overloaded"
    assert json.loads(first.data)
    assert api.list(buffered=False).status_code == 429  # read, but not yet let go
    first.close()
    assert api.list().status_code == 200
    second.close()


def test_a_client_that_went_away_gives_its_place_back(api: Any) -> None:
    api.made()

    for _ in range(5):
        api.list(buffered=False).close()

    assert api.list().status_code == 200


def test_refused_and_empty_lists_take_no_place(api: Any) -> None:
    for _ in range(5):
        assert api.list("stranger", buffered=False).status_code == 404
        assert api.list(buffered=False).status_code == 204

    api.made()
    assert api.list().status_code == 200


def test_a_list_is_of_the_instant_it_was_asked_at(api: Any) -> None:
    uid = api.made()
    answer = api.list(buffered=False)

    api.delete(uid)

    assert [job["uid"] for job in json.loads(answer.data).values()] == [uid]
    answer.close()
