"""Plans rolled out on live agents, each while the one before serves, and withdrawn, without a controller's choice.

Owns: driving the controller's own state machine (`rollout/steps.py`) with given plans, and when each step came. Its
rule: agents get what a controller would tell them, in the same order. Not here: which plans, the load.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench.live_plans import PREPARE_TIMEOUT_S, PlanPusher
from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, Deployment, Desired, EpochSpec
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.graph_refs import request_specs
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.rollout.desired_state import desired_states
from edgesplit_controller.rollout.steps import World, advance, begin
from edgesplit_controller.storage.rollout_state import Epoch, Rollout

__all__ = ["PlanRoller", "Switch"]


@dataclass(frozen=True)
class Switch:
    """When one change of plan came to each of its steps, on the monotonic clock. [s]

    Attributes:
        began_s: Nodes were told of the new plan.
        activated_s: The source was known to serve it.
        retired_s: The last request on the one before had ended, and no node holds it any more.
        abandoned: Why it never served, or empty.
        model: Whose plan it was.
    """

    epoch: int
    began_s: float
    activated_s: float
    retired_s: float
    abandoned: str = ""
    model: str = ""


class PlanRoller(PlanPusher):
    """Keeps models on agents, plan after plan; one changes at a time.

    Args:
        broker: URL of the broker the agents use.
        blobs: Served to them.
        port: Of the artifact server on loopback.
    """

    def __init__(self, broker: str, blobs: BlobStore, port: int) -> None:
        super().__init__(broker, blobs, port)
        self._rollouts: dict[str, Rollout] = {}
        self._specs: dict[str, Mapping[int, Mapping[str, EpochSpec]]] = {}
        self._deadline_s = 0.0

    async def roll_out(
        self, model: str, graph: ModelGraph, specs: Mapping[str, EpochSpec], local: EpochSpec | None = None
    ) -> Switch:
        """Prepare, activate, drain and retire.

        Args:
            model: Its name.
            graph: Tells inputs and outputs.
            specs: Node to its part; the epoch must be higher than any before.
            local: The plan that runs everything on the source, whose epoch is the same every time.
        """
        source = next(iter(specs.values())).source
        epoch = specs[source].epoch
        plan = Epoch(
            number=epoch,
            source=source,
            participants=tuple(sorted(specs)),
            local_fallback=None if local is None else local.epoch,
        )
        before = self._specs.get(model, {})
        self._specs[model] = {**before, epoch: specs} | ({} if local is None else {local.epoch: {source: local}})
        began_s = activated_s = time.monotonic()
        self._deadline_s = began_s + PREPARE_TIMEOUT_S
        rollout = self._rollouts.get(model, Rollout())
        self._rollouts[model] = begin(rollout, plan, begun_unix_s=time.time(), limit_s=PREPARE_TIMEOUT_S)
        while True:
            self._publish(model, graph)
            self._changed.clear()
            self._rollouts[model], notices = advance(self._rollouts[model], self._world(model))
            for notice in notices:
                if notice.kind == "abandoned":
                    self._publish(model, graph)
                    return Switch(epoch, began_s, activated_s, time.monotonic(), notice.reason, model)
                if notice.kind == "activated":
                    activated_s = time.monotonic()
            if self._rollouts[model].upcoming is None and not self._rollouts[model].retiring:
                break
            if not notices:
                await self._changed.wait()
        self._publish(model, graph)
        await self._until(lambda: self._holds(model, {epoch} | ({local.epoch} if local is not None else set())))
        kept = {plan.number, plan.local_fallback}
        self._specs[model] = {number: held for number, held in self._specs[model].items() if number in kept}
        return Switch(epoch, began_s, activated_s, time.monotonic(), model=model)

    async def withdraw(self, model: str) -> Switch:
        """Have every node let go of a model at once, as the controller does, and wait until none holds anything of it."""
        epoch, began_s = max(self._specs[model]), time.monotonic()
        self._bus.clear(DEPLOYMENT, model)
        for node in self._statuses:
            self._bus.clear(DESIRED, node, model)
            self._told.pop((node, model), None)
        del self._rollouts[model], self._specs[model]
        await self._until(lambda: self._holds(model, set()))
        return Switch(epoch, began_s, began_s, time.monotonic(), model=model)

    def _world(self, model: str) -> World:
        observed = {node: held for (node, of), held in self._observed.items() if of == model}
        gone = frozenset(node for node, status in self._statuses.items() if not status.online)
        return World(observed, gone, overdue=time.monotonic() >= self._deadline_s)

    def _holds(self, model: str, epochs: set[int]) -> bool:
        """Whether no node holds any other epoch."""
        return self._held(model) <= epochs

    def _publish(self, model: str, graph: ModelGraph) -> None:
        """Tell every node what it should hold; what nobody should is told too."""
        inputs, outputs = request_specs(graph, graph.inputs), request_specs(graph, graph.outputs)
        desired = desired_states(
            model,
            self._rollouts[model],
            lambda epoch, node: self._specs[model][epoch][node],
            inputs=inputs,
            outputs=outputs,
        )
        for node in self._statuses:
            if node not in desired:
                self._tell(Desired(node=node, model=model, inputs=inputs, outputs=outputs, epochs=()))
        for node, state in desired.items():
            if state.serve is not None:
                advertise = self._statuses[node].advertise
                deployment = Deployment(model=model, source=node, advertise=advertise, inputs=inputs, outputs=outputs)
                self._bus.publish(DEPLOYMENT, deployment, model)
            self._tell(state)

    def _tell(self, desired: Desired) -> None:
        topic = desired.node, desired.model
        if self._told.get(topic) != desired:
            self._told[topic] = desired
            self._bus.publish(DESIRED, desired, *topic)
