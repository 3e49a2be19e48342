"""What config.yml may say of admins, memory, dialects and who makes queues."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from places import Place
from structlog.testing import capture_logs

from jobengine.api.health import Status
from jobengine.core.queues import QueueRules
from jobengine.daemon.reload import Reloader
from jobengine.daemon.settings import RelaySettings, Settings, load

MINUTE_MS = 60_000
BASE = "version: 1\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- defaults ---------------------------------------------------------------------


def test_nobody_makes_queues_or_administers_unless_the_file_says_so(
    place: Place,
) -> None:
    rules = place.load(BASE).rules

    assert rules.dynamic is None
    assert rules.admins == frozenset()
    assert rules.memory_bytes is None
    assert rules.template == QueueRules("")


def test_every_dialect_is_spoken_and_relay_has_no_service_of_its_own(
    place: Place,
) -> None:
    settings = place.load(BASE)

    assert settings.dialects == {"v1", "v2", "v1_keys", "relay"}
    assert settings.relay == RelaySettings(service=None, next_shape="array")


# --- queues that callers make, and admins -----------------------------------------


def test_D16_queues_that_callers_make_have_the_lists_and_the_times_of_the_house(
    place: Place,
) -> None:
    settings = place.load(
        "dynamic_queues: {read: [worker], write: [shop, web]}\n"
        "job_keep_minutes: 1\njob_timeout_minutes: 2\ndead_keep_minutes: 0\n"
    )

    template = QueueRules("", keep_ms=MINUTE_MS, lease_ms=2 * MINUTE_MS, dead_keep_ms=0)
    assert settings.rules.template == template
    assert settings.rules.dynamic == QueueRules(
        "",
        frozenset({"worker"}),
        frozenset({"shop", "web"}),
        keep_ms=MINUTE_MS,
        lease_ms=2 * MINUTE_MS,
        dead_keep_ms=0,
    )
    assert settings.effective["dynamic_queues"] == {
        "read": ["worker"],
        "write": ["shop", "web"],
    }


@pytest.mark.parametrize(
    ("said", "mistakes"),
    [
        (
            "true",
            [": needs its lists, as in {read: [service1], write: [service2]}"],
        ),
        ("{read: []}", [".write: is missing; write [] to let nobody"]),
        (
            "{read: [a/b], write: [w]}",
            [".read.0: must be 1 to 255 of A-Z a-z 0-9 _ . : @ - and inner spaces"],
        ),
        (
            "{read: [], write: [], manage: []}",
            [".manage: unknown key; known here: read, write"],
        ),
    ],
)
def test_mistakes_in_who_makes_queues_are_named(
    place: Place, said: str, mistakes: list[str]
) -> None:
    found = place.mistakes(f"dynamic_queues: {said}")

    assert found == [f"1: dynamic_queues{mistake}" for mistake in mistakes]


def test_admins_are_services_by_name(place: Place) -> None:
    assert place.load("admins: [ops, on call]").rules.admins == {"ops", "on call"}

    wrong = "must be a list of service names, as in [service1, service2]"
    assert place.mistakes("admins: ops") == [f"1: admins: {wrong}"]
    assert place.mistakes("admins:\n  - ops\n  - 3") == [
        "3: admins.1: must be text: put it in quotes"
    ]


# --- memory, relay and dialects ---------------------------------------------------


def test_memory_has_a_least_and_a_most(place: Place) -> None:
    for good in (16 << 20, 16 << 40):
        settings = place.load(f"memory_bytes: {good}")
        assert settings.rules.memory_bytes == good
        assert settings.effective["memory_bytes"] == good

    wrong = "1: memory_bytes: must be a whole number from 16777216 to 17592186044416"
    for bad in ((16 << 20) - 1, (16 << 40) + 1, "1e9", "true", "", "none"):
        assert place.mistakes(f"memory_bytes: {bad}") == [wrong]


def test_relay_may_name_a_service_and_choose_a_shape(place: Place) -> None:
    settings = place.load("relay: {service: old worker, next_shape: object}")

    assert settings.relay == RelaySettings(service="old worker", next_shape="object")
    assert settings.effective["relay"] == {
        "service": "old worker",
        "next_shape": "object",
    }


@pytest.mark.parametrize(
    ("said", "mistake"),
    [
        ("[]", ": must hold keys and values, as in `key: value`"),
        ("{shape: array}", ".shape: unknown key; did you mean next_shape?"),
        ("{next_shape: list}", ".next_shape: must be array or object"),
        ("{next_shape: null}", ".next_shape: must be array or object"),
        (
            "{service: [a]}",
            ".service: must be 1 to 255 of A-Z a-z 0-9 _ . : @ - and inner spaces",
        ),
        (
            "{service: ''}",
            ".service: must be 1 to 255 of A-Z a-z 0-9 _ . : @ - and inner spaces",
        ),
    ],
)
def test_mistakes_in_relay_are_named(place: Place, said: str, mistake: str) -> None:
    assert place.mistakes(f"relay: {said}") == [f"1: relay{mistake}"]


def test_a_dialect_can_be_switched_off(place: Place) -> None:
    settings = place.load("dialects: {v1_keys: false, relay: true}")

    assert settings.dialects == {"v1", "v2", "relay"}
    assert settings.effective["dialects"] == {
        "v1": True,
        "v2": True,
        "v1_keys": False,
        "relay": True,
    }


def test_mistakes_in_dialects_are_named(place: Place) -> None:
    assert place.mistakes("dialects: {v1: on, relays: true}") == [
        "1: dialects.relays: unknown key; did you mean relay?",
        "1: dialects.v1: must be true or false",
    ]


# --- reload -----------------------------------------------------------------------


def reloaded(place: Place, after: str) -> tuple[Settings, list[Mapping[str, Any]]]:
    """What a reload from BASE to *after* puts in force, and what the log says."""
    applied: list[Settings] = []
    reloader = Reloader(
        place.load(BASE),
        seen=BASE.encode(),
        load=lambda: load(place.environ, missing="refuse"),
        apply=applied.append,
        status=Status(),
    )
    place.file.write_text(after)
    with capture_logs() as lines:
        reloader.look(now=0.0, asked=True)
    (settings,) = applied
    return settings, list(lines)


def test_all_of_it_but_the_dialects_changes_in_a_running_daemon(place: Place) -> None:
    settings, lines = reloaded(
        place,
        "admins: [ops]\nmemory_bytes: 16777216\ndead_keep_minutes: 1\n"
        "dynamic_queues: {read: [], write: [shop]}\n"
        "relay: {service: s, next_shape: object}\n",
    )

    assert settings.rules.admins == {"ops"}
    assert settings.relay.next_shape == "object"
    (line,) = lines
    assert line["house"] == (
        "administration is given to ops",
        "the limit of bytes of memory is 16777216, not none",
        "making a queue by its first job is given to shop",
        "in queues that callers make, a dead letter is kept 1 min, not 10080 min",
    )
    assert line["relay"] == {"service": "s", "next_shape": "object"}


def test_another_choice_of_dialects_waits_for_a_restart(place: Place) -> None:
    _, lines = reloaded(place, "dialects: {v1: false}\n")

    waiting = [line["keys"] for line in lines if line["log_level"] == "warning"]
    assert waiting == [["dialects"]]


def test_a_file_that_names_the_defaults_changes_nothing(place: Place) -> None:
    _, lines = reloaded(
        place,
        "admins: []\ndead_keep_minutes: 10080\ndialects: {v1: true}\n"
        "relay: {next_shape: array}\n",
    )

    assert lines == [{"event": "configuration reloaded", "log_level": "info"}]
