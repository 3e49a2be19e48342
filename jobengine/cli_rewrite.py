"""The tools that make a whole file: copies, rewrites, rescue, import.

What they do is done in store/journal; here it is asked for and told.
"""

from collections.abc import Iterator
from pathlib import Path

import click
from msgspec.structs import replace

from jobengine.cli_tool import (
    CHECKED,
    Progress,
    apart,
    count,
    database,
    found_facts,
    found_lines,
    never_over,
    path_argument,
    present_database,
    some_secrets,
    tell,
    the_secrets,
    tool,
)
from jobengine.core.queues import Rulebook
from jobengine.daemon import settings
from jobengine.daemon.secret import legacy_secret
from jobengine.errors import ConfigError
from jobengine.store.journal import copies
from jobengine.store.journal.copies import keep_beside
from jobengine.store.journal.disk import OsDisk
from jobengine.store.journal.placing import Made
from jobengine.store.journal.reading import Watched, open_to_read
from jobengine.store.journal.salvage import Salvaged
from jobengine.store.journal.salvage import salvage as read_remains
from jobengine.store.legacy import Legacy, read_legacy


@tool("backup")
@path_argument("out")
@click.option("--force", is_flag=True, help="Replace OUT.")
def backup(out: Path, *, force: bool, as_json: bool) -> None:
    """Copy the database at DB_PATH to OUT, verified, while a daemon may be using it.

    The copy is as sealed as the original and has every commit that was acknowledged
    before the command began. It appears under its name only when it is complete, on the
    disk, and verified: with SECRET all of it, without SECRET as `verify` does.

    \b
    Examples:
      SECRET_FILE=secret jobengine backup /backup/jobs-monday.queuedb
      jobengine backup --force /backup/latest.queuedb
    """
    path, secrets = database(), some_secrets()
    apart(path, out)
    with (
        Progress(f"copying {path}", quiet=as_json) as watch,
        open_to_read(path, watch) as source,
        never_over(out, "--force replaces it"),
    ):
        found = copies.backup(source, OsDisk(out), secrets, force=force, watch=watch)
    facts = {"file": str(out), "checked": CHECKED[secrets is not None]}
    lines = [f"{out}: complete and good", *found_lines(found)]
    tell(facts | found_facts(found), lines, as_json=as_json)


@tool("restore")
@path_argument("backup")
@click.option("--force", is_flag=True, help="Replace the database; it is kept beside.")
def restore(backup: Path, *, force: bool, as_json: bool) -> None:
    """Make the database at DB_PATH of BACKUP. The daemon must be stopped.

    The backup is verified first. The database gets an identity of its own, and is
    sealed under SECRET (SECRET_PREVIOUS may open the backup). With --force a database
    that is there is kept beside it, as DB_PATH.before-restore. What was done since the
    backup was made would be done again.

    \b
    Examples:
      SECRET_FILE=secret jobengine restore /backup/jobs-monday.queuedb
      SECRET_FILE=secret jobengine restore --force /backup/latest.queuedb
    """
    path, secrets = database(), the_secrets()
    apart(path, backup)
    disk = OsDisk(path)
    aside = disk.path.with_name(disk.path.name + ".before-restore")
    if force and aside.exists():
        raise click.UsageError(f"{aside} exists: move it away first")
    with (
        Progress(f"restoring {path}", quiet=as_json) as watch,
        open_to_read(backup, watch) as source,
        never_over(path, "--force replaces it, and keeps it beside"),
    ):
        keep = (lambda: keep_beside(disk.path, aside)) if force else None
        made = copies.restore(source, disk, secrets, watch=watch, keep=keep)
    kept = str(aside) if made.size_before else None
    lines = [f"{path}: restored; {_made_line(made)}"]
    lines += [f"the database before: {aside}"] if kept else []
    tell(_made_facts(path, made) | {"kept": kept}, lines, as_json=as_json)


@tool("compact")
def compact(*, as_json: bool) -> None:
    """Rewrite the database at DB_PATH without what is dead. The daemon must be stopped.

    Deleted jobs and their payloads are then gone from the file. A running daemon
    compacts by itself when it is worth it.

    \b
    Examples:
      SECRET_FILE=secret jobengine compact
    """
    path = present_database()
    secrets = replace(the_secrets(), previous=None)
    with Progress(f"compacting {path}", quiet=as_json) as watch:
        made = copies.rewrite(OsDisk(path), secrets, watch=watch)
    assert made is not None, "a rewrite that is always wanted"
    line = f"{path}: compacted; {_made_line(made)}; before, {made.size_before:,} bytes"
    tell(_made_facts(path, made), [line], as_json=as_json)


@tool("rekey")
def rekey(*, as_json: bool) -> None:
    """Seal the database at DB_PATH under another SECRET. The daemon must be stopped.

    SECRET_PREVIOUS is the one that opens it now, SECRET the one to come. The file is
    rewritten under a new data key too, so that the old SECRET opens nothing of it. It
    still opens copies made before. When SECRET opens the file already, nothing is done.

    \b
    Examples:
      SECRET_FILE=new SECRET_PREVIOUS_FILE=old jobengine rekey
    """
    path, secrets = present_database(), the_secrets()
    if secrets.previous is None:
        raise ConfigError(
            "SECRET_PREVIOUS is missing: set it, or SECRET_PREVIOUS_FILE, to the "
            "secret that opens the file now, and SECRET to the new one"
        )
    with Progress(f"rekeying {path}", quiet=as_json) as watch:
        made = copies.rewrite(
            OsDisk(path), secrets, watch=watch, wanted=lambda found: found.used_previous
        )
    facts: dict[str, object] = {"file": str(path), "rekeyed": made is not None}
    line = f"{path}: SECRET opens it already; nothing was changed"
    if made is not None:
        facts |= _made_facts(path, made)
        line = f"{path}: sealed under SECRET; {_made_line(made)}; drop SECRET_PREVIOUS"
    tell(facts, [line], as_json=as_json)


