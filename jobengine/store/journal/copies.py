"""Makes whole files from whole files: backup, restore, rewrite and import.

Each is one act (placing.py): all of it, or nothing has changed. But for `backup` no
daemon may have the file.
"""

import os
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from jobengine.core.job import Job
from jobengine.store.journal.chain import READ_AHEAD, Readable
from jobengine.store.journal.compact import Before
from jobengine.store.journal.disk import Disk, DiskFile
from jobengine.store.journal.placing import (
    Made,
    Secrets,
    database,
    dropped_on_failure,
    put,
    temporary,
)
from jobengine.store.journal.reading import Survey, Watch, Watched, survey
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import Verdict, examine


def checked(file: Readable, secrets: Secrets | None) -> Verdict | Survey:
    """Read all of a file, with what keys there are.

    Raises:
        StoreError: it is not good.
    """
    if secrets is not None:
        return examine(file, secrets.secret, secrets.previous)
    seen = survey(file)
    if seen.damage is not None:
        raise seen.damage
    return seen


def keep_beside(path: Path, aside: Path) -> None:
    """Give the file a second name, under which a rename over the first leaves it.

    Raises:
        OSError: there is a file of that name, or the file system has no links.
    """
    os.link(path, aside)


def backup(
    source: Readable, disk: Disk, secrets: Secrets | None, *, force: bool, watch: Watch
) -> Verdict | Survey:
    """Copy a file that a daemon may be writing to, and verify the copy.

    Without *secrets* only what needs no key is verified.

    Raises:
        FileExistsError: there is a file already, and *force* was not given.
        StoreError: the copy is not good; it has been dropped.
        OSError: from either disk.
    """
    with temporary(disk, replace_old=force) as (_, new):
        # From the start to the end: a mark is read before the frames it speaks of.
        source.drop_cache()
        offset = 0
        while part := source.read(offset, READ_AHEAD):
            new.write(offset, part)
            offset += len(part)
        new.sync()
        found = checked(Watched(new, watch), secrets)
        # What was still on its way is no part of the copy.
        new.truncate(found.end)
        new.sync()
        disk.publish(new)
    return found


def restore(
    source: Readable,
    disk: Disk,
    secrets: Secrets,
    *,
    watch: Watch,
    keep: Callable[[], None] | None = None,
) -> Made:
    """Make the database of a backup's rows, as a new file with an identity of its own.

    *keep* puts a database that is there aside; without it none is replaced.

    Raises:
        FileExistsError: there is a database, and no *keep*.
        StoreError: the backup is not good, or the database is in use.
        OSError: from either disk.
    """
    with temporary(disk, replace_old=keep is not None) as (old, new):
        found = examine(source, secrets.secret, secrets.previous)
        return put(
            disk,
            new,
            secrets,
            secrets.new_identity(),
            _before(found),
            found.replay,
            size_before=0 if old is None else old.size(),
            watch=watch,
            ready=keep if old is not None else None,
        )


def rewrite(
    disk: Disk,
    secrets: Secrets,
    *,
    watch: Watch,
    wanted: Callable[[Verdict], bool] = lambda _found: True,
) -> Made | None:
    """Write the rows into a new epoch, under a new data key and `secrets.secret`.

    None when the file is not *wanted* rewritten, and was left as it is.

    Raises:
        FileNotFoundError: there is no database.
        StoreError: it cannot be opened, and was left as it is.
        OSError: from the disk.
    """
    with database(disk) as old:
        if old is None:
            raise FileNotFoundError("there is no database")
        found = examine(Watched(old, watch), secrets.secret, secrets.previous)
        if not wanted(found):
            return None
        return _onto(disk, old, found, secrets, watch)


def add_jobs(disk: Disk, secrets: Secrets, jobs: list[Job], *, watch: Watch) -> int:
    """Add those *jobs* whose uid the database lacks, all at once; how many.

    They come after all that is there. The database is created where there is none.

    Raises:
        StoreError: it cannot be opened, and was left as it is.
        OSError: from the disk.
    """
    with database(disk) as old:
        if old is None:
            return _first(disk, secrets, jobs, watch)
        found = examine(Watched(old, watch), secrets.secret, secrets.previous)
        added = _add(found.replay, jobs)
        if added:
            _onto(disk, old, found, secrets, watch)
        return added


def create(disk: Disk, secrets: Secrets, rows: Replay, *, watch: Watch) -> Made:
    """Make a new database of *rows*.

    Raises:
        FileExistsError: there is a file already.
        OSError: from the disk.
    """
    with temporary(disk, replace_old=False) as (_, new):
        return put(
            disk,
            new,
            secrets,
            secrets.new_identity(),
            Before(),
            rows,
            watch=watch,
        )


def _first(disk: Disk, secrets: Secrets, jobs: list[Job], watch: Watch) -> int:
    rows = Replay()
    added = _add(rows, jobs)
    create(disk, secrets, rows, watch=watch)
    return added


def _add(rows: Replay, jobs: list[Job]) -> int:
    seq = max((job.seq for job in rows.jobs.values()), default=-1) + 1
    before = len(rows.jobs)
    for job in jobs:
        if job.uid not in rows.jobs:
            rows.jobs[job.uid] = replace(job, seq=seq)
            seq += 1
    return len(rows.jobs) - before


def _onto(
    disk: Disk, old: DiskFile, found: Verdict, secrets: Secrets, watch: Watch
) -> Made:
    """The next epoch of a database, in its place."""
    new = disk.create_temporary()
    with dropped_on_failure(disk, new):
        return put(
            disk,
            new,
            secrets,
            secrets.identity(found.header, rewrap=found.used_previous),
            _before(found),
            found.replay,
            size_before=old.size(),
            watch=watch,
        )


def _before(found: Verdict) -> Before:
    return Before(found.header.epoch, found.seq - 1, found.tag)
