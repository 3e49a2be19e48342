"""The oracle: judges from outside what a daemon says about its jobs.

It is told of every request with its answer, or that none came, and now and then what a
listing shows while nobody asks for anything. It says what no right daemon could have
done. Knows no wire, no file and none of the daemon's code.

A job is known by its token, which is part of its payload: so a job can be recognised
though the answer that named its uid never arrived.
"""

import threading
from collections.abc import Iterable
from itertools import combinations, pairwise
from math import inf
from typing import NamedTuple

from history import ABSENT, Act, World, Worlds, outcomes


class Seen(NamedTuple):
    """One job of a listing."""

    token: str
    uid: str
    state: str
    priority: int
    content: bytes


class Fault(NamedTuple):
    """What no right daemon could have done."""

    kind: str
    token: str
    detail: str


Span = tuple[float, float]


class Oracle:
    """Everything that was asked and answered, and what may be true because of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._worlds: dict[str, Worlds] = {}  # at the last judgement
        self._births: dict[str, Span] = {}
        self._uids: dict[str, str] = {}
        # Since the last judgement:
        self._acts: dict[str, list[Act]] = {}
        self._unseen: list[Act] = []  # claims whose answer never came
        self._empty: list[Span] = []
        # Since ever:
        self.acknowledged = self.unknown = self.created = self.delivered = 0
        self._goal, self._reached = 0, threading.Event()

    def after(self, answers: int) -> threading.Event:
        """Set as soon as so many more answers have come."""
        with self._lock:
            self._goal = self.acknowledged + answers
            self._reached = threading.Event()
            return self._reached

    def note(self, token: str, act: Act) -> None:
        """Something was asked of the job *token*."""
        with self._lock:
            self._count(act.verb, answered=act.answer is not None)
            self._acts.setdefault(token, []).append(act)
            if act.verb == "create":
                self._births[token] = (act.began, act.ended)

    def note_empty(self, began: float, ended: float) -> None:
        """A claim was told that there is no job to be had."""
        with self._lock:
            self._count("claim none", answered=True)
            self._empty.append((began, ended))

    def note_unseen(self, began: float, ended: float) -> None:
        """The answer of a claim never came: it may have taken any job, or none."""
        lease = f"unseen-{self.unknown}"
        with self._lock:
            self._count("claim", answered=False)
            self._unseen.append(Act("claim", began, ended, None, lease=lease))

    def judge(self, listing: list[Seen]) -> list[Fault]:
        """What is wrong, now that nobody asks for anything and *listing* is all."""
        with self._lock:
            seen = {job.token: job for job in listing}
            faults = [
                *self._wrong_names(listing),
                *_unsorted(listing, self._births),
                *self._out_of_turn(seen),
                *self._wrong_jobs(seen),
            ]
            self._acts, self._unseen, self._empty = {}, [], []
            return faults

    def _count(self, verb: str, *, answered: bool) -> None:
        self.acknowledged += answered
        self.unknown += not answered
        self.created += verb == "create" and answered
        self.delivered += verb == "claim" and answered
        if self.acknowledged == self._goal:
            self._reached.set()

    def _wrong_names(self, listing: list[Seen]) -> Iterable[Fault]:
        tokens = set()
        for job in listing:
            if job.token not in self._births:
                yield Fault("invented", job.token, "nobody asked for it")
            if job.token in tokens:
                yield Fault("listed twice", job.token, job.uid)
            tokens.add(job.token)
            if self._uids.setdefault(job.token, job.uid) != job.uid:
                yield Fault("renamed", job.token, f"to {job.uid}")

    def _wrong_jobs(self, seen: dict[str, Seen]) -> Iterable[Fault]:
        """Judge each job, and remember what may be true of it from here on."""
        taken_unseen = 0
        for token in self._births:
            acts = self._acts.get(token, [])
            before = self._worlds.get(token, ABSENT)
            view = _view(seen.get(token))
            if before == ABSENT and not acts and view is None:
                continue
            after = _like(view, outcomes(before, [*acts, *self._unseen]))
            if not after:
                yield _fault(token, before, acts, view)
                after = frozenset([view])
            else:
                taken_unseen += _unseen_needed(before, acts, self._unseen, view)
            self._worlds[token] = after
        if taken_unseen > len(self._unseen):
            detail = f"{taken_unseen} jobs, {len(self._unseen)} claims"
            yield Fault("taken by nobody", "", detail)

    def _out_of_turn(self, seen: dict[str, Seen]) -> Iterable[Fault]:
        """Claims that passed over a job which waited all along and was before it."""
        waits = {token: wait for token in seen if (wait := self._wait(token, seen))}
        for token, wait in waits.items():
            if wait.claim is not None:
                for other, rival in waits.items():
                    if rival.outlasts(wait.claim) and self._precedes(
                        (other, rival), (token, wait)
                    ):
                        yield Fault("out of turn", token, f"before {other}")
        for span in self._empty:
            for token, wait in waits.items():
                if wait.outlasts(span):
                    yield Fault("out of turn", token, "said to be empty")

    def _precedes(self, one: "tuple[str, Wait]", two: "tuple[str, Wait]") -> bool:
        if one[1].priority != two[1].priority:
            return one[1].priority > two[1].priority
        return self._births[one[0]][1] < self._births[two[0]][0]

    def _wait(self, token: str, seen: dict[str, Seen]) -> "Wait | None":
        """How long the job waited; None where that is not beyond doubt."""
        acts = self._acts.get(token, [])
        worlds = self._worlds.get(token, ABSENT)
        claims = [(act.began, act.ended) for act in acts if act.verb == "claim"]
        verbs = [act.verb for act in acts if act.verb != "claim"]
        known = all(act.answer is not None for act in acts)
        still = seen[token].state == "queued"
        if not known or len(claims) + still != 1 or verbs not in ([], ["create"]):
            return None
        if verbs:
            since = self._births[token][1]
        elif {world and world.state for world in worlds} == {"queued"}:
            since = -inf
        else:
            return None
        return Wait(seen[token].priority, since, claims[0] if claims else None)


class Wait(NamedTuple):
    """A job that was queued from *since* until it was claimed, or is queued still."""

    priority: int
    since: float
    claim: Span | None

    def outlasts(self, span: Span) -> bool:
        """Whether it waited from before *span* until after it."""
        until = inf if self.claim is None else self.claim[0]
        return self.since < span[0] and until > span[1]


def _view(job: Seen | None) -> World | None:
    return None if job is None else World(job.state, job.priority, job.content)


def _like(view: World | None, worlds: Worlds) -> Worlds:
    """Those of *worlds* that show as *view*: nothing shows a lease."""
    return frozenset(w for w in worlds if (w and w._replace(lease=None)) == view)


def _unseen_needed(
    before: Worlds, acts: list[Act], unseen: list[Act], view: World | None
) -> int:
    """How many claims without an answer it takes to explain the job."""
    return next(
        count
        for count in range(len(unseen) + 1)
        for some in combinations(unseen, count)
        if _like(view, outcomes(before, [*acts, *some]))
    )


def _fault(token: str, before: Worlds, acts: list[Act], view: World | None) -> Fault:
    after = outcomes(before, acts)
    if not after:
        claimed = any(act.verb == "claim" for act in acts)
        kind = "delivered twice" if claimed else "contradiction"
    elif view is None:
        kind = "lost"
    else:
        kind = "came back" if after == ABSENT else "changed"
    return Fault(kind, token, f"was {before}, then {acts}, now {view}")


def _unsorted(listing: list[Seen], births: dict[str, Span]) -> Iterable[Fault]:
    """Priority 100 first, and the order of creation within a priority."""
    newest = 0.0
    for one, two in pairwise(listing):
        newest = max(newest, births.get(one.token, (0.0, 0.0))[0])
        if one.priority < two.priority:
            yield Fault("unsorted", two.token, f"after {one.token}")
        elif one.priority > two.priority:
            newest = 0.0
        elif births.get(two.token, (inf, inf))[1] < newest:
            yield Fault("unsorted", two.token, "older than what is before it")
