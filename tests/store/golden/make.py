"""Wrote the golden files of format 1, once. They are kept for ever, with their keys.

    python tests/store/golden/make.py

It never overwrites one: a version that cannot open them has lost somebody's jobs. The
content is fixed; salts, keys and nonces were drawn when the files were made.
"""

from pathlib import Path

from msgspec.structs import replace

from jobengine.core.backoff import Backoff
from jobengine.core.job import OWN, Job, Keys, Lease, State, Terms
from jobengine.core.once import Answer
from jobengine.core.past import Past, Run
from jobengine.core.queues import MadeQueue, PausedQueue, RemovedQueue
from jobengine.core.schedules import Schedule
from jobengine.store.journal.frame import Type
from jobengine.store.journal.log import Tail
from jobengine.store.journal.opening import open_database
from jobengine.store.journal.records import encode
from jobengine.store.port import Change
from jobengine.testing import SimDisk

HERE = Path(__file__).parent

# Keys of test files: they guard nothing.
RAW_SECRET = b"base64:Z29sZGVuIGZpbGUsIG5vdCBhIHNlY3JldCwgMzIgYiE="
SECRETS = {
    "format-1.0-argon2id.queuedb": b"golden file, not a secret",
    "format-1.0-raw.queuedb": RAW_SECRET,
}
# Written later, with the rows and fields that came with the native API.
NATIVE = "format-1.0-native.queuedb"

CREATED = 1_800_000_000_000
TERMS = Terms(max_attempts=3, lease_ms=60_000, keep_ms=3_600_000)


def _queued(number: int, content: bytes, **fields: object) -> Job:
    values = {
        "uid": f"00000000-0000-4000-8000-{number:012d}",
        "queue": "mail",
        "seq": number,
        "priority": 50,
        "state": State.QUEUED,
        "content": content,
        "created_at": CREATED + number,
        "updated_at": CREATED + number,
        "run_at": CREATED + number,
        "expires_at": None,
        "attempt": 0,
        "terms": Terms(),
    }
    return Job(**(values | fields))  # type: ignore[arg-type]


NEW = [
    _queued(1, b"{}"),
    _queued(2, b'{"big": 9007199254740993, "text": "\xc3\xa9\xf0\x9f\x90\x9d"}'),
    _queued(
        3, b" [1,\n2 ] ", queue="a.b-c:d@e f", priority=100, expires_at=CREATED * 2
    ),
    _queued(4, b"null", priority=1, terms=TERMS, run_at=253_402_300_799_999),
    _queued(5, b'"in progress"', terms=Terms(max_attempts=1)),
    _queued(6, b"6", terms=TERMS),
    _queued(7, b"7.0"),
    _queued(8, b"true"),
    _queued(9, b'"dropped"'),
    _queued(10, b'"' + b"x" * 5000 + b'"', seq=2**53),
]

# The files were written before leases said since when: their rows end at `until`, and
# the row that holds this one was written at CREATED + 5.
LEASE = Lease(
    "11111111-1111-4111-8111-111111111111", "worker 1", CREATED + 60_000, CREATED + 5
)


def _finished(job: Job, state: State, reason: str | None = None) -> Job:
    return replace(
        job,
        state=state,
        attempt=2,
        updated_at=CREATED + 500,
        finished_at=CREATED + 500,
        keep_until=CREATED + 3_600_500,
        reason=reason,
    )


# What became of some of them, by their place above, in later frames.
LATER: dict[int, Job | None] = {
    4: replace(NEW[4], state=State.INPROGRESS, attempt=1, lease=LEASE),
    5: _finished(NEW[5], State.FAILED, "lease_lost"),
    6: _finished(NEW[6], State.COMPLETE),
    7: _finished(replace(NEW[7], content=b'{"changed":true}'), State.CANCELLED),
    8: None,
}

RECORDS = [
    RemovedQueue("gone", CREATED + 1, CREATED + 86_400_001),
    RemovedQueue("gone for good", CREATED + 2, None),
]
RETURNED = RemovedQueue("returned", CREATED + 3, None)

