"""What the file's tools share: how they ask, how they refuse, how they tell."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from jobengine.daemon import settings
from jobengine.daemon.secret import read_secrets, secrets_to_read
from jobengine.errors import StoreUnreadable
from jobengine.store.journal.placing import Secrets
from jobengine.store.journal.reading import Survey
from jobengine.store.journal.recover import Verdict

F = TypeVar("F", bound=Callable[..., None])

# On a terminal the figure moves; in a log a line now and then is enough.
TERMINAL_EVERY_S, LOG_EVERY_S, LOG_FIRST_S = 0.2, 10.0, 1.0

# What is verified, in --json, with SECRET and without.
CHECKED = {True: "everything", False: "without_secret"}


def tool(name: str) -> Callable[[F], click.Command]:
    """A command for the file, with --json."""
    json = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, and no progress."
    )
    return lambda function: click.command(name, cls=_Tool)(json(function))


def path_argument(name: str, *, required: bool = True) -> Callable[[F], F]:
    """An argument that is the path of a file."""
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.argument(name, required=required, type=kind)


class _Tool(click.Command):
    """A command whose trouble with files is told in one message, as --help says."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except FileNotFoundError as error:
            raise click.UsageError(_of_system(error), ctx) from None
        except OSError as error:
            raise StoreUnreadable(_of_system(error)) from error


def database() -> Path:
    """Where the database is."""
    return settings.db_path(settings.environment())


def present_database() -> Path:
    """The same, where there must be one."""
    path = database()
    if not path.exists():
        raise click.UsageError(
            f"{path}: there is no database; DB_PATH says where it is"
        )
    return path


def some_secrets() -> Secrets | None:
    """What opens a file for reading; None where there is no SECRET."""
    secrets = secrets_to_read(settings.environment())
    return secrets and Secrets(secrets.secret, secrets.previous)


def the_secrets() -> Secrets:
    """What seals a file. Raises: ConfigError, as `serve` does."""
    secrets = read_secrets(settings.environment())
    return Secrets(secrets.secret, secrets.previous)


def apart(one: Path, other: Path) -> None:
    """Refuse one file in two parts."""
    if one.exists() and other.exists() and one.samefile(other):
        raise click.UsageError(f"{one} and {other} are the same file: rename one first")


@contextmanager
def never_over(path: Path, hint: str) -> Iterator[None]:
    """Say which file is in the way, and what would help."""
    try:
        yield
    except FileExistsError:
        raise click.UsageError(f"{path} exists: {hint}") from None


class Progress:
    """Tells on stderr how far long work is, unless *quiet*.

    On a terminal in place; elsewhere in lines, the first after a second.
    """

    def __init__(
        self, what: str, *, quiet: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._quiet = quiet
        self._clock = clock
        self._terminal = sys.stderr.isatty()
        self._next = clock() + (0 if self._terminal else LOG_FIRST_S)
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._quiet or now < self._next:
            return
        line = f"{self._what}: {100 * done // max(total, 1)} %"
        if self._terminal:
            click.echo(f"\r{line}", err=True, nl=False)
        else:
            click.echo(line, err=True)
        self._shown = True
        self._next = now + (TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._terminal:
            click.echo("\r\033[K", err=True, nl=False)


def tell(facts: Mapping[str, object], lines: Iterable[str], *, as_json: bool) -> None:
    """Print the one or the other."""
    for line in [msgspec.json.encode(facts).decode()] if as_json else lines:
        click.echo(line)


def count(number: int, what: str) -> str:
    """As in "1 job", "2 jobs"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def found_facts(found: Verdict | Survey) -> dict[str, object]:
    """What a good file was found to be, for JSON."""
    header = found.header
    facts: dict[str, object] = {
        "file_id": header.file_id.hex(),
        "epoch": header.epoch,
        "frames": _frames(found),
        "bytes": found.end,
        "closed": found.clean,
        "torn": torn_facts(found),
        "header_damaged": found.header_damaged,
    }
    if isinstance(found, Verdict):
        queues, jobs, content_bytes, _ = found.replay.counts()
        facts |= {"queues": queues, "jobs": jobs, "content_bytes": content_bytes}
    return facts


def found_lines(found: Verdict | Survey) -> Iterator[str]:
    """The same in words."""
    header = found.header
    yield f"  file id {header.file_id.hex()}, epoch {header.epoch}"
    yield f"  {count(_frames(found), 'frame')}, {count(found.end, 'byte')}"
    if isinstance(found, Verdict):
        queues, jobs, _, _ = found.replay.counts()
        yield f"  {count(jobs, 'job')} in {count(queues, 'queue')}"
    else:
        yield "  checked without SECRET: checksums, order and linking of the frames;"
        yield "  not that nobody tampered with it, nor what a watermark covers"
    yield from state_lines(found)


def state_lines(found: Verdict | Survey) -> Iterator[str]:
    """What is out of the ordinary, and loses nothing."""
    if not found.clean:
        yield "  not closed: a daemon has it, or the last stop was not clean"
    if found.torn is not None:
        at, length = found.torn.offset, found.torn.length
        yield f"  {count(length, 'byte')} at {at} are a commit nobody was told of"
    if found.header_damaged:
        yield "  one of the two header copies is damaged: the next start mends it"


def torn_facts(found: Verdict | Survey) -> dict[str, object] | None:
    """A torn commit, for JSON."""
    return None if found.torn is None else msgspec.structs.asdict(found.torn)


def _frames(found: Verdict | Survey) -> int:
    return found.seq if isinstance(found, Verdict) else sum(found.frames.values())


def _of_system(error: OSError) -> str:
    if error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"
