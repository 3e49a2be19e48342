"""A full disk: new work is refused, and every job that was accepted gets to its end."""

import errno
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from drafts import job, opened
from msgspec.structs import replace

from jobengine.admin import REASON_CHARS_MAX
from jobengine.build import House
from jobengine.core.access import Caller
from jobengine.core.backoff import AT_ONCE, DELAY_MS_MAX, DELAYS_MAX, Backoff
from jobengine.core.job import (
    ATTEMPTS_MAX,
    KEY_CHARS_MAX,
    PROGRESS_BYTES_MAX,
    TRACE_CHARS_MAX,
    Change,
    Job,
    Keys,
    Lease,
    NewJob,
    Renewal,
    State,
    Terms,
    rare_bytes,
)
from jobengine.core.once import ANSWER_BYTES_MAX, REMEMBERED_MS, Answer, Once
from jobengine.core.past import ERROR_CHARS_MAX, RUNS_KEPT, Past, Run
from jobengine.core.queues import (
    MadeQueue,
    PausedQueue,
    QueueRules,
    RemovedQueue,
    Rulebook,
)
from jobengine.core.schedules import CONTENT_BYTES_MAX, JITTER_MS_MAX, Schedule
from jobengine.engine import Said
from jobengine.errors import (
    JobNotFound,
    StoreFailed,
    StoreFull,
    TransactionTooLarge,
)
from jobengine.store.journal import disk as disk_module
from jobengine.store.journal import log, room
from jobengine.store.journal.disk import OsDisk, OsFile
from jobengine.store.journal.frame import FRAME_OVERHEAD
from jobengine.store.journal.log import Log
from jobengine.store.journal.records import encode
from jobengine.store.journal.room import (
    AHEAD,
    LAST_BYTES,
    MIB,
    NEW_WORK_MIN,
    RESERVE_MIN,
    RETRY_S,
    TOMBSTONE_BYTES,
    UNLIMITED,
    Room,
    owed_bytes,
)
from jobengine.store.port import (
    ROW_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
    Record,
    record_bytes,
)
from jobengine.store.rows import FEW_ROWS, Rows
from jobengine.store.transaction import ROW_GROWTH
from jobengine.testing import SimClock, SimDisk, sim_house

LIMIT_S = 10  # for what must come; a test that passes never waits so long
SHORT, LONG = ("mail", "w"), ("q" * 255, "w" * 255)
RULES = Rulebook(
    {name: QueueRules(name, frozenset({"w"}), frozenset({"w"})) for name in ("q1",)}
)
ME = Caller("w")


# --- The reserve by itself --------------------------------------------------------


class Plot:
    """A room on a disk that is as large as the test says."""

    def __init__(self, size: int = 1 << 40) -> None:
        self.size: int | None = size  # None: it cannot reserve
        self.owed = 0
        self.asked: list[int] = []
        self.clock = SimClock()
        self.disk = SimDisk()
        self.disk.reserve = self._reserve
        self.file = self.disk.create_temporary()
        self.room = Room(
            self.file, owed=lambda: self.owed, monotonic=self.clock.monotonic
        )

    def _reserve(self, end: int) -> bool | None:
        self.asked.append(end)
        return None if self.size is None else end <= self.size


def test_a_disk_with_room_is_asked_seldom() -> None:
    plot = Plot()

    for end in range(0, 100 * MIB, 10_000):
        plot.room.look(end)

    assert len(plot.asked) <= 2 * 100 * MIB // AHEAD[0] + 1
    assert str(plot.room) == "ok"
    assert not plot.room.wanting


def test_on_a_disk_with_room_the_largest_transaction_always_finds_it() -> None:
    plot = Plot()

    for end in range(0, 100 * MIB, 100_000):
        for_creates, for_changes = plot.room.look(end)
        assert for_creates >= TRANSACTION_BYTES_MAX
        assert for_changes >= for_creates + RESERVE_MIN


def test_what_others_do_with_the_disk_takes_nothing_from_the_reserve() -> None:
    plot = Plot()
    _, for_changes = plot.room.look(0)

    plot.size = 0

    assert plot.room.look(0)[1] == for_changes


def test_a_nearly_full_disk_is_used_to_its_end() -> None:
    plot = Plot(20 * MIB)
    end = 0

    while plot.room.look(end)[0] >= 1024:
        end += 1024

    # A step of the last MiB was not there; the rest is the reserve.
    rest = RESERVE_MIN + LAST_BYTES + NEW_WORK_MIN
    assert rest <= 20 * MIB - (end - 1024) < rest + AHEAD[-1]
    assert str(plot.room) == "full"
    assert plot.room.wanting


