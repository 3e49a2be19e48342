"""Long answers, a slice at a time. Knows nothing of what is in them."""

from collections.abc import Iterator
from time import perf_counter, sleep


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
