"""What the daemon refuses of the corpus though llhttp's strict mode would take it."""

from typing import NamedTuple


class Own(NamedTuple):
    """A refusal of ours: its status, and how many requests are answered before it."""

    status: int
    after: int = 0


_OWN: dict[str, Own] = {}


def refused_by_us(name: str) -> Own | None:
    """Our refusal of the attack, if it is ours."""
    return _OWN.get(name)
