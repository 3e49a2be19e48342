"""A little of what `make fuzz` does by the million."""

from fuzz import fuzz

INPUTS = 5_000


def test_no_input_raises_or_leaves_anything_behind() -> None:
    fuzz(seed=4, inputs=INPUTS)
