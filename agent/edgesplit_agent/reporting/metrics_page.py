"""Prometheus' page of an agent's metrics.

Owns: the way of figures into prometheus_client's families. Its rule: a page is made of what the figures are when it is asked for, and
prometheus_client is imported with this module, by whoever makes pages. Not here: the figures, their names and labels (`metrics.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edgesplit_agent.reporting.figure_series import Buckets, LabelledDistributions, LabelledFigures
from edgesplit_agent.reporting.metrics import PrometheusMetrics

__all__ = ["registry_of"]


def registry_of(metrics: PrometheusMetrics) -> CollectorRegistry:
    """A registry of its own for each agent, so that several fit in one process; with figures of the process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_NodeCollector(metrics))
    return registry


class _NodeCollector(Collector):
    """Reads an agent's figures when it is asked for them."""

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        for family in self._metrics.families():
            yield _shown(family)


def _shown(family: LabelledFigures | LabelledDistributions) -> Metric:
    if isinstance(family, LabelledDistributions):
        shown = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, found in family.series().items():
            shown.add_metric(labels, _cumulative(found), found.total)
        return shown
    make = CounterMetricFamily if family.kind == "count" else GaugeMetricFamily
    figures = make(family.name, family.text, labels=family.labels)
    for labels, value in family.series().items():
        figures.add_metric(labels, value)
    return figures


def _cumulative(found: Buckets) -> list[tuple[str, float]]:
    """Upper bounds, as Prometheus writes them, and how many values are at most that."""
    return [("+Inf" if math.isinf(bound) else str(bound), float(count)) for bound, count in found.up_to()]
