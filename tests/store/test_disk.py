"""The file on a real disk: one owner, one path, and nothing left to a forked child."""

import errno
import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from drafts import closed_draft, rows

from jobengine.errors import StoreBusy
from jobengine.store.journal.disk import OsDisk, OsFile
from jobengine.store.journal.log import Tail
from jobengine.store.journal.opening import open_database
from jobengine.testing import CHEAP_KDF, SECRET


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db"


def database(path: Path) -> OsFile:
    """A database that has just been created."""
    disk = OsDisk(path)
    file = disk.create_first()
    assert file is not None
    disk.publish(file)
    return file


def tail(path: Path) -> Tail:
    return open_database(OsDisk(path), SECRET, kdf=CHEAP_KDF).tail


# --- Reading and writing ----------------------------------------------------------


def test_what_was_written_is_read_back(path: Path) -> None:
    file = database(path)

    file.write(3, b"abc")
    file.sync()
    file.drop_cache()

    assert file.read(0, 100) == b"\0\0\0abc"
    assert file.read(4, 1) == b"b"
    assert file.read(6, 1) == b""
    assert file.size() == 6
    file.truncate(4)
    assert path.read_bytes() == b"\0\0\0a"


def test_a_database_is_its_owners_alone(path: Path) -> None:
    database(path)

    assert path.stat().st_mode & 0o777 == 0o600


def test_an_os_error_leaves_as_it_is(path: Path) -> None:
    file = database(path)
    file.close()

    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        file.write(0, b"text")


def test_closing_twice_closes_nothing_of_somebody_elses(path: Path) -> None:
    file = database(path)
    file.close()
    other = os.open(path, os.O_RDONLY)

    file.close()

    os.fstat(other)
    os.close(other)


# --- One owner --------------------------------------------------------------------


def test_where_there_is_nothing_there_is_no_database(path: Path) -> None:
    assert OsDisk(path).open() is None


def test_a_database_has_one_owner(path: Path) -> None:
    file = database(path)

    with pytest.raises(StoreBusy, match="in use by another process"):
        OsDisk(path).open()

    file.close()
    assert OsDisk(path).open() is not None


def test_a_database_being_created_is_busy(path: Path) -> None:
    creator = OsDisk(path).create_first()
    assert creator is not None

    with pytest.raises(StoreBusy):
        OsDisk(path).create_first()

    assert creator.at_its_path()


def test_the_second_creator_finds_the_database_of_the_first(path: Path) -> None:
    database(path)

    assert OsDisk(path).create_first() is None
    assert os.listdir(path.parent) == ["db"]


def test_of_many_creators_at_once_one_creates_the_database(tmp_path: Path) -> None:
    for attempt in range(20):
        start = threading.Barrier(6)

        def create(path: Path, start: threading.Barrier) -> str:
            start.wait()
            try:
                return open_database(OsDisk(path), SECRET, kdf=CHEAP_KDF).why
            except StoreBusy:
                return "busy"

        with ThreadPoolExecutor(6) as pool:
            path = tmp_path / str(attempt)
            seen = Counter(pool.map(create, [path] * 6, [start] * 6))

        assert seen == {"created": 1, "busy": 5}
        assert not path.with_name(f"{attempt}.tmp").exists()


def test_an_abandoned_temporary_file_is_in_nobodys_way(path: Path) -> None:
    stale = path.with_name("db.tmp")
    stale.write_bytes(b"half a database")

    open_database(OsDisk(path), SECRET, kdf=CHEAP_KDF).tail.file.close()
    assert not stale.exists()

    stale.write_bytes(b"half a rewrite")
    reopened = open_database(OsDisk(path), SECRET, kdf=CHEAP_KDF)
    assert reopened.why == "the last stop was not clean"
    assert not stale.exists()


def test_a_file_renamed_over_while_we_waited_is_not_the_one_we_open(
    path: Path,
) -> None:
    class Overtaken(OsDisk):
        """Another process rewrites the database between our open and our lock."""

        taken = 0

        def _take(self, file: OsFile) -> None:
            self.taken += 1
            if self.taken == 1:
                newer = path.with_name("newer")
                newer.write_bytes(b"newer")
                newer.rename(path)
            super()._take(file)

    path.write_bytes(b"older")

    file = Overtaken(path).open()

    assert file is not None
    assert file.read(0, 9) == b"newer"


def test_a_temporary_file_unlinked_before_its_lock_is_made_again(path: Path) -> None:
    class Overtaken(OsDisk):
        """Another creator takes ours for abandoned, between our open and our lock."""

        taken = 0

        def _take(self, file: OsFile) -> None:
            self.taken += 1
            if self.taken == 1:
                file.path.unlink()
            super()._take(file)

    file = Overtaken(path).create_first()

    assert file is not None
    assert file.at_its_path()


def test_an_abandoned_file_that_goes_by_itself_is_no_fault(path: Path) -> None:
    stale = path.with_name("db.tmp")

    class Vanishing(OsDisk):
        """The file is gone when we look again."""

        def _unlink_abandoned(self) -> None:
            stale.unlink(missing_ok=True)
            super()._unlink_abandoned()

    stale.touch()

    assert Vanishing(path).create_first() is not None


