"""Every verb against a real daemon, blocking and awaited by the same tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobengine.client import backoff
from jobengine.client.jobs import Beat, Completion, NewJob
from jobengine.errors import (
    DuplicateJob,
    InvalidJob,
    JobCancelled,
    JobFailed,
    JobNotFound,
    PreconditionFailed,
    StaleLease,
    WrongState,
)

# Longer than anything here takes, on a machine that is busy besides.
PATIENCE_S = 20


def taken(app: Any, queue: str) -> Any:
    """The job that is claimed next."""
    (job,) = app.claim(queue)
    return job


# --- one job ----------------------------------------------------------------------


def test_a_job_goes_all_the_way(app: Any, queue: str) -> None:
    handle = app.enqueue(queue, {"to": "ada"}, priority=80, fingerprint="f")
    job = taken(app, queue)
    until = app.heartbeat(job, progress={"page": 3})
    seen = app.get(queue, job.uid)
    ended = app.complete(job, result={"sent": True})

    assert handle.created
    assert (handle.queue, handle.uid) == (queue, job.uid)
    assert (job.content, job.priority, job.state) == ({"to": "ada"}, 80, "inprogress")
    assert until > job.lease.until or until == job.lease.until
    assert (seen.progress, seen.lease.holder) == ({"page": 3}, "app")
    assert seen.lease.token is None
    assert ended.state == "complete"
    assert handle.result(timeout=PATIENCE_S) == {"sent": True}
    assert handle.get().ended


def test_what_an_option_says_is_so(app: Any, queue: str) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)

    handle = app.enqueue(
        queue,
        "content",
        run_at=soon,
        valid_for=timedelta(hours=2),
        unique_key="k",
        progress=[1],
        max_attempts=None,
        lease=5,
        keep=timedelta(minutes=1),
        dead_keep=60,
        poison_after=None,
        backoff=backoff.exponential(1),
        durable=False,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )

    job = handle.get()
    assert abs(job.run_at - soon) < timedelta(milliseconds=1)
    assert job.expires_at is not None
    assert (job.unique_key, job.progress, job.max_attempts) == ("k", [1], None)
    assert job.traceparent is not None
    assert handle.job is not None
    assert handle.job.uid == job.uid


def test_a_claim_of_nothing_is_an_empty_list(app: Any, queue: str) -> None:
    assert app.claim(queue) == []
    assert app.peek(queue) is None


def test_a_job_that_a_live_one_stands_for(app: Any, queue: str) -> None:
    first = app.enqueue(queue, 1, unique_key="k")

    with pytest.raises(DuplicateJob):
        app.enqueue(queue, 2, unique_key="k")
    kept = app.enqueue(queue, 3, unique_key="k", on_conflict="keep")
    replaced = app.enqueue(queue, 4, unique_key="k", on_conflict="replace")

    assert {first.uid, kept.uid, replaced.uid} == {first.uid}
    assert (kept.created, replaced.created) == (False, True)
    assert taken(app, queue).content == 4


def test_the_same_key_makes_one_job(app: Any, queue: str) -> None:
    one = app.enqueue(queue, 1, idempotency_key="order-17")
    same = app.enqueue(queue, 1, idempotency_key="order-17")

    assert one.uid == same.uid
    assert len(app.claim(queue, max=5)) == 1


def test_a_job_that_fails_is_tried_again_and_then_dead(app: Any, queue: str) -> None:
    handle = app.enqueue(queue, 1, max_attempts=2, backoff=backoff.constant(0))

    again = app.fail(taken(app, queue), error="mailbox full")
    dead = app.fail(taken(app, queue), error="\ud800" * 5000)

    assert (again.state, again.error) == ("queued", "mailbox full")
    assert (dead.state, dead.reason, len(dead.runs)) == ("failed", "attempts", 2)
    with pytest.raises(JobFailed) as caught:
        handle.result(timeout=PATIENCE_S)
    assert caught.value.job.uid == handle.uid


def test_the_kinds_of_failure(app: Any, queue: str) -> None:
    app.enqueue_many(queue, range(4))
    later = datetime.now(UTC) + timedelta(hours=1)

    found = [
        app.fail(taken(app, queue), kind="critical"),
        app.fail(taken(app, queue), kind="unprocessable"),
        app.fail(taken(app, queue), kind="cancel"),
        app.fail(taken(app, queue), retry_at=later),
    ]

    states = [(job.state, job.reason) for job in found[:3]]
    assert states == [
        ("failed", "critical"),
        ("failed", "unprocessable"),
        ("cancelled", None),
    ]
    assert found[3].state == "queued"
    assert found[3].run_at > datetime.now(UTC)


def test_a_job_is_given_back(app: Any, queue: str) -> None:
    app.enqueue(queue, 1)
    later = datetime.now(UTC) + timedelta(hours=1)

    back = app.release(taken(app, queue))
    off = app.release(taken(app, queue), run_at=later)

    assert (back.state, back.attempt) == ("queued", 0)
    assert (off.state, off.attempt) == ("queued", 0)
    assert abs(off.run_at - later) < timedelta(milliseconds=1)


def test_a_job_is_put_off_with_what_it_says(app: Any, queue: str) -> None:
    app.enqueue(queue, 1, backoff=backoff.constant(0))

    app.reschedule(taken(app, queue), content=2, progress="half")

    job = taken(app, queue)
    assert (job.content, job.progress, job.reschedules) == (2, "half", 1)


def test_a_job_is_followed_by_others(app: Any, queue: str) -> None:
    app.enqueue(queue, 1)

    made = app.requeue(taken(app, queue), [2, NewJob(3, priority=90, queue=queue)])

    assert [job.content for job in app.claim(queue, max=5)] == [3, 2]
    assert [each.queue for each in made] == [queue, queue]


def test_a_lost_lease_is_told(app: Any, queue: str) -> None:
    handle = app.enqueue(queue, 1)
    job = taken(app, queue)

    app.release(job)
    with pytest.raises(StaleLease):
        app.complete(job)
    held = taken(app, queue)
    handle.cancel()
    with pytest.raises(JobCancelled):
        app.heartbeat(held)

    with pytest.raises(JobCancelled):
        handle.result(timeout=PATIENCE_S)
    assert handle.retry().state == "queued"


def test_a_job_is_changed_where_nobody_else_has(app: Any, queue: str) -> None:
    handle = app.enqueue(queue, 1)
    seen = handle.get()

    changed = app.update(queue, handle.uid, content=2, if_match=seen.etag)
    with pytest.raises(PreconditionFailed):
        app.update(queue, handle.uid, priority=1, if_match=seen.etag)
    app.update(queue, handle.uid, priority=99, expires_at=_tomorrow())

    assert changed.etag != seen.etag
    assert (handle.get().content, handle.get().priority) == (2, 99)


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def test_a_job_is_deleted(app: Any, queue: str) -> None:
    handle = app.enqueue(queue, 1)

    with pytest.raises(PreconditionFailed):
        app.delete(queue, handle.uid, if_match='"another"')
    app.delete(queue, handle.uid)

    with pytest.raises(JobNotFound):
        handle.get()


def test_a_wait_ends_with_its_time(app: Any, queue: str) -> None:
    handle = app.enqueue(queue, 1)

    assert handle.wait(timeout=0) is None
    assert handle.wait(timeout=0.2) is None
    with pytest.raises(TimeoutError):
        handle.result(timeout=0)


def test_a_wait_for_a_job_that_is_done_asks_once(app: Any, queue: str) -> None:
    handle = app.handle(queue, app.enqueue(queue, 1).uid)
    app.complete(taken(app, queue))

    job = handle.wait()

    assert job is not None
    assert job.state == "complete"
    assert handle.result() is None


def test_why_a_job_does_not_run(app: Any, queue: str) -> None:
    handle = app.enqueue(queue, 1, delay=3600)

    found = app.explain(queue, handle.uid)

    assert not found.claimable
    assert [each.code for each in found.blockers] == ["scheduled"]
    assert found.blockers[0].until is not None


def test_a_job_that_has_ended_is_not_cancelled(app: Any, queue: str) -> None:
    handle = app.enqueue(queue, 1)
    app.complete(taken(app, queue))

    with pytest.raises(WrongState):
        handle.cancel()


# --- many jobs --------------------------------------------------------------------


def test_many_jobs_are_queued_in_parts_and_in_order(app: Any, queue: str) -> None:
    found = app.enqueue_many(queue, range(2500))

    claimed = app.claim(queue, max=1000) + app.claim(queue, max=1000)
    claimed += app.claim(queue, max=1000)
    assert len({each.uid for each in found}) == 2500
    assert [job.content for job in claimed] == list(range(2500))


def test_large_jobs_are_queued_in_parts_that_fit(app: Any, queue: str) -> None:
    found = app.enqueue_many(queue, ["x" * 200_000] * 20)

    assert all(each.created for each in found)


def test_each_of_many_is_queued_or_refused_by_itself(app: Any, queue: str) -> None:
    jobs = [NewJob(1, unique_key="a"), NewJob(2, unique_key="a"), 3]

    first, second, third = app.enqueue_many(queue, jobs)

    assert first.created
    assert isinstance(second, DuplicateJob)
    assert (second.status, second.code) == (409, "duplicate_job")
    assert third.created


def test_all_of_many_are_queued_or_none(app: Any, queue: str) -> None:
    jobs = [NewJob(1, unique_key="a"), NewJob(2, unique_key="a")]

    with pytest.raises(DuplicateJob):
        app.enqueue_many(queue, jobs, atomic=True)
    found = app.enqueue_many(queue, jobs[:1], atomic=True)

    assert [each.created for each in found] == [True]
    assert app.enqueue_many(queue, [], atomic=True) == []
    assert app.enqueue_many(queue, []) == []


def test_what_is_there_is_kept(app: Any, queue: str) -> None:
    jobs = [NewJob(1, unique_key="a"), NewJob(2, unique_key="a")]

    first, second = app.enqueue_many(queue, jobs, on_conflict="keep")

    assert (first.created, second.created) == (True, False)
    assert first.uid == second.uid
    assert first.job is None


def test_a_batch_that_makes_no_sense_is_raised(app: Any, queue: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        app.enqueue_many(queue, [1, NewJob(2, priority=1000)])

    assert caught.value.errors[0][0] == "1/priority"


def test_what_fails_behind_what_was_queued_is_told_beside_it(
    app: Any, queue: str
) -> None:
    jobs = [*range(1000), NewJob(1, priority=1000), 2]

    found = app.enqueue_many(queue, jobs)

    assert all(each.created for each in found[:1000])
    assert [type(each) for each in found[1000:]] == [InvalidJob, InvalidJob]


def test_many_reports(app: Any, queue: str) -> None:
    app.enqueue_many(queue, range(3))
    jobs = app.claim(queue, max=3)
    app.cancel(queue, jobs[2].uid)

    beats = app.heartbeat_many(
        queue, [Beat(job.uid, job.lease.token, progress=1) for job in jobs]
    )
    done = app.complete_many(
        queue, [Completion(job.uid, job.lease.token, result="r") for job in jobs]
    )

    assert [each.code for each in beats] == [None, None, "job_cancelled"]
    assert beats[0].lease_until is not None
    assert [each.status for each in done] == [200, 200, 409]
    assert app.get(queue, jobs[0].uid).result == "r"
    assert app.heartbeat_many(queue, []) == []


def test_large_results_are_reported_in_parts_that_fit(app: Any, queue: str) -> None:
    app.enqueue_many(queue, range(30))
    jobs = app.claim(queue, max=30)

    done = app.complete_many(
        queue,
        [Completion(job.uid, job.lease.token, result="r" * 60_000) for job in jobs],
    )

    assert [each.code for each in done] == [None] * 30


def test_jobs_are_cancelled_by_key_and_by_fingerprint(app: Any, queue: str) -> None:
    app.enqueue_many(queue, [NewJob(n, fingerprint="f") for n in range(3)])
    app.enqueue(queue, 9, unique_key="k")

    assert app.cancel_by_key(queue, "k") == 1
    assert app.cancel_by_key(queue, "k") == 0
    assert app.cancel_all(queue, "f") == 3
    assert app.claim(queue) == []


def test_jobs_are_listed_page_by_page(app: Any, queue: str) -> None:
    app.enqueue_many(queue, range(5))
    app.complete(taken(app, queue))

    page = app.list_jobs(queue, limit=2)
    following = app.list_jobs(queue, limit=2, cursor=page.next)
    every = list(app.iter_jobs(queue, limit=2, order="newest"))
    queued = app.list_jobs(
        queue, state=["queued", "failed"], created_before=_tomorrow()
    )
    archive = app.archive(queue)

    assert [job.content for job in page.jobs + following.jobs] == [0, 1, 2, 3]
    assert [job.content for job in every] == [4, 3, 2, 1, 0]
    assert len(queued.jobs) == 4
    assert [job.content for job in archive.jobs] == [0]


def test_dead_letters_are_looked_at_replayed_and_purged(
    app: Any, ops: Any, queue: str
) -> None:
    app.enqueue_many(queue, range(3))
    for job in app.claim(queue, max=3):
        app.fail(job, error="boom", kind="critical")

    (group,) = app.dead_letter_groups(queue)
    dead = app.dead_letters(queue, reason="critical").jobs
    replayed = ops.replay_dead_letters(queue, uids=[dead[0].uid])
    counted = ops.purge_dead_letters(queue, {"reason": "critical"}, dry_run=True)
    purged = ops.purge_dead_letters(queue, expected_count=2)

    assert (group.reason, group.error, group.count) == ("critical", "boom", 3)
    assert len(dead) == 3
    assert (replayed.changed, replayed.remaining) == (1, 0)
    assert (counted.matched, counted.changed, counted.dry_run) == (2, 0, True)
    assert purged.changed == 2


def test_many_jobs_are_changed_at_once(app: Any, ops: Any, queue: str) -> None:
    app.enqueue_many(queue, range(4))

    cancelled = ops.bulk_cancel(queue, {"state": "queued"}, expected_count=4)
    retried = ops.bulk_retry(queue, {"created_before": _tomorrow()})
    deleted = ops.bulk_delete(queue, dry_run=True)
    purged = ops.purge(queue)

    assert [cancelled.changed, retried.changed, deleted.matched] == [4, 4, 4]
    assert purged.changed == 4
    assert ops.stats(queue).total == 0
