"""What callers may have done to jobs, and what they are told."""

import errno
from collections.abc import Callable

import pytest

from jobengine.build import House
from jobengine.core.access import BROWSE, READ, WRITE, Caller
from jobengine.core.backoff import AT_ONCE
from jobengine.core.job import INSTANT_MAX, Change, Job, NewJob, State, Terms
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.errors import (
    Forbidden,
    InvalidJob,
    JobEngineError,
    JobNotFound,
    QueueNotFound,
    StaleLease,
    StoreFailed,
)
from jobengine.listing import SLICE as LISTING_SLICE
from jobengine.testing import SimClock, SimDisk, memory_house, sim_house

READER, WRITER, BOTH = Caller("reader"), Caller("writer"), Caller("both")
STRANGER = Caller("stranger")
QUEUE = QueueRules(
    "q",
    read=frozenset({"reader", "both"}),
    write=frozenset({"writer", "both"}),
    lease_ms=60_000,
    keep_ms=60_000,
)
RULES = Rulebook({"q": QUEUE})
JOB = NewJob(b"{}")
ONCE = Terms(max_attempts=1)
TWICE = Terms(max_attempts=2, backoff=AT_ONCE)


@pytest.fixture
def house(clock: SimClock) -> House:
    return memory_house(RULES, clock)


def put(house: House, priority: int = 50, **fields: object) -> Job:
    new = NewJob(b"{}", priority, **fields)  # type: ignore[arg-type]
    return house.engine.enqueue(WRITER, "q", new)


def take(house: House, caller: Caller = READER) -> Job:
    [job] = house.engine.claim(caller, "q")
    return job


def token(job: Job) -> str:
    assert job.lease is not None
    return job.lease.token


def set_to(
    house: House, caller: Caller, job: Job, lease: str | None = None, **fields: object
) -> Job:
    change = Change(**fields)  # type: ignore[arg-type]
    return house.engine.update(caller, "q", job.uid, change, lease=lease)


def listed(house: House, caller: Caller = READER) -> list[Job]:
    return [job for part in house.engine.listing(caller, "q") for _, job in part]


# --- who may ----------------------------------------------------------------------

VERBS: dict[str, Callable[[House, Caller, str], object]] = {
    "enqueue": lambda house, who, queue: house.engine.enqueue(who, queue, JOB),
    "claim": lambda house, who, queue: house.engine.claim(who, queue),
    "listing": lambda house, who, queue: house.engine.listing(who, queue),
    "update": lambda house, who, queue: house.engine.update(
        who, queue, "u", Change(priority=1)
    ),
    "delete": lambda house, who, queue: house.engine.delete(who, queue, "u"),
}
# JobNotFound: it got past the door.
MAY = {
    ("enqueue", READER): Forbidden,
    ("enqueue", WRITER): None,
    ("claim", READER): None,
    ("claim", WRITER): Forbidden,
    ("listing", READER): None,
    ("listing", WRITER): Forbidden,
    ("update", READER): Forbidden,
    ("update", WRITER): JobNotFound,
    ("delete", READER): Forbidden,
    ("delete", WRITER): JobNotFound,
}


def outcome(act: Callable[[], object]) -> type[JobEngineError] | None:
    try:
        act()
    except JobEngineError as error:
        return type(error)
    return None


@pytest.mark.parametrize(("verb", "caller"), MAY)
def test_a_caller_may_do_what_its_lists_grant(
    house: House, verb: str, caller: Caller
) -> None:
    assert outcome(lambda: VERBS[verb](house, caller, "q")) is MAY[verb, caller]


@pytest.mark.parametrize("verb", VERBS)
def test_a_caller_with_both_rights_may_do_everything(house: House, verb: str) -> None:
    assert outcome(lambda: VERBS[verb](house, BOTH, "q")) in (None, JobNotFound)


@pytest.mark.parametrize("verb", VERBS)
def test_without_rights_a_queue_cannot_be_told_from_a_missing_one(
    house: House, verb: str
) -> None:
    put(house)

    with pytest.raises(QueueNotFound) as hidden:
        VERBS[verb](house, STRANGER, "q")
    with pytest.raises(QueueNotFound) as missing:
        VERBS[verb](house, STRANGER, "z")

    assert str(hidden.value).replace("'q'", "'z'") == str(missing.value)


def test_the_rights_of_a_caller_can_be_asked_for(house: House) -> None:
    assert house.engine.check(BOTH, "q") == {READ, WRITE, BROWSE}
    with pytest.raises(QueueNotFound):
        house.engine.check(STRANGER, "q")


def test_a_job_is_found_in_its_own_queue_only(clock: SimClock) -> None:
    two = {"q": QUEUE, "r": QueueRules("r", write=frozenset({"writer"}))}
    house = memory_house(Rulebook(two), clock)
    job = put(house)

    with pytest.raises(JobNotFound):
        house.engine.delete(WRITER, "r", job.uid)

    assert listed(house) == [job]


