"""The oracle itself: it finds what is wrong, and only that."""

import pytest
from history import Act
from oracle import Oracle, Seen

CONTENT = b'{"token": "a"}'


def create(at: float, answer: int | None = 201, priority: int = 50) -> Act:
    return Act("create", at, at + 0.5, answer, None, priority, CONTENT)


def claim(at: float, lease: str, priority: int = 50) -> Act:
    return Act("claim", at, at + 0.5, 200, None, priority, CONTENT, lease)


def settle(at: float, state: str, lease: str, answer: int | None = 200) -> Act:
    return Act("change", at, at + 0.5, answer, state, lease=lease)


def delete(at: float) -> Act:
    return Act("delete", at, at + 0.5, 204)


def seen(token: str, state: str = "queued", priority: int = 50) -> Seen:
    return Seen(token, f"uid-{token}", state, priority, CONTENT)


def kinds(oracle: Oracle, *listing: Seen) -> list[str]:
    return [fault.kind for fault in oracle.judge(list(listing))]


@pytest.fixture
def oracle() -> Oracle:
    """One that knows of a job "a", which is queued."""
    oracle = Oracle()
    oracle.note("a", create(1))
    assert kinds(oracle, seen("a")) == []
    return oracle


def test_a_lost_job_is_found(oracle: Oracle) -> None:
    assert kinds(oracle) == ["lost"]


def test_a_job_delivered_twice_is_found(oracle: Oracle) -> None:
    oracle.note("a", claim(3, "one"))
    oracle.note("a", claim(4, "two"))

    assert kinds(oracle, seen("a", "inprogress")) == ["delivered twice"]


def test_a_job_delivered_again_after_a_restart_is_found(oracle: Oracle) -> None:
    oracle.note("a", claim(3, "one"))
    assert kinds(oracle, seen("a", "inprogress")) == []
    oracle.note("a", claim(4, "two"))

    assert kinds(oracle, seen("a", "inprogress")) == ["delivered twice"]


def test_a_job_that_was_released_may_be_delivered_again(oracle: Oracle) -> None:
    oracle.note("a", claim(3, "one"))
    oracle.note("a", settle(4, "queued", "one"))
    oracle.note("a", claim(5, "two"))

    assert kinds(oracle, seen("a", "inprogress")) == []


def test_a_finished_job_that_is_queued_again_is_found(oracle: Oracle) -> None:
    oracle.note("a", claim(3, "one"))
    oracle.note("a", settle(4, "complete", "one"))

    assert kinds(oracle, seen("a", "queued")) == ["changed"]


def test_a_deleted_job_that_came_back_is_found(oracle: Oracle) -> None:
    oracle.note("a", delete(3))
    assert kinds(oracle) == []

    assert kinds(oracle, seen("a")) == ["came back"]


def test_a_changed_payload_is_found(oracle: Oracle) -> None:
    other = seen("a")._replace(content=b'{"token": "a", "n": 1}')

    assert kinds(oracle, other) == ["changed"]


def test_a_job_nobody_asked_for_is_found(oracle: Oracle) -> None:
    assert kinds(oracle, seen("a"), seen("b")) == ["invented"]


def test_a_late_worker_must_have_been_refused(oracle: Oracle) -> None:
    oracle.note("a", claim(3, "one"))
    oracle.note("a", settle(4, "queued", "one"))
    oracle.note("a", claim(5, "two"))
    oracle.note("a", settle(6, "complete", "one", 200))

    assert kinds(oracle, seen("a", "complete")) == ["delivered twice"]


@pytest.mark.parametrize("found", [[], [seen("b")]])
def test_what_was_cut_off_may_be_done_or_not(oracle: Oracle, found: list[Seen]) -> None:
    oracle.note("b", create(3, None))

    assert kinds(oracle, seen("a"), *found) == []


def test_what_was_cut_off_and_not_done_may_not_be_done_later(oracle: Oracle) -> None:
    oracle.note("b", create(3, None))
    assert kinds(oracle, seen("a")) == []

    assert kinds(oracle, seen("a"), seen("b")) == ["came back"]


def test_requests_at_the_same_time_may_take_effect_in_any_order(
    oracle: Oracle,
) -> None:
    oracle.note("a", delete(3))
    oracle.note("a", claim(3.2, "one"))

    assert kinds(oracle) == []


def test_one_after_the_other_they_may_not(oracle: Oracle) -> None:
    oracle.note("a", delete(3))
    oracle.note("a", claim(4, "one"))

    assert kinds(oracle) == ["delivered twice"]


def test_a_claim_that_was_cut_off_explains_one_job_and_no_more(
    oracle: Oracle,
) -> None:
    oracle.note("b", create(3))
    oracle.note_unseen(4, 5)

    taken = [seen("a", "inprogress"), seen("b", "inprogress")]

    assert kinds(oracle, *taken) == ["taken by nobody"]


def test_a_claim_out_of_turn_is_found(oracle: Oracle) -> None:
    oracle.note("b", create(3))
    oracle.note("b", claim(4, "one"))

    assert kinds(oracle, seen("a"), seen("b", "inprogress")) == ["out of turn"]


def test_a_higher_priority_goes_first(oracle: Oracle) -> None:
    oracle.note("b", create(3, priority=100))
    oracle.note("b", claim(4, "one", priority=100))

    assert kinds(oracle, seen("b", "inprogress", 100), seen("a")) == []


def test_an_empty_answer_while_a_job_waits_is_found(oracle: Oracle) -> None:
    oracle.note_empty(3, 4)

    assert kinds(oracle, seen("a")) == ["out of turn"]


def test_a_listing_in_another_order_is_found(oracle: Oracle) -> None:
    oracle.note("b", create(3))

    assert kinds(oracle, seen("b"), seen("a")) == ["unsorted"]


def test_a_listing_that_puts_a_low_priority_first_is_found(oracle: Oracle) -> None:
    oracle.note("b", create(3, priority=100))

    assert kinds(oracle, seen("a"), seen("b", priority=100)) == ["unsorted"]
