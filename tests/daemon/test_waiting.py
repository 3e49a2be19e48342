"""Requests that wait for a job: who is woken, in which order, who is passed over."""

import dataclasses
import json
import socket
import struct
from contextlib import ExitStack
from typing import Any

import pytest
from serving import (
    LIMITS,
    RULES,
    Client,
    Heard,
    Serving,
    Settings,
    create,
    request,
    take,
)

from jobengine.build import House
from jobengine.core.access import Caller
from jobengine.core.backoff import AT_ONCE
from jobengine.core.job import Job, NewJob, State, Terms
from jobengine.core.queues import QueueRules, Rulebook
from jobengine.testing import SimClock, SimDisk, sim_house

MAILER, SHOP = Caller("mailer"), Caller("shop")
TWICE = Terms(max_attempts=2, backoff=AT_ONCE)
LINGER_NOT = struct.pack("ii", 1, 0)


def put(house: House, terms: Terms = TWICE, content: bytes = b"{}") -> str:
    return house.engine.enqueue(SHOP, "mail", NewJob(content, terms=terms)).uid


def the_job(house: House, uid: str) -> Job:
    with house.store.transaction() as tx:
        job = tx.get("mail", uid)
    assert job is not None
    return job


def parked(
    serving: Serving, ends: ExitStack, count: int, said: bytes = b""
) -> list[Client]:
    """So many clients that wait for a job of the mail queue, in this order."""
    clients = []
    for _ in range(count):
        before = serving.house.doorbell.waiters
        clients.append(ends.enter_context(serving.connect()))
        clients[-1].say(said or take(wait=60))
        serving.waiting(before + 1)
    return clients


def uid_of(heard: Heard) -> str:
    assert heard.status == 200, heard
    return str(json.loads(heard.body)["uid"])


# --- how it is asked for ----------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        take("Prefer: wait=60"),
        take("Prefer: respond-async, wait=60"),
        take('Prefer: WAIT="60"; x=1'),
        take("Prefer: respond-async", "Prefer: wait=60"),
        take(wait=60),
        take("Prefer: wait=1", wait=60),
    ],
)
def test_who_prefers_to_wait_waits(serving: Serving, said: bytes) -> None:
    with serving.connect() as client:
        client.say(said)
        serving.waiting(1)

        uid = put(serving.house)

        assert uid_of(client.hear()) == uid


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (take("Prefer: wait=0"), 204),
        (take("Prefer: wait=-1"), 204),
        (take("Prefer: wait=soon"), 204),
        (take("Prefer: waiting=60"), 204),
        (take("Prefer: wait=0", wait=0), 204),
        (request("GET", "/api/v1/jobs/next?wait=0", "mailer", "Prefer: wait=9"), 204),
        (request("GET", "/api/v1/jobs/next?wait=", "mailer"), 400),
        (request("GET", "/api/v1/jobs/next?wait=-1", "mailer"), 400),
        (request("GET", "/api/v1/jobs/next?wait=1.5", "mailer"), 400),
        (request("GET", "/api/v1/jobs/next?x=1&wait=9999999999", "mailer"), 400),
        (take("Prefer: wait=60", name="shop"), 403),
        (take("Prefer: wait=60", queue="nope"), 404),
    ],
)
def test_who_does_not_or_may_not_is_answered_at_once(
    serving: Serving, said: bytes, status: int
) -> None:
    assert serving.ask(said).status == status


def test_with_a_job_there_nobody_waits(serving: Serving) -> None:
    uid = put(serving.house)

    assert uid_of(serving.ask(take(wait=60))) == uid


@pytest.mark.parametrize(
    ("wait", "seconds"), [(5, 5), (60, 60), (61, 60), (999_999_999, 60)]
)
def test_a_wait_ends_with_204_at_its_time_or_at_the_limit(
    stopped: Serving, wait: int, seconds: int
) -> None:
    with stopped.connect() as client:
        client.say(take(wait=wait))
        stopped.waiting(1)

        stopped.skip(seconds - 0.1)
        early = client.silent(0.02)
        stopped.skip(0.2)

        assert early
        assert client.hear().status == 204
        assert stopped.house.doorbell.waiters == 0
        uid = put(stopped.house)
        assert uid_of(client.say(take(wait=wait)).hear()) == uid


