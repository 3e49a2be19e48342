"""What is left of a damaged file: nothing invented, and nothing run a second time."""

import errno

import pytest
from drafts import Draft, added, closed_draft, disk_with, job

from jobengine.core.job import Job, Lease, State
from jobengine.core.lifecycle import due_at
from jobengine.errors import NotADatabase, StoreCorrupt, WrongSecret
from jobengine.store.journal.frame import FIRST_FRAME, MARKS_AT, Type
from jobengine.store.journal.records import encode
from jobengine.store.journal.salvage import (
    BLANK,
    NO_PAYLOAD,
    SALVAGED,
    UNSURE,
    Salvaged,
    salvage,
)
from jobengine.testing import SECRET, SimFile


def file_of(data: bytes) -> SimFile:
    file = disk_with(data).open()
    assert file is not None
    return file


def salvaged(data: bytes) -> Salvaged:
    return salvage(file_of(data), SECRET)


def changed(old: Job, new: Job | None) -> bytes:
    return encode([(old, new)])


def long_draft() -> Draft:
    """Jobs 1 and 2 in the snapshot, then 3, 4 and 5 a frame each: frames 2, 3, 4."""
    draft = Draft().add(Type.SNAP, added(job(1), job(2))).snap_end(1, 2, 14, 0)
    for number in (3, 4, 5):
        draft.add(Type.TXN, added(job(number)))
    return draft.mark(0)


def without(draft: Draft, frame: int) -> bytes:
    """The file with one frame zeroed."""
    frames = list(draft.frames)
    frames[frame] = bytes(len(frames[frame]))
    return bytes(draft.front) + b"".join(frames)


def with_bad_body(draft: Draft, frame: int) -> bytes:
    frames = [bytearray(each) for each in draft.frames]
    frames[frame][70] ^= 1
    return bytes(draft.front) + b"".join(frames)


def numbers(found: Salvaged) -> list[int]:
    return [made.seq for made in found.rows.jobs.values()]


def held(found: Salvaged) -> dict[int, str]:
    return {found.rows.jobs[uid].seq: why for uid, why in found.held.items()}


def test_of_a_whole_file_everything_is_taken_and_nothing_is_held() -> None:
    found = salvaged(closed_draft().data)

    assert list(found.rows.jobs.values()) == [job(1), job(2)]
    assert (found.frames, found.lost, found.held) == (4, (), {})
    assert not found.end_unsure


def test_a_torn_commit_was_never_acknowledged_and_is_not_lost() -> None:
    draft = long_draft()
    whole = draft.data
    draft.add(Type.TXN, added(job(6)))

    for cut in range(1, len(draft.data) - len(whole)):
        found = salvaged(draft.data[:-cut])
        assert (numbers(found), found.lost, found.held) == ([1, 2, 3, 4, 5], (), {})


def test_lost_frames_are_told_by_their_numbers_and_what_was_before_is_held() -> None:
    found = salvaged(without(long_draft(), 3))

    assert found.lost == ((3, 3),)
    assert numbers(found) == [1, 2, 3, 5]
    assert held(found) == {1: UNSURE, 2: UNSURE, 3: UNSURE}
    assert found.rows.jobs[job(5).uid] == job(5)


def test_a_held_job_waits_for_a_person_and_never_runs_or_vanishes() -> None:
    taken = job(
        9,
        state=State.INPROGRESS,
        lease=Lease("t", "mailer", 5000, 2000),
        updated_at=2000,
    )
    draft = Draft().add(Type.SNAP, added(taken)).snap_end(1, 1, 7, 0)
    draft.add(Type.TXN, added(job(2))).add(Type.TXN, added(job(3))).mark()

    found = salvaged(without(draft, 2))

    kept = found.rows.jobs[taken.uid]
    assert (kept.state, kept.reason, kept.lease) == (State.FAILED, SALVAGED, None)
    assert (kept.content, kept.finished_at) == (taken.content, 2000)
    assert due_at(kept) is None


def test_a_finished_job_stays_what_it_was() -> None:
    done = job(1, state=State.COMPLETE, finished_at=2000, keep_until=9000)
    draft = Draft().add(Type.SNAP, added(done)).snap_end(1, 1, 7, 0)
    draft.add(Type.TXN, added(job(2))).add(Type.TXN, added(job(3))).mark()

    found = salvaged(without(draft, 2))

    assert found.rows.jobs[done.uid] == done
    assert found.held == {}


def test_a_job_that_was_written_whole_after_the_loss_is_not_held() -> None:
    draft = long_draft()
    fresh = job(1, content=b'{"new":1}', updated_at=3000)
    draft.add(Type.TXN, changed(job(1), fresh)).mark(1)

    found = salvaged(without(draft, 3))

    assert found.rows.jobs[fresh.uid] == fresh
    assert fresh.uid not in found.held


