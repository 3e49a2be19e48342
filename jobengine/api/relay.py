"""The dialect of relay: its paths of all versions but the second
(docs/reference/http-relay.md).

Translates. What a job may be is core's, who may do what is the engine's.
"""

from collections.abc import Callable
from functools import partial

from msgspec import Struct

from jobengine.api.endpoint import Desk, Dialect, Lane
from jobengine.api.exchange import COMMIT, JSON, LEASE, Asked, Head, Reply, Sent, Wait
from jobengine.api.health import look
from jobengine.api.identity import identify
from jobengine.api.query import (
    BadQuery,
    needed,
    number,
    parameters,
    preferred_wait,
)
from jobengine.api.relay_jobs import (
    CLAIM_MAX,
    MANY,
    ONE,
    STATE,
    new_job,
    render,
    render_one,
    render_v0,
    renewal,
)
from jobengine.core.access import Caller
from jobengine.core.job import Job, NewJob
from jobengine.core.queues import QueueRules
from jobengine.engine import Conflict, LiveKey, Receipt
from jobengine.errors import (
    Forbidden,
    JobCancelled,
    MemoryFull,
    QueueExists,
    StoreFull,
    Unavailable,
    WrongState,
)

# What may be tried again is 429: its clients look for that. A job that is not in flight
# is not found (RL-5, RL-7, RL-13). 409 tells them that the job is there already, and of
# a queue that cannot be made that would be a lie.
RELAY = Dialect(
    "relay",
    {
        Unavailable: 429,
        StoreFull: 429,
        MemoryFull: 429,
        WrongState: 404,
        QueueExists: 404,
        JobCancelled: 404,
    },
)

Shape = Callable[[list[Job], QueueRules, Caller], bytes]

# Asks for the answers of the oldest version, with the value 0.
VERSION = "X-Relay-Version"


class CallerHead(Head, frozen=True):
    """What the head of a request says."""

    caller: Caller


class NextHead(Struct, frozen=True):
    """The same, and how the next jobs are to be answered."""

    head: CallerHead
    wait: int  # seconds that the header asks for
    single: bool  # one object, in the oldest form


class Wanted(Struct, frozen=True):
    """How many jobs, and how long to wait for the first."""

    limit: int
    seconds: int


@RELAY.endpoint("GET", "/health", "/v1/health", statuses=(200, 503), head=True)
def health(desk: Desk, _asked: Asked) -> Reply:
    """Whether requests are taken. Needs no headers."""
    ready, _ = look(desk)
    return Reply(200 if ready else 503)


@RELAY.endpoint(
    *("POST", "/enqueue", "/v1/enqueue"), statuses=(202, 409), lane=Lane.HOT, form=ONE
)
def enqueue(desk: Desk, asked: Asked) -> Reply:
    """Queue a job; refused where there is one of its id."""
    head = asked.once(read_head)
    receipt = head.receipt()
    desk.engine.enqueue(head.caller, *new_job(asked.body(ONE)), receipt=receipt)
    return Reply(202, receipt=receipt)


@RELAY.endpoint(
    *("POST", "/enqueue/batch", "/v1/enqueue/batch"),
    statuses=(202,),
    lane=Lane.HOT,
    form=MANY,
)
def enqueue_batch(desk: Desk, asked: Asked) -> Reply:
    """Queue jobs, but for those of an id that is there."""
    head = asked.once(read_head)
    news = [new_job(body) for body in asked.body(MANY)]
    return queue_all(desk, head, news, Conflict.KEEP)


@RELAY.endpoint(
    "POST", "/v1/queues/jobs", statuses=(202, 409), lane=Lane.HOT, form=MANY
)
def enqueue_array(desk: Desk, asked: Asked) -> Reply:
    """Queue jobs: several as a batch, one alone is refused where its id is there."""
    head = asked.once(read_head)
    news = [new_job(body) for body in asked.body(MANY)]
    conflict = Conflict.REFUSE if len(news) == 1 else Conflict.KEEP
    return queue_all(desk, head, news, conflict)


@RELAY.endpoint("GET", "/next", "/v1/next", statuses=(200, 204, 429), lane=Lane.HOT)
def next_jobs(desk: Desk, asked: Asked) -> Reply:
    """Take the next jobs of the queue that the query names; 204 when it has none."""
    asks = asked.once(read_next)
    said = parameters(asked.query, "queue", "num_jobs", "wait")
    (queue,) = needed(said, "queue")
    wanted = read_wanted(desk, said, asks.wait)
    if asks.single and wanted.limit != 1:
        raise BadQuery("one job is answered at a time here: num_jobs must be 1")
    shape = render_v0 if asks.single else render
    return take(desk, asks.head, queue, wanted, shape)


