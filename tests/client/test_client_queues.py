"""The verbs of whole queues and schedules against a real daemon, and who may use them,
blocking and awaited by the same tests.
"""

from typing import Any

import pytest

from jobengine.client import backoff
from jobengine.errors import (
    Forbidden,
    QueueConfigured,
    QueueNotFound,
    ScheduleExists,
    ScheduleNotFound,
)


def test_a_queue_from_its_making_to_its_end(ops: Any, queue: str) -> None:
    name = f"{queue} with a space"

    made = ops.create_queue(name, read=["app"], write=["app"])
    paused = ops.pause(name, "the mail server moves")
    resumed = ops.resume(name)
    seen = ops.get_queue(name)
    names = [each.name for each in ops.list_queues()]
    ops.delete_queue(name)

    assert (made.name, made.configured) == (name, False)
    assert (paused.paused, paused.pause_reason) == (True, "the mail server moves")
    assert not resumed.paused
    assert seen.backoff.kind == "exponential"
    assert name in names
    with pytest.raises(QueueNotFound):
        ops.get_queue(name)
    with pytest.raises(QueueConfigured):
        ops.delete_queue("mail")


def test_a_queue_in_numbers(app: Any, queue: str) -> None:
    app.enqueue(queue, 1)
    app.enqueue(queue, 2, delay=3600)

    found = app.stats(queue)

    assert (found.ready, found.scheduled, found.queued, found.total) == (1, 1, 2, 2)


def test_a_schedule_from_its_making_to_its_end(ops: Any, queue: str) -> None:
    made = ops.create_schedule(
        *(queue, "nightly", "30 2 * * *", {"report": "daily"}),
        zone="Europe/Berlin",
        jitter=1,
        misfire="once",
        max_attempts=None,
        backoff=backoff.delays([1, 2]),
    )
    with pytest.raises(ScheduleExists):
        ops.create_schedule(queue, "nightly", "@daily", 1)
    changed = ops.replace_schedule(queue, "nightly", "@hourly", 2, priority=9)
    paused = ops.pause_schedule(queue, "nightly")
    resumed = ops.resume_schedule(queue, "nightly")
    seen = ops.get_schedule(queue, "nightly")
    listed = ops.list_schedules(queue)
    ops.delete_schedule(queue, "nightly")

    assert (made.jitter_ms, made.max_attempts, made.zone) == (
        1000,
        None,
        "Europe/Berlin",
    )
    assert len(made.next_runs) == 5
    assert (changed.cron, changed.priority) == ("@hourly", 9)
    assert (paused.paused, paused.next_at, resumed.paused) == (True, None, False)
    assert seen.content == 2
    assert [each.name for each in listed] == ["nightly"]
    with pytest.raises(ScheduleNotFound):
        ops.get_schedule(queue, "nightly")


def test_what_a_caller_may_not_is_refused(app: Any, connect: Any, url: str) -> None:
    shop = connect(url, name="shop")

    with pytest.raises(Forbidden) as caught:
        shop.claim("mail")
    with pytest.raises(QueueNotFound):
        app.get_queue("mail")

    assert caught.value.status == 403
    assert caught.value.request_id


def test_another_caller_has_other_rights(connect: Any, url: str) -> None:
    shop = connect(url, name="shop")
    mailer = shop.as_caller("mailer")
    shop.enqueue("mail", {"to": "eve"}, unique_key="eve", on_conflict="keep")

    (job,) = mailer.claim("mail")
    mailer.complete(job)

    assert mailer.name == "mailer"
    assert shop.get("mail", job.uid).content is None
    assert mailer.get("mail", job.uid).content == {"to": "eve"}
