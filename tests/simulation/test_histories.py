"""Short histories of a running daemon; `make histories` records long ones."""

import random
from pathlib import Path

import pytest
from histories import assess, save, taken

# Enough for every kind of answer, and for a judgement within a second.
OPERATIONS = 400


@pytest.mark.parametrize("kills", [0, 1, 2])
def test_what_clients_see_at_once_is_explained_by_one_order(
    tmp_path: Path, kills: int
) -> None:
    name = f"{random.randrange(1 << 32)}"
    print(f"seed {name}")
    ops = taken(name, tmp_path / "daemon", operations=OPERATIONS, kills=kills)

    findings = assess(name, ops, kills)

    assert not findings.fault, f"{findings.fault[:1000]}: see {save(name, ops)}"
    assert findings.operations >= OPERATIONS
    # There was an order to be found, and the kills cut something off.
    assert findings.overlap > 1
    assert findings.cut_off >= kills
    # It would have found whatever can be planted in this record.
    assert findings.plants
    assert all(findings.plants.values()), f"{findings.plants}: see {save(name, ops)}"
