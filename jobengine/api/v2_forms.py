"""Bodies of the native API that speak of jobs, and what they ask for.

Strict: a member that nobody knows is refused. What a job may be is core's. Knows no
path and no verb.
"""

from functools import lru_cache
from typing import Any

from marshmallow import Schema, fields, validate
from msgspec import UNSET

from jobengine.api.forms import (
    AnyJson,
    Flag,
    Form,
    Many,
    Maybe,
    Payload,
    Real,
    Time,
)
from jobengine.core.backoff import DELAY_MS_MAX, KINDS, Backoff
from jobengine.core.job import (
    ATTEMPTS_MAX,
    INSTANT_MAX,
    OWN,
    PRIORITY_DEFAULT,
    Change,
    NewJob,
    Renewal,
    Terms,
)
from jobengine.core.lifecycle import ATTEMPTS, CRITICAL, UNPROCESSABLE, UNWANTED
from jobengine.engine import Said
from jobengine.errors import InvalidJob

# Jobs of one request: they are one commit, and wait for the lock together.
BATCH_MAX = 10_000
# Reports of one request: each is a row of the same commit, and reads its job first.
REPORTS_MAX = 1000

# Terms are shared where they agree, and clients agree on few.
TERMS_KEPT = 4096

# What a worker says of a run that went wrong, by the word for it.
KINDS_OF_FAILURE = {
    "retry": ATTEMPTS,
    "critical": CRITICAL,
    "unprocessable": UNPROCESSABLE,
    "cancel": UNWANTED,
}


def whole(least: int, most: int, **more: Any) -> fields.Integer:
    """A member that is a whole number between the two."""
    rule = validate.Range(min=least, max=most)
    return fields.Integer(strict=True, validate=rule, **more)


class BackoffBody(Schema):
    """How long a job waits after a run that failed."""

    kind = fields.String(required=True, validate=validate.OneOf(KINDS))
    base_ms = whole(0, DELAY_MS_MAX)
    factor = Real()
    max_ms = whole(0, DELAY_MS_MAX)
    delays_ms = fields.List(whole(0, DELAY_MS_MAX, required=True))
    jitter = Real()


class TermsBody(Schema):
    """What is agreed with the making of a job; what is absent is the queue's."""

    max_attempts = whole(1, ATTEMPTS_MAX, allow_none=True)
    lease_ms = whole(0, INSTANT_MAX)
    keep_ms = whole(0, INSTANT_MAX)
    dead_keep_ms = whole(0, INSTANT_MAX)
    poison_after = whole(1, ATTEMPTS_MAX, allow_none=True)
    backoff = Payload()
    durable = Flag()


class JobBody(TermsBody):
    """What a new job may say."""

    content = AnyJson(required=True)
    priority = fields.Integer(strict=True)
    run_at = Time()
    delay_ms = whole(0, INSTANT_MAX)
    expires_at = Time()
    valid_for_ms = whole(1, INSTANT_MAX)
    unique_key = fields.String()
    fingerprint = fields.String()
    progress = AnyJson()


class FollowingBody(JobBody):
    """A job that follows one that is done."""

    queue = fields.String()


class PatchBody(Schema):
    """What of a job may be changed: any of these, or none."""

    content = AnyJson()
    priority = fields.Integer(strict=True)
    run_at = Time()
    expires_at = Time()


class LeaseBody(Schema):
    """What a worker may show."""

    lease = fields.String()


class BeatBody(LeaseBody):
    """What a worker says that is at it."""

    progress = AnyJson()


class CompleteBody(LeaseBody):
    """What a worker says that is done."""

    result = AnyJson()


class FailBody(LeaseBody):
    """What a worker says that could not do it."""

    error = fields.String()
    retry_at = Time()
    kind = fields.String(validate=validate.OneOf(list(KINDS_OF_FAILURE)))


class ReleaseBody(LeaseBody):
    """When the job may be taken again."""

    run_at = Time()


class RescheduleBody(LeaseBody):
    """When and how the job is to be run again."""

    run_at = Time()
    content = AnyJson()
    progress = AnyJson()


class RequeueBody(LeaseBody):
    """What follows the job: an array of FollowingBody."""

    jobs = AnyJson(required=True)


class NamedBeatBody(BeatBody):
    """The same of one of many."""

    uid = fields.String(required=True)


class NamedCompleteBody(CompleteBody):
    """The same of one of many."""

    uid = fields.String(required=True)


JOB, JOBS = Form(JobBody()), Many(JobBody(), most=BATCH_MAX)
PATCH = Form(PatchBody())
BEAT, COMPLETE, FAIL = Maybe(BeatBody()), Maybe(CompleteBody()), Maybe(FailBody())
RELEASE, RESCHEDULE = Maybe(ReleaseBody()), Maybe(RescheduleBody())
REQUEUE, FOLLOWING = Form(RequeueBody()), Many(FollowingBody(), most=BATCH_MAX)
BEATS = Many(NamedBeatBody(), most=REPORTS_MAX)
COMPLETIONS = Many(NamedCompleteBody(), most=REPORTS_MAX)
_BACKOFF = Form(BackoffBody())


