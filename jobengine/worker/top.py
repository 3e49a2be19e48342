"""What a worker does, shown while it does it: in place on a terminal, elsewhere in a
line now and then. Knows the counts only, and not where the lines go.
"""

import io
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TextIO

from msgspec import Struct, structs

from jobengine.worker.tally import Counts

# On a terminal the eye follows; in a log a line now and then is enough.
TERMINAL_EVERY_S, LOG_EVERY_S = 1.0, 10.0
# Of one line in a log: it is to be read.
LOGGED_MAX = 10
# These are shown always, the others once they are not 0. What was claimed is the sum.
ALWAYS = ("running", "completed", "failed")
COUNTED = tuple(name for name in Counts.__struct_fields__ if name != "claimed")

# The cursor to the start of the nth line above; all that is behind it goes.
UP, ERASE = "\033[{}F", "\033[J"


class Row(Struct, frozen=True):
    """One queue at one look. `speed` is the runs that ended a second, since the look
    before."""

    queue: str
    counts: Counts
    speed: float = 0.0


class Looks:
    """One look at the counts after another. Not for two threads."""

    def __init__(
        self,
        stats: Callable[[], Mapping[str, Counts]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stats = stats
        self._monotonic = monotonic
        self._before = stats()
        self._at = monotonic()

    def look(self) -> list[Row]:
        """All queues as they are now, by name."""
        now, counts = self._monotonic(), dict(self._stats())
        passed, before = now - self._at, self._before
        self._at, self._before = now, counts
        return [
            Row(queue, each, _speed(before.get(queue, Counts()), each, passed))
            for queue, each in sorted(counts.items())
        ]


def table(rows: Sequence[Row], *, width: int, height: int) -> list[str]:
    """The rows as lines that fit; of too many queues the busiest."""
    # The heading, the sum, and the line that says what is left out.
    shown, left = _busiest(rows, max(1, height - 3))
    summed = [total(rows)] if len(rows) > 1 else []
    columns = _columns(rows)
    cells = [
        ["queue", "runs/s", *columns],
        *(_cells(r, columns) for r in shown + summed),
    ]
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_aligned(each, wide) for each in cells]
    if left:
        lines.append(f"and {left:,} more queues")
    return [line[:width] for line in lines]


def line(rows: Sequence[Row]) -> str:
    """The rows in one line; of too many queues the busiest."""
    shown, left = _busiest(rows, LOGGED_MAX)
    said = [f"{row.queue}: {_said(row)}" for row in shown]
    if left:
        said.append(f"and {left:,} more queues; all: {_said(total(rows))}")
    return "; ".join(said)


def total(rows: Sequence[Row]) -> Row:
    """All of them, as one."""
    counts = {
        name: sum(getattr(row.counts, name) for row in rows)
        for name in Counts.__struct_fields__
    }
    return Row("all", Counts(**counts), sum(row.speed for row in rows))


class Top:
    """Has the rows shown every so many seconds, while the body of its `with` runs, and
    once more after it."""

    def __init__(
        self, looks: Looks, show: Callable[[list[Row]], None], every_s: float
    ) -> None:
        self._looks = looks
        self._show = show
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="jobengine-top", daemon=True
        )

    def __enter__(self) -> "Top":
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._show(self._looks.look())

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self._show(self._looks.look())


class Screen(io.TextIOBase):
    """A terminal whose last lines are drawn in place; what is written to it goes above
    them, line by line. Its owner draws; anybody may write."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        # Guards all below; a signal may log in the midst of a line.
        self._lock = threading.RLock()
        self._drawn = 0
        self._lines: Sequence[str] = ()
        self._rest = ""

    def draw(self, lines: Sequence[str]) -> None:
        """These are the last lines from now on."""
        with self._lock:
            self._lines = lines
            self._put("")

    def write(self, text: str, /) -> int:
        """Show its lines; what is behind the last line break waits for the next."""
        with self._lock:
            whole, ended, self._rest = (self._rest + text).rpartition("\n")
            if ended:
                self._put(whole + ended)
        return len(text)

    def leave(self) -> None:
        """What was drawn stays, and nothing more is."""
        with self._lock:
            rest, self._rest = self._rest, ""
            self._put(rest and rest + "\n")
            self._lines, self._drawn = (), 0

    def isatty(self) -> bool:
        """As the terminal says."""
        return self._terminal.isatty()

    def fileno(self) -> int:
        """The terminal's: what is written there goes into the midst of the lines."""
        return self._terminal.fileno()

    def _put(self, above: str) -> None:
        back = UP.format(self._drawn) + ERASE if self._drawn else ""
        drawn = "".join(f"{each}\n" for each in self._lines)
        self._terminal.write(back + above + drawn)
        self._terminal.flush()
        self._drawn = len(self._lines)


def _speed(before: Counts, now: Counts, passed: float) -> float:
    ended = (now.claimed - now.running) - (before.claimed - before.running)
    # The counts begin anew where a worker got another queue.
    return max(0, ended) / passed if passed > 0 else 0.0


def _busiest(rows: Sequence[Row], most: int) -> tuple[list[Row], int]:
    """So many of them, in the order they have; and how many are left out."""
    if len(rows) <= most:
        return list(rows), 0
    by_work = sorted(rows, key=lambda row: -(row.counts.running + row.speed))
    chosen = {row.queue for row in by_work[:most]}
    return [row for row in rows if row.queue in chosen], len(rows) - most


def _columns(rows: Sequence[Row]) -> list[str]:
    summed = total(rows).counts
    return [name for name in COUNTED if name in ALWAYS or getattr(summed, name)]


def _cells(row: Row, columns: Sequence[str]) -> list[str]:
    counts = structs.asdict(row.counts)
    return [row.queue, f"{row.speed:,.1f}", *(f"{counts[name]:,}" for name in columns)]


def _aligned(cells: Sequence[str], wide: Sequence[int]) -> str:
    first, *others = zip(cells, wide, strict=True)
    return "  ".join(
        [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    )


def _said(row: Row) -> str:
    counts = structs.asdict(row.counts)
    told = [f"{counts[n]:,} {n}" for n in COUNTED if n in ALWAYS or counts[n]]
    return ", ".join([f"{row.speed:,.1f} runs/s", *told])
