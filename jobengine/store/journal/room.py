"""How much may still be written: blocks are reserved ahead of need.

The reserve is what the jobs already accepted need to be claimed, settled and dropped.
When it cannot grow, what brings new work is refused and all else goes on; when it is
used up, all writes are. The committer's alone, but for `fits`.
"""

from collections.abc import Callable

from jobengine.store.journal.disk import DiskFile

MIB = 1 << 20

# What each job may still need, each row in a frame of its own: an unfinished one a
# claim and what it comes to, both with all that row_bytes counts, the first with the
# longest name of a holder, the second with one more run remembered; every one a
# tombstone.
SETTLE_BYTES = 864
TOMBSTONE_BYTES = 128
# A change is admitted by more than it will take: the last batch of a sweep must be too.
LAST_CHANGES = MIB
RESERVE_MIN = 4 * MIB
# Tried in turn beyond the reserve, so that the disk is asked seldom while it has room
# and is used to the end when it has little. Of the first at least half is there before
# a commit, so that the largest transaction finds room on a disk that has it.
AHEAD = (32 * MIB, 8 * MIB, MIB)
# With less than this for them no new jobs are taken, not even small ones: so that full
# means the same to all.
NEW_WORK_MIN = 64 << 10
# Kept back for marks, CLOSE and the rounding of blocks.
LAST_BYTES = 64 << 10
# How often a full disk is asked again.
RETRY_S = 1.0

UNLIMITED = 1 << 62


def owed_bytes(*, jobs: int, unfinished: int, row_bytes: int, records: int = 0) -> int:
    """What these jobs and records need until the last of them is gone."""
    gone = TOMBSTONE_BYTES * (jobs + records)
    return gone + SETTLE_BYTES * unfinished + 2 * row_bytes


class Room:
    """The reserve of one file."""

    def __init__(
        self,
        file: DiskFile,
        *,
        owed: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._file = file
        self._owed = owed
        self._monotonic = monotonic
        self._reserved: int | None = 0  # None: the file system cannot reserve
        self._refused_at = -RETRY_S
        self.full = False  # no new jobs are taken
        self.wanting = False  # the disk gave less than it was asked for

    def __str__(self) -> str:
        """In a word, for readiness."""
        if self._reserved is None:
            return "not reserved on this file system"
        return "full" if self.full else "ok"

    def look(self, end: int) -> tuple[int, int]:
        """The bytes that creates, and that other changes, may write beyond *end*."""
        need = max(RESERVE_MIN, self._need())
        self._extend(end, need)
        if self._reserved is None:
            return UNLIMITED, UNLIMITED
        free = self._reserved - end - LAST_BYTES
        self.full = free < need + NEW_WORK_MIN
        self.wanting = free < need + AHEAD[0] // 2
        return 0 if self.full else free - need, free

    def fits(self, file: DiskFile, end: int) -> bool:
        """Whether another file, *end* bytes long, has room for what this one owes."""
        return file.reserve(0, end + self._need() + LAST_BYTES) is not False

    def move(self, file: DiskFile) -> None:
        """Go on with another file."""
        self._file = file
        if self._reserved is not None:
            self._reserved = 0

    def _need(self) -> int:
        return self._owed() + LAST_CHANGES

    def _extend(self, end: int, need: int) -> None:
        """Have at least half of the first step beyond the need, if the disk has it."""
        if self._reserved is None:
            return
        least = end + need + LAST_BYTES
        now = self._monotonic()
        if self._reserved >= least + AHEAD[0] // 2 or now < self._refused_at + RETRY_S:
            return
        start = max(end, self._reserved)
        for upto in (*(least + ahead for ahead in AHEAD), least):
            if upto <= start:
                break
            got = self._file.reserve(start, upto - start)
            if got is not False:
                self._reserved = upto if got else None
                return
        self._refused_at = now
