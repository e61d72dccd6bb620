"""The engine's models, described for front ends: whether this node serves one, and whether it is ready.

Owns: that answer. Its rule: a pure reading of the state machine's tables; ready means that a request sent now starts at
once. Not here: what a description holds (`served_models.py`).
"""

from __future__ import annotations

import time

from edgesplit.names import base_name
from edgesplit_agent.serving.engine import Engine
from edgesplit_agent.serving.machine.request_flow import RequestFlow
from edgesplit_agent.serving.served_models import ModelDescription

__all__ = ["EngineModels", "describe", "known_models"]


class EngineModels:
    """The models of a running agent."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.infer = engine.infer

    def describe(self, name: str) -> ModelDescription | None:
        """See `ServedModels`."""
        return describe(self._engine.machine.flow, name, time.monotonic())

    def describe_all(self) -> list[ModelDescription]:
        """See `ServedModels`."""
        names = known_models(self._engine.machine.flow)
        return [model for name in names if (model := self.describe(name)) is not None]


def known_models(flow: RequestFlow) -> tuple[str, ...]:
    """Names of all models that were added or deployed, sorted; planning shapes and deployments have no names for clients."""
    sources = {name for name, model in flow.models.items() if model.is_source}
    return tuple(sorted(set(map(base_name, {*flow.offered, *flow.deployments, *sources}))))


def describe(flow: RequestFlow, name: str, now_s: float) -> ModelDescription | None:
    """Describe a model; None where nobody added one of that name.

    Args:
        flow: The node's tables.
        name: Of the model.
        now_s: The machine's clock. [s]
    """
    own = flow.shapes.own(name)
    model = None if own is None else flow.models[own]
    if model is not None and model.desired is not None:
        number = model.choose(flow.peers_up, now_s)
        reason = ""
        if number is None:
            reason = f"no plan is prepared on {flow.node} yet"
        elif lost := model.lost_peers(number, flow.peers_up):
            reason = f"{', '.join(lost)} cannot be reached from {flow.node}, and no fallback is ready"
        return ModelDescription(name, True, reason, model.desired.inputs, model.desired.outputs)
    deployment = flow.deployments.get(name)
    if deployment is not None:
        reason = ""
        if deployment.source == flow.node:
            reason = f"no plan is prepared on {flow.node} yet"
        elif deployment.source not in flow.peers_up:
            reason = f"its source {deployment.source} cannot be reached from {flow.node}"
        return ModelDescription(name, True, reason, deployment.inputs, deployment.outputs)
    return ModelDescription(name, False, "it is not deployed") if name in flow.offered else None
