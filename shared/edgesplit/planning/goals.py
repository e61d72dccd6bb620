"""Goals of a model: weights, limits, pins, forbidden nodes.

Owns: what people want of a model, as the controller keeps it and documents print it. Its rule: values only; a key may be
added, never renamed, for goals are on disk and on the wire. Not here: changing them, what pins reach.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Goals", "PinRule"]


class PinRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Operators that may run on some nodes only.

    Attributes:
        kind: `pattern`: those whose name it matches; `first`: the first of them in topological order; `input`: those
            that read an input of the model.
        pattern: Shell-style (`*`, `?`, `[abc]`), case-sensitive.
        first: How many, for `first`.
        nodes: Where they may run; empty is the source, whichever it is.
    """

    kind: Literal["pattern", "first", "input"]
    pattern: str = ""
    first: int = 0
    nodes: tuple[str, ...] = ()

    @property
    def selector(self) -> str:
        """As it is typed."""
        return {"pattern": self.pattern, "first": f"--first {self.first}", "input": "--input"}[self.kind]


class Goals(msgspec.Struct, frozen=True, kw_only=True):
    """Goals of a model; None is no limit.

    Attributes:
        latency_weight: Weight of latency in the score. [1]
        energy_weight: Weight of energy. [1]
        max_noise: Bound on the output's noise; None is no bound. [1]
        device_energy_limit_j: Bound on the source's own energy per request; None is no limit. [J]
        min_rate_hz: Requests a second that a plan must sustain, many at a time; None: one at a time is enough. [1/s]
        pins: In the order they were made.
        forbidden: Nodes it may not use.
        on: Selector of the nodes it may use beside its source; empty: those of the source's site, and shared ones.
        min_battery: What must be left in the source's battery, as a share of what it holds; None is no floor. [1]
        battery_hours: For how long it must last from any moment on. [h]
        battery_requests_per_s: What is expected of it until a rate is measured; None: not said. [1/s]
    """

    latency_weight: float = 1.0
    energy_weight: float = 0.0
    max_noise: float | None = 0.0
    device_energy_limit_j: float | None = None
    min_rate_hz: float | None = None
    pins: tuple[PinRule, ...] = ()
    forbidden: tuple[str, ...] = ()
    min_battery: float | None = None
    battery_hours: float = 8.0
    battery_requests_per_s: float | None = None
    on: str = ""
