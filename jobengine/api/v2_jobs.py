"""A job as the native API shows it, to whom it may be shown.

Knows no path and no verb.
"""

from collections.abc import Iterable

import msgspec

from jobengine.api.endpoint import Desk
from jobengine.api.etags import etag_of
from jobengine.api.instants import instant, instant_or_null
from jobengine.api.problem import status_of
from jobengine.api.v2_heads import V2, Told, path_of, rules_of
from jobengine.core.access import READ, WRITE, Right
from jobengine.core.job import OWN, Job, Keys, Lease, State
from jobengine.core.past import Past, Run
from jobengine.core.queues import QueueRules
from jobengine.engine import Kept
from jobengine.errors import JobEngineError, Refused, Unavailable

Found = Job | Kept | Refused | Unavailable

STATES = {state.name.lower(): state for state in State}
_WORDS = [word.encode() for word in STATES]

_text = msgspec.json.Encoder().encode


def render(
    job: Job,
    rules: QueueRules,
    *,
    content: bool = False,
    told: bool = True,
    token: bool = False,
) -> bytes:
    """The job, with what its worker *told*, its *content*, and the *token* of who holds
    it where they are to be shown."""
    made = instant(job.created_at)
    most = job.terms.max_attempts
    if most == OWN:
        most = rules.max_attempts
    return (
        b'{"uid":"%b","queue":"%b","state":"%b","priority":%d,"created_at":"%b",'
        b'"updated_at":"%b","run_at":"%b","expires_at":%b,"attempt":%d,'
        b'"max_attempts":%b,"lease":%b,%b,%b,%b%b%b}'
    ) % (
        job.uid.encode(),
        job.queue.encode(),
        _WORDS[job.state],
        job.priority,
        made,
        made if job.updated_at == job.created_at else instant(job.updated_at),
        made if job.run_at == job.created_at else instant(job.run_at),
        b"null" if job.expires_at is None else b'"%b"' % instant(job.expires_at),
        job.attempt,
        b"null" if most is None else b"%d" % most,
        b"null" if job.lease is None else _lease(job.lease, token=token),
        _UNFINISHED if job.finished_at is None else _ended(job),
        _NAMELESS if job.keys is None else _called(job.keys),
        _NO_PAST if job.past is None else _past(job.past),
        b',"content":%b' % job.content if content else b"",
        _told(job) if told else b"",
    )


def render_for(job: Job, rules: QueueRules, held: frozenset[Right]) -> bytes:
    """The job as who has these rights on its queue may see it."""
    read = READ in held
    return render(job, rules, content=read, told=read or WRITE in held)


def version_of(job: Job, rules: QueueRules) -> str:
    """The ETag of the job as it is, whoever sees it."""
    return etag_of(render(job, rules), job.content)


def job_told(job: Job, rules: QueueRules, held: frozenset[Right]) -> Told:
    """The whole job as who has these rights may see it."""
    etag = ("ETag", version_of(job, rules))
    return 200, (etag,), render_for(job, rules, held)


def verb_told(desk: Desk, job: Job) -> Told:
    """What has become of a job, to whom it was that did it. The content is known."""
    shown = render(job, rules_of(desk, job.queue))
    return 200, (("ETag", etag_of(shown, job.content)),), shown


def place_of(job: Job) -> tuple[tuple[str, str], ...]:
    """Where a new job is, as a header."""
    return (("Location", f"{path_of(job.queue)}/jobs/{job.uid}"),)


def jobs_told(jobs: list[Job], rules: QueueRules) -> bytes:
    """Jobs that were taken, to their holder."""
    shown = [render(job, rules, content=True, token=True) for job in jobs]
    return b'{"jobs":[%b]}' % b",".join(shown)


def each_told(found: Iterable[Found], status: int = 200) -> Told:
    """What was made of each of many."""
    return status, (), _results(map(_made, found))


def beats_told(uids: Iterable[str], found: Iterable[Job | JobEngineError]) -> bytes:
    """Until when each of many jobs is held."""
    return _results(map(_beaten, uids, found))


