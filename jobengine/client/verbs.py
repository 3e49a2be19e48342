"""The verbs as methods: those of a blocking client give what they come to, those of an
awaiting one something to await. Each is written once, as a function elsewhere.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar, overload

from jobengine.client import verbs_jobs, verbs_many, verbs_queues, verbs_work
from jobengine.client.call import Steps

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Carries a verb out before it returns."""

    def run(self, steps: Steps[T]) -> T:
        """What the steps of a verb come to."""
        raise NotImplementedError


class Awaiting:
    """Carries a verb out while it is awaited."""

    async def run(self, steps: Steps[T]) -> T:
        """What the steps of a verb come to."""
        raise NotImplementedError


class Verb(Generic[P, T]):
    """A method that carries out what *make* makes of its arguments."""

    def __init__(self, make: Callable[P, Steps[T]]) -> None:
        self._make = make

    @overload
    def __get__(self, owner: None, kind: type) -> Callable[P, Steps[T]]: ...
    @overload
    def __get__(self, owner: Blocking, kind: type) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, owner: Awaiting, kind: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, owner: Any, kind: type) -> Any:
        # Of the class it is the function, for help() and inspect.signature().
        return self._make if owner is None else _Bound(self._make, owner.run)


class _Bound:
    """A verb of one client."""

    __slots__ = ("__wrapped__", "_run")

    def __init__(self, make: Callable[..., Any], run: Callable[[Any], Any]) -> None:
        self.__wrapped__ = make
        self._run = run

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._run(self.__wrapped__(*args, **options))

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.__wrapped__.__doc__


class Verbs:
    """What both kinds of client can do. Those that give handles are with them."""

    get = Verb(verbs_jobs.get)
    wait = Verb(verbs_jobs.wait)
    update = Verb(verbs_jobs.update)
    delete = Verb(verbs_jobs.delete)
    peek = Verb(verbs_jobs.peek)
    cancel = Verb(verbs_jobs.cancel)
    retry_job = Verb(verbs_jobs.retry_job)
    explain = Verb(verbs_jobs.explain)
    list_jobs = Verb(verbs_jobs.list_jobs)
    archive = Verb(verbs_jobs.archive)
    dead_letters = Verb(verbs_jobs.dead_letters)

    claim = Verb(verbs_work.claim)
    heartbeat = Verb(verbs_work.heartbeat)
    heartbeat_many = Verb(verbs_work.heartbeat_many)
    complete = Verb(verbs_work.complete)
    complete_many = Verb(verbs_work.complete_many)
    fail = Verb(verbs_work.fail)
    release = Verb(verbs_work.release)
    reschedule = Verb(verbs_work.reschedule)

    cancel_by_key = Verb(verbs_many.cancel_by_key)
    cancel_all = Verb(verbs_many.cancel_all)
    bulk_retry = Verb(verbs_many.bulk_retry)
    bulk_cancel = Verb(verbs_many.bulk_cancel)
    bulk_delete = Verb(verbs_many.bulk_delete)
    dead_letter_groups = Verb(verbs_many.dead_letter_groups)
    replay_dead_letters = Verb(verbs_many.replay_dead_letters)
    purge_dead_letters = Verb(verbs_many.purge_dead_letters)
    purge = Verb(verbs_many.purge)

    list_queues = Verb(verbs_queues.list_queues)
    create_queue = Verb(verbs_queues.create_queue)
    get_queue = Verb(verbs_queues.get_queue)
    delete_queue = Verb(verbs_queues.delete_queue)
    pause = Verb(verbs_queues.pause)
    resume = Verb(verbs_queues.resume)
    stats = Verb(verbs_queues.stats)
    list_schedules = Verb(verbs_queues.list_schedules)
    create_schedule = Verb(verbs_queues.create_schedule)
    get_schedule = Verb(verbs_queues.get_schedule)
    replace_schedule = Verb(verbs_queues.replace_schedule)
    delete_schedule = Verb(verbs_queues.delete_schedule)
    pause_schedule = Verb(verbs_queues.pause_schedule)
    resume_schedule = Verb(verbs_queues.resume_schedule)
