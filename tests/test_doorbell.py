"""Who waits for which queue, and who is woken."""

import threading
from collections.abc import Callable

import pytest

from jobengine.doorbell import Doorbell, Place
from jobengine.errors import Overloaded
from jobengine.testing import SimClock


class Line:
    """A doorbell, and who was woken."""

    def __init__(self) -> None:
        self.bell = Doorbell(SimClock().monotonic)
        self.woken: list[str] = []

    def join(
        self, name: str, queue: str = "mail", *, service: str = "s", most: int = 9
    ) -> Place:
        return self.bell.join(queue, service, most, lambda: self.woken.append(name))

    def rung(self, queue: str = "mail") -> list[str]:
        """Who is woken by a ring."""
        self.woken.clear()
        self.bell.ring(queue)
        return list(self.woken)


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_ring_wakes_the_first_of_the_line_and_nobody_else(line: Line) -> None:
    for name in "abc":
        line.join(name)

    assert line.rung() == ["a"]
    assert line.rung() == ["a"]  # it is still there


def test_who_leaves_makes_the_next_one_first(line: Line) -> None:
    places = [line.join(name) for name in "abc"]

    line.bell.leave(places[1])
    line.bell.leave(places[0])

    assert line.rung() == ["c"]
    assert line.bell.head("mail") is places[2]


def test_leaving_twice_is_leaving_once(line: Line) -> None:
    first, second = line.join("a"), line.join("b")

    line.bell.leave(first)
    line.bell.leave(first)

    assert line.bell.waiters == 1
    line.bell.leave(second)
    assert line.bell.waiters == 0
    assert line.bell.head("mail") is None


def test_lines_do_not_know_each_other(line: Line) -> None:
    line.join("a", "mail")
    line.join("b", "print")

    assert line.rung("print") == ["b"]
    assert line.rung("nothing") == []


def test_a_ring_to_all_wakes_everybody(line: Line) -> None:
    for queue in ("mail", "print"):
        for name in "ab":
            line.join(f"{queue} {name}", queue)

    line.bell.ring_all()

    assert sorted(line.woken) == ["mail a", "mail b", "print a", "print b"]


def test_of_one_service_only_so_many_wait(line: Line) -> None:
    first = line.join("a", "mail", service="s", most=2)
    line.join("b", "print", service="s", most=2)

    with pytest.raises(Overloaded, match="waiters_per_service"):
        line.join("c", "other", service="s", most=2)
    line.join("d", service="t", most=2)
    line.bell.leave(first)
    line.join("e", service="s", most=2)

    assert line.bell.waiters == 3


def test_every_ring_is_counted_whether_somebody_waits_or_not(line: Line) -> None:
    before = line.bell.rings

    line.bell.ring("mail")
    line.bell.ring("nothing")

    assert line.bell.rings != before


def test_when_it_is_closed_everybody_is_woken(line: Line) -> None:
    for name in "ab":
        line.join(name)

    line.bell.close()

    assert line.woken == ["a", "b"]
    assert line.bell.closed


# --- threads ----------------------------------------------------------------------


def in_thread(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_a_thread_that_has_just_got_its_place_looks_once_more(line: Line) -> None:
    with line.bell.waiting("mail", "s", 9) as bell:
        # A ring between its look and its place would have reached nobody.
        assert bell.wait(10)
        assert not bell.wait(0)


def test_a_thread_sleeps_until_it_is_rung_for(line: Line) -> None:
    with line.bell.waiting("mail", "s", 9) as bell:
        bell.wait(10)
        thread = in_thread(lambda: line.bell.ring("mail"))

        assert bell.wait(10)
        thread.join()


def test_a_thread_that_leaves_passes_the_ring_on(line: Line) -> None:
    with line.bell.waiting("mail", "s", 9):
        line.join("b")

    assert line.woken == ["b"]


def test_a_thread_that_fails_gives_its_place_up(line: Line) -> None:
    with pytest.raises(ZeroDivisionError), line.bell.waiting("mail", "s", 9):
        raise ZeroDivisionError

    assert line.bell.waiters == 0


def test_a_closed_doorbell_keeps_no_thread(line: Line) -> None:
    with line.bell.waiting("mail", "s", 9) as bell:
        bell.wait(10)
        line.bell.close()

        assert not bell.wait(10)
    with line.bell.waiting("mail", "s", 9) as bell:
        assert not bell.wait(10)


def test_threads_that_share_a_line_take_every_job_once(line: Line) -> None:
    jobs: list[int] = []
    taken: list[int] = []
    guard = threading.Lock()
    wanted = 400

    def take() -> bool:
        with guard:
            if jobs:
                taken.append(jobs.pop())
            return len(taken) == wanted

    def work() -> None:
        while True:
            with line.bell.waiting("mail", "s", 99) as bell:
                while bell.wait(10):
                    if take():
                        line.bell.close()
                        return
                    break
                else:
                    return

    threads = [in_thread(work) for _ in range(8)]
    for number in range(wanted):
        with guard:
            jobs.append(number)
        line.bell.ring("mail")
    for thread in threads:
        thread.join()

    assert sorted(taken) == list(range(wanted))
