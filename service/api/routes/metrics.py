"""Metrics in the format of Prometheus: sums that no restart sets back, and gauges."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric as Family

from service.api.deps import MetricsDep
from service.api.schemas.responses import problem_docs
from service.domain.metrics import BUCKETS, COUNTERS, HISTOGRAMS, INFINITE, Series, Sums, zeros
from service.runtime.runtime import Runtime
from service.store import gauges, jobs, totals
from service.store.transaction import Transaction

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problem_docs(401)},
)
async def metrics(runtime: MetricsDep) -> Response:
    """Metrics for Prometheus; the bearer token is that of `RUSHES_METRICS_TOKEN`."""
    families = await runtime.read(lambda tx: list(_families(tx, runtime)))
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Families:
    """A collector of metrics that are already there."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _families(tx: Transaction, runtime: Runtime) -> Iterator[Family]:
    sums = zeros({name: card.kind for name, card in runtime.cards.items()})
    sums.update(totals.read(tx))
    yield from (_counter(name, sums) for name in COUNTERS)
    yield from (_histogram(name, sums) for name in HISTOGRAMS)
    yield from _gauges(tx, runtime)


def _gauges(tx: Transaction, runtime: Runtime) -> Iterator[Family]:
    queued, now = list(gauges.queued(tx)), runtime.clock()
    depth = {(each.model, each.priority): each.number for each in queued}
    yield _gauge("queue_depth", "Queued jobs.", ("model", "priority"), depth)
    oldest: dict[str, float] = {}
    for each in queued:
        age = (now - each.oldest_at).total_seconds()
        oldest[each.model] = max(age, oldest.get(each.model, 0.0))
    text = "Time since the submit of the oldest queued job."
    ages = {(model,): age for model, age in oldest.items()}
    yield _gauge("queue_oldest_age_seconds", text, ("model",), ages)
    yield _gauge("jobs_inflight", "Jobs at work.", ("model", "status"), gauges.active(tx))
    warm = {(model,): runtime.workers.of_model(model).is_warm for model in runtime.cards}
    yield _gauge("workers_warm", "Whether a worker has the model loaded.", ("model",), warm)
    since = jobs.paused_models(tx)
    paused = {(model,): model in since for model in runtime.cards}
    yield _gauge(
        "models_paused", "Whether jobs of the model wait for an admin.", ("model",), paused
    )
    pending = {(): gauges.pending_deliveries(tx)}
    yield _gauge("webhook_pending", "Webhook deliveries to be sent.", (), pending)


def _counter(name: str, sums: Sums) -> Family:
    metric = COUNTERS[name]
    family = CounterMetricFamily(f"rushes_{metric.name}", metric.text, labels=metric.labels)
    for series, value in sorted(sums.items()):
        if series.name == name:
            family.add_metric(series.labels, value / metric.divisor)
    return family


def _histogram(name: str, sums: Sums) -> Family:
    metric = HISTOGRAMS[name]
    family = HistogramMetricFamily(f"rushes_{metric.name}", metric.text, labels=metric.labels)
    for series, milliseconds in sorted(sums.items()):
        if series.name == f"{name}_ms":
            family.add_metric(
                series.labels, _buckets(name, series.labels, sums), sum_value=milliseconds / 1000
            )
    return family


def _buckets(name: str, labels: tuple[str, ...], sums: Sums) -> list[tuple[str, float]]:
    """Return the number of durations up to each limit."""
    count, buckets = 0, []
    for limit in (*(f"{limit:g}" for limit in BUCKETS), INFINITE):
        count += sums[Series(f"{name}_bucket", (*labels, limit))]
        buckets.append((limit, float(count)))
    return buckets


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Family:
    family = GaugeMetricFamily(f"rushes_{name}", text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, float(value))
    return family
