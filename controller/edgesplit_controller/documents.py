"""The documents that splitctl prints, from what the controller knows.

Owns: their building. Its rule: pure; figures are passed on, never invented: what is unknown is None. Not here: the
types (`edgesplit.requests`), handling requests (`operations.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import msgspec

from edgesplit.messages import Usage
from edgesplit.requests import (
    ComponentRow,
    GoalsDocument,
    LinkRow,
    MeasuredDocument,
    ModelAddedDocument,
    ModelDocument,
    NodeRow,
    NodeShare,
    PlanDocument,
)

if TYPE_CHECKING:
    from edgesplit_controller.deployment.state import DeploymentState, PlanRecord
    from edgesplit_controller.models.record import ModelRecord
    from edgesplit_controller.registry import Registry

__all__ = ["added_document", "link_rows", "measured_document", "model_document", "node_rows", "plan_document"]


def node_rows(registry: Registry) -> list[NodeRow]:
    """`splitctl nodes`."""
    rows: list[NodeRow] = []
    for name, node in registry.nodes.items():
        status, metrics = node.status, node.metrics
        if status is None:
            continue
        rows.append(
            NodeRow(
                name=name,
                online=node.online,
                advertise=status.advertise,
                cpu_percent=metrics.cpu_percent if metrics is not None else None,
                memory_available_bytes=metrics.memory_available_bytes if metrics is not None else None,
                compute_w=metrics.compute_w if metrics is not None else None,
                transmit_w=metrics.transmit_w if metrics is not None else None,
                power_origin=metrics.power_origin if metrics is not None else None,
                version=status.version,
                runtime=status.runtime,
                emulated=status.emulated,
                refused=node.refused,
            )
        )
    return rows


def link_rows(registry: Registry, now_unix_s: float) -> list[LinkRow]:
    """`splitctl links`: between nodes that are connected now."""
    return [
        LinkRow(
            from_=start,
            to=link.to,
            bandwidth_bytes_per_s=link.bandwidth_bytes_per_s,
            latency_s=link.latency_s,
            age_s=max(0.0, now_unix_s - link.measured_at_unix_s),
            origin=link.origin,
            up=link.up,
        )
        for start, link in registry.links()
    ]


def added_document(record: ModelRecord, registry: Registry, warnings: Sequence[str]) -> ModelAddedDocument:
    """`splitctl model add`."""
    manifest = record.manifest
    return ModelAddedDocument(
        name=record.name,
        sha256=record.sha256,
        operators=len(record.graph.operators),
        units=len(record.graph.units),
        tensors=len(record.graph.tensors),
        quantizable=manifest.quantizable,
        noise_model=manifest.noise_report,
        warnings=(*manifest.warnings, *warnings),
        profiled=registry.profiled(record.name, record.sha256),
    )


def model_document(
    record: ModelRecord, registry: Registry, deployment: DeploymentState | None, goals: GoalsDocument
) -> ModelDocument:
    """`splitctl model list` and `model show`."""
    active = deployment.rollout.active if deployment is not None else None
    manifest = record.manifest
    return ModelDocument(
        name=record.name,
        sha256=record.sha256,
        operators=len(record.graph.operators),
        units=len(record.graph.units),
        tensors=len(record.graph.tensors),
        quantizable=manifest.quantizable,
        noise_model=manifest.noise_report,
        inputs=record.inputs,
        outputs=record.outputs,
        weight_bytes=record.weight_bytes,
        deployed=active is not None,
        source=active.source if active is not None else None,
        epoch=active.epoch if active is not None else None,
        profiled=registry.profiled(record.name, record.sha256),
        goals=goals,
        warnings=manifest.warnings,
    )


def plan_document(plan: PlanRecord, usage: Sequence[Usage], serving: int | None) -> PlanDocument:
    """`splitctl plan`."""
    evaluation, assignment = plan.evaluation, plan.assignment
    return PlanDocument(
        model=plan.problem.model,
        epoch=plan.plan.epoch,
        status=plan.status,
        latency_s=evaluation.timeline_s,
        energy_j=evaluation.energy_j,
        device_energy_j=evaluation.device_energy_j,
        noise=evaluation.noise,
        score=plan.score,
        gap=plan.gap,
        per_node=_per_node(plan),
        components=tuple(
            ComponentRow(
                id=component.id,
                node=component.node,
                operators=component.operators,
                inputs=component.inputs,
                outputs=component.outputs,
            )
            for component in evaluation.components
        ),
        quantized=tuple(sorted(assignment.quantized)),
        codecs=dict(assignment.codecs),
        timeline=tuple(msgspec.to_builtins(evaluation.timeline)),
        solve_s=plan.solve_s,
        reason=plan.reason,
        source=plan.plan.source,
        goals=plan.goals,
        measured=measured_document(usage, plan.plan.source),
        serving=serving,
    )


def measured_document(usage: Sequence[Usage], source: str) -> MeasuredDocument:
    """Means per request over all nodes that took part.

    Args:
        usage: One entry a node, of the same epoch.
        source: Counts requests and latency.
    """
    at_source = next((entry for entry in usage if entry.node == source), None)
    if at_source is None or at_source.requests == 0:
        failed = at_source.failed if at_source is not None else 0
        return MeasuredDocument(
            requests=0, failed=failed, latency_s=None, energy_j=None, device_energy_j=None, energy_origin=None
        )
    # Each node counts since it prepared the epoch, and reports at its own moment: per-node means are comparable.
    energy_j = sum(entry.energy_j / entry.requests for entry in usage if entry.requests > 0)
    origins = {entry.energy_origin for entry in usage if entry.requests > 0}
    return MeasuredDocument(
        requests=at_source.requests,
        failed=at_source.failed,
        latency_s=at_source.latency_sum_s / at_source.requests,
        energy_j=energy_j,
        device_energy_j=at_source.energy_j / at_source.requests,
        energy_origin=_weakest(origins),
    )


def _weakest(origins: Collection[str]) -> str:
    """The least trustworthy origin; a sum is measured only if every part of it is."""
    return next(origin for origin in ("modelled", "configured", "measured") if origin in origins)


def _per_node(plan: PlanRecord) -> dict[str, NodeShare]:
    counts = {node.name: [0, 0, 0] for node in plan.problem.nodes}
    for operator in plan.problem.operators:
        count = counts[plan.assignment.node_of[operator.name]]
        count[0] += len(operator.listed)
        count[2] += operator.name in plan.assignment.quantized
    for component in plan.evaluation.components:
        counts[component.node][1] += 1
    return {
        name: NodeShare(operators=operators, components=components, quantized=quantized)
        for name, (operators, components, quantized) in counts.items()
    }
