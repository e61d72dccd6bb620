"""Metrics of nodes and links, as the controller heard of them.

Owns: these families. Its rule: what is not known is not shown; what a node said before it left is not shown either, but for
whether it is there. Not here: what agents show of themselves (their own pages).
"""

from __future__ import annotations

from edgesplit.control.figure_messages import NodeMetrics
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.monitoring.families import Page

__all__ = ["show_links", "show_nodes"]


def show_nodes(page: Page, registry: Registry) -> None:
    """Which nodes there are, what they draw, hold and have free."""
    online = page.gauge("node_online", "Whether the node's agent is connected", ("node",))
    about = page.gauge("node_info", "What runs on a node", ("node", "version"))
    for name, node in registry.nodes.items():
        online.add_metric((name,), node.online and not node.refused)
        if node.status is not None:
            about.add_metric((name, node.status.version), 1)
    said = {name: node.metrics for name, node in registry.nodes.items() if node.online and node.metrics is not None}
    _show_power(page, said)
    _show_load(page, said)
    _show_steadiness(page, said)


def show_links(page: Page, registry: Registry) -> None:
    """Links between nodes that are there, as their senders measured them."""
    pair = ("source", "target")
    up = page.gauge("link_up", "Whether the peer answers", pair)
    bandwidth = page.gauge("link_bandwidth_bytes_per_second", "Measured rate of a link; 0 while it is down", pair)
    latency = page.gauge("link_latency_seconds", "Measured one-way latency of a link", pair)
    scatter = page.gauge(
        "link_bandwidth_scatter", "Relative standard deviation of one measurement of the rate of a link", pair
    )
    for start, link in registry.links():
        up.add_metric((start, link.to), link.up)
        bandwidth.add_metric((start, link.to), link.bandwidth_bytes_per_s if link.up else 0.0)
        latency.add_metric((start, link.to), link.latency_s)
        scatter.add_metric((start, link.to), link.scatter)


def _show_power(page: Page, said: dict[str, NodeMetrics]) -> None:
    power = page.gauge(
        "node_power_watts",
        "Power: drawn now and idle, as a sensor reads them; of compute and of transmit, as plans count them; origin says how it "
        "is known",
        ("node", "part", "origin"),
    )
    battery = page.gauge("node_battery_ratio", "How full a node's battery is", ("node",))
    for name, metrics in said.items():
        parts = (
            ("compute", metrics.compute_w, metrics.power_origin),
            ("transmit", metrics.transmit_w, "configured"),
            ("idle", metrics.idle_w, metrics.idle_origin or metrics.power_origin),
            ("drawn", metrics.drawn_w, metrics.power_origin),
        )
        for part, watts, origin in parts:
            if watts is not None:
                power.add_metric((name, part, origin), watts)
        if metrics.battery_fraction is not None:
            battery.add_metric((name,), metrics.battery_fraction)


def _show_load(page: Page, said: dict[str, NodeMetrics]) -> None:
    busy = page.gauge("node_cpu_ratio", "Load of all cores of a node together", ("node",))
    free = page.gauge("node_memory_available_bytes", "What programs on a node may still get", ("node",))
    for name, metrics in said.items():
        busy.add_metric((name,), metrics.cpu_percent / 100)
        free.add_metric((name,), metrics.memory_available_bytes)


def _show_steadiness(page: Page, said: dict[str, NodeMetrics]) -> None:
    """How steady the machines are."""
    spread = page.gauge(
        "node_steadiness_spread",
        "How much the time of the same work varies there, relative standard deviation, over seconds, minutes or pauses",
        ("node", "over"),
    )
    restless = page.gauge("node_restless", "1 where a node's machine is restless, 0 where steady", ("node",))
    stolen = page.gauge(
        "node_stolen_ratio", "Share of the time of its cores that the hypervisor gave to others", ("node",)
    )
    for name, metrics in said.items():
        steadiness = metrics.steadiness
        if steadiness is None or steadiness.regime == "unknown":
            continue
        spread.add_metric((name, "seconds"), steadiness.seconds_spread)
        spread.add_metric((name, "minutes"), steadiness.minutes_spread)
        spread.add_metric((name, "pauses"), steadiness.rested_spread)
        restless.add_metric((name,), steadiness.regime == "restless")
        stolen.add_metric((name,), steadiness.stolen)
