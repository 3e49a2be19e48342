"""Each endpoint of the native API has a verb, and each verb is an endpoint."""

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from jobengine.api.v2 import V2
from jobengine.client import verbs_jobs, verbs_many, verbs_queues, verbs_work
from jobengine.client.aio import AsyncClient
from jobengine.client.call import Call
from jobengine.client.client import Client
from jobengine.client.jobs import Beat, Completion, Job, Lease
from jobengine.client.verbs import Verb, Verbs

AT = datetime(2026, 11, 22, tzinfo=UTC)
HELD = Job(
    *("u-1", "a queue", "inprogress", 50, AT, AT, AT, 1),
    lease=Lease("app", AT, AT, "t"),
)
QUEUE = "a queue"

# One request of each verb.
ASKED: dict[str, Any] = {
    "enqueue": verbs_jobs.enqueue(QUEUE, 1),
    "enqueue_many": verbs_jobs.enqueue_many(QUEUE, [1]),
    "get": verbs_jobs.get(QUEUE, "u-1"),
    "wait": verbs_jobs.wait(QUEUE, "u-1"),
    "update": verbs_jobs.update(QUEUE, "u-1", priority=1),
    "delete": verbs_jobs.delete(QUEUE, "u-1"),
    "peek": verbs_jobs.peek(QUEUE),
    "cancel": verbs_jobs.cancel(QUEUE, "u-1"),
    "retry_job": verbs_jobs.retry_job(QUEUE, "u-1"),
    "explain": verbs_jobs.explain(QUEUE, "u-1"),
    "list_jobs": verbs_jobs.list_jobs(QUEUE),
    "archive": verbs_jobs.archive(QUEUE),
    "dead_letters": verbs_jobs.dead_letters(QUEUE),
    "claim": verbs_work.claim(QUEUE),
    "heartbeat": verbs_work.heartbeat(HELD),
    "heartbeat_many": verbs_work.heartbeat_many(QUEUE, [Beat("u-1")]),
    "complete": verbs_work.complete(HELD),
    "complete_many": verbs_work.complete_many(QUEUE, [Completion("u-1")]),
    "fail": verbs_work.fail(HELD),
    "release": verbs_work.release(HELD),
    "reschedule": verbs_work.reschedule(HELD),
    "requeue": verbs_work.requeue(HELD, [1]),
    "cancel_by_key": verbs_many.cancel_by_key(QUEUE, "k"),
    "cancel_all": verbs_many.cancel_all(QUEUE, "f"),
    "bulk_retry": verbs_many.bulk_retry(QUEUE),
    "bulk_cancel": verbs_many.bulk_cancel(QUEUE),
    "bulk_delete": verbs_many.bulk_delete(QUEUE),
    "dead_letter_groups": verbs_many.dead_letter_groups(QUEUE),
    "replay_dead_letters": verbs_many.replay_dead_letters(QUEUE),
    "purge_dead_letters": verbs_many.purge_dead_letters(QUEUE),
    "purge": verbs_many.purge(QUEUE),
    "list_queues": verbs_queues.list_queues(),
    "create_queue": verbs_queues.create_queue(QUEUE),
    "get_queue": verbs_queues.get_queue(QUEUE),
    "delete_queue": verbs_queues.delete_queue(QUEUE),
    "pause": verbs_queues.pause(QUEUE),
    "resume": verbs_queues.resume(QUEUE),
    "stats": verbs_queues.stats(QUEUE),
    "list_schedules": verbs_queues.list_schedules(QUEUE),
    "create_schedule": verbs_queues.create_schedule(QUEUE, "s", "@daily", 1),
    "get_schedule": verbs_queues.get_schedule(QUEUE, "s"),
    "replace_schedule": verbs_queues.replace_schedule(QUEUE, "s", "@daily", 1),
    "delete_schedule": verbs_queues.delete_schedule(QUEUE, "s"),
    "pause_schedule": verbs_queues.pause_schedule(QUEUE, "s"),
    "resume_schedule": verbs_queues.resume_schedule(QUEUE, "s"),
}
# Of several requests, or none of their own.
WITHOUT = {"handle", "iter_jobs"}


def first_call(steps: Any) -> Call[Any]:
    found = steps if isinstance(steps, Call) else next(steps)
    assert isinstance(found, Call)
    return found


def endpoints() -> Iterator[tuple[str, re.Pattern[str]]]:
    for each in V2.endpoints:
        path = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(each.path))
        yield each.method, re.compile(path)


def the_endpoint(method: str, target: str) -> set[tuple[str, str]]:
    """Those that answer this; a path of words alone goes before one of names."""
    path = target.partition("?")[0]
    fitting = [
        (each, pattern.pattern)
        for each, pattern in endpoints()
        if each == method and pattern.fullmatch(path)
    ]
    fewest = min((p.count("[^/]+") for _, p in fitting), default=0)
    return {(m, p) for m, p in fitting if p.count("[^/]+") == fewest}


CALLS = {name: first_call(steps) for name, steps in ASKED.items()}


@pytest.mark.parametrize("name", CALLS)
def test_each_verb_asks_for_what_there_is(name: str) -> None:
    call = CALLS[name]

    assert len(the_endpoint(call.method, call.target)) == 1


def test_each_endpoint_has_a_verb() -> None:
    every = {(method, pattern.pattern) for method, pattern in endpoints()}

    reached = set().union(*(the_endpoint(c.method, c.target) for c in CALLS.values()))

    assert reached == every


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_each_client_has_every_verb(kind: type) -> None:
    ours = {name for name, value in vars(Verbs).items() if isinstance(value, Verb)}

    verbs = ours | {"enqueue", "enqueue_many", "requeue"}

    assert verbs == set(ASKED)
    assert all(hasattr(kind, name) for name in verbs | WITHOUT)


@pytest.mark.parametrize("name", ASKED)
def test_each_verb_says_what_it_does_and_takes(name: str) -> None:
    for kind in (Client, AsyncClient):
        verb = getattr(kind, name)

        assert inspect.getdoc(verb)
        assert inspect.signature(verb).parameters or name == "list_queues"

    client = Client(name="app", transport=None)
    assert inspect.getdoc(getattr(client, name))


def test_what_is_again_does_no_harm_twice() -> None:
    again = {name for name, call in CALLS.items() if call.again}
    once = {name for name, call in CALLS.items() if call.once}

    assert once == {"enqueue", "enqueue_many", "create_schedule"}
    assert set(CALLS) - again - once == {
        *("update", "cancel", "retry_job", "cancel_by_key", "cancel_all"),
        *("bulk_retry", "bulk_cancel", "bulk_delete", "purge", "purge_dead_letters"),
        *("replay_dead_letters", "create_queue"),
        # These show no lease here.
        *("heartbeat_many", "complete_many"),
    }


def test_reports_on_many_jobs_are_sent_again_where_each_shows_its_lease() -> None:
    beats = first_call(verbs_work.heartbeat_many(QUEUE, [Beat("u-1", "t")]))
    mixed = first_call(
        verbs_work.complete_many(QUEUE, [Completion("u-1", "t"), Completion("u-2")])
    )

    assert beats.again
    assert not mixed.again


def test_a_report_without_a_lease_is_not_sent_again() -> None:
    seen = Job(*("u-1", QUEUE, "inprogress", 50, AT, AT, AT, 1))

    call = first_call(verbs_work.complete(seen))

    assert not call.again
    assert call.body is None


def test_counting_does_no_harm_twice() -> None:
    assert first_call(verbs_many.purge(QUEUE, dry_run=True)).again
