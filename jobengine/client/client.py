"""The blocking client of a daemon. Knows no socket: that is the transport's.

with Client(name="shop") as client:
    job = client.enqueue("mail", {"to": "ada"})
    print(job.result(timeout=10))
"""

from collections.abc import Iterable, Iterator
from threading import Event
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from jobengine.client import bodies, replies, verbs_jobs, verbs_work
from jobengine.client.asking import Asker, Asking, Tries
from jobengine.client.call import Call, Pause, Steps
from jobengine.client.environment import DEFAULT_URL
from jobengine.client.handle import JobHandle
from jobengine.client.jobs import (
    EnqueueOptions,
    Job,
    Listing,
    NewJob,
    OnConflict,
)
from jobengine.client.retry import Retry
from jobengine.client.transport import Transport
from jobengine.client.verbs import Blocking, Verbs
from jobengine.client.verbs_jobs import Made
from jobengine.errors import JobEngineError

T = TypeVar("T")


class Client(Asker, Blocking, Verbs):
    """Speaks to a daemon as the service *name*. Threads may share it.

    A request that fails is tried again, as *retry* says, where that does no harm: see
    docs/sdk/reference.md. `timeout` is how many seconds an answer may take, beyond what
    the daemon was asked to wait; so many `connections` are kept open for the next
    requests. The daemon of an https:// URL is verified by `ca_file`, else by the
    authorities of the machine.

    Raises:
        ConfigError: the URL, the name, the token or a file cannot be used.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        name: str | None = None,
        token: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        timeout: float = 30.0,
        connections: int = 16,
        retry: Retry | None = Retry(),  # noqa: B008 it is frozen
        transport: Transport | None = None,
    ) -> None:
        self._asking = Asking(name, token, retry, timeout)
        if transport is None:
            # Loads the TLS library, for which an engine in this process has no use.
            from jobengine.client.http import connect

            transport = connect(
                url,
                files=(ca_file, cert_file, key_file),
                timeout=timeout,
                connections=connections,
            )
        self._transport = transport
        self._interrupted = Event()
        self._owner = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport}, name={self.name!r})"

    def as_caller(self, name: str) -> "Client":
        """The same over the same connections, as another service. To close it closes
        nothing."""
        made = self._over(self._transport, name, self._asking.retry)
        made._interrupted = self._interrupted
        made._owner = False
        return made

    def another(self, *, retry: Retry | bool | None = True) -> "Client":
        """The same with connections of its own; with another *retry* unless True."""
        patience = self._asking.retry if isinstance(retry, bool) else retry
        return self._over(self._transport.another(), self.name, patience)

    def _over(
        self, transport: Transport, name: str | None, retry: Retry | None
    ) -> "Client":
        asking = self._asking
        return Client(
            name=name,
            token=asking.token,
            timeout=asking.timeout,
            retry=retry,
            transport=transport,
        )

    def hang_up(self) -> None:
        """The same as interrupt(), but an answer that the daemon has given before it
        knows is heard: so no job is claimed for nobody."""
        self._interrupted.set()
        self._transport.hang_up()

    def interrupt(self) -> None:
        """Have whatever waits, or is asked from now on, raise Unanswered at once."""
        self._interrupted.set()
        self._transport.interrupt()

    def close(self) -> None:
        """Let go of the connections."""
        if self._owner:
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, steps: Steps[T]) -> T:
        """What the steps of a verb come to.

        Raises:
            JobEngineError: the daemon refused, or there is no answer.
        """
        if isinstance(steps, Call):
            return self._carry_out(steps)
        found: Any = None
        try:
            step = next(steps)
            while True:
                try:
                    found = self._step(step)
                except JobEngineError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(found)
        except StopIteration as end:
            value: T = end.value
            return value

    def _step(self, step: Call[Any] | Pause) -> Any:
        if isinstance(step, Pause):
            return self._interrupted.wait(step.seconds)
        return self._carry_out(step)

    def _carry_out(self, call: Call[T]) -> T:
        request = self._asking.request(call)
        tries: Tries | None = None
        while True:
            try:
                return replies.read(self._transport.send(request), call.read)
            except JobEngineError as error:
                tries = tries or Tries(self._asking, call)
                wait = tries.after(error)
                if wait is None or self._interrupted.wait(wait):
                    raise

    # --- the verbs that give handles ----------------------------------------------

    def handle(self, queue: str, uid: str) -> JobHandle:
        """A job that was queued elsewhere. Asks nothing."""
        return JobHandle(self, queue, uid)

    def enqueue(
        self, queue: str, content: Any, **options: Unpack[EnqueueOptions]
    ) -> JobHandle:
        """Queue a job; *content* is any JSON.

        Raises:
            InvalidJob: it cannot be said in JSON, or the daemon refuses a value.
            DuplicateJob: a live job has its unique_key, and on_conflict is `refuse`.
            QueueFull, JobTooLarge, Forbidden, QueueNotFound: as the daemon says.
        """
        made = self.run(verbs_jobs.enqueue(queue, content, **options))
        return self._handle(queue, made)

    def enqueue_many(
        self,
        queue: str,
        jobs: Iterable[NewJob | Any],
        *,
        atomic: bool = False,
        on_conflict: OnConflict = "refuse",
    ) -> list[JobHandle | JobEngineError]:
        """Queue many jobs, NewJobs or the contents of some: what became of each, in
        their order. With *atomic* all of them, 10,000 at most, or none.

        Raises:
            JobEngineError: none was queued. Once one was, what could not be asked for
                stands beside each of the others.
        """
        found = self.run(
            verbs_jobs.enqueue_many(queue, jobs, atomic=atomic, on_conflict=on_conflict)
        )
        return [
            self._handle(queue, each) if isinstance(each, Made) else each
            for each in found
        ]

    def requeue(self, job: Job, jobs: Iterable[NewJob | Any]) -> list[JobHandle]:
        """Complete the job and queue those that follow it: all of that, or nothing."""
        news = list(bodies.many(jobs, "jobs"))
        found = self.run(verbs_work.requeue(job, news))
        return [
            self._handle(queue, made)
            for queue, made in verbs_work.followed(job, news, found)
        ]

    def iter_jobs(self, queue: str, **which: Unpack[Listing]) -> Iterator[Job]:
        """All jobs that fit, page after page."""
        while True:
            page = self.list_jobs(queue, **which)
            yield from page.jobs
            if page.next is None:
                return
            which["cursor"] = page.next

    def _handle(self, queue: str, made: Made) -> JobHandle:
        return JobHandle(self, queue, made.uid, made.job, made.created)
