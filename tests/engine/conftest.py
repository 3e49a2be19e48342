"""What the tests of the engine share."""

import pytest
from asking import Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()
