"""The native API for those who look at jobs, and change one they do not hold
(docs/reference/http-v2.md).

Translates. What a job may be is core's, who may do what is the engine's.
"""

from functools import partial

import msgspec

from jobengine.api import v2_docs as docs
from jobengine.api.endpoint import Desk, Lane
from jobengine.api.etags import if_match, if_none_match
from jobengine.api.exchange import JSON, Asked, Reply, Wait
from jobengine.api.instants import instant_or_null
from jobengine.api.paced import one_by_one, rested
from jobengine.api.v2_forms import PATCH, change_of
from jobengine.api.v2_heads import (
    V2,
    CallerHead,
    path_of,
    read_head,
    read_wait,
    reply,
    rules_of,
)
from jobengine.api.v2_jobs import job_told, render_for, verb_told, version_of
from jobengine.api.v2_pages import Page, read_page
from jobengine.api.v2_work import JOB_AT, QUEUE
from jobengine.core.explain import Blocker, Explanation
from jobengine.core.job import FINISHED, Job
from jobengine.errors import PreconditionRequired


@V2.endpoint(
    "GET", QUEUE + "/jobs", statuses=(200, 429), lane=Lane.SLOW, doc=docs.LIST_JOBS
)
def list_jobs(desk: Desk, asked: Asked, queue: str) -> Reply:
    """List the jobs that fit, in the order of their making, a page at a time."""
    head = asked.once(read_head)
    page, path = read_page(asked.query), f"{path_of(queue)}/jobs"
    return page_of(desk, head, queue, page, path)


@V2.endpoint("GET", QUEUE + "/jobs/peek", statuses=(200, 204), doc=docs.PEEK)
def peek_job(desk: Desk, asked: Asked, queue: str) -> Reply:
    """Show the job that a claim would take now; 204 when there is none."""
    caller = asked.once(read_head).caller
    job = desk.engine.peek(caller, queue)
    if job is None:
        return Reply(204)
    rules, held = desk.engine.seen(caller, queue)
    return reply(job_told(job, rules, held))


@V2.endpoint("GET", JOB_AT, statuses=(200, 204, 304, 429), head=True, doc=docs.GET_JOB)
def get_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Show the job; with `?wait=` or `Prefer: wait=`, once it is settled.

    204 when it is not settled by then.
    """
    caller, seconds = asked.once(read_head).caller, read_wait(desk, asked)
    seen = desk.engine.look(caller, queue, uid, watch=seconds > 0)
    if seen.watch is not None and seen.job.state not in FINISHED:
        wait = Wait(seen.watch.line, caller.name, seconds, seen.watch)
        return Reply(204, wait=wait)
    etag = version_of(seen.job, seen.rules)
    if if_none_match(asked, etag):
        return Reply(304, headers=(("ETag", etag),))
    return reply(job_told(seen.job, seen.rules, seen.rights))


@V2.endpoint(
    "PATCH", JOB_AT, statuses=(200, 409, 412, 428), form=PATCH, doc=docs.PATCH_JOB
)
def patch_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Change what an unfinished job says, where nobody else has since it was seen."""
    head = asked.once(read_head)
    receipt = head.receipt()
    change = change_of(asked.body(PATCH))
    when = if_match(asked, partial(_version, desk))
    if when is None:
        raise PreconditionRequired(
            "send If-Match with the ETag that the job was last seen with, or *"
        )
    job = desk.engine.patch(
        *(head.caller, queue, uid, change), when=when, receipt=receipt
    )
    return reply(verb_told(desk, job), receipt)


@V2.endpoint("DELETE", JOB_AT, statuses=(204, 412), doc=docs.DELETE_JOB)
def delete_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Delete the job, whatever its state."""
    head = asked.once(read_head)
    receipt = head.receipt()
    when = if_match(asked, partial(_version, desk))
    desk.engine.delete(head.caller, queue, uid, when=when, receipt=receipt)
    return Reply(204, receipt=receipt)


@V2.endpoint("POST", JOB_AT + "/cancel", statuses=(200, 409), doc=docs.CANCEL)
def cancel_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Nobody is to do the work any more; who is at it is told when it reports."""
    head = asked.once(read_head)
    receipt = head.receipt()
    job = desk.engine.cancel(head.caller, queue, uid, receipt=receipt)
    return reply(verb_told(desk, job), receipt)


@V2.endpoint("POST", JOB_AT + "/retry", statuses=(200, 409), doc=docs.RETRY)
def retry_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Have a failed or cancelled job start anew."""
    head = asked.once(read_head)
    receipt = head.receipt()
    job = desk.engine.retry(head.caller, queue, uid, receipt=receipt)
    return reply(verb_told(desk, job), receipt)


@V2.endpoint(
    "GET",
    JOB_AT + "/explain",
    statuses=(200, 429),
    lane=Lane.SLOW,
    doc=docs.EXPLAIN,
)
def explain_job(desk: Desk, asked: Asked, queue: str, uid: str) -> Reply:
    """Say why the job is not running, and what would change that."""
    caller = asked.once(read_head).caller
    waiters = desk.house.doorbell.count(queue)
    with desk.listing():
        slices = desk.engine.explain(caller, queue, uid, waiters=waiters)
        *_, found = rested(slices)
    assert found is not None, "the last is the answer"
    return Reply(200, _explained(found), JSON)


def _version(desk: Desk, job: Job) -> str:
    return version_of(job, rules_of(desk, job.queue))


def page_of(desk: Desk, head: CallerHead, queue: str, page: Page, path: str) -> Reply:
    """The jobs of a page of those at *path*, as the caller may see them."""
    with desk.listing():
        found = desk.engine.matching(head.caller, queue, page.where)
        jobs, following = page.cut(rested(found))
        rules, held = desk.engine.seen(head.caller, queue)
        shown = [render_for(job, rules, held) for job in one_by_one(jobs)]
    cursor = b"null" if following is None else b'"%b"' % following.encode()
    body = b'{"jobs":[%b],"next":%b}' % (b",".join(shown), cursor)
    return Reply(200, body, JSON, page.link(path, following))


def _explained(found: Explanation) -> bytes:
    return (
        b'{"uid":"%b","queue":"%b","state":"%b","claimable":%b,"blockers":[%b]}'
    ) % (
        found.job.uid.encode(),
        found.job.queue.encode(),
        found.job.state.name.lower().encode(),
        b"true" if found.claimable else b"false",
        b",".join(map(_blocker, found.blockers)),
    )


def _blocker(found: Blocker) -> bytes:
    shown = msgspec.structs.asdict(found)
    until = instant_or_null(found.until)
    return msgspec.json.encode(shown | {"until": msgspec.Raw(until)})
