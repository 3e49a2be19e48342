"""Whether a request is sent again, and when. Pure: time and chance are given.

The blocking client, the awaiting one and the worker that reconnects share it.
"""

from msgspec import Struct

from jobengine.errors import JobEngineError, StoreFailed, Unanswered, Unavailable


class Retry(Struct, frozen=True):
    """How patient a client is. Times are seconds.

    From its first failure on, a request is tried again for `total_s`; the pauses begin
    with `first_s`, double, and are at most `most_s`.
    """

    total_s: float = 30.0
    first_s: float = 0.1
    most_s: float = 5.0

    def __post_init__(self) -> None:
        if not (self.total_s >= 0 and 0 < self.first_s <= self.most_s):
            raise ValueError("a retry has 0 <= total_s and 0 < first_s <= most_s")


def pause(
    retry: Retry,
    *,
    tried: int,
    elapsed_s: float,
    retry_after_s: float | None = None,
    share: float = 1.0,
) -> float | None:
    """How many seconds to wait after the *tried*th failure (from 1 on), when the first
    was *elapsed_s* ago; None: give up.

    It is no less than what the daemon asked for. *share*, 0 to 1, is the jitter: those
    that failed together must not come back together.
    """
    wait = rest_s(retry, tried=tried, share=share)
    wait = max(wait, retry_after_s or 0.0)
    return None if elapsed_s + wait > retry.total_s else wait


def rest_s(retry: Retry, *, tried: int, share: float = 1.0) -> float:
    """How many seconds to wait after the *tried*th failure, for who never gives up. See
    pause."""
    # Beyond 2 ** 64 there is nothing to tell apart, and a float would overflow.
    wait = min(retry.first_s * 2.0 ** min(max(tried, 1) - 1, 64), retry.most_s)
    return wait * (0.5 + share / 2)


def worth_again(error: JobEngineError, *, again: bool) -> bool:
    """Whether the same request may succeed, and do no harm, where it ended in *error*.

    *again*: it does no harm twice.
    """
    if not (isinstance(error, Unavailable) and error.retryable):
        return False
    # Both leave open whether it was carried out: what a sync that failed was to keep
    # may be there after the next start.
    return again or not isinstance(error, Unanswered | StoreFailed)


# A worker waits for its daemon as long as it takes, and asks once a minute at least.
RECONNECT = Retry()
RECONNECT_S_MAX = 60.0


def reconnect_s(error: JobEngineError, *, tried: int, share: float) -> float:
    """How many seconds a worker waits after its *tried*th failure in a row."""
    # What is refused, as for want of a right, is so until somebody sees to it.
    if not isinstance(error, Unavailable):
        return RECONNECT.most_s
    # Whoever stands in between may say anything.
    asked = min(error.retry_after_s or 0.0, RECONNECT_S_MAX)
    return max(rest_s(RECONNECT, tried=tried, share=share), asked)
