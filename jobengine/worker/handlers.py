"""Handlers: the functions that do the work, and what goes with them. Knows no thread.

How one run of one goes is in work.py.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct
from msgspec.structs import replace

from jobengine.core.backoff import Backoff
from jobengine.worker.held import Held
from jobengine.worker.outcomes import (
    OUTCOMES,
    Cancel,
    Critical,
    Failed,
    Outcome,
    RetryAt,
    Unprocessable,
)
from jobengine.worker.strategy import Strategy

if TYPE_CHECKING:
    from jobengine.client.client import Client

# After its nth run: what the daemon is to use, or seconds.
Waits = Backoff | Callable[[int], float]

# What an exception means: an outcome; a kind of outcome, with what the exception says;
# or whatever a function makes of such an exception, and of the job.
Kind = type[Failed] | type[Critical] | type[Unprocessable] | type[Cancel]
Meaning = Outcome | Kind | Callable[[Any, Any], Outcome]
Meanings = Mapping[type[BaseException], Meaning]


class Context(Struct, frozen=True):
    """What a handler may want besides its job."""

    client: "Client"  # as the worker's service
    state: Any  # what the Worker was given as `state`
    queue: str


class Handler(ABC):
    """A handler as a class. Names in capitals are the options of `Worker.handler`."""

    QUEUE: ClassVar[str | tuple[str, ...]]
    PERMITS: ClassVar[int | None] = None
    BACKOFF: ClassVar[Waits | None] = None
    STRATEGY: ClassVar[Strategy | None] = None
    EXCEPTIONS: ClassVar[Meanings] = {}
    PROCESSES: ClassVar[int] = 0

    @abstractmethod
    def process(self, ctx: Context, job: Any) -> Any:
        """Do the work of *job*, a HeldJob; or, as an `async def`, an AsyncHeldJob."""


class Spec(Struct, frozen=True, kw_only=True):
    """A handler, and what goes with it."""

    call: Callable[..., Any]
    name: str
    queues: tuple[str, ...]
    permits: int | None = None  # of each queue; None: as the worker has it
    backoff: Waits | None = None
    strategy: Strategy | None = None
    exceptions: Meanings = {}
    processes: int = 0  # child processes that run it; 0: threads, or the loop
    is_async: bool = False
    takes_context: bool = False


def spec_of(
    call: Callable[..., Any],
    queues: tuple[str, ...],
    *,
    permits: int | None,
    backoff: Waits | None,
    strategy: Strategy | None,
    exceptions: Meanings | None,
    processes: int,
) -> Spec:
    """The handler with its options.

    Raises:
        TypeError, ValueError: it cannot be one.
    """
    name = getattr(call, "__qualname__", type(call).__name__)
    is_async = inspect.iscoroutinefunction(call)
    check_queues(queues, name)
    check_options(name, backoff, exceptions or {})
    if not (strategy is None or isinstance(strategy, Strategy)):
        raise TypeError(f"{name}: strategy must be an instance of a Strategy")
    if permits is not None and permits < 1:
        raise ValueError(f"{name}: permits must be at least 1")
    if processes and is_async:
        raise ValueError(f"{name}: what runs in processes is a def, not an async def")
    if processes < 0:
        raise ValueError(f"{name}: processes must be 0, or how many there are to be")
    return Spec(
        call=call,
        name=name,
        queues=queues,
        permits=permits,
        backoff=backoff,
        strategy=strategy,
        exceptions=exceptions or {},
        processes=processes,
        is_async=is_async,
        takes_context=_takes_context(call, name),
    )


def check_queues(queues: tuple[object, ...], name: str) -> None:
    """Raises: ValueError: these are no names of queues."""
    if not queues or not all(isinstance(queue, str) and queue for queue in queues):
        raise ValueError(
            f'{name}: name the queues, as in @worker.handler("mail"), or as QUEUE of a '
            "Handler"
        )


def check_options(name: str, backoff: object, exceptions: object) -> None:
    """Raises: TypeError: one of them, of a handler or of a worker, is none. It would be
    noticed only when a run fails."""
    if not (backoff is None or isinstance(backoff, Backoff) or callable(backoff)):
        raise TypeError(
            f"{name}: backoff must be a Backoff, as constant(5) makes one, or a "
            "function of the attempt"
        )
    if not isinstance(exceptions, Mapping):
        raise TypeError(f"{name}: exceptions must be a mapping of classes to outcomes")
    for kind, meaning in exceptions.items():
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"{name}: exceptions has {kind!r}: no class of exceptions")
        if not _means(meaning):
            raise TypeError(
                f"{name}: {kind.__name__} must mean an outcome, one of the classes "
                f"{', '.join(sorted(each.__name__ for each in _KINDS))}, or a function "
                "of (error, job)"
            )


def _means(meaning: object) -> bool:
    if isinstance(meaning, type):
        return meaning in _KINDS
    return isinstance(meaning, OUTCOMES) or callable(meaning)


def spec_of_class(handler: Handler) -> Spec:
    """The same of a handler that is a class."""
    if not isinstance(handler, Handler):
        raise TypeError("what is added is an instance of a Handler, as in add(Mail())")
    name = type(handler).__qualname__
    queues = getattr(handler, "QUEUE", ())
    spec = spec_of(
        handler.process,
        (queues,) if isinstance(queues, str) else tuple(queues),
        permits=handler.PERMITS,
        # A function among the options is not to become a method.
        backoff=inspect.getattr_static(handler, "BACKOFF"),
        strategy=handler.STRATEGY,
        exceptions=handler.EXCEPTIONS,
        processes=handler.PROCESSES,
    )
    if not spec.takes_context:
        raise TypeError(f"{name}.process takes (self, ctx, job)")
    return spec


def nobody_for(queue: str) -> Spec:
    """What stands for the handler of a queue that has none (SQ-R8)."""

    def missing(_job: object) -> Outcome:
        return Critical(f"no handler for queue {queue!r}")

    return Spec(call=missing, name="nobody", queues=(queue,))


def meaning_of(error: BaseException, held: Held, *tables: Meanings) -> Outcome:
    """What the exception of a handler says of the run: by the first of the tables that
    knows its class, or one above it; Failed where none does."""
    for table in tables:
        for each in type(error).__mro__:
            if each in table:
                return _outcome(table[each], error, held)
    return Failed(text_of(error))


def text_of(error: BaseException) -> str:
    """What the error says, as it stands in the job."""
    said = str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _outcome(meaning: Meaning, error: BaseException, held: Held) -> Outcome:
    if isinstance(meaning, Failed | RetryAt | Critical | Unprocessable):
        said = meaning.error is not None
        return meaning if said else replace(meaning, error=text_of(error))
    if isinstance(meaning, OUTCOMES):
        return meaning
    if isinstance(meaning, type):
        return _KINDS[meaning](text_of(error))
    return meaning(error, held)


_KINDS: dict[type, Callable[[str], Outcome]] = {
    Failed: Failed,
    Critical: Critical,
    Unprocessable: Unprocessable,
    Cancel: lambda _error: Cancel(),
}


def _takes_context(call: Callable[..., Any], name: str) -> bool:
    """Whether it takes (ctx, job), and not (job) alone."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    needed = [
        each
        for each in inspect.signature(call).parameters.values()
        if each.kind in kinds and each.default is inspect.Parameter.empty
    ]
    if len(needed) not in (1, 2):
        raise TypeError(f"{name}: a handler takes (job), or (ctx, job)")
    return len(needed) == 2
