"""The models a node serves, as whoever asks for inference sees them.

Owns: the answer to "do you serve this, and is it ready", and the seam between front ends and the engine. Its rule: a pure
reading of the state machine's tables, and the engine's `infer`; ready means that a request sent now starts at once. Not
here: the Open Inference Protocol (`openinference/`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgesplit.wire.tensors import Array, TensorSpec
from edgesplit_agent.serving.engine import Engine
from edgesplit_agent.serving.machine.request_flow import RequestFlow

__all__ = ["EngineModels", "ModelDescription", "ServedModels", "describe", "known_models"]


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


class ServedModels(Protocol):
    """Who serves."""

    def describe(self, name: str) -> ModelDescription | None:
        """One model; None where nobody added one of that name."""

    def describe_all(self) -> Sequence[ModelDescription]:
        """All models."""
        ...

    async def infer(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None
    ) -> tuple[dict[str, Array], int]:
        """Outputs and the epoch that computed them; cancelling it ends the request on every node.

        Raises:
            EdgesplitError: It was refused or could not be completed.
        """
        ...


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
