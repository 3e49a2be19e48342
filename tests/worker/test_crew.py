"""Threads that run jobs: as few as will do, and one for each job that waits."""

import threading
from collections.abc import Callable, Iterator

import pytest
from daemons import until

from jobengine.worker import crew as crew_module
from jobengine.worker.crew import Crew, Stoker


class Task:
    """Stands for a Work: all that a crew knows of one is that it runs."""

    def __init__(self, run: Callable[[], None]) -> None:
        self.run = run


@pytest.fixture
def stoker() -> Iterator[Stoker]:
    # A clock of its own that says there is always time to spare.
    stoker = Stoker(2, used=lambda: 0.0)
    threading.Thread(target=stoker.run, daemon=True).start()
    yield stoker
    stoker.close()


def crew(stoker: Stoker) -> Crew:
    def start(name: str, run: Callable[[], None]) -> None:
        threading.Thread(target=run, name=name, daemon=True).start()

    return Crew("test", start, stoker)


def test_jobs_that_wait_get_a_thread_each(stoker: Stoker) -> None:
    together = threading.Barrier(20, timeout=20)
    done: list[int] = []

    def meet() -> None:
        done.append(together.wait())

    crew(stoker).submit([Task(meet) for _ in range(20)])  # type: ignore[misc]

    # Each of them waits for all others: one thread too few, and none would end.
    until(lambda: len(done) == 20, "all have met")


def test_jobs_that_compute_do_not_get_more_threads_than_there_are_processors() -> None:
    clock = [0.0]

    def tick() -> float:
        clock[0] += 1
        return clock[0]

    # As much of the processor was used as time has passed.
    stoker = Stoker(2, monotonic=tick, used=tick)
    threads: list[str] = []
    held = crew_without_threads(stoker, threads)
    held.submit([Task(lambda: None)] * 50)  # type: ignore[misc, list-item]

    for _ in range(20):
        held.grow(spare=False)

    assert len(threads) == 2


def test_where_there_is_time_to_spare_threads_double() -> None:
    threads: list[str] = []
    held = crew_without_threads(Stoker(2), threads)
    held.submit([Task(lambda: None)] * 50)  # type: ignore[misc, list-item]

    counts = []
    for _ in range(4):
        held.grow(spare=True)
        counts.append(len(threads))

    assert counts == [2, 4, 8, 16]


def test_no_thread_is_added_where_those_there_are_keep_up() -> None:
    threads: list[str] = []
    held = crew_without_threads(Stoker(2), threads)
    held.submit([Task(lambda: None)] * 40)  # type: ignore[misc, list-item]

    # As many in one look as are left for five.
    for _ in range(8):
        held._next()
    held.grow(spare=True)

    assert len(threads) == 1


def test_no_thread_is_started_for_a_job_that_an_idle_one_can_run(
    stoker: Stoker,
) -> None:
    ran: list[str] = []
    some = crew(stoker)
    for count in range(1, 6):
        until(lambda: some._threads == some._idle, "all are idle")
        some.submit([Task(lambda: ran.append(threading.current_thread().name))])  # type: ignore[list-item]
        until(lambda count=count: len(ran) == count, "it ran")  # type: ignore[misc]

    assert set(ran) == {"test-1"}


def test_of_threads_that_have_nothing_to_do_one_stays_until_the_end(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "IDLE_S", 0.01)
    together = threading.Barrier(5, timeout=20)
    names: list[str] = []

    def meet() -> None:
        together.wait()
        names.append(threading.current_thread().name)

    some = crew(stoker)
    some.submit([Task(meet) for _ in range(5)])  # type: ignore[misc]
    until(lambda: (some._threads, some._idle) == (1, 1), "the others have ended")
    some.submit([Task(lambda: names.append(threading.current_thread().name))])  # type: ignore[list-item]
    until(lambda: len(names) == 6, "it ran")

    assert names[5] in names[:5]
    some.stop()
    until(lambda: some._threads == 0, "it has ended too")


def test_what_has_not_begun_can_be_taken_back() -> None:
    held = crew_without_threads(Stoker(2), [])
    tasks = [Task(lambda: None) for _ in range(3)]
    held.submit(tasks)  # type: ignore[arg-type]

    assert held.take_back() == tasks
    assert not held.waits()


def crew_without_threads(stoker: Stoker, started: list[str]) -> Crew:
    return Crew("test", lambda name, _run: started.append(name), stoker)
