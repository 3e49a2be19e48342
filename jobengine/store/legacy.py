"""Reads the database files of JobEngine before this format, both eras of them.

A nonce, then JSON under AES-256-GCM (JE1-P1 to P3, JE2-C2). Knows how their jobs look
in ours, and nothing of where they go.
"""

import re
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from jobengine.core.job import (
    FINISHED,
    INSTANT_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    Job,
    Lease,
    State,
    Terms,
)
from jobengine.core.queues import MINUTE_MS, QueueRules, Rulebook
from jobengine.errors import StoreCorrupt, WrongSecret
from jobengine.store.port import ROW_BYTES_MAX, TRANSACTION_BYTES_MAX
from jobengine.store.sealer import new_uid, open_legacy

# They told time in whole seconds; an instant lasts until its second is over.
SECOND_MS, LAST_MS = 1000, 999

_STATES = {
    "queued": State.QUEUED,
    "inprogress": State.INPROGRESS,
    "complete": State.COMPLETE,
    "failed": State.FAILED,
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Legacy(Struct, frozen=True):
    """What an old file holds. `jobs` are in the order of creation."""

    era: int
    queues: tuple[str, ...]
    jobs: list[Job]
    clamped: int  # how many had a priority that is none (JE1-V2)


_Instant = Annotated[int, Meta(ge=0, le=INSTANT_MAX // SECOND_MS)]


class _OldJob(Struct):
    uid: str
    content: Raw
    state: str
    priority: int
    created: _Instant
    last_updated: _Instant
    timeout_time: int
    keep_minutes: int = 0
    timeout_minutes: int = 0


class _Era1Queue(Struct):
    jobs: dict[str, _OldJob] | None
    permissions: Raw


class _Era2Queue(Struct):
    jobs: list[_OldJob] | None
    access_key: str


class _Era2(Struct):
    queues: dict[str, _Era2Queue]


_Queues: TypeAlias = dict[str, list[_OldJob]]


def read_legacy(data: bytes, secret: bytes, rules: Rulebook) -> Legacy:
    """The jobs of an old file, as they stand under *rules*.

    Raises:
        WrongSecret: *secret* does not open it, or it is no such file.
        StoreCorrupt: it holds what neither era ever wrote.
    """
    text = open_legacy(secret, data)
    if text is None:
        raise WrongSecret(
            "the secret does not open the file, or it is not a database of a JobEngine "
            "before this format: set LEGACY_SECRET to the SECRET it was written with"
        )
    era, queues = _queues(text)
    old = [(name, job) for name, jobs in queues.items() for job in jobs]
    # Stable: jobs of one second stay in the order in which they were to be handed out.
    old.sort(key=lambda each: each[1].created)
    jobs = [
        _job(job, seq, rules.queues.get(name) or QueueRules(name))
        for seq, (name, job) in enumerate(old)
    ]
    _check_uids(jobs)
    clamped = sum(job.priority != _priority(job) for _, job in old)
    return Legacy(era, tuple(sorted(queues)), jobs, clamped)


def _queues(text: bytes) -> tuple[int, _Queues]:
    """The era of the file, and its jobs by queue, first to be handed out first."""
    try:
        text.decode()  # Raw hands bytes through without looking at their encoding
        try:
            era2 = msgspec.json.decode(text, type=_Era2)
            return 2, {name: queue.jobs or [] for name, queue in era2.queues.items()}
        except msgspec.ValidationError:
            era1 = msgspec.json.decode(text, type=dict[str, _Era1Queue])
            return 1, {name: _in_order(queue.jobs) for name, queue in era1.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StoreCorrupt(
            f"the file opens, but holds no jobs of a JobEngine: {error}"
        ) from None


def _in_order(jobs: dict[str, _OldJob] | None) -> list[_OldJob]:
    jobs = jobs or {}
    # Their keys are places in the queue, in the order of text: "10" before "2".
    return [jobs[place] for place in sorted(jobs, key=lambda key: (len(key), key))]


def _job(old: _OldJob, seq: int, rules: QueueRules) -> Job:
    state = _STATES.get(old.state)
    content = bytes(old.content)
    if (
        state is None
        or not _UUID.fullmatch(old.uid)
        or len(content) > TRANSACTION_BYTES_MAX - ROW_BYTES_MAX
    ):
        raise StoreCorrupt(
            f"job {old.uid!r} of queue {rules.name!r} cannot be taken over: its uid, "
            "its state or the size of its content is none that was ever written"
        )
    created_at, updated_at = old.created * SECOND_MS, old.last_updated * SECOND_MS
    terms = _terms(old)
    finished = state in FINISHED
    return Job(
        old.uid,
        rules.name,
        seq,
        _priority(old),
        state,
        content,
        created_at,
        updated_at,
        created_at,
        _expires_at(old),
        0 if state is State.QUEUED else 1,
        terms,
        _lease(updated_at, terms, rules) if state is State.INPROGRESS else None,
        updated_at if finished else None,
        updated_at + (terms.keep_ms or rules.keep_ms) if finished else None,
    )


def _priority(old: _OldJob) -> int:
    return min(max(old.priority, PRIORITY_MIN), PRIORITY_MAX)


def _terms(old: _OldJob) -> Terms:
    # One attempt (D8). A 0 is era 2's default for what nobody asked for, and would fail
    # every job as it is taken: the queue's own times are meant.
    return Terms(
        max_attempts=1,
        lease_ms=_minutes(old.timeout_minutes),
        keep_ms=_minutes(old.keep_minutes),
    )


def _minutes(count: int) -> int | None:
    return min(count * MINUTE_MS, INSTANT_MAX) if count > 0 else None


def _expires_at(old: _OldJob) -> int | None:
    """Era 2 says 0 for never."""
    if old.timeout_time == 0:
        return None
    return min(max(old.timeout_time, 0) * SECOND_MS + LAST_MS, INSTANT_MAX)


def _lease(updated_at: int, terms: Terms, rules: QueueRules) -> Lease:
    # They did not note who took a job. A name that nobody can have: a writer settles
    # the job, as it did there, or its time runs out.
    until = updated_at + (terms.lease_ms or rules.lease_ms)
    return Lease(new_uid(), "", until, updated_at)


def _check_uids(jobs: Iterable[Job]) -> None:
    seen: set[str] = set()
    for job in jobs:
        if job.uid in seen:
            raise StoreCorrupt(f"two jobs of the file have the uid {job.uid}")
        seen.add(job.uid)
