"""Keeper of the dashboard's histories: takes a sample of nodes and deployments every ten seconds.

Owns: which figures are sampled, their units, and where they come from. Its rule: figures are those that nodes told last; a node that is
away has none. In a large fleet links are left out that no plan uses. Not here: the arrays (`history.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from edgesplit.control.figure_messages import LinkState
from edgesplit_controller.answering.inspection.served_models import FleetNow, active_models, used_links
from edgesplit_controller.dashboard.history import STEP_S, History, HistoryDocument
from edgesplit_controller.dashboard.stream_documents import LARGE_FLEET

__all__ = ["HistoryKeeper"]

_NODE_UNITS = {
    "cpu_percent": "%",
    "memory_available_bytes": "B",
    "compute_w": "W",
    "transmit_w": "W",
    "battery_fraction": "1",
    "bandwidth": "B/s",
    "latency": "s",
}
_MODEL_UNITS = {
    "requests_per_s": "1/s",
    "latency_p50_s": "s",
    "latency_p95_s": "s",
    "latency_p99_s": "s",
    "predicted_latency_s": "s",
    "energy_j": "J",
    "predicted_energy_j": "J",
    "failed_per_s": "1/s",
}
_MODEL_MEASURED = ("requests_per_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "failed_per_s")


class HistoryKeeper:
    """Of one controller.

    Args:
        now: Nodes, models and plans.
        clock: Seconds since the epoch.
    """

    def __init__(self, now: FleetNow, clock: Callable[[], float] = time.time) -> None:
        self._now = now
        self._clock = clock
        self._nodes, self._models = History(), History()
        self._failed: dict[str, tuple[int | None, int, float]] = {}
        self._log = structlog.get_logger(part="dashboard")

    async def keep(self) -> None:
        """Take samples for ever."""
        while True:
            try:
                self.sample()
            except Exception:
                # A defect here must cost one sample, not those of all the days to come.
                self._log.exception("sample-failed")
            await asyncio.sleep(STEP_S)

    def sample(self) -> None:
        """Take one of everything."""
        at_unix_s = self._clock()
        links = self._links()
        self._nodes.add(at_unix_s, {name: self._node(name, links.get(name, ())) for name in self._now.registry.nodes})
        rows = list(active_models(self._now))
        failed_per_s = {row.name: self._failed_per_s(row.name, row.epoch, row.failed, at_unix_s) for row in rows}
        self._models.add(
            at_unix_s,
            {
                row.name: {
                    "requests_per_s": row.requests_per_s,
                    "latency_p50_s": row.latency_p50_s,
                    "latency_p95_s": row.latency_p95_s,
                    "latency_p99_s": row.latency_p99_s,
                    "predicted_latency_s": row.predicted_latency_s,
                    "energy_j": row.energy_j,
                    "predicted_energy_j": row.predicted_energy_j,
                    "failed_per_s": failed_per_s[row.name],
                }
                for row in rows
            },
        )
        for row in rows:
            self._models.answers(row.name, row.epoch, at_unix_s)
        self._failed = {name: last for name, last in self._failed.items() if name in failed_per_s}

    def node(self, name: str) -> HistoryDocument:
        """Of a node.

        Raises:
            UnknownNode: There is none of that name.
        """
        if name not in self._nodes:
            self._now.registry.check_known(name)
        metrics = self._now.registry.node(name).metrics
        watts: Mapping[str, str] = (
            {} if metrics is None else {"compute_w": metrics.power_origin, "transmit_w": "configured"}
        )
        links = self._now.registry.node(name).links
        measured = () if links is None else links.links
        origin = {f"{figure}:{link.to}": link.origin for link in measured for figure in ("bandwidth", "latency")}
        told = dict.fromkeys(("cpu_percent", "memory_available_bytes", "battery_fraction"), "measured")
        return self._nodes.document(name, _NODE_UNITS, {**told, **watts, **origin})

    def model(self, name: str) -> HistoryDocument:
        """Of a deployment.

        Raises:
            UnknownModel: There is none of that name, and none served within the last hour.
        """
        if name not in self._models:
            self._now.catalog.get(name)
        row = next((row for row in active_models(self._now) if row.name == name), None)
        origin = {
            **dict.fromkeys(_MODEL_MEASURED, "measured"),
            **dict.fromkeys(("predicted_latency_s", "predicted_energy_j"), "predicted"),
            **({} if row is None or row.energy_origin is None else {"energy_j": row.energy_origin}),
        }
        return self._models.document(name, _MODEL_UNITS, origin)

    def _node(self, name: str, links: Sequence[LinkState]) -> dict[str, float | None]:
        node = self._now.registry.node(name)
        metrics = node.metrics
        if metrics is None or not node.online:
            return {}
        figures: dict[str, float | None] = {
            "cpu_percent": metrics.cpu_percent,
            "memory_available_bytes": float(metrics.memory_available_bytes),
            "compute_w": metrics.compute_w,
            "transmit_w": metrics.transmit_w,
        }
        if metrics.battery_fraction is not None:
            figures["battery_fraction"] = metrics.battery_fraction
        for link in links:
            figures[f"bandwidth:{link.to}"] = link.bandwidth_bytes_per_s
            figures[f"latency:{link.to}"] = link.latency_s
        return figures

    def _links(self) -> dict[str, tuple[LinkState, ...]]:
        """Measured links that answer, by their sending node."""
        used = used_links(self._now) if len(self._now.registry.nodes) > LARGE_FLEET else None
        found: dict[str, tuple[LinkState, ...]] = {}
        for start, link in self._now.registry.links(None if used is None else {node for pair in used for node in pair}):
            if link.up and (used is None or (start, link.to) in used):
                found[start] = (*found.get(start, ()), link)
        return found

    def _failed_per_s(self, name: str, epoch: int | None, failed: int, at_unix_s: float) -> float | None:
        """Since the last sample; None where another plan counts since then. [1/s]"""
        before = self._failed.get(name)
        self._failed[name] = epoch, failed, at_unix_s
        if before is None or before[0] != epoch or failed < before[1] or at_unix_s <= before[2]:
            return None
        return (failed - before[1]) / (at_unix_s - before[2])
