"""Handlers in child processes: whatever they do, or is done to them, is survived."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import crunching
import pytest
from crowds import Make, Place, gone, places, read
from daemons import PATIENCE_S, ROOT, until

from jobengine.client.retry import Retry
from jobengine.worker import processes, references
from jobengine.worker.outcomes import Cancel, Critical, Failed, Success
from jobengine.worker.work import PutBack


@pytest.fixture
def place() -> Iterator[Make]:
    with places() as make:
        yield make


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not stop when told is killed at once."""
    monkeypatch.setattr(processes, "STUBBORN_S", 0.0)


# --- cancelled ----------------------------------------------------------------------


def test_a_handler_is_told_that_it_is_cancelled(place: Make, tmp_path: Path) -> None:
    crowd = place(crunching.patient)
    run = crowd.begin(str(tmp_path / "pid"))
    until((tmp_path / "pid").exists, "it runs")

    run.held.hold.abandon("cancelled")

    assert run.end() == Success("cancelled")


@pytest.mark.usefixtures("impatient")
def test_one_that_does_not_heed_it_is_killed_with_what_it_started(
    place: Make, tmp_path: Path
) -> None:
    crowd = place(crunching.deaf_with_offspring)
    run = crowd.begin(str(tmp_path / "pid"))
    offspring = int(until(lambda: read(tmp_path / "pid"), "it runs"))

    run.held.hold.abandon("lost")

    assert run.end() == PutBack()
    until(lambda: gone(offspring), "what it started has ended")


def test_one_that_is_stopped_by_a_signal_is_killed(
    place: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STUBBORN_S", 0.0)
    crowd = place(crunching.patient)
    run = crowd.begin(str(tmp_path / "pid"))
    pid = int(until(lambda: read(tmp_path / "pid"), "it runs"))

    os.kill(pid, signal.SIGSTOP)
    run.held.hold.abandon("cancelled")

    assert run.end() == PutBack()


# --- hostile ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "content", "error"),
    [
        (crunching.is_killed, signal.SIGKILL, "the process ended with signal 9"),
        (crunching.is_killed, signal.SIGSEGV, "the process ended with signal 11"),
        (crunching.quits, 3, "the process ended with code 3"),
        (crunching.quits, 0, "the process ended with code 0"),
        (crunching.scribbles, None, "the process wrote into the pipe of its worker"),
    ],
)
def test_a_process_that_ends_fails_its_job_and_is_replaced(
    place: Make, call: Any, content: Any, error: str
) -> None:
    crowd = place(call)

    ends = [crowd.run(content) for _ in range(2)]

    assert ends == [Failed(error), Failed(error)]


def test_a_process_that_closes_all_that_is_open_is_replaced(
    place: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobengine.worker.child_process.FATE_S", 0.1)

    end = place(crunching.closes_all).run()

    assert end == Failed("the process closed the pipe to its worker")


def test_a_process_that_dies_between_two_jobs_costs_neither(place: Make) -> None:
    crowd = place(crunching.whoami)
    [pid] = [crowd.run().result]  # type: ignore[union-attr]

    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid), "it is dead")
    end = crowd.run()

    assert isinstance(end, Success)
    assert end.result != pid


def test_a_process_that_forks_has_one_end(place: Make) -> None:
    crowd = place(crunching.forks)

    ends = [crowd.run() for _ in range(2)]

    assert ends == [Success(crowd.processes.pids()[0])] * 2


def test_a_result_of_64_kib_is_kept_and_a_larger_one_is_critical(place: Make) -> None:
    crowd = place(crunching.large)

    fits, is_over = crowd.run((64 << 10) - 2), crowd.run((64 << 10) - 1)

    assert isinstance(fits, Success)
    assert isinstance(is_over, Critical)
    assert "65537 bytes" in str(is_over.error)


def test_a_result_that_is_no_json_is_critical(place: Make) -> None:
    end = place(crunching.no_json).run()

    assert isinstance(end, Critical)
    assert "cannot be kept" in str(end.error)


