"""The native API for those at work: who queues jobs, and who takes and settles them
(docs/reference/http-v2.md).

Translates. What a job may be is core's, who may do what is the engine's.
"""

from collections.abc import Sequence
from functools import partial

from jobengine.api import v2_docs as docs
from jobengine.api.endpoint import Desk, Lane
from jobengine.api.exchange import JSON, Asked, Reply, Wait
from jobengine.api.v2_forms import (
    BEAT,
    BEATS,
    COMPLETE,
    COMPLETIONS,
    FAIL,
    JOB,
    JOBS,
    KINDS_OF_FAILURE,
    RELEASE,
    REQUEUE,
    RESCHEDULE,
    beats_of,
    completions_of,
    following,
    given,
    new_job,
    new_jobs,
    renewal_of,
)
from jobengine.api.v2_heads import (
    APPLIED,
    V2,
    Making,
    Told,
    has_key,
    once_of,
    read_head,
    read_making,
    read_making_many,
    read_wanted,
    reply,
    reply_once,
    rules_of,
    trace_of,
)
from jobengine.api.v2_jobs import (
    beats_told,
    completions_told,
    each_told,
    ended_told,
    held_told,
    jobs_told,
    place_of,
    render,
    verb_told,
)
from jobengine.core.job import Job
from jobengine.engine import Conflict, Kept

QUEUE = "/api/v2/queues/{queue}"
JOB_AT = QUEUE + "/jobs/{uid}"


