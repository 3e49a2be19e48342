"""The verdict over a file: whole, torn in its last commit, or damaged and refused.

The rules are those of docs/reference/file-format.md, "Opening". Files are written by
hand; a refusal must leave every byte as it was (drafts.refused).
"""

import errno
from itertools import combinations
from zlib import crc32

import pytest
from drafts import (
    NOTHING,
    Draft,
    added,
    bent_frame,
    closed_draft,
    corrupt,
    digest,
    disk_with,
    flipped,
    job,
    opened,
    refused,
    rows,
    running_draft,
    verdict,
)

from jobengine.errors import StoreCorrupt, StoreUnreadable
from jobengine.store.journal.frame import (
    BODY_MAX,
    FIRST_FRAME,
    FRAME_OVERHEAD,
    MARK_BYTES,
    MARKS_AT,
    Mark,
    Type,
)


def jobs_in(data: bytes) -> list[int]:
    return [made.seq for made in opened(data).rows.jobs.values()]


# --- Whole files ------------------------------------------------------------------


def test_a_closed_file_is_clean() -> None:
    found = verdict(closed_draft().data)

    assert found.clean
    assert found.torn is None
    assert (found.seq, found.end) == (4, len(closed_draft().data))
    assert list(found.replay.jobs.values()) == [job(1), job(2)]


def test_a_clean_file_is_appended_to_and_not_rewritten() -> None:
    data = closed_draft().data
    disk = disk_with(data)

    assert opened(disk).why == "clean"

    after = bytes(disk.names["db"].data)
    assert after.startswith(data)
    assert len(after) == len(data) + FRAME_OVERHEAD


@pytest.mark.parametrize("newest", [0, 1])
def test_the_newest_mark_stays_until_the_next_is_durable(newest: int) -> None:
    draft = closed_draft().mark(newest).mark(1 - newest, frame=1)
    disk = disk_with(draft.data)
    first = opened(disk)

    first.tail.mark()

    for slot, at in enumerate(MARKS_AT):
        mark = slice(at, at + MARK_BYTES)
        kept = disk.names["db"].data[mark] == draft.data[mark]
        assert kept == (slot == newest)


def test_a_file_that_was_not_closed_is_rewritten_under_new_keys() -> None:
    data = running_draft().data
    disk = disk_with(data)

    first = opened(disk)

    after = bytes(disk.names["db"].data)
    assert first.why == "the last stop was not clean"
    assert after[16:32] == data[16:32]
    assert (first.tail.epoch, after[32:40]) == (2, bytes(7) + b"\2")
    assert after[128:176] != data[128:176]
    assert rows(opened(after).rows) == rows(first.rows) == rows(verdict(data).replay)


def test_a_close_that_no_mark_names_is_not_a_clean_stop() -> None:
    draft = closed_draft().mark(1, frame=2)

    assert opened(draft.data).why == "the last stop was not clean"


def test_a_whole_last_commit_without_a_mark_is_kept() -> None:
    assert jobs_in(running_draft().data) == [1, 2, 3]


@pytest.mark.parametrize("types", [(4,), (5, 4), (5, 4, 1, 5), (4, 4), (1, 4, 1)])
def test_stops_and_starts_may_follow_each_other(types: tuple[int, ...]) -> None:
    draft = Draft().snap_end().mark()
    for number, type_ in enumerate(types):
        draft.add(Type(type_), added(job(number)) if type_ == Type.TXN else b"")

    assert len(opened(draft.data).rows.jobs) == types.count(Type.TXN)


# --- 2: header, version, secret ---------------------------------------------------


@pytest.mark.parametrize("copy", [0, 12288])
def test_one_bad_copy_of_the_header_is_repaired(copy: int) -> None:
    disk = disk_with(flipped(closed_draft().data, copy + 300, 0xFF))

    first = opened(disk)

    after = bytes(disk.names["db"].data)
    assert first.why == "one copy of the header is damaged"
    assert after[:512] == after[12288:12800]
    assert list(first.rows.jobs.values()) == [job(1), job(2)]


