"""Usage counters per model and epoch: what serving costs.

Owns: the sums behind `Usage` messages. Its rule: where a sensor is integrated, computing waits for the reading that
covers it; else energy is seconds times the watts known at that time; a sum carries the weakest origin that went into
it. Not here: watts (`reporting/collectors/power/meter.py`), publishing (`reporting/reporter.py`), Prometheus (`metrics.py`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgesplit.control.figure_messages import Usage
from edgesplit.planning.origins import Origin, weakest
from edgesplit_agent.reporting.collectors.power.sensor import Power
from edgesplit_agent.reporting.size_counts import SizeCounts, Sizes

__all__ = ["Spent", "UsageBook"]

Spent = Callable[[str, str, float, Origin], None]
"""Told of energy: of which model, `compute` or `transmit`, how much, and how it is known. [J]"""

RECENT_REQUESTS = 256
"""Whose median latency is told."""


@dataclass(slots=True)
class _Energy:
    joules: float = 0.0
    origin: Origin | None = None

    def spend(self, joules: float, origin: Origin) -> None:
        self.joules += joules
        self.origin = origin if self.origin is None else weakest((self.origin, origin))


@dataclass(slots=True)
class _Counters:
    since_unix_s: float = field(default_factory=time.time)
    requests: int = 0
    failed: int = 0
    compute_s: float = 0.0
    coding_s: float = 0.0
    unmetered_s: float = 0.0
    transmit_s: float = 0.0
    latency_sum_s: float = 0.0
    latencies_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=RECENT_REQUESTS))
    waiting_s: float = 0.0
    handling_s: float = 0.0
    unplanned: int = 0
    sizes: SizeCounts = field(default_factory=SizeCounts)
    compute: _Energy = field(default_factory=_Energy)
    transmit: _Energy = field(default_factory=_Energy)


class UsageBook:
    """Counters of one node.

    Args:
        node: Its name.
        power: What it draws until `set_power`.
        spent: Told of energy as it is added to a sum.
    """

    def __init__(self, node: str, power: Power, spent: Spent | None = None) -> None:
        self._node = node
        self._spent = spent
        self._power = power
        self._sent_s = 0.0
        self._counters: dict[tuple[str, int], _Counters] = {}
        self._changed: set[tuple[str, int]] = set()
        self._released: set[tuple[str, int]] = set()

    def set_power(self, power: Power) -> None:
        """Watts from now on, and of the computing that waited for them."""
        self._power = power
        for key, counters in self._counters.items():
            if counters.unmetered_s:
                self._meter(key[0], counters)
                self._changed.add(key)

    def take_sent_s(self) -> float:
        """Seconds of sending, of all models, since the call before. [s]"""
        sent_s, self._sent_s = self._sent_s, 0.0
        return sent_s

    def begin(self, model: str, epoch: int) -> None:
        """Count an epoch from zero: it was prepared just now."""
        self._released.discard((model, epoch))
        self._counters[model, epoch] = _Counters()

    def forget(self, model: str, epoch: int) -> None:
        """Drop an epoch's counters once they were said a last time; it was released."""
        self._released.add((model, epoch))

    def computed(self, model: str, epoch: int, seconds: float, waiting_s: float = 0.0, handling_s: float = 0.0) -> None:
        """Count seconds of a component; what it waited for and what was handled besides are no computing. [s]"""
        counters = self._at(model, epoch)
        counters.compute_s += seconds
        counters.unmetered_s += seconds
        counters.waiting_s += max(waiting_s, 0.0)
        counters.handling_s += max(handling_s, 0.0)
        if not self._power.integrates:
            self._meter(model, counters)

    def coded(self, model: str, epoch: int, seconds: float, waiting_s: float = 0.0, handling_s: float = 0.0) -> None:
        """Count seconds of coding or restoring a tensor, which is computing too. [s]"""
        self.computed(model, epoch, seconds, waiting_s, handling_s)
        self._at(model, epoch).coding_s += seconds

    def sent(self, model: str, epoch: int, seconds: float) -> None:
        """Count seconds of sending. [s]"""
        counters = self._at(model, epoch)
        counters.transmit_s += seconds
        self._spend(model, "transmit", counters.transmit, seconds * self._power.transmit_w, "configured")
        self._sent_s += seconds

    def completed(
        self, model: str, epoch: int, latency_s: float = 0.0, sizes: Sizes | None = None, *, as_planned: bool = True
    ) -> None:
        """Count a request that was answered here.

        Args:
            model: Its name.
            epoch: That computed it.
            latency_s: It took. [s]
            sizes: It had, where the model leaves some open.
            as_planned: They are those that are planned for.
        """
        counters = self._at(model, epoch)
        counters.requests += 1
        counters.latency_sum_s += latency_s
        counters.latencies_s.append(latency_s)
        counters.unplanned += not as_planned
        if sizes:
            counters.sizes.add(sizes)

    def parts_done(self, model: str, epoch: int, requests: int) -> None:
        """Count requests of another source whose part here is done."""
        self._at(model, epoch).requests += requests

    def failed(self, model: str, epoch: int) -> None:
        """Count a request that ended in an error."""
        self._at(model, epoch).failed += 1

    def take_changed(self) -> list[Usage]:
        """What changed since the call before."""
        changed, self._changed = sorted(self._changed), set()
        for key in self._released & set(changed):
            # Their next reading comes too late.
            self._meter(key[0], self._counters[key])
        messages = [self._message(model, epoch, self._counters[model, epoch]) for model, epoch in changed]
        for key in self._released:
            self._counters.pop(key, None)
        self._released.clear()
        return messages

    def _at(self, model: str, epoch: int) -> _Counters:
        key = model, epoch
        self._changed.add(key)
        counters = self._counters.get(key)
        if counters is None:
            counters = self._counters[key] = _Counters()
        return counters

    def _meter(self, model: str, counters: _Counters) -> None:
        power = self._power
        watts = power.compute_w if power.window_w is None else power.window_w
        if counters.unmetered_s:
            self._spend(model, "compute", counters.compute, counters.unmetered_s * watts, power.origin)
            counters.unmetered_s = 0.0

    def _spend(self, model: str, part: str, energy: _Energy, joules: float, origin: Origin) -> None:
        energy.spend(joules, origin)
        if self._spent is not None:
            self._spent(model, part, joules, origin)

    def _message(self, model: str, epoch: int, counters: _Counters) -> Usage:
        # Before anything was spent, the label is the sensor's.
        compute_origin = counters.compute.origin or self._power.origin
        latencies_s = sorted(counters.latencies_s)
        return Usage(
            node=self._node,
            model=model,
            epoch=epoch,
            requests=counters.requests,
            failed=counters.failed,
            compute_s=counters.compute_s,
            coding_s=counters.coding_s,
            transmit_s=counters.transmit_s,
            energy_j=counters.compute.joules + counters.transmit.joules,
            energy_origin=weakest((counters.transmit.origin or compute_origin, compute_origin)),
            latency_sum_s=counters.latency_sum_s,
            compute_energy_j=counters.compute.joules,
            compute_energy_origin=compute_origin,
            transmit_energy_j=counters.transmit.joules,
            counted_since_unix_s=counters.since_unix_s,
            waiting_s=counters.waiting_s,
            handling_s=counters.handling_s,
            unplanned=counters.unplanned,
            sizes=counters.sizes.said(),
            latency_p50_s=_percentile(latencies_s, 0.5),
            latency_p95_s=_percentile(latencies_s, 0.95),
            latency_p99_s=_percentile(latencies_s, 0.99),
        )


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """What a share of values is at most, by linear interpolation between the two next to it; None without a value."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
