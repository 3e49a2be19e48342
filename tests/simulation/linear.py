"""Linearizability: does one order of overlapping operations explain all answers?

The search is Wing and Gong's ("Testing and verifying concurrent objects", 1993): take
any operation that nothing else must precede, see whether the model allows its answer,
go on from there, and step back where nothing fits. Lowe's addition ("Testing for
linearizability", 2017) makes it fast: no configuration, that is which operations were
taken and what state they left, is gone on from twice. Knows no queue and no daemon.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar


class Timed(Protocol):
    """An operation: it took effect at some instant from *began* to *ended*."""

    @property
    def began(self) -> float: ...

    @property
    def ended(self) -> float: ...

    @property
    def eager(self) -> bool:
        """Whether it is taken as soon as the model allows it, and no other way tried.

        That is right for what changes nothing, and for what changes only what no
        overlapping operation touches or sees: any order that takes it later is as good
        with it taken now.
        """


O = TypeVar("O", bound=Timed)  # noqa: E741 an operation
S = TypeVar("S")  # a state; it can be hashed


class Verdict(NamedTuple):
    """Whether an order was found, and how many configurations were looked at."""

    linearizable: bool
    configurations: int
    # The operations explained by the best order, and one that it cannot go on with.
    explained: int
    stuck: int | None = None


class _Point(NamedTuple, Generic[S]):
    """A configuration: all operations below *low* were taken, and those in the mask
    *beyond*, which counts from *low*; they left *state*."""

    low: int
    beyond: int
    state: S


def linearize(
    operations: Sequence[O],
    start: S,
    step: Callable[[S, O], Iterable[S]],
    after: Sequence[int | None] = (),
) -> Verdict:
    """Whether some order of *operations* explains every answer.

    *operations* are sorted by `began`. *step* gives every state that an operation may
    leave, or none if it cannot have been answered so. Where *after* names an operation,
    that one is taken first: what is known of the order need not be guessed.
    """
    search = _Search(operations, step, after)
    seen = {_Point(0, 0, start)}
    best = _Point(0, 0, start)
    path = [search.following(best)]
    while path and best.low < len(operations):
        point = next(path[-1], None)
        if point is None:
            path.pop()
        elif point not in seen:
            seen.add(point)
            path.append(search.following(point))
            best = max(best, point, key=_taken)
    found = best.low == len(operations)
    return Verdict(found, len(seen), _taken(best), None if found else best.low)


def _taken(point: _Point[S]) -> int:
    return point.low + point.beyond.bit_count()


class _Search(Generic[S, O]):
    """Which configurations follow one."""

    def __init__(
        self,
        operations: Sequence[O],
        step: Callable[[S, O], Iterable[S]],
        after: Sequence[int | None],
    ) -> None:
        self._operations = operations
        self._step = step
        self._after = after or [None] * len(operations)

    def following(self, point: _Point[S]) -> Iterator[_Point[S]]:
        low, beyond, state = point
        for number in self._candidates(low, beyond):
            mask = beyond | 1 << (number - low)
            eager = False
            for left in self._step(state, self._operations[number]):
                eager = self._operations[number].eager
                yield _normal(low, mask, left)
            if eager:
                return

    def _candidates(self, low: int, beyond: int) -> Iterator[int]:
        """What may be taken now, first what is eager."""
        rest = []
        for number in self._next(low, beyond):
            first = self._after[number]
            if first is None or _has(low, beyond, first):
                if self._operations[number].eager:
                    yield number
                else:
                    rest.append(number)
        yield from rest

    def _next(self, low: int, beyond: int) -> Iterator[int]:
        """The operations not taken that no other such one ended before."""
        horizon = float("inf")
        for number in range(low, len(self._operations)):
            if not _has(low, beyond, number):
                operation = self._operations[number]
                # Sorted by `began`: none that comes later can begin sooner.
                if operation.began > horizon:
                    return
                yield number
                horizon = min(horizon, operation.ended)


def _has(low: int, beyond: int, number: int) -> bool:
    return number < low or bool(beyond >> (number - low) & 1)


def _normal(low: int, beyond: int, state: S) -> _Point[S]:
    """The same with *low* at the first operation that was not taken."""
    ones = (~beyond & (beyond + 1)).bit_length() - 1
    return _Point(low + ones, beyond >> ones, state)
