"""Reloading, a look at a time; the seconds are the test's."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jobengine.api.health import Status
from jobengine.daemon.reload import SETTLED_S, Reloader, read
from jobengine.daemon.settings import Settings, load
from jobengine.errors import StoreFailed

ONE = "queues:\n  mail: {read: [mailer], write: [shop]}\n"
TWO = ONE + "  print: {read: [printer], write: [shop]}\n"
BAD = "queues:\n  mail: {read: [mailer], wriet: [shop]}\n"


class Site:
    """A configuration file, what is in force, and a reloader nobody has started."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.path = folder / "config.yml"
        self.path.write_text(ONE)
        self.environ = {
            "SECRET": "only the tests know it",
            "CONFIG_PATH": str(self.path),
            "DB_PATH": str(folder / "db"),
            **environ,
        }
        self.status = Status()
        self.applied: list[Settings] = []
        self.reloader = Reloader(
            self.load(),
            seen=read(self.path),
            load=self.load,
            apply=self.applied.append,
            status=self.status,
        )

    def load(self) -> Settings:
        return load(self.environ, missing="refuse")

    @property
    def queues(self) -> list[list[str]]:
        """The queues of each reload so far."""
        return [sorted(each.rules.queues) for each in self.applied]


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    return lambda **environ: Site(tmp_path, environ)


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def test_a_file_that_stays_the_same_is_left_alone(site: Site) -> None:
    for second in range(5):
        site.reloader.look(now=second)

    assert site.applied == []


def test_a_changed_file_is_taken_once_it_has_settled(site: Site) -> None:
    site.path.write_text(TWO)

    site.reloader.look(now=10.0)
    before = list(site.applied)
    site.reloader.look(now=10.0 + SETTLED_S)
    site.reloader.look(now=20.0)

    assert before == []
    assert site.queues == [["mail", "print"]]


def test_a_file_still_being_written_is_not_read_half(site: Site) -> None:
    site.path.write_text(TWO[:30])
    site.reloader.look(now=10.0)
    site.path.write_text(TWO)
    site.reloader.look(now=10.9)
    site.reloader.look(now=11.5)
    before = list(site.applied)

    site.reloader.look(now=12.0)

    assert before == []
    assert site.queues == [["mail", "print"]]


def test_when_asked_it_reloads_at_once_though_nothing_changed(site: Site) -> None:
    site.reloader.look(now=0.0, asked=True)

    assert site.queues == [["mail"]]


def test_a_symlink_swapped_under_the_same_name_is_a_change(site: Site) -> None:
    new = site.path.with_name("new.yml")
    new.write_text(TWO)
    link = site.path.with_name("link")
    link.symlink_to(new)
    link.replace(site.path)

    site.reloader.look(now=10.0)
    site.reloader.look(now=11.0)

    assert site.queues == [["mail", "print"]]


def test_a_bad_file_changes_nothing_and_the_fault_is_named(site: Site) -> None:
    site.path.write_text(BAD)

    with capture_logs() as lines:
        site.reloader.look(now=10.0)
        site.reloader.look(now=11.0)
        site.reloader.look(now=12.0)

    assert site.applied == []
    assert [line["log_level"] for line in lines] == ["error"]
    assert "wriet" in lines[0]["detail"]
    assert site.status.config_error == lines[0]["detail"]


def test_a_mended_file_clears_the_fault(site: Site) -> None:
    site.path.write_text(BAD)
    site.reloader.look(now=10.0, asked=True)
    site.path.write_text(TWO)

    site.reloader.look(now=11.0, asked=True)

    assert site.status.config_error is None
    assert site.queues == [["mail", "print"]]


def test_a_bad_file_put_back_as_it_was_clears_the_fault_too(site: Site) -> None:
    site.path.write_text(BAD)
    site.reloader.look(now=10.0, asked=True)
    site.path.write_text(ONE)

    site.reloader.look(now=11.0)
    site.reloader.look(now=12.0)

    assert site.status.config_error is None


def test_a_file_that_is_gone_takes_no_queue_with_it(site: Site) -> None:
    site.path.unlink()

    site.reloader.look(now=10.0)
    site.reloader.look(now=11.0)

    assert site.applied == []
    assert site.status.config_error is not None
    assert not site.path.exists()


def test_the_log_tells_what_changes(site: Site) -> None:
    site.path.write_text(TWO.replace("[mailer]", "[mailer, backup]"))

    with capture_logs() as lines:
        site.reloader.look(now=10.0, asked=True)

    assert lines[0]["event"] == "configuration reloaded"
    assert lines[0]["added"] == ("print",)
    assert lines[0]["changed"] == {"mail": ("read is given to backup",)}
    assert "removed" not in lines[0]


def test_the_log_tells_which_limits_change(site: Site) -> None:
    site.path.write_text(ONE + "limits: {idle_seconds: 5, pipeline: 32}\n")

    with capture_logs() as lines:
        site.reloader.look(now=10.0, asked=True)
        site.reloader.look(now=11.0, asked=True)

    assert [line.get("limits") for line in lines] == [{"idle_seconds": 5}, None]


def test_what_waits_for_a_restart_is_named_each_time(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    site.path.write_text("port: 7000\n" + ONE)

    with capture_logs() as lines:
        site.reloader.look(now=10.0, asked=True)
        site.reloader.look(now=11.0, asked=True)

    waiting = [line for line in lines if line["log_level"] == "warning"]
    assert [line["keys"] for line in waiting] == [["port"], ["port"]]


def test_a_port_of_the_environment_does_not_wait_for_anything(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(PORT="7001")
    site.path.write_text("port: 7000\n" + ONE)

    with capture_logs() as lines:
        site.reloader.look(now=10.0, asked=True)

    assert [line["log_level"] for line in lines] == ["info"]


def test_the_thread_ends_when_the_store_has_failed(site: Site) -> None:
    tried = threading.Event()

    def fail(_settings: Settings) -> None:
        tried.set()
        raise StoreFailed("no disk")

    reloader = Reloader(
        site.load(), seen=None, load=site.load, apply=fail, status=site.status
    )
    with capture_logs() as lines:
        reloader.ask()
        reloader.start()
        tried.wait(10)
        reloader.stop()

    assert [line["code"] for line in lines] == ["storage_failed"]
