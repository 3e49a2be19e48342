"""The awaiting client, and its carrier over aiohttp. The verbs are the blocking one's.

async with AsyncClient(name="shop") as client:
    job = await client.enqueue("mail", {"to": "ada"})
    print(await job.result(timeout=10))
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, Unpack

try:
    import aiohttp
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "AsyncClient needs aiohttp: pip install 'jobengine[async]'", name=error.name
    ) from None
from yarl import URL

from jobengine.client import bodies, replies, verbs_jobs, verbs_work
from jobengine.client.address import Files, reached
from jobengine.client.asking import Asker, Asking, Tries
from jobengine.client.call import Call, Pause, Steps
from jobengine.client.environment import DEFAULT_URL
from jobengine.client.handle import AsyncJobHandle
from jobengine.client.hearing import ANSWER_BYTES_MAX
from jobengine.client.http import CONNECT_S, why
from jobengine.client.jobs import EnqueueOptions, Job, Listing, NewJob, OnConflict
from jobengine.client.retry import Retry
from jobengine.client.transport import Answer, Request
from jobengine.client.verbs import Awaiting, Verbs
from jobengine.client.verbs_jobs import Made
from jobengine.errors import (
    BadAnswer,
    JobEngineError,
    Unanswered,
    Unreachable,
)

T = TypeVar("T")


class AsyncTransport(Protocol):
    """As a Transport, awaited. Who wants no answer any more cancels the task."""

    async def send(self, request: Request) -> Answer: ...

    async def close(self) -> None: ...


class AsyncHttp:
    """An AsyncTransport over connections that are kept open: so many, and one for each
    that waits. It belongs to the loop in which it is used first."""

    def __init__(
        self, url: str, *, files: Files, timeout: float, connections: int
    ) -> None:
        self._address, self._context = reached(url, files, connections)
        self._timeout = timeout
        # Tasks are cheap, and thousands of them would be thousands of connections.
        self._places = asyncio.Semaphore(connections)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request) -> Answer:
        """Carry the request, once.

        Raises:
            Unreachable: it was certainly not carried out.
            Unanswered: it may have been carried out, or not.
            BadAnswer: what was answered is not HTTP, or far too long.
        """
        try:
            if request.wait_s:
                return await self._exchange(request)
            async with self._places:
                return await self._exchange(request)
        except _NOT_THERE as error:
            found = Unreachable(f"{self._address} was not reached: {why(error)}")
            found.retryable = not isinstance(error, aiohttp.ClientSSLError)
            raise found from error
        except _CUT_OFF as error:
            raise Unanswered(f"{self._address} gave no answer: {why(error)}") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise BadAnswer(
                f"{self._address} does not answer as HTTP: {type(error).__name__}"
            ) from error

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(self, request: Request) -> Answer:
        connect = min(self._timeout, CONNECT_S)
        async with self._session_here().request(
            request.method,
            # It is encoded already.
            URL(f"{self._address}{request.target}", encoded=True),
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=connect + self._timeout + request.wait_s,
                sock_connect=connect,
            ),
        ) as reply:
            if (reply.content_length or 0) > ANSWER_BYTES_MAX:
                raise BadAnswer(f"it answers with more than {ANSWER_BYTES_MAX} bytes")
            body = await reply.read()
            headers = {name.lower(): text for name, text in reply.headers.items()}
            return Answer(reply.status, headers, body)

    def _session_here(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0,  # what waits for a job must not keep others from asking
                ssl=self._context or True,
                keepalive_timeout=60,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                # A header that nobody asked for is one that a daemon may not take.
                skip_auto_headers=("Accept-Encoding",),
            )
        return self._session


# Raised before anything is sent.
_NOT_THERE = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientConnectorCertificateError,
)
# Raised when it may have been heard.
_CUT_OFF = (
    aiohttp.ServerConnectionError,
    aiohttp.ClientPayloadError,
    TimeoutError,
    OSError,
)


class AsyncClient(Asker, Awaiting, Verbs):
    """Speaks to a daemon as the service *name*: a Client whose verbs are awaited. It
    belongs to the loop in which it is used first. The options are those of a Client.

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
        transport: AsyncTransport | None = None,
    ) -> None:
        self._asking = Asking(name, token, retry, timeout)
        self._transport = transport or AsyncHttp(
            url,
            files=(ca_file, cert_file, key_file),
            timeout=timeout,
            connections=connections,
        )
        self._owner = True

    def as_caller(self, name: str) -> "AsyncClient":
        """The same over the same connections, as another service. To close it closes
        nothing."""
        made = AsyncClient(
            name=name,
            token=self._asking.token,
            timeout=self._asking.timeout,
            retry=self._asking.retry,
            transport=self._transport,
        )
        made._owner = False
        return made

    async def close(self) -> None:
        """Let go of the connections."""
        if self._owner:
            await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def run(self, steps: Steps[T]) -> T:
        """What the steps of a verb come to.

        Raises:
            JobEngineError: the daemon refused, or there is no answer.
        """
        if isinstance(steps, Call):
            return await self._carry_out(steps)
        found: Any
        try:
            step = next(steps)
            while True:
                try:
                    found = await self._step(step)
                except JobEngineError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(found)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _step(self, step: Call[Any] | Pause) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        return await self._carry_out(step)

    async def _carry_out(self, call: Call[T]) -> T:
        request = self._asking.request(call)
        tries: Tries | None = None
        while True:
            try:
                return replies.read(await self._transport.send(request), call.read)
            except JobEngineError as error:
                tries = tries or Tries(self._asking, call)
                wait = tries.after(error)
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    # --- the verbs that give handles ----------------------------------------------

    def handle(self, queue: str, uid: str) -> AsyncJobHandle:
        """A job that was queued elsewhere. Asks nothing."""
        return AsyncJobHandle(self, queue, uid)

    async def enqueue(
        self, queue: str, content: Any, **options: Unpack[EnqueueOptions]
    ) -> AsyncJobHandle:
        """Queue a job; *content* is any JSON. As of a Client."""
        made = await self.run(verbs_jobs.enqueue(queue, content, **options))
        return self._handle(queue, made)

    async def enqueue_many(
        self,
        queue: str,
        jobs: Iterable[NewJob | Any],
        *,
        atomic: bool = False,
        on_conflict: OnConflict = "refuse",
    ) -> list[AsyncJobHandle | JobEngineError]:
        """Queue many jobs: what became of each, in their order. As of a Client."""
        found = await self.run(
            verbs_jobs.enqueue_many(queue, jobs, atomic=atomic, on_conflict=on_conflict)
        )
        return [
            self._handle(queue, each) if isinstance(each, Made) else each
            for each in found
        ]

    async def requeue(
        self, job: Job, jobs: Iterable[NewJob | Any]
    ) -> list[AsyncJobHandle]:
        """Complete the job and queue those that follow it: all of that, or nothing."""
        news = list(bodies.many(jobs, "jobs"))
        found = await self.run(verbs_work.requeue(job, news))
        return [
            self._handle(queue, made)
            for queue, made in verbs_work.followed(job, news, found)
        ]

    async def iter_jobs(
        self, queue: str, **which: Unpack[Listing]
    ) -> AsyncIterator[Job]:
        """All jobs that fit, page after page."""
        while True:
            page = await self.list_jobs(queue, **which)
            for job in page.jobs:
                yield job
            if page.next is None:
                return
            which["cursor"] = page.next

    def _handle(self, queue: str, made: Made) -> AsyncJobHandle:
        return AsyncJobHandle(self, queue, made.uid, made.job, made.created)
