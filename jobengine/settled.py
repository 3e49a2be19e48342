"""Who waits until a job is settled, and how it ended.

A watch is made within the transaction that looks at the job, and what changes is told
under the same lock: so nothing is missed between the look and the watch. Knows no
thread, no socket, and not who may see the job.
"""

from functools import partial
from weakref import ref

from jobengine.core.job import FINISHED, Job
from jobengine.store.port import Change

# A queue, and the uid of a job in it.
Key = tuple[str, str]


class Watch:
    """Over one job, while somebody waits for its end. It lasts as long as it is held.

    `line` is where to wait for it, at the doorbell. `final` is the row with which the
    job was settled, kept or not; None until then, and where it went without one.
    """

    __slots__ = ("__weakref__", "final", "line")

    def __init__(self, line: str) -> None:
        self.line = line
        self.final: Job | None = None


class Settled:
    """The jobs that are watched. Both verbs are for who has the store's lock."""

    def __init__(self) -> None:
        self.watched = False  # whether any may be
        # Not a WeakValueDictionary: that takes a microsecond to say that it has not.
        self._watches: dict[Key, ref[Watch]] = {}
        # Of which nobody holds the watch: put in by whatever thread has let go of it.
        self._left: list[Key] = []

    def __len__(self) -> int:
        """How many jobs are watched."""
        return sum(known() is not None for known in list(self._watches.values()))

    def watch(self, queue: str, uid: str) -> Watch:
        """The watch over this job: one for all who wait. Called within a transaction,
        which gives the job unless the watch has its end."""
        self._forget()
        key = queue, uid
        known = self._watches.get(key)
        watch = None if known is None else known()
        if watch is None:
            # No name of a queue has a newline: this line is no queue's.
            watch = Watch(f"{queue}\n{uid}")
            self._watches[key] = ref(watch, partial(self._leave, key))
            self.watched = True
        return watch

    def heed(self, changes: list[Change]) -> list[str]:
        """Note what has become of the jobs that are watched; the lines to ring."""
        self._forget()
        lines = []
        for old, new in changes:
            row = old if new is None else new
            if not isinstance(row, Job):
                continue
            known = self._watches.get((row.queue, row.uid))
            watch = None if known is None else known()
            if watch is not None and _ends(watch, new):
                lines.append(watch.line)
        return lines

    def _leave(self, key: Key, _watch: object) -> None:
        """From any thread."""
        self._left.append(key)

    def _forget(self) -> None:
        """Take out what nobody watches any more."""
        while self._left:
            key = self._left.pop()
            known = self._watches.get(key)
            # Somebody else may watch it by now.
            if known is not None and known() is None:
                del self._watches[key]
        self.watched = bool(self._watches)


def _ends(watch: Watch, new: object) -> bool:
    """Note what the job has become; whether that is its end."""
    if isinstance(new, Job):
        # It may begin anew before anybody has been told that it had ended.
        watch.final = new if new.state in FINISHED else None
        return watch.final is not None
    return True
