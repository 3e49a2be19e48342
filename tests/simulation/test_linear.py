"""The judge of histories: what it accepts, what not, and why it may be believed."""

from collections.abc import Iterator
from random import Random

import pytest
from jobs_model import Op, judge
from naive_queue import Naive, explains, small_history, spoiled

INF = float("inf")
SEEDS = range(400)


def create(
    job: str,
    began: float,
    ended: float,
    *,
    priority: int = 50,
    status: int | None = 201,
) -> Op:
    return Op(0, "create", began, ended, status, job, priority)


def claim(job: str, began: float, ended: float, *, lease: str = "") -> Op:
    status = 200 if job else 204
    return Op(1, "claim", began, ended, status, job, lease=lease or f"of {job}")


def settle(
    job: str, began: float, ended: float, state: str, *, status: int = 200
) -> Op:
    return Op(1, "settle", began, ended, status, job, 0, f"of {job}", state)


def delete(job: str, began: float, ended: float, *, status: int | None = 204) -> Op:
    return Op(0, "delete", began, ended, status, job)


def listing(began: float, *listed: tuple[str, str]) -> Op:
    return Op(0, "list", began, began + 1, 200 if listed else 204, listing=listed)


def cut_off_claim(began: float, ended: float) -> Op:
    return Op(1, "claim", began, ended, None)


EXPLAINED = {
    "nothing": [],
    "a whole life": [
        *(create("a", 0, 1), claim("a", 2, 3), settle("a", 4, 5, "complete")),
        *(listing(6, ("a", "complete")), delete("a", 8, 9), listing(10)),
    ],
    "a claim during the create gets the job": [
        *(create("a", 0, 5), claim("a", 1, 2), listing(9, ("a", "inprogress"))),
    ],
    "a claim during the create gets nothing": [
        *(create("a", 0, 5), claim("", 1, 2), listing(9, ("a", "queued"))),
    ],
    "of two creates at once the later asked is the older": [
        *(create("a", 0, 5), create("b", 1, 4), claim("b", 6, 7)),
        listing(9, ("b", "inprogress"), ("a", "queued")),
    ],
    "a job given back has its old place": [
        *(create("a", 0, 1), create("b", 2, 3), claim("a", 4, 5)),
        *(settle("a", 6, 7, "queued"), claim("a", 8, 9, lease="second")),
        listing(10, ("a", "inprogress"), ("b", "queued")),
    ],
    "a worker that comes back late is refused": [
        *(create("a", 0, 1), claim("a", 2, 3), settle("a", 4, 5, "failed")),
        settle("a", 6, 7, "complete", status=409),
        listing(10, ("a", "failed")),
    ],
    "a claim that was cut off took the job": [
        *(create("a", 0, 1), cut_off_claim(2, 5), claim("", 6, 7)),
        listing(8, ("a", "inprogress")),
    ],
    "a claim that was cut off took nothing": [
        *(create("a", 0, 1), cut_off_claim(2, 5), claim("a", 6, 7)),
        listing(8, ("a", "inprogress")),
    ],
    "a claim that was cut off, none knows when, takes the job at last": [
        *(create("a", 0, 1), cut_off_claim(2, INF), listing(6, ("a", "queued"))),
        listing(8, ("a", "inprogress")),
    ],
    "a create that was cut off was done": [
        *(create("a", 0, 1, status=None), listing(2, ("a", "queued"))),
    ],
    "a create that was cut off was not done": [
        *(create("a", 0, 1, status=None), claim("", 2, 3), listing(4)),
    ],
    "a delete that was cut off was done": [
        *(create("a", 0, 1), listing(2, ("a", "queued"))),
        *(delete("a", 4, 5, status=None), listing(6)),
    ],
}

