"""Any run of verbs leaves memory, its indexes and the file of one mind."""

from collections import Counter
from dataclasses import dataclass
from functools import partial

from drafts import job, opened
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import KEPT
from msgspec.structs import replace

from jobengine.core import lifecycle
from jobengine.core.backoff import AT_ONCE, Backoff
from jobengine.core.job import (
    OWN,
    Change,
    Job,
    Keys,
    NewJob,
    Renewal,
    State,
    Terms,
    row_bytes,
)
from jobengine.core.lifecycle import BECOMES, Verb
from jobengine.core.once import Answer
from jobengine.core.queues import MadeQueue, QueueRules
from jobengine.core.schedules import Schedule
from jobengine.core.where import is_dead, is_scheduled
from jobengine.errors import DuplicateJob, WrongState
from jobengine.store.memory import MemoryStore
from jobengine.store.port import Record, Transaction, record_bytes
from jobengine.testing import SimClock, SimDisk, sim_house

LATER = SimClock().now() + 100
RULES = QueueRules("q1", lease_ms=50, keep_ms=200, dead_keep_ms=300)

terms = st.builds(
    Terms,
    max_attempts=st.sampled_from([None, 1, 2, OWN]),
    lease_ms=st.sampled_from([None, 20]),
    keep_ms=st.sampled_from([None, 0, 100]),
    backoff=st.sampled_from(
        [None, AT_ONCE, Backoff("list", delays_ms=(10, 20)), Backoff("linear", 30)]
    ),
    poison_after=st.sampled_from([None, 2, OWN]),
    dead_keep_ms=st.sampled_from([None, OWN, 0]),
    durable=st.sampled_from([True, True, False]),
)
texts = st.sampled_from(["a", "b", "\N{HONEYBEE}"])
progress = st.sampled_from([None, b"null", b"1", b"x" * 600])
news = st.builds(
    NewJob,
    content=st.sampled_from([b"{}", b"[1]"]),
    valid_for_ms=st.sampled_from([None, 40, 500]),
    terms=terms,
    delay_ms=st.sampled_from([None, 30]),
    unique_key=st.none() | texts,
    fingerprint=st.none() | texts,
    progress=progress,
    trace=st.sampled_from([None, "00-trace-span-01"]),
)
renewals = st.builds(
    Renewal,
    run_at=st.sampled_from([None, 0]),
    content=st.sampled_from([None, b"[2]"]),
    terms=st.none() | terms,
    progress=progress,
)
changes = st.builds(
    Change,
    state=st.none() | st.sampled_from(State),
    content=st.sampled_from([None, b"[3]"]),
)
patches = st.builds(
    Change,
    priority=st.sampled_from([None, 9]),
    content=st.sampled_from([None, b"[4]"]),
    run_at=st.sampled_from([None, 0, LATER]),
)
ahead = st.sampled_from([None, 1, 40])
bodies = st.sampled_from([b"", b"{}", b"x" * 600])
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        Answer,
        name=texts,
        noted_at=st.just(1),
        due_at=ahead,
        digest=st.just(b"d"),
        status=st.just(201),
        headers=st.sampled_from([(), (("Location", "/here"),)]),
        body=bodies,
    ),
    st.builds(
        Schedule,
        queue=st.just("q1"),
        title=texts,
        noted_at=st.just(1),
        due_at=ahead,
        next_at=ahead,
        cron=st.just("* * * * *"),
        zone=st.just("UTC"),
        content=bodies,
        terms=terms,
        fingerprint=st.none() | texts,
    ),
    st.builds(MadeQueue, texts, st.just(1), st.just(("a", "bc"))),
)
errors = st.sampled_from([None, "", "wrong", "\N{HONEYBEE}" * 1200])