# --- a holder settles (D1) --------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        (State.INPROGRESS, State.INPROGRESS),
        (State.COMPLETE, State.COMPLETE),
        (State.FAILED, State.FAILED),
        (State.QUEUED, State.QUEUED),
    ],
)
def test_a_reader_settles_the_job_it_holds_with_a_bare_state(
    house: House, clock: SimClock, said: State, becomes: State
) -> None:
    put(house, terms=ONCE)
    job = take(house)
    clock.advance(seconds=1)

    after = set_to(house, READER, job, state=said)

    assert after.state is becomes
    assert after.updated_at == job.updated_at + 1000
    assert listed(house) == [after]


@pytest.mark.parametrize(
    "fields",
    [
        {"state": State.CANCELLED},
        {"state": State.COMPLETE, "priority": 1},
        {"content": b"[]"},
        {},
    ],
)
def test_a_reader_may_say_nothing_else_of_the_job_it_holds(
    house: House, fields: dict[str, object]
) -> None:
    put(house)
    job = take(house)

    with pytest.raises(Forbidden, match="no write right"):
        set_to(house, READER, job, **fields)

    assert listed(house) == [job]


def test_a_reader_cannot_settle_what_it_does_not_hold(house: House) -> None:
    held, waiting = put(house), put(house)
    take(house, BOTH)

    for job in (held, waiting):
        with pytest.raises(Forbidden):
            set_to(house, READER, job, state=State.COMPLETE)


def test_a_reader_cannot_settle_what_it_has_finished(house: House) -> None:
    put(house)
    job = take(house)
    set_to(house, READER, job, state=State.COMPLETE)

    with pytest.raises(Forbidden):
        set_to(house, READER, job, state=State.QUEUED)


def test_under_strict_acl_only_writers_settle(clock: SimClock) -> None:
    house = memory_house(Rulebook({"q": QUEUE}, strict_acl=True), clock)
    put(house)
    job = take(house)

    with pytest.raises(Forbidden):
        set_to(house, READER, job, state=State.COMPLETE)

    assert set_to(house, WRITER, job, state=State.COMPLETE).state is State.COMPLETE


def test_the_bare_failure_of_a_holder_is_an_attempt_and_of_another_writer_the_end(
    house: House,
) -> None:
    put(house, terms=TWICE)
    again = set_to(house, BOTH, take(house, BOTH), state=State.FAILED)
    assert (again.state, again.attempt) == (State.QUEUED, 1)

    failed = set_to(house, WRITER, take(house, BOTH), state=State.FAILED)

    assert (failed.state, failed.reason) == (State.FAILED, None)


def test_a_writer_may_change_a_job_that_somebody_else_holds(house: House) -> None:
    put(house)
    job = take(house)

    after = set_to(house, WRITER, job, priority=9, content=b"[]")

    assert (after.priority, after.content) == (9, b"[]")
    assert token(after) == token(job)


def test_a_writer_who_puts_a_job_in_progress_holds_it(house: House) -> None:
    job = set_to(house, WRITER, put(house), state=State.INPROGRESS)

    assert job.lease is not None
    assert job.lease.holder == "writer"
    assert house.engine.claim(READER, "q") == []


def test_an_empty_change_by_a_writer_changes_nothing(
    house: House, clock: SimClock
) -> None:
    job = put(house)
    clock.advance(seconds=1)

    assert set_to(house, WRITER, job) == job
    assert listed(house) == [job]


def test_a_change_to_no_job_is_refused(house: House) -> None:
    for fields in ({"state": State.COMPLETE}, {"priority": 1}, {}):
        with pytest.raises(JobNotFound):
            house.engine.update(BOTH, "q", "no such", Change(**fields))  # type: ignore[arg-type]


# --- leases fence -----------------------------------------------------------------


def test_the_current_lease_passes_the_fence(house: House) -> None:
    put(house)
    job = take(house)

    after = set_to(house, READER, job, token(job), state=State.COMPLETE)

    assert after.state is State.COMPLETE


def test_a_stale_worker_cannot_settle_a_job_that_its_own_replica_has_now(
    house: House, clock: SimClock
) -> None:
    put(house, terms=TWICE)
    first = take(house)
    clock.advance(ms=60_000)
    second = take(house)

    with pytest.raises(StaleLease, match="drop the work"):
        set_to(house, READER, first, token(first), state=State.COMPLETE)

    assert listed(house) == [second]


