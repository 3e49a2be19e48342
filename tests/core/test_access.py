"""Who may do what to which queue."""

import pytest

from jobengine.core import access, lifecycle
from jobengine.core.access import (
    Caller,
    Right,
    administers,
    allows,
    by_key,
    digest,
    holds,
    opens,
    rights,
)
from jobengine.core.job import NewJob
from jobengine.core.queues import NAME, MadeQueue, QueueRules, Rulebook

READ, WRITE, BROWSE, MANAGE = Right
RULES = QueueRules(
    "q",
    read=frozenset({"reader", "both", "all"}),
    write=frozenset({"writer", "both", "all"}),
    browse=frozenset({"viewer"}),
    manage=frozenset({"keeper", "all"}),
)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        # Who reads sees all there is to see.
        ("reader", {READ, BROWSE}),
        ("writer", {WRITE}),
        ("both", {READ, WRITE, BROWSE}),
        ("viewer", {BROWSE}),
        # Nobody manages what he cannot see.
        ("keeper", {BROWSE, MANAGE}),
        ("all", set(Right)),
        ("stranger", set()),
        ("Reader", set()),
        ("", set()),
    ],
)
def test_rights_are_those_of_the_lists_and_no_others(
    name: str, held: frozenset[Right]
) -> None:
    assert rights(Caller(name), RULES) == held
    assert {right for right in Right if allows(Caller(name), RULES, right)} == held


def test_a_queue_without_lists_grants_nothing() -> None:
    assert rights(Caller("reader"), QueueRules("q")) == set()


def test_a_job_is_held_by_the_service_that_claimed_it_and_by_nobody_else() -> None:
    queued = lifecycle.create(NewJob(b"{}"), uid="u", queue="q", seq=0, now=1)

    claimed = lifecycle.claim(queued, now=2, token="t", holder="reader", rules=RULES)

    assert holds(Caller("reader"), claimed)
    assert not holds(Caller("both"), claimed)


def test_nobody_holds_a_job_that_is_not_in_progress() -> None:
    queued = lifecycle.create(NewJob(b"{}"), uid="u", queue="q", seq=0, now=1)

    assert not holds(Caller("reader"), queued)


# --- who administers --------------------------------------------------------------

BOOK = Rulebook({"q": RULES}, admins=frozenset({"root"}))


@pytest.mark.parametrize(
    ("caller", "may"),
    [
        (Caller("root", local=True), True),
        # A name alone proves nothing to somebody far away.
        (Caller("root"), False),
        (Caller("keeper", local=True), False),
        (Caller("root", local=True, key_of="q"), False),
        (Caller("", local=True), False),
    ],
)
def test_an_administrator_is_named_and_close_by(caller: Caller, may: bool) -> None:
    assert administers(caller, BOOK) is may


# --- access keys ------------------------------------------------------------------


def test_an_access_key_gives_its_own_queue_to_work_with_and_no_other() -> None:
    caller = by_key(locked("open sesame"))
    another = MadeQueue("other", 1, salt="salt", digest=caller.digest)

    assert rights(caller, rules_of(locked("open sesame"))) == {READ, WRITE, BROWSE}
    assert rights(caller, rules_of(another)) == set()


@pytest.mark.parametrize("queue", [MadeQueue("q", 2), None])
def test_an_access_key_does_not_open_what_has_come_in_the_place_of_its_queue(
    queue: MadeQueue | None,
) -> None:
    caller = by_key(locked("open sesame"))

    assert rights(caller, rules_of(locked("another"))) == set()
    assert rights(caller, QueueRules("q", made=queue)) == set()


@pytest.mark.parametrize("right", Right)
def test_who_shows_a_key_gets_nothing_by_name(right: Right) -> None:
    caller = Caller("all", local=True, key_of="other")

    assert not allows(caller, RULES, right)
    assert rights(caller, RULES) == set()


def test_no_service_can_be_named_as_those_who_show_a_key() -> None:
    one, other = by_key(MadeQueue("q", 1)), by_key(MadeQueue("r", 1))

    assert NAME.fullmatch(one.name) is None
    assert one.name != other.name


def rules_of(made: MadeQueue) -> QueueRules:
    return QueueRules(made.name, made=made)


def locked(access_key: str, salt: str = "salt") -> MadeQueue:
    return MadeQueue("q", 1, salt=salt, digest=digest(access_key, salt))


def test_a_queue_opens_to_its_own_key_alone() -> None:
    made = locked("pass\xe9")

    assert opens("pass\xe9", made)
    for wrong in ("", "pass", "pass\xe9 ", "PASS\xe9"):
        assert not opens(wrong, made)


@pytest.mark.parametrize("made", [None, MadeQueue("q", 1), MadeQueue("q", 1, salt="s")])
def test_a_queue_without_a_key_opens_to_none(made: MadeQueue | None) -> None:
    assert not opens("", made)
    assert not opens("None", made)


def test_equal_keys_of_two_queues_cannot_be_told_from_what_is_kept() -> None:
    one, two = locked("same", "salt 1"), locked("same", "salt 2")

    assert one.digest != two.digest
    assert b"same" not in (one.digest or b"")
    assert len(one.digest or b"") == 32


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    made = locked("right")

    assert [opens("right", made), opens("wrong", made)] == [True, False]
    assert compared == [
        (digest("right", "salt"), made.digest),
        (digest("wrong", "salt"), made.digest),
    ]
