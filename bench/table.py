"""Tables of what was found: medians, with the least and the most of the rounds."""

import statistics
import sys
from collections.abc import Iterable, Sequence

Rates = dict[str, list[float]]


def show(title: str, rates: Rates) -> None:
    """Print a table of medians, with the spread of the rounds."""
    print(f"\n{title} (least and most)")
    for name, found in rates.items():
        print(f"  {name:<66}{statistics.median(found):>10,.0f}  ({spread(found)})")


def spread(found: Sequence[float]) -> str:
    """The least and the most."""
    return f"{min(found):,.0f} to {max(found):,.0f}"


def ratios(of: Sequence[float], over: Sequence[float]) -> list[float]:
    """Round by round: the machine's moods are the same for both."""
    return [a / b for a, b in zip(of, over, strict=True)]


def show_ratio(name: str, found: Sequence[float], asked: str) -> None:
    """Print the median of *found*, and what the plan asks of it."""
    low, high = min(found), max(found)
    middle = statistics.median(found)
    print(f"  {name:<66}{middle:>10.2f}  ({low:.2f} to {high:.2f}; asked: {asked})")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table that a document can take as it is."""
    print(f"\n| {' | '.join(head)} |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print(f"| {' | '.join(row)} |")


def progress(text: str) -> None:
    """Say what is being done."""
    print(f"... {text}", file=sys.stderr, flush=True)
