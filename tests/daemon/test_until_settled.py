"""Requests that wait until a job is settled, on the event loop."""

import gc
import json
from contextlib import ExitStack

import pytest
from daemons import Daemon
from serving import RULES, Client, Heard, Serving, create, request

from jobengine.build import House
from jobengine.core.access import Caller
from jobengine.core.job import Change, Job, NewJob, State, Terms
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.testing import SimClock, SimDisk, sim_house

MAILER, SHOP = Caller("mailer"), Caller("shop")
ONCE = Terms(max_attempts=1)
GONE = Terms(max_attempts=1, keep_ms=0, dead_keep_ms=0)


def held(house: House, terms: Terms = ONCE) -> Job:
    """A job that the mailer holds."""
    house.engine.enqueue(SHOP, "mail", NewJob(b"{}", terms=terms))
    [job] = house.engine.claim(MAILER, "mail")
    return job


def until_settled(job: Job, wait: int = 60, name: str = "shop") -> bytes:
    """The request for the job once it is settled."""
    return request("GET", f"/api/v2/queues/mail/jobs/{job.uid}?wait={wait}", name)


def parked(
    serving: Serving, ends: ExitStack, job: Job, count: int = 1, name: str = "shop"
) -> list[Client]:
    """So many clients that wait for the end of the job."""
    before = serving.house.doorbell.waiters
    clients = [ends.enter_context(serving.connect()) for _ in range(count)]
    for client in clients:
        client.say(until_settled(job, name=name))
    serving.waiting(before + count)
    return clients


def state_of(heard: Heard) -> str:
    assert heard.status == 200, heard
    return str(json.loads(heard.body)["state"])


def watched(serving: Serving) -> int:
    return len(serving.house.engine.settled)


# --- how it ends ------------------------------------------------------------------


@pytest.mark.parametrize("terms", [ONCE, GONE], ids=["kept", "not kept"])
def test_who_waits_for_a_job_is_told_how_it_ended(
    serving: Serving, terms: Terms
) -> None:
    job = held(serving.house, terms)
    with ExitStack() as ends:
        [client] = parked(serving, ends, job)

        serving.house.engine.complete(MAILER, "mail", job.uid)

        assert state_of(client.hear()) == "complete"
        assert serving.house.doorbell.waiters == 0


def test_a_request_of_the_same_loop_settles_it_too(serving: Serving) -> None:
    job = held(serving.house)
    path = f"/api/v1/jobs/{job.uid}"
    with ExitStack() as ends:
        [client] = parked(serving, ends, job)

        done = request("POST", path, "mailer", body=b'{"status":"failed"}')
        assert serving.ask(done).status == 200

        assert state_of(client.hear()) == "failed"


def test_a_lease_that_is_lost_for_good_settles_it(serving: Serving) -> None:
    house, clock = serving.house, serving.house.store.clock
    assert isinstance(clock, SimClock)
    job = held(house)
    with ExitStack() as ends:
        [client] = parked(serving, ends, job)

        clock.advance(minutes=11)
        house.upkeep.sweep()

        answer = client.hear()
        assert state_of(answer) == "failed"
        assert json.loads(answer.body)["reason"] == "lease_lost"


def test_a_cancelled_job_is_settled(serving: Serving) -> None:
    job = held(serving.house)
    with ExitStack() as ends:
        [client] = parked(serving, ends, job)

        serving.house.engine.cancel(SHOP, "mail", job.uid)

        assert state_of(client.hear()) == "cancelled"


def test_who_waits_for_a_job_that_is_deleted_learns_that_there_is_none(
    serving: Serving,
) -> None:
    job = held(serving.house)
    with ExitStack() as ends:
        [client] = parked(serving, ends, job)

        serving.house.engine.delete(SHOP, "mail", job.uid)

        answer = client.hear()
        assert answer.status == 404
        assert json.loads(answer.body)["code"] == "job_not_found"


def test_who_asks_for_a_settled_job_does_not_wait(serving: Serving) -> None:
    job = held(serving.house)
    serving.house.engine.complete(MAILER, "mail", job.uid)

    assert state_of(serving.ask(until_settled(job))) == "complete"


