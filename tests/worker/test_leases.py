"""Heartbeats of all jobs in hand, by a clock that the test moves."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec import UNSET

from jobengine.client.jobs import Beat, Job, Lease, Reported
from jobengine.errors import (
    Abandoned,
    Forbidden,
    JobCancelled,
    JobEngineError,
    StaleLease,
    Unreachable,
)
from jobengine.testing import SimClock
from jobengine.worker.held import HeldJob
from jobengine.worker.leases import Leases

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


class Desk:
    """Stands where the daemon does: what it was told, and what it says to that."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.beats: list[tuple[str, list[Beat]]] = []
        self.codes: dict[str, str] = {}  # of the jobs that are lost
        self.fault: JobEngineError | None = None
        self.tries = 0
        self.leases = Leases(
            self.beat_many,
            self.beat_one,
            monotonic=self.clock.monotonic,
            heartbeat_s=5.0,
        )

    def beat_many(self, queue: str, beats: list[Beat]) -> list[Reported]:
        self.tries += 1
        if self.fault is not None:
            raise self.fault
        self.beats.append((queue, beats))
        return [
            Reported(beat.uid, 409 if code else 200, code)
            for beat in beats
            for code in [self.codes.get(beat.uid)]
        ]

    def beat_one(self, job: Job, told: msgspec.Raw) -> None:
        if self.fault is not None:
            raise self.fault
        self.beats.append((job.queue, [Beat(job.uid, "one", told)]))

    def hold(
        self, uid: str = "a", *, queue: str = "mail", lease_s: int = 60
    ) -> HeldJob:
        until = NOON + timedelta(seconds=lease_s)
        job = Job(
            *(uid, queue, "inprogress", 50, NOON, NOON, NOON, 1),
            lease=Lease("worker", NOON, until, f"token-{uid}"),
        )
        held = HeldJob(job, self.leases, self.clock.monotonic())
        self.leases.hold([held])
        return held

    def pass_time(self, seconds: int) -> None:
        """Let it pass second by second, with what is due in each."""
        for _ in range(seconds):
            self.clock.advance(seconds=1)
            self.leases.beat()

    @property
    def heard(self) -> list[list[str]]:
        return [[beat.uid for beat in beats] for _, beats in self.beats]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_job_is_heard_of_every_few_seconds(desk: Desk) -> None:
    desk.hold()

    desk.pass_time(20)

    assert desk.heard == [["a"]] * 4


def test_a_short_lease_is_renewed_three_times_before_it_ends(desk: Desk) -> None:
    desk.hold(lease_s=6)

    desk.pass_time(6)

    assert len(desk.beats) == 3


def test_jobs_of_one_queue_go_with_one_request(desk: Desk) -> None:
    desk.hold("a")
    desk.hold("b")
    desk.hold("c", queue="other")

    desk.pass_time(5)

    assert sorted(desk.heard) == [["a", "b"], ["c"]]


def test_a_job_that_ended_is_not_heard_of_any_more(desk: Desk) -> None:
    held = desk.hold()

    desk.leases.let_go([held])
    desk.pass_time(20)

    assert desk.beats == []
    assert desk.leases.wait_empty(0)


def test_progress_is_told_soon_and_only_the_last(desk: Desk) -> None:
    held = desk.hold()
    held.progress({"page": 1})
    held.progress({"page": 2})

    desk.pass_time(2)

    beat = desk.beats[0][1][0]
    assert bytes(beat.progress) == b'{"page":2}'
    assert len(desk.beats) == 1


def test_progress_is_told_once_a_second_at_most(desk: Desk) -> None:
    held = desk.hold()

    for number in range(40):
        held.progress(number)
        desk.clock.advance(ms=100)
        desk.leases.beat()

    assert len(desk.beats) <= 5


def test_progress_that_did_not_come_through_is_told_later(desk: Desk) -> None:
    held = desk.hold()
    held.progress(1)
    desk.fault = Unreachable("no daemon")
    desk.pass_time(3)

    desk.fault = None
    desk.pass_time(2)

    assert bytes(desk.beats[0][1][0].progress) == b"1"


def test_progress_that_is_refused_does_not_cost_the_lease(desk: Desk) -> None:
    held = desk.hold()
    held.progress(1)
    desk.fault = Forbidden("not this one")
    desk.pass_time(1)

    desk.fault = None
    desk.pass_time(2)

    assert desk.beats[0][1][0].progress is UNSET
    assert not held.cancelled


@pytest.mark.parametrize(
    ("code", "why"), [(StaleLease.code, "lost"), (JobCancelled.code, "cancelled")]
)
def test_a_handler_is_told_that_its_job_is_not_its_any_more(
    desk: Desk, code: str, why: str
) -> None:
    held = desk.hold()
    desk.codes["a"] = code

    desk.pass_time(5)

    assert held.cancelled
    assert (held.why, held.hold.gone) == (why, True)
    with pytest.raises(Abandoned):
        held.check()
    assert held.wait_cancelled(0)


def test_a_job_that_is_lost_is_not_heard_of_any_more(desk: Desk) -> None:
    desk.hold("a")
    desk.hold("b")
    desk.codes["a"] = StaleLease.code

    desk.pass_time(10)

    assert desk.heard == [["a", "b"], ["b"]]


