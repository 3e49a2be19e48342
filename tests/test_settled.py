"""Watching a job until it is settled: what is seen of it, and when."""

import gc
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from jobengine.build import House
from jobengine.core import lifecycle
from jobengine.core.access import Caller
from jobengine.core.job import COMPLETE, Change, Job, NewJob, State, Terms
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.engine import Seen
from jobengine.errors import JobNotFound, QueueNotFound
from jobengine.settled import Watch
from jobengine.testing import SimClock, SimDisk, memory_house, sim_house

ME = Caller("me")
QUEUE = QueueRules("q", read=frozenset({"me"}), write=frozenset({"me"}))
RULES = Rulebook({"q": QUEUE})
ONCE = Terms(max_attempts=1)
# Nothing is kept of it, however it ends.
GONE = Terms(max_attempts=1, keep_ms=0, dead_keep_ms=0)


class Site:
    """A house, who rang in it, and a job that is watched."""

    def __init__(self, house: House, clock: SimClock) -> None:
        self.house, self.clock, self.engine = house, clock, house.engine
        self.rung: list[str] = []
        house.store.set_bell(self.rung.append)

    def put(self, terms: Terms = ONCE) -> Job:
        return self.engine.enqueue(ME, "q", NewJob(b"{}", terms=terms))

    def held(self, terms: Terms = ONCE) -> Job:
        self.put(terms)
        [job] = self.engine.claim(ME, "q")
        return job

    def look(self, job: Job) -> Seen:
        return self.engine.look(ME, "q", job.uid, watch=True)

    def watch(self, job: Job) -> Watch:
        watch = self.look(job).watch
        assert watch is not None
        self.rung.clear()
        return watch

    def watched(self) -> int:
        return len(self.engine.settled)


@pytest.fixture(params=["memory", "file"])
def site(request: pytest.FixtureRequest, clock: SimClock) -> Iterator[Site]:
    make = memory_house if request.param == "memory" else sim_house
    house = make(RULES, clock)
    yield Site(house, clock)
    house.close()


# --- how a job ends ---------------------------------------------------------------


def completed(site: Site, job: Job) -> None:
    site.engine.complete(ME, "q", job.uid, result=b"7")


def failed(site: Site, job: Job) -> None:
    site.engine.fail(ME, "q", job.uid, error="no")


def refused(site: Site, job: Job) -> None:
    site.engine.fail(ME, "q", job.uid, reason=lifecycle.CRITICAL)


def cancelled(site: Site, job: Job) -> None:
    site.engine.cancel(ME, "q", job.uid)


def set_by_a_writer(site: Site, job: Job) -> None:
    site.engine.update(ME, "q", job.uid, Change(state=State.FAILED, priority=7))


def requeued(site: Site, job: Job) -> None:
    site.engine.requeue(ME, "q", job.uid, [("q", NewJob(b"{}"))])


def lost(site: Site, _job: Job) -> None:
    site.clock.advance(minutes=61)
    site.house.upkeep.sweep()


ENDS: dict[Callable[[Site, Job], None], State] = {
    completed: State.COMPLETE,
    failed: State.FAILED,
    refused: State.FAILED,
    cancelled: State.CANCELLED,
    set_by_a_writer: State.FAILED,
    requeued: State.COMPLETE,
    lost: State.FAILED,
}


@pytest.mark.parametrize(("end", "state"), ENDS.items())
def test_however_a_job_is_settled_whoever_watches_it_is_rung_for(
    site: Site, end: Callable[[Site, Job], None], state: State
) -> None:
    job = site.held()
    watch = site.watch(job)

    end(site, job)

    assert watch.final is not None
    assert watch.final.state is state
    assert site.rung.count(watch.line) == 1
    assert site.look(job).job is watch.final


@pytest.mark.parametrize("end", ENDS)
def test_of_a_job_that_is_not_kept_its_watch_has_the_last_row(
    site: Site, end: Callable[[Site, Job], None]
) -> None:
    job = site.held(GONE)
    watch = site.watch(job)

    end(site, job)

    assert site.look(job).job.state is ENDS[end]
    assert site.rung.count(watch.line) == 1
    with pytest.raises(JobNotFound):
        site.engine.look(ME, "q", job.uid)


def deleted(site: Site, job: Job) -> None:
    site.engine.delete(ME, "q", job.uid)


def expired(site: Site, _job: Job) -> None:
    site.clock.advance(minutes=2)
    site.house.upkeep.sweep()


@pytest.mark.parametrize("end", [deleted, expired])
def test_a_job_that_goes_unsettled_is_gone_for_who_watches_it(
    site: Site, end: Callable[[Site, Job], None]
) -> None:
    new = NewJob(b"{}", valid_for_ms=60_000)
    job = site.engine.enqueue(ME, "q", new)
    watch = site.watch(job)

    end(site, job)

    assert site.rung == [watch.line]
    with pytest.raises(JobNotFound):
        site.look(job)


def test_a_job_deleted_right_after_it_was_settled_was_settled(site: Site) -> None:
    job = site.held()
    watch = site.watch(job)

    completed(site, job)
    deleted(site, job)

    assert site.look(job).job.state is State.COMPLETE
    assert watch.final is not None


