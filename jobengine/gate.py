"""Who may come in: rights by the rules in force, and what there is still room for.

Knows no verb. Whoever has no right to a queue cannot tell it from one there is not.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from jobengine.core.access import (
    ALL,
    WRITE,
    Caller,
    Right,
    administers,
    allows,
    rights,
)
from jobengine.core.job import Job
from jobengine.core.queues import (
    MADE_QUEUES_MAX,
    NAME,
    NAME_CHARS_MAX,
    WRONG_NAME,
    MadeQueue,
    PausedQueue,
    QueueRules,
    RemovedQueue,
    Rulebook,
    made_rules,
)
from jobengine.errors import (
    Forbidden,
    InvalidQueue,
    JobTooLarge,
    MemoryFull,
    QueueExists,
    QueueFull,
    QueueNotFound,
)
from jobengine.store.port import Transaction


class Gate:
    """The rules in force, as one caller at a time meets them."""

    def __init__(self, rules: Rulebook) -> None:
        # Swapped whole, within a transaction: by upkeep.reconfigure and `use`.
        self.rules = rules

    def check(self, caller: Caller, queue: str) -> frozenset[Right]:
        """The caller's rights on the queue, or on the one that its first job makes.

        Raises:
            QueueNotFound: there is no such queue, or none it may know of.
        """
        if queue not in self.rules.queues and self._may_make(caller):
            return frozenset({WRITE})
        return self.seen(caller, queue)[1]

    def check_writer(self, caller: Caller, queue: str) -> None:
        """Refuse who may queue no job there, not even its first.

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
        """
        if WRITE not in self.check(caller, queue):
            raise forbidden(caller, queue, WRITE)

    def seen(self, caller: Caller, queue: str) -> tuple[QueueRules, frozenset[Right]]:
        """The queue's rules, and the caller's rights on it.

        Raises:
            QueueNotFound: there is no such queue, or none it may know of.
        """
        rules = self.rules.queues.get(queue)
        if rules is not None:
            held = ALL if administers(caller, self.rules) else rights(caller, rules)
            if held:
                return rules, held
        # The same words for both: a caller without rights must not learn which.
        raise QueueNotFound(
            f"no queue {queue[:NAME_CHARS_MAX]!r} for {caller.name!r}: "
            "config.yml lists the queues and who may use them"
        )

    def admit(self, caller: Caller, queue: str, right: Right) -> QueueRules:
        """The rules of a queue on which the caller has this right.

        Raises:
            QueueNotFound: there is no such queue, or none it may know of.
            Forbidden: there is, and it has not.
        """
        rules = self.rules.queues.get(queue)
        if rules is None or not allows(caller, rules, right):
            rules, held = self.seen(caller, queue)
            if right not in held:
                raise forbidden(caller, queue, right)
        return rules

    def admit_writer(self, tx: Transaction, caller: Caller, queue: str) -> QueueRules:
        """The same for new jobs: the first one of some callers makes the queue (D16).

        Raises:
            QueueNotFound, Forbidden: the caller may not write to the queue.
            QueueExists, QueueFull: it might, but there can be no such queue now.
        """
        if queue not in self.rules.queues and self._may_make(caller):
            lists = self.rules.dynamic
            assert lists is not None
            read, write = tuple(sorted(lists.read)), tuple(sorted(lists.write))
            # In force with the end of the block: what fails makes no queue.
            return self.make(tx, MadeQueue(queue, tx.now, read, write))
        return self.admit(caller, queue, WRITE)

    def sees_empty(self, caller: Caller, queue: str) -> bool:
        """Whether the queue is one that, for all the caller may know, is still to be
        made, and that it could read then."""
        rules, lists = self.rules, self.rules.dynamic
        if lists is None or caller.name not in lists.read:
            return False
        there = rules.queues.get(queue)
        # A queue of others must look like one that there is not.
        return there is None or not (
            rights(caller, there) or administers(caller, rules)
        )

    def make(self, tx: Transaction, made: MadeQueue) -> QueueRules:
        """The rules of a new queue that is not in the configuration, kept; `use` them.

        Raises:
            InvalidQueue: it cannot be called so.
            QueueExists: there is one, or jobs of one that was removed are kept.
            QueueFull: callers have made as many as they may.
        """
        name = made.name
        for each in (name, *made.read, *made.write):
            if not NAME.fullmatch(each):
                raise InvalidQueue(
                    f"{each[:NAME_CHARS_MAX]!r} is no name: it {WRONG_NAME}"
                )
        # Its jobs are not for whoever thinks of its name next.
        if name in self.rules.queues or tx.record(RemovedQueue, name):
            raise QueueExists(f"there is, or was, a queue {name!r}")
        if tx.count_records(MadeQueue) >= MADE_QUEUES_MAX:
            raise QueueFull(f"callers have made {MADE_QUEUES_MAX} queues: delete some")
        tx.put_record(made)
        # It was another queue of this name that somebody paused.
        if (paused := tx.record(PausedQueue, name)) is not None:
            tx.drop_record(paused)
        return made_rules(self.rules, made)

    def use(self, changed: Iterable[QueueRules], *, without: str | None = None) -> None:
        """Put changed rules in force. For the end of a transaction's block."""
        queues = {**self.rules.queues, **{rules.name: rules for rules in changed}}
        if without is not None:
            del queues[without]
        self.rules = replace(self.rules, queues=queues)

    def check_room(
        self,
        tx: Transaction,
        rules: QueueRules,
        size: int,
        there: Job | None = None,
    ) -> None:
        """Refuse a payload of *size* bytes that the queue, or memory, has no room for.

        It is a new job's, or comes in the place of the one that *there* has.

        Raises:
            JobTooLarge: it never will.
            QueueFull, MemoryFull: not now.
        """
        most = rules.max_job_bytes
        if most is not None and size > most:
            raise JobTooLarge(
                f"queue {rules.name!r} takes payloads of at most {most} bytes: "
                f"this one has {size}"
            )
        most = rules.max_jobs
        if there is None and most is not None and tx.live(rules.name) >= most:
            raise QueueFull(f"queue {rules.name!r} has {most} unfinished jobs: no more")
        grown = size if there is None else size - len(there.content)
        if grown <= 0 and there is not None:
            return
        most = rules.max_bytes
        if most is not None and tx.content_bytes(rules.name) + grown > most:
            raise QueueFull(f"queue {rules.name!r} may hold {most} bytes: no more")
        self.check_memory(tx, grown)

    def check_memory(self, tx: Transaction, grown: int) -> None:
        """Refuse to take *grown* bytes more of memory than there are for all.

        Raises:
            MemoryFull: they are not there now.
        """
        most = self.rules.memory_bytes
        if most is not None and tx.memory_bytes() + grown > most:
            raise MemoryFull(
                f"all jobs together may take {most} bytes (memory_bytes in config.yml)"
            )

    def _may_make(self, caller: Caller) -> bool:
        lists = self.rules.dynamic
        return lists is not None and caller.name in lists.write


def forbidden(caller: Caller, queue: str, right: Right) -> Forbidden:
    """The refusal of a caller that sees the queue and has not this right."""
    return Forbidden(
        f"queue {queue!r} refuses {caller.name!r}: it has no {right.name.lower()} "
        "right, which the lists of the queue in config.yml give"
    )