def test_what_a_handler_prints_is_printed(
    place: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    end = place(crunching.chatty).run()

    assert end == Success()
    assert "said by the handler\n" in capfd.readouterr().out


def test_a_handler_has_nothing_to_read(place: Make) -> None:
    assert place(crunching.reads_stdin).run() == Success("")


def test_sigterm_is_not_for_the_process_but_for_what_it_starts(place: Make) -> None:
    assert place(crunching.signals).run() == Success([-signal.SIGTERM])


# --- a handler that cannot be imported ----------------------------------------------


@pytest.fixture
def unlucky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that can be imported here, and in a process once `fixed` is there."""
    fixed = tmp_path / "fixed"
    text = f"""
        from pathlib import Path

        def handle(job):
            return "at last"

        if __name__ == "unlucky" and not Path({str(fixed)!r}).exists():
            raise ModuleNotFoundError("No module named 'numbers_of_mine'")
        """
    (tmp_path / "unlucky.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    fixed.touch()
    monkeypatch.setitem(sys.modules, "unlucky", imported("unlucky"))
    fixed.unlink()
    return fixed


def test_a_handler_that_cannot_be_imported_fails_one_job_and_says_why(
    place: Make, unlucky: Path
) -> None:
    crowd = place(imported("unlucky").handle)

    first, second = crowd.begin(), crowd.begin()

    said = first.end()
    assert isinstance(said, Failed)
    assert "unlucky:handle" in str(said.error)
    assert "No module named 'numbers_of_mine'" in str(said.error)
    # The other waits for better days, and may be given back until then.
    assert crowd.processes.take_back() == [second.work]


def test_once_it_can_be_imported_all_is_well(
    place: Make, unlucky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "REST", Retry(first_s=1e-9, most_s=1e-9))
    crowd = place(imported("unlucky").handle)

    first = crowd.run()
    unlucky.touch()
    second = crowd.run()

    assert isinstance(first, Failed)
    assert second == Success("at last")


def test_the_rest_between_two_starts_grows() -> None:
    line = processes._Line(monotonic=lambda: 0.0)

    rests = []
    for _ in range(8):
        line.rest()
        rests.append(line._rests_until)
    line.started()
    line.rest()

    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    assert line._rests_until == 1


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda job: None, "at the top of a module"),
        (crunching.Scaler(3), "no arguments"),
    ],
)
def test_what_another_process_cannot_find_is_refused(call: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Place(call, {}, processes=1)


def test_a_table_that_another_process_cannot_find_is_refused() -> None:
    with pytest.raises(ValueError, match="at the top of a module"):
        Place(crunching.echo, {KeyError: lambda error, job: Cancel()})


# --- the end of the worker ----------------------------------------------------------


def test_when_the_worker_stops_its_processes_end(place: Make) -> None:
    crowd = place(crunching.whoami)
    [pid] = [crowd.run().result]  # type: ignore[union-attr]

    crowd.processes.stop()

    assert crowd.processes.join(PATIENCE_S)
    assert gone(pid)


def test_what_a_process_is_at_when_the_worker_stops_is_given_up(
    place: Make, tmp_path: Path
) -> None:
    crowd = place(crunching.patient)
    run = crowd.begin(str(tmp_path / "pid"))
    until((tmp_path / "pid").exists, "it runs")

    crowd.processes.stop()

    assert run.end() == Success("stopping")


@pytest.mark.usefixtures("impatient")
def test_one_that_goes_on_all_the_same_is_put_back(place: Make, tmp_path: Path) -> None:
    crowd = place(crunching.deaf)
    run = crowd.begin(str(tmp_path / "pid"))
    until((tmp_path / "pid").exists, "it runs")

    crowd.processes.stop()

    assert run.end() == PutBack()


SCRIPT = """
    import os, sys, threading
    from pathlib import Path

    sys.path.insert(0, {tests!r})
    import crowds

    def deaf(job):
        Path(job.content).write_text(str(os.getpid()))
        threading.Event().wait()

    def name(job):
        return __name__

    def go():
        crowd = crowds.Place({call}, {{}})
        run = crowd.begin({content!r})
        print(run.end().{member}, flush=True)
        crowd.processes.stop()

    {guard}go()
    """


def script(tmp_path: Path, **values: str) -> "subprocess.Popen[str]":
    """A script that has a handler and runs a job with it."""
    given = {"tests": str(Path(__file__).parent), "content": None, "member": "result"}
    given["guard"] = 'if __name__ == "__main__": '
    text = textwrap.dedent(SCRIPT).format(**(given | values))
    (tmp_path / "script").write_text(text)
    return subprocess.Popen(
        [sys.executable, "script"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/daemon")]),
        },
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_handlers_of_a_script_are_found(tmp_path: Path) -> None:
    out, _ = script(tmp_path, call="name").communicate(timeout=PATIENCE_S)

    assert out == references.SCRIPT + "\n"


def test_a_script_that_would_start_all_over_in_its_processes_says_so(
    tmp_path: Path,
) -> None:
    run = script(tmp_path, call="name", guard="", member="error")
    out, _ = run.communicate(timeout=PATIENCE_S)

    assert 'under `if __name__ == "__main__":`' in out


def test_processes_end_with_their_worker(tmp_path: Path) -> None:
    worker = script(tmp_path, call="deaf", content=str(tmp_path / "pid"))
    child = int(until(lambda: read(tmp_path / "pid"), "it runs"))

    worker.kill()
    worker.communicate()

    until(lambda: gone(child), "the process has ended too")


def imported(name: str) -> ModuleType:
    return __import__(name)