def test_an_abandoned_file_that_somebody_took_over_is_left_alone(path: Path) -> None:
    stale = path.with_name("db.tmp")

    class Overtaken(OsDisk):
        """Another creator unlinks the old file and makes its own just before us."""

        taken = 0

        def _take(self, file: OsFile) -> None:
            self.taken += 1
            if self.taken == 1:
                stale.unlink()
                stale.write_bytes(b"theirs")
            super()._take(file)

    stale.write_bytes(b"old")
    disk = Overtaken(path)

    disk._unlink_abandoned()

    assert stale.read_bytes() == b"theirs"


# --- One path ---------------------------------------------------------------------


def test_a_symbolic_link_is_resolved_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "data" / "db")

    file = database(link)

    assert link.is_symlink()
    assert file.path == tmp_path / "data" / "db"
    with pytest.raises(StoreBusy):
        OsDisk(tmp_path / "data" / "db").open()


def test_a_file_knows_when_it_is_no_longer_at_its_path(path: Path) -> None:
    file = database(path)
    assert file.at_its_path()

    path.rename(path.with_name("moved"))
    assert not file.at_its_path()

    path.touch()
    assert not file.at_its_path()


def test_a_publication_that_another_overtook_is_a_failure(path: Path) -> None:
    disk = OsDisk(path)
    first = disk.create_first()
    assert first is not None
    path.with_name("db.tmp").unlink()
    path.with_name("db.tmp").touch()

    with pytest.raises(OSError, match="replaced") as failure:
        disk.publish(first)

    assert failure.value.errno == errno.ESTALE


def test_a_rewrite_replaces_the_file_under_the_same_path(path: Path) -> None:
    old = database(path)
    disk = OsDisk(path)
    new = disk.create_temporary()
    new.write(0, b"new")

    disk.publish(new)

    assert not old.at_its_path()
    assert new.at_its_path()
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreBusy):
        OsDisk(path).open()


def test_a_file_mounted_by_itself_is_refused_and_the_folder_asked_for(
    tmp_path: Path,
) -> None:
    for name in ("db", "elsewhere"):
        (tmp_path / name).write_bytes(closed_draft().data)
    program = """
import subprocess, sys
from pathlib import Path
from jobengine.errors import ConfigError
from jobengine.store.journal.disk import OsDisk
db, elsewhere = map(Path, sys.argv[1:])
if subprocess.run(["mount", "--bind", elsewhere, db], capture_output=True).returncode:
    sys.exit("may not mount")
try:
    OsDisk(db).open()
except ConfigError as error:
    print(error)
"""
    ran = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", program]
        + [str(tmp_path / name) for name in ("db", "elsewhere")],
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        pytest.skip("needs the right to mount")

    assert f"mount the folder {tmp_path}" in ran.stdout


def test_a_file_is_on_a_mount_while_it_is_open(path: Path) -> None:
    file = database(path)
    assert file.mount() is not None

    file.close()
    assert file.mount() is None


# --- Forks ------------------------------------------------------------------------

FORK = """
import os, sys
from pathlib import Path
from jobengine.errors import StoreBusy
from jobengine.store.journal.disk import OsDisk
disk = OsDisk(Path(sys.argv[1]))
file = disk.create_first()
disk.publish(file)
child = os.fork()
if not child:
    try:
        file.write(0, b"child")
    except OSError:
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
file.write(0, b"parent")
try:
    disk.open()
except StoreBusy:
    print("still ours")
# An orphan that lives on must not keep the lock.
ready, done = os.pipe(), os.pipe()
if not os.fork():
    os.close(done[1])
    os.write(ready[1], b".")
    os.read(done[0], 1)
    os._exit(0)
os.read(ready[0], 1)
file.close()
assert disk.open() is not None
print("free at once")
os.close(done[1])
os.wait()
"""


def test_a_forked_child_has_neither_the_file_nor_its_lock(path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORK, str(path)], capture_output=True, text=True
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ["still ours", "free at once"]
    assert path.read_bytes() == b"parent"


# --- All of it --------------------------------------------------------------------


def test_a_database_on_a_real_disk_goes_on_where_it_stopped(path: Path) -> None:
    path.write_bytes(closed_draft().data)

    first = open_database(OsDisk(path), SECRET, kdf=CHEAP_KDF)
    first.tail.file.close()
    second = open_database(OsDisk(path), SECRET, kdf=CHEAP_KDF)

    assert (first.why, second.why) == ("clean", "the last stop was not clean")
    assert rows(first.rows) == rows(second.rows)
    second.tail.check()


def test_a_file_replaced_under_a_running_daemon_is_noticed(path: Path) -> None:
    ours = tail(path)

    path.with_name("theirs").write_bytes(path.read_bytes())
    path.with_name("theirs").rename(path)

    with pytest.raises(OSError, match="replaced or changed"):
        ours.check()


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_whose_size_changed_under_a_running_daemon_is_noticed(
    change: int, path: Path
) -> None:
    ours = tail(path)

    os.truncate(path, path.stat().st_size + change)

    with pytest.raises(OSError, match="replaced or changed"):
        ours.check()


def test_a_memory_file_system_is_named_as_doubtful() -> None:
    told = subprocess.run(
        ["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True, text=True
    )
    if told.stdout.strip() != "tmpfs":
        pytest.skip("/dev/shm is no memory file system here")

    assert OsDisk(Path("/dev/shm/db")).doubtful() == "tmpfs"


def test_more_than_the_disk_has_is_not_reserved(path: Path) -> None:
    file = database(path)
    size = file.size()

    assert file.reserve(0, 1 << 60) is False
    assert file.reserve(0, size + (1 << 20)) is not False
    assert file.size() == size, "a reserve does not grow the file"
    file.close()
