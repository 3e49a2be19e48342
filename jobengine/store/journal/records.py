"""Changed rows <-> bytes. A reader of old rows is never edited, only added to.

A body is a run of records: kind u8, length u32, bytes. Rows are msgpack arrays whose
fields are only ever appended, each with a default: a short array is an older one, a
longer one was written by a newer version and is refused.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from jobengine.core.backoff import Backoff, Kind
from jobengine.core.job import Job, Keys, Lease, State, Terms
from jobengine.core.once import Answer
from jobengine.core.past import Past, Run
from jobengine.core.queues import MadeQueue, PausedQueue, RemovedQueue
from jobengine.core.schedules import Misfire, Schedule
from jobengine.errors import InvalidJob, StoreCorrupt
from jobengine.store.port import Change, Record

PADDING, JOB_ROW, BODY, TOMBSTONE = 0, 1, 2, 3
RECORD, RECORD_TOMBSTONE = 6, 7

UID_BYTES = 36
_HEAD = struct.Struct(">BI")
_pack_head = _HEAD.pack
_encode = msgspec.msgpack.Encoder().encode


class _Row(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """An array of fields."""


class _BackoffRow(_Row, frozen=True, array_like=True):
    kind: Kind
    base_ms: int
    factor: float
    max_ms: int
    delays_ms: tuple[int, ...]
    jitter: float


class _TermsRow(_Row, frozen=True, array_like=True):
    max_attempts: int | None = None
    lease_ms: int | None = None
    keep_ms: int | None = None
    backoff: _BackoffRow | None = None
    poison_after: int | None = None
    dead_keep_ms: int | None = None
    durable: bool = True  # of a schedule: jobs that are not have no row


class _KeysRow(_Row, frozen=True, array_like=True):
    unique: str | None
    fingerprint: str | None
    trace: str | None = None


class _RunRow(_Row, frozen=True, array_like=True):
    attempt: int
    began_at: int
    ended_at: int
    outcome: str
    error: str | None


class _PastRow(_Row, frozen=True, array_like=True):
    lost: int
    rescheduled: int
    runs: tuple[_RunRow, ...]


class _LeaseRow(_Row, frozen=True, array_like=True):
    token: str
    holder: str
    until: int
    since: int | None = None  # None in older rows


class _JobRow(_Row, frozen=True, array_like=True):
    uid: str
    queue: str
    seq: int
    priority: int
    state: State
    created_at: int
    updated_at: int
    run_at: int
    expires_at: int | None
    attempt: int
    terms: _TermsRow
    lease: _LeaseRow | None = None
    finished_at: int | None = None
    keep_until: int | None = None
    reason: str | None = None
    keys: _KeysRow | None = None
    progress: bytes | None = None
    past: _PastRow | None = None
    result: bytes | None = None


class _RemovedQueueRow(_Row, frozen=True, array_like=True):
    name: str
    removed_at: int
    due_at: int | None


class _PausedQueueRow(_Row, frozen=True, array_like=True):
    name: str
    noted_at: int
    reason: str
    due_at: int | None


class _MadeQueueRow(_Row, frozen=True, array_like=True):
    name: str
    noted_at: int
    read: tuple[str, ...]
    write: tuple[str, ...]
    salt: str | None
    digest: bytes | None
    due_at: int | None


class _ScheduleRow(_Row, frozen=True, array_like=True):
    queue: str
    title: str
    noted_at: int
    due_at: int | None
    next_at: int | None
    cron: str
    zone: str
    content: bytes
    priority: int
    terms: _TermsRow
    valid_for_ms: int | None
    fingerprint: str | None
    jitter_ms: int
    misfire: Misfire
    last_at: int | None
    last_uid: str | None
    made: int
    missed: int
    paused: bool


class _AnswerRow(_Row, frozen=True, array_like=True):
    name: str
    noted_at: int
    due_at: int | None
    digest: bytes
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


# A record's kind is the first element of its array: numbers are never used again.
RECORD_KINDS: dict[int, type[Record]] = {
    1: RemovedQueue,
    2: PausedQueue,
    3: MadeQueue,
    4: Schedule,
    5: Answer,
}
_KIND_OF = {type_: kind for kind, type_ in RECORD_KINDS.items()}
_RECORD_ROWS: dict[int, type[_Row]] = {
    1: _RemovedQueueRow,
    2: _PausedQueueRow,
    3: _MadeQueueRow,
    4: _ScheduleRow,
    5: _AnswerRow,
}

_decode_job = msgspec.msgpack.Decoder(_JobRow).decode
_decode_record = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw]).decode
_decode_key = msgspec.msgpack.Decoder(tuple[int, str]).decode


def encode(changes: Sequence[Change]) -> bytes:
    """The records of what transactions changed, in order; none of what is to be in
    memory only."""
    parts: list[bytes] = []
    last = len(changes) - 1
    # Jobs that come together mostly share their terms.
    said: Terms | None = None
    agreed: tuple[object, ...] = ()
    for at, (old, new) in enumerate(changes):
        if isinstance(new, Job):
            if at < last and _buries(changes[at + 1], new):
                continue  # what was buried has a tombstone, and needs no row
            terms = new.terms
            if terms.durable:
                if terms is not said:
                    said, agreed = terms, _agreed(terms)
                with_body = old is None or _has_new_body(old, new)
                _put_job(parts, new, agreed, with_body=with_body)
        elif isinstance(old, Job):
            if old.terms.durable:
                _put(parts, TOMBSTONE, old.uid.encode())
        elif new is not None:
            _put(parts, RECORD, _encode((_KIND_OF[type(new)], _row_of(new))))
        elif old is not None:
            _put(parts, RECORD_TOMBSTONE, _encode((_KIND_OF[type(old)], old.name)))
    return b"".join(parts)


def _buries(change: Change, job: Job) -> bool:
    return change[0] is job and change[1] is None


def _has_new_body(old: Job | Record, new: Job) -> bool:
    """The body is written when it is new; later rows of the job are short."""
    return (
        not isinstance(old, Job)
        or old.content is not new.content
        or not old.terms.durable
    )


# InvalidJob: terms that nobody could have agreed to.
_UNREADABLE = (struct.error, msgspec.MsgspecError, UnicodeDecodeError, InvalidJob)


class Replay:
    """The rows that a run of frames leaves behind. Knows no policy and no clock."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.records: dict[tuple[type[Record], str], Record] = {}
        self._bodies: dict[str, bytes] = {}
        # Jobs share their terms and queue names, as they do in the running store.
        self._terms: dict[_TermsRow, Terms] = {}
        self._names: dict[str, str] = {}
        self._readers: dict[int, Reader] = {
            JOB_ROW: self._job_row,
            TOMBSTONE: self._tombstone,
            RECORD: self._record,
            RECORD_TOMBSTONE: self._record_tombstone,
        }

    def apply(self, body: bytes, offset: int) -> None:
        """Take in the records of one frame.

        Raises:
            StoreCorrupt: they make no sense, or a newer version wrote them. *offset*
                is where the frame stands.
        """
        readers, take_body = self._readers, self._body
        unpack, size = _HEAD.unpack_from, _HEAD.size
        at, end = 0, len(body)
        try:
            while at < end:
                kind, length = unpack(body, at)
                start = at + size
                at = start + length
                if at > end:
                    raise StoreCorrupt("a record runs past its frame", offset=offset)
                if kind == BODY:
                    # Most of a file is payloads: they are copied once, and no more.
                    uid_end = start + UID_BYTES
                    take_body(body[start:uid_end].decode(), body[uid_end:at])
                elif kind != PADDING:
                    readers[kind](body[start:at])
        except KeyError as error:
            raise StoreCorrupt(
                f"a record of unknown kind or for an unknown row ({error}): "
                "a newer version wrote it",
                offset=offset,
            ) from error
        except _UNREADABLE as error:
            raise StoreCorrupt(
                f"a row this version cannot read: {error}", offset=offset
            ) from error

    def everything(self) -> Iterator[Record | Job]:
        """Every row."""
        yield from self.records.values()
        yield from self.jobs.values()

    def counts(self) -> tuple[int, int, int, int]:
        """Queues with jobs, jobs, bytes of their payloads, records."""
        jobs = self.jobs.values()
        return (
            len({job.queue for job in jobs}),
            len(jobs),
            sum(len(job.content) for job in jobs),
            len(self.records),
        )

    def _body(self, uid: str, content: bytes) -> None:
        self._bodies[uid] = content

    def _job_row(self, record: bytes) -> None:
        row = _decode_job(record)
        content = self._bodies.pop(row.uid, None)
        if content is None:
            content = self._content(row.uid)
        terms = self._terms.get(row.terms)
        if terms is None:
            terms = self._terms[row.terms] = _terms(row.terms)
        created = row.created_at
        # Equal instants share one object, as they did when the job was made.
        self.jobs[row.uid] = Job(
            row.uid,
            self._names.setdefault(row.queue, row.queue),
            row.seq,
            row.priority,
            row.state,
            content,
            created,
            created if row.updated_at == created else row.updated_at,
            created if row.run_at == created else row.run_at,
            row.expires_at,
            row.attempt,
            terms,
            None if row.lease is None else _lease(row.lease, row.updated_at),
            row.finished_at,
            row.keep_until,
            row.reason,
            None if row.keys is None else Keys(*msgspec.structs.astuple(row.keys)),
            row.progress,
            None if row.past is None else _past(row.past),
            row.result,
        )

    def _content(self, uid: str) -> bytes:
        """The payload that an earlier row of the job brought."""
        return self.jobs[uid].content

    def _tombstone(self, record: bytes) -> None:
        # Nothing to drop is nothing to refuse: a run may be replayed over itself.
        self.jobs.pop(record.decode(), None)

    def _record(self, record: bytes) -> None:
        kind, raw = _decode_record(record)
        row = msgspec.msgpack.decode(raw, type=_RECORD_ROWS[kind])
        fields: list[Any] = [
            _terms(field) if isinstance(field, _TermsRow) else field
            for field in msgspec.structs.astuple(row)
        ]
        made = RECORD_KINDS[kind](*fields)
        self.records[type(made), made.name] = made

    def _record_tombstone(self, record: bytes) -> None:
        kind, name = _decode_key(record)
        self.records.pop((RECORD_KINDS[kind], name), None)


