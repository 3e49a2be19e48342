"""Who is connected, and how many there may be. Knows nothing of what they say."""

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from jobengine.daemon.connection import Connection


class Caps(Protocol):
    """What the settings say of connections."""

    @property
    def connections(self) -> int: ...
    @property
    def connections_per_address(self) -> int: ...


class Seats:
    """The connections there are."""

    def __init__(self) -> None:
        self._taken: dict[Connection, None] = {}
        self._addresses: Counter[str] = Counter()
        self._turned_away = 0

    def __len__(self) -> int:
        return len(self._taken)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._taken)

    def take(self, connection: Connection, caps: Caps) -> bool:
        """Whether there was a seat for it."""
        full = len(self._taken) >= caps.connections
        if full or self._addresses[connection.peer] >= caps.connections_per_address:
            self._turned_away += 1
            return False
        self._taken[connection] = None
        self._addresses[connection.peer] += 1
        return True

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        del self._taken[connection]
        self._addresses[connection.peer] -= 1
        if not self._addresses[connection.peer]:
            del self._addresses[connection.peer]

    def turned_away(self) -> int:
        """How many found no seat since this was asked last."""
        count, self._turned_away = self._turned_away, 0
        return count
