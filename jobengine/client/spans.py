"""Times of a program in the words of the wire. Pure."""

from datetime import UTC, datetime, timedelta

from jobengine.errors import InvalidJob

# Seconds, or a timedelta.
Duration = float | timedelta


def seconds_of(span: Duration) -> float:
    """The duration in seconds."""
    return span.total_seconds() if isinstance(span, timedelta) else span


def ms_of(field: str, span: Duration) -> int:
    """The duration in whole milliseconds.

    Raises:
        InvalidJob: it is none; the message names *field*.
    """
    try:
        return round(seconds_of(span) * 1000)
    except (TypeError, ValueError, OverflowError):
        raise InvalidJob((field, "must be seconds, or a timedelta")) from None


def instant_of(field: str, at: datetime) -> str:
    """The instant as RFC 3339 in UTC, to the millisecond.

    Raises:
        InvalidJob: it is none, or nobody can know which, as it has no time zone; the
            message names *field*.
    """
    if not isinstance(at, datetime):
        raise InvalidJob((field, "must be a datetime"))
    if at.utcoffset() is None:
        raise InvalidJob((field, "must have a time zone: datetime.now(UTC) has one"))
    try:
        told = at.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:  # datetime.max, in most time zones
        raise InvalidJob((field, "is in no year that can be said")) from None
    return told.isoformat(timespec="milliseconds") + "Z"