def test_a_handler_is_told_when_the_lease_has_run_out_unheard(desk: Desk) -> None:
    held = desk.hold(lease_s=10)
    desk.fault = Unreachable("no daemon")

    desk.pass_time(9)
    assert not held.cancelled
    desk.pass_time(2)

    # The daemon may not have noticed, so what came of it is still to be told.
    assert (held.why, held.hold.gone) == ("lost", False)


def test_a_daemon_that_is_away_is_not_asked_without_a_pause(desk: Desk) -> None:
    desk.hold(lease_s=60)
    desk.fault = Unreachable("no daemon")
    desk.pass_time(5)
    tries = desk.tries

    for _ in range(30):
        desk.clock.advance(ms=100)
        desk.leases.beat()

    assert desk.tries - tries <= 3


def test_a_daemon_that_comes_back_in_time_changes_nothing(desk: Desk) -> None:
    held = desk.hold(lease_s=10)
    desk.fault = Unreachable("no daemon")
    desk.pass_time(8)

    desk.fault = None
    desk.pass_time(20)

    assert not held.cancelled


def test_a_checkpoint_is_told_at_once(desk: Desk) -> None:
    held = desk.hold()

    held.checkpoint({"page": 3})

    assert bytes(desk.beats[0][1][0].progress) == b'{"page":3}'


def test_a_checkpoint_is_not_overtaken_by_progress_told_before(desk: Desk) -> None:
    held = desk.hold()
    held.progress("old")

    held.checkpoint("new")
    desk.pass_time(10)

    told = [bytes(beat.progress) for _, [beat] in desk.beats if beat.progress]
    assert told == [b'"new"']


def test_after_a_checkpoint_progress_is_told_as_before(desk: Desk) -> None:
    held = desk.hold()

    held.checkpoint(1)
    held.checkpoint(2)
    held.progress(3)
    desk.pass_time(2)

    told = [bytes(beat.progress) for _, [beat] in desk.beats]
    assert told == [b"1", b"2", b"3"]


def test_a_checkpoint_of_a_lost_job_ends_the_run(desk: Desk) -> None:
    held = desk.hold()
    desk.fault = StaleLease("too late")

    with pytest.raises(Abandoned):
        held.checkpoint(1)

    assert held.hold.gone


@pytest.mark.parametrize("value", [object(), "x" * (64 << 10)])
def test_what_cannot_be_kept_as_progress_is_refused_where_it_is_said(
    desk: Desk, value: object
) -> None:
    held = desk.hold()

    for tell in (held.progress, held.checkpoint):
        with pytest.raises((TypeError, ValueError)):
            tell(value)


def test_a_listener_hears_once_of_the_end(desk: Desk) -> None:
    held = desk.hold()
    heard: list[str] = []
    hear: Callable[[], None] = lambda: heard.append("before")  # noqa: E731
    held.hold.when_abandoned(hear)

    held.hold.abandon("cancelled")
    held.hold.abandon("lost")
    held.hold.when_abandoned(lambda: heard.append("after"))

    assert (heard, held.why) == (["before", "after"], "cancelled")


def test_the_time_of_the_daemon_counts_not_ours(desk: Desk) -> None:
    held = desk.hold()
    desk.clock.advance(seconds=30)

    assert held.server_now() == NOON + timedelta(seconds=30)
    assert held.instant(5) == NOON + timedelta(seconds=35)
    assert held.instant(timedelta(minutes=1)) == NOON + timedelta(seconds=90)


def test_an_older_value_never_overtakes_a_checkpoint(desk: Desk) -> None:
    held = desk.hold()
    held.progress("old")
    on_its_way, fail = threading.Event(), threading.Event()

    def lose(queue: str, beats: list[Beat]) -> list[Reported]:
        on_its_way.set()
        assert fail.wait(10)
        raise Unreachable("the daemon is gone")

    desk.leases._beat_many = lose
    desk.clock.advance(seconds=5)
    heartbeats = threading.Thread(target=desk.leases.beat)
    heartbeats.start()
    assert on_its_way.wait(10)
    checkpoint = threading.Thread(target=held.checkpoint, args=("new",))
    checkpoint.start()
    fail.set()
    heartbeats.join(10)
    checkpoint.join(10)

    desk.leases._beat_many = desk.beat_many
    desk.pass_time(20)

    told = [bytes(beat.progress) for _, [beat] in desk.beats if beat.progress]
    assert told == [b'"new"']


def test_much_progress_goes_with_several_requests(desk: Desk) -> None:
    for number in range(20):
        desk.hold(str(number)).progress("x" * (60 << 10))

    desk.pass_time(1)

    assert [len(beats) for _, beats in desk.beats] == [8, 8, 4]


def test_heartbeats_that_are_too_much_for_one_request_go_with_several(
    desk: Desk,
) -> None:
    for number in range(10):
        desk.hold(str(number))

    def take_three(queue: str, beats: list[Beat]) -> list[Reported]:
        if len(beats) > 3:
            error = JobEngineError("the body is too long")
            error.status = 413
            raise error
        return desk.beat_many(queue, beats)

    desk.leases._beat_many = take_three
    desk.pass_time(5)

    assert sorted(uid for uids in desk.heard for uid in uids) == list("0123456789")
