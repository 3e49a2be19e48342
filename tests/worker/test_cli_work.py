"""`jobengine work` as it is typed: what it runs, shows, and ends with."""

import io
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from daemons import PATIENCE_S, ROOT, Daemon, until

from jobengine import Client, Job
from jobengine.cli import main
from jobengine.cli_reload import stamps
from jobengine.worker.tally import Counts
from jobengine.worker.top import Looks, Row, Screen, Top, line, table

CONFIG = """\
version: 1
queues:
  mail: {read: [app], write: [app], manage: [app]}
  post: {read: [app], write: [app], manage: [app]}
"""

TASKS = """\
from jobengine import Worker

worker = Worker()

@worker.handler("mail", "post")
def send(job):
    print("sent", job.content)
    return "first"
"""

# Its runs last until somebody makes the file `go`.
SLOW = """\
import pathlib
import time
from jobengine import Worker

worker = Worker()

@worker.handler("mail")
def send(job):
    pathlib.Path("began").touch()
    while not pathlib.Path("go").exists() and not job.cancelled:
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("served") / "daemon")
    daemon.configure(CONFIG)
    try:
        yield daemon.start()
    finally:
        daemon.kill()


@pytest.fixture
def app(daemon: Daemon) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{daemon.port}", name="app") as client:
        client.purge("mail")
        client.purge("post")
        yield client


class Folder:
    """A folder of somebody who writes handlers, and the command run in it."""

    def __init__(self, path: Path, port: int) -> None:
        self.path = path
        self.errors = path / "stderr"
        self.running: list[subprocess.Popen[bytes]] = []
        self.environ = {
            "JOBENGINE_URL": f"http://127.0.0.1:{port}",
            "JOBENGINE_NAME": "app",
        }

    def write(self, text: str, name: str = "tasks.py") -> None:
        """At once, as editors do: nobody sees half a file."""
        new = self.path / "new"
        new.write_text(text)
        new.rename(self.path / name)

    def run(self, *words: str, **environ: str) -> Result:
        """In this process, until it ends."""
        return CliRunner().invoke(main, ["work", *words], env=self.environ | environ)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """As a process of its own."""
        with self.errors.open("wb") as errors:
            process = subprocess.Popen(
                self.command(*words),
                env=self.of_process(),
                cwd=self.path,
                stderr=errors,
                stdout=errors,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "jobengine", "work", *words]

    def of_process(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environ}

    def said(self, words: str, times: int = 1) -> None:
        """Return when it has said so, so often."""
        until(lambda: self.errors.read_text().count(words) >= times, words)

    def end(self) -> None:
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def folder(
    tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Folder]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    folder = Folder(tmp_path, daemon.port)
    folder.write(TASKS)
    yield folder
    folder.end()
    sys.modules.pop("tasks", None)


def ended(app: Client, uid: str) -> Job:
    job = app.handle("mail", uid).wait(PATIENCE_S)
    assert job is not None, f"not ended within {PATIENCE_S} s"
    return job


# --- which worker -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("tasks", "say module:name"),
        ("tasks:", "say module:name"),
        ("app/tasks.py:worker", "say module:name"),
        ("nothing:worker", "no module 'nothing'"),
        ("tasks.deeper:worker", "no module 'tasks.deeper'"),
        ("tasks:wroker", "no worker 'wroker'; it has worker"),
        ("tasks:send", "no worker 'send'; it has worker"),
    ],
)
def test_what_is_no_worker_is_wrong_usage(
    folder: Folder, target: str, said: str
) -> None:
    result = folder.run(target)

    assert result.exit_code == 2
    assert said in result.stderr


def test_a_worker_without_a_handler_is_wrong_usage(folder: Folder) -> None:
    folder.write("from jobengine import Worker\nworker = Worker()\n")

    result = folder.run("tasks:worker")

    assert result.exit_code == 2
    assert "has no handler" in result.stderr


def test_a_module_that_raises_is_a_fault_and_shows_where(folder: Folder) -> None:
    folder.write("import not_installed\n")

    process = folder.start("tasks:worker")

    assert process.wait(PATIENCE_S) == 1
    folder.said("No module named 'not_installed'")
    folder.said("tasks.py")


def test_a_queue_without_a_handler_is_wrong_usage(folder: Folder) -> None:
    result = folder.run("tasks:worker", "--queue", "nope", "--once")

    assert result.exit_code == 2
    assert "no handler for nope; there are some for mail, post" in result.stderr


@pytest.mark.parametrize("other", ["--reload", "--top"])
def test_once_is_neither_watched_nor_repeated(folder: Folder, other: str) -> None:
    assert folder.run("tasks:worker", "--once", other).exit_code == 2


def test_an_environment_that_cannot_be_used_is_78(folder: Folder) -> None:
    result = folder.run("tasks:worker", JOBENGINE_URL="nowhere")

    assert result.exit_code == 78
    assert "the daemon's URL must be" in result.stderr


def test_its_help_shows_how_it_is_done(folder: Folder) -> None:
    result = folder.run("--help")

    assert result.exit_code == 0
    assert "Examples:" in result.stdout


# --- once -------------------------------------------------------------------------


def test_once_runs_what_is_there_and_ends(folder: Folder, app: Client) -> None:
    handles = [app.enqueue("mail", {"n": n}) for n in range(3)]

    result = folder.run("tasks:worker", "--once")

    assert result.exit_code == 0, result.output
    assert "3 runs" in result.stderr
    assert [handle.get().result for handle in handles] == ["first"] * 3


def test_only_the_queues_that_are_named_are_worked_for(
    folder: Folder, app: Client
) -> None:
    mail, post = app.enqueue("mail", {}), app.enqueue("post", {})

    result = folder.run("tasks:worker", "--queue", "post", "--once")

    assert result.exit_code == 0, result.output
    assert (mail.get().state, post.get().state) == ("queued", "complete")


def test_a_named_queue_leaves_those_without_a_handler_alone(
    folder: Folder, app: Client
) -> None:
    folder.write(
        "from jobengine import Worker\n"
        "worker = Worker(queues=['post'])\n"
        "worker.handler('mail')(lambda job: None)\n"
    )
    post = app.enqueue("post", {})

    folder.run("tasks:worker", "--queue", "mail", "--once")

    assert post.get().state == "queued"


def test_limits_that_are_typed_are_in_place_of_the_worker_s(folder: Folder) -> None:
    result = folder.run("tasks:worker", "--concurrency=3", "--grace=1.5", "--once")

    worker = sys.modules["tasks"].worker
    assert result.exit_code == 0, result.output
    assert (worker.permits, worker.grace_s) == (3, 1.5)


def test_a_file_is_not_taken_for_a_module(folder: Folder) -> None:
    result = folder.run("tasks.py:worker")

    assert result.exit_code == 2
    assert "say tasks:name" in result.stderr


def test_once_without_a_daemon_is_69(folder: Folder) -> None:
    folder.write(
        "from jobengine import Client, Worker\n"
        "worker = Worker(Client('http://127.0.0.1:1', name='app', retry=None))\n"
        "worker.handler('mail')(lambda job: None)\n"
    )

    assert folder.run("tasks:worker", "--once").exit_code == 69


# --- until it is stopped ----------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_a_run_end_and_the_code_is_0(
    folder: Folder, app: Client, number: signal.Signals
) -> None:
    folder.write(SLOW)
    process = folder.start("tasks:worker")
    handle = app.enqueue("mail", {})
    until((folder.path / "began").exists, "the run has begun")

    process.send_signal(number)
    folder.said("stopping")
    (folder.path / "go").touch()

    assert process.wait(PATIENCE_S) == 0
    assert handle.get().state == "complete"


def test_a_second_signal_gives_the_job_back_and_the_code_is_1(
    folder: Folder, app: Client
) -> None:
    folder.write(SLOW)
    process = folder.start("tasks:worker", "--grace=600")
    handle = app.enqueue("mail", {})
    until((folder.path / "began").exists, "the run has begun")

    process.terminate()
    folder.said("stopping")
    process.terminate()

    assert process.wait(PATIENCE_S) == 1
    folder.said("not every run ended in time")
    assert (handle.get().state, handle.get().attempt) == ("queued", 0)


# --- reload -----------------------------------------------------------------------


def test_a_changed_file_is_what_runs_from_then_on(folder: Folder, app: Client) -> None:
    process = folder.start("tasks:worker", "--reload", "--queue", "mail")
    before = ended(app, app.enqueue("mail", {}).uid)

    folder.write(TASKS.replace("first", "second"))
    folder.said("tasks.py changed: starting again")
    folder.said("works for mail", times=2)
    after = ended(app, app.enqueue("mail", {}).uid)
    process.terminate()

    assert (before.result, after.result) == ("first", "second")
    assert process.wait(PATIENCE_S) == 0


def test_a_module_that_cannot_be_imported_is_waited_for(
    folder: Folder, app: Client
) -> None:
    folder.write("this is not Python")
    process = folder.start("tasks:worker", "--reload")
    folder.said("ended with 1; it starts again after a change")

    folder.write(TASKS)

    assert ended(app, app.enqueue("mail", {}).uid).result == "first"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


def test_a_stop_while_it_waits_for_a_change_has_the_code_of_what_failed(
    folder: Folder,
) -> None:
    folder.write("this is not Python")
    process = folder.start("tasks:worker", "--reload")
    folder.said("starts again after a change")

    process.terminate()

    assert process.wait(PATIENCE_S) == 1


def test_a_run_that_never_ends_is_killed_with_the_third_signal(
    folder: Folder, app: Client
) -> None:
    # It does not even heed the second: it cannot, before the module is there.
    folder.write(
        "import pathlib, signal, time\n"
        "for each in signal.SIGTERM, signal.SIGINT:\n"
        "    signal.signal(each, lambda *_: open(f'told{time.time()}', 'x').close())\n"
        "pathlib.Path('began').touch()\n"
        "while True:\n"
        "    time.sleep(1)\n"
    )
    process = folder.start("tasks:worker", "--reload")
    until((folder.path / "began").exists, "the module is being imported")

    for count in range(1, 3):
        process.terminate()
        told = lambda n=count: len(list(folder.path.glob("told*"))) >= n  # noqa: E731
        until(told, f"told {count} times")
    process.terminate()

    assert process.wait(PATIENCE_S) == 128 + signal.SIGKILL


def test_what_nobody_edits_is_not_watched(tmp_path: Path) -> None:
    for name in (
        *("a.py", "b.txt", "deep/er/c.py", ".git/d.py", "node_modules/e.py"),
        *("env/pyvenv.cfg", "env/f.py", "env/lib/g.py", "__pycache__/h.py"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    watched = {os.path.relpath(path, tmp_path) for path in stamps(tmp_path)}

    assert watched == {"a.py", "deep/er/c.py"}


# --- top --------------------------------------------------------------------------


def counts(**given: int) -> Counts:
    return Counts(claimed=sum(given.values()), **given)


def test_the_table_has_a_line_a_queue_and_one_for_all() -> None:
    rows = [
        Row("mail", counts(running=2, completed=1200), speed=10.5),
        Row("post", counts(completed=1, retried=3), speed=0.25),
    ]

    assert table(rows, width=80, height=24) == [
        "queue  runs/s  running  completed  failed  retried",
        "mail     10.5        2      1,200       0        0",
        "post      0.2        0          1       0        3",
        "all      10.8        2      1,201       0        3",
    ]


def test_one_queue_needs_no_sum() -> None:
    assert len(table([Row("mail", Counts())], width=80, height=24)) == 2


def test_a_table_that_does_not_fit_shows_the_busiest_queues() -> None:
    rows = [Row(f"q{n:02}", counts(running=n)) for n in range(50)]

    lines = table(rows, width=30, height=6)

    firsts = [each.split()[0] for each in lines]
    assert firsts == ["queue", "q47", "q48", "q49", "all", "and"]
    assert lines[4].split()[2] == "1,225"
    assert {len(each) for each in lines[:5]} == {30}
    assert lines[5] == "and 47 more queues"


def test_a_line_says_what_there_is() -> None:
    rows = [Row("mail", counts(running=2, lost=1)), Row("post", counts(), speed=1)]

    assert line(rows) == (
        "mail: 0.0 runs/s, 2 running, 0 completed, 0 failed, 1 lost; "
        "post: 1.0 runs/s, 0 running, 0 completed, 0 failed"
    )


def test_a_line_of_many_queues_stays_short() -> None:
    rows = [Row(f"q{n:02}", counts(completed=1)) for n in range(500)]

    said = line(rows)

    assert said.count(";") == 11
    assert said.endswith(
        "and 490 more queues; all: " + line([Row("", counts(completed=500))])[2:]
    )


def test_the_speed_is_of_the_runs_that_ended_since_the_look_before() -> None:
    now = [0.0]
    there = {"mail": Counts(claimed=100, running=50, completed=50)}
    looks = Looks(lambda: there, lambda: now[0])

    there, now[0] = {"mail": Counts(claimed=130, running=20, completed=110)}, 4.0
    first = looks.look()
    now[0] = 5.0

    assert [row.speed for row in first] == [15.0]
    assert [row.speed for row in looks.look()] == [0.0]


def test_what_was_done_is_shown_at_the_end_too() -> None:
    shown: list[list[Row]] = []
    there = {"mail": Counts()}

    with Top(Looks(lambda: there), shown.append, every_s=PATIENCE_S):
        there = {"mail": counts(completed=1)}

    assert [row.counts.completed for rows in shown for row in rows] == [1]


def test_it_is_shown_again_and_again() -> None:
    twice = threading.Semaphore(0)

    with Top(Looks(dict), lambda _rows: twice.release(), every_s=0.01):
        seen = [twice.acquire(timeout=PATIENCE_S) for _ in range(2)]

    assert seen == [True, True]


class Terminal(io.StringIO):
    """Does what a terminal does with what is drawn on it."""

    def lines(self) -> list[str]:
        shown: list[str] = []
        for back, text in re.findall(
            r"(?:\x1b\[(\d+)F\x1b\[J)?([^\x1b]*)", self.getvalue()
        ):
            del shown[len(shown) - int(back or 0) :]
            shown += text.splitlines()
        return shown


def test_what_is_printed_goes_above_what_is_drawn() -> None:
    terminal = Terminal()
    screen = Screen(terminal)

    print("before", file=screen)
    screen.draw(["one", "two"])
    print("printed", file=screen)
    screen.draw(["three"])
    print("half", end="", file=screen)
    unfinished = terminal.lines()
    print(" and half", file=screen)

    assert unfinished == ["before", "printed", "three"]
    assert terminal.lines() == ["before", "printed", "half and half", "three"]


def test_what_was_drawn_stays_when_it_is_left() -> None:
    terminal = Terminal()
    screen = Screen(terminal)
    screen.draw(["one"])
    screen.write("rest")

    screen.leave()
    screen.write("later\n")

    assert terminal.lines() == ["rest", "one", "later"]


def test_without_a_terminal_top_writes_lines(folder: Folder, app: Client) -> None:
    process = folder.start("tasks:worker", "--top")
    ended(app, app.enqueue("mail", {}).uid)

    process.terminate()

    assert process.wait(PATIENCE_S) == 0
    folder.said("runs/s, 0 running, 1 completed, 0 failed; post: 0.0 runs/s")
    assert "\033" not in folder.errors.read_text()


class Typist:
    """The command on a terminal: what it has shown there, and keys that are pressed."""

    def __init__(self, folder: Folder, *words: str) -> None:
        self._keys, self._terminal = pty.openpty()
        self._shown: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        # The first that a process of a new session opens becomes its terminal.
        opened = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>"$0"']
        self.process = subprocess.Popen(
            [*opened, os.ttyname(self._terminal), *folder.command(*words)],
            env=folder.of_process(),
            cwd=folder.path,
            start_new_session=True,
        )
        folder.running.append(self.process)

    def press(self, key: bytes) -> None:
        os.write(self._keys, key)

    def saw(self, pattern: str) -> None:
        """Return when this has been shown."""
        until(lambda: re.search(pattern, b"".join(self._shown).decode()), pattern)

    def close(self) -> None:
        os.close(self._terminal)
        self._reader.join()
        os.close(self._keys)

    def _read(self) -> None:
        with suppress(OSError):  # nobody has the terminal any more
            while part := os.read(self._keys, 4096):
                self._shown.append(part)


@pytest.fixture
def typist(folder: Folder) -> Iterator[Typist]:
    typist = Typist(folder, "tasks:worker", "--top", "--reload")
    yield typist
    folder.end()
    typist.close()


def test_on_a_terminal_top_draws_and_ctrl_c_stops(typist: Typist, app: Client) -> None:
    ended(app, app.enqueue("mail", {"to": "x"}).uid)
    typist.saw(r"mail +\S+ +0 +1 ")

    typist.press(b"\x03")

    assert typist.process.wait(PATIENCE_S) == 0
    typist.saw("sent {'to': 'x'}\r\n")
    typist.saw("SIGINT: stopping")


def test_ctrl_c_on_a_terminal_is_told_once(
    folder: Folder, typist: Typist, app: Client
) -> None:
    typist.saw("works for mail")
    folder.write(SLOW)
    typist.saw("starting again")
    handle = app.enqueue("mail", {})
    until((folder.path / "began").exists, "the run has begun")

    typist.press(b"\x03")
    typist.saw("SIGINT: stopping")
    (folder.path / "go").touch()

    assert typist.process.wait(PATIENCE_S) == 0
    assert handle.get().state == "complete"
