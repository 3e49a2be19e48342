"""config.yml and the environment become settings, or one message with every mistake."""

import base64
import os
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from places import LIMITS, SECRET, SEED, Place

from jobengine.core.queues import QueueRules
from jobengine.daemon.secret import DEV_SECRET
from jobengine.daemon.settings import (
    Limits,
    from_environment,
    load,
    preview,
)
from jobengine.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- the file ---------------------------------------------------------------------


def test_the_seeds_configuration_is_read_as_it_was_meant(place: Place) -> None:
    settings = place.load()

    assert settings.port == 6011
    assert settings.rules.queues == {
        "test_queue_1": QueueRules(
            name="test_queue_1",
            read=frozenset({"service1", "service2"}),
            write=frozenset({"service3"}),
            lease_ms=300_000,
            keep_ms=1_800_000,
        )
    }
    assert settings.secret == SECRET.encode()
    assert settings.db_path == place.file.with_name("jobs.queuedb")
    assert settings.notes == ()
    assert settings.warnings == ()


def test_every_key_but_the_lists_of_a_queue_has_a_default(place: Place) -> None:
    settings = place.load("version: 1.0")

    assert settings.host == "127.0.0.1"
    assert settings.port == 6010
    assert settings.auth_mode is None
    assert settings.hosts == ()
    assert settings.server == "loop"
    assert settings.limits == Limits(**LIMITS)
    assert settings.limits.body_bytes == 1024 * 1024
    assert settings.log_level == "info"
    assert settings.rules.queues == {}
    assert settings.rules.strict_acl is False
    assert settings.rules.removed_keep_ms == 1440 * 60_000
    assert settings.secret_previous is None
    assert settings.effective == {
        "version": 1,
        "port": 6010,
        "host": "127.0.0.1",
        "server": "loop",
        "job_keep_minutes": 60,
        "job_timeout_minutes": 10,
        "dead_keep_minutes": 10_080,
        "queues": {},
        "on_queue_removed": "drop",
        "removed_keep_minutes": 1440,
        "admins": [],
        "strict_acl": False,
        "auth": {},
        "hosts": [],
        "limits": LIMITS,
        "relay": {"next_shape": "array"},
        "dialects": {"v1": True, "v2": True, "v1_keys": True, "relay": True},
    }


@pytest.mark.parametrize(
    "section",
    [
        *("queues", "auth", "hosts", "limits"),
        *("relay", "dialects", "dynamic_queues", "admins"),
    ],
)
def test_JE1_C7_a_section_left_empty_means_its_default(
    place: Place, section: str
) -> None:
    assert place.load(f"{section}:").effective == place.load("version: 1").effective


def test_the_optional_keys_take_effect(place: Place) -> None:
    settings = place.load(
        "strict_acl: true\nauth: {mode: names}\nhosts: [Jobs.Example]\n"
        "limits: {body_bytes: 4096, pipeline: 1}\nremoved_keep_minutes: 0\n"
        "server: gthread\n"
    )

    assert settings.rules.strict_acl is True
    assert settings.auth_mode == "names"
    assert settings.hosts == ("jobs.example",)
    assert settings.server == "gthread"
    assert settings.limits.body_bytes == 4096
    assert asdict(settings.limits) == LIMITS | {"body_bytes": 4096, "pipeline": 1}
    assert settings.rules.removed_keep_ms == 0
    assert "any service" in settings.warnings[0]


def test_D27_removed_queues_that_are_kept_are_kept_for_ever(place: Place) -> None:
    assert place.load("on_queue_removed: keep").rules.removed_keep_ms is None


