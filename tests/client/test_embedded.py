"""An engine within a program: the client's verbs, on a file of its own."""

import base64
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from daemons import until

import jobengine
from jobengine.build import open_house
from jobengine.client.client import Client
from jobengine.client.jobs import Completion, Job
from jobengine.core.queues import Rulebook
from jobengine.daemon.clock import SystemClock
from jobengine.embedded import Engine
from jobengine.errors import (
    ConfigError,
    Forbidden,
    JobEngineError,
    NotADatabase,
    Overloaded,
    QueueNotFound,
    StoreBusy,
    StoreFailed,
    Unanswered,
    Unreachable,
    WrongSecret,
)
from jobengine.store.journal.compact import COMPACT_MIN_BYTES
from jobengine.worker.worker import Worker

# A key, not a passphrase: deriving one takes a tenth of a second on purpose.
SECRET = "base64:" + base64.b64encode(bytes(range(32))).decode()
CONFIG = {
    "admins": ["ops"],
    "queues": {"mail": {"read": ["mailer"], "write": ["shop"]}},
}
# Longer than anything here takes that goes well.
PATIENCE_S = 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.queuedb"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    with jobengine.open(path, secret=SECRET) as engine:
        yield engine


def reopened(path: Path, **options: Any) -> Engine:
    return jobengine.open(path, secret=SECRET, **options)


def take(client: Client, queue: str = "mail", wait: int = 0) -> Job:
    (job,) = client.claim(queue, wait=wait)
    return job


class Other:
    """A call under way in another thread."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.found: object = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.found = self._call()
        except JobEngineError as error:
            self.found = error

    def end(self) -> object:
        """What it came to."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it still waits"
        return self.found


def waiters(engine: Engine) -> int:
    return engine._site.house.doorbell.waiters


# --- the verbs --------------------------------------------------------------------


def test_a_job_goes_through_its_life(engine: Engine) -> None:
    handle = engine.enqueue("mail", {"to": "ada"}, priority=80)

    job = take(engine)
    engine.complete(job, result={"sent": True})

    assert (job.content, job.priority) == ({"to": "ada"}, 80)
    assert handle.result(timeout=PATIENCE_S) == {"sent": True}


def test_a_queue_comes_into_being_with_its_first_job(engine: Engine) -> None:
    assert engine.claim("mail") == []

    engine.enqueue("mail", 1)

    assert [queue.name for queue in engine.list_queues()] == ["mail"]
    assert take(engine).content == 1


def test_a_worker_takes_an_engine_for_a_client(engine: Engine) -> None:
    worker = Worker(engine)
    worker.handler("mail")(lambda job: job.content * 2)
    handle = engine.enqueue("mail", 21)

    with worker:
        result = handle.result(timeout=PATIENCE_S)

    assert result == 42


def test_names_of_queues_and_keys_may_hold_anything_they_may_over_the_wire(
    engine: Engine,
) -> None:
    engine.enqueue("a b:c@d", "ä", unique_key="50 % of a/b?c=ü")

    assert engine.cancel_by_key("a b:c@d", "50 % of a/b?c=ü") == 1
    assert engine.claim("a b:c@d") == []


def test_a_payload_larger_than_over_the_wire_is_refused_alike(path: Path) -> None:
    with reopened(path, config={"limits": {"body_bytes": 1024}, **CONFIG}) as engine:
        with pytest.raises(JobEngineError) as refused:
            engine.as_caller("shop").enqueue("mail", "x" * 2000)

        assert refused.value.code == "request_entity_too_large"


# --- who may what -----------------------------------------------------------------


def test_without_a_configuration_nothing_is_kept_from_anybody(engine: Engine) -> None:
    other = engine.as_caller("other")
    engine.enqueue("mail", 1)

    job = take(other)

    assert job.lease is not None
    assert job.lease.holder == "other"
    other.pause("mail")
    assert other.get_queue("mail").paused
    other.delete_queue("mail")


def test_with_a_configuration_its_lists_hold(path: Path) -> None:
    with reopened(path, config=CONFIG, name="shop") as shop:
        shop.enqueue("mail", 1)

        with pytest.raises(Forbidden):
            shop.claim("mail")
        with pytest.raises(QueueNotFound):
            shop.as_caller("stranger").enqueue("mail", 1)
        with pytest.raises(QueueNotFound):
            shop.enqueue("letters", 1)
        assert take(shop.as_caller("mailer")).content == 1
        shop.as_caller("ops").purge("mail")


