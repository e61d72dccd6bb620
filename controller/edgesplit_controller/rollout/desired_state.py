"""Desired state: what every node should hold of a model, from where its rollout stands.

Owns: this derivation, and which plans are kept for it. Its rule: pure; what a node should hold follows from the rollout
alone, never from what it was told before. Not here: the steps (`rollout/steps.py`), saving and publishing
(`rollout/driver.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgesplit.control.plan_messages import Desired, EpochSpec, Shadowing
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_controller.storage.deployment_state import DeploymentState
from edgesplit_controller.storage.rollout_state import Epoch, Rollout

__all__ = ["desired_states", "stepped"]


def stepped(deployment: DeploymentState, rollout: Rollout) -> DeploymentState:
    """A deployment after a step, without plans that no node holds any more."""
    held = {plan.number for plan in rollout.epochs} | {fallback.number for fallback in rollout.fallbacks}
    local = {plan.local_fallback for plan in rollout.epochs}
    return msgspec.structs.replace(
        deployment,
        rollout=rollout,
        source=rollout.active.source if rollout.active is not None else deployment.source,
        plans={epoch: plan for epoch, plan in deployment.plans.items() if epoch in held},
        local_fallbacks=tuple(plan for plan in deployment.local_fallbacks if plan.epoch in local),
        fallbacks={epoch: fallback for epoch, fallback in deployment.fallbacks.items() if epoch in held},
    )


def desired_states(
    model: str,
    rollout: Rollout,
    spec: Callable[[int, str], EpochSpec | None],
    *,
    inputs: tuple[TensorSpec, ...] = (),
    outputs: tuple[TensorSpec, ...] = (),
    shadowing: Callable[[int], Shadowing | None] = lambda _epoch: None,
) -> dict[str, Desired]:
    """What every node should hold of a model; nodes that should hold nothing are left out.

    Args:
        model: Its name.
        rollout: Where it stands.
        spec: A node's part of an epoch, for the node that is the source of a local fallback too.
        inputs: Of the model.
        outputs: Likewise.
        shadowing: What the source is asked to check on the epoch it serves.
    """
    nodes = {node for plan in rollout.epochs for node in (*plan.participants, plan.source)}
    nodes |= {node for fallback in rollout.fallbacks for node in fallback.participants}
    desired: dict[str, Desired] = {}
    for node in sorted(nodes):
        served = _served(rollout, node)
        specs = [spec(epoch, node) for epoch in sorted(_held(rollout, node))]
        desired[node] = Desired(
            node=node,
            model=model,
            inputs=inputs,
            outputs=outputs,
            epochs=tuple(part for part in specs if part is not None),
            serve=served.number if served is not None else None,
            fallback=served.local_fallback if served is not None else None,
            fallbacks=_ready(rollout) if served is not None and served == rollout.active else {},
            shadowing=shadowing(served.number) if served is not None else None,
        )
    return desired


def _held(rollout: Rollout, node: str) -> set[int]:
    """Epochs that a node prepares and keeps."""
    held = {plan.number for plan in rollout.epochs if node in plan.participants}
    held |= {fallback.number for fallback in rollout.fallbacks if node in fallback.participants}
    return held | {
        plan.local_fallback for plan in rollout.epochs if plan.source == node and plan.local_fallback is not None
    }


def _served(rollout: Rollout, node: str) -> Epoch | None:
    """What new requests start on at a node, where it is a source."""
    if rollout.activating and rollout.upcoming is not None and rollout.upcoming.source == node:
        return rollout.upcoming
    if rollout.active is not None and rollout.active.source == node:
        return rollout.active
    return None


def _ready(rollout: Rollout) -> dict[str, int]:
    """Lost node to the epoch that can stand in for it."""
    return {node: fallback.number for fallback in rollout.fallbacks if fallback.ready for node in fallback.lost}
