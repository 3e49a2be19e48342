"""What config.yml may say of a queue besides its two lists, and what it becomes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from places import Place

from jobengine.core import backoff
from jobengine.core.backoff import DELAY_MS_MAX, HOUR_MS, Backoff
from jobengine.core.queues import QueueRules
from jobengine.daemon import schema
from jobengine.daemon.settings import Settings

MINUTE_MS = 60_000
TEN_YEARS = 316_224_000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def text(*said: str) -> str:
    """A file with one queue, which says this on line 2."""
    return f"queues:\n  q: {{{', '.join(('read: [r], write: [w]', *said))}}}\n"


def rules(settings: Settings) -> QueueRules:
    return settings.rules.queues["q"]


def plain(**others: Any) -> QueueRules:
    return QueueRules("q", frozenset({"r"}), frozenset({"w"}), **others)


# --- defaults ---------------------------------------------------------------------


def test_a_queue_that_says_nothing_more_has_the_defaults(place: Place) -> None:
    settings = place.load(text())

    assert rules(settings) == plain()
    assert settings.effective["queues"]["q"] == {
        "read": ["r"],
        "write": ["w"],
        "manage": [],
        "browse": [],
        "max_attempts": 3,
        "backoff": schema.BACKOFF,
        "poison_after": 3,
        "job_keep_minutes": 60,
        "job_timeout_minutes": 10,
        "dead_keep_minutes": 10_080,
    }


def test_a_queue_has_the_times_of_the_house_unless_it_has_its_own(
    place: Place,
) -> None:
    house = "job_keep_minutes: 1\njob_timeout_minutes: 2\ndead_keep_minutes: 3\n"
    own = "job_keep_minutes: 0, job_timeout_minutes: 20, dead_keep_minutes: 0"

    of_house, of_queue = place.load(house + text()), place.load(house + text(own))

    assert rules(of_house) == plain(
        keep_ms=MINUTE_MS, lease_ms=2 * MINUTE_MS, dead_keep_ms=3 * MINUTE_MS
    )
    assert rules(of_queue) == plain(keep_ms=0, lease_ms=20 * MINUTE_MS, dead_keep_ms=0)
    assert of_queue.effective["queues"]["q"]["job_timeout_minutes"] == 20


def test_all_that_is_in_force_is_a_valid_file_of_the_same_meaning(
    place: Place,
) -> None:
    first = place.load(
        text("max_attempts: unlimited, poison_after: never, max_jobs: 5")
        + "  p: {read: [], write: [], backoff: {kind: linear, base_seconds: 0.25}}\n"
        "  o: {read: [], write: []}\n"
        "  n: {read: [], write: [], backoff: {kind: list, delays_seconds: [1, 7200]}}\n"
        "dynamic_queues: {read: [r], write: [w]}\nmemory_bytes: 16777216\n"
        "admins: [ops]\nrelay: {service: s}\n"
    )

    # Two queues with the default backoff: an alias in the YAML would be refused.
    again = place.load(yaml.safe_dump(first.effective))

    assert again.effective == first.effective
    assert again.rules == first.rules
    assert again.relay == first.relay


# --- rights, counts and times -----------------------------------------------------


def test_who_may_look_and_who_may_intervene(place: Place) -> None:
    settings = place.load(text("browse: [board, b], manage: [ops]"))

    assert rules(settings) == plain(
        browse=frozenset({"board", "b"}), manage=frozenset({"ops"})
    )


@pytest.mark.parametrize("key", ["browse", "manage"])
def test_such_a_list_is_checked_like_the_others(place: Place, key: str) -> None:
    wrong = "must be a list of service names, as in [service1, service2]"

    assert place.mistakes(text(f"{key}: a")) == [f"2: queues.q.{key}: {wrong}"]
    assert place.mistakes(text(f"{key}: null")) == [f"2: queues.q.{key}: {wrong}"]
    assert place.mistakes(text(f"{key}: [a, 1]")) == [
        f"2: queues.q.{key}.1: must be text: put it in quotes"
    ]


@pytest.mark.parametrize(
    ("key", "word"), [("max_attempts", "unlimited"), ("poison_after", "never")]
)
def test_a_count_is_a_number_or_the_word_for_none(
    place: Place, key: str, word: str
) -> None:
    for said, count in ((1, 1), (1_000_000, 1_000_000), (word, None)):
        settings = place.load(text(f"{key}: {said}"))
        assert rules(settings) == plain(**{key: count})
        assert settings.effective["queues"]["q"][key] == said

    wrong = f"2: queues.q.{key}: must be a whole number from 1 to 1000000, or {word}"
    for bad in ("0", "-1", "1000001", "1.0", "true", "", "null", "'3'", "none", "[1]"):
        assert place.mistakes(text(f"{key}: {bad}")) == [wrong]


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ("max_jobs", 1_000_000_000),
        ("max_bytes", 16 << 40),
        ("max_job_bytes", 8 << 20),
        ("max_inprogress", 1_000_000_000),
    ],
)
def test_a_limit_of_a_queue_has_limits_of_its_own(
    place: Place, key: str, most: int
) -> None:
    for good in (1, most):
        assert rules(place.load(text(f"{key}: {good}"))) == plain(**{key: good})

    wrong = f"2: queues.q.{key}: must be a whole number from 1 to {most}"
    for bad in ("0", str(most + 1), "1.5", "'9'", "true", ""):
        assert place.mistakes(text(f"{key}: {bad}")) == [wrong]


def test_a_queue_that_could_not_hold_its_largest_job_is_a_mistake(
    place: Place,
) -> None:
    same = place.load(text("max_bytes: 10, max_job_bytes: 10"))

    assert (rules(same).max_bytes, rules(same).max_job_bytes) == (10, 10)
    assert place.mistakes(text("max_bytes: 9, max_job_bytes: 10")) == [
        "2: queues.q.max_bytes: must be at least max_job_bytes, 10"
    ]


@pytest.mark.parametrize(
    ("key", "least"),
    [("job_keep_minutes", 0), ("job_timeout_minutes", 1), ("dead_keep_minutes", 0)],
)
def test_a_time_of_a_queue_has_the_range_of_that_of_the_house(
    place: Place, key: str, least: int
) -> None:
    wrong = f"must be a whole number from {least} to 5270400"

    for bad in (least - 1, 5_270_401, "1.5", "true", ""):
        assert place.mistakes(text(f"{key}: {bad}")) == [f"2: queues.q.{key}: {wrong}"]
        assert place.mistakes(f"{key}: {bad}\n") == [f"1: {key}: {wrong}"]


def test_an_unknown_key_of_a_queue_is_told_with_the_nearest(place: Place) -> None:
    mistakes = place.mistakes(text("max_attempt: 3, back_off: {}, deny: []"))

    assert mistakes[:2] == [
        "2: queues.q.back_off: unknown key; did you mean backoff?",
        "2: queues.q.deny: unknown key; known here: backoff, browse, "
        "dead_keep_minutes, job_keep_minutes, job_timeout_minutes, manage, "
        "max_attempts, max_bytes, max_inprogress, max_job_bytes, max_jobs, "
        "poison_after, read, write",
    ]
    assert mistakes[2].startswith(
        "2: queues.q.max_attempt: unknown key; did you mean max_attempts?"
    )


# --- backoff ----------------------------------------------------------------------


def test_the_default_backoff_is_that_of_the_core() -> None:
    told, _ = schema.check({"queues": {"q": {"read": [], "write": []}}})

    assert told["queues"]["q"]["backoff"] == {
        "kind": backoff.DEFAULT.kind,
        "base_seconds": backoff.DEFAULT.base_ms / 1000,
        "factor": backoff.DEFAULT.factor,
        "max_seconds": backoff.DEFAULT.max_ms / 1000,
        "jitter": backoff.DEFAULT.jitter,
    }


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            "kind: exponential, base_seconds: 5, factor: 2, max_seconds: 3600, "
            "jitter: 0.1",
            backoff.DEFAULT,
        ),
        ("kind: exponential, base_seconds: 1", Backoff("exponential", 1000)),
        (
            "kind: exponential, base_seconds: 0.5, factor: 1.25, max_seconds: 0.75",
            Backoff("exponential", 500, factor=1.25, max_ms=750),
        ),
        ("kind: linear, base_seconds: 0.001", Backoff("linear", 1)),
        (
            "kind: linear, base_seconds: 7200",
            Backoff("linear", 2 * HOUR_MS, max_ms=2 * HOUR_MS),
        ),
        (
            "kind: linear, base_seconds: 4.35, max_seconds: 4.35, jitter: 1",
            Backoff("linear", 4350, max_ms=4350, jitter=1.0),
        ),
        (
            "kind: constant, base_seconds: 7200",
            Backoff("constant", 2 * HOUR_MS, max_ms=DELAY_MS_MAX),
        ),
        ("kind: constant, base_seconds: 0", Backoff(max_ms=DELAY_MS_MAX)),
        (
            f"kind: list, delays_seconds: [5, 0.5, {TEN_YEARS}]",
            Backoff("list", delays_ms=(5000, 500, DELAY_MS_MAX), max_ms=DELAY_MS_MAX),
        ),
    ],
)
def test_a_backoff_is_what_it_says(place: Place, said: str, meant: Backoff) -> None:
    settings = place.load(text(f"backoff: {{{said}}}"))

    assert rules(settings).backoff == meant
    shown = settings.effective["queues"]["q"]["backoff"]
    assert yaml.safe_load(f"{{{said}}}").items() <= shown.items()


_SECONDS = f"must be a number from 0 to {TEN_YEARS}"
_KIND = "must be one of constant, linear, exponential, list"


@pytest.mark.parametrize(
    ("said", "mistakes"),
    [
        ("[5]", [": must say how, as in {kind: exponential, base_seconds: 5}"]),
        ("5", [": must say how, as in {kind: exponential, base_seconds: 5}"]),
        ("", [": must say how; leave it out for the default"]),
        ("{}", [".kind: is missing"]),
        ("{kind: cubic, base_seconds: 5}", [f".kind: {_KIND}"]),
        ("{kind: 1}", [f".kind: {_KIND}"]),
        ("{kind: null}", [f".kind: {_KIND}"]),
        (
            "{knd: list}",
            [".kind: is missing", ".knd: unknown key; did you mean kind?"],
        ),
        (
            "{kind: constant}",
            [".base_seconds: is missing; kind constant needs it"],
        ),
        (
            "{kind: list, base_seconds: 5}",
            [
                ".base_seconds: means nothing with kind list, which has "
                "delays_seconds, jitter",
                ".delays_seconds: is missing; kind list needs it",
            ],
        ),
        (
            "{kind: constant, base_seconds: 5, factor: 2, max_seconds: 1}",
            [
                ".factor: means nothing with kind constant, which has "
                "base_seconds, jitter",
                ".max_seconds: means nothing with kind constant, which has "
                "base_seconds, jitter",
            ],
        ),
        ("{kind: linear, base_seconds: -1}", [f".base_seconds: {_SECONDS}"]),
        ("{kind: linear, base_seconds: .nan}", [f".base_seconds: {_SECONDS}"]),
        ("{kind: linear, base_seconds: .inf}", [f".base_seconds: {_SECONDS}"]),
        ("{kind: linear, base_seconds: true}", [f".base_seconds: {_SECONDS}"]),
        ("{kind: linear, base_seconds: '5'}", [f".base_seconds: {_SECONDS}"]),
        ("{kind: linear, base_seconds: null}", [f".base_seconds: {_SECONDS}"]),
        (
            f"{{kind: linear, base_seconds: {TEN_YEARS}.001}}",
            [f".base_seconds: {_SECONDS}"],
        ),
        (
            "{kind: linear, base_seconds: 0.0005}",
            [".base_seconds: must be whole milliseconds"],
        ),
        (
            "{kind: exponential, base_seconds: 5, factor: 0.9, jitter: 1.1}",
            [
                ".factor: must be a number from 1 to 100",
                ".jitter: must be a number from 0 to 1",
            ],
        ),
        (
            "{kind: exponential, base_seconds: 5, max_seconds: 4.999}",
            [".max_seconds: must be at least base_seconds, 5"],
        ),
        (
            "{kind: list, delays_seconds: []}",
            [".delays_seconds: must be a list of 1 to 32 seconds, as in [5, 10, 60]"],
        ),
        (
            "{kind: list, delays_seconds: [1, -1, a, 0.0001]}",
            [
                f".delays_seconds.1: {_SECONDS}",
                f".delays_seconds.2: {_SECONDS}",
                ".delays_seconds.3: must be whole milliseconds",
            ],
        ),
    ],
)
def test_every_mistake_in_a_backoff_is_named(
    place: Place, said: str, mistakes: list[str]
) -> None:
    found = place.mistakes(text(f"backoff: {said}"))

    assert found == [f"2: queues.q.backoff{mistake}" for mistake in mistakes]


def test_a_mistake_in_a_backoff_has_the_line_where_it_stands(place: Place) -> None:
    found = place.mistakes(
        "queues:\n"
        "  q:\n"
        "    read: [r]\n"
        "    write: [w]\n"
        "    backoff:\n"
        "      kind: list\n"
        "      delays_seconds:\n"
        "        - 1\n"
        "        - x\n"
        "      factor: 2\n"
    )

    assert found == [
        f"9: queues.q.backoff.delays_seconds.1: {_SECONDS}",
        "10: queues.q.backoff.factor: means nothing with kind list, which has "
        "delays_seconds, jitter",
    ]


def test_more_delays_than_a_job_can_carry_are_a_mistake(place: Place) -> None:
    said = "backoff: {{kind: list, delays_seconds: {}}}"

    assert len(rules(place.load(text(said.format([1] * 32)))).backoff.delays_ms) == 32
    assert len(place.mistakes(text(said.format([1] * 33)))) == 1
