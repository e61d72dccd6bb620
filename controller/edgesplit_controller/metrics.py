"""The controller's Prometheus page.

Owns: names and help of the metrics, read from the present state when asked. Its rule: no counters to keep in step; a
scrape shows what is. Not here: the HTTP route (`artifacts/artifact_server.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from edgesplit_controller.answering.serving.energy_report import energy_rows
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.storage.deployment_state import DeploymentState

__all__ = ["render_metrics"]


def render_metrics(
    registry: Registry,
    models: Mapping[str, ModelRecord],
    deployments: Mapping[str, DeploymentState],
    *,
    connected: bool,
    declined: Mapping[str, int],
    solved: Mapping[str, Mapping[str, int]],
    writable: bool = True,
    untrusted: Mapping[str, int] | None = None,
    ignored: Mapping[str, int] | None = None,
) -> bytes:
    """The page in Prometheus' text format."""
    page = CollectorRegistry()

    def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"edgesplit_controller_{name}", text, labels, registry=page)

    gauge("broker_connected", "Whether the broker answers").set(connected)
    gauge("store_writable", "Whether the controller's folder takes writes").set(writable)
    gauge("models", "Models that were added").set(len(models))
    online = gauge("node_online", "Whether the node's agent is connected", ("node",))
    for name, node in registry.nodes.items():
        online.labels(name).set(node.online and not node.refused)
    _show_steadiness(registry, gauge)
    _show_refused(untrusted or {}, ignored or {}, gauge)
    bandwidth = gauge("link_bandwidth_bytes_per_second", "Measured rate of a link", ("source", "target"))
    latency = gauge("link_latency_seconds", "Measured one-way latency of a link", ("source", "target"))
    for start, link in registry.links():
        bandwidth.labels(start, link.to).set(link.bandwidth_bytes_per_s if link.up else 0.0)
        latency.labels(start, link.to).set(link.latency_s)
    passed = gauge("replans_declined", "Plans made again and not taken, since the start", ("model",))
    for name, count in declined.items():
        passed.labels(name).set(count)
    made = gauge(
        "solves", "Problems solved since the start: plans, and fallbacks for a plan's nodes", ("model", "purpose")
    )
    for purpose, counts in solved.items():
        for name, count in counts.items():
            made.labels(name, purpose).set(count)
    epoch = gauge("epoch", "Epoch that serves", ("model",))
    predicted = gauge("plan_latency_seconds", "Predicted latency of the active plan", ("model",))
    energy = gauge("plan_energy_joules", "Predicted energy of the active plan", ("model",))
    low_s, high_s = (
        gauge(f"plan_latency_{end}_seconds", f"{word} end of the 90 % interval of the predicted latency", ("model",))
        for end, word in (("low", "Lower"), ("high", "Upper"))
    )
    low_j, high_j = (
        gauge(f"plan_energy_{end}_joules", f"{word} end of the 90 % interval of the predicted energy", ("model",))
        for end, word in (("low", "Lower"), ("high", "Upper"))
    )
    noise = gauge("plan_noise", "Predicted noise of the active plan", ("model",))
    solve = gauge("plan_solve_seconds", "Time the planner took for the active plan", ("model",))
    parts = ("model", "node", "part")
    foreseen = gauge("plan_node_energy_joules", "Predicted energy of a node per request", parts)
    spent = gauge(
        "request_node_energy_joules",
        "Energy of a node per served request; origin says how it is known",
        (*parts, "origin"),
    )
    for name, deployment in deployments.items():
        plan = deployment.active
        if plan is None:
            continue
        epoch.labels(name).set(plan.epoch.number)
        predicted.labels(name).set(plan.evaluation.timeline_s)
        energy.labels(name).set(plan.evaluation.energy_j)
        if (interval := plan.interval) is not None:
            for ends, pages in ((interval.latency_s, (low_s, high_s)), (interval.energy_j, (low_j, high_j))):
                for end, shown in zip(ends, pages, strict=True):
                    shown.labels(name).set(end)
        noise.labels(name).set(plan.evaluation.noise)
        solve.labels(name).set(plan.solve_s)
        for place, row in energy_rows(plan, registry.usage(name, plan.epoch.number)).items():
            foreseen.labels(name, place, "compute").set(row.predicted_compute_j)
            foreseen.labels(name, place, "transmit").set(row.predicted_transmit_j)
            if row.compute_j is not None and row.transmit_j is not None:
                spent.labels(name, place, "compute", row.compute_origin).set(row.compute_j)
                spent.labels(name, place, "transmit", row.transmit_origin).set(row.transmit_j)
    return generate_latest(page)


def _show_refused(
    untrusted: Mapping[str, int],
    ignored: Mapping[str, int],
    gauge: Callable[[str, str, tuple[str, ...]], Gauge],
) -> None:
    """How often somebody tried to be another, and how often what came was no message or cannot be true."""
    shown = (
        (
            untrusted,
            "untrusted_messages",
            "Messages that were not believed, by kind of topic, since the start",
            "topic",
        ),
        (ignored, "ignored_messages", "Messages that were malformed or cannot be true, since the start", "reason"),
    )
    for counts, name, text, label in shown:
        refused = gauge(name, text, (label,))
        for value, count in counts.items():
            refused.labels(value).set(count)


def _show_steadiness(registry: Registry, gauge: Callable[[str, str, tuple[str, ...]], Gauge]) -> None:
    """How steady the machines are that are online; what is not known is not shown."""
    spread = gauge(
        "node_steadiness_spread",
        "How much the time of the same work varies there, relative standard deviation, over seconds, minutes or pauses",
        ("node", "over"),
    )
    restless = gauge("node_restless", "1 where a node's machine is restless, 0 where steady", ("node",))
    stolen = gauge("node_stolen_ratio", "Share of the time of its cores that the hypervisor gave to others", ("node",))
    for name, node in registry.nodes.items():
        said = node.metrics.steadiness if node.metrics is not None and node.online else None
        if said is None or said.regime == "unknown":
            continue
        spread.labels(name, "seconds").set(said.seconds_spread)
        spread.labels(name, "minutes").set(said.minutes_spread)
        spread.labels(name, "pauses").set(said.rested_spread)
        restless.labels(name).set(said.regime == "restless")
        stolen.labels(name).set(said.stolen)
