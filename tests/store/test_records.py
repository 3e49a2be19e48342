"""Rows and bytes: every field comes back, older rows read, newer ones are refused."""

import contextlib
import struct

import msgspec
import pytest
from drafts import added, job, rows
from hypothesis import given
from hypothesis import strategies as st

from jobengine.core.backoff import DELAY_MS_MAX, DELAYS_MAX, FACTOR_MAX, KINDS, Backoff
from jobengine.core.job import (
    ATTEMPTS_MAX,
    INSTANT_MAX,
    OWN,
    Job,
    Keys,
    Lease,
    State,
    Terms,
)
from jobengine.core.once import Answer
from jobengine.core.past import Past, Run
from jobengine.core.queues import MadeQueue, PausedQueue, RemovedQueue
from jobengine.core.schedules import Schedule
from jobengine.errors import StoreCorrupt
from jobengine.store.journal.records import (
    BODY,
    JOB_ROW,
    PADDING,
    RECORD,
    RECORD_TOMBSTONE,
    TOMBSTONE,
    Replay,
    encode,
)
from jobengine.store.port import Change, Record

OFFSET = 4711
pack = msgspec.msgpack.encode

numbers = st.integers(0, 2**63 - 1)
maybe = st.none() | numbers
names = st.text("abcXYZ019_.:@ -", min_size=1, max_size=255)
texts = st.text(max_size=20)
counts = st.none() | st.sampled_from([OWN, 1, ATTEMPTS_MAX])
times = st.none() | st.integers(0, INSTANT_MAX)
delays = st.integers(0, DELAY_MS_MAX)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    kind = draw(st.sampled_from(KINDS))
    steps = st.lists(delays, min_size=1, max_size=DELAYS_MAX).map(tuple)
    return Backoff(
        kind,
        draw(delays),
        draw(st.floats(1, FACTOR_MAX)),
        draw(delays),
        draw(steps) if kind == "list" else (),
        draw(st.floats(0, 1)),
    )


runs = st.builds(Run, numbers, numbers, numbers, names, st.none() | texts)
pasts = st.builds(Past, numbers, numbers, st.lists(runs, max_size=10).map(tuple))
jobs = st.builds(
    Job,
    uid=st.uuids().map(str),
    queue=names,
    seq=numbers,
    priority=st.integers(1, 100),
    state=st.sampled_from(State),
    content=st.binary(max_size=100),
    created_at=numbers,
    updated_at=numbers,
    run_at=numbers,
    expires_at=maybe,
    attempt=numbers,
    terms=st.builds(
        Terms,
        max_attempts=counts,
        lease_ms=times,
        keep_ms=times,
        backoff=st.none() | backoffs(),
        poison_after=counts,
        dead_keep_ms=times | st.just(OWN),
    ),
    lease=st.none()
    | st.builds(
        Lease, token=st.uuids().map(str), holder=names, until=numbers, since=numbers
    ),
    finished_at=maybe,
    keep_until=maybe,
    reason=st.none() | names,
    keys=st.none()
    | st.builds(Keys, st.none() | texts, st.none() | texts, st.none() | texts),
    progress=st.none() | st.binary(max_size=100),
    past=st.none() | pasts,
    result=st.none() | st.binary(max_size=100),
)
agreements = st.builds(
    Terms,
    max_attempts=counts,
    keep_ms=times,
    backoff=st.none() | backoffs(),
    durable=st.booleans(),
)
schedules = st.builds(
    Schedule,
    queue=names,
    title=names,
    noted_at=numbers,
    due_at=maybe,
    next_at=maybe,
    cron=texts,
    zone=texts,
    content=st.binary(max_size=100),
    priority=st.integers(1, 100),
    terms=agreements,
    valid_for_ms=maybe,
    fingerprint=st.none() | texts,
    jitter_ms=numbers,
    misfire=st.sampled_from(["skip", "once"]),
    last_at=maybe,
    last_uid=st.none() | texts,
    made=numbers,
    missed=numbers,
    paused=st.booleans(),
)
answers = st.builds(
    Answer,
    name=texts,
    noted_at=numbers,
    due_at=maybe,
    digest=st.binary(max_size=32),
    status=st.integers(200, 599),
    headers=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    body=st.binary(max_size=100),
)
services = st.lists(names, max_size=5).map(tuple)
removed = st.builds(RemovedQueue, name=names, removed_at=numbers, due_at=maybe)
paused = st.builds(PausedQueue, name=names, noted_at=numbers, reason=texts)
made_queues = st.builds(
    MadeQueue,
    name=names,
    noted_at=numbers,
    read=services,
    write=services,
    salt=st.none() | texts,
    digest=st.none() | st.binary(max_size=32),
)