def test_a_wait_outlasts_the_deadlines_of_its_connection(stopped: Serving) -> None:
    stopped.limit(idle_seconds=1, read_seconds=1, header_seconds=1)
    with stopped.connect() as client:
        client.say(take(wait=60))
        stopped.waiting(1)

        for _ in range(50):
            stopped.skip(1)
        uid = put(stopped.house)

        assert uid_of(client.hear()) == uid


def test_what_is_sent_behind_a_wait_is_answered_behind_it(serving: Serving) -> None:
    with serving.connect() as client:
        client.say(take(wait=60), take())
        serving.waiting(1)

        first, second = put(serving.house), put(serving.house)

        assert uid_of(client.hear()) == first
        assert uid_of(client.hear()) == second


# --- who is woken -----------------------------------------------------------------


def test_waiters_are_served_in_the_order_in_which_they_came(serving: Serving) -> None:
    with ExitStack() as ends:
        clients = parked(serving, ends, 6)
        # By either lane: one who sends X_Anything twice is no less a waiter.
        clients += parked(serving, ends, 2, take("A: 1", "A: 1", wait=60))
        for left in range(7, -1, -1):
            uid = put(serving.house)

            assert uid_of(clients.pop(0).hear()) == uid
            assert serving.house.doorbell.waiters == left


def test_many_jobs_at_once_release_as_many_in_order(serving: Serving) -> None:
    with ExitStack() as ends:
        clients = parked(serving, ends, 9)
        with serving.connect() as maker:
            maker.say(*[create()] * 7)
            uids = [json.loads(maker.hear().body)["uid"] for _ in range(7)]

        assert [uid_of(client.hear()) for client in clients[:7]] == uids
        serving.waiting(2)
        assert all(client.silent(0.02) for client in clients[7:])


def test_who_asks_without_waiting_does_not_jump_the_queue(serving: Serving) -> None:
    with ExitStack() as ends:
        [waits] = parked(serving, ends, 1)
        maker, hasty = (ends.enter_context(serving.connect()) for _ in range(2))
        maker.say(take(name="shop", queue="both")).hear()
        with serving.hold():
            # Whichever the loop reads first, the one that waits was there before.
            maker.say(create())
            hasty.say(take())

        uid = json.loads(maker.hear().body)["uid"]
        assert uid_of(waits.hear()) == uid
        assert hasty.hear().status == 204


def test_a_queue_has_a_line_of_its_own(serving: Serving) -> None:
    with ExitStack() as ends:
        [waits] = parked(serving, ends, 1, take(wait=60, queue="both"))
        uid = put(serving.house)

        assert waits.silent(0.05)
        assert uid_of(serving.ask(take())) == uid


# --- whatever made a job claimable ------------------------------------------------


def by_create(serving: Serving) -> None:
    assert serving.ask(create()).status == 201


def by_a_lost_lease(serving: Serving) -> None:
    house, clock = serving.house, serving.house.store.clock
    assert isinstance(clock, SimClock)
    clock.advance(minutes=11)
    house.upkeep.sweep()


def by_release(serving: Serving) -> None:
    [job] = jobs(serving)
    path = f"/api/v1/jobs/{job.uid}"
    said = request("POST", path, "mailer", body=b'{"status":"queued"}')
    assert serving.ask(said).status == 200


def by_a_writers_will(serving: Serving) -> None:
    [job] = jobs(serving)
    path = f"/api/v1/jobs/{job.uid}"
    for status in (b"complete", b"queued"):
        body = b'{"status":"%b"}' % status
        assert serving.ask(request("POST", path, "shop", body=body)).status == 200


def jobs(serving: Serving) -> list[Job]:
    with serving.house.store.transaction() as tx:
        return tx.jobs("mail")


