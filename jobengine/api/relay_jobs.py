"""A job on relay's wire: what a new one may say, and how one is shown.

Knows no path and no verb (docs/reference/http-relay.md).
"""

from functools import lru_cache
from typing import Any

import msgspec
from marshmallow import EXCLUDE, Schema, fields, validate
from msgspec import UNSET

from jobengine.api.forms import AnyJson, Anything, Flag, Form, Instant, Many
from jobengine.api.instants import instant
from jobengine.core.access import Caller, holds
from jobengine.core.backoff import AT_ONCE
from jobengine.core.job import INPROGRESS, OWN, Job, NewJob, Renewal, Terms
from jobengine.core.queues import QueueRules

# Jobs of one request: they are one commit, and wait for the lock together.
BATCH_MAX = 10_000
# Jobs handed out at once: each is rendered while everybody waits.
CLAIM_MAX = 1000

# Seconds and retries as the originals had room for them.
NUMBER_MAX = 2_147_483_647

# Terms are shared where they agree, and clients agree on few.
TERMS_KEPT = 4096

# How many retries there are no end to, where null is not said.
ENDLESS = -1


class JobBody(Schema):
    """What a new job may say. What an answer says besides may be sent back."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True)
    queue = fields.String(required=True)
    timeout = fields.Integer(
        required=True, strict=True, validate=validate.Range(min=0, max=NUMBER_MAX)
    )
    max_retries = fields.Integer(
        strict=True, validate=validate.Range(min=-NUMBER_MAX, max=NUMBER_MAX)
    )
    payload = AnyJson()
    state = AnyJson()
    run_at = Instant(allow_none=True)
    persist_data = Flag(allow_none=True)
    run_id = AnyJson()
    updated_at = AnyJson()


class JobBodyV2(JobBody):
    """The same in version 2, where null retries have no end."""

    class Meta:
        unknown = EXCLUDE

    max_retries = fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(min=0, max=NUMBER_MAX),
    )
    retries_remaining = AnyJson()
    created_at = AnyJson()


ONE = Form(JobBody())
MANY = Many(JobBody(), most=BATCH_MAX)
MANY_V2 = Many(JobBodyV2(), most=BATCH_MAX)
STATE = Anything()


def new_job(body: Any) -> tuple[str, NewJob]:
    """The queue and the job that *body* asks for; without max_retries it has none.

    Raises:
        InvalidJob: naming every field that is out of range.
    """
    retries = 0 if body.max_retries is UNSET else body.max_retries
    return _new_job(body, retries if retries >= 0 else None)


def new_job_v2(body: Any) -> tuple[str, NewJob]:
    """The same in version 2: without max_retries they have no end.

    Raises:
        InvalidJob: naming every field that is out of range.
    """
    return _new_job(body, None if body.max_retries is UNSET else body.max_retries)


def renewal(body: Any) -> Renewal:
    """How *body* wants the job that it names to be run again.

    Raises:
        InvalidJob: naming every field that is out of range.
    """
    _, new = new_job(body)
    return Renewal(new.run_at, new.content, new.terms, new.progress)


def _new_job(body: Any, retries: int | None) -> tuple[str, NewJob]:
    return body.queue, NewJob(
        b"null" if body.payload is UNSET else body.payload,
        terms=_terms(body.timeout, retries, body.persist_data is not False),
        run_at=body.run_at or None if body.run_at is not UNSET else None,
        unique_key=body.id,
        progress=None if body.state in _NO_STATE else body.state,
    )


_NO_STATE = (UNSET, b"null")


@lru_cache(TERMS_KEPT)
def _terms(timeout: int, retries: int | None, durable: bool) -> Terms:
    """Gone when it is done; run again at once and in its old place when its worker is
    lost, and kept as a dead letter after that (D8 to D10)."""
    return Terms(
        max_attempts=None if retries is None else retries + 1,
        lease_ms=timeout * 1000,
        keep_ms=0,
        backoff=AT_ONCE,
        dead_keep_ms=OWN,
        durable=durable,
    )


def render(jobs: list[Job], rules: QueueRules, caller: Caller) -> bytes:
    """The jobs as *caller* may see them: a run_id is for who holds the job."""
    queue = _text(rules.name)
    return b"[%b]" % b",".join([_shown(job, queue, rules, caller) for job in jobs])


def render_one(job: Job, rules: QueueRules, caller: Caller) -> bytes:
    """One job."""
    return _shown(job, _text(rules.name), rules, caller)


def render_v0(jobs: list[Job], rules: QueueRules, caller: Caller) -> bytes:
    """The one job there is, for the oldest clients: where it has no state, none is
    mentioned."""
    (job,) = jobs
    state = b"" if job.progress is None else b',"state":%b' % job.progress
    return (
        b'{"id":%b,"queue":%b,"timeout":%d,"max_retries":%d,"persist_data":%b,'
        b'"payload":%b%b,"run_id":%b,"run_at":"%b"}'
    ) % (
        *(_id(job), _text(rules.name), _timeout(job, rules), _retries(job)),
        *(b"true" if job.terms.durable else b"false", job.content, state),
        *(_run_id(job, caller), instant(job.run_at)),
    )


def render_v2(jobs: list[Job], rules: QueueRules, caller: Caller) -> bytes:
    """The jobs in version 2."""
    queue = _text(rules.name)
    return b"[%b]" % b",".join([_shown_v2(job, queue, rules, caller) for job in jobs])


def render_one_v2(job: Job, rules: QueueRules, caller: Caller) -> bytes:
    """One job in version 2."""
    return _shown_v2(job, _text(rules.name), rules, caller)


def _shown(job: Job, queue: bytes, rules: QueueRules, caller: Caller) -> bytes:
    return (
        b'{"id":%b,"queue":%b,"timeout":%d,"max_retries":%d,"payload":%b,"state":%b,'
        b'"run_id":%b,"run_at":"%b","updated_at":"%b"}'
    ) % (
        *(_id(job), queue, _timeout(job, rules), _retries(job), job.content),
        *(job.progress or b"null", _run_id(job, caller)),
        *(instant(job.run_at), instant(job.updated_at)),
    )


def _shown_v2(job: Job, queue: bytes, rules: QueueRules, caller: Caller) -> bytes:
    most = job.terms.max_attempts
    return (
        b'{"id":%b,"queue":%b,"timeout":%d,"max_retries":%b,"retries_remaining":%b,'
        b'"payload":%b,"state":%b,"run_id":%b,"run_at":"%b","updated_at":"%b",'
        b'"created_at":"%b"}'
    ) % (
        *(_id(job), queue, _timeout(job, rules)),
        b"null" if most is None else b"%d" % (most - 1),
        b"null" if most is None else b"%d" % _remaining(job, most),
        *(job.content, job.progress or b"null", _run_id(job, caller)),
        *(instant(job.run_at), instant(job.updated_at), instant(job.created_at)),
    )


_text = msgspec.json.Encoder().encode


def _id(job: Job) -> bytes:
    """The name that the job has here; one made elsewhere goes by its uid (D3)."""
    if job.keys is None or job.keys.unique is None:
        return b'"%b"' % job.uid.encode()
    return _text(job.keys.unique)


def _timeout(job: Job, rules: QueueRules) -> int:
    lease_ms = job.terms.lease_ms
    return (rules.lease_ms if lease_ms is None else lease_ms) // 1000


def _retries(job: Job) -> int:
    most = job.terms.max_attempts
    return ENDLESS if most is None else most - 1


def _remaining(job: Job, most: int) -> int:
    """How often it may be lost from here on: the run that is next is no retry."""
    runs = job.attempt if job.state is INPROGRESS else job.attempt + 1
    return max(most - runs, 0)


def _run_id(job: Job, caller: Caller) -> bytes:
    # It is all that it takes to end the run.
    if job.lease is None or not holds(caller, job):
        return b"null"
    return b'"%b"' % job.lease.token.encode()