# The jobs that whoever opens a golden file must find.
JOBS = [
    found for at, job in enumerate(NEW) if (found := LATER.get(at, job)) is not None
]

RUNS = (Run(1, CREATED + 5, CREATED + 9, "attempts", "told \N{HONEYBEE}"),)
NATIVE_JOBS = [
    _queued(1, b"{}", keys=Keys("key", "print", "00-trace-span-01")),
    _queued(2, b"[]", progress=b"7", past=Past(1, 2, RUNS)),
    _finished(_queued(3, b"3"), State.COMPLETE),
    replace(_finished(_queued(4, b"4"), State.COMPLETE), result=b' {"done": 1.50}'),
    _queued(
        5,
        b"5",
        terms=Terms(
            None, 1, 2, Backoff("list", 1, 2.5, 3, (4, 5), 0.5), OWN, 6, durable=True
        ),
    ),
]
NATIVE_RECORDS = [
    PausedQueue("mail", CREATED, "because \N{HONEYBEE}"),
    MadeQueue("made", CREATED, ("a",), ("b", "c"), "salt", b"digest"),
    Schedule(
        *("mail", "nightly", CREATED, CREATED + 9, CREATED + 8, "0 3 * * *"),
        *("Europe/Berlin", b" [1] ", 7, TERMS, 5000, "print", 60_000, "once"),
        *(CREATED - 1, NEW[0].uid, 12, 3, False),
    ),
    Schedule(
        *("mail", "paused", CREATED, None, None, "@daily", "UTC", b"{}"),
        terms=Terms(durable=False),
        paused=True,
    ),
    Answer(
        *("a" * 32, CREATED, CREATED + 86_400_000, b"digest", 201),
        (("Location", "/api/v2/queues/mail/jobs/1"), ("ETag", '"x"')),
        b'{"uid": "1"}',
    ),
]
NATIVE_GONE = [
    Answer("b" * 32, CREATED, CREATED + 1, b"", 200, (), b""),
    Schedule("mail", "gone", CREATED, 1, 1, "@daily", "UTC", b"{}"),
]


def main() -> None:
    _make_native(HERE / NATIVE)
    for name, secret in SECRETS.items():
        path = HERE / name
        if path.exists():
            print(f"{path} is there, and stays as it is")
            continue
        disk = SimDisk()
        tail = open_database(disk, secret).tail
        _commit(tail, [(None, job) for job in NEW])
        _commit(tail, [(None, record) for record in (*RECORDS, RETURNED)])
        # Not a clean stop: the rows are rewritten as a snapshot.
        tail.file.close()
        tail = open_database(disk, secret).tail
        _commit(tail, [(NEW[at], job) for at, job in LATER.items()])
        _stop(tail)
        tail = open_database(disk, secret).tail
        _commit(tail, [(RETURNED, None)])
        _stop(tail)
        path.write_bytes(disk.names["db"].data)
        print(f"wrote {path}")


def _make_native(path: Path) -> None:
    if path.exists():
        print(f"{path} is there, and stays as it is")
        return
    disk = SimDisk()
    tail = open_database(disk, RAW_SECRET).tail
    _commit(tail, [(None, job) for job in NATIVE_JOBS[:3]])
    _commit(tail, [(None, record) for record in (*NATIVE_RECORDS[:3], *NATIVE_GONE)])
    tail.file.close()
    # Half of it from the snapshot, half from frames.
    tail = open_database(disk, RAW_SECRET).tail
    _commit(tail, [(None, job) for job in NATIVE_JOBS[3:]])
    _commit(tail, [(None, record) for record in NATIVE_RECORDS[3:]])
    _commit(tail, [(record, None) for record in NATIVE_GONE])
    _stop(tail)
    path.write_bytes(disk.names["db"].data)
    print(f"wrote {path}")


def _commit(tail: Tail, changes: list[Change]) -> None:
    tail.append(Type.TXN, encode(changes))
    tail.sync()


def _stop(tail: Tail) -> None:
    tail.append(Type.CLOSE)
    tail.sync()
    tail.mark()
    tail.sync()
    tail.file.close()


if __name__ == "__main__":
    main()