@tool("salvage")
@path_argument("damaged")
@path_argument("out")
def salvage(damaged: Path, out: Path, *, as_json: bool) -> None:
    """Write what can still be read of DAMAGED to a new database, OUT.

    For a file that `verify` calls damaged, where there is no backup. No daemon may be
    using it, and it is not changed. Frames that cannot be read are lost; their numbers
    are told, but not what they said. A job from before one of them may have been
    finished since. So when it is unfinished it is listed, and held: it is in the state
    failed with the reason "salvaged" until somebody queues it again or deletes it. A
    job whose payload is lost is listed too, and has null in its place.

    \b
    Examples:
      SECRET_FILE=secret jobengine salvage jobs.queuedb rescued.queuedb
    """
    secrets = the_secrets()
    apart(damaged, out)
    with (
        Progress(f"reading {damaged}", quiet=as_json) as watch,
        never_over(out, "name a file that does not"),
    ):
        if out.exists():
            raise FileExistsError
        file = OsDisk(damaged).open()
        if file is None:
            raise FileNotFoundError(f"{damaged}: there is no such file")
        try:
            found = read_remains(Watched(file, watch), secrets.secret, secrets.previous)
        finally:
            file.close()
        made = copies.create(OsDisk(out), secrets, found.rows, watch=watch)
    facts = _made_facts(out, made) | _remains_facts(found)
    lines = [*_remains_lines(found), f"{out}: {_made_line(made)}"]
    tell(facts, lines, as_json=as_json)


@tool("import-legacy")
@path_argument("old")
def import_legacy(old: Path, *, as_json: bool) -> None:
    """Bring the jobs of OLD, a file of an older JobEngine, to the database at DB_PATH.

    LEGACY_SECRET (or LEGACY_SECRET_FILE) is the SECRET that OLD was written with;
    without it SECRET is tried. The database is created where there is none, and sealed
    under SECRET. The daemon must be stopped. Everything is imported, or nothing. A job
    that is there already, by its uid, is left as it is.

    Who may use which queue comes from config.yml, not from OLD. Queues that it lacks
    are named: add them there before the daemon starts.

    \b
    Examples:
      mv database.queuedb old.queuedb
      LEGACY_SECRET=hello_world SECRET_FILE=secret jobengine import-legacy old.queuedb
    """
    environ = settings.environment()
    path, secrets = database(), the_secrets()
    apart(old, path)
    rules = settings.preview(environ).rules
    secret = legacy_secret(environ) or secrets.secret
    legacy = read_legacy(old.read_bytes(), secret, rules)
    with Progress(f"importing {old}", quiet=as_json) as watch:
        added = copies.add_jobs(OsDisk(path), secrets, legacy.jobs, watch=watch)
    _tell_imported(path, legacy, added, rules, as_json=as_json)


COMMANDS = (backup, restore, compact, rekey, salvage, import_legacy)


def _made_facts(path: Path, made: Made) -> dict[str, object]:
    return {
        "file": str(path),
        "file_id": made.file_id.hex(),
        "epoch": made.epoch,
        "jobs": len(made.rows.jobs),
        "bytes": made.size,
        "bytes_before": made.size_before,
    }


def _made_line(made: Made) -> str:
    jobs, size = count(len(made.rows.jobs), "job"), count(made.size, "byte")
    return f"{jobs}, {size}, epoch {made.epoch}"


def _remains_facts(found: Salvaged) -> dict[str, object]:
    return {
        "frames": found.frames,
        "lost": found.lost,
        "end_unsure": found.end_unsure,
        "bad_blocks": found.bad_blocks,
        "held": [
            {"uid": uid, "queue": found.rows.jobs[uid].queue, "why": why}
            for uid, why in found.held.items()
        ],
    }


def _remains_lines(found: Salvaged) -> Iterator[str]:
    yield f"{count(found.frames, 'frame')} read"
    for first, last in found.lost:
        yield f"lost: frame {first}" + (f" to {last}" if last > first else "")
    if found.end_unsure:
        yield "whether frames after the last one are lost is not known"
    if found.bad_blocks:
        yield f"the disk does not give back {count(found.bad_blocks, 'block')} of 4,096"
    for uid, why in found.held.items():
        yield f"held: {uid} of queue {found.rows.jobs[uid].queue}: {why}"


def _tell_imported(
    path: Path, legacy: Legacy, added: int, rules: Rulebook, *, as_json: bool
) -> None:
    missing = [name for name in legacy.queues if name not in rules.queues]
    for name in missing:
        click.echo(
            f"warning: queue {name} is not in config.yml: add it before the daemon "
            "starts, or its jobs are hidden, and then deleted",
            err=True,
        )
    present = len(legacy.jobs) - added
    facts = {
        "file": str(path),
        "era": legacy.era,
        "imported": added,
        "already_there": present,
        "priorities_clamped": legacy.clamped,
        "queues_not_in_config": missing,
    }
    lines = [f"{path}: {count(added, 'job')} imported, {present:,} were there already"]
    if legacy.clamped:
        lines.append(f"{count(legacy.clamped, 'job')} had a priority outside 1 to 100")
    tell(facts, lines, as_json=as_json)
