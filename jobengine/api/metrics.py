"""How the house does, in numbers, for Prometheus. Adds nothing up itself.

The numbers name queues and services, so they are for this machine only, whatever else
is trusted.
"""

from collections.abc import Iterator
from itertools import chain, islice

from jobengine.api.endpoint import Desk, Dialect, House, Lane
from jobengine.api.exchange import Asked, Reply, Sent
from jobengine.api.identity import Trust, is_local
from jobengine.api.paced import paced
from jobengine.core.queues import QueueRules
from jobengine.errors import Forbidden
from jobengine.store.port import Transaction
from jobengine.telemetry.exposition import CONTENT_TYPE
from jobengine.telemetry.metrics import Level

METRICS = Dialect("metrics", always=True)

# Queues that are looked at in one transaction: half a millisecond under the lock.
SLICE_QUEUES = 50


@METRICS.endpoint("GET", "/metrics", statuses=(200, 403), lane=Lane.SLOW, head=True)
def metrics(desk: Desk, asked: Asked) -> Reply:
    """How the house does, as Prometheus reads it. For this machine only."""
    _check_local(asked, desk.settings)
    chunks = paced(desk.meter.text(_levels(desk.house)))
    # What may be refused is before the first chunk: after it the status has gone out.
    first = next(chunks)
    return Reply(200, chain((first,), chunks), CONTENT_TYPE)


def _check_local(sent: Sent, trust: Trust) -> None:
    """Raises: Forbidden, what comes from elsewhere, or by way of a proxy or a page."""
    if not is_local(sent, trust):
        raise Forbidden(
            "metrics are for callers on the machine the daemon runs on, without a "
            "proxy: run the scraper or an agent of it there"
        )


def _levels(house: House) -> Iterator[list[Level]]:
    """How every queue stands, in parts of bounded work."""
    names = iter(_queues(house))
    while part := list(islice(names, SLICE_QUEUES)):
        yield _part(house, part)


def _queues(house: House) -> list[str]:
    """The queues there are, and those that were but still have jobs."""
    with house.store.transaction() as tx:
        return sorted({*house.engine.rules.queues, *tx.queues()})


def _part(house: House, names: list[str]) -> list[Level]:
    with house.store.transaction() as tx:
        return [_level(tx, name, house.engine.rules.queues.get(name)) for name in names]


def _level(tx: Transaction, queue: str, rules: QueueRules | None) -> Level:
    jobs = {state.name.lower(): n for state, n in tx.counts(queue).items()}
    oldest = tx.oldest_ready(queue)
    paused = rules is not None and rules.paused is not None
    return Level(queue, jobs, tx.now - oldest.run_at if oldest else None, paused)