@pytest.mark.parametrize("caller", [READER, BOTH])
def test_a_lease_is_stale_once_its_job_is_queued_or_finished(
    house: House, clock: SimClock, caller: Caller
) -> None:
    for _ in range(2):
        put(house, terms=TWICE)
    given_back, done = take(house, caller), take(house, caller)
    set_to(house, caller, given_back, state=State.QUEUED)
    set_to(house, caller, done, state=State.COMPLETE)
    before = listed(house)

    for job in (given_back, done):
        with pytest.raises(StaleLease):
            set_to(house, caller, job, token(job), state=State.COMPLETE)

    assert listed(house) == before


def test_a_lease_is_stale_from_the_instant_it_ends_swept_or_not(
    house: House, clock: SimClock
) -> None:
    put(house)
    job = take(house)
    clock.advance(ms=59_999)
    set_to(house, WRITER, job, token(job))

    clock.advance(ms=1)

    with pytest.raises(StaleLease):
        set_to(house, WRITER, job, token(job), priority=1)
    with pytest.raises(Forbidden):
        set_to(house, READER, job, state=State.COMPLETE)


def test_a_heartbeat_keeps_the_lease(house: House, clock: SimClock) -> None:
    put(house)
    job = take(house)
    for _ in range(5):
        clock.advance(ms=59_999)
        job = set_to(house, READER, job, token(job), state=State.INPROGRESS)

    assert house.engine.claim(READER, "q") == []


def test_a_writer_may_be_fenced_too(house: House) -> None:
    put(house)
    job = take(house)
    stale = token(job)
    job = set_to(house, WRITER, job, state=State.INPROGRESS)

    with pytest.raises(StaleLease):
        set_to(house, WRITER, job, stale, priority=1)
    assert set_to(house, WRITER, job, token(job), priority=1).priority == 1


# --- queued and handed out --------------------------------------------------------


def test_a_job_that_cannot_be_made_is_not_queued(house: House) -> None:
    with pytest.raises(InvalidJob):
        put(house, valid_for_ms=INSTANT_MAX)

    assert listed(house) == []


def test_60_jobs_of_3_priorities_come_first_in_first_out(house: House) -> None:
    """JE1-B5."""
    jobs = [put(house, (10, 100, 50)[n * 7 % 3]) for n in range(60)]
    in_order = sorted(jobs, key=lambda job: (-job.priority, job.seq))

    assert listed(house) == in_order
    assert [take(house).uid for _ in jobs] == [job.uid for job in in_order]
    assert house.engine.claim(READER, "q") == []


def test_a_claim_takes_as_many_as_it_asks_for_each_under_its_own_lease(
    house: House,
) -> None:
    jobs = [put(house) for _ in range(5)]

    taken = house.engine.claim(READER, "q", 3)
    rest = house.engine.claim(READER, "q", 3)

    assert [job.uid for job in taken + rest] == [job.uid for job in jobs]
    assert len({token(job) for job in taken + rest}) == 5


def test_an_expired_job_is_never_handed_out_though_nobody_has_swept(
    house: House, clock: SimClock
) -> None:
    put(house, valid_for_ms=1000)
    live = put(house)
    clock.advance(seconds=1)

    assert take(house).uid == live.uid
    assert house.engine.claim(READER, "q") == []


def test_a_lost_lease_is_handed_out_again_though_nobody_has_swept(
    house: House, clock: SimClock
) -> None:
    put(house, terms=TWICE)
    put(house, terms=ONCE)
    twice, once = house.engine.claim(READER, "q", 2)
    clock.advance(minutes=1)

    again = house.engine.claim(BOTH, "q", 2)

    assert [(job.uid, job.attempt) for job in again] == [(twice.uid, 2)]
    assert once.uid in [job.uid for job in listed(house) if job.state is State.FAILED]


def test_a_claim_is_answered_however_much_is_due(house: House, clock: SimClock) -> None:
    """One transaction could not hold the removal of all these."""
    for _ in range(20_000):
        put(house, valid_for_ms=1000)
    clock.advance(seconds=1)

    assert house.engine.claim(READER, "q") == []
    live = put(house)
    assert take(house).uid == live.uid


def test_an_expired_job_can_be_neither_changed_nor_deleted(
    house: House, clock: SimClock
) -> None:
    job = put(house, valid_for_ms=1000)
    clock.advance(seconds=1)

    with pytest.raises(JobNotFound):
        set_to(house, WRITER, job, expires_at=INSTANT_MAX)
    with pytest.raises(JobNotFound):
        house.engine.delete(WRITER, "q", job.uid)


@pytest.mark.parametrize("state", State)
def test_a_job_is_deleted_whatever_its_state_and_once(
    house: House, state: State
) -> None:
    job = set_to(house, WRITER, put(house), state=state)

    house.engine.delete(WRITER, "q", job.uid)

    assert listed(house) == []
    assert house.engine.claim(READER, "q") == []
    with pytest.raises(JobNotFound):
        house.engine.delete(WRITER, "q", job.uid)


# --- listed -----------------------------------------------------------------------