def test_every_mistake_is_told_at_once_with_its_line(place: Place) -> None:
    mistakes = place.mistakes(
        """\
version: "1.0"
prot: 6010
port: 70000
host: 3
job_keep_minutes: 1.0
job_timeout_minutes: 0
on_queue_removed: forget
removed_keep_minutes: true
strict_acl: yes
auth: {mode: tokens}
hosts: {a: b}
limits: {body_bytes: 1023, pipelines: 3}
queues:
  good: {read: [a], write: []}
  "bad/name": {read: [a], write: [b]}
  half:
    read: ["", a]
    wirte: [b]
  none:
  text: {read: a, write: [1]}
port: 1
""",
        PORT="x",
        HOST="a b",
        AUTH_MODE="open",
        GIN_MODE="test",
    )

    name = "must be 1 to 255 of A-Z a-z 0-9 _ . : @ - and inner spaces"
    port = "must be a whole number from 1 to 65535"
    minutes = "must be a whole number from {} to 5270400"
    auth = "must be names; to trust no names, leave auth out"
    assert mistakes == [
        "HOST: must be a host name or address",
        f"PORT: {port}",
        f"AUTH_MODE: {auth}",
        "GIN_MODE: must be release or debug",
        "1: version: must be 1",
        "2: prot: unknown key; did you mean port?",
        f"3: port: {port}",
        "4: host: must be a host name or address",
        f"5: job_keep_minutes: {minutes.format(0)}",
        f"6: job_timeout_minutes: {minutes.format(1)}",
        "7: on_queue_removed: must be drop or keep",
        f"8: removed_keep_minutes: {minutes.format(0)}",
        "9: strict_acl: must be true or false",
        f"10: auth.mode: {auth}",
        "11: hosts: must be a list of host names, as in [jobs.example]",
        "12: limits.body_bytes: must be a whole number from 1024 to 8388608",
        "12: limits.pipelines: unknown key; did you mean pipeline?",
        f'15: queues."bad/name": {name}',
        "16: queues.half.write: is missing; write [] to let nobody",
        f"17: queues.half.read.0: {name}",
        "18: queues.half.wirte: unknown key; did you mean write?",
        "19: queues.none: needs its lists, as in {read: [service1], write: [service2]}",
        "20: queues.text.read: must be a list of service names, "
        "as in [service1, service2]",
        "20: queues.text.write.0: must be text: put it in quotes",
        '21: "port" is given twice, first on line 3',
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "1: the file is empty; delete it to get the default"),
        ("# nothing\n", "1: the file is empty; delete it to get the default"),
        ("just text", "1: must hold keys and values, as in `key: value`"),
        ("- a", "1: must hold keys and values, as in `key: value`"),
        ("a: [", "1: not YAML: did not find expected node content"),
        ("version: 2", "1: version: must be 1"),
        ("version: true", "1: version: must be 1"),
        ("port:", "1: port: must be a whole number from 1 to 65535"),
        ("server: async", "1: server: must be loop or gthread"),
        ("server:", "1: server: must be loop or gthread"),
        ("auth: []", "1: auth: must hold keys and values, as in `key: value`"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_refused(
    place: Place, text: str, mistake: str
) -> None:
    assert place.mistakes(text) == [mistake]


@pytest.mark.parametrize("name", ["a", "a b", "x@y:z.1_-", "7", "n" * 255])
def test_names_that_are_allowed(place: Place, name: str) -> None:
    settings = place.load(f'queues: {{"{name}": {{read: ["{name}"], write: []}}}}')

    assert settings.rules.queues[name].read == {name}


@pytest.mark.parametrize("name", ["", " a", "a ", "a/b", "n" * 256, r"a\n", "\u00e9"])
def test_names_that_are_not_allowed(place: Place, name: str) -> None:
    assert len(place.mistakes(f'queues: {{"{name}": {{read: [], write: []}}}}')) == 1
    text = f'queues: {{q: {{read: [], write: ["{name}"]}}}}'
    assert len(place.mistakes(text)) == 1


def test_no_more_mistakes_are_told_than_a_person_reads(place: Place) -> None:
    mistakes = place.mistakes("".join(f"k{i}: 1\n" for i in range(150)))

    assert len(mistakes) == 101
    assert mistakes[-1] == "and 50 more"


def test_the_examples_of_the_reference_are_valid(place: Place) -> None:
    page = (ROOT / "docs/reference/configuration.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)

    assert len(examples) > 1
    for example in examples:
        place.load(example)


# --- where there is no file -------------------------------------------------------


def test_D26_a_missing_file_is_written_with_the_defaults(place: Place) -> None:
    first = load(place.environ)

    again = load(place.environ)

    assert first.effective == again.effective
    assert (first.port, first.rules.queues) == (6010, {})
    assert first.effective["job_keep_minutes"] == 60
    assert first.effective["job_timeout_minutes"] == 10
    assert first.notes == (f"{place.file} did not exist: wrote the default there",)
    assert again.notes == ()
    assert os.listdir(place.file.parent) == ["config.yml"]


def test_a_mistake_in_the_environment_keeps_the_default_from_being_written(
    place: Place,
) -> None:
    with pytest.raises(ConfigError, match="PORT"):
        load(place.environ | {"PORT": "0"})

    assert not place.file.exists()


def test_a_reload_refuses_a_missing_file_and_writes_none(place: Place) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(place.environ, missing="refuse")

    assert not place.file.exists()


def test_a_preview_assumes_the_default_and_writes_none(place: Place) -> None:
    settings = preview({"CONFIG_PATH": str(place.file)})

    assert settings.port == 6010
    assert "a start writes the default" in settings.notes[1]
    assert not place.file.exists()


@pytest.mark.parametrize("path", ["", "none/config.yml", "a\0b"])
def test_a_path_that_cannot_hold_a_configuration_is_refused(
    place: Place, path: str
) -> None:
    environ = place.environ | {"CONFIG_PATH": f"{place.file.parent}/{path}"}

    with pytest.raises(ConfigError, match="CONFIG_PATH says where"):
        load(environ)


def test_paths_that_are_not_set_are_the_seeds_and_noted() -> None:
    with pytest.raises(ConfigError):
        load({"SECRET": SECRET, "PORT": "x"}, missing="assume")
    settings = preview({})

    assert str(settings.config_path) == "/jobengine/config.yml"
    assert str(settings.db_path) == "/jobengine/database.queuedb"
    assert settings.notes[:2] == (
        "CONFIG_PATH Not Defined, Using Default /jobengine/config.yml",
        "DB_PATH Not Defined, Using Default /jobengine/database.queuedb",
    )


# --- the environment --------------------------------------------------------------


def test_the_environment_comes_before_the_file(place: Place) -> None:
    environ = {"HOST": "::1", "PORT": "7000", "AUTH_MODE": "names"}

    settings = place.load(SEED + "host: 0.0.0.0\n", **environ)

    assert (settings.host, settings.port, settings.auth_mode) == ("::1", 7000, "names")
    assert settings.effective["port"] == 7000
    assert settings.effective["auth"] == {"mode": "names"}


def test_an_empty_variable_counts_as_one_that_is_not_set(place: Place) -> None:
    settings = place.load(HOST="", PORT="", AUTH_MODE="", GIN_MODE="")

    assert settings.effective == place.load().effective


def test_JE1_C3_the_mode_is_the_log_level(place: Place) -> None:
    assert place.load(GIN_MODE="release").log_level == "info"
    assert place.load(GIN_MODE="debug").log_level == "debug"


def test_the_environment_of_the_process_is_used(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.file.write_text(SEED)
    for name, value in place.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PORT", "7001")

    assert from_environment().port == 7001


# --- SECRET -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret",
    ["", " ", "\n", "hello_world", "changeme", "Change-Me", "secret", "jobengine-dev"],
)
def test_JE1_C2_a_secret_that_is_none_is_refused_before_the_file_is_looked_at(
    place: Place, secret: str
) -> None:
    with pytest.raises(ConfigError, match="SECRET") as caught:
        place.load("not: [yaml", SECRET=secret)

    assert str(place.file) not in str(caught.value)


def test_a_missing_secret_is_refused_and_no_file_is_written(place: Place) -> None:
    with pytest.raises(ConfigError, match="SECRET is missing or empty"):
        load({"CONFIG_PATH": str(place.file)})

    assert not place.file.exists()


def test_D28_dev_allows_them_with_a_warning(place: Place) -> None:
    place.file.write_text(SEED)

    known = load(place.environ | {"SECRET": "hello_world"}, dev=True)
    none = load(place.environ | {"SECRET": ""}, dev=True)
    good = load(place.environ, dev=True)

    assert known.secret == b"hello_world"
    assert none.secret == DEV_SECRET
    assert "not protected" in known.warnings[0]
    assert "not protected" in none.warnings[0]
    assert (good.secret, good.warnings) == (SECRET.encode(), ())


def test_a_short_secret_is_taken_with_a_warning(place: Place) -> None:
    assert place.load(SECRET="x" * 15).warnings == (
        "SECRET is shorter than 16 characters: it can be guessed",
    )
    assert place.load(SECRET="x" * 16).warnings == ()
    assert len(place.load(SECRET="\u00e9" * 15).warnings) == 1


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"a long enough secret", b"a long enough secret"),
        (b"a long enough secret\n", b"a long enough secret"),
        (b"a long enough secret\n\n", b"a long enough secret\n"),
        (b" a\r\nlong \xff secret\r\n", b" a\r\nlong \xff secret\r"),
    ],
)
def test_a_secret_file_gives_its_bytes_less_one_final_newline(
    place: Place, content: bytes, secret: bytes
) -> None:
    path = place.file.with_name("secret")
    path.write_bytes(content)

    assert place.load(SECRET="", SECRET_FILE=str(path)).secret == secret