def test_when_creates_are_refused_the_reserve_is_for_all_else() -> None:
    plot = Plot(RESERVE_MIN + LAST_BYTES)
    assert plot.room.look(0) == (0, RESERVE_MIN)

    assert plot.room.look(RESERVE_MIN - 10) == (0, 10)
    assert plot.room.look(RESERVE_MIN)[1] == 0
    assert plot.room.look(RESERVE_MIN + 1)[1] < 0


def test_many_jobs_need_more_than_the_least_reserve() -> None:
    plot = Plot(RESERVE_MIN + LAST_BYTES + 8 * MIB)

    assert plot.room.look(0)[0] == 8 * MIB

    plot.owed = RESERVE_MIN + MIB

    assert plot.room.look(0)[0] == 6 * MIB


def test_a_disk_that_refused_is_asked_again_after_a_second() -> None:
    plot = Plot(0)
    plot.room.look(0)
    asked = len(plot.asked)

    for _ in range(100):
        plot.room.look(0)
    plot.clock.advance(ms=int(RETRY_S * 1000) - 1)
    plot.room.look(0)
    assert len(plot.asked) == asked

    plot.clock.advance(ms=1)
    plot.size = 1 << 30
    assert plot.room.look(0)[0] > 0
    assert (plot.room.full, plot.room.wanting) == (False, False)


def test_one_that_gave_less_than_it_was_asked_for_is_asked_again() -> None:
    plot = Plot(RESERVE_MIN + LAST_BYTES + 8 * MIB)
    assert plot.room.look(0)[0] == 8 * MIB
    assert (plot.room.full, plot.room.wanting) == (False, True)

    # No step gains anything: what there is stays.
    assert plot.room.look(1)[0] == 8 * MIB - 1

    plot.size = 1 << 30
    plot.clock.advance(seconds=1)
    assert plot.room.look(2)[0] == AHEAD[0]
    assert not plot.room.wanting


def test_a_file_system_that_cannot_reserve_is_not_asked_again() -> None:
    plot = Plot()
    plot.size = None

    assert plot.room.look(0) == (UNLIMITED, UNLIMITED)
    assert plot.room.look(1 << 40) == (UNLIMITED, UNLIMITED)
    plot.room.move(plot.file)
    assert plot.room.look(0) == (UNLIMITED, UNLIMITED)
    assert len(plot.asked) == 1
    assert str(plot.room) == "not reserved on this file system"
    assert plot.room.fits(plot.file, 1 << 40)


def test_the_reserve_moves_with_the_file() -> None:
    plot = Plot()
    plot.room.look(100 * MIB)

    plot.room.move(plot.file)
    plot.asked.clear()

    assert plot.room.look(10 * MIB)[0] == AHEAD[0]
    assert plot.asked == [10 * MIB + RESERVE_MIN + LAST_BYTES + AHEAD[0]]


def test_another_file_fits_when_it_has_room_for_what_is_owed() -> None:
    plot = Plot(10 * MIB)

    assert plot.room.fits(plot.file, 8 * MIB)
    plot.owed = MIB
    assert not plot.room.fits(plot.file, 8 * MIB)


# --- What the reserve must hold ---------------------------------------------------


AT = 253_402_300_799_999
NUMBER = (1 << 63) - 1
# The largest terms whose fields are not counted apart, and those that are.
AGREED = Terms(ATTEMPTS_MAX, AT, AT, None, ATTEMPTS_MAX, AT)
DELAYS = (DELAY_MS_MAX,) * DELAYS_MAX
WITH_DELAYS = Backoff("list", DELAY_MS_MAX, 99.5, DELAY_MS_MAX, DELAYS, 0.3)
RUN = Run(NUMBER, AT, AT, "unprocessable")
TOLD = replace(RUN, error="\N{HONEYBEE}" * ERROR_CHARS_MAX)

LIVES: dict[str, dict[str, object]] = {
    "small": {"terms": Terms(), "seq": 1},
    "plain": {"terms": replace(AGREED, poison_after=None, dead_keep_ms=None)},
    "agreed": {"terms": AGREED},
    "keys": {"keys": Keys("k", "\N{HONEYBEE}" * KEY_CHARS_MAX)},
    "trace": {"keys": Keys(None, None, "x" * TRACE_CHARS_MAX)},
    "result": {"result": b"x" * PROGRESS_BYTES_MAX},
    "progress": {"progress": b"x" * PROGRESS_BYTES_MAX},
    "past": {"past": Past(ATTEMPTS_MAX, ATTEMPTS_MAX, (RUN,) * (RUNS_KEPT - 1))},
    "everything": {
        "terms": replace(AGREED, backoff=WITH_DELAYS),
        "keys": Keys(
            "\N{HONEYBEE}" * KEY_CHARS_MAX,
            "x" * KEY_CHARS_MAX,
            "\N{HONEYBEE}" * TRACE_CHARS_MAX,
        ),
        "progress": b"x" * PROGRESS_BYTES_MAX,
        "past": Past(ATTEMPTS_MAX, ATTEMPTS_MAX, (TOLD,) * RUNS_KEPT),
    },
}