def test_what_does_not_settle_it_answers_nobody(serving: Serving) -> None:
    engine = serving.house.engine
    job = held(serving.house, Terms(max_attempts=9))
    with ExitStack() as ends:
        [client] = parked(serving, ends, job)

        engine.fail(MAILER, "mail", job.uid)
        engine.update(SHOP, "mail", job.uid, Change(priority=3))
        serving.house.doorbell.ring_all()

        assert client.silent(0.05)
        assert serving.house.doorbell.waiters == 1


KEEPS_NOTHING = """\
queues:
  mail: {read: [mailer], write: [shop], job_keep_minutes: 0}
"""


@pytest.mark.parametrize("server", ["loop", "gthread"])
def test_on_either_server_all_who_wait_are_told(daemon: Daemon) -> None:
    daemon.configure(KEEPS_NOTHING)
    daemon.start()
    path = f"/api/v1/jobs/{daemon.create()}"
    uid = daemon.ask("GET", "/api/v1/jobs/next", name="mailer").json["uid"]
    with ExitStack() as ends:
        clients = [ends.enter_context(Client(daemon.port)) for _ in range(4)]
        for client in clients:
            client.say(
                request("GET", f"/api/v2/queues/mail/jobs/{uid}?wait=60", "shop")
            )
        daemon.waiting(4)

        done = daemon.ask("POST", path, name="mailer", body={"status": "complete"})

        assert done.status == 200
        assert [state_of(client.hear()) for client in clients] == ["complete"] * 4
    assert daemon.ask("GET", "/api/v1/jobs", name="mailer").status == 204


# --- when -------------------------------------------------------------------------


