"""The log: one JSON object a line, whatever writes it, whoever reads it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from jobengine.telemetry import logs


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_a_line_is_one_json_object_with_its_instant_and_level_first() -> None:
    file = io.BytesIO()
    logs.configure("info", to=file)

    structlog.get_logger().info("jobs removed", queue="mail\nbox", count=2)

    (line,) = file.getvalue().splitlines()
    assert list(json.loads(line)) == ["at", "level", "event", "queue", "count"]
    assert json.loads(line)["queue"] == "mail\nbox"


@pytest.mark.parametrize(("level", "count"), [("info", 1), ("debug", 2)])
def test_the_level_decides_what_is_written(level: str, count: int) -> None:
    file = io.BytesIO()
    logs.configure(level, to=file)

    structlog.get_logger().debug("detail")
    structlog.get_logger().info("news")

    assert len(file.getvalue().splitlines()) == count


@pytest.mark.parametrize("between", ["/run-id/", "/run%2Did/", "/run-id%2F"])
def test_a_path_is_shown_without_the_lease_token_in_it(between: str) -> None:
    shown = logs.path_shown(f"/v2/queues/mail/jobs/7{between}5a1ef09e")

    assert shown == "/v2/queues/mail/jobs/7/run-id/-"


def test_lines_of_other_libraries_take_the_same_form() -> None:
    file = io.BytesIO()
    logs.configure("info", to=file)

    logging.getLogger("some.library").warning("it is %s", "late")

    line = json.loads(file.getvalue())
    assert (line["event"], line["level"]) == ("it is late", "warning")
    assert line["logger"] == "some.library"


def test_an_exception_is_told_with_its_traceback_on_the_same_line() -> None:
    file = io.BytesIO()
    logs.configure("info", to=file)

    try:
        raise ValueError("a bug")
    except ValueError:
        structlog.get_logger().exception("sweep failed")

    (line,) = file.getvalue().splitlines()
    assert "ValueError: a bug" in json.loads(line)["exception"]


def test_a_reader_that_went_away_stops_nothing() -> None:
    class Broken(io.BytesIO):
        def write(self, _line: object) -> int:
            raise BrokenPipeError

    logs.configure("info", to=Broken())

    structlog.get_logger().info("nobody reads this")