UNEXPLAINED = {
    "double delivery": [
        *(create("a", 0, 1), claim("a", 2, 3), claim("a", 2, 4, lease="second")),
        listing(9, ("a", "inprogress")),
    ],
    "a lost job": [
        *(create("a", 0, 1), create("b", 0, 1), claim("a", 4, 5), claim("", 6, 7)),
        listing(8, ("a", "inprogress")),
    ],
    "an acknowledged create is missing after a kill": [
        *(create("a", 0, 1), create("b", 2, 3, status=None), listing(4)),
    ],
    "204 while a job is queued": [
        *(create("a", 0, 1), claim("", 2, 3), listing(4, ("a", "queued"))),
    ],
    "204 though only one of two may have been taken": [
        *(create("a", 0, 1), create("b", 2, 3), cut_off_claim(4, 5)),
        *(claim("", 6, 7), listing(8, ("a", "inprogress"), ("b", "queued"))),
    ],
    "the younger first": [
        *(create("a", 0, 1), create("b", 2, 3), claim("b", 4, 5)),
        listing(6, ("a", "queued"), ("b", "inprogress")),
    ],
    "the lesser priority first": [
        *(create("a", 0, 1, priority=1), create("b", 2, 3), claim("a", 4, 5)),
        listing(6, ("b", "queued"), ("a", "inprogress")),
    ],
    "the listing shows another age than the claims": [
        *(create("a", 0, 5), create("b", 1, 4), claim("b", 6, 7)),
        listing(9, ("a", "queued"), ("b", "inprogress")),
    ],
    "a listing in disorder": [
        *(create("a", 0, 1), create("b", 2, 3)),
        listing(6, ("b", "queued"), ("a", "queued")),
    ],
    "a job that nobody asked for": [claim("a", 0, 1)],
    "a listed job that nobody asked for": [listing(0, ("a", "queued"))],
    "a job given back goes to the end": [
        *(create("a", 0, 1), create("b", 2, 3), claim("a", 4, 5)),
        *(settle("a", 6, 7, "queued"), claim("b", 8, 9)),
        listing(10, ("a", "queued"), ("b", "inprogress")),
    ],
    "a stale lease settles": [
        *(create("a", 0, 1), claim("a", 2, 3), settle("a", 4, 5, "failed")),
        *(settle("a", 6, 7, "complete"), listing(10, ("a", "complete"))),
    ],
    "a lease is lost": [
        *(create("a", 0, 1), claim("a", 2, 3)),
        *(settle("a", 4, 5, "complete", status=409), listing(6, ("a", "inprogress"))),
    ],
    "what was cut off happens after its process has gone": [
        *(create("a", 0, 1), cut_off_claim(2, 5), listing(6, ("a", "queued"))),
        listing(8, ("a", "inprogress")),
    ],
    "a deleted job comes back": [
        *(create("a", 0, 1), listing(2, ("a", "queued")), delete("a", 4, 5)),
        listing(6, ("a", "queued")),
    ],
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_a_right_queue_may_answer_is_explained(name: str) -> None:
    verdict, stuck = judge(EXPLAINED[name])

    assert verdict.linearizable
    assert stuck is None


@pytest.mark.parametrize("name", UNEXPLAINED)
def test_what_no_right_queue_answers_is_not_explained(name: str) -> None:
    verdict, stuck = judge(UNEXPLAINED[name])

    assert not verdict.linearizable
    assert stuck is not None


def histories() -> Iterator[list[Op]]:
    """Small ones of a right queue, each of them also with one answer that is wrong."""
    for seed in SEEDS:
        chance = Random(seed)
        history = small_history(chance)
        yield history
        yield spoiled(history, chance)


def test_it_says_the_same_as_a_search_that_knows_no_short_cut() -> None:
    said = [
        (judge(history)[0].linearizable, explains(history, Naive()))
        for history in histories()
    ]

    assert [fast for fast, _slow in said] == [slow for _fast, slow in said]
    # Every unspoiled one is explained, and most of the spoiled are not.
    assert all(slow for _fast, slow in said[::2])
    assert sum(not slow for _fast, slow in said[1::2]) > len(SEEDS) / 2
