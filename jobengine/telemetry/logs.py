"""Logs: one JSON object a line on stderr. Knows nothing of what is logged.

No line may hold a payload, a token or SECRET; that is for whoever writes it.
"""

import json
import logging
import re
import sys
from typing import Any, BinaryIO
from urllib.parse import unquote

import structlog


def configure(level: str, *, to: BinaryIO | None = None) -> None:
    """Send every log line of the process, other libraries' too, to *to* or stderr.

    *level* is the least that is written: "debug" or "info".
    """
    floor = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(floor),
        logger_factory=structlog.BytesLoggerFactory(
            _Patient(sys.stderr.buffer if to is None else to)  # type: ignore[arg-type]
        ),
    )
    logging.basicConfig(handlers=[_Forward()], level=floor, force=True)


def to_logging() -> None:
    """Send the lines to the standard logging, as those of "jobengine", where nobody has
    said yet where structlog's go.

    A program with an engine in it owns its standard output, to which they would go.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=lambda *_: logging.getLogger("jobengine"),
    )


def path_shown(path: str) -> str:
    """A request's path as a line may hold it: who knows a run's id can end the run."""
    return _RUN.sub(r"\1-", unquote(path))


_RUN = re.compile(r"(/run-id/).*", re.DOTALL)


def _line(event: dict[str, Any], **how: Any) -> bytes:
    first = {key: event.pop(key) for key in ("at", "level", "event")}
    return json.dumps(first | event, **how).encode()


class _Patient:
    """A file whose reader may go away or whose disk may fill: the daemon goes on."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: bytes) -> None:
        # One write a line, past the buffer that would keep what could not be written.
        try:
            self._file.write(line)
            self._file.flush()
        except OSError:
            pass

    def flush(self) -> None:
        """Nothing waits: each line was flushed as it was written."""


class _Forward(logging.Handler):
    """Lines of libraries that use the standard logging, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            record.getMessage(),
            logger=record.name,
            exc_info=record.exc_info,
        )
