"""The golden files of format 1: every later version opens them, and finds every job."""

from hashlib import sha256
from pathlib import Path

import pytest
from drafts import disk_with
from golden.make import (
    JOBS,
    NATIVE,
    NATIVE_JOBS,
    NATIVE_RECORDS,
    RAW_SECRET,
    RECORDS,
    SECRETS,
)

from jobengine.core.queues import RemovedQueue
from jobengine.store.journal.opening import open_database
from jobengine.store.sealer import ARGON2ID, RAW

GOLDEN = Path(__file__).parent / "golden"

KINDS = {
    "format-1.0-argon2id.queuedb": (
        ARGON2ID,
        "26fdfff0f5e083679eaeb4717067aae6d07d37648591ce4abd3c46354fba419d",
    ),
    "format-1.0-raw.queuedb": (
        RAW,
        "bb4414b597d63a6b4d77c2ec560f1475072a7cc8f457532718c27cf3e30c82b1",
    ),
    NATIVE: (
        RAW,
        "2fe0dfecb5088d1d3dd48229dde0b36bc59c64f40d3d595fcfe5b6a9ee94bd45",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_golden_file_is_never_written_again(name: str) -> None:
    data = (GOLDEN / name).read_bytes()

    assert (data[72], sha256(data).hexdigest()) == KINDS[name]


@pytest.mark.parametrize("name", SECRETS)
def test_every_job_of_a_golden_file_is_found(name: str) -> None:
    disk = disk_with((GOLDEN / name).read_bytes())

    found = open_database(disk, SECRETS[name])

    assert found.why == "clean"
    assert list(found.rows.jobs.values()) == JOBS
    assert found.rows.records == {(RemovedQueue, kept.name): kept for kept in RECORDS}
    # Once more from the file that a stop without CLOSE leaves.
    again = open_database(disk.clone(), SECRETS[name])
    assert again.why == "the last stop was not clean"
    assert list(again.rows.jobs.values()) == JOBS


def test_the_rows_of_the_native_api_are_found_too() -> None:
    disk = disk_with((GOLDEN / NATIVE).read_bytes())

    for why in ("clean", "the last stop was not clean"):
        found = open_database(disk, RAW_SECRET)
        assert found.why == why
        assert list(found.rows.jobs.values()) == NATIVE_JOBS
        assert list(found.rows.records.values()) == NATIVE_RECORDS
        disk = disk.clone()
