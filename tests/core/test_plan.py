"""What a new rulebook is said to change."""

from typing import Any

import pytest
from msgspec.structs import replace

from jobengine.core.backoff import AT_ONCE, DEFAULT, Backoff
from jobengine.core.plan import Plan, diff
from jobengine.core.queues import QueueRules, Rulebook


def book(*queues: QueueRules, **rest: object) -> Rulebook:
    return Rulebook({queue.name: queue for queue in queues}, **rest)  # type: ignore[arg-type]


def test_the_same_rules_change_nothing() -> None:
    rules = book(QueueRules("q", read=frozenset({"a"})))

    change = diff(rules, book(QueueRules("q", read=frozenset({"a"}))))

    assert not change
    assert change == Plan()


def test_queues_that_come_and_go_are_named_in_order() -> None:
    old = book(QueueRules("z"), QueueRules("kept"), QueueRules("a"))
    new = book(QueueRules("y"), QueueRules("kept"), QueueRules("b"))

    change = diff(old, new)

    assert change
    assert change == Plan(added=("b", "y"), removed=("a", "z"))


def test_a_changed_queue_says_what_changes_for_whom() -> None:
    old = QueueRules("q", read=frozenset({"a", "b"}), write=frozenset({"w"}))
    new = QueueRules(
        "q",
        read=frozenset({"b", "d", "c"}),
        write=frozenset(),
        lease_ms=90_000,
        keep_ms=0,
    )

    change = diff(book(old), book(new))

    assert change.changed == {
        "q": (
            "read is given to c, d",
            "read is taken from a",
            "write is taken from w",
            "a job in progress may take 1.5 min, not 10 min",
            "a finished job is kept 0 min, not 60 min",
        )
    }


def test_what_holds_for_every_queue_is_told_apart() -> None:
    old = book(strict_acl=False, removed_keep_ms=60_000)
    new = book(strict_acl=True, removed_keep_ms=None)

    assert diff(old, new).house == (
        "only writers may settle the jobs they hold",
        "the jobs of a removed queue are kept for ever, not 1 min",
    )
    assert diff(new, old).house == (
        "readers, too, may settle the jobs they hold",
        "the jobs of a removed queue are kept 1 min, not for ever",
    )


def test_who_may_look_and_who_may_intervene_is_told_like_the_other_rights() -> None:
    old = QueueRules("q", browse=frozenset({"board"}))
    new = QueueRules("q", manage=frozenset({"ops", "night"}))

    assert diff(book(old), book(new)).changed["q"] == (
        "browse is taken from board",
        "manage is given to night, ops",
    )


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("max_attempts", "the limit of attempts"),
        ("poison_after", "the limit of leases lost in a row"),
        ("max_jobs", "the limit of jobs queued and in progress"),
        ("max_bytes", "the limit of bytes of all jobs"),
        ("max_job_bytes", "the limit of bytes of a job"),
        ("max_inprogress", "the limit of jobs in progress"),
    ],
)
def test_a_limit_that_changes_is_told_with_what_it_was(field: str, what: str) -> None:
    none, seven = (replace(QueueRules("q"), **{field: limit}) for limit in (None, 7))

    there, back = diff(book(none), book(seven)), diff(book(seven), book(none))

    assert there.changed == {"q": (f"{what} is 7, not none",)}
    assert back.changed == {"q": (f"{what} is none, not 7",)}


@pytest.mark.parametrize(
    ("backoff", "told"),
    [
        (AT_ONCE, "0 s each time"),
        (Backoff("constant", 1500, jitter=0.25), "1.5 s each time, 25 % more or less"),
        (
            Backoff("linear", 2000, max_ms=60_000),
            "2 s, and as much more each time, up to 60 s",
        ),
        (
            Backoff("exponential", 1000, factor=1.5),
            "1 s, and 1.5 times as long each time, up to 3600 s",
        ),
        (Backoff("list", delays_ms=(5000, 10_000, 60_001)), "5, 10, 60.001 s"),
    ],
)
def test_another_backoff_is_told_in_words(backoff: Backoff, told: str) -> None:
    change = diff(book(QueueRules("q")), book(QueueRules("q", backoff=backoff)))

    assert change.changed == {
        "q": (
            f"a failed job waits {told}; before, 5 s, and 2 times as long each time, "
            "up to 3600 s, 10 % more or less",
        )
    }


def test_two_different_backoffs_are_never_told_in_the_same_words() -> None:
    old = QueueRules("q", backoff=Backoff("constant", 315_360_000_001))
    new = QueueRules("q", backoff=Backoff("constant", 315_360_000_002))

    (told,) = diff(book(old), book(new)).changed["q"]

    assert "315360000.001" in told
    assert "315360000.002" in told


def test_dead_letters_and_memory_and_administration_are_told() -> None:
    old = book(QueueRules("q"))
    new = book(
        QueueRules("q", dead_keep_ms=60_000),
        admins=frozenset({"ops"}),
        memory_bytes=16 << 20,
        template=QueueRules("", dead_keep_ms=60_000),
    )

    change = diff(old, new)

    assert change.changed == {"q": ("a dead letter is kept 1 min, not 10080 min",)}
    assert change.house == (
        "administration is given to ops",
        "the limit of bytes of memory is 16777216, not none",
        "in queues that callers make, a dead letter is kept 1 min, not 10080 min",
    )


def test_who_makes_queues_and_who_reads_them_is_told() -> None:
    lists = QueueRules("", read=frozenset({"r"}), write=frozenset({"w"}))
    nobody, somebody = book(), book(dynamic=lists)

    assert diff(nobody, somebody).house == (
        "making a queue by its first job is given to w",
        "reading a queue made so is given to r",
    )
    assert diff(somebody, nobody).house == (
        "making a queue by its first job is taken from w",
        "reading a queue made so is taken from r",
    )


def test_nothing_that_a_queue_keeps_to_changes_without_a_word() -> None:
    others: dict[str, Any] = {
        **{right: frozenset({"x"}) for right in ("read", "write", "browse", "manage")},
        **dict.fromkeys(("lease_ms", "keep_ms", "dead_keep_ms"), 1),
        **dict.fromkeys(("max_attempts", "poison_after", "max_jobs"), 1),
        **dict.fromkeys(("max_bytes", "max_job_bytes", "max_inprogress"), 1),
        "backoff": AT_ONCE,
    }
    # What callers, and not the configuration, have said of it.
    callers = {"paused", "made"}
    assert {*others, "name", *callers} == set(QueueRules.__struct_fields__)
    assert QueueRules("q").backoff == DEFAULT

    for field, value in others.items():
        change = diff(book(QueueRules("q")), book(QueueRules("q", **{field: value})))
        assert len(change.changed["q"]) == 1
