"""`jobengine work`: finds a worker in a module of the user's, and runs it."""

import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobengine.cli_reload import Reload
from jobengine.worker.top import (
    LOG_EVERY_S,
    TERMINAL_EVERY_S,
    Looks,
    Row,
    Screen,
    Top,
    line,
    table,
)

if TYPE_CHECKING:
    from jobengine.worker.worker import Worker

# Not every run ended in time: for whoever asks whether the stop was a clean one.
CUT_SHORT = 1
# What a terminal has that does not say.
WIDTH, HEIGHT = 80, 24
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@click.command("work")
@click.argument("target")
@click.option(
    *("--concurrency", "concurrency"),
    type=click.IntRange(min=1),
    metavar="N",
    help="At most so many jobs in hand, in all and of each queue.",
)
@click.option(
    *("--queue", "queues"),
    multiple=True,
    metavar="QUEUE",
    help="Only the jobs of this queue. May be given again.",
)
@click.option(
    *("--grace", "grace"),
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long runs may go on after a stop, in place of the worker's `grace_s`.",
)
@click.option("--once", is_flag=True, help="Run what can be run now, and end.")
@click.option("--reload", is_flag=True, help="Start again when a .py file changes.")
@click.option("--top", is_flag=True, help="Show what is done while it is done.")
@click.pass_context
def work(
    ctx: click.Context,
    target: str,
    *,
    concurrency: int | None,
    queues: tuple[str, ...],
    grace: float | None,
    once: bool,
    reload: bool,
    top: bool,
) -> None:
    """Run the jobs of the worker TARGET: module:name, as in app.tasks:worker.

    The module is looked for in the current folder first. A worker without a client of
    its own asks the daemon at JOBENGINE_URL, as the service JOBENGINE_NAME; the other
    settings begin with JOBENGINE_ too.

    SIGTERM or Ctrl-C stops it: no more jobs are taken, and those in hand may end. With
    the second one, or after --grace, what still runs is given back to its queue. The
    code is 0 when every run has ended, 1 when not or when the module raises, 2 when
    there is no such worker.

    \b
    Examples:
      jobengine work tasks:worker
      jobengine work tasks:worker --reload --top
      jobengine work app.tasks:worker --concurrency 8 --queue mail --queue post
      JOBENGINE_URL=http://127.0.0.1:7000 jobengine work tasks:worker --once
    """
    if once and (reload or top):
        raise click.UsageError("--once ends by itself: no --reload and no --top")
    if reload:
        ctx.exit(_reloaded(ctx))
    with _shown(top) as screen:
        worker = _found(target)
        _set(worker, concurrency=concurrency, queues=queues, grace=grace)
        code = _once(worker) if once else _run(worker, top=top, screen=screen)
    ctx.exit(code)


COMMANDS = (work,)


def _once(worker: "Worker") -> int:
    _log()
    runs = worker.run_until_idle()
    _say("1 run" if runs == 1 else f"{runs} runs")
    return 0


def _run(worker: "Worker", *, top: bool, screen: Screen | None) -> int:
    _log()
    names = ", ".join(worker.queues)
    _say(f"works for {names}; Ctrl-C stops it")
    with ExitStack() as stack:
        if top:
            stack.enter_context(_top(worker, screen))
        in_time = worker.run()
    if in_time:
        return 0
    _say("not every run ended in time; the jobs of those are queued again")
    return CUT_SHORT


# --- the worker ---------------------------------------------------------------------


def _found(target: str) -> "Worker":
    """The worker of this name.

    Raises:
        UsageError: there is none.
        Exception: whatever its module raises.
    """
    from jobengine.worker.worker import Worker

    module, colon, name = target.partition(":")
    if not (module and colon and name) or "/" in module:
        raise click.UsageError(f"{target}: say module:name, as in app.tasks:worker")
    found: Any = _imported(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Worker):
        if not found.queues:
            raise click.UsageError(f"{target} has no handler: see Worker.handler")
        return found
    there = [k for k, v in vars(_imported(module)).items() if isinstance(v, Worker)]
    hint = f"; it has {', '.join(there)}" if there else "; it has no worker"
    raise click.UsageError(f"{module} has no worker {name!r}{hint}")


def _imported(module: str) -> Any:
    # As `python -m` has it, also when started by its own name.
    if sys.path[0] not in ("", os.getcwd()):
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # One that it imports in its turn is a fault in it.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        where = f"neither in {os.getcwd()} nor installed"
        hint = f"; say {module[:-3]}:name" if module.endswith(".py") else ""
        raise click.UsageError(f"no module {error.name!r}: {where}{hint}") from None


def _set(
    worker: "Worker",
    *,
    concurrency: int | None,
    queues: Sequence[str],
    grace: float | None,
) -> None:
    if concurrency is not None:
        worker.permits = worker.queue_permits = concurrency
    if grace is not None:
        worker.grace_s = grace
    if queues:
        try:
            worker.only(queues)
        except ValueError as error:
            raise click.UsageError(str(error)) from None


# --- what is shown ------------------------------------------------------------------


@contextmanager
def _shown(top: bool) -> Iterator[Screen | None]:
    """The screen where --top draws, if it draws: what is printed goes above it."""
    if not (top and sys.stderr.isatty()):
        yield None
        return
    screen = Screen(sys.stderr)
    with ExitStack() as stack:
        if sys.stdout.isatty():
            stack.enter_context(redirect_stdout(screen))
        stack.enter_context(redirect_stderr(screen))
        stack.callback(screen.leave)
        yield screen


def _top(worker: "Worker", screen: Screen | None) -> Top:
    looks = Looks(worker.stats)
    if screen is None:
        return Top(looks, lambda rows: click.echo(line(rows), err=True), LOG_EVERY_S)

    def draw(rows: list[Row]) -> None:
        width, height = os.get_terminal_size(screen.fileno())
        # Consoles that do not know say 0. One line more would have it scroll.
        lines = table(rows, width=width or WIDTH, height=(height or HEIGHT) - 1)
        screen.draw(lines)

    return Top(looks, draw, TERMINAL_EVERY_S)


def _log() -> None:
    # What the module has set up stays as it is.
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)


# --- reload -------------------------------------------------------------------------


def _reloaded(ctx: click.Context) -> int:
    # -B: of a file that was changed twice within a second, Python would take the code
    # that it kept in between for the newest.
    command = [sys.executable, "-B", "-m", "jobengine", "work", *_words(ctx)]
    return Reload(command, Path.cwd(), _say).run()


def _say(told: str) -> None:
    click.echo(f"jobengine: {told}", err=True)


def _words(ctx: click.Context) -> Iterator[str]:
    """What was typed, but for --reload."""
    for parameter in ctx.command.params:
        value, flag = ctx.params[str(parameter.name)], parameter.opts[0]
        if flag == "--reload" or value is None or value is False:
            continue
        if isinstance(parameter, click.Argument):
            yield value
        elif value is True:
            yield flag
        else:
            values = value if isinstance(value, tuple) else (value,)
            yield from (f"{flag}={each}" for each in values)
