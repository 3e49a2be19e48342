"""What was wrong with the original of the later dialect, and must not be here.

Each test is named after its row, JE2-B1 to JE2-B6, and fails on the original. B3, a
wrong SECRET that empties the file, is about the file: tests/store/test_opening.py.
"""

import hmac
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from keyed import KEY, Keyed

from jobengine.testing import SimClock

# The load under which the original handed out 286 jobs of 469 more than once.
CONSUMERS, JOBS = 16, 469


@pytest.fixture
def keyed(new_api: Any) -> Keyed:
    return Keyed(new_api())


def at_once(work: Callable[[], None]) -> None:
    """Have all consumers do the work at the same time, to its end."""
    threads = [threading.Thread(target=work) for _ in range(CONSUMERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- B1 and B2: many at once ------------------------------------------------------


def test_b1_each_job_goes_to_one_of_many_consumers(keyed: Keyed) -> None:
    made = [keyed.made() for _ in range(JOBS)]
    taken: list[str] = []

    def consume() -> None:
        while (answer := keyed.next()).status_code != 204:
            taken.append(answer.json["uid"])

    at_once(consume)

    assert Counter(taken) == Counter(made)


def test_b2_a_right_key_is_right_however_many_show_theirs(keyed: Keyed) -> None:
    for n in range(CONSUMERS):
        keyed.make_queue(f"q{n}-own", f"key {n}")
    numbers = iter(range(CONSUMERS))
    statuses: Counter[int] = Counter()

    def ask() -> None:
        n = next(numbers)
        for _ in range(50):
            name, key = f"q{n}-own", f"key {n}"
            keyed.made(name, key)
            statuses[keyed.next(queue=name, key=key).status_code] += 1
            statuses[keyed.next(queue=name, key=f"key {n}x").status_code] += 1

    at_once(ask)

    assert statuses == {200: 50 * CONSUMERS, 401: 50 * CONSUMERS}


# --- B4: which job goes, and what is left -----------------------------------------


def test_b4_expiry_takes_the_expired_jobs_and_no_other(keyed: Keyed) -> None:
    soon = keyed.clock.now() // 1000 + 10
    first, last = (keyed.made(priority=p, timeout_time=soon) for p in (90, 10))
    live = keyed.made(priority=50)
    assert keyed.listed() == [first, live, last]

    keyed.clock.advance(seconds=11)

    assert keyed.listed() == [live]
    assert keyed.next().json["uid"] == live


@pytest.mark.parametrize("which", range(5))
def test_b4_delete_takes_the_job_that_is_named_and_size_is_right(
    keyed: Keyed, which: int
) -> None:
    soon = keyed.clock.now() // 1000 + 10
    keyed.made(priority=100, timeout_time=soon)
    uids = [keyed.made(priority=p) for p in (90, 70, 70, 50, 1)]
    keyed.clock.advance(seconds=11)

    assert keyed.delete(uids[which]).status_code == 204

    del uids[which]
    assert keyed.listed() == uids
    assert keyed.jobs().json["size"] == 4


# --- B5: cost that grows with the queue -------------------------------------------


def test_b5_what_is_written_for_a_job_does_not_grow_with_the_queue(
    new_api: Any,
) -> None:
    keyed = Keyed(new_api(file=True))
    shallow = bytes_of_a_life(keyed)
    for _ in range(1000):
        keyed.made(priority=1)

    deep = bytes_of_a_life(keyed)

    # Longer by a digit of its place in the order, not by the jobs that wait.
    assert deep < 2 * shallow


def bytes_of_a_life(keyed: Keyed) -> int:
    """What the file grows by when a job is made, taken and completed."""
    before = keyed.house.file_bytes
    uid = keyed.made(priority=100)
    assert keyed.next().json["uid"] == uid
    keyed.update(uid, "complete")
    return int(keyed.house.file_bytes - before)


# --- B6: the key, and who has not got it ------------------------------------------


def test_b6_one_key_of_two_queues_is_kept_as_two_digests(keyed: Keyed) -> None:
    keyed.make_queue("other", KEY)

    made = [keyed.house.engine.rules.queues[name].made for name in ("q", "other")]

    assert made[0].salt != made[1].salt
    assert made[0].digest != made[1].digest
    assert not any(KEY.encode() in each.digest for each in made)


def test_b6_keys_are_compared_in_constant_time(
    keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    honest = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return honest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)

    assert keyed.jobs(key="wrong").status_code == 401
    assert keyed.jobs().status_code == 200
    assert compared == [(32, 32), (32, 32)]


def test_b6_a_stranger_changes_nothing_not_even_what_is_due(new_api: Any) -> None:
    keyed = Keyed(new_api(file=True))
    uid = due_in_every_way(keyed, keyed.clock)
    before = keyed.house.store.rows.copy(), keyed.house.file_bytes

    answers = [
        keyed.jobs(key="wrong"),
        keyed.put(key="wrong"),
        keyed.show(uid, key="wrong"),
        keyed.next(key="wrong"),
        keyed.next(None, key="wrong"),
        keyed.update(uid, "failed", key="wrong"),
        keyed.delete(uid, key="wrong"),
        keyed.delete_queue(key="wrong"),
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert (keyed.house.store.rows.copy(), keyed.house.file_bytes) == before


def due_in_every_way(keyed: Keyed, clock: SimClock) -> str:
    """Jobs that expired, were lost, or were kept long enough; the uid of one."""
    kept = keyed.put({}).json["uid"]
    keyed.update(kept, "complete")
    keyed.put({"priority": 100})
    keyed.next()
    keyed.made(timeout_time=clock.now() // 1000 + 1)
    clock.advance(minutes=1)
    return str(kept)
