"""Files of JobEngine before this format: both eras, every job as it stood."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jobengine.core.job import Job, State, Terms
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.errors import StoreCorrupt, WrongSecret
from jobengine.store.legacy import Legacy, read_legacy

GOLDEN = Path(__file__).parent / "golden"
SECRET = b"hello_world"
RULES = Rulebook({"q": QueueRules("q", lease_ms=5000, keep_ms=7000)})
UID = "9d4b43b6-d708-4000-81ba-5d65db56e8ba"


def golden(name: str) -> Legacy:
    return read_legacy((GOLDEN / name).read_bytes(), SECRET, RULES)


def sealed(text: str | bytes, secret: bytes = SECRET) -> bytes:
    text = text if isinstance(text, bytes) else text.encode()
    key = hashlib.md5(secret).hexdigest().encode()
    return bytes(12) + AESGCM(key).encrypt(bytes(12), text, None)


def old_job(**fields: Any) -> dict[str, Any]:
    job = {
        "uid": UID,
        "content": {},
        "state": "queued",
        "priority": 50,
        "created": 1000,
        "last_updated": 1000,
        "timeout_time": 2000,
    }
    return job | fields


def era1(*jobs: dict[str, Any], queue: str = "q") -> bytes:
    lists = {"read": [], "write": []}
    held = {
        "jobs": {str(place): each for place, each in enumerate(jobs)},
        "name": queue,
        "permissions": lists,
        "size": len(jobs) % 256,
    }
    return sealed(json.dumps({queue: held}))


def era2(*jobs: dict[str, Any]) -> bytes:
    held = {"jobs": list(jobs), "access_key": "00", "size": len(jobs), "name": "q"}
    return sealed(json.dumps({"queues": {"q": held}}))


def read(data: bytes) -> Legacy:
    return read_legacy(data, SECRET, RULES)


def uid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def only(legacy: Legacy) -> Job:
    (job,) = legacy.jobs
    return job


def test_the_golden_file_of_era_1_has_every_job_as_it_stood() -> None:
    found = golden("legacy-era1.queuedb")

    assert (found.era, found.queues, found.clamped) == (1, ("q1", "q2"), 0)
    assert [
        (job.uid[:8], job.queue, job.seq, job.priority, job.state, job.content)
        for job in found.jobs
    ] == [
        ("9d4b43b6", "q1", 0, 30, State.INPROGRESS, b'{"n":3}'),
        ("bf2fd753", "q1", 1, 20, State.QUEUED, b'{"n":2}'),
        ("092432db", "q1", 2, 10, State.QUEUED, b'{"n":1}'),
    ]
    for job in found.jobs:
        assert (job.created_at, job.updated_at) == (1795304937000, 1795304937000)
        assert (job.run_at, job.expires_at) == (1795304937000, 2110664937999)


def test_the_golden_file_of_era_2_has_its_job_with_its_own_times() -> None:
    found = golden("legacy-era2.jedb")

    job = only(found)
    assert (found.era, found.queues) == (2, ("q",))
    assert (job.uid[:8], job.priority, job.state) == ("e8c2fc7e", 50, State.QUEUED)
    assert (job.content, job.created_at) == (b'{"foo":"bar"}', 1795304938000)
    assert job.expires_at is None
    assert job.terms == Terms(max_attempts=1, lease_ms=1_200_000, keep_ms=3_600_000)


@pytest.mark.parametrize("secret", [b"", b"hello_worl", b"hello_world\n"])
def test_another_secret_opens_nothing(secret: bytes) -> None:
    data = (GOLDEN / "legacy-era1.queuedb").read_bytes()

    with pytest.raises(WrongSecret, match="LEGACY_SECRET"):
        read_legacy(data, secret, RULES)


@pytest.mark.parametrize("data", [b"", b"short", bytes(500)])
def test_what_is_no_legacy_file_does_not_open(data: bytes) -> None:
    with pytest.raises(WrongSecret):
        read(data)


@pytest.mark.parametrize("at", [0, 12, 200, -1])
def test_a_damaged_legacy_file_does_not_open(at: int) -> None:
    data = bytearray((GOLDEN / "legacy-era1.queuedb").read_bytes())
    data[at] ^= 1

    with pytest.raises(WrongSecret):
        read(bytes(data))


def test_a_job_in_progress_keeps_what_is_left_of_its_time_under_no_name() -> None:
    old = old_job(state="inprogress", last_updated=3000)

    job = only(read(era1(old)))

    assert job.lease is not None
    assert (job.lease.holder, job.lease.until, job.attempt) == ("", 3_005_000, 1)
    assert job.lease.token != only(read(era1(old))).lease.token  # type: ignore[union-attr]


@pytest.mark.parametrize("state", ["complete", "failed"])
def test_a_finished_job_is_kept_from_when_it_finished(state: str) -> None:
    job = only(read(era1(old_job(state=state, last_updated=3000))))

    assert job.state.name.lower() == state
    assert (job.finished_at, job.keep_until) == (3_000_000, 3_007_000)


def test_the_times_of_an_era_2_job_are_its_own_and_0_is_the_queues() -> None:
    own = only(
        read(era2(old_job(state="inprogress", timeout_minutes=2, keep_minutes=3)))
    )
    none = only(
        read(era2(old_job(state="complete", timeout_minutes=0, keep_minutes=0)))
    )

    assert own.terms == Terms(max_attempts=1, lease_ms=120_000, keep_ms=180_000)
    assert own.lease is not None
    assert own.lease.until == 1_120_000
    assert none.terms == Terms(max_attempts=1)
    assert none.keep_until == 1_007_000


@pytest.mark.parametrize(
    ("priority", "kept"), [(0, 1), (1, 1), (100, 100), (255, 100), (-5, 1)]
)
def test_a_priority_that_is_none_becomes_the_nearest_one(
    priority: int, kept: int
) -> None:
    found = read(era1(old_job(priority=priority)))

    assert only(found).priority == kept
    assert found.clamped == (priority != kept)


@pytest.mark.parametrize(
    ("timeout_time", "expires_at"),
    [(2000, 2_000_999), (0, None), (-3, 999), (10**15, 253_402_300_799_999)],
)
def test_an_expiry_lasts_to_the_end_of_its_second_and_0_is_never(
    timeout_time: int, expires_at: int | None
) -> None:
    job = only(read(era2(old_job(timeout_time=timeout_time))))

    assert job.expires_at == expires_at


def test_content_is_taken_byte_for_byte() -> None:
    content = '{ "big": 9007199254740993, "a": 1e+30, "\\u003c": "\\u003c", "é":[1 ]}'
    text = json.dumps({"q": {"jobs": {"0": old_job(content="@")}, "permissions": {}}})

    job = only(read(sealed(text.replace('"@"', content))))

    assert job.content == content.encode()


def test_jobs_come_in_the_order_of_creation_then_of_their_places() -> None:
    # Places are the keys of an object, and there "10" comes before "2".
    jobs = [old_job(uid=uid(place), created=2000) for place in range(12)]
    jobs[7]["created"] = 1000

    found = read(era1(*jobs))

    order = [7, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert [job.uid for job in found.jobs] == [uid(place) for place in order]
    assert [job.seq for job in found.jobs] == list(range(12))


def test_JE1_B2_more_than_255_jobs_are_all_there() -> None:
    found = read(era1(*(old_job(uid=uid(place)) for place in range(300))))

    assert len(found.jobs) == 300


def test_a_queue_of_era_1_may_be_called_queues() -> None:
    found = read(era1(old_job(), queue="queues"))

    assert (found.era, only(found).queue) == (1, "queues")


@pytest.mark.parametrize("empty", ["null", "[]"])
def test_an_empty_queue_of_era_2_is_a_queue(empty: str) -> None:
    text = '{"queues":{"q":{"jobs":%s,"access_key":"","size":0,"name":"q"}}}'

    found = read(sealed(text % empty))

    assert (found.era, found.queues, found.jobs) == (2, ("q",), [])


def test_an_empty_file_of_era_1_has_no_queue() -> None:
    assert read(sealed("{}")) == Legacy(1, (), [], 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"q": 1}',
        '{"queues": 1}',
        b'{"q": {"jobs": {}, "permissions": "\xff"}}',
        '{"q": {"permissions": ' + "[" * 5000 + "]" * 5000 + ', "jobs": {}}}',
    ],
)
def test_what_no_era_wrote_is_refused(text: str | bytes) -> None:
    with pytest.raises(StoreCorrupt):
        read(sealed(text))


@pytest.mark.parametrize(
    "fields",
    [
        {"uid": "1"},
        {"uid": UID.upper()},
        {"state": "lost"},
        {"created": -1},
        {"created": 10**15},
        {"priority": "9"},
        {"content": "x" * (17 << 20)},
    ],
)
def test_one_job_that_cannot_be_taken_over_refuses_the_whole_file(
    fields: dict[str, Any],
) -> None:
    with pytest.raises(StoreCorrupt):
        read(era1(old_job(uid=uid(1)), old_job(**fields)))


def test_two_jobs_of_one_uid_refuse_the_whole_file() -> None:
    with pytest.raises(StoreCorrupt, match="two jobs"):
        read(era1(old_job(), old_job()))