def life(
    names: tuple[str, str], fields: dict[str, object], error: str | None
) -> list[tuple[Job, Job | None]]:
    """A claim, what it comes to, and the end, with numbers as large as they can be."""
    large = {"queue": names[0], "seq": NUMBER, "expires_at": AT, "terms": AGREED}
    instants = dict.fromkeys(("created_at", "updated_at", "run_at"), AT)
    queued = job(1, **(large | instants | fields))
    taken = replace(
        queued,
        state=State.INPROGRESS,
        attempt=NUMBER,
        lease=Lease("t" * 36, names[1], AT, AT),
    )
    past = taken.past or Past()
    runs = (*past.runs, replace(RUN, error=error))[-RUNS_KEPT:]
    ended = replace(
        taken,
        state=State.FAILED,
        lease=None,
        finished_at=AT,
        keep_until=AT,
        reason="unprocessable",
        past=Past(ATTEMPTS_MAX, ATTEMPTS_MAX, runs),
    )
    return [(queued, taken), (taken, ended), (ended, None)]


@pytest.mark.parametrize("names", [SHORT, LONG], ids=("short", "long"))
@pytest.mark.parametrize("kind", LIVES)
@pytest.mark.parametrize("told", [False, True])
def test_what_a_job_owes_pays_for_all_its_rows_in_frames_of_their_own(
    names: tuple[str, str], kind: str, told: bool
) -> None:
    rows = Rows()
    changes = life(names, LIVES[kind], None)
    if told:
        # As long an error as a full disk still takes.
        changes = life(names, LIVES[kind], "x" * most_of_an_error(changes))
    rows.replace_job(None, changes[0][0], now=0)

    while changes:
        owed = owed_bytes(
            jobs=rows.jobs, unfinished=rows.unfinished, row_bytes=rows.row_bytes
        )
        frames = [FRAME_OVERHEAD + len(encode([change])) for change in changes]
        assert sum(frames) <= owed
        old, new = changes.pop(0)
        rows.replace_job(old, new, now=0)

    assert (rows.jobs, rows.unfinished, rows.row_bytes) == (0, 0, 0)


def most_of_an_error(changes: list[tuple[Job, Job | None]]) -> int:
    taken, ended = changes[1]
    assert ended is not None
    grown = rare_bytes(ended) - rare_bytes(taken)
    return min(max(ROW_GROWTH - grown, 0), ERROR_CHARS_MAX)


@pytest.mark.parametrize("kind", LIVES)
def test_a_row_takes_no_more_than_a_transaction_counts_for_it(kind: str) -> None:
    for old, new in life(LONG, LIVES[kind], None):
        size = FRAME_OVERHEAD + len(encode([(old, new)]))
        # Of a job that has gone only a tombstone is written.
        assert size <= ROW_BYTES_MAX + (0 if new is None else rare_bytes(new))


def test_few_rows_fit_one_block_whatever_they_are() -> None:
    rows = [new for _, new in life(LONG, LIVES["everything"], TOLD.error) if new]

    most = max(ROW_BYTES_MAX + rare_bytes(row) + 2 * ROW_GROWTH for row in rows)

    assert FEW_ROWS * most < TRANSACTION_BYTES_MAX


# The largest of each kind, and a name of an answer as requests have it.
NAME_OF_ALL = "n" * 255
CONFIGURED: dict[str, Record] = {
    "removed": RemovedQueue(NAME_OF_ALL, AT, AT),
    "paused": PausedQueue(NAME_OF_ALL, AT, "\N{HONEYBEE}" * REASON_CHARS_MAX, AT),
    "made": MadeQueue(
        *(NAME_OF_ALL, AT, (NAME_OF_ALL,) * 1000, (NAME_OF_ALL,) * 1000),
        *("s" * 36, bytes(32), AT),
    ),
    "schedule": Schedule(
        *(NAME_OF_ALL, NAME_OF_ALL, AT, AT, AT, "*" * 1000, "z" * 255),
        *(bytes(CONTENT_BYTES_MAX), 100, replace(AGREED, backoff=WITH_DELAYS), AT),
        *("\N{HONEYBEE}" * KEY_CHARS_MAX, JITTER_MS_MAX, "skip", AT, "u" * 36),
        *(NUMBER, NUMBER, True),
    ),
    "answer": Answer(
        *("0" * 64, AT, AT, bytes(32), 201),
        (("Location", "/" * 2000), ("Link", "x" * 300), ("ETag", "e" * 20)),
        bytes(ANSWER_BYTES_MAX),
    ),
}


