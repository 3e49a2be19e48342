"""How long a job waits before its next attempt. Pure: the jitter is worked out too."""

from typing import Literal
from zlib import crc32

from msgspec import Struct

from jobengine.errors import InvalidJob

Kind = Literal["constant", "linear", "exponential", "list"]
KINDS: tuple[Kind, ...] = ("constant", "linear", "exponential", "list")

HOUR_MS = 3_600_000
# Ten years: longer than anybody waits for a job, and far from the end of the calendar.
DELAY_MS_MAX = 10 * 366 * 24 * HOUR_MS
# More steps than anybody writes by hand; they stand in every row of the job.
DELAYS_MAX = 32
# Beyond this an exponential is a cliff.
FACTOR_MAX = 100.0


class Backoff(Struct, frozen=True):
    """What a job waits after its nth attempt. Times are milliseconds.

    constant: `base_ms`; linear: n * base_ms; exponential: base_ms * factor ** (n - 1);
    list: the nth of `delays_ms`, and the last one from then on. Never more than
    `max_ms`. `jitter` is the share, 0 to 1, by which it may be less or more.

    Raises:
        InvalidJob: a value is out of range.
    """

    kind: Kind = "constant"
    base_ms: int = 0
    factor: float = 2.0
    max_ms: int = HOUR_MS
    delays_ms: tuple[int, ...] = ()
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if fault := _fault(self):
            raise InvalidJob(("backoff", fault))


def delay_ms(backoff: Backoff, *, uid: str, attempt: int) -> int:
    """How long the job waits after its *attempt*th run; the same whenever asked."""
    wait = min(_plain_ms(backoff, max(attempt, 1)), backoff.max_ms)
    if backoff.jitter:
        # Jobs that failed together must not come back together.
        place = crc32(f"{uid}:{attempt}".encode()) / 0xFFFFFFFF
        wait *= 1 + backoff.jitter * (2 * place - 1)
    return min(round(wait), backoff.max_ms)


def _plain_ms(backoff: Backoff, attempt: int) -> float:
    if backoff.kind == "constant":
        return backoff.base_ms
    if backoff.kind == "linear":
        return backoff.base_ms * attempt
    if backoff.kind == "list":
        return backoff.delays_ms[min(attempt, len(backoff.delays_ms)) - 1]
    try:
        # Of a float: a whole number would grow, digit by digit, without an end.
        return backoff.base_ms * float(backoff.factor) ** (attempt - 1)
    except OverflowError:
        return backoff.max_ms


def _fault(backoff: Backoff) -> str | None:
    delays = (backoff.base_ms, backoff.max_ms, *backoff.delays_ms)
    if not all(0 <= delay <= DELAY_MS_MAX for delay in delays):
        return "its times must be from 0 to ten years"
    if (backoff.kind == "list") != bool(backoff.delays_ms):
        return "a list of delays is what the kind list has, and no other"
    if len(backoff.delays_ms) > DELAYS_MAX:
        return f"must have at most {DELAYS_MAX} delays"
    if not 1 <= backoff.factor <= FACTOR_MAX:
        return f"its factor must be from 1 to {FACTOR_MAX:g}"
    if not 0 <= backoff.jitter <= 1:
        return "its jitter must be from 0 to 1"
    return None


# Again at once, and in the old place.
AT_ONCE = Backoff()
# What a queue does where nobody has said otherwise.
DEFAULT = Backoff("exponential", 5000, jitter=0.1)
