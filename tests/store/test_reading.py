"""Reading beside a daemon: every instant of a growing file, and what needs no key."""

from itertools import combinations_with_replacement
from pathlib import Path

import pytest
from drafts import Draft, added, closed_draft, disk_with, job

from jobengine.errors import NotADatabase, StoreCorrupt
from jobengine.store.journal.chain import Torn
from jobengine.store.journal.frame import FIRST_FRAME, MARKS_AT, Type
from jobengine.store.journal.reading import Survey, Watched, open_to_read, survey
from jobengine.store.journal.recover import examine
from jobengine.testing import SECRET


class Growing:
    """A file that is at another instant each time it is asked."""

    def __init__(self, instants: list[bytes], times: tuple[int, ...]) -> None:
        self._instants = instants
        self._times = list(times)

    def size(self) -> int:
        return len(self._now())

    def read(self, offset: int, count: int) -> bytes:
        return self._now()[offset : offset + count]

    def drop_cache(self) -> None:
        pass

    def _now(self) -> bytes:
        time = self._times.pop(0) if len(self._times) > 1 else self._times[0]
        return self._instants[time]


def growth() -> tuple[list[bytes], list[int]]:
    """A file while commits are appended, torn ones in between, and how many of its
    jobs were acknowledged at each instant."""
    draft = Draft().add(Type.SNAP, added(job(1))).snap_end(1, 1, 7, 0).mark(0)
    instants, acked = [draft.data], [1]
    for number in range(2, 5):
        before = draft.data
        marked = draft.mark((number + 1) % 2).data
        # The mark of the frame before goes with the next frame, and may be torn too.
        torn_mark = bytearray(before)
        at = MARKS_AT[(number + 1) % 2]
        torn_mark[at : at + 40] = marked[at : at + 40]
        frame = draft.add(Type.TXN, added(job(number))).frames[-1]
        cuts = (10, 70, len(frame) - 1, len(frame))
        instants += [bytes(torn_mark), *(marked + frame[:cut] for cut in cuts)]
        acked += [number - 1] * 5
        instants.append(instants[-1])
        acked.append(number)
    return instants, acked


INSTANTS, ACKED = growth()


def test_a_file_that_grows_is_good_at_whatever_instants_it_is_read() -> None:
    for times in combinations_with_replacement(range(len(INSTANTS)), 3):
        found = examine(Growing(INSTANTS, times), SECRET)
        seen = survey(Growing(INSTANTS, times))

        assert len(found.replay.jobs) >= ACKED[times[0]], times
        assert seen.damage is None, times


def test_a_size_taken_before_the_marks_would_refuse_a_good_file() -> None:
    # Why the order matters: marks of a later instant name frames past the size.
    late_marks = INSTANTS[-1][:FIRST_FRAME] + INSTANTS[0][FIRST_FRAME:]

    with pytest.raises(StoreCorrupt):
        examine(Growing([late_marks], (0,)), SECRET)


def surveyed(data: bytes) -> Survey:
    file = disk_with(data).open()
    assert file is not None
    return survey(file)


def test_without_a_key_a_file_tells_its_form_and_what_frames_it_has() -> None:
    draft = closed_draft()

    seen = surveyed(draft.data)

    assert (seen.header.major, seen.header.minor, seen.header.epoch) == (1, 0, 1)
    assert seen.frames == {Type.SNAP: 1, Type.SNAP_END: 1, Type.TXN: 1, Type.CLOSE: 1}
    assert (seen.end, seen.size) == (len(draft.data), len(draft.data))
    assert seen.clean
    assert not seen.header_damaged
    assert seen.torn is None
    assert seen.damage is None


def test_without_a_key_damage_is_told_with_what_stands_before_it() -> None:
    draft = closed_draft()
    data = bytearray(draft.data)
    data[draft.end_of(1) + 70] ^= 1

    seen = surveyed(bytes(data))

    assert seen.damage is not None
    assert seen.damage.offset == draft.end_of(1) == seen.end
    assert seen.frames == {Type.SNAP: 1, Type.SNAP_END: 1}
    assert not seen.clean


def test_without_a_key_a_torn_commit_is_no_damage() -> None:
    draft = closed_draft().add(Type.OPEN)

    seen = surveyed(draft.data[:-1])

    assert isinstance(seen.torn, Torn)
    assert seen.torn.offset == draft.end_of(3)
    assert not seen.clean


def test_without_a_key_every_damaged_byte_of_a_frame_is_found() -> None:
    data = closed_draft().data
    for at in range(FIRST_FRAME, len(data)):
        bad = data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :]
        seen = surveyed(bad)
        # The last frame may have been torn: only a watermark would know.
        assert seen.damage is not None or seen.torn is not None, at


@pytest.mark.parametrize("copy", [0, 12288])
@pytest.mark.parametrize("at", [3, 20, 300, 450, 485])
def test_one_bad_copy_of_the_header_is_told_and_the_other_is_read(
    copy: int, at: int
) -> None:
    data = bytearray(closed_draft().data)
    data[copy + at] ^= 1

    seen = surveyed(bytes(data))

    assert seen.header_damaged
    assert seen.damage is None
    assert sum(seen.frames.values()) == 4


def test_a_header_that_no_frame_follows_has_no_frames() -> None:
    seen = surveyed(bytes(Draft().front))

    assert seen.frames == {}
    assert seen.damage is not None


def test_what_is_no_database_is_refused() -> None:
    with pytest.raises(NotADatabase):
        surveyed(b"#!/bin/sh\n")


def test_a_file_is_read_while_another_holds_its_lock_and_progress_is_told(
    tmp_path: Path,
) -> None:
    path = tmp_path / "db"
    path.write_bytes(closed_draft().data)
    told: list[tuple[int, int]] = []

    with open_to_read(path, lambda *at: told.append(at)) as file:
        found = examine(file, SECRET)

    assert found.clean
    assert told[0] == (0, len(closed_draft().data))
    assert all(done <= total for done, total in told)


def test_a_watched_file_is_the_file() -> None:
    file = disk_with(b"0123456789").open()
    assert file is not None
    watched = Watched(file, lambda _done, _total: None)

    assert watched.size() == 10
    assert watched.read(3, 4) == b"3456"