@pytest.mark.parametrize(
    "cause", [by_create, by_a_lost_lease, by_release, by_a_writers_will]
)
def test_whatever_makes_a_job_claimable_wakes_exactly_one(
    serving: Serving, cause: object
) -> None:
    if cause is not by_create:
        put(serving.house)
        assert serving.ask(take()).status == 200  # the mailer holds it
    with ExitStack() as ends:
        clients = parked(serving, ends, 3)

        cause(serving)  # type: ignore[operator]

        [job] = jobs(serving)
        assert uid_of(clients[0].hear()) == job.uid
        serving.waiting(2)
        assert all(client.silent(0.02) for client in clients[1:])


def test_a_queue_that_comes_back_comes_with_its_jobs(serving: Serving) -> None:
    uid = put(serving.house)
    rest = Rulebook({"both": RULES.queues["both"]})
    serving.house.upkeep.reconfigure(rest)
    serving.house.doorbell.ring_all()
    assert serving.ask(take(wait=60)).status == 404

    serving.house.upkeep.reconfigure(RULES)

    assert uid_of(serving.ask(take(wait=60))) == uid


def test_those_who_wait_for_a_queue_that_is_taken_away_are_told(
    serving: Serving,
) -> None:
    with ExitStack() as ends:
        clients = parked(serving, ends, 3)

        serving.house.upkeep.reconfigure(Rulebook({"both": RULES.queues["both"]}))
        serving.house.doorbell.ring_all()

        assert [client.hear().status for client in clients] == [404] * 3
        assert serving.house.doorbell.waiters == 0


def test_who_may_not_read_the_queue_any_more_is_told(serving: Serving) -> None:
    with ExitStack() as ends:
        clients = parked(serving, ends, 2)
        other = parked(serving, ends, 1, take(wait=60, name="printer"))

        rules = QueueRules("mail", read=frozenset({"printer"}))
        serving.house.upkeep.reconfigure(Rulebook({"mail": rules}))
        serving.house.doorbell.ring_all()

        assert [client.hear().status for client in clients] == [404] * 2
        assert other[0].silent(0.02)


def test_who_waits_in_vain_behind_one_who_does_not_is_told(serving: Serving) -> None:
    with ExitStack() as ends:
        first = parked(serving, ends, 1, take(wait=60, name="printer"))
        clients = parked(serving, ends, 2)

        rules = QueueRules("mail", read=frozenset({"printer"}))
        serving.house.upkeep.reconfigure(Rulebook({"mail": rules}))
        serving.run(serving.turns.ask_waiters_again)

        assert [client.hear().status for client in clients] == [404] * 2
        assert first[0].silent(0.02)


# --- who is not there any more ----------------------------------------------------


def close(client: Client) -> None:
    client.close()


def reset(client: Client) -> None:
    client.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    client.close()


def hang_up(client: Client) -> None:
    client.hang_up()


LEAVE = [close, reset, hang_up]


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("lane", [(), ("A: 1", "A: 1")], ids=["hot", "plain"])
def test_a_client_that_has_left_is_passed_over(
    serving: Serving, leave: object, lane: tuple[str, ...]
) -> None:
    with ExitStack() as ends:
        gone, stays = parked(serving, ends, 2, take(*lane, wait=60))
        leave(gone)  # type: ignore[operator]
        serving.waiting(1)

        uid = put(serving.house)

        assert uid_of(stays.hear()) == uid
        assert the_job(serving.house, uid).attempt == 1


@pytest.mark.parametrize("leave", LEAVE)
def test_one_that_leaves_in_the_turn_of_the_job_is_passed_over_too(
    serving: Serving, leave: object
) -> None:
    with ExitStack() as ends:
        gone, stays = parked(serving, ends, 2)
        with serving.hold():
            # The loop learns of both at once.
            maker = ends.enter_context(serving.connect()).say(create())
            leave(gone)  # type: ignore[operator]

        uid = json.loads(maker.hear().body)["uid"]
        assert uid_of(stays.hear()) == uid
        assert the_job(serving.house, uid).attempt == 1