Reader: TypeAlias = Callable[[bytes], None]


def _lease(row: _LeaseRow, updated_at: int) -> Lease:
    # An older row does not say. The run began when it was written, or before.
    since = updated_at if row.since is None else row.since
    return Lease(row.token, row.holder, row.until, since)


def _terms(row: _TermsRow) -> Terms:
    fields = list(msgspec.structs.astuple(row))
    if row.backoff is not None:
        fields[3] = Backoff(*msgspec.structs.astuple(row.backoff))
    return Terms(*fields)


def _past(row: _PastRow) -> Past:
    runs = tuple(Run(*msgspec.structs.astuple(run)) for run in row.runs)
    return Past(row.lost, row.rescheduled, runs)


def _put(parts: list[bytes], kind: int, record: bytes) -> None:
    parts += (_pack_head(kind, len(record)), record)


def _put_job(
    parts: list[bytes], job: Job, agreed: tuple[object, ...], *, with_body: bool
) -> None:
    if with_body:
        uid = job.uid.encode()
        assert len(uid) == UID_BYTES, "nobody could tell the uid from the payload"
        parts += (_pack_head(BODY, UID_BYTES + len(job.content)), uid, job.content)
    lease = job.lease
    held = lease and (lease.token, lease.holder, lease.until, lease.since)
    told = job.result if job.progress is None else job.progress
    short = job.keys is None and job.past is None and told is None
    row = _encode(
        (
            job.uid,
            job.queue,
            job.seq,
            job.priority,
            job.state,
            job.created_at,
            job.updated_at,
            job.run_at,
            job.expires_at,
            job.attempt,
            agreed,
            held,
            job.finished_at,
            job.keep_until,
            job.reason,
            *(() if short else _rarely(job)),
        )
    )
    parts += (_pack_head(JOB_ROW, len(row)), row)


