"""Workers and their daemon are killed while they work: every job is done all the same,
and no run that has lost its job has the last word. `make chaos` does it at length.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from chaos import Storm, summary
from chaos_judge import Findings, Seen, judge
from chaos_records import (
    Answered,
    Beaten,
    Claimed,
    Crashed,
    Kept,
    Log,
    Ran,
    Record,
    Told,
    read,
)

WORKERS = 2
JOBS = 300
# The last leaves a worker that comes back to jobs which it has lost.
STRIKES = (
    *("worker", "daemon", "worker held up", "daemon's child"),
    *("worker", "worker held up"),
)


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[Storm]:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    storm = Storm(tmp_path, workers=WORKERS, seed=seed)
    yield storm
    storm.end()


@pytest.mark.timeout(240)  # 15 s when nothing else runs
def test_every_job_is_done_though_workers_and_their_daemon_are_killed(
    storm: Storm,
) -> None:
    for way in STRIKES:
        storm.produce(JOBS // len(STRIKES))
        storm.strike(way)
    storm.settle()

    found = storm.findings()

    print(summary(storm, found))
    assert found.faults == []
    assert found.jobs == storm.made >= JOBS
    # Some had lost their jobs, and were told so.
    assert found.refused + found.unheard > 0
    assert "Traceback" not in storm.daemon.log.read_text()


# --- the judge is judged ----------------------------------------------------------

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def run_of(uid: str, lease: str, began: float, *, ends: str = "") -> list[Record]:
    """A run of a job; without an end its worker was killed."""
    records: list[Record] = [
        Claimed(uid, lease, at(began), at(began + 2)),
        Ran(uid, 1, lease, int(uid), done=True, saved=0),
    ]
    if ends:
        status, code = (200, None) if ends == "complete" else (409, "stale_lease")
        records += [
            Told("complete", uid, lease),
            Answered("complete", uid, lease, status, code),
        ]
    return records


RECORD = [
    *run_of("0", "a", 0, ends="complete"),
    # Held up, and too late with its end.
    *run_of("1", "b", 0, ends="stale"),
    *run_of("1", "c", 3, ends="complete"),
    # Killed after a heartbeat and a checkpoint.
    *run_of("2", "d", 0),
    Beaten("2", "d", at(3)),
    Kept("2", "d", 1),
    Claimed("2", "e", at(4), at(6)),
    Ran("2", 2, "e", 2, done=True, saved=1),
    # Completed, and killed before the answer came.
    Told("complete", "2", "e"),
]
FOUND = [
    Seen("0", 0, "complete", "a"),
    Seen("1", 1, "complete", "c"),
    Seen("2", 2, "complete", "e"),
]


def judged(found: list[Seen] = FOUND, record: list[Record] = RECORD) -> Findings:
    return judge(found, record, made=3)


def without(*kinds: type, lease: str) -> list[Record]:
    """The record without what was noted of these kinds under a lease."""
    return [
        each
        for each in RECORD
        if not (isinstance(each, kinds) and getattr(each, "lease", "") == lease)
    ]


def test_what_may_happen_is_no_fault() -> None:
    found = judged()

    assert found.faults == []
    assert (found.jobs, found.runs, found.duplicates) == (3, 5, 2)
    assert (found.acknowledged, found.refused, found.unheard) == (2, 1, 0)


PLANTS: dict[str, Callable[[], Findings]] = {
    "crashed": lambda: judged(record=[*RECORD, Crashed("KeyError()")]),
    "lost": lambda: judged(FOUND[1:]),
    "made twice": lambda: judged([*FOUND, Seen("3", 0, "complete", "a")]),
    "invented": lambda: judged([*FOUND, Seen("3", 3, "complete", "a")]),
    "not complete": lambda: judged([FOUND[0], FOUND[1], Seen("2", 2, "failed", None)]),
    "complete without effect": lambda: judged(record=without(Ran, lease="e")),
    "acknowledged twice": lambda: judged(
        record=[*RECORD, Answered("complete", "0", "a", 200)]
    ),
    # Its end was taken although another run had begun.
    "completed by a stale lease": lambda: judged(
        [FOUND[0], Seen("1", 1, "complete", "b"), FOUND[2]]
    ),
    "acknowledged and forgotten": lambda: judged(
        record=[*RECORD, Answered("complete", "2", "d", 200)]
    ),
    "handed out twice": lambda: judged(record=[*RECORD, Beaten("2", "d", at(4.5))]),
    "checkpoint lost": lambda: judged(record=[*RECORD, Kept("2", "d", 2)]),
}


@pytest.mark.parametrize("kind", PLANTS)
def test_what_must_not_happen_is_found(kind: str) -> None:
    kinds = {fault.kind for fault in PLANTS[kind]().faults}

    assert kind in kinds


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "worker"
    Log(path).write(*RECORD)

    path.write_bytes(path.read_bytes()[:-5])

    assert list(read(path)) == RECORD[:-1]
