"""Families of a Prometheus page that shows what is, made anew for every scrape.

Owns: names, help and samples while a page is made. Its rule: every name begins alike; a family stands on the page though it has no
sample, so that what is missing can be told from what is misspelt. Not here: which families there are.

References: Prometheus, "Metric and label naming" and "Writing exporters", prometheus.io/docs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

__all__ = ["Page"]

PREFIX = "edgesplit_controller_"


class Page(Collector):
    """Collects families and renders them, with those of the process."""

    def __init__(self) -> None:
        self._families: list[CounterMetricFamily | GaugeMetricFamily | SummaryMetricFamily] = []

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
        """A family of what goes up and down."""
        family = GaugeMetricFamily(f"{PREFIX}{name}", text, labels=labels)
        self._families.append(family)
        return family

    def figure(self, name: str, text: str, value: float | None) -> None:
        """A gauge without labels; None: nobody knows."""
        family = self.gauge(name, text)
        if value is not None:
            family.add_metric((), value)

    def counter(self, name: str, text: str, labels: Sequence[str]) -> CounterMetricFamily:
        """A family of what only grows while this controller runs; its name ends with `_total` on the page."""
        family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=labels)
        self._families.append(family)
        return family

    def summary(self, name: str, text: str, labels: Sequence[str]) -> SummaryMetricFamily:
        """A family of counts and sums."""
        family = SummaryMetricFamily(f"{PREFIX}{name}", text, labels=labels)
        self._families.append(family)
        return family

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | SummaryMetricFamily]:
        """See `prometheus_client.registry.Collector`."""
        yield from self._families

    def rendered(self) -> bytes:
        """The page in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        ProcessCollector(registry=registry)
        return generate_latest(registry)
