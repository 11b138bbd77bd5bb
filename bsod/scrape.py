"""`/metrics`: the counters of all processes together, as Prometheus wants them.

The rows of all time are counters that only grow; whichever process is asked says the same.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bsod.standing import Standing
from proxy import figures, stats
from proxy.figures import Counted
from proxy.histogram import BOUNDS, BUCKETS
from proxy.stats import FIRST, LATENCY, Step


def registry(standing: Standing, now: datetime) -> CollectorRegistry:
    found = CollectorRegistry(auto_describe=False)
    found.register(_Rows(standing, now))
    return found


class _Rows(Collector):
    def __init__(self, standing: Standing, now: datetime) -> None:
        self._standing = standing
        rows = figures.counted(Step.EVER, stats.beginning(Step.EVER, now))
        self._calls = [row for row in rows if row.key.route != stats.LEDGER]
        self._batches = [row for row in rows if row.key.route == stats.LEDGER]
        self._open = figures.open_now(now)

    def collect(self) -> Iterator[Metric]:
        yield from _counters(self._calls)
        yield _times(
            "bsod_request_duration_seconds", "Time to the end of the answer, in seconds",
            self._calls, 4, LATENCY,
        )  # fmt: skip
        yield _times(
            "bsod_first_byte_seconds", "Time to the first byte of a provider, in seconds",
            self._calls, 5, FIRST,
        )  # fmt: skip
        yield from _ledger(self._batches)
        calls, streams = self._open
        yield GaugeMetricFamily("bsod_open_calls", "Calls at a provider now", value=calls)
        yield GaugeMetricFamily("bsod_open_streams", "Streams among them", value=streams)
        yield from _pool(self._standing)


def _counters(rows: Sequence[Counted]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "bsod_requests", "Requests by what became of them",
        labels=("route", "provider", "model", "status"),
    )  # fmt: skip
    for row in rows:
        requests.add_metric(row.key, row.cell[0])
    yield requests
    attempts: Counter[tuple[str, ...]] = Counter()
    tokens: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        route, provider, model, _ = row.key
        attempts[route, provider, model] += row.cell[1]
        tokens["prompt", provider, model] += row.cell[2]
        tokens["completion", provider, model] += row.cell[3]
    yield _sums("bsod_attempts", "Attempts at providers, by the one asked last",
                ("route", "provider", "model"), attempts)  # fmt: skip
    yield _sums("bsod_tokens", "Tokens of calls", ("kind", "provider", "model"), tokens)


def _sums(
    name: str, help_text: str, labels: Sequence[str], found: Counter[tuple[str, ...]]
) -> Metric:
    metric = CounterMetricFamily(name, help_text, labels=labels)
    for key in sorted(found):
        if found[key]:
            metric.add_metric(key, found[key])
    return metric


def _times(name: str, help_text: str, rows: Iterable[Counted], total: int, at: int) -> Metric:
    """A histogram for each route and model."""
    sums: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        kept = sums.setdefault((row.key.route, row.key.model), [0] * (1 + BUCKETS))
        kept[0] += row.cell[total]
        for number in range(BUCKETS):
            kept[1 + number] += row.cell[at + number]
    metric = HistogramMetricFamily(name, help_text, labels=("route", "model"))
    for key, (micros, *counts) in sorted(sums.items()):
        if any(counts):
            metric.add_metric(key, _cumulated(BOUNDS, counts), micros / 1e6)
    return metric


def _ledger(rows: Sequence[Counted]) -> Iterator[Metric]:
    """The batches of the ledger: how many operations each took, and how long."""
    by_size = sorted((int(row.key.status), row.cell) for row in rows)
    size = HistogramMetricFamily("bsod_ledger_batch_operations", "Operations in one commit")
    bounds = [2**n for n in range(9)]
    counts = Counter({bound: cell[0] for bound, cell in by_size})
    beyond = sum(cell[0] for bound, cell in by_size if bound > bounds[-1])
    size.add_metric((), _cumulated(bounds, [*(counts[b] for b in bounds), beyond]),
                    sum(cell[1] for _, cell in by_size))  # fmt: skip
    yield size
    took = [sum(cell[LATENCY + n] for _, cell in by_size) for n in range(BUCKETS)]
    time = HistogramMetricFamily("bsod_ledger_batch_duration_seconds", "Time of one commit")
    time.add_metric((), _cumulated(BOUNDS, took), sum(cell[4] for _, cell in by_size) / 1e6)
    yield time


def _cumulated(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Prometheus counts in each bucket what is in those below it too."""
    found, seen = [], 0
    for bound, count in zip((*map(float, bounds), None), counts, strict=True):
        seen += count
        found.append(("+Inf" if bound is None else str(bound), float(seen)))
    return found


def _pool(standing: Standing) -> Iterator[Metric]:
    keys = GaugeMetricFamily(
        "bsod_provider_keys", "Keys of a provider, by state", labels=("provider", "state")
    )
    up = GaugeMetricFamily("bsod_provider_up", "Whether a provider answers", labels=("provider",))
    for one in standing.providers:
        up.add_metric((one.slug,), float(one.up))
        for state, count in one.keys.items():
            keys.add_metric((one.slug, state), count)
    models = GaugeMetricFamily("bsod_models", "Models in the catalogue", labels=("available",))
    models.add_metric(("true",), standing.available)
    models.add_metric(("false",), standing.models - standing.available)
    yield from (keys, up, models)
