"""Permits: so many jobs in all, so many of each queue, and no queue starves another."""

import threading
from collections.abc import Callable

import pytest
from daemons import until

from jobengine.worker.permits import Permits


def permits(most: int = 10, each: int = 4, **own: int) -> Permits:
    return Permits(most, each, own)


def waiting(call: Callable[[], int]) -> tuple[threading.Thread, list[int]]:
    """A thread that is at *call*, and what it gave once it has."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    return thread, found


def test_a_queue_has_at_most_its_own_number() -> None:
    some = permits(mail=2)

    assert some.take("mail", 100) == 2
    assert some.take("other", 100) == 4


def test_all_queues_together_have_at_most_as_many_as_there_are() -> None:
    some = permits(most=6)

    assert [some.take(queue, 100) for queue in ("a", "b")] == [4, 2]
    assert not some.try_one("c")


def test_what_is_given_back_can_be_had_again() -> None:
    some = permits(each=1)
    some.take("a", 1)

    some.give_back("a")

    assert some.try_one("a")


def test_who_wants_one_waits_until_there_is_one() -> None:
    some = permits(each=1)
    some.take("a", 1)
    thread, found = waiting(lambda: some.take("a", 1))

    assert found == []
    some.give_back("a")

    thread.join(10)
    assert found == [1]


def test_a_queue_that_is_full_holds_up_no_other() -> None:
    # SQ-B9
    some = permits(each=1)
    some.take("slow", 1)
    thread, _ = waiting(lambda: some.take("slow", 1))
    until(lambda: "slow" in some._line, "the slow queue stands in line")

    assert some.take("fast", 1) == 1

    some.close()
    thread.join(10)


def test_the_queue_that_has_waited_longest_has_the_next_one() -> None:
    some = permits(most=1)
    some.take("a", 1)
    order: list[str] = []

    def take(queue: str) -> int:
        taken = some.take(queue, 1)
        order.append(queue)
        return taken

    threads = []
    for queue in ("b", "c"):
        threads.append(waiting(lambda queue=queue: take(queue))[0])  # type: ignore[misc]
        until(lambda queue=queue: queue in some._line, "it stands in line")  # type: ignore[misc]
    some.give_back("a")
    until(lambda: order == ["b"], "the first has it")
    some.give_back("b")

    for thread in threads:
        thread.join(10)
    assert order == ["b", "c"]


def test_who_comes_later_does_not_overtake_who_stands_in_line() -> None:
    some = permits(most=1)
    some.take("a", 1)
    order: list[str] = []

    def pass_through(queue: str) -> int:
        taken = some.take(queue, 1)
        order.append(queue)
        some.give_back(queue)
        return taken

    thread, _ = waiting(lambda: pass_through("b"))
    until(lambda: "b" in some._line, "it stands in line")
    some.give_back("a")
    pass_through("c")

    thread.join(10)
    assert order == ["b", "c"]


def test_once_closed_there_are_none_and_nobody_waits() -> None:
    some = permits(each=1)
    some.take("a", 1)
    thread, found = waiting(lambda: some.take("a", 1))

    some.close()

    thread.join(10)
    assert found == [0]
    assert some.take("b", 1) == 0
    assert not some.wait("b")


def test_to_wait_takes_none() -> None:
    some = permits(each=1)

    assert some.wait("a")
    assert some.try_one("a")


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0), (-1, 1)])
def test_there_is_at_least_one_permit(numbers: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Permits(*numbers, {})