def test_a_configuration_may_be_a_file(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("queues: {mail: {read: [], write: [shop]}}\n")

    with reopened(path, config=str(config), name="shop") as engine:
        queue = engine.get_queue("mail")

    assert queue.configured


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"queues": {"mail": {"read": []}}}, "queues.mail.write: is missing"),
        ({"admin": ["ops"]}, "did you mean admins"),
        ("nowhere.yml", "there is no such file"),
    ],
)
def test_a_configuration_that_cannot_be_used_opens_nothing(
    path: Path, config: Any, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        reopened(path, config=config)

    assert not path.exists()


def test_jobs_of_queues_that_a_configuration_had_outlive_an_opening_without_it(
    path: Path,
) -> None:
    with reopened(path, config=CONFIG, name="shop") as shop:
        shop.enqueue("mail", 1)

    reopened(path).close()

    with reopened(path, config=CONFIG, name="mailer") as mailer:
        assert take(mailer).content == 1


# --- the file ---------------------------------------------------------------------


def test_what_a_verb_has_told_survives_the_end_of_the_process(
    engine: Engine, path: Path
) -> None:
    handle = engine.enqueue("mail", "kept")
    left = shutil.copy(path, path.with_name("left.queuedb"))

    with reopened(Path(left)) as again:
        assert again.get("mail", handle.uid).content == "kept"


def test_a_file_is_opened_once_at_a_time(engine: Engine, path: Path) -> None:
    with pytest.raises(StoreBusy):
        reopened(path)

    engine.enqueue("mail", 1)
    engine.close()
    with reopened(path) as again:
        assert take(again).content == 1


def test_what_does_not_open_is_said_as_a_daemon_would(path: Path) -> None:
    reopened(path).close()
    other = "base64:" + base64.b64encode(bytes(32)).decode()

    with pytest.raises(WrongSecret):
        jobengine.open(path, secret=other)
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(NotADatabase):
        reopened(path)
    with pytest.raises(ConfigError, match="SECRET"):
        jobengine.open(path, secret="")
    with pytest.raises(ConfigError, match="name"):
        reopened(path, name="")


def test_a_file_that_is_taken_away_ends_every_answer(
    engine: Engine, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine.enqueue("mail", 1)
    other = Other(lambda: engine.claim("other", wait=PATIENCE_S))
    until(lambda: waiters(engine) == 1, "who waits")

    path.unlink()

    with caplog.at_level(logging.CRITICAL):
        until(lambda: _fails(lambda: engine.enqueue("mail", 1)), "the failure")
    assert isinstance(other.end(), StoreFailed)
    assert "storage failed" in caplog.text


def test_the_file_is_compacted_while_it_is_in_use(engine: Engine, path: Path) -> None:
    large = "x" * 500_000
    for _ in range(2 * COMPACT_MIN_BYTES // len(large)):
        engine.delete("mail", engine.enqueue("mail", large).uid)

    until(lambda: path.stat().st_size < 1.5 * COMPACT_MIN_BYTES, "compaction")

    engine.enqueue("mail", "after")
    engine.close()
    with reopened(path) as again:
        assert take(again).content == "after"


# --- threads ----------------------------------------------------------------------


def test_many_threads_share_an_engine(engine: Engine) -> None:
    def work(number: int) -> list[Any]:
        for job in range(25):
            engine.enqueue("mail", 100 * number + job)
        taken = engine.claim("mail", max=25)
        engine.complete_many(
            "mail",
            [
                Completion(job.uid, job.lease.token)
                for job in taken
                if job.lease is not None and job.lease.token is not None
            ],
        )
        return [job.content for job in taken]

    with ThreadPoolExecutor(8) as pool:
        taken = [content for each in pool.map(work, range(8)) for content in each]

    taken += [job.content for job in engine.claim("mail", max=1000)]
    assert sorted(taken) == sorted(100 * n + job for n in range(8) for job in range(25))


def test_who_waits_gets_the_job_that_another_thread_brings(engine: Engine) -> None:
    other = Other(lambda: take(engine, wait=PATIENCE_S).content)
    until(lambda: waiters(engine) == 1, "who waits")

    engine.enqueue("mail", "here")

    assert other.end() == "here"


def test_who_waits_gets_the_job_whose_time_has_come(engine: Engine) -> None:
    engine.enqueue("mail", "later", delay=0.3)

    assert engine.claim("mail") == []
    assert take(engine, wait=PATIENCE_S).content == "later"


def test_who_waits_for_the_end_of_a_job_is_told(engine: Engine) -> None:
    handle = engine.enqueue("mail", 1, keep=0)
    job = take(engine)
    other = Other(lambda: handle.result(timeout=PATIENCE_S))
    until(lambda: waiters(engine) == 1, "who waits")

    engine.complete(job, result="done")

    assert other.end() == "done"


def test_a_time_that_is_up_is_up(engine: Engine) -> None:
    assert engine.claim("mail", wait=1) == []


def test_an_interrupted_client_waits_no_more_and_the_others_do(
    engine: Engine,
) -> None:
    polling = engine.another()
    polled = Other(lambda: polling.claim("mail", wait=PATIENCE_S))
    other = Other(lambda: take(engine, wait=PATIENCE_S).content)
    until(lambda: waiters(engine) == 2, "who waits")

    polling.interrupt()

    assert isinstance(polled.end(), Unanswered)
    with pytest.raises(Unanswered):
        polling.claim("mail")
    engine.enqueue("mail", "for the other")
    assert other.end() == "for the other"


def test_too_many_who_wait_are_refused_as_over_the_wire(path: Path) -> None:
    limits = {"limits": {"waiters_per_service": 1}}
    with reopened(path, config=CONFIG | limits, name="mailer") as engine:
        first = Other(lambda: engine.claim("mail", wait=PATIENCE_S))
        until(lambda: waiters(engine) == 1, "who waits")

        with pytest.raises(Overloaded):
            engine.claim("mail", wait=PATIENCE_S)

        engine.as_caller("shop").enqueue("mail", 1)
        assert isinstance(first.end(), list)


# --- its end ----------------------------------------------------------------------


def test_closing_ends_who_waits_and_all_threads(path: Path) -> None:
    others = set(threading.enumerate())
    engine = reopened(path)
    ours = set(threading.enumerate()) - others
    other = Other(lambda: engine.claim("mail", wait=PATIENCE_S))
    until(lambda: waiters(engine) == 1, "who waits")

    engine.close()

    assert {"sweeper", "compact", "commit"} == {thread.name for thread in ours}
    assert isinstance(other.end(), Unreachable)
    assert not ours & set(threading.enumerate())


def test_a_closed_engine_answers_nothing_and_may_be_closed_again(
    engine: Engine,
) -> None:
    other, more = engine.as_caller("other"), engine.another()
    engine.close()

    for client in (engine, other, more):
        with pytest.raises(Unreachable, match="closed"):
            client.enqueue("mail", 1)
    engine.close()


def test_closing_what_was_made_of_an_engine_leaves_it_open(engine: Engine) -> None:
    engine.as_caller("other").close()
    engine.another().close()

    engine.enqueue("mail", 1)

    assert take(engine).content == 1


def test_a_closed_file_was_closed_cleanly(path: Path) -> None:
    reopened(path).close()

    house = open_house(
        db_path=path,
        secret=SECRET.encode(),
        rules=Rulebook(),
        clock=SystemClock(),
        on_failure=pytest.fail,
    )
    house.close()

    assert house.opened == "clean"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_the_process_can_do_no_harm(engine: Engine, path: Path) -> None:
    engine.enqueue("mail", 1)

    child = os.fork()
    if child == 0:
        os._exit(_code_of(lambda: engine.enqueue("mail", 2), engine.close))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    engine.enqueue("mail", 3)
    assert [job.content for job in engine.claim("mail", max=9)] == [1, 3]
    engine.close()
    reopened(path).close()


def _code_of(call: Callable[[], object], close: Callable[[], object]) -> int:
    try:
        call()
    except Unreachable:
        close()
        return 7
    return 8


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except StoreFailed:
        return True
    return False


# --- manners ----------------------------------------------------------------------


def test_an_engine_writes_nothing_on_the_output_of_its_program(path: Path) -> None:
    code = (
        "import jobengine\n"
        f"with jobengine.open({str(path)!r}, secret={SECRET!r}) as engine:\n"
        "    handle = engine.enqueue('mail', 1, valid_for=0.001)\n"
        "    engine.wait('mail', handle.uid, 0.5)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert done.stdout == ""


def test_nothing_of_the_server_is_loaded_before_an_engine_is_opened() -> None:
    code = (
        "import sys, jobengine, jobengine.embedded, jobengine.pytest_plugin\n"
        "jobengine.open, jobengine.Engine, jobengine.Client\n"
        "assert not {'flask', 'cryptography', 'marshmallow'} & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
