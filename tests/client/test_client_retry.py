"""When a request is sent again: pure, so for all that there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from jobengine.client.retry import Retry, pause, worth_again
from jobengine.errors import (
    BadAnswer,
    ConfigError,
    Forbidden,
    JobEngineError,
    QueueFull,
    StoreFailed,
    StoreFull,
    Unanswered,
    Unavailable,
    Unreachable,
)

seconds = some.floats(0, 1e6)
retries = some.builds(
    lambda total, first, more: Retry(total, first, first + more),
    *(seconds, some.floats(1e-6, 1e3), some.floats(0, 1e3)),
)
tries = some.integers(1, 10_000)
shares = some.floats(0, 1)


@given(retries, tries, seconds, some.none() | seconds, shares)
def test_a_pause_ends_within_the_patience_and_not_before_it_is_asked_for(
    retry: Retry, tried: int, elapsed: float, asked: float | None, share: float
) -> None:
    wait = pause(
        retry, tried=tried, elapsed_s=elapsed, retry_after_s=asked, share=share
    )

    if wait is None:
        assert elapsed + max(retry.most_s, asked or 0) > retry.total_s
    else:
        assert elapsed + wait <= retry.total_s
        assert wait >= (asked or 0)
        assert 0 < wait <= max(retry.most_s, asked or 0)


@given(retries, tries, shares)
def test_pauses_grow_until_they_are_as_long_as_may_be(
    retry: Retry, tried: int, share: float
) -> None:
    endless = Retry(1e12, retry.first_s, retry.most_s)

    this = pause(endless, tried=tried, elapsed_s=0, share=share)
    following = pause(endless, tried=tried + 1, elapsed_s=0, share=share)

    assert this is not None
    assert following is not None
    assert this <= following
    assert retry.first_s / 2 <= this <= retry.most_s


def test_the_pauses_of_a_client_that_is_told_nothing() -> None:
    waits = [pause(Retry(), tried=n, elapsed_s=0) for n in range(1, 9)]

    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]


@pytest.mark.parametrize("values", [(-1, 1, 1), (1, 0, 1), (1, 2, 1)])
def test_a_patience_that_makes_no_sense_is_refused(
    values: tuple[float, float, float],
) -> None:
    with pytest.raises(ValueError, match="retry"):
        Retry(*values)


@pytest.mark.parametrize(
    ("error", "harmless", "whatever"),
    [
        (Unreachable(), True, True),
        (QueueFull(), True, True),
        (StoreFull(), True, True),
        (Unavailable(), True, True),
        (Unanswered(), True, False),
        (StoreFailed(), True, False),
        (BadAnswer(), False, False),
        (Forbidden(), False, False),
        (ConfigError(), False, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_worth_another_try(
    error: JobEngineError, harmless: bool, whatever: bool
) -> None:
    assert worth_again(error, again=True) is harmless
    assert worth_again(error, again=False) is whatever


def test_what_no_other_try_can_help_is_not_tried() -> None:
    error = Unreachable()
    error.retryable = False

    assert not worth_again(error, again=True)
