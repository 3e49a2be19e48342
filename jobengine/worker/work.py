"""One run of one job: its strategy is asked, its handler called, and what came of it
is made an outcome. Knows no thread; who runs it is a Runner.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from jobengine.client.spans import Duration, seconds_of
from jobengine.errors import Abandoned
from jobengine.worker.handlers import Context, Meanings, Spec, meaning_of, text_of
from jobengine.worker.held import Held, told_of
from jobengine.worker.outcomes import (
    BARE,
    OUTCOMES,
    Cancel,
    Critical,
    Outcome,
    Success,
)
from jobengine.worker.strategy import Done, Drop, Grant, Later, Wait, Word

# A strategy that says "ask again at once" must not keep a processor busy with asking;
# and there is a longest time that a thread can sleep.
WAIT_S_MIN = 0.01
WAIT_S_MAX = 24 * 3600.0

log = logging.getLogger("jobengine.worker")


class PutBack(Struct, frozen=True):
    """Back to its queue, after this time if any: the run does not count."""

    time: Duration | None = None


# How a run can end: as its handler says, or as nothing that counts.
End = Outcome | PutBack


class Runner(Protocol):
    """Whoever runs the jobs of one handler."""

    def submit(self, works: "list[Work]") -> None:
        """Begin each soon. Never blocks."""

    def take_back(self) -> "list[Work]":
        """Those that have not been begun, and will not be."""

    def stop(self) -> None:
        """Begin no more, and let go of what it runs with. Returns soon."""


class Work:
    """A job, its handler, and whom to tell how it ended.

    A runner calls `run` on a thread, or awaits `arun`.
    """

    __slots__ = ("context", "ended", "held", "spec", "worker_meanings")

    def __init__(
        self,
        held: Held,
        spec: Spec,
        context: Context,
        worker_meanings: Meanings,
        ended: "Callable[[Work, End], None]",
    ) -> None:
        self.held = held
        self.spec = spec
        self.context = context
        self.worker_meanings = worker_meanings
        self.ended = ended

    def run(self, go: "Callable[[], End] | None" = None) -> None:
        """All of it, on this thread; with *go* in place of a call of the handler."""
        end: End | None
        try:
            end = self.admit()
            if end is None:
                try:
                    end = self.outcome(self._call()) if go is None else go()
                finally:
                    self.over()
        except BaseException as error:  # noqa: BLE001 a handler may raise anything
            end = self.outcome_of_error(error)
        self.end(end)

    async def arun(self) -> None:
        """All of it, as a task of a loop."""
        end: End | None
        try:
            end = await self._admit_on_loop()
            if end is None:
                try:
                    end = self.outcome(await self._call())
                finally:
                    self.over()
        except BaseException as error:  # noqa: BLE001 a handler may raise anything
            end = self.outcome_of_error(error)
        self.end(end)

    def end(self, end: End) -> None:
        """Tell how the run ended. Called once, by whoever ran it."""
        self.ended(self, end)

    # --- its strategy -----------------------------------------------------------

    def admit(self) -> End | None:
        """How it ends without being run; None: it is to be run. May sleep."""
        while (word := self._asked()) is not None:
            if not isinstance(word, Wait):
                return _end_of(word)
            self.held.hold.waits = True
            self.held.hold.bell().wait(_seconds(word.time))
        self.held.hold.waits = False
        return None

    async def _admit_on_loop(self) -> End | None:
        while (word := self._asked()) is not None:
            if not isinstance(word, Wait):
                return _end_of(word)
            self.held.hold.waits = True
            await asyncio.sleep(_seconds(word.time))
        self.held.hold.waits = False
        return None

    def _asked(self) -> Wait | Later | Drop | Done | None:
        """What the strategy says; None: it is to be run."""
        if self.held.why is not None:
            return Later(0)
        if self.spec.strategy is None:
            return None
        word = self.spec.strategy.acquire(self.held)
        if not isinstance(word, Word):
            raise TypeError(f"a strategy says Grant() or the like, not {word!r}")
        return None if isinstance(word, Grant) else word

    def over(self) -> None:
        """The strategy's permit is free again."""
        if self.spec.strategy is None:
            return
        try:
            self.spec.strategy.release(self.held)
        except Exception:  # what the handler did counts all the same
            log.exception("job %s: its strategy's release failed", self.held.uid)

    # --- its handler ------------------------------------------------------------

    def _call(self) -> Any:
        if self.spec.takes_context:
            return self.spec.call(self.context, self.held)
        return self.spec.call(self.held)

    def outcome(self, returned: Any) -> Outcome:
        """What the handler means by what it returned."""
        if returned is None:
            return _SUCCESS
        if isinstance(returned, type) and returned in BARE:
            returned = returned()  # `return Failed`
        if not isinstance(returned, OUTCOMES):
            returned = Success(returned)
        if isinstance(returned, Success):
            return _with_told(returned)
        outcome: Outcome = returned
        return _with_text(outcome)

    def outcome_of_error(self, error: BaseException) -> End:
        """What an exception of the handler, or of its strategy, means."""
        # A task that is cancelled by another of its handler's own is a run that failed:
        # put back, it would come again at once, and for ever.
        if isinstance(error, _GIVEN_UP) and self.held.why is not None:
            return PutBack()
        log.error(
            "job %s of queue %s: its handler %s raised %s",
            *(self.held.uid, self.held.queue, self.spec.name, type(error).__name__),
            exc_info=error,
        )
        try:
            outcome = meaning_of(
                error, self.held, self.spec.exceptions, self.worker_meanings
            )
            if isinstance(outcome, OUTCOMES):
                return self.outcome(outcome)
            wrong = f"{type(outcome).__name__} is no outcome"
        except Exception as second:  # noqa: BLE001 so may the table
            wrong = type(second).__name__
        return Critical(f"what {type(error).__name__} means could not be told: {wrong}")


_SUCCESS = Success()
# What a run ends with that heeds that it is not to go on.
_GIVEN_UP = Abandoned, asyncio.CancelledError


def _with_told(success: Success) -> Outcome:
    """The same with its result as JSON. Work that is done is not to be done again
    because of what it returned: where that cannot be kept, somebody has to look."""
    if success.result is None:
        return success
    if inspect.iscoroutine(success.result):
        success.result.close()
        return Critical("its handler is no async def, but gave something to await")
    try:
        told = told_of(success.result)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        return Critical(f"the work is done, but its result cannot be kept: {error}")
    return Success(told)


def _with_text(outcome: Outcome) -> Outcome:
    """The same with its error as text, whatever the handler took for one."""
    error: Any = getattr(outcome, "error", None)
    if error is None or isinstance(error, str):
        return outcome
    said = text_of(error) if isinstance(error, BaseException) else str(error)
    return replace(outcome, error=said)


def _end_of(word: Later | Drop | Done) -> End:
    if isinstance(word, Later):
        return PutBack(word.time)
    if isinstance(word, Drop):
        return Cancel()
    return _with_told(Success(word.result))


def _seconds(time: Duration) -> float:
    # The least first: of what is no number, it is what comes out.
    return min(max(WAIT_S_MIN, seconds_of(time)), WAIT_S_MAX)
