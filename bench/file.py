"""The file's own figures: sealing, compaction under load, size, a change of SECRET."""

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from bench import engine
from jobengine.store.journal.frame import (
    FRAME_HEADER,
    Keys,
    Type,
    frame_header,
)

COMPACTIONS = 200
JOBS = 100_000
LOADERS = 4
# The daemon rests as long as a slice took; less of it makes 200 compactions bearable.
REST_S = 0.0005


def microseconds(act: Callable[[], object], count: int = 5000) -> float:
    """The median of seven rounds, each the mean of *count* calls."""
    found = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(count):
            act()
        found.append((time.perf_counter() - began) / count * 1e6)
    return statistics.median(found)


def sealing() -> None:
    """A frame of 1 KiB sealed and opened, with the bare AEAD beside it."""
    keys = Keys(bytes(16), 1, bytes(32))
    body, nonce, tag = os.urandom(1024), os.urandom(12), bytes(16)
    bare = AESGCM(bytes(32))
    frame, _ = keys.seal_frame(Type.TXN, 0, tag, body)

    def opened() -> bytes | None:
        header = frame_header(frame[:FRAME_HEADER], keys.ctx)
        assert header is not None
        return keys.open_frame(header, frame[FRAME_HEADER:-4])

    assert opened() == body
    for name, act in (
        ("seal a frame of 1 KiB", lambda: keys.seal_frame(Type.TXN, 0, tag, body)),
        ("open it", opened),
        ("AES-256-GCM alone, of 1 KiB", lambda: bare.encrypt(nonce, body, None)),
    ):
        print(f"  {name:<50}{microseconds(act):>8.1f} us")


def compaction(folder: Path) -> None:
    """How long commits wait for a compaction, under load."""
    house = engine.open_at(folder / "compaction.queuedb")
    engine.fill(house, JOBS)
    assert house.compactor is not None
    stop = threading.Event()
    done = [0] * LOADERS

    def load(number: int) -> None:
        while not stop.is_set():
            engine.lifecycle_of(house)
            done[number] += 1

    loaders = [threading.Thread(target=load, args=(n,)) for n in range(LOADERS)]
    for loader in loaders:
        loader.start()
    held, began = [], time.perf_counter()
    for number in range(COMPACTIONS):
        for _ in house.compactor.run():
            time.sleep(REST_S)
        held.append(house.compactor.held_s * 1000)
        engine.trim(house, JOBS)
        if number % 20 == 0:
            print(f"... compaction {number} of {COMPACTIONS}", file=sys.stderr)
    took = time.perf_counter() - began
    stop.set()
    for loader in loaders:
        loader.join()
    house.close()
    held.sort()
    print(
        f"  commits waited for each of {COMPACTIONS} compactions of {JOBS:,} jobs:"
        f" p50 {held[len(held) // 2]:.1f} ms, p99 {held[int(len(held) * 0.99)]:.1f} ms,"
        f" most {held[-1]:.1f} ms"
    )
    print(f"  with {sum(done) / took:,.0f} lifecycles/s of {LOADERS} threads beside it")


def size(folder: Path) -> None:
    """The file beside its live bytes: 32 MiB of payloads, rewritten 20 times over."""
    path = folder / "size.queuedb"
    house = engine.open_at(path)
    compactor = house.compactor
    assert compactor is not None
    engine.fill(house, 17_000, payload_bytes=2000)
    compact_to_end(house)
    live = path.stat().st_size
    most, compactions = 1.0, 0
    for _ in range(20):
        with house.store.transaction() as tx:
            jobs = tx.jobs(engine.NAME)
        for start in range(0, len(jobs), 100):
            with house.store.transaction() as tx:
                for job in jobs[start : start + 100]:
                    tx.put(replace(job, content=engine.payload(2000)))
            most = max(most, path.stat().st_size / live)
            if compactor.due():
                compact_to_end(house)
                compactions += 1
    house.close()
    print(
        f"  file over live bytes, {live / 2**20:.0f} MiB live, 20 times that written:"
        f" at most {most:.2f} ({compactions} compactions)"
    )


def compact_to_end(house: "engine.House") -> None:
    """Compact, all of it."""
    assert house.compactor is not None
    for _ in house.compactor.run():
        pass


def rekey(folder: Path) -> None:
    """`jobengine rekey` of 100,000 jobs, start of the command included."""
    path = folder / "rekey.queuedb"
    house = engine.open_at(path, kdf=None)
    engine.fill(house, JOBS)
    house.close()
    secrets = ["the secret of a benchmark", "another secret of a benchmark"]
    took = []
    for _ in range(5):
        environ = os.environ | {
            "DB_PATH": str(path),
            "SECRET_PREVIOUS": secrets[0],
            "SECRET": secrets[1],
        }
        began = time.perf_counter()
        command = [sys.executable, "-m", "jobengine", "rekey"]
        subprocess.run(command, env=environ, check=True, capture_output=True)
        took.append(time.perf_counter() - began)
        secrets.reverse()
    median = statistics.median(took)
    print(f"  rekey of {JOBS:,} jobs: {median:.2f} s ({min(took):.2f}-{max(took):.2f})")


def main(folder: Path, _rounds: int, _seconds: float) -> None:
    """All of them."""
    print("\nthe file")
    sealing()
    rekey(folder)
    size(folder)
    compaction(folder)
