"""What every folder of tests shares."""

import pytest
from hypothesis import settings

from jobengine.testing import SimClock

# How long an example takes says more about the machine than about the code.
settings.register_profile("jobengine", deadline=None, print_blob=True)
settings.load_profile("jobengine")


@pytest.fixture
def clock() -> SimClock:
    return SimClock()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how much tests/simulation has gone through."""
    states = sum(
        int(str(value))
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "crash states"
    )
    if states:
        terminalreporter.write_line(f"{states} crash states: all of them recovered")