def new_job(body: Any, trace: str | None = None) -> NewJob:
    """The job that *body* asks for, which belongs to this trace.

    Raises:
        InvalidJob: naming every field that is out of range.
    """
    if body.run_at is not UNSET and body.delay_ms is not UNSET:
        raise InvalidJob(("delay_ms", "say this or run_at, not both"))
    if body.expires_at is not UNSET and body.valid_for_ms is not UNSET:
        raise InvalidJob(("valid_for_ms", "say this or expires_at, not both"))
    return NewJob(
        body.content,
        priority=given(body.priority, PRIORITY_DEFAULT),
        valid_for_ms=given(body.valid_for_ms),
        terms=terms_of(body),
        expires_at=given(body.expires_at),
        run_at=given(body.run_at),
        delay_ms=given(body.delay_ms),
        unique_key=given(body.unique_key),
        fingerprint=given(body.fingerprint),
        progress=None if body.progress in _NOTHING else body.progress,
        trace=trace,
    )


def new_jobs(bodies: list[Any], trace: str | None, at: str = "") -> list[NewJob]:
    """The same of many; what is wrong is named behind *at* and its number.

    Raises:
        InvalidJob: naming every field that is out of range in the first that is.
    """
    made = []
    for number, body in enumerate(bodies):
        try:
            made.append(new_job(body, trace))
        except InvalidJob as error:
            raise below(f"{at}{number}", error) from None
    return made


def terms_of(body: Any) -> Terms:
    """What *body* agrees on.

    Raises:
        InvalidJob: its back-off makes no sense.
    """
    backoff = None if body.backoff is UNSET else _backoff(body.backoff)
    if backoff is None and _plain(body):
        return _QUEUES_OWN
    return _terms(
        given(body.max_attempts, OWN),
        given(body.lease_ms),
        given(body.keep_ms),
        backoff,
        given(body.poison_after, OWN),
        given(body.dead_keep_ms, OWN),
        body.durable is not False,
    )


def change_of(body: Any) -> Change:
    """What *body* wants changed.

    Raises:
        InvalidJob: naming every field that is out of range.
    """
    return Change(
        priority=given(body.priority),
        content=given(body.content),
        expires_at=given(body.expires_at),
        run_at=given(body.run_at),
    )


def renewal_of(body: Any) -> Renewal:
    """How *body* wants the job to be run again.

    Raises:
        InvalidJob: naming every field that is out of range.
    """
    return Renewal(
        given(body.run_at), given(body.content), progress=given(body.progress)
    )


def beats_of(bodies: list[Any]) -> list[Said]:
    """What is said of many jobs by who is at them."""
    return [Said(body.uid, given(body.lease), given(body.progress)) for body in bodies]


def completions_of(bodies: list[Any]) -> list[Said]:
    """What is said of many jobs by who has done them."""
    return [Said(body.uid, given(body.lease), given(body.result)) for body in bodies]


def following(body: Any, queue: str, trace: str | None) -> list[tuple[str, NewJob]]:
    """The jobs that are to follow one of the queue, and their queues.

    Raises:
        Refused: they are no array of jobs.
    """
    try:
        bodies = FOLLOWING.read(body.jobs)
    except InvalidJob as error:
        raise below("jobs", error) from None
    news = new_jobs(bodies, trace, "jobs/")
    queues = [given(each.queue, queue) for each in bodies]
    return list(zip(queues, news, strict=True))


def given(value: Any, absent: Any = None) -> Any:
    """The value; *absent* where it was not sent."""
    return absent if value is UNSET else value


def below(at: str, error: InvalidJob) -> InvalidJob:
    """The same of what stands at *at* in the body."""
    return type(error)(*((f"{at}/{field}", what) for field, what in error.errors))


# In progress, null and nothing are one.
_NOTHING = (UNSET, b"null")

_QUEUES_OWN = Terms(max_attempts=OWN, poison_after=OWN, dead_keep_ms=OWN)


def _plain(body: Any) -> bool:
    """Whether all is left to the queue."""
    return (
        body.max_attempts is UNSET
        and body.lease_ms is UNSET
        and body.keep_ms is UNSET
        and body.dead_keep_ms is UNSET
        and body.poison_after is UNSET
        and body.durable is not False
    )


def _backoff(raw: bytes) -> Backoff:
    try:
        said = _BACKOFF.within(raw)
    except InvalidJob as error:
        raise below("backoff", error) from None
    return Backoff(**said | {"delays_ms": tuple(said.get("delays_ms", ()))})


_terms = lru_cache(TERMS_KEPT)(Terms)
