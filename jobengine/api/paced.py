"""Long answers, a slice at a time. Knows nothing of what is in them."""

from collections.abc import Iterable, Iterator
from time import perf_counter, sleep
from typing import TypeVar

from jobengine.listing import parts

T = TypeVar("T")

# What is rendered between two rests, one by one.
SLICE = 50


def paced(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks that are not empty, after a pause as long as each took to make.

    A thread that simply runs starves all others of the interpreter.
    """
    began = perf_counter()
    for chunk in chunks:
        sleep(perf_counter() - began)
        if chunk:
            yield chunk
        began = perf_counter()


def rested(work: Iterable[T]) -> Iterator[T]:
    """The parts of a work that is done as they are taken, with a rest between two as
    long as the one before took: to make, and whoever takes it to use."""
    began = perf_counter()
    for part in work:
        yield part
        sleep(perf_counter() - began)
        began = perf_counter()


def one_by_one(found: Iterable[T]) -> Iterator[T]:
    """All that was found, with such a rest after each SLICE of it."""
    for part in rested(parts(found, SLICE)):
        yield from part