def test_two_bad_copies_of_the_header_are_refused() -> None:
    assert corrupt(flipped(flipped(closed_draft().data, 9, 1), 12500, 1)) == 0


# --- 3: the walk ------------------------------------------------------------------


@pytest.mark.parametrize("dropped", range(4))
def test_a_dropped_frame_is_refused(dropped: int) -> None:
    draft = closed_draft()
    del draft.frames[dropped]

    corrupt(draft.data)


@pytest.mark.parametrize("doubled", range(4))
def test_a_doubled_frame_is_refused(doubled: int) -> None:
    draft = closed_draft()
    draft.frames.insert(doubled, draft.frames[doubled])

    corrupt(draft.data)


@pytest.mark.parametrize("pair", [*combinations(range(4), 2)])
def test_swapped_frames_are_refused(pair: tuple[int, int]) -> None:
    draft, (one, two) = closed_draft(), pair
    draft.frames[one], draft.frames[two] = draft.frames[two], draft.frames[one]

    corrupt(draft.data)


@pytest.mark.parametrize(
    "other",
    [
        {"file_id": bytes(16)},
        {"epoch": 2},
        {"key": bytes(32)},
    ],
)
@pytest.mark.parametrize("place", range(4))
def test_a_frame_of_another_file_epoch_or_key_is_refused(
    other: dict[str, bytes], place: int
) -> None:
    stranger = Draft(**other).add(Type.SNAP, added(job(1)))  # type: ignore[arg-type]
    stranger.snap_end(1, 1, 7, 0).add(Type.TXN, added(job(2))).add(Type.CLOSE)
    draft = closed_draft()
    draft.frames[place] = stranger.frames[place]

    corrupt(draft.data)


def fork(number: int) -> Draft:
    """One of two files that were the same until a restart."""
    draft = closed_draft()
    # The same in both, as in a copied file.
    draft.frames, draft.tags = list(TRUNK.frames), list(TRUNK.tags)
    draft.front[:] = TRUNK.front
    return draft.add(Type.OPEN).add(Type.TXN, added(job(number)))


TRUNK = closed_draft()


def test_frames_of_a_fork_are_refused() -> None:
    one, two = fork(8).mark(0), fork(9).mark(0)

    one.frames[-1] = two.frames[-1]

    assert corrupt(one.data) == one.end_of(4)


def test_marks_of_a_fork_are_refused() -> None:
    one, two = fork(8).mark(0), fork(9).mark(0)

    two.front[:] = one.front

    corrupt(two.data)


def test_a_mark_of_a_fork_is_refused_beside_our_own_for_the_same_place() -> None:
    one, two = fork(8).mark(0), fork(9).mark(0).mark(1)
    at = MARKS_AT[0]

    for slot in (0, 1):
        mixed = Draft()
        mixed.front[:] = two.front
        mixed.frames = two.frames
        to = MARKS_AT[slot]
        mixed.front[to : to + MARK_BYTES] = one.front[at : at + MARK_BYTES]
        corrupt(mixed.data)


@pytest.mark.parametrize(
    "bend",
    [
        lambda mark: Mark(mark.seq + 1, mark.end, mark.tag),
        lambda mark: Mark(mark.seq, mark.end - 1, mark.tag),
        lambda mark: Mark(mark.seq, mark.end, bytes(16)),
        lambda mark: Mark(mark.seq, 2**63, mark.tag),
    ],
)
def test_every_mark_must_name_the_end_of_a_frame(bend: object) -> None:
    draft = closed_draft()
    mark = Mark(1, draft.end_of(1), draft.tags[2])

    assert verdict(draft.put_mark(0, mark).data).clean
    corrupt(draft.put_mark(0, bend(mark)).data)  # type: ignore[operator]


