"""The command: what it prints, on which stream, and the code it ends with."""

import base64
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from jobengine import errors
from jobengine._version import __version__
from jobengine.build import open_house
from jobengine.cli import exit_code, main
from jobengine.core.access import Caller
from jobengine.core.job import NewJob
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.testing import SimClock

SECRET = "base64:" + base64.b64encode(bytes(range(32))).decode()
CONFIG = """\
version: 1
job_timeout_minutes: 10
queues:
  mail: {read: [mailer], write: [shop]}
  old: {read: [a], write: [a]}
"""


class Desk:
    """A folder with a config file, and the command run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yml"
        self.database = folder / "jobs.queuedb"
        self.config.write_text(CONFIG)

    def run(self, *words: str, **environ: str | None) -> Result:
        base: dict[str, str | None] = {
            "SECRET": SECRET,
            "SECRET_FILE": None,
            "CONFIG_PATH": str(self.config),
            "DB_PATH": str(self.database),
            "HOST": None,
            "PORT": None,
            "AUTH_MODE": None,
            "GIN_MODE": None,
        }
        return CliRunner().invoke(main, words, env=base | environ)

    def put(self, **jobs: int) -> None:
        """Make a database with so many jobs in each queue."""
        caller = Caller("a")
        rules = {
            name: QueueRules(name, write=frozenset({caller.name})) for name in jobs
        }
        house = open_house(
            db_path=self.database,
            secret=SECRET.encode(),
            rules=Rulebook(rules),
            clock=SimClock(),
            on_failure=lambda error: None,
        )
        for name, count in jobs.items():
            for _ in range(count):
                house.engine.enqueue(caller, name, NewJob(b"{}"))
        house.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.StoreCorrupt("x"), 65),
        (errors.NotADatabase("x"), 65),
        (errors.NewerFormat("x"), 65),
        (errors.KdfUnavailable("x"), 69),
        (errors.StoreFailed("x"), 74),
        (errors.StoreUnreadable("x"), 74),
        (errors.StoreBusy("x"), 75),
        (errors.WrongSecret("x"), 77),
        (errors.ConfigError("x"), 78),
        (errors.JobEngineError("x"), 1),
        (ValueError("x"), 1),
    ],
)
def test_every_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_the_version_is_printed(desk: Desk) -> None:
    assert desk.run("--version").output == f"jobengine, version {__version__}\n"


@pytest.mark.parametrize(
    "words", [["nope"], ["serve", "extra"], ["serve", "--workers=2"], ["config", "x"]]
)
def test_wrong_usage_is_2(desk: Desk, words: list[str]) -> None:
    assert desk.run(*words).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["serve", "--help"],
        ["config", "check", "--help"],
        ["config", "show", "--help"],
        ["config", "diff", "--help"],
    ],
)
def test_every_help_page_shows_how_it_is_done(desk: Desk, words: list[str]) -> None:
    result = desk.run(*words)

    assert result.exit_code == 0
    assert "Examples:" in result.output or "Start here:" in result.output


# --- serve ------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [None, "", "hello_world"])
def test_D28_serve_without_a_secret_ends_with_78_and_touches_nothing(
    desk: Desk, secret: str | None
) -> None:
    desk.config.unlink()

    result = desk.run("serve", SECRET=secret)

    assert result.exit_code == 78
    assert result.stdout == ""
    assert result.stderr.startswith("jobengine: SECRET is ")
    assert "Traceback" not in result.stderr
    assert list(desk.folder.iterdir()) == []


def test_serve_with_a_bad_configuration_ends_with_78_and_makes_no_database(
    desk: Desk,
) -> None:
    desk.config.write_text("prot: 1")

    result = desk.run("serve")

    assert result.exit_code == 78
    assert f"{desk.config}:1: prot: unknown key; did you mean port?" in result.stderr
    assert not desk.database.exists()


# --- config check -----------------------------------------------------------------


def test_check_finds_nothing_wrong_with_a_good_file(desk: Desk) -> None:
    result = desk.run("config", "check")

    assert result.exit_code == 0
    assert result.stdout.endswith("good; 2 queues; listens on 127.0.0.1, port 6010\n")
    assert result.stderr == ""


def test_check_takes_a_file_in_place_of_the_one_in_force(desk: Desk) -> None:
    new = desk.folder / "new.yml"
    new.write_text("port: 1\nhost: x y\nport: 2\n")

    result = desk.run("config", "check", str(new))

    assert result.exit_code == 78
    assert result.stderr.splitlines() == [
        "jobengine: 2 mistakes in the configuration:",
        f"  {new}:2: host: must be a host name or address",
        f'  {new}:3: "port" is given twice, first on line 1',
    ]


def test_check_of_a_named_file_that_is_not_there_is_78(desk: Desk) -> None:
    result = desk.run("config", "check", "none.yml")

    assert result.exit_code == 78
    assert "no such file" in result.stderr


def test_check_needs_no_secret_but_says_that_serve_does(desk: Desk) -> None:
    none = desk.run("config", "check", SECRET=None)
    short = desk.run("config", "check", SECRET="short")

    assert none.exit_code == short.exit_code == 0
    assert "`jobengine serve` would refuse: SECRET is missing" in none.stderr
    assert "warning: SECRET is shorter than 16 characters" in short.stderr


def test_check_and_show_write_no_default_file(desk: Desk) -> None:
    desk.config.unlink()

    check, show = desk.run("config", "check"), desk.run("config", "show")

    assert check.exit_code == show.exit_code == 0
    assert "a start writes the default there" in check.stderr
    assert list(desk.folder.iterdir()) == []


# --- config show ------------------------------------------------------------------


def test_show_prints_a_valid_configuration_of_all_that_is_in_force(desk: Desk) -> None:
    first = desk.run("config", "show", PORT="7000", AUTH_MODE="names")
    shown = desk.folder / "shown.yml"
    shown.write_text(first.stdout)

    again = desk.run("config", "show", CONFIG_PATH=str(shown))

    assert yaml.safe_load(first.stdout)["port"] == 7000
    assert yaml.safe_load(first.stdout)["auth"] == {"mode": "names"}
    assert yaml.safe_load(first.stdout) == yaml.safe_load(again.stdout)
    assert f"# DB_PATH: {desk.database}" in first.stdout


def test_show_prints_no_secret(desk: Desk) -> None:
    result = desk.run("config", "show", SECRET_PREVIOUS="the needle of last year")

    assert SECRET not in result.output
    assert "needle" not in result.output


# --- config diff ------------------------------------------------------------------


def test_diff_of_two_files_tells_what_is_added_changed_and_lost(desk: Desk) -> None:
    new = desk.folder / "new.yml"
    new.write_text(
        "port: 7000\nserver: gthread\n"
        "job_timeout_minutes: 5\nremoved_keep_minutes: 60\n"
        "limits: {body_bytes: 2048, pipeline: 8, idle_seconds: 75}\n"
        "queues:\n"
        "  mail: {read: [mailer, spare], write: []}\n"
        "  fresh: {read: [], write: [shop]}\n"
    )

    result = desk.run("config", "diff", str(new), SECRET=None)

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "+ queue fresh: new; read by nobody; written by shop",
        "~ queue mail: read is given to spare",
        "~ queue mail: write is taken from shop",
        "~ queue mail: a job in progress may take 5 min, not 10 min",
        "- queue old: gone at once; its jobs: hidden, and DELETED after 60 min "
        "unless the name returns",
        "~ the jobs of a removed queue are kept 60 min, not 1440 min",
        "~ in queues that callers make, a job in progress may take 5 min, not 10 min",
        "~ port: 7000, not 6010 (after a restart)",
        '~ server: "gthread", not "loop" (after a restart)',
        "~ limits.body_bytes: 2048, not 1048576",
        "~ limits.pipeline: 8, not 32",
        "New times hold for jobs taken or finished after the change.",
    ]


def test_diff_of_the_same_file_tells_that_nothing_changes(desk: Desk) -> None:
    result = desk.run("config", "diff", str(desk.config))

    assert result.stdout == "nothing would change\n"


def test_diff_with_a_file_that_has_mistakes_is_78(desk: Desk) -> None:
    new = desk.folder / "new.yml"
    new.write_text("queues: 3")

    assert desk.run("config", "diff", str(new)).exit_code == 78


@pytest.mark.parametrize(
    ("key", "fate"),
    [
        (
            "removed_keep_minutes: 5",
            "hidden, and DELETED after 5 min unless the name returns",
        ),
        ("removed_keep_minutes: 0", "DELETED"),
        ("on_queue_removed: keep", "kept, hidden, until the name returns"),
    ],
)
def test_diff_without_a_file_tells_what_becomes_of_the_jobs_in_the_database(
    desk: Desk, key: str, fate: str
) -> None:
    desk.put(mail=2, gone=1)
    desk.config.write_text(CONFIG + key)
    before = desk.database.read_bytes()

    result = desk.run("config", "diff")

    assert result.stdout.splitlines() == [
        "+ queue old: no job yet",
        "= queue mail: 2 jobs stay",
        f"- queue gone: gone at once; 1 job: {fate}",
    ]
    assert desk.database.read_bytes() == before


def test_diff_without_a_database_says_that_a_start_makes_it(desk: Desk) -> None:
    result = desk.run("config", "diff")

    assert result.exit_code == 0
    assert "a start makes it" in result.stdout
    assert not desk.database.exists()


def test_diff_with_the_wrong_secret_is_77(desk: Desk) -> None:
    desk.put(mail=1)

    result = desk.run("config", "diff", SECRET="another secret, long enough")

    assert result.exit_code == 77
    assert "Traceback" not in result.output


def test_diff_while_a_daemon_has_the_database_is_75_and_says_what_to_do(
    desk: Desk,
) -> None:
    house = open_house(
        db_path=desk.database,
        secret=SECRET.encode(),
        rules=Rulebook(),
        clock=SimClock(),
        on_failure=lambda error: None,
    )
    try:
        result = desk.run("config", "diff")
    finally:
        house.close()

    assert result.exit_code == 75
    assert "`jobengine config diff NEW`" in result.stderr


def test_the_shipped_configuration_is_good_and_has_the_queue_of_the_tour(
    desk: Desk,
) -> None:
    shipped = Path(__file__).parents[1] / "config.yml"

    result = desk.run("config", "show", CONFIG_PATH=str(shipped))

    queue = yaml.safe_load(result.stdout)["queues"]["test_queue_1"]
    lists = {"read": ["service1", "service2"], "write": ["service3"]}
    assert queue | lists == queue


SHOWN = (
    *("on_queue", "removed_keep", "strict_acl", "auth: {", "hosts: [", "limits"),
    *("admins: [", "dynamic_queues: {", "dead_keep", "memory_bytes", "relay: {"),
    "dialects: {",
)


def test_every_line_the_shipped_configuration_shows_as_a_comment_is_valid(
    desk: Desk,
) -> None:
    shipped = Path(__file__).parents[1] / "config.yml"
    lines = shipped.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.removeprefix("# ").startswith(SHOWN):
            lines[number] = line.removeprefix("# ")
    desk.config.write_text("\n".join(lines))

    result = desk.run("config", "check")

    assert result.exit_code == 0
    assert sum(line.startswith(SHOWN) for line in lines) == len(SHOWN)


def test_the_queue_that_the_shipped_configuration_shows_as_a_comment_is_valid(
    desk: Desk,
) -> None:
    shipped = Path(__file__).parents[1] / "config.yml"
    _, _, rest = shipped.read_text().partition("  # test_queue_2:\n")
    shown, _, _ = rest.partition("\n\n")
    keys = "\n".join(line.replace("  # ", "  ", 1) for line in shown.splitlines())
    desk.config.write_text(f"queues:\n  test_queue_2:\n{keys}\n")

    result = desk.run("config", "check")

    assert result.exit_code == 0
    assert "max_jobs" in keys


def test_diff_tells_of_a_dialect_and_of_relay_by_key(desk: Desk) -> None:
    new = desk.folder / "new.yml"
    new.write_text(CONFIG + "relay: {service: shop}\ndialects: {v1_keys: false}\n")

    there, back = (
        desk.run("config", "diff", str(new)),
        desk.run("config", "diff", str(desk.config), CONFIG_PATH=str(new)),
    )

    assert there.stdout.splitlines() == [
        "~ dialects.v1_keys: false, not true (after a restart)",
        '~ relay.service: "shop", not absent',
    ]
    assert '~ relay.service: absent, not "shop"' in back.stdout.splitlines()
