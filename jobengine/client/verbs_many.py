"""The verbs that do one thing to many jobs. Pure."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Struct

from jobengine.client import bodies
from jobengine.client.call import Call, Script
from jobengine.client.jobs import Bulk, Filter, Group
from jobengine.client.replies import reading
from jobengine.client.transport import Answer


class _Cancelled(Struct, frozen=True):
    cancelled: int
    more: bool = False


class _Groups(Struct, frozen=True):
    groups: list[Group]


_read_bulk = reading(Bulk)
_read_cancelled = reading(_Cancelled)
_read_groups = reading(_Groups)


def cancel_by_key(queue: str, unique_key: str) -> Call[int]:
    """Cancel the unfinished job with this unique key; how many there were, 0 or 1."""
    body = bodies.said({"unique_key": unique_key})
    at = ("queues", queue, "jobs", "cancel")
    return Call("POST", at, _count, body=body)


def cancel_all(queue: str, fingerprint: str) -> Script[int]:
    """Cancel all unfinished jobs with this fingerprint; how many there were."""
    body = bodies.said({"fingerprint": fingerprint})
    at = ("queues", queue, "jobs", "cancel")
    count = 0
    while True:
        found: _Cancelled = yield Call("POST", at, _read_cancelled, body=body)
        count += found.cancelled
        if not found.more:
            return count


def bulk_retry(
    queue: str,
    filter: Filter | None = None,
    *,
    dry_run: bool = False,
    expected_count: int | None = None,
) -> Call[Bulk]:
    """Have the failed and cancelled jobs that fit start anew, 10,000 at most; without a
    filter all of them. With *dry_run* they are counted; where others than
    *expected_count* fit, nothing is done."""
    body = _how(filter, dry_run, expected_count)
    return _bulk(("queues", queue, "jobs", "bulk", "retry"), body)


def bulk_cancel(
    queue: str,
    filter: Filter | None = None,
    *,
    dry_run: bool = False,
    expected_count: int | None = None,
) -> Call[Bulk]:
    """Cancel the unfinished jobs that fit; see bulk_retry."""
    body = _how(filter, dry_run, expected_count)
    return _bulk(("queues", queue, "jobs", "bulk", "cancel"), body)


def bulk_delete(
    queue: str,
    filter: Filter | None = None,
    *,
    dry_run: bool = False,
    expected_count: int | None = None,
) -> Call[Bulk]:
    """Delete the jobs that fit; see bulk_retry."""
    body = _how(filter, dry_run, expected_count)
    return _bulk(("queues", queue, "jobs", "bulk", "delete"), body)


def dead_letter_groups(queue: str) -> Call[list[Group]]:
    """The dead letters that died of the same together, the largest group first."""
    at = ("queues", queue, "dead-letters", "groups")
    return Call("GET", at, _all_groups, again=True)


def replay_dead_letters(
    queue: str,
    filter: Filter | None = None,
    *,
    uids: Sequence[str] | None = None,
    dry_run: bool = False,
    expected_count: int | None = None,
) -> Call[Bulk]:
    """Have the dead letters that fit start anew; see bulk_retry."""
    body = _how(filter, dry_run, expected_count) | _named(uids)
    return _bulk(("queues", queue, "dead-letters", "replay"), body)


def purge_dead_letters(
    queue: str,
    filter: Filter | None = None,
    *,
    uids: Sequence[str] | None = None,
    dry_run: bool = False,
    expected_count: int | None = None,
) -> Call[Bulk]:
    """Delete the dead letters that fit; see bulk_retry."""
    body = _how(filter, dry_run, expected_count) | _named(uids) | {"queue": queue}
    return _bulk(("queues", queue, "dead-letters", "purge"), body)


def purge(
    queue: str, *, dry_run: bool = False, expected_count: int | None = None
) -> Call[Bulk]:
    """Delete the jobs of the queue, whatever their state; see bulk_retry."""
    body = _how(None, dry_run, expected_count) | {"queue": queue}
    return _bulk(("queues", queue, "purge"), body)


def _how(
    filter: Filter | None, dry_run: bool, expected_count: int | None
) -> dict[str, Any]:
    return {
        "filter": UNSET if filter is None else bodies.filter_members(filter),
        "dry_run": dry_run or UNSET,
        "expected_count": UNSET if expected_count is None else expected_count,
    }


def _named(uids: Sequence[str] | None) -> dict[str, Any]:
    return {"uids": UNSET if uids is None else list(uids)}


def _bulk(at: tuple[str, ...], body: dict[str, Any]) -> Call[Bulk]:
    # Counting does no harm twice.
    again = body["dry_run"] is True
    return Call("POST", at, _read_bulk, body=bodies.said(body), again=again)


def _count(answer: Answer) -> int:
    return _read_cancelled(answer).cancelled


def _all_groups(answer: Answer) -> list[Group]:
    return _read_groups(answer).groups
