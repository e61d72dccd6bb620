"""Timed components, beside what the nodes' profiles say of them.

Owns: finding the operators of a component that a node names by epoch and number, and the profile's seconds of them. Its
rule: components are those that were cut, not those that later figures would make. Not here: what the difference says
(`fleet/estimation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from edgesplit.control.profile_messages import ComponentTiming, ExecutionProfile
from edgesplit.names import planned_name
from edgesplit.planning.plan import Assignment, Component
from edgesplit_controller.fleet.estimation.observations import PartRan
from edgesplit_controller.fleet.unit_times import component_key, unit_seconds
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.storage.deployment_state import DeploymentState

__all__ = ["TimedComponents"]

KEPT = 512
"""Epochs and nodes whose components are remembered; they are found again in a few milliseconds."""


class TimedComponents:
    """Components of all plans and fallbacks that nodes hold.

    Args:
        deployments: By model.
    """

    def __init__(self, deployments: Callable[[], Mapping[str, DeploymentState]]) -> None:
        self._deployments = deployments
        self._found: dict[tuple[str, str, int], tuple[ExecutionProfile, dict[int, PartRan]]] = {}

    def timed(
        self, node: str, record: ModelRecord, profile: ExecutionProfile, timings: Sequence[ComponentTiming]
    ) -> Iterator[PartRan]:
        """What a node said of components, beside the profile; those of epochs nobody knows are left out."""
        for timing in timings:
            stated = self._of(node, record, timing.epoch, profile).get(timing.component)
            if stated is not None and timing.samples:
                yield msgspec.structs.replace(stated, samples=timing.samples)
            elif stated is not None:  # an agent that says means alone
                yield msgspec.structs.replace(stated, samples=(timing.recent_s,), runs=timing.runs)

    def forget_model(self, model: str) -> None:
        """A model is gone."""
        self._found = {key: found for key, found in self._found.items() if planned_name(key[1]) != model}

    def _of(self, node: str, record: ModelRecord, epoch: int, profile: ExecutionProfile) -> dict[int, PartRan]:
        """A node's components in one epoch, by number; nothing is measured in them."""
        known = self._found.get((node, record.name, epoch))
        if known is not None and known[0] is profile:
            return known[1]
        deployment = self._deployments().get(record.name)
        cut = _cut(record, deployment, epoch) if deployment is not None else None
        if cut is None or any(unit.name not in cut[0].node_of for unit in record.graph.units):
            return {}  # nobody knows it, or it was made with other units of the same model
        found = _stated(record, profile, node, *cut)
        if len(self._found) >= KEPT:
            self._found.clear()
        self._found[node, record.name, epoch] = profile, found
        return found


def _cut(
    record: ModelRecord, deployment: DeploymentState, epoch: int
) -> tuple[Assignment, tuple[Component, ...]] | None:
    """Where an epoch puts what, and the components it was cut into; None for one of another model or time."""
    plan = deployment.plans.get(epoch)
    if plan is not None and record.fits(plan.version):
        return plan.assignment, plan.components or plan.evaluation.components
    fallback = deployment.fallbacks.get(epoch)
    if fallback is not None and fallback.sha256 == record.sha256:
        return fallback.assignment, fallback.components
    for local in deployment.local_fallbacks:
        if local.epoch == epoch and local.sha256 == record.sha256:
            graph = record.graph
            operators = tuple(operator.name for operator in graph.operators)
            whole = Component(id=0, node=local.source, operators=operators, inputs=graph.inputs, outputs=graph.outputs)
            return Assignment(dict.fromkeys((unit.name for unit in graph.units), local.source)), (whole,)
    return None


def _stated(
    record: ModelRecord,
    profile: ExecutionProfile,
    node: str,
    assignment: Assignment,
    components: Sequence[Component],
) -> dict[int, PartRan]:
    """What a profile says of every component of a node, by number."""
    graph = record.graph
    taken_s = unit_seconds(graph, record.manifest.quantizable, {node: profile}, assignment)
    stated: dict[int, PartRan] = {}
    for component in components:
        if component.node != node:
            continue
        units = {graph.unit_of[name] for name in component.operators}
        in_int8 = units & assignment.quantized
        stated[component.id] = PartRan(
            key=component_key(graph, assignment, component),
            float_s=sum(taken_s[unit] for unit in units - in_int8),
            int8_s=sum(taken_s[unit] for unit in in_int8),
            samples=(),
        )
    return stated
