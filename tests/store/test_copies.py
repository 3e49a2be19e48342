"""Whole files from whole files: all of it in one act, or nothing."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from drafts import Draft, added, closed_draft, disk_with, job, opened, rows

from jobengine.errors import StoreBusy, StoreCorrupt, StoreError, WrongSecret
from jobengine.store.journal import copies
from jobengine.store.journal.copies import keep_beside
from jobengine.store.journal.frame import Type
from jobengine.store.journal.placing import Secrets
from jobengine.store.journal.reading import Survey
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import Verdict, examine
from jobengine.testing import CHEAP_KDF, SECRET, SimDisk, SimFile

SECRETS = Secrets(SECRET, kdf=CHEAP_KDF)
OTHER = b"the secret to come, of these tests"


def nobody(_done: int, _total: int) -> None:
    """Watches nothing."""


def held(disk: SimDisk) -> bytes:
    return bytes(disk.names["db"].data)


def verdict(disk: SimDisk, secret: bytes = SECRET) -> Verdict:
    file = disk.clone().open()
    assert file is not None
    return examine(file, secret)


def source(data: bytes) -> SimFile:
    file = disk_with(data).open()
    assert file is not None
    return file


def live_draft() -> Draft:
    """A file as a daemon has it: not closed."""
    draft = Draft().add(Type.SNAP, added(job(1))).snap_end(1, 1, 7, 0).mark(0)
    return draft.add(Type.TXN, added(job(2)))


# Sealed once: a second draft has other nonces.
CLOSED, LIVE = closed_draft().data, live_draft().data


def backed_up(data: bytes, disk: SimDisk, *, force: bool = False) -> Verdict | Survey:
    return copies.backup(source(data), disk, SECRETS, force=force, watch=nobody)


# --- backup -----------------------------------------------------------------------


def test_a_backup_is_the_file_byte_for_byte() -> None:
    disk = SimDisk()

    found = backed_up(LIVE, disk)

    assert held(disk) == LIVE
    assert isinstance(found, Verdict)
    assert len(found.replay.jobs) == 2
    assert list(disk.names) == ["db"]


def test_a_commit_on_its_way_is_no_part_of_a_backup() -> None:
    disk = SimDisk()

    backed_up(LIVE + b"JEF1 half a frame", disk)

    assert held(disk) == LIVE
    assert verdict(disk).torn is None


def test_a_backup_without_a_secret_is_verified_as_far_as_that_goes() -> None:
    disk = SimDisk()
    draft = closed_draft()

    found = copies.backup(source(draft.data), disk, None, force=False, watch=nobody)

    assert isinstance(found, Survey)
    assert held(disk) == draft.data

    bad = bytearray(draft.data)
    bad[draft.end_of(0) + 70] ^= 1
    with pytest.raises(StoreCorrupt):
        copies.backup(source(bytes(bad)), SimDisk(), None, force=False, watch=nobody)


def test_a_damaged_file_gives_no_backup() -> None:
    draft = closed_draft()
    bad = bytearray(draft.data)
    bad[draft.end_of(0) + 70] ^= 1
    disk = SimDisk()

    with pytest.raises(StoreCorrupt):
        backed_up(bytes(bad), disk)

    assert disk.names == {}


def test_a_backup_never_replaces_a_file_unasked() -> None:
    disk = disk_with(b"something else")

    with pytest.raises(FileExistsError):
        backed_up(LIVE, disk)
    assert held(disk) == b"something else"
    assert not disk.names["db"].locked

    backed_up(LIVE, disk, force=True)
    assert held(disk) == LIVE


def test_a_file_that_appears_meanwhile_is_not_replaced() -> None:
    class Racing(SimDisk):
        def open(self) -> None:
            return None

    disk = Racing()
    disk.names = disk_with(b"new").names

    with pytest.raises(FileExistsError):
        backed_up(LIVE, disk)
    assert held(disk) == b"new"


# --- restore ----------------------------------------------------------------------


def test_what_is_restored_has_the_rows_and_an_identity_of_its_own() -> None:
    disk = SimDisk()

    made = copies.restore(source(LIVE), disk, SECRETS, watch=nobody)

    found = verdict(disk)
    assert found.clean
    assert found.header.file_id == made.file_id != LIVE[16:32]
    assert rows(found.replay) == rows(opened(LIVE).rows)
    assert (made.epoch, made.size, made.size_before) == (2, len(held(disk)), 0)


def test_a_database_is_put_aside_before_it_is_replaced_or_stays() -> None:
    disk, kept = disk_with(CLOSED), []
    before = held(disk)

    with pytest.raises(FileExistsError):
        copies.restore(source(LIVE), disk, SECRETS, watch=nobody)
    assert held(disk) == before

    made = copies.restore(
        source(LIVE),
        disk,
        SECRETS,
        watch=nobody,
        keep=lambda: kept.append(held(disk)),
    )
    assert kept == [before]
    assert made.size_before == len(before)
    assert len(verdict(disk).replay.jobs) == 2


def test_a_damaged_database_can_be_restored_over() -> None:
    disk = disk_with(b"damaged beyond words")

    copies.restore(source(LIVE), disk, SECRETS, watch=nobody, keep=lambda: None)

    assert verdict(disk).clean


def test_a_database_in_use_is_not_restored_over() -> None:
    disk = disk_with(CLOSED)
    disk.open()

    with pytest.raises(StoreBusy):
        copies.restore(source(LIVE), disk, SECRETS, watch=nobody, keep=lambda: None)


def test_a_backup_under_the_previous_secret_is_restored_under_the_new() -> None:
    disk = SimDisk()
    secrets = Secrets(OTHER, SECRET, CHEAP_KDF)

    copies.restore(source(LIVE), disk, secrets, watch=nobody)

    assert len(verdict(disk, OTHER).replay.jobs) == 2
    with pytest.raises(WrongSecret):
        verdict(disk, SECRET)


def test_the_database_is_kept_beside_under_a_second_name(tmp_path: Path) -> None:
    one, aside = tmp_path / "db", tmp_path / "db.before"
    one.write_bytes(b"rows")

    keep_beside(one, aside)

    assert aside.samefile(one)
    with pytest.raises(FileExistsError):
        keep_beside(one, aside)


# --- rewrite: compact and rekey ---------------------------------------------------


def test_a_rewrite_leaves_out_what_is_dead_under_a_new_key_in_the_next_epoch() -> None:
    draft = live_draft()
    for number in range(3, 50):
        draft.add(Type.TXN, added(job(number, uid=job(2).uid, content=bytes(500))))
    disk = disk_with(draft.data)

    made = copies.rewrite(disk, SECRETS, watch=nobody)

    found = verdict(disk)
    assert made is not None
    assert (made.size, made.size_before) == (len(held(disk)), len(draft.data))
    assert made.size < made.size_before / 1.5
    assert (found.header.epoch, found.clean) == (2, True)
    assert found.header.file_id == draft.data[16:32]
    assert found.header.data_key != bytes(range(32))
    assert rows(found.replay) == rows(opened(draft.data).rows)
    assert not disk.names["db"].locked


def test_rekeyed_the_old_secret_opens_nothing() -> None:
    disk = disk_with(CLOSED)

    copies.rewrite(disk, Secrets(OTHER, SECRET, CHEAP_KDF), watch=nobody)

    assert len(verdict(disk, OTHER).replay.jobs) == 2
    with pytest.raises(WrongSecret):
        verdict(disk, SECRET)


def test_what_is_not_wanted_rewritten_stays_as_it_is() -> None:
    disk = disk_with(CLOSED)

    made = copies.rewrite(disk, SECRETS, watch=nobody, wanted=lambda _found: False)

    assert made is None
    assert held(disk) == CLOSED


def test_a_rewrite_needs_a_database_that_nobody_has() -> None:
    with pytest.raises(FileNotFoundError):
        copies.rewrite(SimDisk(), SECRETS, watch=nobody)

    disk = disk_with(CLOSED)
    disk.open()
    with pytest.raises(StoreBusy):
        copies.rewrite(disk, SECRETS, watch=nobody)


# --- adding jobs ------------------------------------------------------------------


def test_jobs_are_added_behind_those_that_are_there() -> None:
    disk = disk_with(CLOSED)

    added_now = copies.add_jobs(disk, SECRETS, [job(8), job(9)], watch=nobody)

    there = verdict(disk).replay.jobs
    assert added_now == 2
    assert [there[job(n).uid].seq for n in (1, 2, 8, 9)] == [1, 2, 3, 4]


def test_a_job_that_is_there_is_not_added_again_nor_the_file_touched() -> None:
    disk = disk_with(CLOSED)

    assert copies.add_jobs(disk, SECRETS, [job(2)], watch=nobody) == 0

    assert held(disk) == CLOSED


def test_where_there_is_no_database_it_is_made_of_the_jobs() -> None:
    disk = SimDisk()

    assert copies.add_jobs(disk, SECRETS, [job(5), job(6)], watch=nobody) == 2

    there = verdict(disk)
    assert [made.seq for made in there.replay.jobs.values()] == [0, 1]
    assert (there.clean, there.header.epoch) == (True, 1)


def test_a_new_database_never_replaces_a_file() -> None:
    disk = disk_with(b"something else")

    with pytest.raises(FileExistsError):
        copies.create(disk, SECRETS, Replay(), watch=nobody)

    assert held(disk) == b"something else"


# --- every act, at every fault ----------------------------------------------------

ACTS: dict[str, Callable[[SimDisk], object]] = {
    "backup": lambda disk: backed_up(LIVE, disk, force=True),
    "restore": lambda disk: copies.restore(
        source(LIVE), disk, SECRETS, watch=nobody, keep=lambda: None
    ),
    "rewrite": lambda disk: copies.rewrite(disk, SECRETS, watch=nobody),
    "add_jobs": lambda disk: copies.add_jobs(disk, SECRETS, [job(9)], watch=nobody),
}


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("act", ACTS)
def test_an_act_that_fails_anywhere_leaves_the_old_file_or_the_whole_new_one(
    act: str, code: int
) -> None:
    for nth in range(100):
        disk, calls, renamed = disk_with(CLOSED), [], []

        def fail(call: str, nth: int = nth) -> int | None:
            calls.append(call)  # noqa: B023
            renamed.extend([call] if call == "sync_folder" else [])  # noqa: B023
            return code if len(calls) == nth + 1 else None  # noqa: B023

        disk.fail = fail
        try:
            ACTS[act](disk)
            break
        except (OSError, StoreError):
            disk.fail = lambda _call: None
            assert list(disk.names) == ["db"], nth
            assert not disk.names["db"].locked, nth
            assert (held(disk) == CLOSED) != bool(renamed), nth
            assert len(verdict(disk).replay.jobs) >= 2, nth
    assert nth > 5, "no fault was met"


def test_what_does_not_read_back_is_not_put_in_place() -> None:
    disk = disk_with(CLOSED)

    class Rotting(SimFile):
        def write(self, offset: int, data: bytes) -> None:
            super().write(offset, data[:-1] + b"\0" if offset > 16384 else data)

    create = disk.create_temporary
    disk.create_temporary = lambda: Rotting(  # type: ignore[method-assign]
        disk, (create(), disk.names["tmp"])[1], "tmp"
    )

    with pytest.raises(StoreCorrupt):
        copies.rewrite(disk, SECRETS, watch=nobody)

    assert held(disk) == CLOSED
    assert list(disk.names) == ["db"]
