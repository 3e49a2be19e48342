"""What a new rulebook is said to change."""

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