@pytest.mark.parametrize("kind", CONFIGURED)
def test_a_record_takes_no_more_than_a_transaction_counts_for_it(kind: str) -> None:
    record = CONFIGURED[kind]

    made = FRAME_OVERHEAD + len(encode([(None, record)]))  # type: ignore[list-item]
    gone = FRAME_OVERHEAD + len(encode([(record, None)]))  # type: ignore[list-item]

    assert made <= ROW_BYTES_MAX + record_bytes(record)
    assert gone <= ROW_BYTES_MAX


def test_an_answer_is_forgotten_at_the_cost_of_a_job() -> None:
    answer = replace(CONFIGURED["answer"], name="0" * 32)

    gone = FRAME_OVERHEAD + len(encode([(answer, None)]))  # type: ignore[list-item]

    assert gone <= TOMBSTONE_BYTES


def test_few_schedules_fit_one_block_with_the_jobs_that_they_make() -> None:
    schedule = CONFIGURED["schedule"]
    assert isinstance(schedule, Schedule)
    made = job(
        content=schedule.content,
        keys=Keys("k" * KEY_CHARS_MAX, schedule.fingerprint),
        terms=schedule.terms,
    )

    for_both = 2 * ROW_BYTES_MAX + record_bytes(schedule) + len(made.content)

    most = for_both + 3 * rare_bytes(made)
    assert FEW_ROWS * most < TRANSACTION_BYTES_MAX


def bounded(size: int, clock: SimClock) -> tuple[House, SimDisk]:
    disk = SimDisk()
    disk.reserve = lambda end: end <= size
    return sim_house(rules_for(LONG), clock, disk), disk


def rules_for(names: tuple[str, str]) -> Rulebook:
    only = frozenset({names[1]})
    return Rulebook({names[0]: QueueRules(names[0], only, only, keep_ms=1000)})


def fill(house: House, names: tuple[str, str]) -> list[Job]:
    """As many jobs as the disk has room for."""
    made: list[Job] = []
    with suppress(StoreFull):
        while True:
            made.append(house.engine.enqueue(Caller(names[1]), names[0], NewJob(b"{}")))
    return made