def test_one_torn_mark_is_passed_over_and_two_are_damage() -> None:
    draft = closed_draft()
    draft.front[MARKS_AT[0]] ^= 1

    assert verdict(draft.data).clean

    draft.front[MARKS_AT[1]] ^= 1
    assert corrupt(draft.data) == MARKS_AT[0]


def test_a_file_whose_marks_are_blank_is_refused() -> None:
    assert corrupt(Draft().snap_end().data) == MARKS_AT[0]


def test_a_mark_of_another_epoch_is_no_mark() -> None:
    draft = Draft().snap_end()
    other = Draft(epoch=2).put_mark(0, Mark(0, draft.end_of(0), draft.tags[1]))
    draft.front[4096:8192] = other.front[4096:8192]

    corrupt(draft.data)


def test_a_marked_commit_that_is_gone_is_damage_and_not_a_torn_tail() -> None:
    draft = running_draft().mark(0)

    draft.frames.pop()

    assert corrupt(draft.data) == len(draft.data)


def test_an_intact_frame_after_a_bad_one_proves_damage() -> None:
    draft = running_draft()
    at = draft.end_of(2)
    # Its length is not to be trusted: only looking at every byte finds what follows.
    draft.frames[-1] = b"JEF1" + bytes(300)
    draft.frames.append(Draft(epoch=2).add(Type.TXN).frames[0])
    assert opened(draft.data).torn is not None, "another epoch's is no proof"

    follower, _ = draft.keys.seal_frame(Type.TXN, 4, bytes(16), b"")
    draft.frames[-1] = b"JEF1" + follower
    assert corrupt(draft.data) == at


def test_bytes_after_a_frame_that_is_itself_bad_prove_damage() -> None:
    draft = running_draft()
    at = draft.end_of(2)
    last = bytearray(draft.frames[-1])
    last[70] ^= 1
    draft.frames[-1] = bytes(last)
    assert opened(draft.data).torn is not None

    draft.frames.append(b"\0")
    assert corrupt(draft.data) == at


def test_more_than_one_frame_of_rest_is_damage() -> None:
    draft = running_draft()
    at = len(draft.data)

    draft.frames.append(bytes(FRAME_OVERHEAD + BODY_MAX))
    assert opened(draft.data).torn is not None

    draft.frames.append(b"\0")
    assert corrupt(draft.data) == at


@pytest.mark.parametrize("length", [1, 63, 64, 84, 85, 200])
def test_after_a_close_only_an_open_can_have_been_torn(length: int) -> None:
    data = closed_draft().data + b"\xff" * length

    if length > FRAME_OVERHEAD:
        assert corrupt(data) == len(closed_draft().data)
    else:
        assert jobs_in(data) == [1, 2]


def test_a_torn_open_does_not_stop_a_start() -> None:
    whole = closed_draft().add(Type.OPEN)

    for cut in range(1, FRAME_OVERHEAD):
        found = opened(whole.data[:-cut])
        assert found.why == "the last stop was not clean"
        assert len(found.rows.jobs) == 2


@pytest.mark.parametrize(
    "draft",
    [
        Draft().add(Type.SNAP, added(job(1))).mark(),
        Draft().add(Type.TXN, added(job(1))).mark(),
    ],
)
def test_a_snapshot_without_its_end_is_refused(draft: Draft) -> None:
    assert corrupt(draft.data) == len(draft.data)
    assert corrupt(draft.data + b"rest") == len(draft.data)


def test_a_torn_commit_is_told_by_place_length_and_digest() -> None:
    draft = running_draft()
    at = draft.end_of(2)
    rest = draft.data[at:-1]

    torn = opened(draft.data[:-1]).torn

    assert torn is not None
    assert (torn.offset, torn.length) == (at, len(rest))
    assert torn.sha256 == digest(rest)


