"""Counters of serving, moved for the controller and for Prometheus at once.

Owns: which counters a fact moves. Its rule: whoever serves tells a fact once. Not here: the sums (`usage.py`), the
metrics (`metrics.py`).
"""

from __future__ import annotations

from edgesplit.wire.headers import ExecutionKey
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.size_counts import Sizes
from edgesplit_agent.reporting.usage import UsageBook

__all__ = ["ServingCounters"]


class ServingCounters:
    """Counters of one node; those of an epoch begin when it was prepared and end when it is released."""

    def __init__(self, usage: UsageBook, metrics: PrometheusMetrics) -> None:
        self._usage = usage
        self._metrics = metrics

    def begin(self, model: str, epoch: int) -> None:
        """An epoch was prepared."""
        self._usage.begin(model, epoch)
        self._metrics.begin(model, epoch)

    def forget(self, model: str, epoch: int) -> None:
        """An epoch was released."""
        self._usage.forget(model, epoch)
        self._metrics.forget(model, epoch)

    def gone(self, model: str) -> None:
        """Nothing of a model is held here any more."""
        self._metrics.gone(model)

    def serving(self, model: str, epoch: int | None) -> None:
        """New requests start on another epoch."""
        self._metrics.serving(model, epoch)

    def completed(
        self, model: str, epoch: int, latency_s: float, sizes: Sizes | None = None, *, as_planned: bool = True
    ) -> None:
        """A request was answered here, at its source.

        Args:
            model: Its name.
            epoch: That computed it.
            latency_s: It took. [s]
            sizes: It had, where the model leaves some open.
            as_planned: They are those that are planned for.
        """
        self._usage.completed(model, epoch, latency_s, sizes, as_planned=as_planned)
        self._metrics.completed(model, epoch, latency_s)

    def part_done(self, key: ExecutionKey) -> None:
        """This node did its part of another source's requests: one, or as many as are computed as one."""
        self._usage.parts_done(key.model, key.epoch, key.requests)

    def failed(self, model: str, epoch: int | None, code: str) -> None:
        """A request ended in an error, on its last epoch if it had one."""
        if epoch is not None:
            self._usage.failed(model, epoch)
        self._metrics.failed(model, code)

    def computed(self, key: ExecutionKey, seconds: float, waiting_s: float = 0.0, handling_s: float = 0.0) -> None:
        """A component ran.

        Args:
            key: Of the request.
            seconds: It took. [s]
            waiting_s: It waited for the node's turn before. [s]
            handling_s: Its request took here besides, since this was told before. [s]
        """
        self._usage.computed(key.model, key.epoch, seconds, waiting_s, handling_s)
        self._metrics.computed(key.model, seconds)

    def coded(self, key: ExecutionKey, seconds: float, waiting_s: float = 0.0, handling_s: float = 0.0) -> None:
        """A tensor was coded or restored; as `computed`. [s]"""
        self._usage.coded(key.model, key.epoch, seconds, waiting_s, handling_s)
        self._metrics.coded(key.model, seconds)

    def checked(self, model: str, mean: float | None) -> None:
        """Answered requests were checked against the float model."""
        self._metrics.checked(model, mean)

    # --- what goes over links, as `dataplane.host.TrafficCounters` -----------------------------------------------------

    def received(self, nbytes: int) -> None:
        """Tensors came in, as they travel. [B]"""
        self._metrics.received(nbytes)

    def sent(self, peer: str, key: ExecutionKey, nbytes: int, seconds: float) -> None:
        """A peer has tensors that this node sent. [B, s]"""
        self._metrics.sent(peer, nbytes)
        self._usage.sent(key.model, key.epoch, seconds)

    def probed(self, peer: str, nbytes: int) -> None:
        """A probe was sent to a peer. [B]"""
        self._metrics.probed(peer, nbytes)
