"""Appends to the file: one frame, one write and one sync for all who wait.

One thread commits: a thread of the log's own, or the event loop once that has taken
over. Transactions stage their changes in the open group under the store's lock; the
committer takes a group, seals it as one frame, writes it, syncs it, and only then lets
those go who wait for it. Frame n+1 is never written before the sync of frame n has
returned.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple, TypeAlias

from jobengine.errors import StoreFailed, StoreFull
from jobengine.store.journal.disk import DiskFile, DiskFull
from jobengine.store.journal.frame import MARKS_AT, Keys, Mark, Type
from jobengine.store.journal.records import encode
from jobengine.store.journal.room import RETRY_S, Room
from jobengine.store.port import Change

# Is told what was committed, the bytes of its frame, and the seconds it took.
Listener: TypeAlias = Callable[[list[Change], int, float], None]

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
        self.end = end
        self.tag = tag
        self.marked = False  # whether a watermark names the last frame
        self._keys = keys
        self._seq = seq
        self._slot = mark_slot

    @property
    def last_seq(self) -> int:
        """The number of the last frame."""
        return self._seq - 1

    def append(self, type_: Type, body: bytes = b"") -> None:
        """Write a frame; it is durable after the next `sync`."""
        frame, tag = self._keys.seal_frame(type_, self._seq, self.tag, body)
        self.file.write(self.end, frame)
        self.end += len(frame)
        self._seq += 1
        self.tag = tag
        self.marked = False

    def mark(self) -> None:
        """Write a watermark that names the last frame, which must be durable by the
        time the mark is: on a file in use, call this after its sync only."""
        mark = self._keys.seal_mark(Mark(self.last_seq, self.end, self.tag))
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
    """Changes that become durable together: the ticket of all who wait for them."""

    __slots__ = ("capture", "changes", "commit", "failure", "gate", "size")

    def __init__(self, capture: "deque[list[Change]] | None") -> None:
        self.changes: list[Change] = []
        self.size = 0
        # A turnstile: shut until the group is done for, then each who goes through
        # lets the next one in. Waking all at once would set them all upon the
        # interpreter's lock.
        self.gate = threading.Lock()
        self.gate.acquire()
        self.capture = capture  # of the compaction under way when it was opened
        self.commit: tuple[int, int] | None = None  # (epoch, seq), once durable
        self.failure: StoreFailed | None = None

    def wait(self) -> tuple[int, int] | None:
        """Return when it is durable: its commit. See port.Ticket.

        Raises:
            StoreFailed: it never will be.
        """
        with self.gate:
            pass
        if self.failure is not None:
            raise StoreFailed(str(self.failure))
        return self.commit


class Exchanged(NamedTuple):
    """What an exchange of files leaves: the old file, and how long commits waited."""

    tail: Tail
    held_s: float


class _Errand:
    """Something to be done between two commits, and who waits for it."""

    def __init__(self, do: Callable[[], Exchanged]) -> None:
        self.do = do
        self.done = threading.Event()
        self.result: Exchanged | None = None
        self.error: Exception | None = None


class Log:
    """The journal of a memory store. See port.Journal."""

    def __init__(
        self,
        tail: Tail,
        lock: threading.Lock,
        *,
        monotonic: Callable[[], float],
        on_failure: Callable[[BaseException], None],
        owed: Callable[[], int] = lambda: 0,
    ) -> None:
        self._tail = tail  # the committer's alone while it runs
        self._monotonic = monotonic
        self._on_failure = on_failure
        self._marked_at = monotonic()
        self.room = Room(tail.file, owed=owed, monotonic=monotonic)
        self._lock = lock  # the store's: guards all below
        self._groups: deque[Group] = deque()  # staged, oldest first
        self._in_flight: Group | None = None
        self._errand: _Errand | None = None
        self._capture: deque[list[Change]] | None = None
        self.frames = 0  # committed so far
        self.behind = False  # a group waits for room on the disk
        self._asleep = False
        self._broken = False
        self._closed = False
        self.create_room, self._change_room = self.room.look(tail.end)
        self.end, self.epoch = tail.end, tail.epoch
        self.failure: StoreFailed | None = None
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._put = partial(self._bell.put, None)
        self._wake: Callable[[], None] = self._put
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, name="commit", daemon=True
        )
        self._thread.start()

    def take_over(self, wake: Callable[[], None]) -> None:
        """Commit nothing from now on but what the caller has `commit` do.

        *wake* tells it that there is something to do: from any thread, and under the
        store's lock.
        """
        assert self._thread is not None, "there is one committer"
        with self._lock:
            self._wake = wake
        self._bell.put(None)
        self._thread.join()
        self._thread = None

    def listen(self, listener: "Listener") -> None:
        """Have *listener* told of every commit, once that is durable."""
        self._listener = listener

    def admit(self, size: int, *, create: bool) -> None:
        """Called under the store's lock, before the changes are applied.

        Raises:
            StoreFull: *size* bytes of changes cannot be taken.
        """
        if size > (self.create_room if create else self._change_room):
            raise StoreFull(
                "the disk has no room for new jobs: those accepted go on"
                if size <= self._change_room
                else "the disk is full: nothing can be changed until it has room"
            )

    def stage(self, changes: list[Change], size: int) -> Group:
        """Take the changes into the open group. Called under the store's lock."""
        assert self.failure is None, "a transaction after a failure"
        groups = self._groups
        if (
            not groups
            or groups[-1].size + size > GROUP_BYTES
            # What a compaction has copied already must not reach it again.
            or groups[-1].capture is not self._capture
        ):
            groups.append(Group(self._capture))
        group = groups[-1]
        group.changes += changes
        group.size += size
        self.create_room -= size
        self._change_room -= size
        self._ring()
        return group

    def pending(self) -> Group | None:
        """A ticket for all that is staged so far; None when it is durable already."""
        return self._groups[-1] if self._groups else self._in_flight

    def capture(self) -> deque[list[Change]]:
        """Where every commit staged from now on is put once it is durable.

        Called under the store's lock, with the rows copied under the same hold of it.
        """
        assert self._capture is None, "one compaction at a time"
        self._capture = deque()
        return self._capture

    def release(self) -> None:
        """Capture no more."""
        with self._lock:
            self._capture = None

    def exchange(
        self, prepare: Callable[[Tail], Tail], publish: Callable[[], None]
    ) -> Exchanged:
        """Between two commits, go on with the file that *prepare* makes ready.

        *prepare* is given the tail of the old file; *publish* puts the new in place.

        Raises:
            OSError: *prepare* failed, and nothing has changed.
            StoreFailed: *publish* failed, or the store has, or is closing.
        """
        errand = _Errand(lambda: self._exchange(prepare, publish))
        with self._lock:
            if self.failure is not None:
                raise StoreFailed(str(self.failure))
            self._errand = errand
            self._ring()
        errand.done.wait()
        if errand.error is not None:
            raise errand.error
        assert errand.result is not None
        return errand.result

    def commit(self) -> float | None:
        """Do what there is to do; the seconds to rest after it, None: until woken.

        The committer's alone. A failure is told to those who wait, and not raised.
        """
        try:
            while (work := self._next()) is not None:
                if isinstance(work, _Errand):
                    self._do(work)
                    continue
                self.behind = not self._commit(work)
                if self.behind:
                    return RETRY_S
        except Exception as error:  # noqa: BLE001 whatever it is, nobody may wait for ever
            self._fail(error)
        if not self._tail.marked:
            return MARK_IDLE_S
        return RETRY_S if self.room.wanting else None

    def tend(self) -> None:
        """Nothing has come for a while: see to the watermark and the room.

        The committer's alone.
        """
        if (self._tail.marked and not self.room.wanting) or self.failure is not None:
            return
        try:
            if not self._tail.marked:
                self._mark()
                self._tail.sync()
            self._look_for_room()
        except Exception as error:  # noqa: BLE001 as above
            self._fail(error)

    def close(self) -> None:
        """Commit what is staged, write CLOSE and its watermark, let go of the file."""
        # Requests that outlive a drain are refused like those after a failure.
        closed = StoreFailed("the store has been closed")
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self.failure = self.failure or closed
            self._bell.put(None)
        if self._thread is None:
            self.commit()
        else:
            self._thread.join()
        if self.failure is closed:
            try:
                self._tail.append(Type.CLOSE)
                self._tail.sync()
                self._mark()
                self._tail.sync()
            except OSError as error:
                self._fail(error)
        self._tail.file.close()

    def _ring(self) -> None:
        """Wake the committer. Called under the store's lock."""
        if self._asleep:
            self._asleep = False
            self._wake()

    def _run(self) -> None:
        while True:
            rest = self.commit()
            with self._lock:
                done = self._closed and not self._groups
                if done or self._broken or self._wake is not self._put:
                    return
            try:
                self._bell.get(timeout=rest)
            except Empty:
                self.tend()

    def _next(self) -> "Group | _Errand | None":
        """The oldest group that waits, or the errand when its time has come."""
        with self._lock:
            errand = self._errand
            # What was copied before it was durable goes to the old file alone: the
            # new one could not read its rows.
            if self._groups and (
                errand is None or self._groups[0].capture is not self._capture
            ):
                self._in_flight = self._groups.popleft()
                return self._in_flight
            self._errand = None
            self._asleep = errand is None
            return errand

    def _commit(self, group: Group) -> bool:
        """Make the group durable; False when the disk has no room for it yet."""
        tail = self._tail
        began = self._monotonic()
        if not tail.marked and began - self._marked_at >= MARK_EVERY_S:
            # It names the frame before this one, durable by now, and rides on our sync.
            self._mark()
        start = tail.end
        # Nothing, where all of it is to be in memory only.
        body = encode(group.changes)
        if body:
            if not self._append(group, body):
                return False
            tail.sync()
        group.commit = (tail.epoch, tail.last_seq)
        if group.capture is not None:
            group.capture.append(group.changes)
        self._look_for_room(durable=True)
        group.gate.release()
        if self._listener is not None:
            self._listener(group.changes, tail.end - start, self._monotonic() - began)
        return True

    def _append(self, group: Group, body: bytes) -> bool:
        """Append the group; where the disk has no room for it, put it back: False."""
        try:
            self._tail.append(Type.TXN, body)
        except DiskFull:
            # Only where room cannot be reserved: nothing was written, nothing lost.
            if self._closed:
                raise
            with self._lock:
                self.create_room = self._change_room = 0
                self._groups.appendleft(group)
                self._in_flight = None
            return False
        self.frames += 1
        return True

    def _look_for_room(self, *, durable: bool = False) -> None:
        create_room, change_room = self.room.look(self._tail.end)
        with self._lock:
            if durable:
                self._in_flight = None
            staged = sum(group.size for group in self._groups)
            self.create_room = create_room - staged
            self._change_room = change_room - staged
            self.end, self.epoch = self._tail.end, self._tail.epoch

    def _do(self, errand: _Errand) -> None:
        try:
            errand.result = errand.do()
        except Exception as error:  # noqa: BLE001 it is raised where the errand came from
            errand.error = error
        errand.done.set()
        if isinstance(errand.error, StoreFailed):
            raise OSError(str(errand.error)) from errand.error

    def _exchange(
        self, prepare: Callable[[Tail], Tail], publish: Callable[[], None]
    ) -> Exchanged:
        began = self._monotonic()
        # A file that somebody put in our place is not to be renamed over.
        self._tail.check()
        new = prepare(self._tail)
        if not self.room.fits(new.file, new.end):
            raise DiskFull("the jobs there are would have no room in the new file")
        try:
            publish()
        except OSError as error:
            # Which file a restart would find is not known: neither may be written now.
            raise StoreFailed(str(error)) from error
        old, self._tail = self._tail, new
        self.room.move(new.file)
        self._look_for_room()
        return Exchanged(old, self._monotonic() - began)

    def _mark(self) -> None:
        self._tail.check()
        with suppress(DiskFull):
            self._tail.mark()
        self._marked_at = self._monotonic()

    def _fail(self, error: Exception) -> None:
        # A failed sync may have dropped the pages it was asked to keep, and the next
        # one would say all is well. So the first failure is final.
        failure = StoreFailed(
            f"the database could not be written ({error}): nothing is acknowledged "
            "until the daemon has been started again"
        )
        self.behind = False  # they are told that it will never be
        with self._lock:
            self._broken = True
            self.failure = failure
            groups = [*([self._in_flight] if self._in_flight else []), *self._groups]
            self._groups.clear()
            self._in_flight = None
            errand, self._errand = self._errand, None
        for group in groups:
            group.failure = failure
            group.gate.release()
        if errand is not None:
            errand.error = failure
            errand.done.set()
        self._on_failure(error)
