"""Open files: the daemon takes all it may have, and says where they are too few."""

import resource
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from jobengine.daemon.serve import (
    DESCRIPTORS_KEPT,
    Descriptors,
    connections_possible,
    raise_descriptors,
    warn_of_descriptors,
)


def given(soft: int, hard: int | None = None) -> Callable[[], Descriptors]:
    return lambda: (soft, soft if hard is None else hard)


def test_the_daemon_takes_every_descriptor_it_may_have() -> None:
    put: list[Descriptors] = []

    raise_descriptors(get=given(1024, 524_288), put=put.append)

    assert put == [(524_288, 524_288)]


@pytest.mark.parametrize("refusal", [ValueError, OSError])
def test_a_system_that_refuses_more_descriptors_keeps_nobody_from_serving(
    refusal: type[Exception],
) -> None:
    def refuse(_both: Descriptors) -> None:
        raise refusal("not allowed")

    with capture_logs() as lines:
        raise_descriptors(get=given(1024, 524_288), put=refuse)

    assert [(line["log_level"], line["detail"]) for line in lines] == [
        ("warning", "not allowed")
    ]


@pytest.mark.parametrize(
    ("descriptors", "possible"),
    [
        (resource.RLIM_INFINITY, 20_000),
        (524_288, 20_000),
        (20_000 + DESCRIPTORS_KEPT, 20_000),
        (20_000 + DESCRIPTORS_KEPT - 1, 19_999),
        (1024, 960),
        (DESCRIPTORS_KEPT, 1),
        (0, 1),
    ],
)
def test_no_more_connections_are_counted_on_than_there_can_be(
    descriptors: int, possible: int
) -> None:
    assert connections_possible(20_000, get=given(descriptors)) == possible


def test_what_could_not_be_raised_is_not_counted_on() -> None:
    assert connections_possible(20_000, get=given(1024, 524_288)) == 960


def test_too_few_descriptors_for_the_limit_are_told_with_what_to_do() -> None:
    with capture_logs() as lines:
        warn_of_descriptors(20_000, get=given(4096))

    (line,) = lines
    assert line["log_level"] == "warning"
    assert (line["open_files"], line["connections"]) == (4096, 20_000)
    assert line["possible"] == 4032
    assert "20064" in line["detail"]
    assert "ulimit -n" in line["detail"]
    assert "LimitNOFILE" in line["detail"]


def test_enough_descriptors_are_nothing_to_tell() -> None:
    with capture_logs() as lines:
        warn_of_descriptors(20_000, get=given(20_064))

    assert lines == []
