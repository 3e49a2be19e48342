"""A daemon that is killed under load loses nothing that it acknowledged."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from torture import Torture, run, summary

KILLS = 30


@pytest.fixture
def torture(tmp_path: Path) -> Iterator[Torture]:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}: make torture SEED={seed}")
    torture = Torture(tmp_path / "daemon", seed=seed)
    yield torture
    torture.end()


@pytest.mark.timeout(300)  # 20 s when nothing else runs
def test_nothing_acknowledged_is_lost_or_delivered_twice_over_30_kills(
    torture: Torture,
) -> None:
    run(torture, KILLS, lambda _: None)

    print(summary(torture))
    assert torture.faults == []
    assert torture.kills.total() >= KILLS
    # It was load that was killed, and jobs of every kind were there to be lost.
    assert torture.oracle.created > 100
    assert torture.oracle.delivered > 100
    assert torture.oracle.unknown > 0

    queued = torture.queued()
    assert torture.drain() == queued

    log = torture.daemon.log.read_text()
    assert "Traceback" not in log
    assert "request failed" not in log


def test_after_a_clean_stop_too_everything_is_as_it_was(torture: Torture) -> None:
    torture.run_for(200)
    torture.judge()

    code = torture.daemon.stop()
    torture.daemon.start()

    assert code == 0
    assert torture.judge() == []


def test_a_daemon_that_forgot_what_it_acknowledged_is_found_out(
    torture: Torture,
) -> None:
    db = torture.daemon.db
    torture.run_for(100)
    assert torture.judge() == []
    torture.daemon.stop()
    shutil.copy(db, db.with_name("old"))
    torture.daemon.start()
    torture.run_for(200)
    torture.load.gate.close()

    # As if the last 200 answers had never been on the disk.
    torture.daemon.kill()
    shutil.copy(db.with_name("old"), db)
    torture.daemon.start()
    faults = torture.judge()

    assert {"lost", "changed"} <= {fault.kind for fault in faults}