@pytest.mark.parametrize("leave", LEAVE)
def test_a_job_for_a_client_that_left_before_the_answer_is_queued_again(
    leave: object, clock: SimClock
) -> None:
    disk = SimDisk()
    house = sim_house(RULES, clock, disk)
    with Serving(house) as serving, ExitStack() as ends:
        gone, stays = parked(serving, ends, 2)
        maker = ends.enter_context(serving.connect())
        ends.callback(disk.syncs.release)
        serving.rest()

        disk.syncs.hold()
        maker.say(create())
        disk.syncs.wait_until_held()  # the job is claimed for the first already
        leave(gone)  # type: ignore[operator]
        disk.syncs.release()

        uid = json.loads(maker.hear().body)["uid"]
        assert uid_of(stays.hear()) == uid
        assert the_job(house, uid).attempt == 1


def test_with_nobody_else_there_it_waits_in_the_queue_as_if_never_taken(
    clock: SimClock,
) -> None:
    disk = SimDisk()
    house = sim_house(RULES, clock, disk)
    with Serving(house) as serving, ExitStack() as ends:
        [gone] = parked(serving, ends, 1)
        ends.callback(disk.syncs.release)
        maker = ends.enter_context(serving.connect())
        disk.syncs.hold()
        maker.say(create())
        disk.syncs.wait_until_held()
        gone.close()
        disk.syncs.release()
        uid = json.loads(maker.hear().body)["uid"]
        serving.until(
            lambda: the_job(house, uid).state is State.QUEUED, "it is queued again"
        )

        job = the_job(house, uid)
        assert (job.attempt, job.lease) == (0, None)


def test_on_a_full_disk_a_job_for_nobody_stays_leased(clock: SimClock) -> None:
    disk = SimDisk()
    house = sim_house(RULES, clock, disk)
    with Serving(house) as serving, ExitStack() as ends:
        [gone] = parked(serving, ends, 1)
        ends.callback(disk.syncs.release)
        maker = ends.enter_context(serving.connect())
        disk.syncs.hold()
        maker.say(create())
        disk.syncs.wait_until_held()
        gone.close()
        # Nothing more can be written, not even that it was not taken.
        journal: Any = house.store.journal
        journal.room.look = lambda _end: (0, 0)
        disk.syncs.release()

        uid = json.loads(maker.hear().body)["uid"]
        serving.rest()

        # Its lease will run out: that is what leases are for.
        assert the_job(house, uid).state is State.INPROGRESS
        assert serving.ask(take()).status == 204


def test_a_client_that_hangs_up_at_once_waits_for_nothing(stopped: Serving) -> None:
    for lane in ((), ("A: 1", "A: 1")):
        with stopped.connect() as client:
            client.say(take(*lane, wait=60))
            client.hang_up()

            assert client.ended()
        assert stopped.house.doorbell.waiters == 0


# --- how many, and until when -----------------------------------------------------


@pytest.mark.parametrize("lane", [(), ("A: 1", "A: 1")], ids=["hot", "plain"])
def test_of_one_service_only_so_many_may_wait(
    serving: Serving, lane: tuple[str, ...]
) -> None:
    serving.limit(waiters_per_service=2)
    with ExitStack() as ends:
        parked(serving, ends, 2)

        refused = serving.ask(take(*lane, wait=60))
        other = parked(serving, ends, 1, take(*lane, wait=60, name="printer"))

        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert json.loads(refused.body)["code"] == "overloaded"
        assert other[0].silent(0.02)


def test_an_operator_may_turn_waiting_off(house: House) -> None:
    limits = dataclasses.replace(LIMITS, wait_seconds=0)
    with Serving(house, Settings(limits=limits)) as serving:
        assert serving.ask(take(wait=60)).status == 204


def test_when_it_stops_all_who_wait_are_told_at_once(serving: Serving) -> None:
    with ExitStack() as ends:
        clients = parked(serving, ends, 3)
        clients += parked(serving, ends, 2, take("A: 1", "A: 1", wait=60))

        serving.stop()

        for client in clients:
            assert client.hear().status == 204
            assert client.ended()