@dataclass
class World:
    """A store on a file, and all that happens to it."""

    data: st.DataObject

    def __post_init__(self) -> None:
        self.clock = SimClock()
        self.disk = SimDisk()
        self.house = sim_house(KEPT, self.clock, self.disk)
        self.store: MemoryStore = self.house.store
        self.committer = self.store.take_turns(lambda: None)
        self.made = 0

    def step(self) -> None:
        """A few acts in one block, which may be undone, and time."""
        self.clock.advance(ms=self.data.draw(st.sampled_from([0, 1, 30, 400])))
        undo = self.data.draw(st.sampled_from([False, False, True]))
        try:
            with self.store.transaction() as tx:
                for _ in range(self.data.draw(st.integers(1, 3))):
                    self.act(tx)
                if undo:
                    raise Undone
        except Undone:
            pass
        if self.data.draw(st.booleans()):
            self.committer.commit()

    def act(self, tx: Transaction) -> None:
        kinds = ["add", "sweep", "record", *["verb"] * 4]
        kind = self.data.draw(st.sampled_from(kinds))
        jobs = tx.jobs("q1")
        try:
            if kind == "add":
                tx.add(self.new(tx))
            elif kind == "sweep":
                self.sweep(tx)
            elif kind == "record":
                self.record(tx)
            elif jobs:
                self.verb(tx, self.data.draw(st.sampled_from(jobs)))
        except DuplicateJob:
            assert kind != "sweep", "time makes no job live"

    def new(self, tx: Transaction) -> Job:
        self.made += 1
        return lifecycle.create(
            self.data.draw(news),
            uid=job(self.made).uid,
            queue="q1",
            seq=tx.next_seq(),
            now=tx.now,
        )

    def sweep(self, tx: Transaction) -> None:
        for entry in tx.due(100):
            if not isinstance(entry, Job):
                tx.drop_record(entry)
                continue
            after = lifecycle.tick(entry, now=tx.now, rules=RULES)
            if after is None:
                tx.drop(entry)
            else:
                tx.put(after)

    def record(self, tx: Transaction) -> None:
        """Keep one, in the place of the one of its name, or drop that."""
        one = self.data.draw(records)
        if one.due_at is not None:
            one = replace(one, due_at=tx.now + one.due_at)
        there = tx.record(type(one), one.name)
        if there is not None and self.data.draw(st.booleans()):
            tx.drop_record(there)
        else:
            tx.put_record(one)

    def verb(self, tx: Transaction, one: Job) -> None:
        verb = self.data.draw(st.sampled_from([*Verb, "update", "drop"]))
        if verb == "drop":
            tx.drop(one)
            return
        if verb == "update":
            after = self.updated(one, tx.now)
        else:
            act = self.outcome(verb)
            try:
                after = act(one, now=tx.now)
            except WrongState:
                assert (one.state, verb) not in BECOMES
                return
        if after.keep_until is not None and after.keep_until <= tx.now:
            tx.bury(after)
        else:
            tx.put(after)

    def updated(self, one: Job, now: int) -> Job:
        change = self.data.draw(changes)
        return lifecycle.update(
            one, change, now=now, token="t" * 36, holder="h", rules=RULES
        )

    def outcome(self, verb: Verb) -> "partial[Job]":
        draw = self.data.draw
        return {
            Verb.CLAIM: lambda: partial(
                lifecycle.claim, token="t" * 36, holder="holder", rules=RULES
            ),
            Verb.BEAT: lambda: partial(
                lifecycle.beat, rules=RULES, progress=draw(progress)
            ),
            Verb.COMPLETE: lambda: partial(
                lifecycle.complete, rules=RULES, result=draw(progress)
            ),
            Verb.FAIL: lambda: partial(
                lifecycle.fail,
                rules=RULES,
                error=draw(errors),
                reason=draw(st.sampled_from((*lifecycle.FAILURES, lifecycle.UNWANTED))),
            ),
            Verb.RELEASE: lambda: partial(
                lifecycle.release,
                rules=RULES,
                run_at=draw(st.sampled_from([None, 0, 5000])),
            ),
            Verb.RESCHEDULE: lambda: partial(
                lifecycle.reschedule, renewal=draw(renewals), rules=RULES
            ),
            Verb.OVERWRITE: lambda: partial(lifecycle.overwrite, new=draw(news)),
            Verb.PATCH: lambda: partial(lifecycle.patch, change=draw(patches)),
            Verb.CANCEL: lambda: partial(lifecycle.cancel, rules=RULES),
            Verb.RETRY: lambda: partial(lifecycle.retry, rules=RULES),
        }[verb]()

    # --- what must hold -----------------------------------------------------------

    def check(self) -> None:
        self.committer.commit()
        with self.store.transaction() as tx:
            jobs = tx.jobs("q1")
            self.check_indexes(tx, jobs)
        self.check_totals(jobs)
        for one in jobs:
            check_job(one)
        found = opened(self.disk.clone()).rows
        assert found.jobs == {one.uid: one for one in jobs if one.terms.durable}
        assert found.records == self.store.rows.records

    def check_indexes(self, tx: Transaction, jobs: list[Job]) -> None:
        live = [one for one in jobs if one.state <= State.INPROGRESS]
        for text in ("a", "b", "\N{HONEYBEE}"):
            owners = [j for j in live if (j.keys or Keys()).unique == text]
            assert len(owners) <= 1
            assert tx.find("q1", text) == (owners[0] if owners else None)
            alike = {j.uid for j in live if (j.keys or Keys()).fingerprint == text}
            assert {j.uid for j in tx.group("q1", text, 999)} == alike
        assert tx.live("q1") == len(live)
        claimable = [
            one
            for one in jobs
            if one.state is State.QUEUED
            and one.run_at <= tx.now
            and (one.expires_at is None or one.expires_at > tx.now)
        ]
        claimable.sort(key=lambda one: (-one.priority, one.run_at, one.seq))
        assert tx.ready("q1", 999) == claimable
        overdue: list[Job | Record] = [
            one
            for one in jobs
            if (due := lifecycle.due_at(one)) is not None and due <= tx.now
        ]
        overdue += [
            kept
            for kept in self.store.rows.records.values()
            if kept.due_at is not None and kept.due_at <= tx.now
        ]
        assert sorted(map(id, tx.due(999))) == sorted(map(id, overdue))

    def check_totals(self, jobs: list[Job]) -> None:
        rows = self.store.rows
        assert rows.row_bytes == sum(map(row_bytes, jobs))
        assert rows.content_bytes == sum(len(one.content) for one in jobs)
        counts = Counter(one.state for one in jobs)
        assert rows.counts == [counts[state] for state in State]
        kept = rows.records.values()
        assert rows.record_bytes == sum(map(record_bytes, kept))
        counted = {kind: len(each) for kind, each in rows.kinds.items() if each}
        assert counted == Counter(map(type, kept))
        with self.store.transaction() as tx:
            assert tx.dead("q1") == sum(map(is_dead, jobs))
            assert tx.scheduled("q1") == sum(is_scheduled(j, tx.now) for j in jobs)


class Undone(Exception):
    """A block that is given up."""


def check_job(one: Job) -> None:
    assert (one.lease is not None) == (one.state is State.INPROGRESS)
    assert (one.keep_until is not None) == (one.state > State.INPROGRESS)
    limit = one.terms.max_attempts
    limit = RULES.max_attempts if limit == OWN else limit
    if limit is not None and one.state is State.QUEUED:
        assert one.attempt < limit
    assert one.attempt >= 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_memory_its_indexes_and_the_file_are_of_one_mind(data: st.DataObject) -> None:
    world = World(data)
    try:
        for step in range(data.draw(st.integers(1, 25))):
            world.step()
            if step % 5 == 0:
                world.check()
        world.check()
    finally:
        world.house.close()
