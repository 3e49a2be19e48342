"""The queues as one would explain them: plain dicts, no index, no file, no cleverness.

A row is a dict of a job's fields. Rows change when they are told to, as in the real
house; what time alone changes is worked out when asked (`after_time`), and taken over
when the real house has done it, which it may do late but never early or otherwise.
"""

from msgspec.structs import asdict

from jobengine.core.job import Change, Job, Lease, NewJob, State
from jobengine.core.queues import QueueRules, RemovedQueue, Rulebook
from jobengine.errors import (
    Forbidden,
    JobEngineError,
    JobNotFound,
    QueueNotFound,
    StaleLease,
)

Row = dict[str, object]
Refusal = type[JobEngineError] | None

NEVER_HELD: Row = {
    "lease": None,
    "finished_at": None,
    "keep_until": None,
    "reason": None,
}


class PlainModel:
    def __init__(self, rules: Rulebook) -> None:
        self.rules = rules
        self.now = 0
        self.rows: dict[str, Row] = {}  # by uid, in the order of creation
        self.removed: dict[str, RemovedQueue] = {}

    # --- verbs: each tells how it is refused, or None and does it -----------------

    def door(self, caller: str, queue: str, right: str) -> Refusal:
        may = self._may(caller, queue)
        if not may:
            return QueueNotFound
        return None if right in may else Forbidden

    def created(self, queue: str, new: NewJob, job: Job) -> None:
        life = new.valid_for_ms
        self.rows[job.uid] = {
            "uid": job.uid,
            "queue": queue,
            "seq": job.seq,
            "priority": new.priority,
            "state": State.QUEUED,
            "content": new.content,
            "created_at": self.now,
            "updated_at": self.now,
            "run_at": self.now,
            "expires_at": None if life is None else self.now + life,
            "attempt": 0,
            "terms": new.terms,
            **NEVER_HELD,
        }

    def claimable(self, queue: str) -> list[Row]:
        """What the next claims hand out, in this order."""
        asleep = self.ready(queue, list(self.rows.values()))
        # Only a claim that finds nothing takes back what others have lost.
        return asleep or self.ready(queue, [*map(self._ticked, self.rows.values())])

    def claimed(self, row: Row, caller: str, token: str) -> None:
        self._keep(
            row,
            state=State.INPROGRESS,
            attempt=row["attempt"] + 1,  # type: ignore[operator]
            lease=Lease(
                token, caller, self.now + self._time(row, "lease_ms"), self.now
            ),
        )

    def update(
        self, caller: str, row: Row, change: Change, lease: str | None, token: str
    ) -> Refusal:
        may = self._may(caller, str(row["queue"]))
        only_state = change == Change(state=change.state) and change.state is not None
        if not may:
            return QueueNotFound
        if "write" not in may and (self.rules.strict_acl or not only_state):
            return Forbidden
        seen = self._ticked(self.rows.get(str(row["uid"])))
        if seen is None:
            return JobNotFound
        held = seen["lease"]
        if lease is not None and (held is None or held.token != lease):  # type: ignore[attr-defined]
            return StaleLease
        holds = held is not None and held.holder == caller and "read" in may  # type: ignore[attr-defined]
        if holds and only_state and change.state is not State.CANCELLED:
            self._settle(seen, change.state)
        elif "write" not in may:
            return Forbidden
        elif change != Change():
            self._override(seen, change, caller, token)
        return None

    def delete(self, caller: str, row: Row) -> Refusal:
        refusal = self.door(caller, str(row["queue"]), "write")
        if refusal is None and self._ticked(self.rows.get(str(row["uid"]))) is None:
            return JobNotFound
        if refusal is None:
            del self.rows[str(row["uid"])]
        return refusal

    def reconfigure(self, rules: Rulebook) -> None:
        self.rules = rules
        gone = {str(row["queue"]) for row in self.rows.values()} | self.removed.keys()
        removed, self.removed = self.removed, {}
        for name in gone - rules.queues.keys():
            since = removed[name].removed_at if name in removed else self.now
            keep = rules.removed_keep_ms
            due = None if keep is None else since + keep
            self.removed[name] = RemovedQueue(name, since, due)

    # --- what is to be seen -------------------------------------------------------

    def listing(self, queue: str) -> list[Row]:
        seen = [self._ticked(row) for row in self.rows.values()]
        return _in_order([row for row in seen if row and row["queue"] == queue])

    def ready(self, queue: str, rows: list[Row | None] | list[Row]) -> list[Row]:
        return _in_order(
            [
                row
                for row in rows
                if row is not None
                and row["queue"] == queue
                and row["state"] is State.QUEUED
                and not self.is_due(row)
            ]
        )

    def is_due(self, row: Row) -> bool:
        due = due_at(row)
        return due is not None and due <= self.now

    def due(self) -> list[Row]:
        return [row for row in self.rows.values() if self.is_due(row)]

    def due_removals(self) -> list[RemovedQueue]:
        everything = self.removed.values()
        return [r for r in everything if r.due_at is not None and r.due_at <= self.now]

    # --- what time does -----------------------------------------------------------

    def after_time(self, row: Row) -> list[Row | None]:
        """What the row may be by now, from untouched to all that time has done."""
        stages: list[Row | None] = [row]
        while (last := stages[-1]) is not None and self.is_due(last):
            stages.append(self._ticked(last))
        if str(row["queue"]) in [record.name for record in self.due_removals()]:
            stages.append(None)
        return stages

    def take_over(self, rows: dict[str, Row], records: list[RemovedQueue]) -> None:
        """Make the rows of the real house ours: time may have made them so."""
        assert rows.keys() <= self.rows.keys(), "a job from nowhere"
        for uid, row in list(self.rows.items()):
            real = rows.get(uid)
            assert real in self.after_time(row), (row, real)
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

    def _ticked(self, row: Row | None) -> Row | None:
        while row is not None and self.is_due(row):
            lost = row["state"] is State.INPROGRESS
            row = self._ended(row, "lease_lost") if lost else None
        return row

    # --- how ----------------------------------------------------------------------

    def _may(self, caller: str, queue: str) -> set[str]:
        rules = self.rules.queues.get(queue, QueueRules(queue))
        lists = {"read": rules.read, "write": rules.write}
        return {right for right, names in lists.items() if caller in names}

    def _time(self, row: Row, which: str) -> int:
        own = getattr(row["terms"], which)
        name = str(row["queue"])
        rules = self.rules.queues.get(name, QueueRules(name))
        return int(getattr(rules, which) if own is None else own)

    def _keep(self, row: Row, **fields: object) -> None:
        self.rows[str(row["uid"])] = {**row, "updated_at": self.now, **fields}

    def _settle(self, row: Row, state: State | None) -> None:
        if state is State.INPROGRESS:
            self._keep(row, **self._renewed(row))
        elif state is State.QUEUED:
            attempt = row["attempt"] - 1  # type: ignore[operator]
            self._keep(row, **NEVER_HELD, state=state, attempt=attempt)
        elif state is State.COMPLETE:
            self._keep(row, **self._finished(row, state))
        else:
            self._keep(self._ended(row, "attempts"))

    def _ended(self, row: Row, reason: str) -> Row:
        """An attempt came to nothing."""
        limit = row["terms"].max_attempts  # type: ignore[attr-defined]
        row = {**row, "updated_at": self.now}
        if limit is None or row["attempt"] < limit:
            return {**row, **NEVER_HELD, "state": State.QUEUED}
        return {**row, **self._finished(row, State.FAILED), "reason": reason}

    def _override(self, row: Row, change: Change, caller: str, token: str) -> None:
        fields = {k: v for k, v in asdict(change).items() if v is not None}
        if change.state is None:
            fields |= self._renewed(row)
        elif change.state is State.QUEUED:
            fields |= {**NEVER_HELD, "attempt": 0}
        elif change.state is State.INPROGRESS:
            until = self.now + self._time(row, "lease_ms")
            fields |= {**NEVER_HELD, "attempt": 1}
            fields["lease"] = Lease(token, caller, until, self.now)
        else:
            fields |= self._finished(row, change.state)
        self._keep(row, **fields)

    def _renewed(self, row: Row) -> Row:
        lease = row["lease"]
        if isinstance(lease, Lease):
            until = self.now + self._time(row, "lease_ms")
            return {"lease": Lease(lease.token, lease.holder, until, lease.since)}
        if row["keep_until"] is not None:
            return {"keep_until": self.now + self._time(row, "keep_ms")}
        return {}

    def _finished(self, row: Row, state: State) -> Row:
        keep_until = self.now + self._time(row, "keep_ms")
        return {
            **NEVER_HELD,
            "state": state,
            "finished_at": self.now,
            "keep_until": keep_until,
        }


def due_at(row: Row) -> int | None:
    if row["state"] is State.QUEUED:
        return row["expires_at"]  # type: ignore[return-value]
    lease = row["lease"]
    return lease.until if isinstance(lease, Lease) else row["keep_until"]  # type: ignore[return-value]


def _in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: (-r["priority"], r["run_at"], r["seq"]))  # type: ignore[operator]


def _name(record: RemovedQueue) -> str:
    return record.name
