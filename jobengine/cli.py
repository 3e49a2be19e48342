"""The `jobengine` command: words in, words and an exit code out. Decides nothing."""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from jobengine import cli_file, cli_work
from jobengine._version import __version__
from jobengine.core import plan
from jobengine.core.queues import MINUTE_MS, Rulebook
from jobengine.daemon import settings as configuration
from jobengine.daemon.exits import exit_code
from jobengine.daemon.secret import read_secrets
from jobengine.daemon.settings import Settings
from jobengine.errors import ConfigError, JobEngineError, StoreBusy

EPILOG = """\
Exit codes: 0 done; 1 a fault of ours; 2 wrong usage; 65 the database is damaged, not a
database, or of a newer version; 69 something needed is not available; 74 the disk
failed; 75 another process has the database or the port; 77 SECRET does not open the
database; 78 the configuration, or SECRET, cannot be used.

\b
Completion, for bash (zsh and fish alike):
  eval "$(_JOBENGINE_COMPLETE=bash_source jobengine)"
"""


class _Commands(click.Group):
    """Commands whose errors are told in one message, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except JobEngineError as error:
            click.echo(f"jobengine: {error}", err=True)
            ctx.exit(exit_code(error))


@click.group(cls=_Commands, epilog=EPILOG)
@click.version_option(__version__, prog_name="jobengine")
def main() -> None:
    """A permissioned, encrypted, single-file job queue daemon.

    Settings come from the environment and from the file at CONFIG_PATH. SECRET (or
    SECRET_FILE) opens the database at DB_PATH.

    \b
    Start here:
      head -c 24 /dev/urandom | base64 > secret
      export SECRET_FILE=secret CONFIG_PATH=config.yml DB_PATH=jobs.queuedb
      jobengine config check
      jobengine serve
    """


@main.command()
@click.option("--dev", is_flag=True, help="Allow a missing or well-known SECRET.")
@click.pass_context
def serve(ctx: click.Context, *, dev: bool) -> None:
    """Start the daemon and serve until told to stop.

    SIGTERM stops it: requests under way end, the database is closed, and the code is 0.
    SIGHUP reloads the configuration; so does a change of the file. Where there is no
    configuration file, a default one is written.

    \b
    Examples:
      SECRET_FILE=secret jobengine serve
      PORT=7000 GIN_MODE=debug SECRET_FILE=secret jobengine serve
      jobengine serve --dev
    """
    settings = configuration.from_environment(dev=dev)
    # Only this command needs the server, and it is slow to import.
    from jobengine.daemon.serve import run

    # A reload must not take a file that is being replaced for a wish for the default.
    again = partial(configuration.from_environment, dev=dev, missing="refuse")
    ctx.exit(run(settings, load=again))


for command in (*cli_file.COMMANDS, *cli_work.COMMANDS):
    main.add_command(command)


@main.group()
def config() -> None:
    """Check, show and compare configurations. None of these changes a file."""


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Find every mistake in FILE, or in the file at CONFIG_PATH.

    Each mistake is told with its line, and the code is 78. The environment is checked
    too; what is wrong with SECRET is a warning here, and refused by `serve`.

    \b
    Examples:
      jobengine config check
      jobengine config check new.yml
    """
    environ = configuration.environment()
    settings = configuration.preview(environ, file)
    warnings = list(settings.warnings)
    try:
        warnings += read_secrets(environ).warnings
    except ConfigError as error:
        warnings.append(f"`jobengine serve` would refuse: {error}")
    _tell(settings.notes)
    _tell(f"warning: {warning}" for warning in warnings)
    count = len(settings.rules.queues)
    queues = "1 queue" if count == 1 else f"{count} queues"
    where = f"{settings.host}, port {settings.port}"
    click.echo(f"{settings.config_path}: good; {queues}; listens on {where}")


@config.command()
def show() -> None:
    """Print the settings in force, as YAML, with every default filled in.

    The environment's are in place of the file's. What is printed is a valid config.yml;
    paths and log level, which only the environment has, are comments in it. SECRET is
    not printed.

    \b
    Examples:
      jobengine config show
      PORT=7000 jobengine config show > full.yml
    """
    settings = configuration.preview(configuration.environment())
    _tell(settings.notes)
    click.echo(f"# CONFIG_PATH: {settings.config_path}")
    click.echo(f"# DB_PATH: {settings.db_path}")
    click.echo(f"# log level: {settings.log_level}")
    effective = {key: value for key, value in settings.effective.items() if value != {}}
    effective["queues"] = settings.effective["queues"]
    click.echo(yaml.safe_dump(effective, sort_keys=False, width=88), nl=False)