def test_one_that_ends_between_the_look_and_the_place_is_told(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, waiters = serving.house.engine, serving.turns._waiters
    job = held(serving.house, GONE)
    park = waiters.park

    def settle_and_park(*place: object) -> None:
        monkeypatch.undo()
        engine.complete(MAILER, "mail", job.uid)
        park(*place)  # type: ignore[arg-type]

    monkeypatch.setattr(waiters, "park", settle_and_park)

    assert state_of(serving.ask(until_settled(job))) == "complete"


def test_nobody_is_told_of_an_end_before_it_is_durable(clock: SimClock) -> None:
    disk = SimDisk()
    house = sim_house(RULES, clock, disk)
    job = held(house, GONE)
    with Serving(house) as serving, ExitStack() as ends:
        ends.callback(disk.syncs.release)
        [client] = parked(serving, ends, job)
        serving.rest()
        disk.syncs.hold()
        works = ends.enter_context(serving.connect())
        path = f"/api/v1/jobs/{job.uid}"
        works.say(request("POST", path, "mailer", body=b'{"status":"complete"}'))
        disk.syncs.wait_until_held()

        early = client.silent(0.05)
        disk.syncs.release()

        assert early
        assert works.hear().status == 200
        assert state_of(client.hear()) == "complete"


def test_who_waits_for_work_is_not_woken_by_an_end(serving: Serving) -> None:
    job = held(serving.house)
    with ExitStack() as ends:
        [client] = parked(serving, ends, job)
        hungry = ends.enter_context(serving.connect())
        hungry.say(request("GET", "/api/v1/jobs/next?wait=60", "mailer"))
        serving.waiting(2)

        serving.house.engine.complete(MAILER, "mail", job.uid)

        assert state_of(client.hear()) == "complete"
        assert hungry.silent(0.05)
        assert serving.ask(create()).status == 201
        assert hungry.hear().status == 200


# --- how many, and until when -----------------------------------------------------


@pytest.mark.parametrize(("wait", "seconds"), [(5, 5), (60, 60), (99, 60)])
def test_when_the_time_is_up_there_is_nothing(
    stopped: Serving, wait: int, seconds: int
) -> None:
    job = held(stopped.house)
    with stopped.connect() as client:
        client.say(until_settled(job, wait))
        stopped.waiting(1)

        stopped.skip(seconds - 0.1)
        early = client.silent(0.02)
        stopped.skip(0.2)

        assert early
        assert client.hear().status == 204
        assert stopped.house.doorbell.waiters == 0
        assert stopped.run(lambda: watched(stopped)) == 0


def test_a_thousand_who_wait_for_one_job_are_all_told(serving: Serving) -> None:
    serving.limit(waiters_per_service=2000, connections=3000)
    serving.limit(connections_per_address=3000)
    job = held(serving.house, GONE)
    with ExitStack() as ends:
        clients = parked(serving, ends, job, 1000)
        assert watched(serving) == 1

        serving.house.engine.complete(MAILER, "mail", job.uid)

        assert {state_of(client.hear()) for client in clients} == {"complete"}
        serving.waiting(0)
        serving.until(lambda: watched(serving) == 0, "nobody watches")


def test_each_of_many_jobs_that_end_at_once_has_its_own_waiters(
    serving: Serving,
) -> None:
    jobs = [held(serving.house) for _ in range(20)]
    with ExitStack() as ends:
        waiting = {job.uid: parked(serving, ends, job, 2) for job in jobs}
        last = jobs.pop()

        with serving.house.store.transaction() as tx:
            tx.drop(*jobs)

        for job in jobs:
            assert [c.hear().status for c in waiting[job.uid]] == [404, 404]
        assert all(client.silent(0.01) for client in waiting[last.uid])


def test_those_who_wait_for_an_end_count_as_all_who_wait(serving: Serving) -> None:
    serving.limit(waiters_per_service=2)
    job, other = held(serving.house), held(serving.house)
    with ExitStack() as ends:
        parked(serving, ends, job)
        parked(serving, ends, other)

        refused = serving.ask(until_settled(job))
        [mailer] = parked(serving, ends, job, name="mailer")

        assert refused.status == 429
        assert json.loads(refused.body)["code"] == "overloaded"
        assert mailer.silent(0.02)


def test_to_be_given_a_place_asks_nobody_again(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    again = serving.turns.ask_again
    monkeypatch.setattr(
        serving.turns,
        "ask_again",
        lambda waiter: (asked.append(waiter), again(waiter))[1],
    )
    job = held(serving.house)
    with ExitStack() as ends:
        parked(serving, ends, job, 5)
        serving.rest()

        assert asked == []


# --- who is not there any more ----------------------------------------------------


def test_a_client_that_has_left_watches_nothing(serving: Serving) -> None:
    job = held(serving.house)
    gc.disable()
    try:
        with ExitStack() as ends:
            gone, stays = parked(serving, ends, job, 2)
            gone.close()
            serving.waiting(1)
            assert watched(serving) == 1

            stays.close()
            serving.waiting(0)

            serving.until(lambda: watched(serving) == 0, "nobody watches")
    finally:
        gc.enable()
    serving.house.engine.complete(MAILER, "mail", job.uid)
    assert serving.house.engine.look(SHOP, "mail", job.uid).job.state is State.COMPLETE


def test_one_who_left_unnoticed_does_not_stand_in_the_way(serving: Serving) -> None:
    job = held(serving.house)
    with ExitStack() as ends:
        gone, stays = parked(serving, ends, job, 2)
        works = ends.enter_context(serving.connect())
        path = f"/api/v1/jobs/{job.uid}"
        with serving.hold():
            gone.close()
            works.say(request("POST", path, "mailer", body=b'{"status":"complete"}'))

        assert works.hear().status == 200
        assert state_of(stays.hear()) == "complete"
        serving.waiting(0)


def test_who_may_not_see_the_queue_any_more_is_told(serving: Serving) -> None:
    job = held(serving.house)
    with ExitStack() as ends:
        [shop] = parked(serving, ends, job)
        [mailer] = parked(serving, ends, job, name="mailer")

        rules = QueueRules("mail", read=frozenset({"mailer"}))
        serving.house.upkeep.reconfigure(Rulebook({"mail": rules}))
        serving.run(serving.turns.ask_waiters_again)

        assert shop.hear().status == 404
        assert mailer.silent(0.02)
        serving.house.engine.complete(MAILER, "mail", job.uid)
        assert state_of(mailer.hear()) == "complete"


def test_when_it_stops_all_who_wait_are_told_at_once(serving: Serving) -> None:
    job = held(serving.house)
    with ExitStack() as ends:
        clients = parked(serving, ends, job, 3)

        serving.stop()

        for client in clients:
            assert client.hear().status == 204
            assert client.ended()
