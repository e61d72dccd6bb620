"""Served models and nodes as they are now, for `status` and `top`.

Owns: these rows. Its rule: figures are passed on, never invented. Not here: what is wrong (`problems.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgesplit.control.figure_messages import Usage
from edgesplit.names import base_name
from edgesplit.operations.inspection.status_operations import (
    ActiveModelRow,
    ActiveNodeRow,
    ActivityDocument,
    NodeState,
    NodeStateRow,
    ServedRow,
)
from edgesplit_controller.answering.fleet_answers import counted_links, link_rows
from edgesplit_controller.answering.plan_documents import measured_document
from edgesplit_controller.fleet.registry import FleetNode, Registry
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.deployment_state import DeploymentState, PlanRecord, active_plans

__all__ = [
    "FleetNow",
    "active_models",
    "activity_document",
    "answering_epoch",
    "is_fallback",
    "node_state",
    "node_state_rows",
    "served_rows",
    "used_links",
]


@dataclass(frozen=True)
class FleetNow:
    """What rows are made of.

    Attributes:
        peers: Of each node: to which links are measured.
    """

    registry: Registry
    catalog: Catalog
    rollouts: Rollouts
    traffic: Traffic
    peers: Callable[[str], frozenset[str]]

    @property
    def deployments(self) -> Mapping[str, DeploymentState]:
        """By name."""
        return self.rollouts.state.deployments


def node_state(node: FleetNode) -> NodeState:
    """Whether an agent is connected, and used."""
    if not node.online:
        return "offline"
    return "refused" if node.refused else "online"


def node_state_rows(now: FleetNow, now_unix_s: float) -> Iterator[NodeStateRow]:
    """Every node that ever registered."""
    for name, node in now.registry.nodes.items():
        yield NodeStateRow(name=name, state=node_state(node), last_seen_s=now.registry.last_seen_s(name, now_unix_s))


def answering_epoch(now: FleetNow, name: str, source: str) -> int | None:
    """The plan that answers requests of a deployment now; a source that is away answers none."""
    node = now.registry.node(source)
    return now.rollouts.serving(name) if node.online and not node.refused else None


def served_rows(now: FleetNow) -> Iterator[ServedRow]:
    """Every model that was added, and every deployment of it."""
    deployed = {base_name(name) for name in now.deployments}
    for name in sorted({*now.catalog.records, *now.deployments}):
        deployment = now.deployments.get(name)
        if deployment is not None:
            yield _served_row(now, name, deployment)
        elif base_name(name) == name and name not in deployed:
            yield ServedRow(name=name, serving=False, epoch=None, requests_per_s=0.0, latency_p50_s=None, failed=0)


def _served_row(now: FleetNow, name: str, deployment: DeploymentState) -> ServedRow:
    source, active = deployment.source, deployment.active
    epoch = answering_epoch(now, name, source)
    spent = None if active is None else _at_source(now, name, active)
    return ServedRow(
        name=name,
        serving=epoch is not None,
        epoch=epoch,
        requests_per_s=now.traffic.lately_per_s(source, name),
        latency_p50_s=None if spent is None else spent.latency_p50_s,
        failed=0 if spent is None else spent.failed,
        source=source,
        on_fallback=is_fallback(deployment, epoch),
    )


def is_fallback(deployment: DeploymentState, epoch: int | None) -> bool:
    """Whether what answers stands in for the plan that is wanted."""
    local = {plan.local_fallback for plan in deployment.rollout.epochs}
    return epoch is not None and epoch in {*local, *(plan.number for plan in deployment.rollout.fallbacks)}


def activity_document(now: FleetNow, now_unix_s: float) -> ActivityDocument:
    """`splitctl top`."""
    plans = dict(active_plans(now.deployments))
    used = set(used_links(now))
    down = {(start, link.to) for start, link in now.registry.links() if not link.up}
    shown = tuple(link_rows(now.registry, used | down))
    return ActivityDocument(
        at_unix_s=now_unix_s,
        models=tuple(active_models(now)),
        nodes=tuple(_active_node(now, name, node, plans) for name, node in now.registry.nodes.items()),
        links=shown,
        other_links=len(counted_links(now.registry, now.peers)) - len(shown),
    )


def used_links(now: FleetNow) -> dict[tuple[str, str], str]:
    """From which node to which an active plan sends, and the deployment that does; of several the last."""
    return {
        (entry.source, entry.target): name
        for name, plan in active_plans(now.deployments)
        for entry in plan.evaluation.timeline
        if entry.source is not None and entry.target is not None
    }


def active_models(now: FleetNow) -> Iterator[ActiveModelRow]:
    """Every deployment that has a plan, by name."""
    for name, plan in sorted(active_plans(now.deployments)):
        yield _active_model(now, name, plan)


def _active_model(now: FleetNow, name: str, plan: PlanRecord) -> ActiveModelRow:
    source, spent = plan.epoch.source, _at_source(now, name, plan)
    measured = measured_document(now.registry.usage(name, plan.epoch.number), source)
    return ActiveModelRow(
        name=name,
        source=source,
        epoch=answering_epoch(now, name, source),
        requests_per_s=now.traffic.lately_per_s(source, name),
        latency_p50_s=None if spent is None else spent.latency_p50_s,
        predicted_latency_s=plan.evaluation.timeline_s,
        energy_j=measured.energy_j,
        predicted_energy_j=plan.evaluation.energy_j,
        energy_origin=measured.energy_origin,
        failed=measured.failed,
        nodes=plan.epoch.participants,
        latency_p95_s=None if spent is None else spent.latency_p95_s,
        latency_p99_s=None if spent is None else spent.latency_p99_s,
    )


def _active_node(now: FleetNow, name: str, node: FleetNode, plans: Mapping[str, PlanRecord]) -> ActiveNodeRow:
    metrics = node.metrics if node.online else None
    return ActiveNodeRow(
        name=name,
        state=node_state(node),
        cpu_percent=None if metrics is None else metrics.cpu_percent,
        memory_available_bytes=None if metrics is None else metrics.memory_available_bytes,
        drawn_w=None if metrics is None else metrics.drawn_w,
        serving_w=now.traffic.watts(name, without=""),
        battery_fraction=None if metrics is None else metrics.battery_fraction,
        models=tuple(sorted(model for model, plan in plans.items() if name in plan.epoch.participants)),
    )


def _at_source(now: FleetNow, name: str, plan: PlanRecord) -> Usage | None:
    """What a plan's source counted; None before it served."""
    usage = now.registry.usage(name, plan.epoch.number)
    return next((entry for entry in usage if entry.node == plan.epoch.source), None)
