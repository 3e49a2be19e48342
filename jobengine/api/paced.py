"""Long answers, a slice at a time. Knows nothing of what is in them."""

from collections.abc import Iterable, Iterator
from time import perf_counter, sleep
from typing import TypeVar

T = TypeVar("T")


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


def rested(parts: Iterable[T]) -> Iterator[T]:
    """The parts of a work that is done as they are taken, with a rest between two as
    long as the one before took: to make, and whoever takes it to use."""
    began = perf_counter()
    for part in parts:
        yield part
        sleep(perf_counter() - began)
        began = perf_counter()
