"""What a start does with the file it finds: goes on, repairs, creates, or refuses."""

import base64
import errno
import gc
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from drafts import Draft, added, closed_draft, disk_with, job, opened, refused, rows

from jobengine.build import peek_queues
from jobengine.core.queues import RemovedQueue
from jobengine.errors import (
    ConfigError,
    KdfUnavailable,
    NewerFormat,
    NotADatabase,
    StoreBusy,
    StoreError,
    StoreUnreadable,
    WrongSecret,
)
from jobengine.store.journal import compact
from jobengine.store.journal.compact import SNAP_BYTES
from jobengine.store.journal.disk import OsDisk, OsFile
from jobengine.store.journal.frame import BODY_MAX, FIRST_FRAME, Type
from jobengine.store.journal.log import Tail
from jobengine.store.journal.opening import open_database
from jobengine.store.journal.records import encode
from jobengine.store.sealer import ARGON2ID, RAW, Kdf, kdf_for
from jobengine.testing import CHEAP_KDF, SECRET, SimDisk

GOLDEN = Path(__file__).parent / "golden"
NEW_SECRET = b"another secret that only tests know"


def close(tail: Tail) -> None:
    """Stop as a clean stop does."""
    tail.append(Type.CLOSE)
    tail.sync()
    tail.mark()
    tail.sync()
    tail.file.close()


def failing(call: str, code: int, *, nth: int = 0) -> Callable[[str], int | None]:
    """A disk on which the nth such call fails, and every one after it."""
    seen = 0

    def fail(name: str) -> int | None:
        nonlocal seen
        if name != call:
            return None
        seen += 1
        return code if seen > nth else None

    return fail


def snapshot_bodies(data: bytes) -> list[int]:
    """The lengths of the bodies of the SNAP frames."""
    at, found = FIRST_FRAME, []
    while at < len(data):
        length = int.from_bytes(data[at + 8 : at + 12], "big")
        if data[at + 4] == Type.SNAP:
            found.append(length)
        at += 84 + length
    return found


def running_disk() -> SimDisk:
    """A disk as a crash leaves it, its last commit torn."""
    draft = Draft().add(Type.SNAP, added(job(1))).snap_end(1, 1, 7, 0).mark()
    draft.add(Type.TXN, added(job(2))).add(Type.TXN, added(job(3)))
    return disk_with(draft.data[:-1])


# --- Creation ---------------------------------------------------------------------


def test_where_there_is_nothing_a_database_is_created() -> None:
    disk = SimDisk()

    first = opened(disk)

    assert (first.why, first.tail.epoch) == ("created", 1)
    assert rows(first.rows) == ({}, {})
    assert list(disk.names) == ["db"]
    close(first.tail)
    assert opened(disk).why == "clean"


def test_a_creation_that_ended_half_way_is_begun_anew() -> None:
    for call in ("create", "write", "sync", "rename"):
        disk = SimDisk()
        disk.fail = failing(call, errno.EIO)
        with pytest.raises(StoreUnreadable):
            opened(disk)
        assert "db" not in disk.names

        assert opened(disk.clone()).why == "created"


def test_a_new_file_has_the_derivation_that_its_secret_needs() -> None:
    disk = SimDisk()
    secret = b"base64:" + base64.b64encode(bytes(range(32)))

    close(open_database(disk, secret).tail)

    assert disk.names["db"].data[72] == RAW
    assert open_database(disk, secret).why == "clean"


def test_a_bad_base64_secret_creates_nothing() -> None:
    disk = SimDisk()

    with pytest.raises(ConfigError):
        open_database(disk, b"base64:short")

    assert "db" not in disk.names


def test_a_database_that_appears_while_we_would_create_one_is_opened(
    tmp_path: Path,
) -> None:
    class Late(OsDisk):
        """Another creator has finished when we begin."""

        def create_first(self) -> OsFile | None:
            self.path.write_bytes(closed_draft().data)
            return super().create_first()

    assert open_database(Late(tmp_path / "db"), SECRET, kdf=CHEAP_KDF).why == "clean"