def test_a_listing_is_a_queue_at_one_instant(house: House, clock: SimClock) -> None:
    jobs = [put(house, valid_for_ms=1000) for _ in range(3)]
    slices = iter(house.engine.listing(READER, "q"))
    assert next(slices) == []

    take(house)
    house.engine.delete(WRITER, "q", jobs[1].uid)
    put(house)
    clock.advance(minutes=1)

    assert [job for part in slices for _, job in part] == jobs


def test_a_listing_comes_in_bounded_slices_with_places_that_count_on(
    house: House,
) -> None:
    jobs = [put(house, 1 + n % 3) for n in range(3 * LISTING_SLICE + 3)]

    slices = list(house.engine.listing(READER, "q"))

    assert max(len(part) for part in slices) == LISTING_SLICE
    rows = [row for part in slices for row in part]
    assert [place for place, _ in rows] == list(range(len(jobs)))
    assert [job for _, job in rows] == sorted(jobs, key=lambda j: (-j.priority, j.seq))


def test_a_listing_shows_what_time_has_done_and_does_nothing(
    house: House, clock: SimClock
) -> None:
    put(house, terms=ONCE)
    lost = take(house)
    put(house, valid_for_ms=1000)
    clock.advance(minutes=1)

    [seen] = listed(house)

    assert (seen.uid, seen.state) == (lost.uid, State.FAILED)
    assert house.upkeep.sweep().total() == 2


# --- the clock jumps back ---------------------------------------------------------


def test_a_clock_that_jumps_back_neither_expires_nor_resurrects_nor_freezes(
    house: House, clock: SimClock
) -> None:
    put(house, valid_for_ms=1000)
    put(house, 60, terms=TWICE)
    held = take(house)
    live = put(house, valid_for_ms=90_000)
    clock.advance(seconds=1)
    put(house)

    clock.advance(minutes=-60)

    assert house.upkeep.sweep() == {("q", "expired"): 1}
    later = put(house)
    assert later.created_at >= live.created_at
    taken = house.engine.claim(READER, "q", 3)
    assert (len(taken), taken[0].uid) == (3, live.uid)
    assert set_to(house, READER, held, token(held), state=State.COMPLETE)
    clock.advance(minutes=60)
    clock.advance(seconds=90)
    assert house.upkeep.sweep() == {("q", "lost"): 3, ("q", "forgotten"): 1}


# --- on a disk --------------------------------------------------------------------


def test_10000_creates_one_after_another_are_all_answered() -> None:
    """JE1-B1: the original hung for ever after some hundreds."""
    house = sim_house(RULES)

    uids = {put(house).uid for _ in range(10_000)}

    assert len(uids) == 10_000
    assert {job.uid for job in listed(house)} == uids
    house.close()


def test_300_jobs_of_a_queue_come_back_in_order_after_a_restart() -> None:
    """JE1-B2: the original could never load more than 255 again."""
    disk = SimDisk()
    house = sim_house(RULES, disk=disk)
    for n in range(300):
        put(house, 1 + n % 100)
    before = listed(house)
    house.close()

    again = sim_house(RULES, disk=disk)

    assert listed(again) == before
    assert [take(again).uid for _ in before] == [job.uid for job in before]
    again.close()


def test_leases_and_their_fence_outlive_a_restart(clock: SimClock) -> None:
    disk = SimDisk()
    house = sim_house(RULES, clock, disk)
    put(house, terms=TWICE)
    job = take(house)
    house.close()

    house = sim_house(RULES, clock, disk)
    clock.advance(ms=59_999)
    kept = set_to(house, READER, job, token(job), state=State.INPROGRESS)
    assert token(kept) == token(job)
    house.close()

    clock.advance(minutes=1)
    house = sim_house(RULES, clock, disk)
    with pytest.raises(StaleLease):
        set_to(house, READER, job, token(job), state=State.COMPLETE)
    assert take(house).attempt == 2
    house.close()


def test_a_restart_with_a_clock_that_is_behind_goes_on_from_the_newest_job() -> None:
    disk = SimDisk()
    house = sim_house(RULES, SimClock(1_000_000), disk)
    first = put(house)
    house.close()

    house = sim_house(RULES, SimClock(5), disk)

    assert put(house).created_at == first.created_at
    assert take(house).uid == first.uid
    house.close()


def test_once_the_disk_has_failed_every_verb_says_so() -> None:
    disk = SimDisk()
    house = sim_house(RULES, disk=disk)
    job = put(house)
    disk.fail = lambda call: errno.EIO if call == "sync" else None

    for act in (
        lambda: put(house),
        lambda: house.engine.claim(READER, "q"),
        lambda: listed(house),
        lambda: set_to(house, WRITER, job),
        lambda: house.engine.delete(WRITER, "q", job.uid),
        house.upkeep.sweep,
    ):
        with pytest.raises(StoreFailed):
            act()
    house.close()
