"""What follows from where a model's roll-out stands: which plans are kept, what every node should hold.

Owns: these two derivations. Its rule: pure. Not here: the steps (`rollout/steps.py`), saving and publishing (`rollout/driver.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgesplit.control.plan_messages import Desired, EpochSpec, Shadowing
from edgesplit_controller.rollout.steps import parts
from edgesplit_controller.storage.deployment_state import DeploymentState, PlanRecord
from edgesplit_controller.storage.rollout_state import Rollout

__all__ = ["desired_parts", "stepped"]


def stepped(deployment: DeploymentState, rollout: Rollout) -> DeploymentState:
    """A deployment after a step, without plans that no node holds any more."""
    held = {plan.epoch for plan in rollout.plans} | {spare.epoch for spare in rollout.spares}
    fallbacks = {plan.fallback for plan in rollout.plans}
    return msgspec.structs.replace(
        deployment,
        rollout=rollout,
        source=rollout.active.source if rollout.active is not None else deployment.source,
        plans={epoch: plan for epoch, plan in deployment.plans.items() if epoch in held},
        local=tuple(plan for plan in deployment.local if plan.epoch in fallbacks),
        spares={epoch: spare for epoch, spare in deployment.spares.items() if epoch in held},
    )


def desired_parts(
    model: str, deployment: DeploymentState, shadowing: Callable[[str, PlanRecord], Shadowing | None]
) -> dict[str, Desired]:
    """What every node should hold of a model."""
    local = {plan.epoch: plan.spec for plan in deployment.local}
    wanted: dict[str, Desired] = {}
    for node, part in parts(deployment.rollout).items():
        specs: list[EpochSpec] = [deployment.spec(epoch, node) for epoch in part.plans]
        specs += [local[epoch] for epoch in part.local if epoch in local]
        served = deployment.plans.get(part.serve) if part.serve is not None else None
        wanted[node] = Desired(
            node=node,
            model=model,
            inputs=deployment.inputs,
            outputs=deployment.outputs,
            epochs=tuple(sorted(specs, key=lambda spec: spec.epoch)),
            serve=part.serve,
            fallback=part.fallback,
            fallbacks=dict(part.spares),
            shadowing=shadowing(model, served) if served is not None else None,
        )
    return wanted