# --- Refusals leave the file as it was --------------------------------------------


def test_a_wrong_secret_leaves_the_bytes_and_the_times_of_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "db"
    data = closed_draft().data
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))

    with pytest.raises(WrongSecret):
        open_database(OsDisk(path), NEW_SECRET, kdf=CHEAP_KDF)

    assert path.read_bytes() == data
    assert path.stat().st_mtime_ns == 1
    assert os.listdir(tmp_path) == ["db"]


def test_the_three_faults_of_a_header_are_three_errors() -> None:
    good = closed_draft().data

    def copies_with(at: int, new: bytes) -> bytes:
        data = bytearray(good)
        for copy in (0, 12288):
            data[copy + at : copy + at + len(new)] = new
        return bytes(data)

    assert type(refused(good, NEW_SECRET)) is WrongSecret
    assert type(refused(copies_with(8, b"\0\2"))) is NewerFormat
    assert type(refused(copies_with(10, b"\0\1"))) is NewerFormat
    assert type(refused(copies_with(0, b"PK"))) is NotADatabase


def test_a_derivation_this_build_lacks_is_never_a_wrong_secret() -> None:
    data = bytearray(closed_draft().data)
    for copy in (0, 12288):
        data[copy + 72] = 2
        data[copy + 448 : copy + 480] = hashlib.sha256(data[copy : copy + 448]).digest()

    assert isinstance(refused(bytes(data)), KdfUnavailable)


def test_an_empty_file_says_how_to_go_on() -> None:
    assert "delete it to create a new one" in str(refused(b""))


@pytest.mark.parametrize("name", ["legacy-era1.queuedb", "legacy-era2.jedb"])
def test_a_legacy_file_is_named_with_the_command_that_imports_it(name: str) -> None:
    data = (GOLDEN / name).read_bytes()

    error = refused(data, b"hello_world")

    assert isinstance(error, NotADatabase)
    assert "jobengine import-legacy" in str(error)


def test_what_does_not_open_as_a_legacy_file_is_not_called_one() -> None:
    legacy = (GOLDEN / "legacy-era1.queuedb").read_bytes()

    for data in (legacy[:-1], legacy[:11], b"x", b"\0" * 20_000):
        assert "import-legacy" not in str(refused(data, b"hello_world"))
    assert "import-legacy" not in str(refused(legacy))


def test_a_database_in_use_is_busy() -> None:
    disk = SimDisk()
    opened(disk)

    with pytest.raises(StoreBusy):
        opened(disk)


