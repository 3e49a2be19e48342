"""Fixtures for the tests of programs that have jobs. pytest loads it by itself.

It is loaded with every run of pytest, so it loads nothing before a test asks for it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jobengine.testing import SimClock, TestEngine


@pytest.fixture
def job_config() -> Any:
    """The configuration of `job_engine`: none. To be overridden with a mapping of what
    config.yml would say, or the path of one."""
    return None


@pytest.fixture
def job_engine(job_config: Any) -> Iterator["TestEngine"]:
    """An engine in memory, new for each test. See jobengine.testing."""
    from jobengine.testing import memory_engine

    with memory_engine(job_config) as engine:
        yield engine


@pytest.fixture
def job_clock(job_engine: "TestEngine") -> "SimClock":
    """The clock of `job_engine`. To have done what falls due meanwhile, move it by
    `job_engine.advance`."""
    return job_engine.clock