def test_a_row_without_its_payload_after_the_loss_is_held() -> None:
    # The lost frame may have been the one that changed the payload.
    draft = long_draft()
    same = job(1)
    taken = job(1, updated_at=3000, content=same.content, priority=60)
    draft.add(Type.TXN, changed(taken, taken)).mark(1)

    found = salvaged(without(draft, 3))

    assert held(found)[1] == UNSURE
    assert found.rows.jobs[taken.uid].priority == 60


def test_a_job_that_is_deleted_after_the_loss_stays_deleted() -> None:
    draft = long_draft().add(Type.TXN, changed(job(1), None)).mark(1)

    found = salvaged(without(draft, 3))

    assert job(1).uid not in found.rows.jobs
    assert job(1).uid not in found.held


def test_a_job_whose_payload_is_lost_is_listed_with_null_in_its_place() -> None:
    draft = Draft().snap_end().add(Type.TXN, added(job(1)))
    row = job(1, priority=70)
    draft.add(Type.TXN, changed(row, row)).mark()

    found = salvaged(without(draft, 1))

    kept = found.rows.jobs[row.uid]
    assert held(found) == {1: NO_PAYLOAD}
    assert (kept.content, kept.priority, kept.state) == (BLANK, 70, State.FAILED)


def test_a_finished_job_whose_payload_is_lost_is_listed_and_stays_finished() -> None:
    draft = Draft().snap_end().add(Type.TXN, added(job(1)))
    done = job(1, state=State.COMPLETE, finished_at=2, keep_until=9)
    draft.add(Type.TXN, changed(done, done)).mark()

    found = salvaged(without(draft, 1))

    assert held(found) == {1: NO_PAYLOAD}
    assert found.rows.jobs[done.uid].state is State.COMPLETE


def test_a_lost_part_of_the_snapshot_holds_no_other_job() -> None:
    draft = Draft()
    for number in (1, 2, 3):
        draft.add(Type.SNAP, added(job(number)))
    draft.snap_end(1, 3, 21, 0).mark()

    told = salvaged(with_bad_body(draft, 1))
    silent = salvaged(without(draft, 1))

    assert (told.lost, numbers(told), told.held) == (((1, 1),), [1, 3], {})
    # Where its header is gone too, it may as well have been a commit.
    assert held(silent) == {1: UNSURE}


def test_a_lost_end_that_a_mark_speaks_of_is_lost() -> None:
    draft = long_draft()

    found = salvaged(draft.data[: draft.end_of(2)])

    assert found.lost == ((3, 4),)
    assert held(found) == {1: UNSURE, 2: UNSURE, 3: UNSURE}


def test_a_damaged_last_frame_that_a_mark_speaks_of_is_lost() -> None:
    found = salvaged(with_bad_body(long_draft(), 4))

    assert found.lost == ((4, 4),)
    assert len(found.held) == 4


def test_a_damaged_frame_that_bytes_follow_had_been_durable() -> None:
    draft = long_draft().mark(0, frame=3)

    last = salvaged(with_bad_body(draft, 4))
    followed = salvaged(with_bad_body(draft, 4) + b"\0")

    assert last.lost == ()
    assert followed.lost == ((4, 4),)


def test_without_a_mark_nobody_knows_what_came_after() -> None:
    draft = long_draft()
    draft.front[MARKS_AT[0]] ^= 1

    found = salvaged(draft.data)

    assert found.end_unsure
    assert (found.lost, len(found.held)) == ((), 5)


def test_more_rest_than_one_commit_is_an_end_that_nobody_knows() -> None:
    found = salvaged(long_draft().data + bytes((16 << 20) + 85))

    assert found.end_unsure
    assert len(found.held) == 5


def test_a_doubled_frame_is_taken_once_and_swapped_ones_in_their_order() -> None:
    draft = long_draft()
    late = job(3, priority=9)
    draft.add(Type.TXN, changed(job(3), late)).mark(1)
    frames = draft.frames
    swapped = [*frames[:2], frames[5], frames[3], frames[4], frames[2], frames[2]]

    found = salvaged(bytes(draft.front) + b"".join(swapped))

    assert (found.lost, found.held) == ((), {})
    assert found.rows.jobs[late.uid].priority == 9


def test_after_frames_of_a_fork_nothing_from_before_is_sure() -> None:
    one, other = long_draft(), long_draft()
    other.frames, other.tags = one.frames[:4], one.tags[:5]
    other.add(Type.TXN, added(job(8))).add(Type.TXN, added(job(9)))

    mixed = bytes(one.front) + b"".join([*one.frames, other.frames[5]])
    found = salvaged(mixed)

    assert sorted(held(found)) == [1, 2, 3, 4, 5]
    assert found.rows.jobs[job(9).uid] == job(9)


