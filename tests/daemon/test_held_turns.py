"""A turn of the loop: what is asked within one is committed once, then answered.

The disk's syncs are held by the test. A planted committer that is late shows that the
test would notice.
"""

import errno
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from serving import (
    JOB,
    LIVE,
    RULES,
    TEST,
    Client,
    Serving,
    create,
    request,
    take,
)

from jobengine.build import House
from jobengine.core.access import Caller
from jobengine.core.job import NewJob
from jobengine.store.journal.disk import DiskFull
from jobengine.store.port import Committer
from jobengine.testing import SimDisk, sim_house

NOBODY = "00000000-0000-4000-8000-000000000000"
SHOP = Caller("shop")
TELL = "X-JobEngine-Commit: ?"
P9 = b'{"priority":9}'


class Site:
    """A house on a held disk, served."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.failures: list[BaseException] = []
        self.house: House = sim_house(
            RULES, disk=self.disk, on_failure=self.failures.append
        )
        self.serving = Serving(self.house)

    def job(self) -> str:
        """The uid of a job in the queue, made before anything is served."""
        return self.house.engine.enqueue(SHOP, "mail", NewJob(b"{}")).uid


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.disk.syncs.release()


def every_kind(uid: str, other: str) -> dict[str, bytes]:
    """A request for each kind of answer. All but the last few are hot."""
    return {
        "create 201": create(),
        # Read by a thread of its own.
        "create large 201": create('{"pad":"%s"}' % ("x" * 70_000)),
        "next 200": take(),
        "update 200": request("POST", f"/api/v1/jobs/{uid}", "shop", body=b"{}"),
        "delete 204": request("DELETE", f"/api/v1/jobs/{other}", "shop"),
        "test 200": TEST,
        "next 204": take(name="shop", queue="both"),
        "livez 200": LIVE,
        "create 400": request("PUT", "/api/v1/jobs/create", "shop", body=b"{"),
        "create 403": request("PUT", "/api/v1/jobs/create", "mailer", body=JOB),
        "delete 404": request("DELETE", f"/api/v1/jobs/{NOBODY}", "shop"),
        "nothing 404": request("GET", "/nothing"),
        "no request 400": b"nonsense\r\n\r\n",
    }


def asked_in_one_turn(
    site: Site, ends: ExitStack, requests: dict[str, bytes], *, hold: bool = False
) -> dict[str, Client]:
    """Every request on a connection of its own, all read in one turn, from which on
    syncs may be held. Not before: the loop syncs by itself when it is idle."""
    serving = site.serving
    clients = {
        what: ends.enter_context(serving.connect()).say(LIVE) for what in requests
    }
    for client in clients.values():
        client.hear()
    serving.rest()
    with serving.hold():
        if hold:
            site.disk.syncs.hold()
        for what, client in clients.items():
            client.say(requests[what])
    return clients


def leaked(site: Site) -> list[str]:
    """What is answered while the sync of its turn is held."""
    uid, other = site.job(), site.job()
    site.job()
    with ExitStack() as ends:
        serving = ends.enter_context(site.serving)
        ends.callback(site.disk.syncs.release)
        clients = asked_in_one_turn(site, ends, every_kind(uid, other), hold=True)
        site.disk.syncs.wait_until_held()
        early = [what for what, client in clients.items() if not client.silent(0.02)]
        site.disk.syncs.release()
        for what, client in clients.items():
            assert client.hear().status == int(what[-3:]), what
        assert not serving.broken.is_set()
    return early


def test_nothing_is_answered_before_the_sync_of_its_turn(site: Site) -> None:
    assert leaked(site) == []


class Late:
    """A committer that says it has, and commits a little later."""

    def __init__(self, real: Committer, site: Site) -> None:
        self._real, self._site = real, site

    def commit(self) -> float | None:
        loop = self._site.serving.loop
        loop.call_soon(loop.call_soon, self._real.commit)
        return None

    def tend(self) -> None: ...


def test_answers_that_leave_before_their_sync_are_noticed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = site.house.store
    real: Callable[..., Any] = store.take_turns
    monkeypatch.setattr(
        type(store), "take_turns", lambda _store, wake: Late(real(wake), site)
    )

    assert "create 201" in leaked(site)


def test_one_turn_is_one_commit(site: Site) -> None:
    uids = [site.job() for _ in range(4)]
    asked = {f"create {number}": create('{"n":2}', TELL) for number in range(8)}
    asked |= {f"next {number}": take(TELL) for number in range(2)}
    asked |= {
        "update": request("POST", f"/api/v1/jobs/{uids[2]}", "shop", TELL, body=P9),
        "delete": request("DELETE", f"/api/v1/jobs/{uids[3]}", "shop", TELL),
    }

    with ExitStack() as ends:
        ends.enter_context(site.serving)
        clients = asked_in_one_turn(site, ends, asked)
        heard = {what: client.hear() for what, client in clients.items()}

    assert {answer.status for answer in heard.values()} == {200, 201, 204}
    commits = {answer.headers["x-jobengine-commit"] for answer in heard.values()}
    assert len(commits) == 1


def test_turns_one_after_the_other_are_commits_one_after_the_other(site: Site) -> None:
    with site.serving as serving, serving.connect() as client:
        told = [
            client.say(create("{}", TELL)).hear().headers["x-jobengine-commit"]
            for _ in range(3)
        ]

    epochs, numbers = zip(*(map(int, each.split(".")) for each in told), strict=True)
    assert len(set(epochs)) == 1
    assert sorted(set(numbers)) == list(numbers)


def test_what_other_threads_change_is_committed_by_the_loop_and_waited_for(
    site: Site,
) -> None:
    with site.serving:
        uid = site.job()

        assert json.loads(site.serving.ask(take()).body)["uid"] == uid
    assert site.failures == []


@pytest.mark.parametrize("call", ["sync", "write"])
def test_when_the_commit_of_a_turn_fails_every_answer_is_a_503(
    site: Site, call: str
) -> None:
    uid, other = site.job(), site.job()
    site.job()
    requests = every_kind(uid, other)
    # These show nothing of what is stored, and say so to whoever asks.
    free = {"test 200", "livez 200", "create 400", "nothing 404", "no request 400"}

    with ExitStack() as ends:
        ends.enter_context(site.serving)
        clients = asked_in_one_turn(site, ends, {"create 201": create()})
        assert clients.popitem()[1].hear().status == 201
        site.disk.fail = lambda called: errno.EIO if called == call else None
        clients = asked_in_one_turn(site, ends, requests)
        heard = {what: client.hear().status for what, client in clients.items()}
        later = site.serving.ask(create()).status

    stored = {what for what in requests if what not in free}
    assert {heard[what] for what in stored - {"create 403"}} == {503}
    assert heard["create 403"] in {403, 503}
    assert later == 503
    assert len(site.failures) == 1


def test_those_who_wait_are_told_when_the_store_fails(site: Site) -> None:
    with site.serving as serving, serving.connect() as waits:
        waits.say(take(wait=60))
        serving.waiting(1)
        site.disk.fail = lambda called: errno.EIO if called == "sync" else None

        assert serving.ask(create()).status == 503
        serving.stop()

        assert waits.hear().status == 503


def test_the_job_of_a_failed_turn_is_told_to_nobody(site: Site) -> None:
    with site.serving as serving, serving.connect() as waits:
        waits.say(take(wait=60))
        serving.waiting(1)
        site.disk.fail = lambda called: errno.EIO if called == "sync" else None
        with serving.hold():
            maker = serving.connect().say(create())

        with maker:
            assert maker.hear().status == 503
        assert waits.hear().status == 503


def test_a_turn_that_changes_nothing_costs_no_sync(site: Site) -> None:
    with site.serving as serving:
        serving.ask(create())
        serving.until(
            lambda: site.house.store.journal._tail.marked,  # type: ignore[union-attr]
            "the commit has its watermark",
        )
        serving.rest()
        calls: list[str] = []
        site.disk.fail = calls.append  # type: ignore[assignment]

        statuses = [
            serving.ask(said).status
            for said in (take(name="shop", queue="both"), TEST, LIVE)
        ]
        done = list(calls)

    assert statuses == [204, 200, 200]
    assert done == []


def test_while_a_full_disk_keeps_a_commit_waiting_no_answer_leaves() -> None:
    # Only where room cannot be reserved does a commit meet a full disk.
    disk = SimDisk()
    disk.reserve = lambda _end: None
    house = sim_house(RULES, disk=disk)
    full = threading.Event()
    tail: Any = house.store.journal._tail  # type: ignore[union-attr]
    append = tail.append

    def append_or_not(*what: Any) -> None:
        if full.is_set():
            raise DiskFull("no room")
        append(*what)

    tail.append = append_or_not
    with Serving(house) as serving, serving.connect() as writer:
        full.set()
        writer.say(create('{"n":1}'))
        with serving.connect() as reader:
            reader.say(take())

            assert writer.silent()
            assert reader.silent()

            full.clear()
            assert writer.hear().status == 201
            assert reader.hear().status == 507  # it came while the disk was full