@RELAY.endpoint(
    "GET", "/v1/queues/{queue}/jobs", statuses=(200, 204, 429), lane=Lane.HOT
)
def next_jobs_of(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Take the next jobs of the queue; 204 when it has none."""
    asks = asked.once(read_next)
    said = parameters(asked.query, "num_jobs", "wait")
    return take(desk, asks.head, queue, read_wanted(desk, said, asks.wait), render)


@RELAY.endpoint(
    *("PATCH", "/heartbeat", "/v1/heartbeat"),
    statuses=(202, 404),
    lane=Lane.HOT,
    form=STATE,
    one_time=True,
)
def heartbeat(desk: Desk, asked: Asked) -> Reply:
    """Start the time of a job over, and keep the state in the body, if any."""
    said = parameters(asked.query, "queue", "job_id")
    return heartbeat_of(desk, asked, *needed(said, "queue", "job_id"))


@RELAY.endpoint(
    "PATCH",
    "/v1/queues/{queue}/jobs/{job_id}",
    statuses=(202, 404),
    lane=Lane.HOT,
    form=STATE,
)
def heartbeat_of(desk: Desk, asked: Asked, queue: str, job_id: str) -> Reply:
    """Start the time of the job over, and keep the state in the body, if any."""
    return beat(desk, asked, queue, job_id, asked.header(LEASE))


@RELAY.endpoint("POST", "/reschedule", "/v1/reschedule", statuses=(202, 404), form=ONE)
@RELAY.endpoint("PUT", "/v1/queues/jobs", statuses=(202, 404), form=ONE)
def reschedule(desk: Desk, asked: Asked) -> Reply:
    """Queue a job that is in flight anew, as the body says."""
    head = asked.once(read_head)
    receipt = head.receipt()
    body = asked.body(ONE)
    desk.engine.reschedule(
        *(head.caller, body.queue, LiveKey(body.id), renewal(body)),
        lease=asked.header(LEASE),
        receipt=receipt,
    )
    return Reply(202, receipt=receipt)


@RELAY.endpoint(
    *("DELETE", "/complete", "/v1/complete"),
    statuses=(200, 404),
    lane=Lane.HOT,
    one_time=True,
)
def complete(desk: Desk, asked: Asked) -> Reply:
    """Forget a job: its work is done, or is not wanted."""
    said = parameters(asked.query, "queue", "job_id")
    return complete_of(desk, asked, *needed(said, "queue", "job_id"))


@RELAY.endpoint(
    "DELETE",
    "/v1/queues/{queue}/jobs/{job_id}",
    statuses=(200, 404),
    lane=Lane.HOT,
)
def complete_of(desk: Desk, asked: Asked, queue: str, job_id: str) -> Reply:
    """Forget the job: its work is done, or is not wanted."""
    head = asked.once(read_head)
    receipt = head.receipt()
    end(desk, head.caller, queue, job_id, lease=asked.header(LEASE), receipt=receipt)
    return Reply(200, receipt=receipt)


@RELAY.endpoint(
    "GET", "/v1/queues/{queue}/jobs/{job_id}", statuses=(200, 404), head=True
)
def show(desk: Desk, asked: Asked, queue: str, job_id: str) -> Reply:
    """Show a job that waits or is in flight; HEAD says whether there is one."""
    caller = asked.once(read_head).caller
    job = desk.engine.get(caller, queue, LiveKey(job_id))
    return Reply(200, render_one(job, rules_of(desk, queue), caller), JSON)


def read_head(desk: Desk, sent: Sent) -> CallerHead:
    """Who asks, and how.

    Raises:
        Refused: it does not say, or not who may be believed.
    """
    caller = identify(sent, desk.settings, default=desk.settings.relay.service)
    return CallerHead(caller, told=sent.header(COMMIT) is not None)


def read_next(desk: Desk, sent: Sent) -> NextHead:
    """The same of a request for the next jobs.

    Raises:
        Refused: it does not say, or not who may be believed.
    """
    oldest = sent.header(VERSION) == "0"
    single = oldest or desk.settings.relay.next_shape == "object"
    return NextHead(read_head(desk, sent), preferred_wait(sent), single)


def read_wanted(desk: Desk, said: dict[str, str], preferred: int) -> Wanted:
    """What the query asks for; *preferred* is how long the head would wait.

    Raises:
        BadQuery: it makes no sense.
    """
    return Wanted(
        min(number(said, "num_jobs", 1), CLAIM_MAX),
        min(number(said, "wait", preferred), desk.settings.limits.wait_seconds),
    )


def queue_all(
    desk: Desk, head: CallerHead, news: list[tuple[str, NewJob]], conflict: Conflict
) -> Reply:
    """Queue the jobs as one batch."""
    receipt = head.receipt()
    desk.engine.enqueue_batch(head.caller, news, conflict=conflict, receipt=receipt)
    return Reply(202, receipt=receipt)


def beat(desk: Desk, asked: Asked, queue: str, job_id: str, lease: str | None) -> Reply:
    """Start the time of the job over, and keep the state in the body, if any."""
    head = asked.once(read_head)
    receipt = head.receipt()
    desk.engine.beat(
        *(head.caller, queue, LiveKey(job_id)),
        progress=asked.body(STATE),
        lease=lease,
        receipt=receipt,
    )
    return Reply(202, receipt=receipt)


def take(
    desk: Desk, head: CallerHead, queue: str, wanted: Wanted, shape: Shape
) -> Reply:
    """The next jobs in this shape."""
    caller, receipt = head.caller, head.receipt()
    jobs = desk.engine.claim(caller, queue, wanted.limit, receipt=receipt)
    if not jobs:
        waits = wanted.seconds and wanted.limit
        wait = Wait(queue, caller.name, wanted.seconds) if waits else None
        return Reply(204, wait=wait)
    return Reply(
        200,
        shape(jobs, rules_of(desk, queue), caller),
        JSON,
        receipt=receipt,
        undo=partial(desk.engine.take_back, jobs),
    )


def end(
    desk: Desk,
    caller: Caller,
    queue: str,
    job_id: str,
    *,
    lease: str | None,
    receipt: Receipt | None,
) -> None:
    """Complete the job where the caller holds it, else delete it (RL-6).

    Raises:
        As engine.complete where a lease is shown, else as engine.delete.
    """
    job = LiveKey(job_id)
    try:
        desk.engine.complete(caller, queue, job, lease=lease, receipt=receipt)
    except (Forbidden, WrongState):
        if lease is not None:
            raise
        desk.engine.delete(caller, queue, job, receipt=receipt)


def rules_of(desk: Desk, queue: str) -> QueueRules:
    """The rules of a queue of which a job is at hand."""
    return desk.engine.rules.queues.get(queue) or QueueRules(queue)
