"""Memory for fallbacks: which of them fit beside all that nodes must hold.

Owns: this sum. Its rule: pure; a fallback gives way to whatever needs its memory, and a node holds equal weights once, whatever
graphs they are in. Not here: which fallbacks are worth having.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgesplit.control.component_messages import sizes_of
from edgesplit.control.plan_messages import EpochSpec
from edgesplit_controller.storage.deployment_state import DeploymentState, FallbackRecord
from edgesplit_controller.storage.rollout_state import FallbackEpoch

__all__ = ["fitting", "held_fallbacks"]


def held_fallbacks(deployment: DeploymentState) -> dict[FallbackEpoch, FallbackRecord]:
    """What nodes hold for the loss of others."""
    return {fallback: deployment.fallbacks[fallback.number] for fallback in deployment.rollout.fallbacks}


def fitting(
    model: str,
    fallbacks: Mapping[FallbackEpoch, FallbackRecord],
    deployments: Mapping[str, DeploymentState],
    limit_bytes: Mapping[str, float],
) -> dict[FallbackEpoch, FallbackRecord]:
    """Those that fit every node's memory beside all that must be there, in their order.

    Args:
        model: Whose fallbacks they are.
        fallbacks: What it would hold.
        deployments: All of them, by model.
        limit_bytes: Node to what it may hold; 0 and a node left out are no limit. [B]
    """
    held: dict[str, dict[str, int]] = {}
    for other, deployment in deployments.items():
        specs = [part for plan in deployment.plans.values() for part in plan.specs.items()]
        specs += [(local.source, local.spec) for local in deployment.local_fallbacks]
        if other != model:
            specs += [part for plan in held_fallbacks(deployment).values() for part in plan.specs.items()]
        for node, spec in specs:
            held.setdefault(node, {}).update(_blobs(spec))
    found: dict[FallbackEpoch, FallbackRecord] = {}
    for fallback, plan in fallbacks.items():
        with_it = {node: held.get(node, {}) | _blobs(spec) for node, spec in plan.specs.items()}
        if all(
            sum(graphs.values()) <= (limit_bytes.get(node, 0.0) or float("inf")) for node, graphs in with_it.items()
        ):
            held |= with_it
            found[fallback] = plan
    return found


def _blobs(spec: EpochSpec) -> dict[str, int]:
    """Digest to bytes of a part's graphs and weights."""
    return sizes_of(*(component.graph for component in spec.components))
