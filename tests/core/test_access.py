"""Who may do what to which queue."""

import pytest

from jobengine.core import lifecycle
from jobengine.core.access import Caller, Right, holds, rights
from jobengine.core.job import NewJob
from jobengine.core.queues import QueueRules

RULES = QueueRules(
    "q", read=frozenset({"reader", "both"}), write=frozenset({"writer", "both"})
)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("reader", {Right.READ}),
        ("writer", {Right.WRITE}),
        ("both", {Right.READ, Right.WRITE}),
        ("stranger", set()),
        ("Reader", set()),
        ("", set()),
    ],
)
def test_rights_are_those_of_the_lists_and_no_others(
    name: str, held: frozenset[Right]
) -> None:
    assert rights(Caller(name), RULES) == held


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
