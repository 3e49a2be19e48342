"""The queues as one would explain them: plain dicts, no index, no file, no cleverness.

A row is a dict of a job's fields. Rows change when they are told to, as in the real
house; what time alone changes is worked out when asked (`after_time`), and taken over
when the real house has done it, which it may do late but never early or otherwise.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import asdict, replace

from jobengine.core.backoff import delay_ms
from jobengine.core.job import (
    OWN,
    Change,
    Job,
    Keys,
    Lease,
    NewJob,
    Renewal,
    State,
    Terms,
)
from jobengine.core.past import Past, Run
from jobengine.core.queues import QueueRules, RemovedQueue, Rulebook
from jobengine.engine import Conflict
from jobengine.errors import (
    DuplicateJob,
    Forbidden,
    JobCancelled,
    JobEngineError,
    JobNotFound,
    PreconditionFailed,
    QueueFull,
    QueueNotFound,
    StaleLease,
    WrongState,
)

Row = dict[str, Any]
Rows = dict[str, Row]
Refusal = type[JobEngineError] | None

QUEUED, INPROGRESS, COMPLETE, FAILED, CANCELLED = State
RIGHTS = ("read", "write", "browse", "manage")

NEVER_HELD: Row = {
    "lease": None,
    "finished_at": None,
    "keep_until": None,
    "reason": None,
    "result": None,
}

# Whether a row is one of those that are meant.
Meant = Callable[[Row], bool]
# The states from which it can be done.
DONE_TO = {
    "retry": (FAILED, CANCELLED),
    "cancel": (QUEUED, INPROGRESS),
    "delete": tuple(State),
}


class PlainModel:
    def __init__(self, rules: Rulebook) -> None:
        self.rules = rules
        self.now = 0
        self.rows: Rows = {}  # by uid, in the order of creation
        self.removed: dict[str, RemovedQueue] = {}
        self.paused: dict[str, str] = {}

    # --- verbs: each tells how it is refused, or None and does it -----------------

    def door(self, caller: str, queue: str, right: str) -> Refusal:
        may = self._may(caller, queue)
        if not may:
            return QueueNotFound
        return None if right in may else Forbidden

    def enqueue(
        self, caller: str, news: list[tuple[str, NewJob]], conflict: Conflict
    ) -> tuple[Refusal, list[Row | None]]:
        """Refused, or the rows there are to be; `born` takes them in."""
        return self._all_added(dict(self.rows), caller, news, conflict)

    def born(self, rows: list[Row | None], jobs: list[Job | None]) -> None:
        """Take in the rows of these jobs, under the names that they were given."""
        fresh = iter(job for job in jobs if job is not None)
        real: dict[str, Job] = {}
        for row in rows:
            if row is None:
                continue
            job = real.setdefault(row["uid"], next(fresh))
            self.rows[job.uid] = {**row, "uid": job.uid, "seq": job.seq}

    def claimable(self, queue: str, limit: int) -> list[Row]:
        """What the next claim hands out, in this order."""
        asleep = self._handed_out(queue, limit, list(self.rows.values()))
        # Only a claim that finds nothing takes back what others have lost.
        seen = [row for row in map(self.ticked, self.rows.values()) if row is not None]
        return asleep or self._handed_out(queue, limit, seen)

    def claimed(self, row: Row, caller: str, token: str) -> None:
        until = self.now + self._time(row, "lease_ms")
        self._keep(
            row,
            state=INPROGRESS,
            attempt=row["attempt"] + 1,
            lease=Lease(token, caller, until, self.now),
        )

    def report(
        self, caller: str, row: Row, verb: str, lease: str | None, **how: Any
    ) -> Refusal:
        refusal, seen = self._held(caller, row, lease)
        if refusal is None:
            getattr(self, "_" + verb)(seen, **how)
        return refusal

    def requeue(
        self,
        caller: str,
        row: Row,
        news: list[tuple[str, NewJob]],
        conflict: Conflict,
        lease: str | None,
    ) -> tuple[Refusal, list[Row | None]]:
        refusal, seen = self._held(caller, row, lease)
        if refusal is not None:
            return refusal, []
        before = dict(self.rows)
        self._complete(seen)
        refusal, rows = self._all_added(dict(self.rows), caller, news, conflict)
        if refusal is not None:
            self.rows = before
        return refusal, rows

    def update(
        self, caller: str, row: Row, change: Change, lease: str | None, token: str
    ) -> Refusal:
        may = self._may(caller, str(row["queue"]))
        only_state = change == Change(state=change.state) and change.state is not None
        if not may:
            return QueueNotFound
        if "write" not in may and (self.rules.strict_acl or not only_state):
            return Forbidden
        seen = self.ticked(self.rows.get(row["uid"]))
        if seen is None:
            return JobNotFound
        held, cancelled = seen["lease"], seen["state"] is CANCELLED
        if lease is not None and (held is None or held.token != lease):
            return JobCancelled if cancelled else StaleLease
        holds = held is not None and held.holder == caller and "read" in may
        if holds and only_state and change.state is not CANCELLED:
            self._settle(seen, change.state)
        elif cancelled and only_state and change.state is not QUEUED:
            return JobCancelled
        elif "write" not in may:
            return Forbidden
        elif change != Change():
            return self._override(seen, change, caller, token)
        return None

    def delete(self, caller: str, row: Row) -> Refusal:
        refusal, _ = self._written(caller, row)
        if refusal is None:
            del self.rows[row["uid"]]
        return refusal

    def cancel(self, caller: str, row: Row) -> Refusal:
        refusal, seen = self._written(caller, row)
        if refusal is None and not is_live(seen):
            return WrongState
        if refusal is None:
            self._keep(seen, **self._finished(seen, CANCELLED))
        return refusal

    def cancel_group(self, caller: str, queue: str, fingerprint: str) -> int:
        return self._cancel_called(queue, lambda keys: keys.fingerprint == fingerprint)

    def cancel_key(self, caller: str, queue: str, key: str) -> int:
        return self._cancel_called(queue, lambda keys: keys.unique == key)

    def _cancel_called(self, queue: str, called: Callable[[Keys], bool]) -> int:
        seen = [self.ticked(row) for row in self._of(queue) if is_live(row)]
        group = [
            row
            for row in seen
            if row and is_live(row) and row["keys"] and called(row["keys"])
        ]
        for row in group:
            self._keep(row, **self._finished(row, CANCELLED))
        return len(group)

    def retry(self, caller: str, row: Row) -> Refusal:
        refusal, seen = self._written(caller, row)
        return refusal or self._again(seen)

    def patch(self, caller: str, row: Row, change: Change, when: bool) -> Refusal:
        refusal, seen = self._written(caller, row)
        if refusal is None and not when:
            return PreconditionFailed
        if refusal is None and not is_live(seen):
            return WrongState
        if refusal is None:
            self._keep(seen, **fields_of(change))
        return refusal

    def meant(self, act: str, where: Meant, uids: list[str]) -> list[str]:
        """Those of the jobs to which it can be done and that are meant."""
        return [uid for uid in uids if self._is_meant(act, where, uid)]

    def done(self, act: str, where: Meant, uids: list[str]) -> int:
        """Do it to these, one after the other; to how many."""
        count = 0
        for uid in uids:
            if not self._is_meant(act, where, uid):
                continue
            seen = self.ticked(self.rows[uid])
            assert seen is not None
            if act == "delete":
                del self.rows[uid]
            elif act == "cancel":
                self._keep(seen, **self._finished(seen, CANCELLED))
            elif self._again(seen) is not None:
                continue
            count += 1
        return count

    def _is_meant(self, act: str, where: Meant, uid: str) -> bool:
        seen = self.ticked(self.rows.get(uid))
        return seen is not None and seen["state"] in DONE_TO[act] and where(seen)

    def reconfigure(self, rules: Rulebook) -> None:
        self.rules = rules
        gone = {str(row["queue"]) for row in self.rows.values()} | self.removed.keys()
        removed, self.removed = self.removed, {}
        for name in gone - rules.queues.keys():
            since = removed[name].removed_at if name in removed else self.now
            keep = rules.removed_keep_ms
            due = None if keep is None else since + keep
            self.removed[name] = RemovedQueue(name, since, due)
            if name in removed and has_come(removed[name].due_at, self.now):
                self.removed[name] = removed[name]

    def stopped(self) -> None:
        """The process ended: what is not durable is gone."""
        self.rows = {uid: row for uid, row in self.rows.items() if row["terms"].durable}

    # --- what is to be seen -------------------------------------------------------

    def listing(self, queue: str) -> list[Row]:
        seen = [self.ticked(row) for row in self._of(queue)]
        return _in_order([row for row in seen if row])

    def ready(self, queue: str, rows: list[Row]) -> list[Row]:
        return _in_order(
            [
                row
                for row in rows
                if row["queue"] == queue
                and row["state"] is QUEUED
                and row["run_at"] <= self.now
                and not self.is_due(row)
            ]
        )

    def is_due(self, row: Row) -> bool:
        return has_come(due_at(row), self.now)

    def due(self) -> list[Row]:
        return [row for row in self.rows.values() if self.is_due(row)]

    def due_removals(self) -> list[RemovedQueue]:
        return [r for r in self.removed.values() if has_come(r.due_at, self.now)]

    # --- what time does -----------------------------------------------------------

    def after_time(self, row: Row) -> list[Row | None]:
        """What the row may be by now, from untouched to all that time has done."""
        stages: list[Row | None] = [row]
        while (last := stages[-1]) is not None and self.is_due(last):
            stages.append(self.ticked(last))
        if str(row["queue"]) in [record.name for record in self.due_removals()]:
            stages.append(None)
        return stages

    def take_over(self, rows: Rows, records: list[RemovedQueue]) -> None:
        """Make the rows of the real house ours: time may have made them so."""
        assert rows.keys() <= self.rows.keys(), "a job from nowhere"
        for uid, row in list(self.rows.items()):
            real = rows.get(uid)
            assert real in self.after_time(row), _apart(row, real)
            if real is None:
                del self.rows[uid]
            else:
                self.rows[uid] = real
        for record in self.due_removals():
            if record not in records:
                left = [r for r in self.rows.values() if r["queue"] == record.name]
                assert left == [], "forgotten with jobs in it"
                del self.removed[record.name]
        assert sorted(records, key=_name) == sorted(self.removed.values(), key=_name)

    def ticked(self, row: Row | None) -> Row | None:
        while row is not None and self.is_due(row):
            row = self._lost(row) if row["state"] is INPROGRESS else None
        return row

    # --- how ----------------------------------------------------------------------

    def _may(self, caller: str, queue: str) -> set[str]:
        rules = self.rules.queues.get(queue, QueueRules(queue))
        may = {right for right in RIGHTS if caller in getattr(rules, right)}
        return may | ({"browse"} if may & {"read", "manage"} else set())

    def _of(self, queue: str) -> list[Row]:
        return [row for row in self.rows.values() if row["queue"] == queue]

    def _rule(self, row: Row, which: str) -> Any:
        name = str(row["queue"])
        return getattr(self.rules.queues.get(name, QueueRules(name)), which)

    def _time(self, row: Row, which: str) -> int:
        own = getattr(row["terms"], which)
        return int(self._rule(row, which) if own is None else own)

    def _limit(self, row: Row, which: str) -> int | None:
        own: int | None = getattr(row["terms"], which)
        return self._rule(row, which) if own == OWN else own

    def _keep(self, row: Row, **fields: object) -> None:
        row = {**row, "updated_at": self.now, **fields}
        self.rows[row["uid"]] = row
        if has_come(row["keep_until"], self.now):
            del self.rows[row["uid"]]

    def _handed_out(self, queue: str, limit: int, rows: list[Row]) -> list[Row]:
        if queue in self.paused:
            return []
        rules = self.rules.queues.get(queue)
        most = 0 if rules is None else rules.max_inprogress
        if most is not None:
            held = [r for r in rows if r["queue"] == queue and r["state"] is INPROGRESS]
            limit = max(0, min(limit, most - len(held)))
        return self.ready(queue, rows)[:limit]

    def _all_added(
        self,
        rows: Rows,
        caller: str,
        news: list[tuple[str, NewJob]],
        conflict: Conflict,
    ) -> tuple[Refusal, list[Row | None]]:
        made: list[Row | None] = []
        for queue, new in news:
            refusal = self.door(caller, queue, "write")
            if refusal is not None:
                return refusal, []
            there = self._live_of_key(rows, queue, new.unique_key)
            if there is not None and conflict is Conflict.KEEP:
                made.append(None)
                continue
            if there is not None and conflict is Conflict.REFUSE:
                return DuplicateJob, []
            live = [r for r in rows.values() if r["queue"] == queue and is_live(r)]
            most = self.rules.queues[queue].max_jobs
            if there is None and most is not None and len(live) >= most:
                return QueueFull, []
            row = self._overwritten(there, new) if there else self._new(queue, new)
            row["uid"] = row["uid"] or f"new {len(made)}"
            rows[row["uid"]] = row
            made.append(row)
        return None, made

    def _live_of_key(self, rows: Rows, queue: str, key: str | None) -> Row | None:
        """The live row of the key, as time has left it; what it ended is taken out."""
        for uid, row in list(rows.items()):
            has = row["keys"] is not None and row["keys"].unique == key
            if key is None or row["queue"] != queue or not has or not is_live(row):
                continue
            seen = self.ticked(row)
            if seen is None:
                del rows[uid]
            else:
                rows[uid] = seen
            return seen if seen is not None and is_live(seen) else None
        return None

    def _new(self, queue: str, new: NewJob) -> Row:
        keys = Keys(new.unique_key, new.fingerprint, new.trace)
        return {
            "uid": "",
            "queue": queue,
            "seq": -1,
            "created_at": self.now,
            "attempt": 0,
            "terms": new.terms,
            "keys": None if keys == Keys() else keys,
            **self._from(new),
        }

    def _from(self, new: NewJob) -> Row:
        life = new.valid_for_ms
        return {
            "priority": new.priority,
            "state": QUEUED,
            "content": new.content,
            "updated_at": self.now,
            "run_at": self.now + (new.delay_ms or 0),
            "expires_at": None if life is None else self.now + life,
            "progress": new.progress,
            "past": None,
            **NEVER_HELD,
        }

    def _overwritten(self, row: Row, new: NewJob) -> Row:
        durable = row["terms"].durable or new.terms.durable
        return {
            **row,
            **self._from(new),
            "attempt": 0,
            "terms": replace(new.terms, durable=durable),
            "keys": Keys(new.unique_key, new.fingerprint, new.trace),
        }

    def _held(self, caller: str, row: Row, lease: str | None) -> tuple[Refusal, Row]:
        refusal = self.door(caller, row["queue"], "read")
        seen = self.ticked(self.rows.get(row["uid"]))
        if refusal is not None or seen is None:
            return refusal or JobNotFound, row
        held, cancelled = seen["lease"], seen["state"] is CANCELLED
        if lease is not None and (held is None or held.token != lease):
            return (JobCancelled if cancelled else StaleLease), row
        if lease is None and held is None:
            return (JobCancelled if cancelled else WrongState), row
        if lease is None and held.holder != caller:
            return Forbidden, row
        return None, seen

    def _written(self, caller: str, row: Row) -> tuple[Refusal, Row]:
        refusal = self.door(caller, row["queue"], "write")
        seen = self.ticked(self.rows.get(row["uid"]))
        if refusal is not None or seen is None:
            return refusal or JobNotFound, row
        return None, seen

    def _settle(self, row: Row, state: State | None) -> None:
        if state is INPROGRESS:
            self._beat(row)
        elif state is QUEUED:
            self._release(row)
        elif state is COMPLETE:
            self._complete(row)
        else:
            self._fail(row)

    def _beat(self, row: Row, progress: bytes | None = None) -> None:
        told = {} if progress is None else {"progress": progress}
        if progress == b"null":
            told = {"progress": None}  # type: ignore[dict-item]
        self._keep(row, **self._renewed(row), **told)

    def _complete(self, row: Row, result: bytes | None = None) -> None:
        came = {} if result is None else {"result": result, "progress": None}
        self._keep(row, **{**self._finished(row, COMPLETE), **came})

    def _release(self, row: Row, in_ms: int = -1) -> None:
        self._keep(row, **NEVER_HELD, state=QUEUED, attempt=row["attempt"] - 1)
        if in_ms >= 0:
            self._keep({**self.rows[row["uid"]], "run_at": self.now + in_ms})

    def _fail(
        self,
        row: Row,
        reason: str = "attempts",
        error: str | None = None,
        in_ms: int = -1,
    ) -> None:
        row = {**row, "past": self._remembered(row, reason, error, lost=0)}
        if reason == "cancelled":
            self._keep(row, **self._finished(row, CANCELLED))
        elif reason != "attempts" or self._spent(row):
            self._keep({**row, **self._finished(row, FAILED), "reason": reason})
        else:
            self._keep({**self._waiting(row), "state": QUEUED})
            if in_ms >= 0:
                self._keep({**self.rows[row["uid"]], "run_at": self.now + in_ms})

    def _reschedule(self, row: Row, renewal: Renewal) -> None:
        run_at = self.now if renewal.run_at is None else renewal.run_at
        row = {**row, **NEVER_HELD, "state": QUEUED, "run_at": run_at}
        row["content"] = renewal.content or row["content"]
        if renewal.terms is not None:
            row["terms"] = replace(renewal.terms, durable=row["terms"].durable)
            self._keep(row, attempt=0, past=None, progress=renewal.progress)
            return
        wait, past = self._backoff_ms(row), row["past"] or Past()
        if wait:
            row["run_at"] = max(run_at, self.now + wait)
        past = replace(past, lost=0, rescheduled=past.rescheduled + 1)
        row["progress"] = renewal.progress or row["progress"]
        self._keep(row, attempt=row["attempt"] - 1, past=past)

    def _lost(self, row: Row) -> Row:
        lost = 1 + (row["past"].lost if row["past"] else 0)
        limit = self._limit(row, "poison_after")
        spent = self._spent(row)
        poison = not spent and limit is not None and lost >= limit
        reason = "poison" if poison else "lease_lost"
        row = {**row, "past": self._remembered(row, reason, None, lost=lost)}
        row["updated_at"] = self.now
        if poison or spent:
            return {**row, **self._finished(row, FAILED), "reason": reason}
        return {**self._waiting(row), "state": QUEUED}

    def _remembered(
        self, row: Row, outcome: str, error: str | None, *, lost: int
    ) -> Past:
        past = row["past"] or Past()
        run = Run(row["attempt"], row["lease"].since, self.now, outcome, error)
        return replace(past, lost=lost, runs=(*past.runs, run)[-10:])

    def _spent(self, row: Row) -> bool:
        limit = self._limit(row, "max_attempts")
        return limit is not None and row["attempt"] >= limit

    def _backoff_ms(self, row: Row) -> int:
        how = row["terms"].backoff or self._rule(row, "backoff")
        return delay_ms(how, uid=row["uid"], attempt=row["attempt"])

    def _waiting(self, row: Row) -> Row:
        wait = self._backoff_ms(row)
        return {**row, **NEVER_HELD, **({"run_at": self.now + wait} if wait else {})}

    def _again(self, row: Row) -> Refusal:
        """A dead letter or a cancelled job starts anew."""
        if row["state"] not in (FAILED, CANCELLED):
            return WrongState
        if self._key_is_taken(row):
            return DuplicateJob
        expires_at, past = row["expires_at"], row["past"]
        if has_come(expires_at, self.now):
            expires_at = self.now + max(expires_at - row["created_at"], 1)
        self._keep(
            {**row, **NEVER_HELD},
            state=QUEUED,
            attempt=0,
            expires_at=expires_at,
            run_at=min(row["run_at"], self.now),
            past=past and replace(past, lost=0, rescheduled=0),
        )
        return None

    def _key_is_taken(self, row: Row) -> bool:
        key = None if row["keys"] is None else row["keys"].unique
        others = {uid: r for uid, r in self.rows.items() if uid != row["uid"]}
        return self._live_of_key(others, row["queue"], key) is not None

    def _override(self, row: Row, change: Change, caller: str, token: str) -> Refusal:
        fields = fields_of(change)
        past = row["past"]
        if change.state is not None and past is not None:
            row = {**row, "past": replace(past, lost=0, rescheduled=0)}
        opens = change.state in (QUEUED, INPROGRESS) and not is_live(row)
        if opens and self._key_is_taken(row):
            return DuplicateJob
        if change.state is None:
            fields |= self._renewed(row)
        elif change.state is QUEUED:
            fields |= {**NEVER_HELD, "attempt": 0}
        elif change.state is INPROGRESS:
            until = self.now + self._time(row, "lease_ms")
            fields |= {**NEVER_HELD, "attempt": 1}
            fields["lease"] = Lease(token, caller, until, self.now)
        else:
            fields |= self._finished(row, change.state)
        self._keep(row, **fields)
        return None

    def _renewed(self, row: Row) -> Row:
        lease = row["lease"]
        if lease is not None:
            until = self.now + self._time(row, "lease_ms")
            return {"lease": Lease(lease.token, lease.holder, until, lease.since)}
        if row["keep_until"] is not None:
            return {"keep_until": self._keep_until(row, row["state"])}
        return {}

    def _keep_until(self, row: Row, state: State) -> int:
        terms: Terms = row["terms"]
        if state is FAILED and terms.dead_keep_ms is not None:
            rule, own = self._rule(row, "dead_keep_ms"), terms.dead_keep_ms
            return self.now + int(rule if own == OWN else own)
        return self.now + self._time(row, "keep_ms")

    def _finished(self, row: Row, state: State) -> Row:
        return {
            **NEVER_HELD,
            "result": row["result"],
            "state": state,
            "finished_at": self.now,
            "keep_until": self._keep_until(row, state),
        }


def fields_of(change: Change) -> Row:
    return {k: v for k, v in asdict(change).items() if v is not None}


def is_live(row: Row) -> bool:
    return row["state"] in (QUEUED, INPROGRESS)


def has_come(at: int | None, now: int) -> bool:
    return at is not None and at <= now


def due_at(row: Row) -> int | None:
    at: int | None
    if row["state"] is QUEUED:
        at = row["expires_at"]
    elif row["lease"] is not None:
        at = row["lease"].until
    else:
        at = row["keep_until"]
    return at


def _in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: (-r["priority"], r["run_at"], r["seq"]))


def _name(record: RemovedQueue) -> str:
    return record.name


def _apart(row: Row, real: Row | None) -> Row | None:
    """What the two differ in, ours first."""
    return real and {k: (row[k], real[k]) for k in real if row[k] != real[k]}
