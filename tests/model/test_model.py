"""The engine on a sealed file, driven at random beside the plain model of it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from msgspec.structs import asdict, replace
from plain_model import Meant, PlainModel, Refusal, Row, due_at, is_live

from jobengine.admin import Act, Progress
from jobengine.core.access import Caller
from jobengine.core.backoff import AT_ONCE, Backoff
from jobengine.core.job import (
    FINISHED,
    OWN,
    Change,
    Job,
    NewJob,
    Renewal,
    State,
    Terms,
)
from jobengine.core.queues import PausedQueue, QueueRules, RemovedQueue, Rulebook
from jobengine.core.where import DEAD, EVERY, Where
from jobengine.engine import Conflict, Kept, LiveKey
from jobengine.errors import CountDiffers, JobEngineError
from jobengine.testing import SimClock, SimDisk, sim_house

ALL = 1000
RECORDS = (RemovedQueue, PausedQueue)

# Few names, few priorities, short times: so that things meet.
queues = st.sampled_from(["a", "a", "a", "b"])
callers = st.sampled_from(
    [*["both"] * 9, "reader", "reader", "writer", "boss", "stranger"]
)
times = st.sampled_from([1000, 2000, 5000, 1])
priorities = st.sampled_from([1, 50, 100])
contents = st.sampled_from([b"{}", b'{"n":9007199254740993}'])
terms = st.builds(
    Terms,
    max_attempts=st.sampled_from([None, 1, 2]),
    lease_ms=st.none() | times,
    keep_ms=st.none() | times | st.just(0),
    backoff=st.sampled_from([None, AT_ONCE, Backoff("linear", 1000)]),
    poison_after=st.sampled_from([None, 1, 2, OWN]),
    dead_keep_ms=st.sampled_from([None, OWN, 0, 3000]),
    durable=st.sampled_from([True, True, True, False]),
)
progresses = st.sampled_from([None, b"null", b"[1]", b"2"])
new_jobs = st.builds(
    NewJob,
    contents,
    priorities,
    st.none() | times,
    terms,
    delay_ms=st.sampled_from([None, None, 0, 1000]),
    unique_key=st.sampled_from([None, None, "k", "l"]),
    fingerprint=st.sampled_from([None, "f"]),
    progress=st.sampled_from([None, b"[0]"]),
    trace=st.sampled_from([None, "t"]),
)
conflicts = st.sampled_from(Conflict)
batches = st.lists(st.tuples(queues, new_jobs), max_size=3)
reports = st.one_of(
    st.tuples(st.just("beat"), st.fixed_dictionaries({"progress": progresses})),
    st.tuples(
        st.just("complete"),
        st.fixed_dictionaries({"result": st.sampled_from([None, b"null", b"[7]"])}),
    ),
    st.tuples(
        st.just("release"),
        st.fixed_dictionaries({"in_ms": st.sampled_from([-1, -1, 0, 2000])}),
    ),
    st.tuples(
        st.just("fail"),
        st.fixed_dictionaries(
            {
                "reason": st.sampled_from(
                    ["attempts", "attempts", "critical", "cancelled"]
                ),
                "error": st.sampled_from([None, "no"]),
                "in_ms": st.sampled_from([-1, -1, 0, 2000]),
            }
        ),
    ),
    st.tuples(
        st.just("reschedule"),
        st.fixed_dictionaries(
            {
                "in_ms": st.sampled_from([-1, 0, 2000]),
                "content": st.none() | contents,
                "terms": st.none() | terms,
                "progress": st.sampled_from([None, b"[3]"]),
            }
        ),
    ),
)
# What a holder says who wants a job to wait, and not from now on.
LATER = {"fail": "retry_at", "release": "run_at"}
changes = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(State),
        "priority": priorities,
        "content": contents,
        "expires_in": st.sampled_from([-1, 0, 1, 1000, 5000]),
        "run_in": st.sampled_from([-1, 0, 1, 1000, 5000]),
    },
)
# Which jobs are meant, in the words of the engine and as one would say it.
MEANT: list[tuple[Where, Meant]] = [
    (EVERY, lambda _: True),
    (DEAD, lambda row: row["state"] is State.FAILED and row["reason"] is not None),
    (
        Where(states=frozenset({State.QUEUED, State.CANCELLED})),
        lambda row: row["state"] in (State.QUEUED, State.CANCELLED),
    ),
    (
        Where(fingerprint="f"),
        lambda row: row["keys"] is not None and row["keys"].fingerprint == "f",
    ),
    (Where(attempts_min=1), lambda row: row["attempt"] >= 1),
]


@st.composite
def rulebooks(draw: st.DrawFn, *names: tuple[str, ...]) -> Rulebook:
    configured = {
        name: QueueRules(
            name,
            read=frozenset({"reader", "both"}),
            write=frozenset({"writer", "both"}),
            lease_ms=draw(times),
            keep_ms=draw(st.just(0) | times),
            manage=frozenset({"boss"}),
            backoff=draw(st.sampled_from([AT_ONCE, Backoff(base_ms=1000)])),
            poison_after=draw(st.sampled_from([None, 2])),
            dead_keep_ms=draw(times),
            max_jobs=draw(st.sampled_from([None, None, 4])),
            max_inprogress=draw(st.sampled_from([None, None, 1, 2])),
        )
        for name in draw(st.sampled_from(names))
    }
    removed_keep_ms = draw(st.sampled_from([1000, 5000, 0, None]))
    return Rulebook(configured, draw(st.booleans()), removed_keep_ms)


class Machine(RuleBasedStateMachine):
    jobs: Bundle[Row] = Bundle("jobs")

    @initialize(
        target=jobs,
        rules=rulebooks(("a", "b")),
        news=st.lists(new_jobs, min_size=3, max_size=9),
    )
    def first_start(self, rules: Rulebook, news: list[NewJob]) -> Any:
        self.clock = SimClock()
        self.disk = SimDisk()
        self.house = sim_house(rules, self.clock, self.disk)
        self.model = PlainModel(rules)
        self.model.now = self.clock.now()
        self.tokens: list[str] = []  # every lease there ever was
        return multiple(*[row for new in news for row in self.put("both", "a", new)])

    # --- verbs --------------------------------------------------------------------

    @rule(target=jobs, caller=callers, queue=queues, new=new_jobs)
    def enqueue(self, caller: str, queue: str, new: NewJob) -> Any:
        return multiple(*self.put(caller, queue, new))

    @rule(target=jobs, caller=callers, news=batches, conflict=conflicts)
    def enqueue_batch(
        self, caller: str, news: list[tuple[str, NewJob]], conflict: Conflict
    ) -> Any:
        expected, rows = self.model.enqueue(caller, news, conflict)

        refusal, made = told(
            lambda: self.house.engine.enqueue_batch(
                Caller(caller), news, conflict=conflict
            )
        )

        assert refusal is expected
        return multiple(*self.taken_in(rows, made))

    @rule(caller=callers, queue=queues, limit=st.integers(1, 3))
    def claim(self, caller: str, queue: str, limit: int) -> None:
        expected = self.model.claimable(queue, limit)

        refusal, taken = told(
            lambda: self.house.engine.claim(Caller(caller), queue, limit)
        )

        assert refusal is self.model.door(caller, queue, "read")
        if taken is not None:
            assert [job.uid for job in taken] == [row["uid"] for row in expected]
            for job, row in zip(taken, expected, strict=True):
                self.model.claimed(row, caller, self.new_token(job))

    @rule(caller=callers, job=jobs, fields=changes, lease=st.integers(-2, ALL))
    def update(self, caller: str, job: Row, fields: dict[str, Any], lease: int) -> None:
        self.change(caller, job, self.dated(fields), self.pick_token(job, lease))

    @rule(
        caller=callers,
        job=jobs,
        fields=changes,
        when=st.sampled_from([True] * 4 + [False]),
    )
    def patch(self, caller: str, job: Row, fields: dict[str, Any], when: bool) -> None:
        change = self.dated({k: v for k, v in fields.items() if k != "state"})

        refusal, _ = told(
            lambda: self.house.engine.patch(
                Caller(caller), job["queue"], job["uid"], change, when=lambda _: when
            )
        )

        assert refusal is self.model.patch(caller, job, change, when)

    @precondition(lambda self: self.held())
    @rule(
        at=st.integers(0, ALL),
        state=st.sampled_from(State),
        fenced=st.booleans(),
        other=st.none() | callers,
    )
    def settle(self, at: int, state: State, fenced: bool, other: str | None) -> None:
        """A holder, or somebody in its place, reports with or without its lease."""
        held = self.held()
        job = held[at % len(held)]
        lease: Any = job["lease"]
        shown = lease.token if fenced else None
        self.change(other or lease.holder, job, Change(state=state), shown)

    @precondition(lambda self: self.held())
    @rule(at=st.integers(0, ALL), what=reports, fenced=st.booleans())
    def report(self, at: int, what: tuple[str, dict[str, Any]], fenced: bool) -> None:
        held = self.held()
        job = held[at % len(held)]
        shown = job["lease"].token if fenced else None
        self.say(job["lease"].holder, job, what, shown)

    @rule(queue=queues, what=reports)
    def work(self, queue: str, what: tuple[str, dict[str, Any]]) -> None:
        """A worker takes a job, if there is one, and says at once how it went."""
        self.claim("both", queue, 1)
        for job in self.held()[-1:]:
            self.say(job["lease"].holder, job, what, job["lease"].token)

    @rule(caller=callers, job=jobs, what=reports, lease=st.integers(-2, ALL))
    def report_anything(
        self, caller: str, job: Row, what: tuple[str, dict[str, Any]], lease: int
    ) -> None:
        """Of any job there ever was, under any lease there ever was."""
        self.say(caller, job, what, self.pick_token(job, lease))

    @precondition(lambda self: self.held())
    @rule(
        target=jobs,
        at=st.integers(0, ALL),
        other=st.none() | callers,
        news=batches,
        conflict=conflicts,
    )
    def requeue(
        self,
        at: int,
        other: str | None,
        news: list[tuple[str, NewJob]],
        conflict: Conflict,
    ) -> Any:
        held = self.held()
        job = held[at % len(held)]
        caller = other or job["lease"].holder
        expected, rows = self.model.requeue(caller, job, news, conflict, None)

        refusal, made = told(
            lambda: self.house.engine.requeue(
                *(Caller(caller), job["queue"], job["uid"], news), conflict=conflict
            )
        )

        assert refusal is expected
        return multiple(*self.taken_in(rows, made))

    @rule(
        caller=callers,
        job=jobs,
        verb=st.sampled_from(["cancel", "retry", "delete"]),
        by_key=st.booleans(),
    )
    def write(self, caller: str, job: Row, verb: str, by_key: bool) -> None:
        ref: str | LiveKey = job["uid"]
        live = self.model.ticked(self.model.rows.get(job["uid"]))
        keys = None if live is None or not is_live(live) else live["keys"]
        if by_key and keys is not None and keys.unique is not None:
            ref = LiveKey(keys.unique)

        refusal, _ = told(
            lambda: getattr(self.house.engine, verb)(Caller(caller), job["queue"], ref)
        )

        assert refusal is getattr(self.model, verb)(caller, job)

    @rule(caller=callers, queue=queues)
    def cancel_group(self, caller: str, queue: str) -> None:
        refusal, count = told(
            lambda: sum(self.house.admin.cancel_group(Caller(caller), queue, "f"))
        )

        assert refusal is self.model.door(caller, queue, "write")
        if refusal is None:
            assert count == self.model.cancel_group(caller, queue, "f")

    @rule(caller=callers, queue=queues, key=st.sampled_from(["k", "l"]))
    def cancel_key(self, caller: str, queue: str, key: str) -> None:
        refusal, count = told(
            lambda: self.house.admin.cancel_key(Caller(caller), queue, key)
        )

        assert refusal is self.model.door(caller, queue, "write")
        if refusal is None:
            assert count == self.model.cancel_key(caller, queue, key)

    @rule(
        caller=st.sampled_from(["boss", "boss", "both"]),
        queue=queues,
        act=st.sampled_from(Act),
        meant=st.sampled_from(MEANT),
        off_by=st.sampled_from([None, None, 0, 1]),
        dry_run=st.sampled_from([False, False, True]),
        limit=st.sampled_from([None, None, 1]),
    )
    def bulk(
        self,
        caller: str,
        queue: str,
        act: Act,
        meant: tuple[Where, Meant],
        off_by: int | None,
        dry_run: bool,
        limit: int | None,
    ) -> None:
        """The order in which it is done is the house's own."""
        where, says = meant
        with self.house.store.transaction() as tx:
            uids = [job.uid for job in tx.jobs(queue)]
        expected = self.model.meant(act.value, says, uids)

        refusal, parts = told(
            lambda: list(
                self.house.admin.bulk(
                    *(Caller(caller), queue, act, where),
                    dry_run=dry_run,
                    expected=None if off_by is None else len(expected) + off_by,
                    limit=limit,
                )
            )
        )

        differs = CountDiffers if off_by else None
        assert refusal is (self.model.door(caller, queue, "manage") or differs)
        if refusal is None:
            todo = [] if dry_run else expected[:limit]
            changed = self.model.done(act.value, says, todo)
            assert parts[-1] == Progress(len(expected), len(todo), changed)

    @rule(caller=st.sampled_from(["boss", "boss", "both"]), queue=queues)
    def pause(self, caller: str, queue: str) -> None:
        refusal, _ = told(
            lambda: self.house.admin.pause(Caller(caller), queue, "because")
        )

        assert refusal is self.model.door(caller, queue, "manage")
        if refusal is None:
            self.model.paused[queue] = "because"

    @rule(caller=st.sampled_from(["boss", "boss", "both"]), queue=queues)
    def resume(self, caller: str, queue: str) -> None:
        refusal, _ = told(lambda: self.house.admin.resume(Caller(caller), queue))

        assert refusal is self.model.door(caller, queue, "manage")
        if refusal is None:
            self.model.paused.pop(queue, None)

    @rule(caller=callers, queue=queues)
    def list_all(self, caller: str, queue: str) -> None:
        refusal, listing = told(
            lambda: self.house.engine.listing(Caller(caller), queue)
        )

        assert refusal is self.model.door(caller, queue, "read")
        if listing is not None:
            rows = [row for part in listing for row in part]
            assert [place for place, _ in rows] == list(range(len(rows)))
            assert [asdict(job) for _, job in rows] == self.model.listing(queue)

    @rule(queue=queues, count=st.integers(1, 3))
    def a_transaction_fails(self, queue: str, count: int) -> None:
        with suppress(ZeroDivisionError), self.house.store.transaction() as tx:
            ready = tx.ready(queue, count)
            tx.put(*[replace(job, priority=7) for job in ready])
            tx.drop(*ready[1:])
            raise ZeroDivisionError

    # --- time ---------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, 500, 999, 1000, 1000, 2000]))
    def time_passes(self, ms: int) -> None:
        self.clock.advance(ms=ms)
        self.model.now = max(self.model.now, self.clock.now())

    @rule(ms=times)
    def the_clock_jumps_back(self, ms: int) -> None:
        self.clock.advance(ms=-ms)

    @rule(limit=st.integers(1, 4))
    def sweep_a_little(self, limit: int) -> None:
        due, removals = len(self.model.due()), self.model.due_removals()

        done = self.house.upkeep.sweep(limit).total()

        assert done <= limit
        assert done == min(limit, due) or removals

    @rule()
    def sweep_all(self) -> None:
        while self.house.upkeep.sweep():
            pass

        self.agrees()
        assert self.model.due() == []
        assert self.model.due_removals() == []

    # --- the house ----------------------------------------------------------------

    @rule(rules=rulebooks(*[("a", "b")] * 3, ("a",), ("b",)))
    def reconfigure(self, rules: Rulebook) -> None:
        self.house.upkeep.reconfigure(rules)

        self.model.reconfigure(rules)

    @rule()
    def stop_and_start(self) -> None:
        before = self.everything()
        self.house.close()
        self.start(before)

    @rule()
    def crash_and_start(self) -> None:
        before, crashed = self.everything(), self.house
        self.disk = self.disk.clone()
        self.start(before)
        crashed.close()

    # --- what always holds --------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        rows, records = self.everything()
        self.model.take_over(rows, records)
        with self.house.store.transaction() as tx:
            for queue in ("a", "b"):
                ready = [asdict(job) for job in tx.ready(queue, ALL)]
                assert ready == self.model.ready(queue, list(self.model.rows.values()))
            due = tx.due(ALL)
        paused = {q for q, r in self.house.engine.rules.queues.items() if r.paused}
        assert paused == self.model.paused.keys() & self.model.rules.queues.keys()
        expected = [row["uid"] for row in self.model.due()]
        expected += [record.name for record in self.model.due_removals()]
        found = [one.uid if isinstance(one, Job) else one.name for one in due]
        assert sorted(found) == sorted(map(str, expected))

    @invariant()
    def nothing_falls_due_before_it_is_said_to(self) -> None:
        instants = [due_at(row) for row in self.model.rows.values()]
        instants += [record.due_at for record in self.model.removed.values()]
        first = min((at for at in instants if at is not None), default=None)
        told = self.house.upkeep.next_due()
        assert first is None or (told is not None and told <= first)

    @invariant()
    def every_job_is_whole(self) -> None:
        tokens = [row["lease"].token for row in self.held()]
        assert len(tokens) == len(set(tokens))
        live = [row for row in self.model.rows.values() if is_live(row) and row["keys"]]
        keys = [(row["queue"], row["keys"].unique) for row in live]
        keys = [key for key in keys if key[1] is not None]
        assert len(keys) == len(set(keys)), "two live jobs of one key"
        for row in self.model.rows.values():
            assert (row["lease"] is not None) == (row["state"] is State.INPROGRESS)
            assert (row["keep_until"] is not None) == (row["state"] in FINISHED)
            limit = row["terms"].max_attempts
            assert limit is None or row["attempt"] <= limit

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.close()

    # --- how ----------------------------------------------------------------------

    def start(self, before: tuple[dict[str, Row], list[RemovedQueue]]) -> None:
        rules = self.model.rules
        self.model.stopped()
        durable = {u: row for u, row in before[0].items() if row["terms"].durable}
        self.house = sim_house(rules, self.clock, self.disk)
        assert self.everything() == (durable, before[1]), "replayed is not as it was"
        # The only time that outlives a restart is what the rows know of it.
        newest = [row["updated_at"] for row in durable.values()]
        with self.house.store.transaction() as tx:
            noted = [r.noted_at for k in RECORDS for r in tx.records(k)]
        self.model.now = max([self.clock.now(), *newest, *noted])

    def everything(self) -> tuple[dict[str, Row], list[RemovedQueue]]:
        """All rows by uid, every job in one place and counted there; all records."""
        rows: dict[str, Row] = {}
        with self.house.store.transaction() as tx:
            for queue in tx.queues():
                jobs = tx.jobs(queue)
                states = [job.state for job in jobs]
                assert tx.counts(queue) == {s: states.count(s) for s in State}
                for job in jobs:
                    assert job.queue == queue
                    assert job.uid not in rows, "a job in two places"
                    assert tx.get(queue, job.uid) is job
                    rows[job.uid] = asdict(job)
            return rows, tx.records(RemovedQueue)

    def put(self, caller: str, queue: str, new: NewJob) -> list[Row]:
        expected, rows = self.model.enqueue(caller, [(queue, new)], Conflict.REFUSE)

        refusal, job = told(
            lambda: self.house.engine.enqueue(Caller(caller), queue, new)
        )

        assert refusal is expected
        return self.taken_in(rows, job and [job])

    def taken_in(
        self, rows: list[Row | None], told: list[Job | Kept] | None
    ) -> list[Row]:
        made = [job if isinstance(job, Job) else None for job in told or []]
        assert [row is None for row in rows] == [job is None for job in made] or (
            rows == []
        )
        self.model.born(rows, made)
        return [self.model.rows[job.uid] for job in made if job is not None]

    def dated(self, fields: dict[str, Any]) -> Change:
        """The change, with instants for times from now."""
        instants = {"expires_in": "expires_at", "run_in": "run_at"}
        return Change(
            **{
                instants.get(name, name): self.model.now + value
                if name in instants
                else value
                for name, value in fields.items()
            }
        )

    def say(
        self, caller: str, job: Row, what: tuple[str, dict[str, Any]], lease: str | None
    ) -> None:
        verb, how = what
        note(f"{verb} {how} by {caller} under {lease}")
        ours = {**how}
        given: list[Any] = []
        if verb in LATER and how["in_ms"] >= 0:
            how = {**how, LATER[verb]: self.model.now + how["in_ms"]}
        if verb == "reschedule":
            at = self.model.now + how["in_ms"] if how["in_ms"] >= 0 else None
            given = [Renewal(at, how["content"], how["terms"], how["progress"])]
            how, ours = {}, {"renewal": given[0]}
        how = {key: value for key, value in how.items() if key != "in_ms"}

        refusal, _ = told(
            lambda: getattr(self.house.engine, verb)(
                *(Caller(caller), job["queue"], job["uid"], *given), lease=lease, **how
            )
        )

        assert refusal is self.model.report(caller, job, verb, lease, **ours)

    def change(self, caller: str, job: Row, change: Change, lease: str | None) -> None:
        note(f"{change} by {caller} under {lease}")
        refusal, after = told(
            lambda: self.house.engine.update(
                Caller(caller), str(job["queue"]), str(job["uid"]), change, lease=lease
            )
        )

        token = "" if after is None or after.lease is None else after.lease.token
        assert refusal is self.model.update(caller, job, change, lease, token)
        if after is not None and after.lease is not None:
            self.new_token(after)

    def held(self) -> list[Row]:
        return [row for row in self.model.rows.values() if row["lease"] is not None]

    def new_token(self, job: Job) -> str:
        assert job.lease is not None
        if job.lease.token not in self.tokens:
            self.tokens.append(job.lease.token)
        return job.lease.token

    def pick_token(self, job: Row, lease: int) -> str | None:
        """None, the one that holds the job, or any there ever was."""
        lease_now: Any = self.model.rows.get(str(job["uid"]), job)["lease"]
        if lease == -1 and lease_now is not None:
            return str(lease_now.token)
        if lease >= 0 and self.tokens:
            return self.tokens[lease % len(self.tokens)]
        return None


def told(ask: Callable[[], Any]) -> tuple[Refusal, Any]:
    """How it was refused, or what the answer was."""
    try:
        return None, ask()
    except JobEngineError as error:
        return type(error), None


TestModel = Machine.TestCase
# What is found is shown as it was found: making it shorter takes minutes. For that,
# run the seed again without `phases`.
TestModel.settings = settings(
    max_examples=120,
    stateful_step_count=50,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