# The row of the first version of the format: a job of 11 fields and no lease.
OLDEST = (f"{1:036d}", "q1", 1, 50, 0, 1000, 1000, 1000, None, 0, ())
SCHEDULE = (
    *("q", "nightly", 1, 2, 3, "0 3 * * *", "UTC", b"{}", 50, (), None, None),
    *(0, "skip", None, None, 0, 0, False),
)


def record(kind: int, data: bytes) -> bytes:
    return struct.pack(">BI", kind, len(data)) + data


def body_of(uid: str, content: bytes = b"{}") -> bytes:
    return record(BODY, uid.encode() + content)


def replayed(*bodies: bytes) -> Replay:
    replay = Replay()
    for body in bodies:
        replay.apply(body, OFFSET)
    return replay


def refusal(*bodies: bytes) -> StoreCorrupt:
    with pytest.raises(StoreCorrupt) as refused:
        replayed(*bodies)
    assert refused.value.offset == OFFSET
    return refused.value


@given(
    st.lists(jobs, unique_by=lambda made: made.uid, max_size=5),
    st.lists(
        removed | paused | made_queues | schedules | answers,
        unique_by=lambda kept: (type(kept), kept.name),
        max_size=5,
    ),
)
def test_every_field_of_every_row_comes_back(
    made: list[Job], records: list[Record]
) -> None:
    changes: list[Change] = [(None, new) for new in made]
    changes += [(None, new) for new in records]  # type: ignore[misc]

    replay = replayed(encode(changes))

    assert replay.jobs == {new.uid: new for new in made}
    assert replay.records == {(type(new), new.name): new for new in records}


@given(st.lists(jobs, min_size=1, max_size=4), st.data())
def test_any_run_of_changes_replays_to_what_memory_held(
    versions: list[Job], data: st.DataObject
) -> None:
    held: dict[str, Job] = {}
    bodies = []
    uids = [f"{n:036d}" for n in range(2)]
    for _ in range(data.draw(st.integers(1, 12))):
        uid = data.draw(st.sampled_from(uids))
        old = held.pop(uid, None)
        new = None
        if old is None or data.draw(st.booleans()):
            wanted = data.draw(st.sampled_from(versions))
            # Half of the changes leave the payload alone, as most do.
            keep = old is not None and data.draw(st.booleans())
            content = old.content if old and keep else wanted.content
            new = msgspec.structs.replace(wanted, uid=uid, content=content)
            held[uid] = new
        bodies.append(encode([(old, new)]))

    once = replayed(*bodies)

    assert once.jobs == held
    assert replayed(*bodies, *bodies).jobs == held


def test_replaying_a_run_over_itself_changes_nothing() -> None:
    removed_queue = RemovedQueue("gone", 5, None)
    run = [
        encode([(None, job(1)), (None, job(2)), (None, removed_queue)]),
        encode([(job(1), None), (removed_queue, None)]),
    ]

    assert rows(replayed(*run, *run)) == rows(replayed(*run))


def test_a_body_is_written_once() -> None:
    big = job(1, content=b"x" * 1000)
    later = msgspec.structs.replace(big, priority=9)

    assert len(encode([(None, big)])) > 1000
    assert len(encode([(big, later)])) < 100
    assert replayed(encode([(None, big), (big, later)])).jobs == {big.uid: later}


def test_a_job_that_came_and_went_in_one_group_leaves_nothing() -> None:
    assert replayed(encode([(None, job(1)), (job(1), None)])).jobs == {}
    assert encode([(None, None)]) == b""


