"""The dialect of relay, version 2: runs have names, and who shows one is fenced by it
(docs/reference/http-relay.md).

Translates. What a job may be is core's, who may do what is the engine's.
"""

from contextlib import suppress

from jobengine.api.endpoint import Desk, Dialect, Lane
from jobengine.api.exchange import JSON, Asked, Reply
from jobengine.api.query import BadQuery, parameters
from jobengine.api.relay import (
    RELAY,
    beat,
    end,
    queue_all,
    read_head,
    read_next,
    read_wanted,
    rules_of,
    take,
)
from jobengine.api.relay_jobs import (
    MANY_V2,
    STATE,
    new_job_v2,
    render_one_v2,
    render_v2,
)
from jobengine.engine import Conflict, LiveKey
from jobengine.errors import (
    JobNotFound,
    MemoryFull,
    QueueExists,
    QueueFull,
    StaleLease,
    StoreFull,
    WrongState,
)

# What may be tried again is 503, and a run that is over is not found.
RELAY_V2 = Dialect(
    "relay_v2",
    {
        QueueFull: 503,
        StoreFull: 503,
        MemoryFull: 503,
        WrongState: 404,
        QueueExists: 404,
        StaleLease: 404,
    },
    switch=RELAY.name,
)

# A run that is over, as the engine says it.
OVER = (JobNotFound, StaleLease, WrongState)

_MODES = {mode.value: mode for mode in Conflict}


@RELAY_V2.endpoint(
    "POST", "/v2/queues/jobs", statuses=(202, 409), lane=Lane.HOT, form=MANY_V2
)
def enqueue(desk: Desk, asked: Asked) -> Reply:
    """Queue jobs; `mode` says what of those whose id is there."""
    head = asked.once(read_head)
    mode = read_mode(asked)
    news = [new_job_v2(body) for body in asked.body(MANY_V2)]
    return queue_all(desk, head, news, mode)


@RELAY_V2.endpoint(
    "GET", "/v2/queues/{queue}/jobs", statuses=(200, 204, 429), lane=Lane.HOT
)
def next_jobs(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Take the next jobs of the queue, each as a run; 204 when it has none."""
    asks = asked.once(read_next)
    said = parameters(asked.query, "num_jobs", "wait")
    wanted = read_wanted(desk, said, asks.wait)
    if not wanted.limit:
        raise BadQuery("?num_jobs= must be 1 or more")
    return take(desk, asks.head, queue, wanted, render_v2)


@RELAY_V2.endpoint(
    "PATCH",
    "/v2/queues/{queue}/jobs/{job_id}/run-id/{run_id}",
    statuses=(202, 404),
    lane=Lane.HOT,
    form=STATE,
    one_time=True,
)
def heartbeat(desk: Desk, asked: Asked, queue: str, job_id: str, run_id: str) -> Reply:
    """Start the time of the run over, and keep the state in the body, if any."""
    return beat(desk, asked, queue, job_id, run_id)


@RELAY_V2.endpoint(
    "PUT",
    "/v2/queues/{queue}/jobs/{job_id}/run-id/{run_id}",
    statuses=(202, 409),
    form=MANY_V2,
)
def requeue(desk: Desk, asked: Asked, queue: str, job_id: str, run_id: str) -> Reply:
    """Put these jobs in the place of the run's, all or none; where it is over, none."""
    head = asked.once(read_head)
    receipt = head.receipt()
    mode = read_mode(asked)
    news = [new_job_v2(body) for body in asked.body(MANY_V2)]
    with suppress(*OVER):
        desk.engine.requeue(
            *(head.caller, queue, LiveKey(job_id), news),
            conflict=mode,
            lease=run_id,
            receipt=receipt,
        )
    return Reply(202, receipt=receipt)


@RELAY_V2.endpoint(
    "DELETE",
    "/v2/queues/{queue}/jobs/{job_id}/run-id/{run_id}",
    statuses=(200,),
    lane=Lane.HOT,
    one_time=True,
)
def complete(desk: Desk, asked: Asked, queue: str, job_id: str, run_id: str) -> Reply:
    """The work of the run is done; where it is over, nothing happens."""
    head = asked.once(read_head)
    receipt = head.receipt()
    with suppress(*OVER):
        desk.engine.complete(
            head.caller, queue, LiveKey(job_id), lease=run_id, receipt=receipt
        )
    return Reply(200, receipt=receipt)


@RELAY_V2.endpoint(
    "DELETE", "/v2/queues/{queue}/jobs/{job_id}", statuses=(200,), lane=Lane.HOT
)
def delete(desk: Desk, asked: Asked, queue: str, job_id: str) -> Reply:
    """Forget the job, whatever it is at; where there is none, nothing happens."""
    head = asked.once(read_head)
    receipt = head.receipt()
    with suppress(*OVER):
        end(desk, head.caller, queue, job_id, lease=None, receipt=receipt)
    return Reply(200, receipt=receipt)


@RELAY_V2.endpoint(
    "GET", "/v2/queues/{queue}/jobs/{job_id}", statuses=(200, 404), head=True
)
def show(desk: Desk, asked: Asked, queue: str, job_id: str) -> Reply:
    """Show a job that waits or is in flight; HEAD says whether there is one."""
    caller = asked.once(read_head).caller
    job = desk.engine.get(caller, queue, LiveKey(job_id))
    return Reply(200, render_one_v2(job, rules_of(desk, queue), caller), JSON)


def read_mode(asked: Asked) -> Conflict:
    """What to do about an id that is there; an unknown mode is none."""
    word = parameters(asked.query, "mode").get("mode", "")
    return _MODES.get(word, Conflict.REFUSE)
