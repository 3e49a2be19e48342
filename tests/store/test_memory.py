"""The laws, kept by the store that keeps nothing over a restart."""

import pytest
from key_laws import KeyLaws
from laws import Laws

from jobengine.store.memory import MemoryStore
from jobengine.testing import SimClock


class MemoryPlace:
    def __init__(self) -> None:
        self.clock = SimClock()
        self.store = MemoryStore(self.clock)

    def again(self) -> MemoryStore:
        return self.store

    def meanwhile(self) -> None: ...


class TestMemory(Laws, KeyLaws):
    @pytest.fixture
    def place(self) -> MemoryPlace:
        return MemoryPlace()

    def test_it_never_fails_and_may_be_closed(self, place: MemoryPlace) -> None:
        place.store.close()

        assert place.store.failure is None
