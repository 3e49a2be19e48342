"""X-JobEngine-Commit: which commit made a write durable, for those who ask."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

COMMIT = "X-JobEngine-Commit"
ASK = {"X_JobEngine_Commit": "?"}


@pytest.fixture
def on_file(new_api: Callable[..., Any]) -> Iterator[Any]:
    api = new_api(file=True)
    yield api
    api.house.close()


def position(answer: Any) -> tuple[int, int]:
    epoch, seq = answer.headers[COMMIT].split(".")
    return int(epoch), int(seq)


def test_every_write_tells_its_commit_to_those_who_ask(on_file: Any) -> None:
    made = on_file.create(**ASK)
    uid = made.json["uid"]
    taken = on_file.next(**ASK)
    done = on_file.update(uid, '{"status":"complete"}', caller="both", **ASK)
    gone = on_file.ask("DELETE", f"/api/v1/jobs/{uid}", "both", "q1", **ASK)

    positions = [position(answer) for answer in (made, taken, done, gone)]

    assert positions == sorted(set(positions)), "later commits compare greater"


def test_nobody_else_is_told_how_much_the_house_writes(on_file: Any) -> None:
    assert COMMIT not in on_file.create().headers
    assert COMMIT not in on_file.next().headers


def test_what_writes_nothing_has_no_commit(on_file: Any) -> None:
    assert COMMIT not in on_file.next(**ASK).headers


def test_a_rewrite_of_the_file_begins_a_greater_epoch(on_file: Any) -> None:
    before = position(on_file.create(**ASK))
    for _ in on_file.house.compactor.run():
        pass

    after = position(on_file.create(**ASK))

    assert after > before
    assert after[0] == before[0] + 1
