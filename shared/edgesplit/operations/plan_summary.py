"""A plan in figures, as documents about plans that might be show it.

Owns: this value. Its rule: keys may be added, never renamed. Not here: the documents that contain it.
"""

from __future__ import annotations

import msgspec

from edgesplit.planning.plan import NodeShare

__all__ = ["PlanSummary"]


class PlanSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A plan in figures, all predicted.

    Attributes:
        status: `optimal` or `feasible`; of an active plan under other conditions, what it was.
        latency_s: End of the simulated timeline. [s]
        energy_j: Of all nodes, per request. [J]
        device_energy_j: Of the source. [J]
        noise: Of the output. [1]
        per_node: Node to what sits on it.
        quantized: Operators that run in int8.
        broken: One sentence for each constraint it does not keep.
        latency_interval_s: Nine of ten times the latency proves to lie in it; None where it could not run. [s]
        energy_interval_j: The same of the energy. [J]
        rate_hz: Requests a second that it sustains, many at a time; None where nothing takes any time. [1/s]
        bottleneck: The node, or the link as `FROM:TO`, that bounds this rate; None with it.
        loaded_latency_s: With what a request waits at most for requests that others promise, as they serve now, at 99 % of phases; modelled, as in
            `plan`. None where more is promised than there is time, and where it was not looked at. [s]
    """

    status: str
    latency_s: float
    energy_j: float
    device_energy_j: float
    noise: float
    per_node: dict[str, NodeShare]
    quantized: tuple[str, ...]
    broken: tuple[str, ...] = ()
    latency_interval_s: tuple[float, float] | None = None
    energy_interval_j: tuple[float, float] | None = None
    rate_hz: float | None = None
    bottleneck: str | None = None
    loaded_latency_s: float | None = None
