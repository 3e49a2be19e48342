"""How long a job waits before its next attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobengine.core.backoff import (
    AT_ONCE,
    DEFAULT,
    DELAY_MS_MAX,
    DELAYS_MAX,
    FACTOR_MAX,
    HOUR_MS,
    KINDS,
    Backoff,
    delay_ms,
)
from jobengine.errors import InvalidJob


def waits(backoff: Backoff, attempts: int = 5) -> list[int]:
    return [delay_ms(backoff, uid="u", attempt=n) for n in range(1, attempts + 1)]


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (AT_ONCE, [0, 0, 0, 0, 0]),
        (Backoff("constant", 70), [70, 70, 70, 70, 70]),
        (Backoff("linear", 70), [70, 140, 210, 280, 350]),
        (Backoff("exponential", 100), [100, 200, 400, 800, 1600]),
        (Backoff("exponential", 100, 1.5), [100, 150, 225, 338, 506]),
        (Backoff("exponential", 100, 1), [100, 100, 100, 100, 100]),
        (Backoff("list", delays_ms=(5, 0, 9)), [5, 0, 9, 9, 9]),
    ],
)
def test_each_kind_waits_as_it_says(backoff: Backoff, expected: list[int]) -> None:
    assert waits(backoff) == expected


@pytest.mark.parametrize(
    "backoff",
    [
        Backoff("constant", 700, max_ms=300),
        Backoff("linear", 400, max_ms=300),
        Backoff("exponential", 400, max_ms=300),
        Backoff("list", max_ms=300, delays_ms=(400,)),
    ],
)
def test_no_kind_waits_longer_than_its_maximum(backoff: Backoff) -> None:
    assert waits(backoff, 2) == [300, 300]


def test_a_queue_waits_longer_each_time_and_an_hour_at_most_by_default() -> None:
    plain = Backoff(DEFAULT.kind, DEFAULT.base_ms)

    assert waits(plain, 4) == [5000, 10_000, 20_000, 40_000]
    assert delay_ms(DEFAULT, uid="u", attempt=1000) <= HOUR_MS


@pytest.mark.parametrize("factor", [2, 2.0, FACTOR_MAX])
@pytest.mark.parametrize("base_ms", [1, DELAY_MS_MAX])
@pytest.mark.parametrize("attempt", [1 << 24, 1 << 31, 1 << 62])
def test_no_number_of_attempts_is_too_many(
    factor: float, base_ms: int, attempt: int
) -> None:
    for kind in ("exponential", "linear"):
        backoff = Backoff(kind, base_ms, factor)  # type: ignore[arg-type]
        assert delay_ms(backoff, uid="u", attempt=attempt) == HOUR_MS


def test_before_the_first_attempt_it_waits_as_after_it() -> None:
    for kind in ("linear", "exponential"):
        backoff = Backoff(kind, 70)  # type: ignore[arg-type]
        assert delay_ms(backoff, uid="u", attempt=0) == 70
    assert delay_ms(Backoff("list", delays_ms=(1, 2)), uid="u", attempt=0) == 1


# --- jitter -----------------------------------------------------------------------


def test_the_same_job_waits_as_long_whenever_it_is_asked() -> None:
    backoff = Backoff("constant", 10_000, jitter=0.5)

    assert waits(backoff) == waits(backoff)


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    backoff = Backoff("constant", 1_000_000, jitter=0.5)

    delays = [delay_ms(backoff, uid=f"u{n}", attempt=1) for n in range(1000)]

    assert len(set(delays)) > 900
    # On both sides of what it would be without, about evenly.
    assert 400 < sum(delay < 1_000_000 for delay in delays) < 600


@given(
    st.text(max_size=40),
    st.integers(1, 100),
    st.integers(0, HOUR_MS),
    st.floats(0, 1),
)
def test_jitter_takes_and_adds_no_more_than_its_share(
    uid: str, attempt: int, base_ms: int, jitter: float
) -> None:
    backoff = Backoff("constant", base_ms, jitter=jitter)

    delay = delay_ms(backoff, uid=uid, attempt=attempt)

    assert abs(delay - base_ms) <= base_ms * jitter + 1
    assert 0 <= delay <= backoff.max_ms


# --- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"base_ms": -1}, "its times"),
        ({"base_ms": DELAY_MS_MAX + 1}, "its times"),
        ({"max_ms": -1}, "its times"),
        ({"max_ms": DELAY_MS_MAX + 1}, "its times"),
        ({"kind": "list", "delays_ms": (1, -1)}, "its times"),
        ({"kind": "list", "delays_ms": (DELAY_MS_MAX + 1,)}, "its times"),
        ({"kind": "list"}, "a list of delays"),
        ({"delays_ms": (1,)}, "a list of delays"),
        ({"kind": "list", "delays_ms": (1,) * (DELAYS_MAX + 1)}, "at most 32"),
        ({"factor": 0.99}, "its factor"),
        ({"factor": FACTOR_MAX + 1}, "its factor"),
        ({"factor": float("nan")}, "its factor"),
        ({"jitter": -0.1}, "its jitter"),
        ({"jitter": 1.1}, "its jitter"),
        ({"jitter": float("nan")}, "its jitter"),
    ],
)
def test_what_is_out_of_range_is_refused_and_named(
    wrong: dict[str, object], told: str
) -> None:
    with pytest.raises(InvalidJob, match=told) as refused:
        Backoff(**wrong)  # type: ignore[arg-type]

    assert [field for field, _ in refused.value.errors] == ["backoff"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_outermost_values_are_good(kind: str) -> None:
    delays = (0, DELAY_MS_MAX) * (DELAYS_MAX // 2) if kind == "list" else ()

    backoff = Backoff(kind, DELAY_MS_MAX, FACTOR_MAX, DELAY_MS_MAX, delays, 1.0)  # type: ignore[arg-type]

    assert all(0 <= delay <= DELAY_MS_MAX for delay in waits(backoff, 40))