def test_jobs_share_their_terms_queue_names_and_instants() -> None:
    made = [job(n, terms=Terms(3, 4, 5)) for n in (1, 2)]
    one, two = replayed(added(*made)).jobs.values()

    assert one.terms is two.terms
    assert one.queue is two.queue
    assert one.created_at is one.updated_at is one.run_at


def test_the_counts_are_those_of_the_rows() -> None:
    replay = replayed(
        added(job(1), job(2), job(3, queue="q2", content=b"12345")),
        encode([(None, RemovedQueue("q3", 1, 2))]),
    )

    assert replay.counts() == (2, 3, 7 + 7 + 5, 1)


def test_a_short_row_is_an_older_one_and_takes_the_defaults() -> None:
    replay = replayed(body_of(OLDEST[0]) + record(JOB_ROW, pack(OLDEST)))

    assert replay.jobs == {OLDEST[0]: job(1, content=b"{}")}


@pytest.mark.parametrize("length", range(11, 16))
def test_a_row_reads_at_every_length_that_there_was(length: int) -> None:
    row = (*OLDEST, ["token", "me", 9], 5, 6, "attempts")[:length]
    replay = replayed(body_of(OLDEST[0]) + record(JOB_ROW, pack(row)))

    expected = dict(
        zip(("lease", "finished_at", "keep_until", "reason"), row[11:], strict=False)
    )
    if "lease" in expected:
        # Such a row does not say when the run began: at the latest when it was written.
        expected["lease"] = Lease("token", "me", 9, since=1000)
    assert replay.jobs == {OLDEST[0]: job(1, content=b"{}", **expected)}


@pytest.mark.parametrize("length", range(15, 20))
def test_a_row_reads_at_every_length_that_there_is(length: int) -> None:
    run = (1, 2, 3, "attempts", "told")
    rare = (("key", None), b"7", (4, 5, (run,)), b"8")
    row = (*OLDEST, *[None] * 4, *rare)[:length]

    found = replayed(body_of(OLDEST[0]) + record(JOB_ROW, pack(row))).jobs

    names = ("keys", "progress", "past", "result")
    values = (Keys("key"), b"7", Past(4, 5, (Run(*run),)), b"8")
    expected = dict(zip(names[: length - 15], values, strict=False))
    assert found == {OLDEST[0]: job(1, content=b"{}", **expected)}


@pytest.mark.parametrize("length", range(7))
def test_terms_read_at_every_length_that_there_is(length: int) -> None:
    backoff = ("list", 1, 2.5, 3, (4, 5), 0.5)
    terms = (1, 2, 3, backoff, -1, -1)[:length]
    row = (*OLDEST[:10], terms)

    found = replayed(body_of(OLDEST[0]) + record(JOB_ROW, pack(row))).jobs

    values = (1, 2, 3, Backoff(*backoff), OWN, OWN)[:length]
    assert found[OLDEST[0]].terms == Terms(*values)  # type: ignore[arg-type]


def test_an_ordinary_row_is_as_short_as_it_was_before_there_were_more_fields() -> None:
    """Byte for byte."""
    held = job(
        1,
        state=State.INPROGRESS,
        terms=Terms(1, 2, 3),
        lease=Lease("token", "me", 9, 8),
    )
    row = msgspec.structs.astuple(held)[:5] + msgspec.structs.astuple(held)[6:11]

    fields = (*row, (1, 2, 3), ("token", "me", 9, 8), None, None, None)

    content = body_of(held.uid, held.content)
    assert added(held) == content + record(JOB_ROW, pack(fields))


def test_a_row_with_one_rare_field_has_all_three() -> None:
    short, long = added(job(1)), added(job(1, progress=b"7"))

    # An array of more than 15 has a head of 3 bytes.
    assert len(long) - len(short) == 2 + 1 + 3 + 1


def test_a_lease_comes_back_with_the_instant_at_which_its_run_began() -> None:
    held = job(1, state=State.INPROGRESS, lease=Lease("token", "me", 9, since=8))

    assert replayed(added(held)).jobs == {held.uid: held}


