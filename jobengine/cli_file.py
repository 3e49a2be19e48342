"""The tools that read the database file, and all of them by name.

They take no lock and change nothing; a daemon may be using the file.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec

from jobengine import cli_rewrite
from jobengine.cli_tool import (
    CHECKED,
    Progress,
    database,
    found_facts,
    found_lines,
    path_argument,
    some_secrets,
    state_lines,
    tell,
    tool,
    torn_facts,
)
from jobengine.core.job import Job, State
from jobengine.daemon.clock import SystemClock
from jobengine.daemon.exits import exit_code
from jobengine.errors import ConfigError, StoreCorrupt
from jobengine.store.journal.copies import checked
from jobengine.store.journal.frame import Type
from jobengine.store.journal.opening import live
from jobengine.store.journal.reading import Survey, open_to_read, survey
from jobengine.store.journal.records import Replay
from jobengine.store.journal.recover import examine
from jobengine.store.sealer import ARGON2ID, RAW, Kdf


@tool("verify")
@path_argument("file", required=False)
@click.pass_context
def verify(ctx: click.Context, file: Path | None, *, as_json: bool) -> None:
    """Check every byte of FILE, or of the database at DB_PATH.

    With SECRET: that every frame is whole, authentic and in its place, that nothing a
    watermark covers is missing, and that the rows make sense. Without: checksums, order
    and linking, which finds accidents and no attacker. A daemon may be using the file.

    The code is 0 when all is well, 65 when the file is damaged (the first bad byte is
    named), 77 when SECRET does not open it.

    \b
    Examples:
      SECRET_FILE=secret jobengine verify
      jobengine verify backup/jobs.queuedb
      jobengine verify --json | jq .good
    """
    path, secrets = file or database(), some_secrets()
    facts: dict[str, object] = {"file": str(path)}
    facts["checked"] = CHECKED[secrets is not None]
    try:
        with (
            Progress(f"verifying {path}", quiet=as_json) as watch,
            open_to_read(path, watch) as source,
        ):
            found = checked(source, secrets)
    except StoreCorrupt as damage:
        if not as_json:
            raise
        tell(facts | {"good": False, "damage": _damage(damage)}, [], as_json=True)
        ctx.exit(exit_code(damage))
    facts |= {"good": True, "damage": None, **found_facts(found)}
    tell(facts, [f"{path}: good", *found_lines(found)], as_json=as_json)


@tool("inspect")
@path_argument("file", required=False)
@click.pass_context
def inspect(ctx: click.Context, file: Path | None, *, as_json: bool) -> None:
    """Tell what FILE, or the database at DB_PATH, is and holds.

    Without SECRET: format, identity, sizes, frames, key derivation. With it, also the
    queues, their jobs by state and age, and how much of the file is live. A daemon may
    be using the file. A damaged file is told of as far as it is good, with code 65.

    \b
    Examples:
      jobengine inspect
      SECRET_FILE=secret jobengine inspect backup/jobs.queuedb
      jobengine inspect --json | jq .epoch
    """
    path, secrets = file or database(), some_secrets()
    with Progress(f"reading {path}", quiet=as_json) as watch:
        with open_to_read(path, watch) as source:
            seen = survey(source)
        damage, rows = seen.damage, None
        if secrets is not None and damage is None:
            try:
                with open_to_read(path, watch) as source:
                    found = examine(source, secrets.secret, secrets.previous)
                rows = found.replay
            except StoreCorrupt as error:
                damage = error
    facts = {"file": str(path), **_plain_facts(seen), "damage": _damage(damage)}
    lines = [f"file: {path}", *_plain_lines(seen)]
    if rows is not None:
        facts |= _rows_facts(rows)
        lines += _rows_lines(rows)
    if damage is not None:
        lines.append(f"damage: {damage}")
    tell(facts, lines, as_json=as_json)
    ctx.exit(0 if damage is None else exit_code(damage))


@tool("dump")
@path_argument("file", required=False)
@click.option("--payloads", is_flag=True, help="Print what the jobs carry, too.")
@click.option("--queue", metavar="QUEUE", help="Only the jobs of this queue.")
def dump(
    file: Path | None, *, payloads: bool, queue: str | None, as_json: bool
) -> None:
    """Print the jobs of FILE, or of the database at DB_PATH, one JSON object a line.

    Needs SECRET. The whole file is verified before the first line. A daemon may be
    using it. Payloads are printed, as `content`, only when asked for: what is printed
    is no longer sealed. --json only silences the progress.

    \b
    Examples:
      SECRET_FILE=secret jobengine dump | jq 'select(.state == "failed") | .uid'
      SECRET_FILE=secret jobengine dump --queue mail --payloads > mail.ndjson
    """
    path, secrets = file or database(), some_secrets()
    if secrets is None:
        raise ConfigError("SECRET is missing or empty: without it no job can be read")
    with (
        Progress(f"reading {path}", quiet=as_json) as watch,
        open_to_read(path, watch) as source,
    ):
        jobs = examine(source, secrets.secret, secrets.previous).replay.jobs.values()
    out = sys.stdout.buffer
    for job in sorted(jobs, key=lambda job: (job.queue, job.seq)):
        if queue in (None, job.queue):
            out.write(msgspec.json.encode(_job_facts(job, payload=payloads)) + b"\n")


COMMANDS = (verify, inspect, dump, *cli_rewrite.COMMANDS)


def _damage(damage: StoreCorrupt | None) -> dict[str, object] | None:
    if damage is None:
        return None
    return {"offset": damage.offset, "message": str(damage), "code": damage.code}


# --- inspect ----------------------------------------------------------------------


def _plain_facts(seen: Survey) -> dict[str, object]:
    header = seen.header
    return {
        "format": f"{header.major}.{header.minor}",
        "file_id": header.file_id.hex(),
        "epoch": header.epoch,
        "bytes": seen.size,
        "frames": _by_type(seen),
        "kdf": _kdf_facts(header.kdf),
        "header_damaged": seen.header_damaged,
        "closed": seen.clean,
        "torn": torn_facts(seen),
    }


def _plain_lines(seen: Survey) -> Iterator[str]:
    header = seen.header
    kdf, *terms = _kdf_facts(header.kdf).items()
    yield f"format: {header.major}.{header.minor}"
    yield f"file id: {header.file_id.hex()}"
    yield f"epoch: {header.epoch}"
    yield f"bytes: {seen.size:,}"
    yield "frames: " + ", ".join(f"{n:,} {name}" for name, n in _by_type(seen).items())
    yield ", ".join([f"key derivation: {kdf[1]}", *(f"{n} {v}" for n, v in terms)])
    yield from state_lines(seen)


def _by_type(seen: Survey) -> dict[str, int]:
    return {type_.name: seen.frames.get(type_, 0) for type_ in Type}


_KDFS = {RAW: "HKDF-SHA256", ARGON2ID: "Argon2id"}


def _kdf_facts(kdf: Kdf) -> dict[str, object]:
    facts: dict[str, object] = {"name": _KDFS.get(kdf.kind, f"number {kdf.kind}")}
    if kdf.kind != RAW:
        facts |= {"memory_kib": kdf.memory, "passes": kdf.passes, "lanes": kdf.lanes}
    return facts


def _by_queue(jobs: Iterable[Job]) -> Iterator[tuple[str, list[Job]]]:
    queues: dict[str, list[Job]] = {}
    for job in jobs:
        queues.setdefault(job.queue, []).append(job)
    yield from sorted(queues.items())


def _rows_facts(rows: Replay) -> dict[str, object]:
    queues = {name: _queue(some) for name, some in _by_queue(rows.jobs.values())}
    return {"live_bytes": live(rows), "queues": queues}


def _queue(jobs: list[Job]) -> dict[str, object]:
    states = Counter(job.state for job in jobs)
    return {
        "jobs": {state.name.lower(): states[state] for state in State},
        "content_bytes": _payloads(jobs),
        "oldest_queued_at": _oldest_queued(jobs),
    }


def _payloads(jobs: list[Job]) -> int:
    return sum(len(job.content) for job in jobs)


def _oldest_queued(jobs: list[Job]) -> int | None:
    queued = (job.created_at for job in jobs if job.state is State.QUEUED)
    return min(queued, default=None)


def _rows_lines(rows: Replay) -> Iterator[str]:
    yield f"live bytes: about {live(rows):,}"
    yield "queues:" if rows.jobs else "queues: none has a job"
    for name, some in _by_queue(rows.jobs.values()):
        states = Counter(job.state for job in some)
        told = [f"{states[s]:,} {s.name.lower()}" for s in State if states[s]]
        oldest = _oldest_queued(some)
        if oldest is not None:
            age_s = (SystemClock().now() - oldest) // 1000
            told.append(f"the oldest queued {age_s:,} s ago")
        yield f"  {name}: {', '.join(told)}"


# --- dump -------------------------------------------------------------------------


def _job_facts(job: Job, *, payload: bool) -> dict[str, object]:
    """A job as a line shows it. The token of its lease is for its holder alone."""
    lease = job.lease
    facts: dict[str, object] = {
        "uid": job.uid,
        "queue": job.queue,
        "seq": job.seq,
        "priority": job.priority,
        "state": job.state.name.lower(),
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "run_at": job.run_at,
        "expires_at": job.expires_at,
        "attempt": job.attempt,
        "max_attempts": job.terms.max_attempts,
        "lease_ms": job.terms.lease_ms,
        "keep_ms": job.terms.keep_ms,
        "holder": lease and lease.holder,
        "lease_until": lease and lease.until,
        "finished_at": job.finished_at,
        "keep_until": job.keep_until,
        "reason": job.reason,
        "content_bytes": len(job.content),
    }
    if payload:
        # In JSON a line break is never part of a value, and here a line is a job.
        text = job.content.replace(b"\n", b" ").replace(b"\r", b" ")
        facts["content"] = msgspec.Raw(text)
    return facts