def test_whoever_watches_a_job_of_a_queue_that_goes_learns_that_it_went(
    site: Site,
) -> None:
    job = site.held()
    watch = site.watch(job)

    site.house.upkeep.reconfigure(Rulebook({}))
    site.clock.advance(minutes=100_000)
    site.house.upkeep.sweep()

    assert watch.line in site.rung
    with pytest.raises(QueueNotFound):
        site.look(job)


# --- what does not end it ---------------------------------------------------------


def test_what_does_not_settle_the_job_rings_for_nobody(site: Site) -> None:
    job = site.put(Terms(max_attempts=5))
    watch = site.watch(job)

    site.engine.claim(ME, "q")
    site.engine.beat(ME, "q", job.uid, progress=b"1")
    site.engine.fail(ME, "q", job.uid)
    site.engine.update(ME, "q", job.uid, Change(priority=3))

    assert watch.line not in site.rung
    assert watch.final is None
    assert site.look(job).watch is watch


def test_the_end_of_another_job_is_none_of_this(site: Site) -> None:
    watch = site.watch(site.held())
    other = site.held()

    completed(site, other)

    assert watch.line not in site.rung
    assert watch.final is None


def broken_off(site: Site, job: Job) -> None:
    with site.house.store.transaction() as tx:
        tx.drop(job)
        raise ZeroDivisionError


def test_what_is_taken_back_was_never_seen(site: Site) -> None:
    job = site.held()
    watch = site.watch(job)

    with pytest.raises(ZeroDivisionError):
        broken_off(site, job)

    assert site.rung == []
    assert site.look(job).job == job
    assert site.look(job).watch is watch


def test_a_job_that_begins_anew_before_anybody_was_told_is_waited_for(
    site: Site,
) -> None:
    job = site.held()
    watch = site.watch(job)

    failed(site, job)
    site.engine.retry(ME, "q", job.uid)

    assert site.look(job).job.state is State.QUEUED
    assert site.look(job).watch is watch


def test_a_settled_job_needs_no_watch(site: Site) -> None:
    job = site.held()
    completed(site, job)

    seen = site.look(job)

    assert seen.job.state is State.COMPLETE
    assert seen.watch is None


# --- when -------------------------------------------------------------------------


def test_within_a_turn_the_end_is_seen_at_once_and_told_with_its_commit() -> None:
    disk = SimDisk()
    site = Site(sim_house(RULES, disk=disk), SimClock())
    committer = site.house.store.take_turns(lambda: None)
    job = site.held(GONE)
    committer.commit()
    before = bytes(disk.names["db"].data)

    watch = site.watch(job)
    completed(site, job)

    # Whoever is woken answers in this turn, with what its commit makes true.
    assert site.rung.count(watch.line) == 1
    assert site.look(job).job.state is State.COMPLETE
    assert bytes(disk.names["db"].data) == before
    committer.commit()
    assert bytes(disk.names["db"].data) != before
    site.house.close()


def test_blocks_of_one_turn_are_seen_once_each(clock: SimClock) -> None:
    site = Site(memory_house(RULES, clock), clock)
    committer = site.house.store.take_turns(lambda: None)
    jobs = [site.held() for _ in range(3)]
    watches = [site.watch(job) for job in jobs]
    site.rung.clear()

    for job in jobs:
        completed(site, job)
    committer.commit()

    assert site.rung == [watch.line for watch in watches]


def test_many_that_end_in_one_block_are_all_seen(site: Site) -> None:
    jobs = [site.held() for _ in range(5)]
    watches = [site.watch(job) for job in jobs]

    with site.house.store.transaction() as tx:
        now = tx.now
        tx.put(*[lifecycle.complete(job, now=now, rules=QUEUE) for job in jobs[:3]])
        tx.drop(jobs[3])

    assert site.rung == [watch.line for watch in watches[:4]]
    assert [watch.final and watch.final.state for watch in watches] == [
        *[COMPLETE] * 3,
        *[None] * 2,
    ]


# --- for how long -----------------------------------------------------------------


@pytest.fixture
def uncollected() -> Iterator[None]:
    """What goes, goes because nobody holds it: no collector comes by."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_a_watch_lasts_as_long_as_somebody_holds_it(site: Site) -> None:
    job = site.held()
    first, second = site.look(job), site.look(job)
    assert first.watch is second.watch
    assert site.watched() == 1

    del first
    assert site.watched() == 1
    del second

    assert site.watched() == 0


def test_with_nobody_watching_nothing_is_looked_at(site: Site) -> None:
    watch = site.watch(site.held())
    settled = site.engine.settled
    assert settled.watched

    del watch
    site.put()

    assert not settled.watched


def test_that_one_has_left_does_not_end_the_watch_of_another(site: Site) -> None:
    job = site.held()
    watch = site.watch(job)

    # What another thread has let go of may be told late.
    site.engine.settled._leave(("q", job.uid), None)
    completed(site, job)

    assert watch.final is not None


def test_one_uid_in_two_queues_is_two_jobs(clock: SimClock) -> None:
    both = Rulebook({"q": QUEUE, "r": replace(QUEUE, name="r")})
    site = Site(memory_house(both, clock), clock)
    job = site.held()
    with site.house.store.transaction() as tx:
        tx.add(replace(job, queue="r"))
    watch = site.watch(job)

    site.engine.delete(ME, "r", job.uid)

    assert site.rung == []
    assert site.look(job).watch is watch
