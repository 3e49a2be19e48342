"""Jobs in hand for tests, without a daemon and without anybody who beats for them."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from jobengine.client.jobs import Job, Lease
from jobengine.worker.held import Held, HeldJob

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)

H = TypeVar("H", bound=Held)


class Silence:
    """Nobody whom a job could tell anything."""

    def tell(self, held: Held) -> None: ...

    def checkpoint(self, held: Held, told: msgspec.Raw) -> None: ...

    def monotonic(self) -> float:
        return 0.0


def held_job(kind: type[H] = HeldJob, /, **members: Any) -> H:  # type: ignore[assignment]
    """A job in hand, for a minute from noon on."""
    told = {"uid": "a", "queue": "mail", "content": 7, "attempt": 2} | members
    token = f"token-{told['uid']}"
    job = Job(
        state="inprogress",
        priority=50,
        created_at=NOON,
        updated_at=NOON,
        run_at=NOON,
        lease=Lease("worker", NOON, NOON + timedelta(minutes=1), token),
        **told,
    )
    return kind(job, Silence(), 0.0)
