"""What a program says, as the wire has it: pure."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from jobengine.client import backoff, verbs_work
from jobengine.client.bodies import (
    PART_BYTES_MAX,
    PART_MAX,
    any_new_job,
    array,
    filter_members,
    filter_query,
    json_of,
    new_job,
    parts,
)
from jobengine.client.jobs import Completion, JobOptions, NewJob
from jobengine.client.spans import instant_of, ms_of
from jobengine.errors import InvalidJob

AT = datetime(2026, 11, 22, 12, 0, 0, 123_456, timezone(timedelta(hours=1)))
ALL: JobOptions = {
    "priority": 7,
    "run_at": AT,
    "expires_at": AT,
    "unique_key": "k",
    "fingerprint": "f",
    "progress": {"page": 1},
    "max_attempts": None,
    "lease": 1.5,
    "keep": timedelta(minutes=1),
    "dead_keep": 0,
    "poison_after": None,
    "backoff": backoff.linear(2),
    "durable": False,
}
TOLD = {
    "content": {"to": "ada"},
    "priority": 7,
    "run_at": "2026-11-22T11:00:00.123Z",
    "expires_at": "2026-11-22T11:00:00.123Z",
    "unique_key": "k",
    "fingerprint": "f",
    "progress": {"page": 1},
    "max_attempts": None,
    "lease_ms": 1500,
    "keep_ms": 60_000,
    "dead_keep_ms": 0,
    "poison_after": None,
    "backoff": {
        "kind": "linear",
        "base_ms": 2000,
        "factor": 2.0,
        "max_ms": 3_600_000,
        "delays_ms": [],
        "jitter": 0.0,
    },
    "durable": False,
}


def test_options_and_a_new_job_say_the_same() -> None:
    said = new_job({"to": "ada"}, ALL)
    same = any_new_job(NewJob({"to": "ada"}, **ALL), "mail")

    assert json.loads(said) == json.loads(same) == TOLD


def test_delays_are_from_now_on() -> None:
    said = json.loads(new_job(1, {"delay": 90, "valid_for": timedelta(hours=1)}))

    assert said == {"content": 1, "delay_ms": 90_000, "valid_for_ms": 3_600_000}


def test_what_is_left_out_is_the_queues() -> None:
    assert any_new_job(NewJob(None), "mail") == b'{"content":null}'
    assert any_new_job([1], "mail") == b'{"content":[1]}'
    assert new_job(1, {"run_at": None, "unique_key": None}) == b'{"content":1}'


def test_an_option_that_nobody_knows_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'prio'.*priority"):
        new_job(1, {"prio": 5})


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidJob, match="run_at: must have a time zone"):
        new_job(1, {"run_at": datetime(2026, 1, 1)})  # noqa: DTZ001 that is the point


@pytest.mark.parametrize("wrong", ["soon", float("nan"), float("inf"), None])
def test_a_duration_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidJob, match="lease: must be seconds"):
        ms_of("lease", wrong)


@pytest.mark.parametrize("wrong", ["2026-01-01", 5, None])
def test_an_instant_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidJob, match="run_at: must be a datetime"):
        instant_of("run_at", wrong)


def test_what_is_not_json_is_refused_without_a_word_of_it() -> None:
    loop: list[Any] = []
    loop.append(loop)

    for wrong in (object(), "secret \ud800", loop, {(1, 2): "secret"}, 1j):
        with pytest.raises(InvalidJob) as caught:
            new_job(wrong, {})
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.errors[0][0] == "content"


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_has_not_is_refused_and_does_not_become_null(
    wrong: float,
) -> None:
    with pytest.raises(InvalidJob, match="finite"):
        new_job({"deep": [None, (wrong,)]}, {})

    with pytest.raises(InvalidJob, match="finite"):
        json_of("result", Completion("u-1", result=[wrong]))

    assert json_of("result", Completion("u-1", result=None))
    assert new_job({"deep": [None, AT]}, {}).startswith(b'{"content":{"deep":[null,')


def test_a_batch_is_of_one_queue() -> None:
    with pytest.raises(InvalidJob, match="queue"):
        any_new_job(NewJob(1, queue="other"), "mail")

    assert any_new_job(NewJob(1, queue="mail"), "mail") == b'{"content":1}'


@given(some.lists(some.integers(0, 2 * PART_BYTES_MAX), max_size=20))
def test_parts_hold_all_in_order_and_each_fits_a_request(sizes: list[int]) -> None:
    def encode(size: int) -> bytes:
        return b"1" * (size + 1)

    found = list(parts(sizes, encode))

    assert [size for items, _ in found for size in items] == sizes
    for items, body in found:
        assert body == array([encode(size) for size in items])
        assert len(items) == 1 or len(body) <= PART_BYTES_MAX + 1


def test_a_part_has_so_many_elements_at_most() -> None:
    counts = [len(items) for items, _ in parts(range(2 * PART_MAX + 1), _one)]

    assert counts == [PART_MAX, PART_MAX, 1]


def _one(_: int) -> bytes:
    return b"1"


def test_a_filter_in_a_query_and_in_a_body() -> None:
    which: Any = {"state": ["failed", "cancelled"], "dead": True, "attempts_min": 1}

    query = dict(filter_query(which | {"created_after": AT}))
    body = filter_members({"state": "failed", "created_after": AT, "dead": False})

    assert query == {
        "state": "failed,cancelled",
        "dead": "true",
        "attempts_min": "1",
        "created_after": "2026-11-22T11:00:00.123Z",
    }
    assert body == {
        "state": ["failed"],
        "created_after": "2026-11-22T11:00:00.123Z",
        "dead": False,
    }


def test_back_offs_in_seconds() -> None:
    assert backoff.constant(5).base_ms == 5000
    assert backoff.constant(timedelta(hours=2)).max_ms == 7_200_000
    assert backoff.linear(1, most=10).max_ms == 10_000
    assert backoff.exponential(1, factor=3, jitter=0).factor == 3
    assert backoff.delays([1, 2.5]).delays_ms == (1000, 2500)
    with pytest.raises(InvalidJob):
        backoff.constant(-1)
    with pytest.raises(InvalidJob):
        backoff.delays([])


def test_what_went_wrong_is_cut_and_made_unicode() -> None:
    told = verbs_work.plain("\udcff" + "x" * 2000)

    assert told == "?" + "x" * 999


@given(some.datetimes(timezones=some.just(UTC)))
def test_instants_lose_no_more_than_parts_of_a_millisecond(at: datetime) -> None:
    told = datetime.fromisoformat(instant_of("run_at", at))

    assert timedelta(0) <= at - told < timedelta(milliseconds=1)
