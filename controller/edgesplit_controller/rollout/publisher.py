"""Publisher of desired state: tells nodes what changed of what they should hold, and requests where to go.

Owns: what was told last. Its rule: what nodes should hold is derived from a deployment, never edited, and only differences
are told; the source's address first, so that requests know where to go. Not here: the derivation
(`rollout/desired_state.py`), MQTT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from edgesplit.control.plan_messages import Deployment, Desired, Shadowing
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.rollout.desired_state import desired_states
from edgesplit_controller.storage.deployment_state import DeploymentState, PlanRecord

__all__ = ["Outbox", "StatePublisher"]


class Outbox(Protocol):
    """Where desired state goes."""

    def publish_desired(self, desired: Desired) -> None:
        """What a node should hold of a model."""

    def clear_desired(self, node: str, model: str) -> None:
        """A node should hold nothing of a model."""

    def publish_deployment(self, deployment: Deployment) -> None:
        """Who the source of a model is."""

    def clear_deployment(self, model: str) -> None:
        """A model has no source any more."""


@dataclass
class _Told:
    """What was told of a model.

    Attributes:
        desired: By node.
        deployment: Where requests go; None where nobody was told.
    """

    desired: dict[str, Desired] = field(default_factory=dict[str, Desired])
    deployment: Deployment | None = None


class StatePublisher:
    """Tells of all models.

    Args:
        outbox: Where it goes.
        registry: Addresses of the nodes.
        shadowing: What the source of a model's plan is asked to check.
    """

    def __init__(
        self, outbox: Outbox, registry: Registry, shadowing: Callable[[str, PlanRecord], Shadowing | None]
    ) -> None:
        self._outbox = outbox
        self._registry = registry
        self._shadowing = shadowing
        self._models: dict[str, _Told] = {}

    def publish(self, model: str, deployment: DeploymentState) -> None:
        """Tell nodes what changed."""
        self.announce(model, deployment)
        told, desired = self._told(model), self._desired(model, deployment)
        for node in sorted(told.desired.keys() - desired.keys()):
            self._outbox.clear_desired(node, model)
        for node, state in desired.items():
            if told.desired.get(node) != state:
                self._outbox.publish_desired(state)
        told.desired = desired

    def announce(self, model: str, deployment: DeploymentState) -> None:
        """Tell where requests go, where the source has another address than was told."""
        active, told = deployment.active, self._told(model)
        if active is None:
            return
        status = self._registry.node(deployment.source).status
        known = active.specs[deployment.source].participants[deployment.source]
        if told.deployment is not None and told.deployment.source == deployment.source:
            known = told.deployment.advertise
        announced = Deployment(
            model=model,
            source=deployment.source,
            # The last will of an agent that vanished names no address.
            advertise=status.advertise if status is not None and status.online and status.advertise else known,
            inputs=deployment.inputs,
            outputs=deployment.outputs,
        )
        if announced != told.deployment:
            told.deployment = announced
            self._outbox.publish_deployment(announced)

    def clear(self, model: str) -> None:
        """Have every node let go of a model, and requests go nowhere."""
        self._outbox.clear_deployment(model)
        for node in sorted({*self._told(model).desired, *self._registry.nodes}):
            self._outbox.clear_desired(node, model)
        self._models.pop(model)

    def forget_node(self, node: str) -> None:
        """What was told to a node was removed from the broker."""
        for told in self._models.values():
            told.desired.pop(node, None)

    def withdraw_again(self, node: str, model: str) -> None:
        """Tell a node once more that it should hold nothing of a model, unless it should."""
        told = self._models.get(model)
        if told is None or node not in told.desired:
            self._outbox.clear_desired(node, model)

    def _desired(self, model: str, deployment: DeploymentState) -> dict[str, Desired]:
        def shadowing(epoch: int) -> Shadowing | None:
            plan = deployment.plans.get(epoch)
            return self._shadowing(model, plan) if plan is not None else None

        return desired_states(
            model,
            deployment.rollout,
            deployment.spec,
            inputs=deployment.inputs,
            outputs=deployment.outputs,
            shadowing=shadowing,
        )

    def _told(self, model: str) -> _Told:
        return self._models.setdefault(model, _Told())