@pytest.mark.parametrize(
    ("before", "type_"),
    [
        ((), Type.OPEN),
        ((), Type.CLOSE),
        ((3,), Type.SNAP),
        ((3,), Type.SNAP_END),
        ((3, 5), Type.TXN),
        ((3, 5), Type.CLOSE),
        ((3, 5), Type.SNAP),
        ((3,), 0),
        ((3,), 6),
        ((3,), 255),
    ],
)
def test_a_frame_where_it_cannot_stand_is_refused(
    before: tuple[int, ...], type_: int
) -> None:
    draft = Draft()
    for earlier in before:
        draft.snap_end() if earlier == Type.SNAP_END else draft.add(Type(earlier))
    at = len(draft.data)
    draft.add(type_, b"").mark()  # type: ignore[arg-type]

    assert corrupt(draft.data) == at


def test_a_frame_with_flags_was_written_by_a_newer_version_and_is_refused() -> None:
    draft = Draft().snap_end().mark()
    at = len(draft.data)
    draft.frames.append(bent_frame(draft, flags=1))

    assert corrupt(draft.data) == at


def test_a_frame_that_skips_a_number_is_refused() -> None:
    draft = Draft().snap_end().mark()
    at = len(draft.data)
    draft.frames.append(bent_frame(draft, skip=1))

    assert corrupt(draft.data) == at


def test_a_frame_longer_than_a_frame_may_be_is_refused() -> None:
    draft = Draft().snap_end().mark()
    at = len(draft.data)
    draft.frames.append(bent_frame(draft, length=BODY_MAX + 1))

    assert corrupt(draft.data) == at


def test_a_frame_that_is_intact_but_not_authentic_was_tampered_with() -> None:
    draft = closed_draft()
    at = draft.end_of(1)
    sealed = bytearray(draft.frames[2][64:-4])
    sealed[0] ^= 1
    crc = crc32(sealed).to_bytes(4, "big")
    draft.frames[2] = draft.frames[2][:64] + bytes(sealed) + crc

    error = refused(draft.data)

    assert isinstance(error, StoreCorrupt)
    assert (error.offset, "tampered" in str(error)) == (at, True)


@pytest.mark.parametrize("type_", [Type.OPEN, Type.CLOSE])
def test_a_frame_that_has_no_body_has_none(type_: Type) -> None:
    draft = Draft().snap_end()
    at = len(draft.data)

    assert corrupt(draft.add(type_, added(job(1))).mark().data) == at


@pytest.mark.parametrize(
    "counts", [(0, 1, 7, 0), (1, 2, 7, 0), (1, 1, 8, 0), (1, 1, 7, 1), (1, 0, 0, 0)]
)
def test_a_snapshot_that_does_not_hold_what_it_says_is_refused(
    counts: tuple[int, ...],
) -> None:
    draft = Draft().add(Type.SNAP, added(job(1)))
    at = len(draft.data)

    assert corrupt(draft.snap_end(*counts).mark().data) == at


@pytest.mark.parametrize("epoch", [0, 4, 6, 2**63])
def test_a_snapshot_follows_the_epoch_just_before_its_own(epoch: int) -> None:
    def draft(before: int) -> bytes:
        return Draft(epoch=6).snap_end(*NOTHING, epoch=before).mark().data

    assert opened(draft(5)).tail.epoch == 7
    assert corrupt(draft(epoch)) == FIRST_FRAME


def test_records_that_make_no_sense_are_refused_at_their_frame() -> None:
    draft = Draft().snap_end().mark()
    at = len(draft.data)

    assert corrupt(draft.add(Type.TXN, b"\xff\0\0\0\0").mark(1).data) == at


# --- 4: what the disk does not give back ------------------------------------------


@pytest.mark.parametrize("nth", range(3))
def test_a_read_error_refuses_with_its_offset(nth: int) -> None:
    big = Draft().add(Type.SNAP, added(job(1, content=bytes(3 << 20))))
    disk = disk_with(big.snap_end(1, 1, 3 << 20, 0).mark().data)
    reads = iter(range(100))
    disk.fail = lambda call: (
        errno.EIO if call == "read" and next(reads) == nth else None
    )

    with pytest.raises(StoreUnreadable, match="at byte"):
        opened(disk)
