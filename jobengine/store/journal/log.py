"""Appends to the file: one frame, one write and one sync for all who wait.

One thread commits. Transactions stage their changes in the open group under the
store's lock and then wait for their ticket; the committer takes a group, seals it as
one frame, writes it, syncs it, and only then lets the waiters go. Frame n+1 is never
written before the sync of frame n has returned.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

from jobengine.errors import StoreFailed
from jobengine.store.journal.disk import DiskFile
from jobengine.store.journal.frame import MARKS_AT, Keys, Mark, Type
from jobengine.store.journal.records import encode
from jobengine.store.port import Change

# A group is closed at this size, so that nobody waits long for others' bytes.
GROUP_BYTES = 1 << 20
# A watermark is written with the next frame at most this often ...
MARK_EVERY_S = 0.1
# ... and by itself when no frame has come for this long.
MARK_IDLE_S = 0.05


class Tail:
    """The end of the file: where the next frame goes, and what it is chained to."""

    def __init__(
        self,
        file: DiskFile,
        keys: Keys,
        *,
        epoch: int,
        seq: int,
        end: int,
        tag: bytes,
        mark_slot: int = 0,
    ) -> None:
        self.file = file
        self.epoch = epoch
        self._keys = keys
        self._seq = seq
        self.end = end
        self._tag = tag
        self._slot = mark_slot
        self.marked = False  # whether a watermark names the last frame

    def append(self, type_: Type, body: bytes = b"") -> None:
        """Write a frame; it is durable after the next `sync`."""
        frame, tag = self._keys.seal_frame(type_, self._seq, self._tag, body)
        self.file.write(self.end, frame)
        self.end += len(frame)
        self._seq += 1
        self._tag = tag
        self.marked = False

    def mark(self) -> None:
        """Write a watermark that names the last frame, which must be durable by the
        time the mark is: on a file in use, call this after its sync only."""
        mark = self._keys.seal_mark(Mark(self._seq - 1, self.end, self._tag))
        self.file.write(MARKS_AT[self._slot], mark)
        # The other slot stays as it is: a torn write leaves one good mark.
        self._slot = 1 - self._slot
        self.marked = True

    def check(self) -> None:
        """Raises: OSError, when the file is not the database any more."""
        if not self.file.at_its_path() or self.file.size() != self.end:
            raise OSError("the database file was replaced or changed under the daemon")

    def sync(self) -> None:
        """Return when all that was written is on the disk."""
        self.file.sync()


class Group:
    """Changes that become durable together, and who waits for them."""

    __slots__ = ("changes", "failure", "size", "waiters")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.size = 0
        self.waiters: list[threading.Lock] = []
        self.failure: StoreFailed | None = None

    def join(self) -> "GroupTicket":
        """A place among the waiters. Called under the store's lock."""
        gate = threading.Lock()
        gate.acquire()
        self.waiters.append(gate)
        return GroupTicket(self, gate)


class GroupTicket:
    """See port.Ticket."""

    __slots__ = ("_gate", "_group")

    def __init__(self, group: Group, gate: threading.Lock) -> None:
        self._group = group
        self._gate = gate

    def wait(self) -> None:
        """Return when the group is durable.

        Raises:
            StoreFailed: it never will be.
        """
        self._gate.acquire()
        if self._group.failure is not None:
            raise StoreFailed(str(self._group.failure))


class Log:
    """The journal of a memory store. See port.Journal."""

    def __init__(
        self,
        tail: Tail,
        lock: threading.Lock,
        *,
        monotonic: Callable[[], float],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._tail = tail  # the committer's alone while it runs
        self._monotonic = monotonic
        self._on_failure = on_failure
        self._marked_at = monotonic()
        self._lock = lock  # the store's: guards all below
        self._groups: deque[Group] = deque()  # staged, oldest first
        self._in_flight: Group | None = None
        self._asleep = False
        self._closed = False
        self.failure: StoreFailed | None = None
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def stage(self, changes: Iterable[Change], size: int) -> GroupTicket:
        """Take the changes into the open group. Called under the store's lock."""
        if self.failure is not None:
            raise StoreFailed(str(self.failure))
        assert not self._closed, "a transaction after close"
        groups = self._groups
        if not groups or groups[-1].size + size > GROUP_BYTES:
            groups.append(Group())
        group = groups[-1]
        group.changes += changes
        group.size += size
        if self._asleep:
            self._asleep = False
            self._bell.put(None)
        return group.join()

    def pending(self) -> GroupTicket | None:
        """A ticket for all that is staged so far; None when it is durable already."""
        group = self._groups[-1] if self._groups else self._in_flight
        return None if group is None else group.join()

    def close(self) -> None:
        """Commit what is staged, write CLOSE and its watermark, let go of the file."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._bell.put(None)
        self._thread.join()
        if self.failure is None:
            try:
                self._tail.append(Type.CLOSE)
                self._tail.sync()
                self._mark()
                self._tail.sync()
            except OSError as error:
                self._fail(error)
        self._tail.file.close()

    def _run(self) -> None:
        try:
            while (group := self._next_group()) is not None:
                self._commit(group)
        except Exception as error:  # noqa: BLE001 whatever it is, nobody may wait for ever
            self._fail(error)

    def _next_group(self) -> Group | None:
        """The oldest group that waits, when there is one; None once closed."""
        while True:
            with self._lock:
                if self._groups:
                    self._in_flight = self._groups.popleft()
                    return self._in_flight
                if self._closed:
                    return None
                self._asleep = True
            try:
                self._bell.get(timeout=None if self._tail.marked else MARK_IDLE_S)
            except Empty:
                self._mark()
                self._tail.sync()

    def _commit(self, group: Group) -> None:
        tail = self._tail
        if not tail.marked and self._monotonic() - self._marked_at >= MARK_EVERY_S:
            # It names the frame before this one, durable by now, and rides on our sync.
            self._mark()
        tail.append(Type.TXN, encode(group.changes))
        tail.sync()
        with self._lock:
            self._in_flight = None
        for gate in group.waiters:
            gate.release()

    def _mark(self) -> None:
        self._tail.check()
        self._tail.mark()
        self._marked_at = self._monotonic()

    def _fail(self, error: Exception) -> None:
        # A failed sync may have dropped the pages it was asked to keep, and the next
        # one would say all is well. So the first failure is final.
        failure = StoreFailed(
            f"the database could not be written ({error}): nothing is acknowledged "
            "until the daemon has been started again"
        )
        with self._lock:
            self.failure = failure
            groups = [*([self._in_flight] if self._in_flight else []), *self._groups]
            self._groups.clear()
            self._in_flight = None
        for group in groups:
            group.failure = failure
            for gate in group.waiters:
                gate.release()
        self._on_failure(error)
