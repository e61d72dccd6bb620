"""What serving costs: counters per model and epoch.

Owns: the sums behind `Usage` messages. Its rule: energy is seconds times the watts known at that time, and carries the
weakest origin that went into it. Not here: publishing (`control.py`), Prometheus (`http.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesplit.messages import Origin, Usage
from edgesplit_agent.collectors.base import Power

__all__ = ["UsageBook"]

STRENGTH: dict[Origin, int] = {"configured": 0, "modelled": 1, "measured": 2}


@dataclass(slots=True)
class _Counters:
    requests: int = 0
    failed: int = 0
    compute_s: float = 0.0
    transmit_s: float = 0.0
    energy_j: float = 0.0
    origin: Origin = "measured"
    latency_sum_s: float = 0.0


class UsageBook:
    """Counters of one node.

    Args:
        node: Its name.
        power: What it draws until `set_power`.
    """

    def __init__(self, node: str, power: Power) -> None:
        self._node = node
        self._power = power
        self._counters: dict[tuple[str, int], _Counters] = {}
        self._changed: set[tuple[str, int]] = set()
        self._released: set[tuple[str, int]] = set()

    def set_power(self, power: Power) -> None:
        """Watts from now on."""
        self._power = power

    def begin(self, model: str, epoch: int) -> None:
        """Count an epoch from zero: it was prepared just now."""
        self._released.discard((model, epoch))
        self._counters[model, epoch] = _Counters()

    def forget(self, model: str, epoch: int) -> None:
        """Drop an epoch's counters once they were said a last time; it was released."""
        self._released.add((model, epoch))

    def computed(self, model: str, epoch: int, seconds: float) -> None:
        """Count seconds of a component. [s]"""
        counters = self._at(model, epoch)
        counters.compute_s += seconds
        self._spend(counters, seconds * self._power.compute_w)

    def sent(self, model: str, epoch: int, seconds: float) -> None:
        """Count seconds of sending. [s]"""
        counters = self._at(model, epoch)
        counters.transmit_s += seconds
        self._spend(counters, seconds * self._power.transmit_w)

    def completed(self, model: str, epoch: int, latency_s: float = 0.0) -> None:
        """Count a request that was answered here, or whose part here is done. [s]"""
        counters = self._at(model, epoch)
        counters.requests += 1
        counters.latency_sum_s += latency_s

    def failed(self, model: str, epoch: int) -> None:
        """Count a request that ended in an error."""
        self._at(model, epoch).failed += 1

    def take_changed(self) -> list[Usage]:
        """What changed since the call before."""
        changed, self._changed = sorted(self._changed), set()
        messages = [self._message(model, epoch, self._counters[model, epoch]) for model, epoch in changed]
        for key in self._released:
            self._counters.pop(key, None)
        self._released.clear()
        return messages

    def _at(self, model: str, epoch: int) -> _Counters:
        self._changed.add((model, epoch))
        return self._counters.setdefault((model, epoch), _Counters())

    def _spend(self, counters: _Counters, joules: float) -> None:
        counters.energy_j += joules
        counters.origin = min(counters.origin, self._power.origin, key=lambda origin: STRENGTH[origin])

    def _message(self, model: str, epoch: int, counters: _Counters) -> Usage:
        return Usage(
            node=self._node,
            model=model,
            epoch=epoch,
            requests=counters.requests,
            failed=counters.failed,
            compute_s=counters.compute_s,
            transmit_s=counters.transmit_s,
            energy_j=counters.energy_j,
            # Before anything was spent, the label is the sensor's.
            energy_origin=counters.origin if counters.energy_j else self._power.origin,
            latency_sum_s=counters.latency_sum_s,
        )