@config.command()
@click.argument("new", required=False, type=click.Path(path_type=Path))
def diff(new: Path | None) -> None:
    """Tell what a start or a reload would add, change and lose.

    With NEW, the file at CONFIG_PATH is compared with NEW; no database is opened.
    Without, the queues that the database holds are compared with the file at
    CONFIG_PATH; that needs SECRET, and a daemon that has been stopped.

    \b
    Examples:
      jobengine config diff new.yml
      SECRET_FILE=secret jobengine config diff
    """
    environ = configuration.environment()
    old = configuration.preview(environ)
    lines = (
        _against_database(environ, old)
        if new is None
        else _against_file(old, configuration.preview(environ, new))
    )
    for line in lines or ["nothing would change"]:
        click.echo(line)


def _against_file(old: Settings, new: Settings) -> list[str]:
    change = plan.diff(old.rules, new.rules)
    queues = new.effective["queues"]
    fate, before, now = _fate(new.rules), _others(old), _others(new)
    lines = [
        *(f"+ queue {name}: {_lists(queues[name])}" for name in change.added),
        *(
            f"~ queue {n}: {told}"
            for n, all_ in change.changed.items()
            for told in all_
        ),
        *(f"- queue {name}: gone at once; its jobs: {fate}" for name in change.removed),
        *(f"~ {told}" for told in change.house),
        *(
            f"~ {key}: {_said(now, key)}, not {_said(before, key)}" + _when(key)
            for key in before | now
            if now.get(key) != before.get(key)
        ),
    ]
    if change.changed:
        # Decision D30.
        lines.append("New times hold for jobs taken or finished after the change.")
    return lines


def _against_database(environ: Mapping[str, str], settings: Settings) -> list[str]:
    rules, path = settings.rules, settings.db_path
    if not path.exists():
        return [f"{path} does not exist: a start makes it, with no job in it"]
    from jobengine.build import peek_queues

    try:
        held = peek_queues(path, read_secrets(environ).secret)
    except StoreBusy as error:
        hint = "stop the daemon, or compare two files with `jobengine config diff NEW`"
        raise StoreBusy(f"{error}; {hint}") from None
    gone = held.keys() - rules.queues.keys()
    return [
        *(f"+ queue {name}: no job yet" for name in sorted(rules.queues.keys() - held)),
        *(f"= queue {n}: {_jobs(held[n])} stay" for n in sorted(held.keys() - gone)),
        *(
            f"- queue {name}: gone at once; {_jobs(held[name])}: {_fate(rules)}"
            for name in sorted(gone)
        ),
    ]


# The keys that `plan.diff` says nothing of.
NOT_OF_QUEUES = ("port", "host", "server", "auth", "hosts")


def _others(settings: Settings) -> dict[str, Any]:
    """The values of those keys, and each key of a section by itself."""
    values = settings.effective
    return {key: values[key] for key in NOT_OF_QUEUES} | {
        f"{section}.{key}": value
        for section in ("relay", "dialects", "limits")
        for key, value in values[section].items()
    }


def _said(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "absent"


def _when(key: str) -> str:
    section, _, _ = key.partition(".")
    return " (after a restart)" if section in configuration.AT_START else ""


def _lists(queue: Mapping[str, list[str]]) -> str:
    read, write = (", ".join(queue[right]) or "nobody" for right in ("read", "write"))
    return f"new; read by {read}; written by {write}"


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _fate(rules: Rulebook) -> str:
    """What becomes of the jobs of a removed queue (decision D27)."""
    if rules.removed_keep_ms is None:
        return "kept, hidden, until the name returns"
    if rules.removed_keep_ms == 0:
        return "DELETED"
    minutes = rules.removed_keep_ms // MINUTE_MS
    return f"hidden, and DELETED after {minutes} min unless the name returns"


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line, err=True)
