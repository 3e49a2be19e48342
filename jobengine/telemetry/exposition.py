"""Metrics as Prometheus reads them, written a slice at a time. Knows no meaning.

The one user of prometheus_client. Its own registry writes everything in one go, at some
10 us a line: with a thousand queues all requests would wait a quarter of a second.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from typing import Literal, TypeAlias

from msgspec import Struct
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Well under a millisecond of writing: docs/ARCHITECTURE.md, Serving.
SLICE_LINES = 32


class Family(Struct, frozen=True):
    """Series of one name and meaning. A counter's name ends in _total."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    labels: tuple[str, ...] = ()


class Buckets(Struct, frozen=True):
    """The upper bounds of a histogram, in what is observed: *per* of it are a unit."""

    bounds: tuple[float, ...]
    per: int = 1


class Histogram:
    """How many values came within each bound. Guarded by whoever has it."""

    __slots__ = ("_bounds", "_buckets", "_counts", "_total")

    def __init__(self, buckets: Buckets) -> None:
        self._buckets, self._bounds = buckets, buckets.bounds
        self._counts = [0] * (len(buckets.bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count a value, with the first bound that is not below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def __bool__(self) -> bool:
        """Whether it has counted anything."""
        return any(self._counts)

    def copy(self) -> "Histogram":
        """The same, which nobody else counts in."""
        copy = Histogram(self._buckets)
        copy._counts[:], copy._total = self._counts, self._total
        return copy

    def samples(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        """Its lines."""
        below = list(accumulate(self._counts))
        per = self._buckets.per
        ends = [*(str(bound / per) for bound in self._bounds), "+Inf"]
        for end, count in zip(ends, below, strict=True):
            yield Sample(f"{name}_bucket", {**labels, "le": end}, count)
        yield Sample(f"{name}_sum", labels, self._total / per)
        yield Sample(f"{name}_count", labels, below[-1])


# The values of a family's labels, and what there is to say of them.
Series: TypeAlias = tuple[tuple[str, ...], float | Histogram]


def text(family: Family, series: Iterable[Series]) -> Iterator[bytes]:
    """The family with its series, in slices of bounded work."""
    samples = _samples(family, series)
    metric = _slice(family, samples)
    yield _text(metric)
    while (metric := _slice(family, samples)).samples:
        # What a family is stands in its first two lines, and is said once.
        yield _text(metric).split(b"\n", 2)[2]


class Process:
    """What the system says of this process."""

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)

    def text(self) -> Iterator[bytes]:
        """Its memory, processor time and files, in slices of bounded work."""
        for metric in self._collector.collect():
            yield _text(metric)


class _Only(Collector):
    """One metric, in the place of a registry."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _samples(family: Family, series: Iterable[Series]) -> Iterator[Sample]:
    for values, said in series:
        labels = dict(zip(family.labels, values, strict=True))
        if isinstance(said, Histogram):
            yield from said.samples(family.name, labels)
        else:
            yield Sample(family.name, labels, said)


def _slice(family: Family, samples: Iterator[Sample]) -> Metric:
    metric = Metric(family.name.removesuffix("_total"), family.says, family.kind)
    metric.samples = list(islice(samples, SLICE_LINES))
    return metric


def _text(metric: Metric) -> bytes:
    return generate_latest(_Only(metric))
