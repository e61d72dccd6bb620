"""Weights that nodes hold for plans: how much room they take, and which of them the planning shapes of a model share.

Owns: this sum. Its rule: nodes keep weights by what they hold, in float and in int8 apart, so what several planning shapes of a model
have on a node is there once, whatever graphs they cut it into. Not here: fallbacks (`rollout/fallback_memory.py`), what a plan may take
(`planner`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgesplit.names import base_name
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["Held", "HeldWeights", "held_weights"]

Held = frozenset[tuple[str, bool]]
"""Units, each in float (False) or in int8 (True)."""


@dataclass(frozen=True)
class HeldWeights:
    """What nodes hold of plans.

    Attributes:
        taken_bytes: Node to what all of it takes. [B]
        shared: Node to the units of one model that are among it.
    """

    taken_bytes: Mapping[str, float] = field(default_factory=dict[str, float])
    shared: Mapping[str, Held] = field(default_factory=dict[str, Held])


def held_weights(plans: Iterable[tuple[str, PlanRecord]], *, model: str, sha256: str) -> HeldWeights:
    """Add up what plans hold.

    Args:
        plans: With the names of their planning shapes.
        model: Whose share is wanted: the name of any of its planning shapes.
        sha256: Of its file.
    """
    found: dict[str, dict[tuple[str, str, str, bool], float]] = {}
    for name, plan in plans:
        for operator in plan.problem.operators:
            quantized = operator.name in plan.assignment.quantized
            key = base_name(name), plan.sha256, operator.name, quantized
            held = found.setdefault(plan.assignment.node_of[operator.name], {})
            held[key] = operator.weights_in(quantized=quantized)
    own = base_name(model), sha256
    return HeldWeights(
        {node: sum(held.values()) for node, held in found.items()},
        {
            node: frozenset((unit, int8) for base, file, unit, int8 in held if (base, file) == own)
            for node, held in found.items()
        },
    )
