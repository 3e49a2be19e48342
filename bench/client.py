"""The load programs: which of them there are, and what they find.

load.c is the one that counts. wrk is there as a witness: another's program, which must
come to figures of the same order where it is not the limit itself.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.process import HERE, Missing, Words, built, found, measured


@dataclass(frozen=True, slots=True)
class Load:
    """What one load came to. The times are those of an act's first exchange."""

    rate: float
    p50_us: float
    p99_us: float
    most_us: float
    # The share of one core that the client used: at 1 it is the limit itself.
    busy: float


class Client:
    """load.c where there is a compiler, else load.py."""

    def __init__(self, folder: Path) -> None:
        self._command: Words = (sys.executable, "-m", "bench.load")
        self.name = "bench/load.py in two processes (no C compiler: a floor)"
        try:
            self._command = (built("load.c", folder),)
        except Missing:
            self.compiled = False
        else:
            self.name = "bench/load.c, one thread and one epoll"
            self.compiled = True

    def load(
        self, protocol: str, kind: str, port: int, connections: int, seconds: float
    ) -> Load:
        """Load 127.0.0.1:*port*.

        Raises:
            Missing: an answer was not the expected one, or the client speaks no such
                protocol.
        """
        text, busy = measured(
            [*self._command, protocol, kind, str(port), str(connections), str(seconds)]
        )
        acts, ns, p50, p99, most = map(float, text.split())
        return Load(acts / ns * 1e9, p50, p99, most, busy)


def by_wrk(kind: str, port: int, connections: int, seconds: float) -> Load:
    """The same by wrk, with its script.

    Raises:
        Missing: there is no wrk.
    """
    command = [
        *(found("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
        *("-s", HERE / "http.lua", f"http://127.0.0.1:{port}"),
    ]
    text, busy = measured(command, {"BENCH_ACT": kind})
    last = text.splitlines()[-1].split()
    requests, us, p50, p99, most, errors = map(float, last[1:])
    if errors:
        raise Missing(f"wrk met {errors:.0f} errors")
    acts = requests / (3 if kind == "lifecycles" else 1)
    return Load(acts / us * 1e6, p50, p99, most, busy)