def _agreed(terms: Terms) -> tuple[object, ...]:
    agreed = (terms.max_attempts, terms.lease_ms, terms.keep_ms)
    if (terms.backoff, terms.poison_after, terms.dead_keep_ms) == (None, None, None):
        return agreed
    backoff = terms.backoff and msgspec.structs.astuple(terms.backoff)
    return (*agreed, backoff, terms.poison_after, terms.dead_keep_ms)


def _for_jobs_to_come(terms: Terms) -> tuple[object, ...]:
    agreed = _agreed(terms)
    if terms.durable:
        return agreed
    return (*agreed, *[None] * (_LONG_TERMS - len(agreed)), False)


# The fields of terms that say all but whether they are of durable jobs.
_LONG_TERMS = 6


def _rarely(job: Job) -> tuple[object, ...]:
    """The fields that most jobs do not have: a short row says so by being short."""
    keys, past, result = job.keys, job.past, job.result
    called: tuple[object, ...] | None = None
    if keys is not None:
        called = (keys.unique, keys.fingerprint)
        if keys.trace is not None:
            called = (*called, keys.trace)
    befallen = None
    if past is not None:
        runs = [msgspec.structs.astuple(run) for run in past.runs]
        befallen = (past.lost, past.rescheduled, runs)
    row = (called, job.progress, befallen)
    return row if result is None else (*row, result)


def _row_of(record: Record) -> tuple[object, ...]:
    return tuple(
        _for_jobs_to_come(field) if isinstance(field, Terms) else field
        for field in msgspec.structs.astuple(record)
    )