def completions_told(
    uids: Iterable[str], found: Iterable[Job | JobEngineError]
) -> bytes:
    """Whether each of many jobs was completed."""
    return _results(map(_completed, uids, found))


def held_told(job: Job) -> bytes:
    """Until when the job is held."""
    assert job.lease is not None, "it was just prolonged"
    return b'{"lease_until":"%b"}' % instant(job.lease.until)


def ended_told(job: Job) -> bytes:
    """When the job was done, and how long it is kept."""
    return b'{"state":"%b","finished_at":%b,"keep_until":%b}' % (
        _WORDS[job.state],
        instant_or_null(job.finished_at),
        instant_or_null(job.keep_until),
    )


def _results(shown: Iterable[bytes]) -> bytes:
    return b'{"results":[%b]}' % b",".join(shown)


def _made(found: Found) -> bytes:
    if isinstance(found, Job):
        return b'{"status":201,"uid":"%b"}' % found.uid.encode()
    if isinstance(found, Kept):
        return b'{"status":200,"uid":"%b"}' % found.job.uid.encode()
    status = status_of(type(found), V2.statuses)
    return b'{"status":%d,"uid":null,"problem":%b}' % (
        status,
        _text({"status": status, "code": found.code, "detail": str(found)}),
    )


def _beaten(uid: str, found: Job | JobEngineError) -> bytes:
    if isinstance(found, Job):
        assert found.lease is not None, "it was just prolonged"
        return b'{"uid":%b,"status":200,"code":null,"lease_until":"%b"}' % (
            _text(uid),
            instant(found.lease.until),
        )
    return b'{"uid":%b,%b,"lease_until":null}' % (_text(uid), _refused(found))


def _completed(uid: str, found: Job | JobEngineError) -> bytes:
    if isinstance(found, Job):
        return b'{"uid":%b,"status":200,"code":null}' % _text(uid)
    return b'{"uid":%b,%b}' % (_text(uid), _refused(found))


def _refused(error: JobEngineError) -> bytes:
    status = status_of(type(error), V2.statuses)
    return b'"status":%d,"code":"%b"' % (status, error.code.encode())


def _lease(lease: Lease, *, token: bool) -> bytes:
    return b'{"holder":"%b","since":"%b","until":"%b"%b}' % (
        lease.holder.encode(),
        instant(lease.since),
        instant(lease.until),
        # It is all that it takes to end the run.
        b',"token":"%b"' % lease.token.encode() if token else b"",
    )


_UNFINISHED = b'"finished_at":null,"keep_until":null,"reason":null'
_NAMELESS = b'"unique_key":null,"fingerprint":null,"traceparent":null'
_NO_PAST = b'"error":null,"lost_leases":0,"reschedules":0,"runs":[]'


def _ended(job: Job) -> bytes:
    return b'"finished_at":%b,"keep_until":%b,"reason":%b' % (
        instant_or_null(job.finished_at),
        instant_or_null(job.keep_until),
        _text(job.reason),
    )


def _called(keys: Keys) -> bytes:
    return b'"unique_key":%b,"fingerprint":%b,"traceparent":%b' % (
        *(_text(keys.unique), _text(keys.fingerprint), _text(keys.trace)),
    )


def _past(past: Past) -> bytes:
    error = past.runs[-1].error if past.runs else None
    return b'"error":%b,"lost_leases":%d,"reschedules":%d,"runs":[%b]' % (
        *(_text(error), past.lost, past.rescheduled),
        b",".join(map(_run, past.runs)),
    )


def _run(run: Run) -> bytes:
    return (
        b'{"attempt":%d,"began_at":"%b","ended_at":"%b","outcome":"%b","error":%b}'
    ) % (
        *(run.attempt, instant(run.began_at), instant(run.ended_at)),
        *(run.outcome.encode(), _text(run.error)),
    )


def _told(job: Job) -> bytes:
    if job.progress is None and job.result is None:
        return b',"progress":null,"result":null'
    return b',"progress":%b,"result":%b' % (
        job.progress or b"null",
        job.result or b"null",
    )