@pytest.mark.parametrize("where", ["missing/db", "folder", "file/db", "pipe"])
def test_a_path_that_cannot_hold_a_database_is_named(
    where: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(StoreUnreadable, match=r"cannot .* the database"):
        open_database(OsDisk(tmp_path / where), SECRET, kdf=CHEAP_KDF)


def test_counting_the_jobs_of_a_path_that_is_no_file_is_a_store_error(
    tmp_path: Path,
) -> None:
    with pytest.raises(StoreError):
        peek_queues(tmp_path, SECRET)


def test_the_jobs_of_a_closed_database_are_counted_without_a_write(
    tmp_path: Path,
) -> None:
    path = tmp_path / "db"
    path.write_bytes(closed_draft().data)
    os.utime(path, ns=(1, 1))

    assert peek_queues(path, SECRET) == {"q1": 2}
    assert peek_queues(tmp_path / "none", SECRET) == {}
    assert path.stat().st_mtime_ns == 1


# --- SECRET_PREVIOUS and the derivation -------------------------------------------


def test_the_previous_secret_opens_the_file_once_and_is_locked_out() -> None:
    disk = disk_with(closed_draft().data)

    turned = open_database(disk, NEW_SECRET, previous=SECRET, kdf=CHEAP_KDF)

    assert turned.why == "SECRET_PREVIOUS opened it"
    assert list(turned.rows.jobs.values()) == [job(1), job(2)]
    close(turned.tail)
    assert isinstance(refused(bytes(disk.names["db"].data)), WrongSecret)
    assert opened(disk, NEW_SECRET).why == "clean"


def test_the_previous_secret_is_asked_only_when_secret_opens_nothing() -> None:
    disk = disk_with(closed_draft().data)

    assert open_database(disk, SECRET, previous=b"x", kdf=CHEAP_KDF).why == "clean"


def test_where_neither_secret_opens_the_file_it_is_a_wrong_secret() -> None:
    disk = disk_with(closed_draft().data)

    with pytest.raises(WrongSecret):
        open_database(disk, NEW_SECRET, previous=b"x", kdf=CHEAP_KDF)


def test_without_room_the_old_secret_is_not_kept_in_silence() -> None:
    data = closed_draft().data
    disk = disk_with(data)
    disk.fail = failing("write", errno.ENOSPC)

    with pytest.raises(StoreUnreadable):
        open_database(disk, NEW_SECRET, previous=SECRET, kdf=CHEAP_KDF)

    assert bytes(disk.names["db"].data) == data


def test_a_rewrite_wraps_the_key_as_a_new_file_would() -> None:
    disk = running_disk()
    small = Kdf(ARGON2ID, memory=64, passes=1, lanes=1)

    close(open_database(disk, SECRET, kdf=small).tail)

    assert disk.names["db"].data[72] == ARGON2ID
    assert kdf_for(SECRET).kind == ARGON2ID
    assert open_database(disk, SECRET, kdf=small).why == "clean"


# --- The rewrite after an unclean stop --------------------------------------------


def test_a_rewrite_keeps_every_row_and_the_file_id() -> None:
    disk = running_disk()
    file_id = bytes(disk.names["db"].data[16:32])

    first = opened(disk)

    assert first.torn is not None
    assert list(first.rows.jobs.values()) == [job(1), job(2)]
    assert bytes(disk.names["db"].data[16:32]) == file_id
    again = opened(disk.clone())
    assert again.torn is None
    assert rows(again.rows) == rows(first.rows)


def test_many_rows_are_rewritten_in_frames_of_bounded_size() -> None:
    sizes = [*[5000] * 100, *[1 << 20] * 20, *[10] * 500, (16 << 20) - 4096, 10]
    made = [job(n, content=bytes(size)) for n, size in enumerate(sizes)]
    draft = Draft().snap_end().mark()
    for new in made:
        draft.add(Type.TXN, added(new))
    disk = disk_with(draft.data)

    opened(disk)

    assert list(opened(disk.clone()).rows.jobs.values()) == made
    bodies = snapshot_bodies(bytes(disk.names["db"].data))
    assert 4 + 20 + 1 <= len(bodies) <= 8 + 20 + 4
    assert max(bodies[:4]) <= 2 * SNAP_BYTES
    assert max(bodies) <= BODY_MAX


@pytest.mark.parametrize("call", ["create", "write", "sync", "rename"])
def test_a_rewrite_that_fails_before_the_rename_leaves_the_old_file(call: str) -> None:
    disk = running_disk()
    before = bytes(disk.names["db"].data)
    disk.fail = failing(call, errno.EIO)

    with pytest.raises(StoreUnreadable):
        opened(disk)

    assert bytes(disk.names["db"].data) == before
    assert len(opened(disk.clone()).rows.jobs) == 2


def test_a_folder_that_cannot_be_synced_fails_the_start_and_loses_nothing() -> None:
    disk = running_disk()
    disk.fail = failing("sync_folder", errno.EIO)

    with pytest.raises(StoreUnreadable):
        opened(disk)

    assert len(opened(disk.clone()).rows.jobs) == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_without_room_to_rewrite_the_torn_bytes_are_cut_and_it_goes_on(
    code: int,
) -> None:
    disk = running_disk()
    calls: list[str] = []
    full = failing("create", code)

    def fail(call: str) -> int | None:
        calls.append(call)
        return full(call)

    disk.fail = fail

    first = opened(disk)

    assert first.why == "no room to rewrite it"
    assert first.torn is not None
    assert first.tail.epoch == 1
    # The cut must be durable before anything is written behind it.
    assert calls[-5:] == ["truncate", "sync", "sync_folder", "write", "sync"]
    assert rows(opened(disk.clone()).rows) == rows(first.rows)


def test_without_room_and_without_torn_bytes_nothing_is_cut() -> None:
    disk = disk_with(Draft().snap_end().mark().add(Type.TXN, added(job(1))).data)
    disk.fail = failing("create", errno.ENOSPC)

    assert opened(disk).why == "no room to rewrite it"
    assert len(opened(disk.clone()).rows.jobs) == 1


def test_without_room_half_a_temporary_file_is_removed() -> None:
    disk = running_disk()
    disk.fail = failing("sync", errno.ENOSPC)
    only_once = iter([errno.ENOSPC])
    disk.fail = lambda call: next(only_once, None) if call == "sync" else None

    assert opened(disk).why == "no room to rewrite it"
    assert list(disk.names) == ["db"]


@pytest.mark.parametrize("call", ["truncate", "sync", "write"])
def test_a_failure_while_going_on_in_place_ends_the_start(call: str) -> None:
    disk = running_disk()
    whole, broken = failing("create", errno.ENOSPC), failing(call, errno.EIO)
    disk.fail = lambda name: whole(name) or broken(name)

    with pytest.raises(StoreUnreadable):
        opened(disk)

    assert len(opened(disk.clone()).rows.jobs) == 2


def test_a_clean_file_whose_open_cannot_be_written_ends_the_start() -> None:
    disk = disk_with(closed_draft().data)
    disk.fail = failing("sync", errno.EIO)

    with pytest.raises(StoreUnreadable):
        opened(disk)

    assert len(opened(disk.clone()).rows.jobs) == 2


# --- Compaction at a start --------------------------------------------------------


def test_a_file_that_is_mostly_dead_is_rewritten_at_a_clean_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compact, "COMPACT_MIN_BYTES", 20_000)
    small, big = job(1), job(2, content=bytes(30_000))
    draft = Draft().snap_end().mark().add(Type.TXN, added(small, big))
    alive = draft.add(Type.CLOSE).mark(1).data
    dead = draft.add(Type.OPEN).add(Type.TXN, encode([(big, None)]))

    assert opened(alive).why == "clean"
    compacted = opened(disk := disk_with(dead.add(Type.CLOSE).mark(0).data))

    assert compacted.why == "most of it is dead"
    assert len(disk.names["db"].data) < 20_000
    assert list(opened(disk.clone()).rows.jobs.values()) == [small]


def test_a_small_file_is_not_worth_compacting() -> None:
    row = job(1, content=bytes(5000))
    draft = Draft().snap_end().mark().add(Type.TXN, added(row))
    draft.add(Type.TXN, encode([(row, None)])).add(Type.CLOSE).mark(1)

    assert opened(draft.data).why == "clean"


def test_a_record_survives_a_rewrite() -> None:
    gone = RemovedQueue("q9", 5, 6)
    disk = disk_with(
        Draft().snap_end().mark().add(Type.TXN, encode([(None, gone)])).data
    )

    opened(disk)

    assert list(opened(disk.clone()).rows.records.values()) == [gone]


def test_the_collector_is_back_as_it_was_after_a_start() -> None:
    opened(SimDisk())
    assert gc.isenabled()

    gc.disable()
    try:
        opened(SimDisk())
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_job_changed_after_the_rewrite_is_chained_to_it() -> None:
    disk = running_disk()
    first = opened(disk)
    changed = msgspec.structs.replace(job(1), priority=9)

    first.tail.append(Type.TXN, encode([(job(1), changed)]))

    assert rows(opened(disk.clone()).rows)[0] == {
        changed.uid: changed,
        job(2).uid: job(2),
    }