def test_the_bytes_of_the_variable_are_not_changed(place: Place) -> None:
    secret = b" \xff secret with odd bytes "

    assert place.load(SECRET=os.fsdecode(secret)).secret == secret


@pytest.mark.parametrize("name", ["SECRET", "SECRET_PREVIOUS"])
def test_a_secret_may_come_one_way_only(place: Place, name: str) -> None:
    environ = {name: SECRET, f"{name}_FILE": str(place.file)}

    with pytest.raises(ConfigError, match=f"both {name} and {name}_FILE are set"):
        place.load(**environ)


@pytest.mark.parametrize("path", ["none", ".", "a\0b"])
def test_a_secret_file_that_cannot_be_read_is_named(place: Place, path: str) -> None:
    with pytest.raises(ConfigError, match="SECRET_FILE cannot be read"):
        place.load(SECRET="", SECRET_FILE=str(place.file.parent / path))


def test_a_secret_file_that_is_far_too_large_is_refused(place: Place) -> None:
    path = place.file.with_name("secret")
    path.write_bytes(b"x" * (64 * 1024 + 1))

    with pytest.raises(ConfigError, match="over 65536 bytes"):
        place.load(SECRET="", SECRET_FILE=str(path))


def test_a_raw_key_is_exactly_32_bytes_and_kept_as_written(place: Place) -> None:
    raw = "base64:" + base64.b64encode(bytes(range(32))).decode()

    settings = place.load(SECRET=raw)

    assert settings.secret == raw.encode()
    assert settings.warnings == ()