@V2.endpoint(
    "POST",
    QUEUE + "/jobs",
    statuses=(200, 201, 409),
    lane=Lane.HOT,
    form=JOB,
    doc=docs.ENQUEUE,
)
def enqueue_job(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Queue a job.

    Where a live job has its unique key, `on_conflict` says what of the two.
    """
    making = asked.once(read_making)
    caller, receipt = making.head.caller, making.head.receipt()
    new = new_job(asked.body(JOB), trace_of(asked))
    if making.conflict is Conflict.REFUSE and not has_key(asked):
        job = desk.engine.enqueue(caller, queue, new, receipt=receipt)
        return reply(_told_made(desk, making, [job]), receipt)
    told = partial(_told_made, desk, making)
    once = once_of(asked, caller, "enqueue", queue, told=told)
    found = desk.engine.enqueue_batch(
        *(caller, [(queue, new)]),
        conflict=making.conflict,
        receipt=receipt,
        once=once,
    )
    return reply_once(once, told, found, receipt)


@V2.endpoint(
    "POST",
    QUEUE + "/jobs/batch",
    statuses=(200, 201, 409),
    lane=Lane.HOT,
    form=JOBS,
    doc=docs.ENQUEUE_BATCH,
)
def enqueue_jobs(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Queue many jobs: each that can be, or with `atomic=true` all or none.

    A body that is not as it must be is refused whole.
    """
    making = asked.once(read_making_many)
    receipt = making.head.receipt()
    news = new_jobs(asked.body(JOBS), trace_of(asked))
    told = partial(each_told, status=201 if making.atomic else 200)
    once = once_of(asked, making.head.caller, "batch", queue, told=told)
    verb = desk.engine.enqueue_batch if making.atomic else desk.engine.enqueue_each
    desk.engine.check_writer(making.head.caller, queue)
    found = verb(
        making.head.caller,
        [(queue, new) for new in news],
        conflict=making.conflict,
        receipt=receipt,
        once=once,
    )
    return reply_once(once, told, found, receipt)


@V2.endpoint(
    "POST",
    QUEUE + "/jobs/claim",
    statuses=(200, 204, 429),
    lane=Lane.HOT,
    doc=docs.CLAIM,
)
def claim_jobs(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Take the next jobs, each under a lease; 204 when there is none.

    `?wait=` or `Prefer: wait=` waits for one.
    """
    wanted = asked.once(read_wanted)
    caller, receipt = wanted.head.caller, wanted.head.receipt()
    jobs = desk.engine.claim(caller, queue, wanted.most, receipt=receipt)
    if not jobs:
        wait = Wait(queue, caller.name, wanted.seconds) if wanted.seconds else None
        return Reply(204, wait=wait)
    return Reply(
        200,
        jobs_told(jobs, rules_of(desk, queue)),
        JSON,
        receipt=receipt,
        undo=partial(desk.engine.take_back, jobs),
    )


@V2.endpoint(
    "POST",
    QUEUE + "/jobs/heartbeat",
    statuses=(200,),
    lane=Lane.HOT,
    form=BEATS,
    doc=docs.HEARTBEAT_MANY,
)
def heartbeat_jobs(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Start the leases of many jobs over; each answer says which are lost."""
    head = asked.once(read_head)
    receipt = head.receipt()
    said = beats_of(asked.body(BEATS))
    found = desk.engine.beat_each(head.caller, queue, said, receipt=receipt)
    body = beats_told((one.uid for one in said), found)
    return Reply(200, body, JSON, receipt=receipt)


@V2.endpoint(
    "POST",
    QUEUE + "/jobs/complete",
    statuses=(200,),
    lane=Lane.HOT,
    form=COMPLETIONS,
    doc=docs.COMPLETE_MANY,
)
def complete_jobs(desk: Desk, asked: Asked, queue: str) -> Reply:
    """The work on many jobs is done; each answer says which were lost before."""
    head = asked.once(read_head)
    receipt = head.receipt()
    said = completions_of(asked.body(COMPLETIONS))
    found = desk.engine.complete_each(head.caller, queue, said, receipt=receipt)
    body = completions_told((one.uid for one in said), found)
    return Reply(200, body, JSON, receipt=receipt)


@V2.endpoint(
    "POST",
    JOB_AT + "/heartbeat",
    statuses=(200, 409),
    lane=Lane.HOT,
    form=BEAT,
    doc=docs.HEARTBEAT,
)
def heartbeat_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Start the lease of the job over, and keep its progress where that is sent."""
    head = asked.once(read_head)
    receipt = head.receipt()
    body = asked.body(BEAT)
    job = desk.engine.beat(
        *(head.caller, queue, uid),
        progress=given(body.progress),
        lease=given(body.lease),
        receipt=receipt,
    )
    return Reply(200, held_told(job), JSON, receipt=receipt)


@V2.endpoint(
    "POST",
    JOB_AT + "/complete",
    statuses=(200, 204, 409),
    lane=Lane.HOT,
    form=COMPLETE,
    doc=docs.COMPLETE,
)
def complete_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """The work is done; its result is kept as long as the job."""
    head = asked.once(read_head)
    receipt = head.receipt()
    body = asked.body(COMPLETE)
    job = desk.engine.complete(
        *(head.caller, queue, uid),
        result=given(body.result),
        lease=given(body.lease),
        receipt=receipt,
    )
    if head.minimal:
        return Reply(204, headers=(APPLIED,), receipt=receipt)
    return Reply(200, ended_told(job), JSON, receipt=receipt)


@V2.endpoint("POST", JOB_AT + "/fail", statuses=(200, 409), form=FAIL, doc=docs.FAIL)
def fail_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """The work could not be done: another attempt, or a dead letter.

    `critical` and `unprocessable` leave no other attempt; with `cancel` the job is
    cancelled, and no dead letter.
    """
    head = asked.once(read_head)
    receipt = head.receipt()
    body = asked.body(FAIL)
    job = desk.engine.fail(
        *(head.caller, queue, uid),
        error=given(body.error),
        reason=KINDS_OF_FAILURE[given(body.kind, "retry")],
        retry_at=given(body.retry_at),
        lease=given(body.lease),
        receipt=receipt,
    )
    return reply(verb_told(desk, job), receipt)


@V2.endpoint(
    "POST",
    JOB_AT + "/release",
    statuses=(200, 409),
    form=RELEASE,
    doc=docs.RELEASE,
)
def release_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Give the job back as if it had never been taken: at once, or for later."""
    head = asked.once(read_head)
    receipt = head.receipt()
    body = asked.body(RELEASE)
    job = desk.engine.release(
        *(head.caller, queue, uid),
        run_at=given(body.run_at),
        lease=given(body.lease),
        receipt=receipt,
    )
    return reply(verb_told(desk, job), receipt)


@V2.endpoint(
    "POST",
    JOB_AT + "/reschedule",
    statuses=(200, 409),
    form=RESCHEDULE,
    doc=docs.RESCHEDULE,
)
def reschedule_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Have the job run again, later or with another content; the run does not count."""
    head = asked.once(read_head)
    receipt = head.receipt()
    body = asked.body(RESCHEDULE)
    job = desk.engine.reschedule(
        *(head.caller, queue, uid, renewal_of(body)),
        lease=given(body.lease),
        receipt=receipt,
    )
    return reply(verb_told(desk, job), receipt)


@V2.endpoint(
    "POST",
    JOB_AT + "/requeue",
    statuses=(201, 409),
    form=REQUEUE,
    doc=docs.REQUEUE,
)
def requeue_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Complete the job and queue those that follow it: all of that, or nothing."""
    head = asked.once(read_head)
    receipt = head.receipt()
    body = asked.body(REQUEUE)
    news = following(body, queue, trace_of(asked))
    found = desk.engine.requeue(
        *(head.caller, queue, uid, news), lease=given(body.lease), receipt=receipt
    )
    return reply(each_told(found, 201), receipt)


def _told_made(desk: Desk, making: Making, found: Sequence[Job | Kept]) -> Told:
    """What is answered to who made one job."""
    one = found[0]
    if isinstance(one, Kept):
        return verb_told(desk, one.job)
    if making.head.minimal:
        return 201, (*place_of(one), APPLIED), b""
    return 201, place_of(one), render(one, rules_of(desk, one.queue))
