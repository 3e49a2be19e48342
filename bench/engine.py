"""The engine in process: no HTTP, a real file, real syncs."""

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobengine.build import House, open_house
from jobengine.core.access import Caller
from jobengine.core.job import Change, NewJob, State, Terms
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.daemon.clock import SystemClock
from jobengine.store.sealer import RAW, Kdf

PAYLOAD = b'{"pad":"' + b"x" * 190 + b'"}'
NAME = "bench"
# Beside the one under load: one to be listed, and one whose jobs expire.
BIG, DYING = "big", "dying"
CALLER = Caller(NAME)
EVERYONE = frozenset({NAME})
RULES = Rulebook(
    queues={name: QueueRules(name, EVERYONE, EVERYONE) for name in (NAME, BIG, DYING)}
)
DAY_MS = 86_400_000
NEW = NewJob(PAYLOAD, valid_for_ms=DAY_MS, terms=Terms(max_attempts=1))
DONE = Change(state=State.COMPLETE)
BATCH = 1000
NO_KDF = Kdf(RAW)


def open_at(path: Path, *, kdf: Kdf | None = NO_KDF) -> House:
    """A house on a real file; *kdf* None is what the daemon uses."""
    return open_house(
        db_path=path,
        secret=b"the secret of a benchmark",
        rules=RULES,
        clock=SystemClock(),
        on_failure=lambda _error: os._exit(74),
        kdf=kdf,
    )


def payload(size: int) -> bytes:
    """A JSON object of *size* bytes, like no other."""
    return b'{"pad":"%b"}' % os.urandom((size - 10) // 2).hex().encode()


def fill(
    house: House,
    jobs: int,
    priorities: int = 1,
    payload_bytes: int = 200,
    *,
    queue: str = NAME,
    valid_for_ms: int = DAY_MS,
) -> None:
    """Queue *jobs* jobs, many to a commit."""
    from jobengine.core import lifecycle
    from jobengine.store.sealer import new_uid

    made = 0
    while made < jobs:
        with house.store.transaction() as tx:
            for _ in range(min(BATCH, jobs - made)):
                # A payload of its own for each job, as it would come from a socket.
                new = NewJob(
                    payload(payload_bytes),
                    priority=1 + made % priorities,
                    valid_for_ms=valid_for_ms,
                    terms=NEW.terms,
                )
                job = lifecycle.create(
                    new, uid=new_uid(), queue=queue, seq=tx.next_seq(), now=tx.now
                )
                tx.add(job)
                made += 1


def create(house: House) -> None:
    """One durable create."""
    house.engine.enqueue(CALLER, NAME, NEW)


def lifecycle_of(house: House) -> None:
    """One job made, taken and completed: three durable commits."""
    house.engine.enqueue(CALLER, NAME, NEW)
    job = house.engine.claim(CALLER, NAME)[0]
    assert job.lease is not None
    house.engine.update(CALLER, NAME, job.uid, DONE, lease=job.lease.token)


def claims_per_second(house: House, count: int) -> float:
    """Durable claims of one thread; the jobs are dropped afterwards."""
    began = time.perf_counter()
    taken = [house.engine.claim(CALLER, NAME)[0] for _ in range(count)]
    took = time.perf_counter() - began
    with house.store.transaction() as tx:
        tx.drop(*taken)
    return count / took


def trim(house: House, backlog: int) -> None:
    """Drop what is finished and the newest of the rest, so that *backlog* are left."""
    with house.store.transaction() as tx:
        jobs = tx.jobs(NAME)
    queued = [job for job in jobs if job.state is State.QUEUED]
    ended = [job for job in jobs if job.state is not State.QUEUED]
    jobs = ended + queued[backlog:]
    for start in range(0, len(jobs), BATCH):
        with house.store.transaction() as tx:
            tx.drop(*jobs[start : start + BATCH])


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process to one core: threads of one interpreter run one at a time, and
    each change of core costs them their caches."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rate(act: Callable[[House], None], house: House, threads: int, s: float) -> float:
    """Acts per second of *threads* threads."""
    stop = time.perf_counter() + s
    counts = [0] * threads

    def work(number: int) -> None:
        while time.perf_counter() < stop:
            act(house)
            counts[number] += 1

    everyone = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    began = time.perf_counter()
    for thread in everyone:
        thread.start()
    for thread in everyone:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def syncs_per_second(folder: Path, seconds: float, size: int = 400) -> float:
    """Bare appends of *size* bytes, each followed by fdatasync: what the disk gives."""
    path = folder / "bare"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    data, offset, done = os.urandom(size), 0, 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        os.pwrite(fd, data, offset)
        os.fdatasync(fd)
        offset += size
        done += 1
    took = time.perf_counter() - began
    os.close(fd)
    path.unlink()
    return done / took


def sync_us(folder: Path, count: int = 2000, size: int = 300) -> float:
    """What one append of *size* bytes and its fdatasync take, at the median."""
    path = folder / "bare"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    data, took = os.urandom(size), []
    for number in range(count):
        began = time.perf_counter()
        os.pwrite(fd, data, number * size)
        os.fdatasync(fd)
        took.append(time.perf_counter() - began)
    os.close(fd)
    path.unlink()
    return statistics.median(took) * 1e6
