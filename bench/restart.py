"""Memory a job and time to open again, in a process of its own."""

import gc
import statistics
import sys
import time
from pathlib import Path

from bench import engine


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main(path: Path, jobs: int, rounds: int) -> None:
    """Fill, close, open."""
    house = engine.open_at(path, kdf=None)
    gc.collect()
    before = resident()
    engine.fill(house, jobs, priorities=100)
    gc.collect()
    print(f"  {(resident() - before) / jobs:.0f} bytes of memory a job")
    house.close()
    took = []
    for _ in range(rounds):
        house = None
        gc.collect()
        began = time.perf_counter()
        house = engine.open_at(path, kdf=None)
        took.append(time.perf_counter() - began)
        assert house.opened == "clean", house.opened
        house.close()
    print(
        f"  opened in {statistics.median(took):.2f} s ({min(took):.2f}-{max(took):.2f})"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
