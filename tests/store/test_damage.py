"""Damage to a small file: every byte, every length, every sector is noticed."""

import pytest
from drafts import closed_draft, flipped, job, rows, running_draft, verdict

from jobengine.errors import StoreCorrupt
from jobengine.store.journal.frame import FIRST_FRAME

MASKS = (0x01, 0x80, 0xFF)
WRITTEN = [
    start + byte
    for start, length in {0: 512, 4096: 72, 8192: 72, 12288: 512}.items()
    for byte in range(length)
]
BLANK = sorted(set(range(FIRST_FRAME)) - set(WRITTEN))


def outcome(data: bytes) -> object:
    """The rows that a file holds, or the offset that its refusal names."""
    try:
        return rows(verdict(data).replay)
    except StoreCorrupt as error:
        return error.offset


@pytest.mark.parametrize("mask", MASKS)
def test_no_damaged_byte_goes_unnoticed(mask: int) -> None:
    good = closed_draft().data
    whole = rows(verdict(good).replay)
    # All bytes under all masks; where nothing is written, each under one of them.
    for at in [
        *WRITTEN,
        *range(FIRST_FRAME, len(good)),
        *BLANK[MASKS.index(mask) :: 3],
    ]:
        seen = outcome(flipped(good, at, mask))
        assert isinstance(seen, int) or seen == whole, f"byte {at}"


def test_no_cut_goes_unnoticed() -> None:
    good = closed_draft().data
    for length in range(len(good)):
        with pytest.raises(StoreCorrupt) as refusal:
            verdict(good[:length])
        # Fewer bytes than the magic are no database at all.
        assert (refusal.value.offset is not None) == (length >= 8), length


def test_a_crash_may_cut_the_last_commit_anywhere() -> None:
    draft = running_draft()
    before = draft.end_of(2)
    for length in range(before, len(draft.data)):
        found = verdict(draft.data[:length])
        assert list(found.replay.jobs.values()) == [job(1), job(2)]
        assert (found.torn is None) == (length == before)
        assert not found.clean


@pytest.mark.parametrize("mask", MASKS)
def test_a_crash_may_spoil_the_last_commit_anywhere(mask: int) -> None:
    draft = running_draft()
    good = draft.data
    for at in range(draft.end_of(2), len(good)):
        found = verdict(flipped(good, at, mask))
        assert list(found.replay.jobs.values()) == [job(1), job(2)]


@pytest.mark.parametrize("size", [512, 4096])
@pytest.mark.parametrize("filler", [b"\0", b"\xa5"])
def test_no_spoiled_sector_goes_unnoticed(size: int, filler: bytes) -> None:
    good = closed_draft().data
    whole = rows(verdict(good).replay)
    for at in range(0, len(good), size):
        end = min(at + size, len(good))
        bad = good[:at] + filler * (end - at) + good[end:]
        seen = outcome(bad)
        assert isinstance(seen, int) or seen == whole, f"sector at {at}"