@pytest.mark.parametrize(
    "raw", ["", "!!!", "AAAA", base64.b64encode(bytes(33)).decode()]
)
def test_any_other_raw_key_is_refused(place: Place, raw: str) -> None:
    with pytest.raises(ConfigError, match="exactly 32 bytes"):
        place.load(SECRET=f"base64:{raw}")
    with pytest.raises(ConfigError, match="SECRET_PREVIOUS says base64:"):
        place.load(SECRET_PREVIOUS=f"base64:{raw}")


def test_the_previous_secret_may_be_a_sample_one_moves_away_from(place: Place) -> None:
    path = place.file.with_name("previous")
    path.write_bytes(b"hello_world\n")

    assert place.load(SECRET_PREVIOUS="changeme").secret_previous == b"changeme"
    settings = place.load(SECRET_PREVIOUS_FILE=str(path))
    assert settings.secret_previous == b"hello_world"


def test_no_secret_is_shown_where_settings_or_mistakes_are(place: Place) -> None:
    previous = "needle of a previous secret"
    settings = place.load(SECRET_PREVIOUS=previous)

    shown = repr(settings) + str(settings.effective)
    told = "".join(place.mistakes("port: x", SECRET_PREVIOUS=previous))

    assert SECRET not in shown + told
    assert previous not in shown + told
