"""What a node can say about a model without running it.

Owns: the answer to "do you serve this, and is it ready". Its rule: a pure reading of the state machine's tables; ready
means that a request sent now starts at once. Not here: the Open Inference Protocol (`openinference/`).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesplit.control.messages import TensorSpec
from edgesplit_agent.serving.machine.request_flow import RequestFlow

__all__ = ["ModelDescription", "describe", "known_models"]


@dataclass(frozen=True)
class ModelDescription:
    """A model as this node sees it.

    Attributes:
        deployed: Whether there is a source; without one, inputs and outputs are empty.
        reason: Why it is not ready; empty when it is.
    """

    name: str
    deployed: bool
    reason: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether a request sent to this node now would start."""
        return not self.reason


def known_models(flow: RequestFlow) -> tuple[str, ...]:
    """Names of all models that were added or deployed, sorted."""
    sources = {name for name, model in flow.models.items() if model.is_source}
    return tuple(sorted({*flow.offered, *flow.deployments, *sources}))


def describe(flow: RequestFlow, name: str, now_s: float) -> ModelDescription | None:
    """Describe a model; None where nobody added one of that name.

    Args:
        flow: The node's tables.
        name: Of the model.
        now_s: The machine's clock. [s]
    """
    model = flow.models.get(name)
    if model is not None and model.is_source and model.desired is not None:
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