@pytest.mark.parametrize(
    "row",
    [
        (*OLDEST[:10], (1, 2, 3, None, None, None, True, "new")),
        (*OLDEST[:10], (1, 2, 3, ("constant", 0, 2.0, 9, (), 0.0, "new"))),
        (*OLDEST, *[None] * 8, "new"),
        (*OLDEST, *[None] * 4, ("key", None, "trace", "new")),
        (*OLDEST, *[None] * 6, (0, 0, (), "new")),
        (*OLDEST, *[None] * 6, (0, 0, ((1, 2, 3, "attempts", None, "new"),))),
        (*OLDEST, ("token", "me", 9, 8, "new")),
    ],
)
def test_a_longer_row_is_a_newer_one_and_is_refused(row: tuple[object, ...]) -> None:
    refusal(body_of(OLDEST[0]) + record(JOB_ROW, pack(row)))


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (1, ("q", 1, None)),
        (2, ("q", 1, "why", None)),
        (3, ("q", 1, ("a",), (), None, None, None)),
        (4, SCHEDULE),
        (5, ("name", 1, 2, b"digest", 201, (("Location", "/"),), b"{}")),
    ],
)
def test_a_longer_record_is_refused(kind: int, row: tuple[object, ...]) -> None:
    replayed(record(RECORD, pack((kind, row))))
    refusal(record(RECORD, pack((kind, (*row, "new")))))


@pytest.mark.parametrize("kind", [4, 5, 8, 255])
def test_a_record_of_an_unknown_kind_is_refused(kind: int) -> None:
    assert "newer version" in str(refusal(record(kind, b"")))


@pytest.mark.parametrize("kind", [RECORD, RECORD_TOMBSTONE])
def test_a_row_of_an_unknown_kind_of_record_is_refused(kind: int) -> None:
    row = ("q", 1, None) if kind == RECORD else "q"

    assert "newer version" in str(refusal(record(kind, pack((6, row)))))


def test_padding_is_passed_over() -> None:
    padding = record(PADDING, b"\xff" * 20) + record(PADDING, b"")

    assert replayed(padding + added(job(1)) + padding).jobs == {job(1).uid: job(1)}


@pytest.mark.parametrize(
    "body",
    [
        b"\1",
        b"\1\0\0\0",
        record(JOB_ROW, pack(OLDEST)),
        record(JOB_ROW, b"no msgpack"),
        record(JOB_ROW, pack(OLDEST[:10])),
        record(JOB_ROW, pack((*OLDEST[:4], 9, *OLDEST[5:]))),
        record(JOB_ROW, pack((*OLDEST[:2], "1", *OLDEST[3:]))),
        # Terms that nobody could have agreed to.
        body_of(OLDEST[0]) + record(JOB_ROW, pack((*OLDEST[:10], (0,)))),
        body_of(OLDEST[0]) + record(JOB_ROW, pack((*OLDEST[:10], (1, -1)))),
        body_of(OLDEST[0])
        + record(
            JOB_ROW,
            pack((*OLDEST[:10], (1, None, None, ("list", 0, 2.0, 9, (), 0.0)))),
        ),
        body_of(OLDEST[0])
        + record(
            JOB_ROW,
            pack((*OLDEST[:10], (1, None, None, ("never", 0, 2.0, 9, (), 0.0)))),
        ),
        record(TOMBSTONE, b"\xff\xfe"),
        record(BODY, b"\xff" * 40),
        record(RECORD, pack((1, ("q",)))),
        record(RECORD_TOMBSTONE, pack(("q", 1))),
        record(PADDING, b"12345")[:-1],
    ],
)
def test_what_makes_no_sense_is_refused_with_the_place_of_its_frame(
    body: bytes,
) -> None:
    refusal(body)


@given(st.binary(max_size=200))
def test_no_bytes_are_worse_than_refused(body: bytes) -> None:
    with contextlib.suppress(StoreCorrupt):
        replayed(body)


def test_a_replaced_record_is_the_newer_one() -> None:
    one, two = RemovedQueue("q", 1, 2), RemovedQueue("q", 3, None)
    changes: list[tuple[Record | None, Record | None]] = [(None, one), (one, two)]

    assert list(replayed(encode(changes)).records.values()) == [two]


@pytest.mark.parametrize("uid", ["short", "x" * 37, "\xe9" * 36])
def test_a_uid_of_another_length_is_our_bug_and_not_written(uid: str) -> None:
    with pytest.raises(AssertionError):
        added(job(uid=uid))
