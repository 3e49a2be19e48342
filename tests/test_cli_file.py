"""The file's tools as they are typed: what they print, change, and end with."""

import base64
import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jobengine.build import House, open_house
from jobengine.cli import main
from jobengine.cli_file import COMMANDS
from jobengine.cli_tool import Progress
from jobengine.core.access import Caller
from jobengine.core.job import Change, NewJob, State
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.store.journal.disk import OsFile
from jobengine.testing import SimClock

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/store/golden"
TOOLS = (ROOT / "docs/reference/tools.md").read_text()


def key(first: int) -> str:
    """A secret that costs no derivation."""
    return "base64:" + base64.b64encode(bytes(range(first, first + 32))).decode()


SECRET, OTHER = key(0), key(1)
CONFIG = """\
version: 1
queues:
  mail: {read: [a], write: [a]}
  q1: {read: [a], write: [a]}
"""
RULES = Rulebook(
    {
        name: QueueRules(name, read=frozenset({"a"}), write=frozenset({"a"}))
        for name in ("mail", "post")
    }
)
CALLER = Caller("a")


class Bench:
    """A folder with a database in it, and the tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "jobs.queuedb"
        self.config = folder / "config.yml"
        self.config.write_text(CONFIG)

    def run(self, *words: str | Path, **environ: str | None) -> Result:
        names = ("SECRET_FILE", "SECRET_PREVIOUS", "SECRET_PREVIOUS_FILE")
        base: dict[str, str | None] = {
            **dict.fromkeys((*names, "LEGACY_SECRET", "LEGACY_SECRET_FILE")),
            "SECRET": SECRET,
            "CONFIG_PATH": str(self.config),
            "DB_PATH": str(self.database),
        }
        return CliRunner().invoke(main, list(map(str, words)), env=base | environ)

    def json(self, *words: str | Path, **environ: str | None) -> Any:
        """What is said with --json, which says nothing else."""
        result = self.run(*words, "--json", **environ)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        return json.loads(result.stdout)

    def open(self) -> House:
        return open_house(
            db_path=self.database,
            secret=SECRET.encode(),
            rules=RULES,
            clock=SimClock(),
            on_failure=lambda error: None,
        )

    def fill(self) -> None:
        """Two jobs of mail, one of them taken, and a complete one of post."""
        house = self.open()
        put(house, "mail", b'{"n":1}')
        put(house, "mail", b'{"n": 9007199254740993,\n "s":"needle"}')
        put(house, "post", b"{}")
        house.engine.claim(CALLER, "mail")
        done = house.engine.claim(CALLER, "post")[0]
        house.engine.update(CALLER, "post", done.uid, Change(state=State.COMPLETE))
        house.close()

    def damage(self, at: int) -> None:
        data = bytearray(self.database.read_bytes())
        data[at] ^= 1
        self.database.write_bytes(data)


def put(house: House, queue: str, content: bytes) -> None:
    house.engine.enqueue(CALLER, queue, NewJob(content))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def filled(bench: Bench) -> Bench:
    bench.fill()
    return bench


# --- all of them ------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_every_tool_teaches_by_example_and_is_documented(
    bench: Bench, command: Any
) -> None:
    page = bench.run(command.name, "--help")

    assert page.exit_code == 0
    assert "Examples:" in page.output
    assert f"jobengine {command.name}" in page.output.partition("Examples:")[2]
    assert "--json" in page.output
    section = TOOLS.partition(f"## `jobengine {command.name}")[2].partition("\n## ")[0]
    for parameter in command.params:
        for name in parameter.opts:
            assert name.strip("-") in section.lower() or name == "--json", name


@pytest.mark.parametrize(
    "words",
    [
        *(["verify"], ["inspect"], ["dump"], ["backup", "out"]),
        *(["compact"], ["rekey"], ["restore", "none"], ["import-legacy", "none"]),
        ["salvage", "none", "out"],
    ],
)
def test_a_file_that_is_not_there_is_wrong_usage_and_nothing_is_made(
    bench: Bench, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)

    result = bench.run(*words, SECRET_PREVIOUS=OTHER)

    assert result.exit_code == 2, result.output
    assert "no such file" in result.output.lower() or "no database" in result.output
    assert list(bench.folder.iterdir()) == [bench.config]


@pytest.mark.parametrize(
    "words", [["compact"], ["rekey"], ["restore", "x"], ["salvage", "x", "y"]]
)
def test_a_tool_that_writes_wants_a_secret_as_serve_does(
    filled: Bench, words: list[str]
) -> None:
    before = filled.database.read_bytes()

    for secret in (None, "hello_world"):
        assert filled.run(*words, SECRET=secret).exit_code == 78
    assert filled.database.read_bytes() == before


def test_tools_that_read_work_beside_a_daemon_and_see_what_it_has_acknowledged(
    filled: Bench,
) -> None:
    house = filled.open()
    try:
        put(house, "mail", b"{}")

        assert filled.json("verify")["jobs"] == 4
        assert filled.json("inspect")["closed"] is False
        assert len(filled.run("dump").stdout.splitlines()) == 4
        assert filled.json("backup", filled.folder / "out")["jobs"] == 4
    finally:
        house.close()
    assert filled.json("verify", filled.folder / "out")["jobs"] == 4


def test_tools_that_write_say_that_a_daemon_has_the_database(filled: Bench) -> None:
    backup, new = filled.folder / "backup", filled.folder / "new"
    filled.run("backup", backup)
    house = filled.open()
    try:
        for words in (
            ["compact"],
            ["rekey"],
            ["restore", backup, "--force"],
            ["salvage", filled.database, new],
            ["import-legacy", GOLDEN / "legacy-era1.queuedb"],
        ):
            result = filled.run(
                *words, SECRET_PREVIOUS=OTHER, LEGACY_SECRET="hello_world"
            )
            assert result.exit_code == 75, words
            assert "in use" in result.stderr
    finally:
        house.close()
    assert {path.name for path in filled.folder.iterdir()} == {
        *("jobs.queuedb", "config.yml", "backup")
    }


def test_a_damaged_file_refuses_every_tool_that_would_go_on_with_it(
    filled: Bench,
) -> None:
    filled.damage(16384 + 90)
    before = filled.database.read_bytes()

    for words in (
        ["dump"],
        ["backup", filled.folder / "out"],
        ["compact"],
        ["restore", filled.database],
        ["import-legacy", GOLDEN / "legacy-era1.queuedb"],
    ):
        environ = {"LEGACY_SECRET": "hello_world"}
        if words[0] == "restore":
            environ["DB_PATH"] = str(filled.folder / "new")
        result = filled.run(*words, **environ)
        assert result.exit_code == 65, words
        assert "at byte 16384" in result.stderr
        assert result.stdout == ""
    assert filled.database.read_bytes() == before
    assert {path.name for path in filled.folder.iterdir()} == {
        *("jobs.queuedb", "config.yml")
    }


def test_a_reader_that_goes_away_is_no_fault_of_the_disk(filled: Bench) -> None:
    environ = {"SECRET": SECRET, "DB_PATH": str(filled.database), "PATH": ""}
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run(
        [sys.executable, "-m", "jobengine", "dump", "--payloads"],
        env=environ,
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)

    assert done.returncode not in (0, 74)
    assert b"Traceback" not in done.stderr


def test_what_the_disk_does_not_give_ends_with_74(bench: Bench) -> None:
    folder = {"DB_PATH": str(bench.folder)}

    assert bench.run("verify", **folder).exit_code == 74
    assert bench.run("backup", bench.folder / "out", **folder).exit_code == 74


# --- verify -----------------------------------------------------------------------


def test_verify_says_that_all_is_well(filled: Bench) -> None:
    told = filled.run("verify")

    assert told.exit_code == 0
    assert told.stdout.startswith(f"{filled.database}: good\n")
    assert "3 jobs in 2 queues" in told.stdout


def test_verify_without_a_secret_says_what_it_did_not_check(filled: Bench) -> None:
    told = filled.run("verify", SECRET=None)
    facts = filled.json("verify", SECRET=None)

    assert told.exit_code == 0
    assert "checked without SECRET" in told.stdout
    assert (facts["good"], facts["checked"]) == (True, "without_secret")
    assert "jobs" not in facts


def test_verify_names_the_offset_of_damage_and_ends_with_65(filled: Bench) -> None:
    filled.damage(16384 + 90)

    for secret in (SECRET, None):
        told = filled.run("verify", SECRET=secret)
        facts = filled.run("verify", "--json", SECRET=secret)

        assert told.exit_code == facts.exit_code == 65
        assert "at byte 16384" in told.stderr
        damage = json.loads(facts.stdout)["damage"]
        assert (damage["offset"], damage["code"]) == (16384, "store_corrupt")


def test_verify_finds_by_key_what_no_checksum_shows(filled: Bench) -> None:
    # Both watermarks blank: no accident that checksums know of.
    data = bytearray(filled.database.read_bytes())
    data[4096:4168] = data[8192:8264] = bytes(72)
    filled.database.write_bytes(data)

    assert filled.run("verify", SECRET=None).exit_code == 0
    assert filled.run("verify").exit_code == 65


def test_verify_with_another_secret_ends_with_77(filled: Bench) -> None:
    assert filled.run("verify", SECRET=OTHER).exit_code == 77
    assert filled.json("verify", SECRET=OTHER, SECRET_PREVIOUS=SECRET)["good"]


def test_verify_tells_of_one_bad_header_and_of_a_torn_commit(filled: Bench) -> None:
    filled.damage(300)
    with filled.database.open("ab") as file:
        file.write(b"JEF1 torn")

    told, facts = filled.run("verify"), filled.json("verify")

    assert "one of the two header copies is damaged" in told.stdout
    assert "9 bytes at" in told.stdout
    assert "not closed" in told.stdout
    assert facts["header_damaged"]
    assert facts["torn"]["length"] == 9


def test_verify_of_what_is_no_database_ends_with_65(bench: Bench) -> None:
    assert bench.run("verify", bench.config).exit_code == 65


# --- inspect ----------------------------------------------------------------------


def test_inspect_with_a_secret_tells_queues_states_and_ages(filled: Bench) -> None:
    facts, told = filled.json("inspect"), filled.run("inspect")

    assert facts["queues"] == {
        "mail": {
            "jobs": {
                "queued": 1,
                "inprogress": 1,
                "complete": 0,
                "failed": 0,
                "cancelled": 0,
            },
            "content_bytes": 45,
            "oldest_queued_at": SimClock().now(),
        },
        "post": {
            "jobs": {
                "queued": 0,
                "inprogress": 0,
                "complete": 1,
                "failed": 0,
                "cancelled": 0,
            },
            "content_bytes": 2,
            "oldest_queued_at": None,
        },
    }
    assert 16384 < facts["live_bytes"] < facts["bytes"]
    assert "  post: 1 complete\n" in told.stdout
    assert re.search(r"  mail: 1 queued, 1 inprogress, the oldest .* ago", told.stdout)


def test_inspect_without_a_secret_tells_form_sizes_and_derivation(
    filled: Bench,
) -> None:
    facts, told = filled.json("inspect", SECRET=None), filled.run("inspect")

    assert (facts["format"], facts["epoch"]) == ("1.0", 1)
    assert facts["bytes"] == filled.database.stat().st_size
    assert facts["frames"]["SNAP_END"] == facts["frames"]["CLOSE"] == 1
    assert facts["kdf"] == {"name": "HKDF-SHA256"}
    assert "queues" not in facts
    assert "format: 1.0\n" in told.stdout


def test_inspect_tells_what_argon2_is_given(bench: Bench) -> None:
    secret = "a secret that people can say"
    made = bench.run(
        "import-legacy",
        GOLDEN / "legacy-era2.jedb",
        SECRET=secret,
        LEGACY_SECRET="hello_world",
    )
    assert made.exit_code == 0

    assert bench.json("inspect", SECRET=None)["kdf"] == {
        "name": "Argon2id",
        "memory_kib": 65536,
        "passes": 3,
        "lanes": 4,
    }


def test_inspect_of_a_damaged_file_tells_what_it_can_and_ends_with_65(
    filled: Bench,
) -> None:
    filled.damage(16384 + 90)

    told = filled.run("inspect")

    assert told.exit_code == 65
    assert "epoch: 1" in told.stdout
    assert "damage: " in told.stdout


def test_inspect_tells_of_damage_that_only_keys_show(filled: Bench) -> None:
    data = bytearray(filled.database.read_bytes())
    data[4096:4168] = data[8192:8264] = bytes(72)
    filled.database.write_bytes(data)

    told = filled.run("inspect", "--json")

    assert told.exit_code == 65
    assert json.loads(told.stdout)["damage"]["offset"] == 4096


def test_inspect_of_an_empty_database_says_so(bench: Bench) -> None:
    bench.open().close()

    assert "queues: none has a job" in bench.run("inspect").stdout


# --- dump -------------------------------------------------------------------------


def test_dump_prints_a_job_a_line_without_payloads_or_tokens(filled: Bench) -> None:
    told = filled.run("dump")

    jobs = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(job["queue"], job["seq"], job["state"]) for job in jobs] == [
        ("mail", 0, "inprogress"),
        ("mail", 1, "queued"),
        ("post", 2, "complete"),
    ]
    assert (jobs[0]["holder"], jobs[0]["attempt"]) == ("a", 1)
    assert "needle" not in told.stdout
    assert not any("token" in name or name == "content" for name in jobs[0])


def test_dump_prints_payloads_of_one_queue_when_asked(filled: Bench) -> None:
    told = filled.run("dump", "--payloads", "--queue", "mail", "--json")

    lines = told.stdout.splitlines()
    assert len(lines) == 2
    assert '"content":{"n": 9007199254740993,  "s":"needle"}' in lines[1]
    assert json.loads(lines[1])["content_bytes"] == 38


def test_dump_needs_a_secret(filled: Bench) -> None:
    assert filled.run("dump", SECRET=None).exit_code == 78
    assert filled.run("dump", SECRET=OTHER).exit_code == 77


# --- backup and restore -----------------------------------------------------------


def test_a_backup_is_private_and_never_replaces_a_file_unasked(filled: Bench) -> None:
    out = filled.folder / "out"

    assert filled.run("backup", out).exit_code == 0
    again = filled.run("backup", out)

    assert out.stat().st_mode & 0o777 == 0o600
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert filled.run("backup", "--force", out).exit_code == 0
    assert filled.run("backup", "--force", filled.database).exit_code == 2


def test_a_backup_needs_no_secret_and_says_so(filled: Bench) -> None:
    out = filled.folder / "out"

    facts = filled.json("backup", out, SECRET=None)

    assert facts["checked"] == "without_secret"
    assert out.read_bytes() == filled.database.read_bytes()


def test_a_backup_is_restored_where_no_database_is(filled: Bench) -> None:
    out = filled.folder / "out"
    filled.run("backup", out)
    before = filled.json("inspect")
    filled.database.unlink()

    facts = filled.json("restore", out)

    assert (facts["jobs"], facts["kept"]) == (3, None)
    assert facts["file_id"] != before["file_id"]
    assert filled.json("inspect")["queues"] == before["queues"]


def test_a_restore_keeps_the_database_it_replaces_beside(filled: Bench) -> None:
    out = filled.folder / "out"
    filled.run("backup", out)
    before = filled.database.read_bytes()

    refused = filled.run("restore", out)
    done = filled.run("restore", "--force", out)
    again = filled.run("restore", "--force", out)

    aside = filled.folder / "jobs.queuedb.before-restore"
    assert refused.exit_code == again.exit_code == 2
    assert "--force" in refused.stderr
    assert done.exit_code == 0
    assert str(aside) in done.stdout
    assert aside.read_bytes() == before
    assert f"{aside} exists" in again.stderr
    assert filled.json("verify")["jobs"] == 3


def test_a_file_is_not_restored_over_itself(filled: Bench) -> None:
    assert filled.run("restore", "--force", filled.database).exit_code == 2


# --- compact and rekey ------------------------------------------------------------


def test_compacted_the_file_is_smaller_and_in_its_next_epoch(filled: Bench) -> None:
    before = filled.json("inspect")

    facts = filled.json("compact")

    assert facts["epoch"] == before["epoch"] + 1
    assert facts["bytes"] < facts["bytes_before"] == before["bytes"]
    assert filled.json("inspect")["queues"] == before["queues"]
    assert "compacted; 3 jobs" in filled.run("compact").stdout


def test_rekeyed_only_the_new_secret_opens_the_file(filled: Bench) -> None:
    result = filled.run("rekey", SECRET=OTHER, SECRET_PREVIOUS=SECRET)
    again = filled.json("rekey", SECRET=OTHER, SECRET_PREVIOUS=SECRET)

    assert result.exit_code == 0
    assert "drop SECRET_PREVIOUS" in result.stdout
    assert again == {"file": str(filled.database), "rekeyed": False}
    assert filled.run("verify", SECRET=OTHER).exit_code == 0
    assert filled.run("verify", SECRET=SECRET).exit_code == 77


def test_rekey_says_what_it_needs(filled: Bench) -> None:
    none = filled.run("rekey")
    wrong = filled.run("rekey", SECRET=OTHER, SECRET_PREVIOUS=key(2))

    assert none.exit_code == 78
    assert "SECRET_PREVIOUS is missing" in none.stderr
    assert wrong.exit_code == 77


# --- salvage ----------------------------------------------------------------------


def test_salvage_writes_what_is_left_and_lists_what_is_held(filled: Bench) -> None:
    out, at = filled.folder / "out", 16384
    data = filled.database.read_bytes()
    # The frame that completed the job of post.
    frames = [found.start() for found in re.finditer(b"JEF1", data) if found]
    filled.damage(frames[6] + 70)
    assert frames[0] == at

    facts = filled.run("salvage", filled.database, out, "--json")
    told = filled.run("salvage", filled.database, filled.folder / "two")

    assert facts.exit_code == told.exit_code == 0
    said = json.loads(facts.stdout)
    assert said["lost"] == [[6, 6]]
    assert {each["queue"] for each in said["held"]} == {"mail", "post"}
    assert "lost: frame 6\n" in told.stdout
    assert told.stdout.count("held: ") == 3
    states = [json.loads(line) for line in filled.run("dump", out).stdout.splitlines()]
    assert {(job["state"], job["reason"]) for job in states} == {("failed", "salvaged")}


def test_a_salvaged_job_is_queued_again_by_whoever_has_looked_at_it(
    filled: Bench,
) -> None:
    data = bytearray(filled.database.read_bytes())
    data[4096:4168] = data[8192:8264] = bytes(72)
    filled.database.write_bytes(data)
    told = filled.run("salvage", filled.database, filled.folder / "out")
    assert "whether frames after the last one are lost is not known" in told.stdout
    (filled.folder / "out").replace(filled.database)

    house = filled.open()
    uid = json.loads(filled.run("dump").stdout.splitlines()[0])["uid"]
    assert house.engine.claim(CALLER, "mail") == []
    house.engine.update(CALLER, "mail", uid, Change(state=State.QUEUED))
    claimed = house.engine.claim(CALLER, "mail")
    house.close()

    assert [job.uid for job in claimed] == [uid]


def test_salvage_tells_how_much_the_disk_does_not_give_back(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = OsFile.read
    bad = 16384 + 4096

    def failing(file: OsFile, offset: int, count: int) -> bytes:
        if file.path.name == "jobs.queuedb" and offset <= bad < offset + count:
            raise OSError(errno.EIO, "as the test wants")
        return read(file, offset, count)

    with filled.database.open("ab") as file:
        file.write(bytes(8192))
    monkeypatch.setattr(OsFile, "read", failing)

    told = filled.run("salvage", filled.database, filled.folder / "out")

    assert told.exit_code == 0
    assert "the disk does not give back 1 block of 4,096" in told.stdout


def test_salvage_changes_neither_its_source_nor_a_file_that_is_there(
    filled: Bench,
) -> None:
    before = filled.database.read_bytes()

    onto_itself = filled.run("salvage", filled.database, filled.database)
    onto_other = filled.run("salvage", filled.database, filled.config)

    assert onto_itself.exit_code == onto_other.exit_code == 2
    assert filled.database.read_bytes() == before
    assert filled.config.read_text() == CONFIG


# --- import-legacy ----------------------------------------------------------------


def imported(bench: Bench, name: str, **environ: str | None) -> Any:
    return bench.json(
        "import-legacy", GOLDEN / name, **({"LEGACY_SECRET": "hello_world"} | environ)
    )


def told_of(result: Result) -> list[str]:
    return re.findall(r"warning: queue (\S+) is not", result.stderr)


def test_a_legacy_file_makes_a_database_and_a_second_time_doubles_nothing(
    bench: Bench,
) -> None:
    words = ("import-legacy", GOLDEN / "legacy-era1.queuedb")

    first = bench.run(*words, LEGACY_SECRET="hello_world")
    second = bench.run(*words, "--json", LEGACY_SECRET="hello_world")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "3 jobs imported, 0 were there already" in first.stdout
    assert told_of(first) == told_of(second) == ["q2"]
    facts = json.loads(second.stdout)
    assert (facts["imported"], facts["already_there"]) == (0, 3)
    assert facts["queues_not_in_config"] == ["q2"]
    assert len(bench.run("dump").stdout.splitlines()) == 3


def test_both_eras_are_imported_beside_the_jobs_that_are_there(filled: Bench) -> None:
    filled.config.write_text(
        "queues: {q1: {read: [], write: []}, q2: {read: [], write: []},"
        " q: {read: [], write: []}}"
    )

    one, two = (
        imported(filled, "legacy-era1.queuedb"),
        imported(filled, "legacy-era2.jedb"),
    )

    assert (one["era"], one["imported"], two["era"], two["imported"]) == (1, 3, 2, 1)
    lines = filled.run("dump", "--payloads").stdout.splitlines()
    assert len(lines) == 7
    assert '"content":{"foo":"bar"}' in "".join(lines)


def test_an_imported_job_is_handed_out_in_its_old_order(bench: Bench) -> None:
    bench.run(
        "import-legacy", GOLDEN / "legacy-era1.queuedb", LEGACY_SECRET="hello_world"
    )
    rules = Rulebook({"q1": QueueRules("q1", read=frozenset({"a"}))})
    house = open_house(
        db_path=bench.database,
        secret=SECRET.encode(),
        rules=rules,
        clock=SimClock(1795304938000),
        on_failure=lambda error: None,
    )

    taken = [house.engine.claim(CALLER, "q1")[0].content for _ in range(2)]
    house.close()

    assert taken == [b'{"n":2}', b'{"n":1}']


def test_the_legacy_secret_may_be_in_a_file_or_be_the_secret(bench: Bench) -> None:
    (bench.folder / "old").write_text("hello_world\n")
    file = {"LEGACY_SECRET": None, "LEGACY_SECRET_FILE": str(bench.folder / "old")}
    bench.config.write_text("queues: {q: {read: [], write: []}}")

    assert imported(bench, "legacy-era2.jedb", **file)["imported"] == 1
    wrong = bench.run("import-legacy", GOLDEN / "legacy-era2.jedb")
    sample = bench.run(
        "import-legacy", GOLDEN / "legacy-era2.jedb", SECRET="hello_world"
    )

    assert wrong.exit_code == 77
    assert "LEGACY_SECRET" in wrong.stderr
    assert sample.exit_code == 78


def test_a_priority_that_was_changed_is_told(bench: Bench) -> None:
    old = {"uid": "9d4b43b6-d708-4000-81ba-5d65db56e8ba", "content": {}}
    old |= {"state": "queued", "priority": 255, "created": 1, "last_updated": 1}
    held = {"jobs": {"0": old | {"timeout_time": 2}}, "permissions": {}}
    text = json.dumps({"q1": held}).encode()
    sealed = AESGCM(hashlib.md5(b"old").hexdigest().encode())
    file = bench.folder / "old"
    file.write_bytes(bytes(12) + sealed.encrypt(bytes(12), text, None))

    told = bench.run("import-legacy", file, LEGACY_SECRET="old")

    assert "1 job had a priority outside 1 to 100" in told.stdout
    assert json.loads(bench.run("dump").stdout)["priority"] == 100


def test_a_legacy_file_in_the_place_of_the_database_must_be_renamed_first(
    bench: Bench,
) -> None:
    bench.database.write_bytes((GOLDEN / "legacy-era1.queuedb").read_bytes())

    result = bench.run("import-legacy", bench.database, LEGACY_SECRET="hello_world")

    assert result.exit_code == 2
    assert "rename" in result.stderr


# --- progress ---------------------------------------------------------------------


class Terminal:
    """Standard error, as a terminal or not."""

    def __init__(self, *, real: bool) -> None:
        self.real = real
        self.said = ""

    def isatty(self) -> bool:
        return self.real

    def write(self, text: str) -> None:
        self.said += text

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("terminal", "quiet", "said"),
    [
        (True, False, "\rwork: 0 %\rwork: 30 %\rwork: 100 %\r\033[K"),
        (False, False, "work: 30 %\nwork: 100 %\n"),
        (True, True, ""),
        (False, True, ""),
    ],
)
def test_progress_moves_on_a_terminal_and_is_rare_elsewhere(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, quiet: bool, said: str
) -> None:
    stderr = Terminal(real=terminal)
    monkeypatch.setattr("sys.stderr", stderr)
    clock = SimClock(0)

    with Progress("work", quiet=quiet, clock=clock.monotonic) as watch:
        for done, then_ms in ((0, 1000), (3, 100), (4, 10_000), (10, 0)):
            watch(done, 10)
            clock.advance(ms=then_ms)

    assert stderr.said == said


def test_short_work_says_nothing_of_itself_in_a_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = Terminal(real=False)
    monkeypatch.setattr("sys.stderr", stderr)

    with Progress("work", quiet=False, clock=SimClock(0).monotonic) as watch:
        watch(1, 2)

    assert stderr.said == ""