def test_frames_of_another_epoch_are_not_taken() -> None:
    stranger = Draft(epoch=2).add(Type.TXN, added(job(8)))

    found = salvaged(long_draft().data + stranger.frames[0])

    assert numbers(found) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("copy", [0, 12288])
def test_one_copy_of_the_header_is_enough(copy: int) -> None:
    data = bytearray(long_draft().data)
    data[copy : copy + 512] = bytes(512)

    assert len(salvaged(bytes(data)).rows.jobs) == 5


@pytest.mark.parametrize("length", [300, 600, 12_400, 16_383])
def test_a_file_that_ends_within_its_header_holds_nothing_to_salvage(
    length: int,
) -> None:
    with pytest.raises(StoreCorrupt, match=r"header|no frame"):
        salvaged(long_draft().data[:length])


def test_a_file_that_changes_while_it_is_read_is_refused() -> None:
    draft = long_draft()
    # More than the window holds, so that the second look reads again.
    big = [job(number, content=bytes(900_000)) for number in range(4)]
    for each in big:
        draft.add(Type.TXN, added(each))
    file = file_of(draft.mark(1).data)

    class Changing:
        size, drop_cache, seen = file.size, file.drop_cache, False

        def read(self, offset: int, count: int) -> bytes:
            part = file.read(offset, count)
            part = bytes(len(part)) if self.seen else part
            self.seen = self.seen or offset + count > file.size()
            return part

    with pytest.raises(StoreCorrupt, match="changes while"):
        salvage(Changing(), SECRET)


def test_a_header_whose_digests_are_damaged_still_opens() -> None:
    data = bytearray(long_draft().data)
    data[600] = 1  # must be zero
    assert len(salvaged(bytes(data)).rows.jobs) == 5

    data[12288 + 300] ^= 1
    assert len(salvaged(bytes(data)).rows.jobs) == 5

    data[300] ^= 1
    with pytest.raises(StoreCorrupt, match="header"):
        salvaged(bytes(data))


def test_a_wrong_secret_is_told_as_such() -> None:
    with pytest.raises(WrongSecret):
        salvage(file_of(long_draft().data), b"another secret, long enough")


def test_the_previous_secret_opens_it_too() -> None:
    found = salvage(file_of(long_draft().data), b"another secret", SECRET)

    assert len(found.rows.jobs) == 5


@pytest.mark.parametrize("data", [b"", b"no database", bytes(20_000)])
def test_what_is_no_database_holds_nothing_to_salvage(data: bytes) -> None:
    with pytest.raises(NotADatabase):
        salvaged(data)


def test_a_header_without_frames_holds_nothing_to_salvage() -> None:
    with pytest.raises(StoreCorrupt, match="no frame"):
        salvaged(bytes(long_draft().front) + bytes(5000))


def test_a_bad_sector_costs_what_it_held_and_no_more() -> None:
    big = [job(number, content=bytes(8000)) for number in range(9)]
    draft = Draft().snap_end()
    for each in big:
        draft.add(Type.TXN, added(each))
    draft.mark()
    bad = draft.end_of(4) // 4096 * 4096 + 4096  # within the sixth frame

    class Failing:
        def __init__(self) -> None:
            self._file = file_of(draft.data)
            self.size, self.drop_cache = self._file.size, self._file.drop_cache

        def read(self, offset: int, count: int) -> bytes:
            if offset < bad + 512 and bad < offset + count:
                raise OSError(errno.EIO, "as the test wants")
            return self._file.read(offset, count)

    found = salvage(Failing(), SECRET)

    assert found.lost == ((5, 5),)
    assert numbers(found) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert found.bad_blocks == 1


def test_a_row_of_a_newer_version_is_refused_and_not_dropped() -> None:
    draft = Draft().snap_end().add(Type.TXN, b"\xff\0\0\0\0").mark()

    with pytest.raises(StoreCorrupt):
        salvaged(draft.data)


def test_whatever_byte_is_damaged_no_job_is_invented_or_runs_as_it_was_not() -> None:
    # Job 1 is finished by the last commit: it must never be seen queued unheld.
    done = job(1, state=State.COMPLETE, finished_at=2, keep_until=9)
    draft = Draft().add(Type.SNAP, added(job(1))).snap_end(1, 1, 7, 0)
    draft.add(Type.TXN, changed(done, done)).add(Type.TXN, added(job(2))).mark()
    data = draft.data

    for at in range(FIRST_FRAME, len(data)):
        bad = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        found = salvaged(bad)
        for uid, kept in found.rows.jobs.items():
            assert uid in (job(1).uid, job(2).uid)
            assert uid in found.held or kept in (done, job(2)), at
