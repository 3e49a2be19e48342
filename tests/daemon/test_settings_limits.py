"""Limits: what config.yml may say of them, and what a reload makes of that."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from places import LIMITS, SEED, Place
from structlog.testing import capture_logs

from jobengine.api.health import Status
from jobengine.daemon.reload import Reloader
from jobengine.daemon.settings import Settings, load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        ("connections", 1, 1_048_576),
        ("connections_per_address", 1, 1_048_576),
        ("waiters_per_service", 1, 1_048_576),
        ("wait_seconds", 0, 3600),
        ("read_seconds", 1, 3600),
        ("header_seconds", 1, 3600),
        ("idle_seconds", 1, 3600),
        ("pipeline", 1, 1024),
        ("inflight_bytes", 64 << 20, 16 << 30),
    ],
)
def test_a_limit_has_limits_of_its_own(
    place: Place, key: str, least: int, most: int
) -> None:
    for good in (least, most):
        limits = place.load(f"limits: {{{key}: {good}}}").limits
        assert asdict(limits) == LIMITS | {key: good}

    wrong = f"1: limits.{key}: must be a whole number from {least} to {most}"
    for bad in (least - 1, most + 1, "1.5", "'9'", "true", ""):
        assert place.mistakes(f"limits: {{{key}: {bad}}}") == [wrong]


def test_what_a_connection_may_buffer_has_limits_too(place: Place) -> None:
    text = "limits: {{body_bytes: 1024, buffered_bytes: {}}}"
    wrong = "1: limits.buffered_bytes: must be a whole number from 1024 to 67108864"

    assert place.load(text.format(1024)).limits.buffered_bytes == 1024
    assert place.load(text.format(67108864)).limits.buffered_bytes == 67108864
    assert place.mistakes(text.format(1023)) == [wrong]
    assert place.mistakes(text.format(67108865)) == [wrong]


def test_a_connection_that_may_not_buffer_a_body_is_a_mistake_that_names_both(
    place: Place,
) -> None:
    mistakes = place.mistakes(
        "limits:\n  buffered_bytes: 4095\n  body_bytes: 4096\n  idle_seconds: 1\n"
    )

    assert mistakes == [
        "2: limits.buffered_bytes: must be at least limits.body_bytes, 4096"
    ]


def test_where_only_the_body_is_made_larger_it_can_still_be_buffered(
    place: Place,
) -> None:
    settings = place.load("limits: {body_bytes: 4194304}")

    assert settings.limits.buffered_bytes == 4194304
    assert settings.effective["limits"]["buffered_bytes"] == 4194304


def test_the_limits_that_the_shipped_file_shows_are_the_defaults(place: Place) -> None:
    shown = (ROOT / "config.yml").read_text().partition("# limits:\n")[2]
    text = "limits:\n" + shown.replace("#   ", "  ")

    assert yaml.safe_load(text) == {"limits": LIMITS}
    assert place.load(text).effective == place.load("version: 1").effective


def reloaded(place: Place, *, before: str, after: str) -> tuple[list[Settings], Status]:
    """What was put in force by a reload from *before* to *after*."""
    applied: list[Settings] = []
    status = Status()
    reloader = Reloader(
        place.load(before),
        seen=before.encode(),
        load=lambda: load(place.environ, missing="refuse"),
        apply=applied.append,
        status=status,
    )
    place.file.write_text(after)
    reloader.look(now=0.0, asked=True)
    return applied, status


def test_limits_change_in_a_running_daemon(place: Place) -> None:
    with capture_logs() as lines:
        applied, _ = reloaded(
            place, before=SEED, after=SEED + "limits: {connections: 7}"
        )

    assert [asdict(each.limits) for each in applied] == [LIMITS | {"connections": 7}]
    assert [line["event"] for line in lines] == ["configuration reloaded"]


def test_limits_that_contradict_each_other_change_nothing(place: Place) -> None:
    bad = "limits: {body_bytes: 2048, buffered_bytes: 1024}"

    applied, status = reloaded(place, before=SEED, after=SEED + bad)

    assert applied == []
    assert "at least limits.body_bytes, 2048" in (status.config_error or "")


def test_another_server_waits_for_a_restart(place: Place) -> None:
    with capture_logs() as lines:
        reloaded(place, before=SEED, after=SEED + "server: gthread\n")

    waiting = [line["keys"] for line in lines if line["log_level"] == "warning"]
    assert waiting == [["server"]]
