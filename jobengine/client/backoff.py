"""Back-offs in the words of a program: seconds, or timedeltas. The rule is core's."""

from collections.abc import Iterable

from jobengine.client.spans import Duration, ms_of
from jobengine.core.backoff import HOUR_MS, Backoff

HOUR_S = HOUR_MS / 1000


def constant(wait: Duration, *, jitter: float = 0.0) -> Backoff:
    """The same wait after every run.

    Raises:
        InvalidJob: a value is out of range; so do those below.
    """
    ms = ms_of("backoff", wait)
    return Backoff("constant", ms, max_ms=max(ms, HOUR_MS), jitter=jitter)


def linear(wait: Duration, *, most: Duration = HOUR_S, jitter: float = 0.0) -> Backoff:
    """*wait*, then twice that, then three times; never more than *most*."""
    return Backoff(
        *("linear", ms_of("backoff", wait)),
        max_ms=ms_of("backoff", most),
        jitter=jitter,
    )


def exponential(
    wait: Duration,
    *,
    factor: float = 2.0,
    most: Duration = HOUR_S,
    jitter: float = 0.1,
) -> Backoff:
    """*wait*, then each time *factor* times as long; never more than *most*."""
    return Backoff(
        *("exponential", ms_of("backoff", wait), factor),
        max_ms=ms_of("backoff", most),
        jitter=jitter,
    )


def delays(waits: Iterable[Duration], *, jitter: float = 0.0) -> Backoff:
    """These waits one after another, and the last of them from then on."""
    steps = tuple(ms_of("backoff", wait) for wait in waits)
    return Backoff(
        *("list", 0, 2.0),
        max_ms=max((*steps, HOUR_MS)),
        delays_ms=steps,
        jitter=jitter,
    )