def test_on_a_full_disk_every_job_is_claimed_completed_and_swept(
    clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that it is what the jobs owe that decides, and not the least reserve.
    monkeypatch.setattr(room, "RESERVE_MIN", 0)
    house, disk = bounded(4 * MIB, clock)
    queue, me = LONG[0], Caller(LONG[1])
    made = fill(house, LONG)
    assert house.room == "full"

    for each in made[::10]:
        house.engine.delete(me, queue, each.uid)
    drained = 0
    while taken := house.engine.claim(me, queue):
        house.engine.update(me, queue, taken[0].uid, Change(state=State.COMPLETE))
        drained += 1
    clock.advance(seconds=2)
    swept = 0
    while found := house.upkeep.sweep():
        swept += found.total()

    assert len(made) > 500
    assert drained == swept == len(made) - len(made[::10])
    assert len(disk.names["db"].data) <= 4 * MIB
    house.close()
    assert opened(disk).why == "clean"


def test_on_a_full_disk_every_job_ends_however_much_is_in_its_row(
    clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "RESERVE_MIN", 0)
    house, disk = bounded(16 * MIB, clock)
    queue, me = LONG[0], Caller(LONG[1])
    terms = Terms(max_attempts=1, lease_ms=1000, backoff=WITH_DELAYS)
    made: list[str] = []
    with suppress(StoreFull):
        # In batches, so that one commit takes much of what is left.
        while True:
            news = [
                NewJob(
                    b"{}",
                    terms=terms,
                    unique_key=f"{len(made) + n}",
                    fingerprint="\N{HONEYBEE}" * 100,
                    progress=b"x" * 10_000,
                )
                for n in range(90)
            ]
            jobs = house.engine.enqueue_batch(me, [(queue, new) for new in news])
            made += [each.uid for each in jobs if each is not None]

    ends = [
        lambda uid: house.engine.complete(me, queue, uid),
        lambda uid: house.engine.fail(me, queue, uid),
        lambda uid: house.engine.cancel(me, queue, uid),
        lambda uid: None,  # its lease runs out
    ]
    for number in range(len(made)):
        (taken,) = house.engine.claim(me, queue)
        ends[number % len(ends)](taken.uid)
    swept = 0
    for _ in range(2):
        clock.advance(seconds=2)
        while found := house.upkeep.sweep():
            swept += found.total()

    assert len(made) > 200
    # Each is forgotten once, and those whose lease ran out were lost before.
    assert swept == len(made) + len(made) // len(ends)
    assert len(disk.names["db"].data) <= 16 * MIB
    house.close()
    assert opened(disk).rows.jobs == {}


def test_on_a_full_disk_every_answer_is_forgotten_in_its_time(
    clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "RESERVE_MIN", 0)
    house, disk = bounded(4 * MIB, clock)
    queue, me = LONG[0], Caller(LONG[1])
    count = 0
    with suppress(StoreFull):
        while True:
            once = Once(f"{count:032x}", bytes(16), lambda _: (201, (), bytes(400)))
            house.engine.enqueue_batch(me, [(queue, NewJob(b"{}"))], once=once)
            count += 1
    assert house.room == "full"

    while taken := house.engine.claim(me, queue):
        house.engine.complete(me, queue, taken[0].uid)
    clock.advance(ms=REMEMBERED_MS)
    while house.upkeep.sweep():
        pass

    assert count > 300
    with house.store.transaction() as tx:
        assert (tx.records(Answer), tx.jobs(queue)) == ([], [])
    assert len(disk.names["db"].data) <= 4 * MIB
    house.close()
    assert opened(disk).rows.records == {}


# --- A house on a full disk -------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The committer looks for room again at once, not after a second."""
    monkeypatch.setattr(log, "RETRY_S", 0.002)


class Site:
    """A house whose disk the test fills and clears."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.disk = SimDisk()
        self.told: list[BaseException] = []
        self.house = sim_house(
            RULES, self.clock, self.disk, on_failure=self.told.append
        )

    @property
    def journal(self) -> Log:
        assert isinstance(self.house.store.journal, Log)
        return self.house.store.journal

    def fill(self, *, left: int = 0) -> None:
        """Nothing more is to be had, and little is left of what was reserved."""
        self.disk.reserve = lambda _end: False
        with self.house.store.lock:
            reserved = self.journal.end + RESERVE_MIN + LAST_BYTES + left
            self.journal.room._reserved = reserved
        # The committer looks after each commit.
        self.house.engine.delete(ME, "q1", self.create())

    def use_up(self) -> None:
        """Next to nothing is left of the reserve."""
        # The committer, which looks again and again here, must not find that there is.
        self.journal._look_for_room = lambda **_how: None  # type: ignore[method-assign]
        with self.house.store.lock:
            self.journal.create_room = self.journal._change_room = 100

    def clear(self) -> None:
        """There is room again, once the committer has nothing to do but to look."""
        eventually(lambda: self.journal._tail.marked and self.journal._asleep)
        self.disk.reserve = lambda _end: True
        self.clock.advance(seconds=2)

    def create(self, content: bytes = b"{}") -> str:
        return self.house.engine.enqueue(ME, "q1", NewJob(content)).uid

    def set_state(self, uid: str, state: State) -> None:
        self.house.engine.update(ME, "q1", uid, Change(state=state))


@pytest.fixture
def site(quick: None) -> Iterator[Site]:
    made = Site()
    yield made
    made.disk.fail = lambda _call: None
    made.house.close()


def test_full_means_no_new_work_and_all_else_goes_on(site: Site) -> None:
    one, two, three = site.create(), site.create(), site.create()
    site.set_state(two, State.COMPLETE)
    site.fill()

    assert site.house.room == "full"
    for work in (
        lambda: site.create(),
        # More bytes for a job there is, or another life for one that has ended.
        lambda: site.house.engine.update(ME, "q1", one, Change(content=b"more")),
        lambda: site.set_state(two, State.QUEUED),
    ):
        with pytest.raises(StoreFull, match="those accepted go on"):
            work()

    (taken,) = site.house.engine.claim(ME, "q1")
    assert taken.uid == one
    site.set_state(one, State.QUEUED)
    site.set_state(one, State.INPROGRESS)
    site.set_state(one, State.COMPLETE)
    site.house.engine.update(ME, "q1", three, Change(priority=1))
    site.house.engine.delete(ME, "q1", three)
    site.clock.advance(minutes=61)
    assert site.house.upkeep.sweep().total() == 2
    with pytest.raises(JobNotFound):
        site.house.engine.delete(ME, "q1", one)


def test_a_full_disk_takes_no_more_of_a_job_than_its_row_needs(site: Site) -> None:
    engine = site.house.engine
    new = NewJob(b"{}", progress=b"x" * 5000, terms=Terms(2, backoff=AT_ONCE))
    for _ in range(4):
        engine.enqueue(ME, "q1", new)
    one, two, three, four = (job.uid for job in engine.claim(ME, "q1", 4))
    site.fill()

    for more in (
        lambda: engine.beat(ME, "q1", one, progress=b"y" * 6000),
        lambda: engine.fail(ME, "q1", one, error="x" * 1000),
        lambda: engine.reschedule(ME, "q1", one, Renewal(content=b"more")),
        lambda: engine.reschedule(ME, "q1", one, Renewal(progress=b"x" * 6000)),
        lambda: engine.enqueue(ME, "q1", new),
    ):
        before = engine.get(ME, "q1", one)
        with pytest.raises(StoreFull, match="those accepted go on"):
            more()
        assert engine.get(ME, "q1", one) is before

    assert engine.beat(ME, "q1", one, progress=b"y" * 5000).progress == b"y" * 5000
    assert engine.complete(ME, "q1", one).state is State.COMPLETE
    assert engine.fail(ME, "q1", two).state is State.QUEUED
    assert engine.fail(ME, "q1", three, error="in a word").error == "in a word"
    site.clock.advance(minutes=11)
    assert site.house.upkeep.sweep().total() == 1
    assert engine.get(ME, "q1", four).state is State.QUEUED
    found = opened(site.disk.clone()).rows.jobs
    assert {uid: found[uid].state for uid in (one, two, three, four)} == {
        one: State.COMPLETE,
        two: State.QUEUED,
        three: State.QUEUED,
        four: State.QUEUED,
    }


def test_on_a_full_disk_results_are_refused_and_all_else_of_a_request_is_done(
    site: Site,
) -> None:
    engine = site.house.engine
    for _ in range(60):
        site.create()
    uids = [job.uid for job in engine.claim(ME, "q1", 60)]
    site.fill()
    large = bytes(PROGRESS_BYTES_MAX)
    said = [Said(uid, told=large) for uid in uids[:-1]]

    # More of them than a transaction could hold, and each refused by itself.
    told = engine.complete_each(ME, "q1", [*said, *said, Said(uids[-1])])

    assert {type(each) for each in told[:-1]} == {StoreFull}
    assert isinstance(told[-1], Job)
    assert engine.get(ME, "q1", uids[-1]).state is State.COMPLETE
    assert engine.get(ME, "q1", uids[0]).state is State.INPROGRESS
    assert all(
        isinstance(each, Job)
        for each in engine.complete_each(ME, "q1", [Said(uid) for uid in uids[:-1]])
    )


def test_a_full_disk_takes_no_records_but_those_that_help(site: Site) -> None:
    schedule = Schedule("q1", "s", 1, None, None, "@daily", "UTC", b"{}")
    with site.house.store.transaction() as tx:
        tx.put_record(schedule)
    site.fill()

    for more in (
        replace(schedule, made=1),
        Answer("a", 1, None, b"", 201, (), b""),
        MadeQueue("made", 1),
    ):
        with pytest.raises(StoreFull), site.house.store.transaction() as tx:
            tx.put_record(more)
    for helps in (PausedQueue("q1", 1, "full"), RemovedQueue("q2", 1, None)):
        with site.house.store.transaction() as tx:
            tx.put_record(helps)
    with site.house.store.transaction() as tx:
        tx.drop_record(schedule)
        assert tx.records(Schedule) == tx.records(Answer) == tx.records(MadeQueue) == []


def test_what_has_no_room_takes_none_from_the_rest_of_a_request(site: Site) -> None:
    site.fill(left=NEW_WORK_MIN + 20_000)
    news = [NewJob(bytes(size)) for size in (10, 17 << 20, 1 << 20, 10, 200_000, 10)]

    told = site.house.engine.enqueue_each(ME, [("q1", new) for new in news])

    assert [type(each) for each in told] == [
        *(Job, TransactionTooLarge, StoreFull),
        *(Job, StoreFull, Job),
    ]


def test_with_the_reserve_used_up_nothing_is_buried_either(site: Site) -> None:
    terms = Terms(max_attempts=1, keep_ms=0)
    uid = site.house.engine.enqueue(ME, "q1", NewJob(b"{}", terms=terms)).uid
    site.house.engine.claim(ME, "q1")
    site.fill()

    site.use_up()

    with pytest.raises(StoreFull, match="nothing can be changed"):
        site.house.engine.complete(ME, "q1", uid)
    assert site.house.engine.get(ME, "q1", uid).state is State.INPROGRESS


def test_a_refused_create_leaves_nothing_behind(site: Site) -> None:
    site.fill()

    with pytest.raises(StoreFull):
        site.create()

    assert site.house.engine.claim(ME, "q1") == []
    assert opened(site.disk.clone()).rows.jobs == {}


def test_with_the_reserve_used_up_nothing_can_be_changed_and_reads_go_on(
    site: Site,
) -> None:
    one = site.create()
    site.fill()

    site.use_up()

    with pytest.raises(StoreFull, match="nothing can be changed"):
        site.create()
    with pytest.raises(StoreFull, match="nothing can be changed"):
        site.house.engine.delete(ME, "q1", one)
    listed = [
        seen.uid for part in site.house.engine.listing(ME, "q1") for _, seen in part
    ]
    assert listed == [one]


def test_what_is_staged_has_its_room_already(site: Site) -> None:
    site.fill(left=200_000)
    site.disk.syncs.hold()
    seen: list[int] = []

    def fail(call: str) -> None:
        if call == "sync":
            seen.append(site.journal.create_room)

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(site.create, b"x" * 10_000)]
        site.disk.syncs.wait_until_held()
        waiting += [pool.submit(site.create, b"x" * 10_000) for _ in range(3)]
        eventually(lambda: sum(g.size for g in site.journal._groups) > 30_000)
        site.disk.fail = fail
        site.disk.syncs.release()
        for each in waiting:
            each.result(LIMIT_S)

    # While the second frame is written, the three jobs in it count.
    assert seen[1] < 200_000 - 30_000


def eventually(look: Callable[[], bool]) -> None:
    wait = threading.Event()
    for _ in range(int(LIMIT_S / 0.002)):
        if look():
            return
        wait.wait(0.002)
    raise AssertionError("not in time")


def test_it_finds_by_itself_that_there_is_room_again(site: Site) -> None:
    site.fill()

    # Nobody commits anything, so nobody else would look.
    site.clear()
    eventually(lambda: site.house.room == "ok")

    site.create()


def test_it_looks_again_while_small_jobs_still_fit_and_large_ones_do_not(
    site: Site,
) -> None:
    site.fill(left=100_000)
    site.create()
    with pytest.raises(StoreFull):
        site.create(b"x" * 100_000)
    assert site.house.room == "ok"

    site.clear()
    eventually(lambda: not site.journal.room.wanting)

    site.create(b"x" * 100_000)


def test_a_start_on_a_full_disk_says_so_and_serves(quick: None) -> None:
    disk, clock = SimDisk(), SimClock()
    house = sim_house(RULES, clock, disk)
    house.engine.enqueue(ME, "q1", NewJob(b"{}"))
    house.close()
    size = len(disk.names["db"].data) + 2 * MIB
    disk.reserve = lambda end: end <= size

    again = sim_house(RULES, clock, disk)

    assert again.room == "full"
    with pytest.raises(StoreFull, match="nothing can be changed"):
        again.engine.claim(ME, "q1")
    disk.reserve = lambda _end: True
    clock.advance(seconds=2)
    eventually(lambda: again.room == "ok")
    assert len(again.engine.claim(ME, "q1")) == 1
    again.close()


# --- Where room cannot be reserved ------------------------------------------------


@pytest.fixture
def unsure(quick: None) -> Iterator[Site]:
    """A house on a file system that promises nothing."""
    made = Site.__new__(Site)
    made.clock, made.disk, made.told = SimClock(), SimDisk(), []
    made.disk.reserve = lambda _end: None
    made.house = sim_house(RULES, made.clock, made.disk, on_failure=made.told.append)
    yield made
    made.disk.fail = lambda _call: None
    made.house.close()


def no_room(refused: threading.Event) -> Callable[[str], int | None]:
    def fail(call: str) -> int | None:
        if call != "write":
            return None
        refused.set()
        return errno.ENOSPC

    return fail


def test_a_commit_that_finds_no_room_waits_for_it_and_is_not_lost(
    unsure: Site,
) -> None:
    assert unsure.house.room == "not reserved on this file system"
    kept = unsure.create()
    refused = threading.Event()
    unsure.disk.fail = no_room(refused)

    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(unsure.create)
        assert refused.wait(LIMIT_S)
        eventually(lambda: unsure.journal._change_room == 0)
        # Who comes later is refused. It still waits with its answer: it has seen what
        # is not durable yet.
        later = pool.submit(unsure.create)
        eventually(later.running)
        assert not later.done()
        unsure.disk.fail = lambda _call: None
        made = waits.result(LIMIT_S)
        with pytest.raises(StoreFull):
            later.result(LIMIT_S)

    assert set(opened(unsure.disk.clone()).rows.jobs) == {kept, made}
    unsure.create()
    assert unsure.told == []


def test_a_stop_while_a_commit_waits_for_room_tells_who_waits(unsure: Site) -> None:
    kept = unsure.create()
    refused = threading.Event()
    unsure.disk.fail = no_room(refused)

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(unsure.create)
        assert refused.wait(LIMIT_S)
        unsure.house.close()
        with pytest.raises(StoreFailed):
            waits.result(LIMIT_S)

    assert len(unsure.told) == 1
    assert set(opened(unsure.disk.clone()).rows.jobs) == {kept}


def test_a_mark_that_finds_no_room_is_left_out(unsure: Site) -> None:
    unsure.create()
    calls: queue.SimpleQueue[str] = queue.SimpleQueue()

    def fail(call: str) -> int | None:
        # The frame is written; the mark that would follow it is not.
        calls.put(call)
        return errno.ENOSPC if call == "write" and calls.qsize() > 2 else None

    unsure.disk.fail = fail
    made = unsure.create()
    eventually(lambda: calls.qsize() > 4)
    unsure.disk.fail = lambda _call: None

    assert unsure.told == []
    assert made in opened(unsure.disk.clone()).rows.jobs


# --- The system's own word --------------------------------------------------------


@pytest.fixture
def file(tmp_path: os.PathLike[str]) -> Iterator[OsFile]:
    made = OsDisk(tmp_path / "db").create_first()  # type: ignore[operator]
    assert made is not None
    yield made
    made.close()


def test_the_size_of_a_file_does_not_change_when_room_is_reserved(
    file: OsFile,
) -> None:
    file.write(0, b"text")

    if file.reserve(4, MIB) is None:
        pytest.skip("this file system cannot reserve")

    assert file.size() == 4
    assert os.stat(file.path).st_blocks * 512 >= MIB


def test_more_than_the_disk_has_is_refused_and_takes_nothing(file: OsFile) -> None:
    file.write(0, b"text")

    assert file.reserve(4, 1 << 60) in (False, None)

    assert os.stat(file.path).st_blocks * 512 < MIB


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, False),
        (errno.EDQUOT, False),
        (errno.EOPNOTSUPP, None),
        (errno.ENOSYS, None),
    ],
)
def test_what_the_system_says_of_a_reserve_is_understood(
    file: OsFile, monkeypatch: pytest.MonkeyPatch, code: int, said: bool | None
) -> None:
    monkeypatch.setattr(disk_module, "_libc_fallocate", refusing(code))

    assert file.reserve(0, 1) is said


def refusing(*codes: int) -> Callable[..., int]:
    rest = list(codes)

    def fallocate(*_: int) -> int:
        if not rest:
            return 0
        disk_module.ctypes.set_errno(rest.pop(0))
        return -1

    return fallocate


def test_a_reserve_that_a_signal_interrupts_is_asked_for_again(
    file: OsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = refusing(errno.EINTR, errno.EINTR)
    monkeypatch.setattr(disk_module, "_libc_fallocate", interrupted)

    assert file.reserve(0, 1) is True


def test_a_reserve_that_fails_is_told(
    file: OsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "_libc_fallocate", refusing(errno.EIO))

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        file.reserve(0, 1)


def test_a_system_without_the_call_cannot_reserve(
    file: OsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "_libc_fallocate", None)

    assert file.reserve(0, 1) is None


def test_a_file_system_that_does_not_know_its_size_is_not_full(
    file: OsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ignorant(fd: int) -> os.statvfs_result:
        return os.statvfs_result([0] * 10)

    monkeypatch.setattr(os, "fstatvfs", ignorant)
    monkeypatch.setattr(disk_module, "_libc_fallocate", refusing())

    assert file.reserve(0, 1 << 40) is True


class Narrow:
    """An `os` whose writes are cut short, as on a disk that is just full."""

    def __init__(self, room: int, code: int) -> None:
        self._room, self._code = room, code

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if not self._room:
            raise OSError(self._code, os.strerror(self._code))
        written = os.pwrite(fd, data[: self._room], offset)
        self._room -= written
        return written


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_of_which_nothing_was_written_is_full_and_of_which_some_was_is_not(
    file: OsFile, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(disk_module, "os", Narrow(0, code))
    with pytest.raises(disk_module.DiskFull):
        file.write(0, b"text")

    monkeypatch.setattr(disk_module, "os", Narrow(2, code))
    with pytest.raises(OSError, match=os.strerror(code)) as failure:
        file.write(0, b"text")
    assert not isinstance(failure.value, disk_module.DiskFull)
