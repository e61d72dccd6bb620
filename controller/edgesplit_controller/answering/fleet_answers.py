"""Answers about nodes and links.

Owns: the operations of `edgesplit.operations.fleet_operations`. Its rule: figures are passed on, never invented: what is
unknown is None. Not here: what a node's removal takes (`node_removal.py`), the nodes that models may use
(`goal_changes.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import assert_never

from edgesplit.control.figure_messages import LinkState
from edgesplit.operations.fleet_operations import (
    FleetOperation,
    LinkRow,
    ListLinks,
    ListNodes,
    NodeRemovedDocument,
    NodeRow,
    RemoveNode,
)
from edgesplit_controller.answering.node_removal import NodeRemoval
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.profiling_progress import failing_rows
from edgesplit_controller.fleet.registry import Registry

__all__ = ["FleetAnswers", "counted_links", "link_rows", "node_rows"]


class FleetAnswers:
    """All of them.

    Args:
        registry: The fleet.
        speeds: How profiles are corrected.
        removal: Forgets nodes.
        drained: Nodes that plans leave out, and since when. [s since the epoch]
        peers: Of each node: to which links are measured.
    """

    def __init__(
        self,
        registry: Registry,
        speeds: Speeds,
        removal: NodeRemoval,
        *,
        drained: Callable[[], Mapping[str, float]],
        peers: Callable[[str], frozenset[str]],
    ) -> None:
        self._registry = registry
        self._speeds = speeds
        self._removal = removal
        self._drained = drained
        self._peers = peers

    async def answer(self, asked: FleetOperation) -> list[NodeRow] | list[LinkRow] | NodeRemovedDocument:
        """Carry out an operation.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        match asked:
            case ListNodes():
                return node_rows(self._registry, self._speeds, self._drained(), time.time())
            case ListLinks():
                return link_rows(self._registry, counted_links(self._registry, self._peers))
            case RemoveNode():
                return await self._removal.remove(asked.name)
            case _:
                assert_never(asked)


def node_rows(registry: Registry, speeds: Speeds, drained: Mapping[str, float], now_unix_s: float) -> list[NodeRow]:
    """`splitctl nodes`."""
    rows: list[NodeRow] = []
    for name, node in registry.nodes.items():
        status, metrics = node.status, node.metrics if node.online else None
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
                speeds=speeds.rows(name),
                providers=status.providers,
                power_sensor=metrics.power_sensor if metrics is not None else None,
                power_problem=metrics.power_problem if metrics is not None else "",
                failing=failing_rows(node, registry.clock()),
                clock_offset_s=node.clock_offset_s,
                warnings=status.warnings if node.online else (),
                last_seen_s=registry.last_seen_s(name, now_unix_s),
                steadiness=metrics.steadiness if metrics is not None else None,
                insecure=status.insecure,
                drained_unix_s=drained.get(name),
                labels=dict(status.labels),
            )
        )
    return rows


def counted_links(registry: Registry, peers: Callable[[str], frozenset[str]]) -> set[tuple[str, str]]:
    """Sending and receiving node of every link between nodes that are connected now which is measured, or is to be.

    Args:
        registry: The fleet.
        peers: Of each node: to which links are to be measured.
    """
    online = frozenset(registry.online())
    measured = {(start, link.to) for start, link in registry.links()}
    return measured | {(start, end) for start in online for end in peers(start) & online}


def link_rows(registry: Registry, pairs: Collection[tuple[str, str]]) -> list[LinkRow]:
    """`splitctl links`: some directions between nodes that are connected now, those without a measurement too.

    Args:
        registry: The fleet.
        pairs: Sending and receiving node of each; a large fleet has many that nobody asks about.
    """
    measured = {(start, link.to): link for start, link in registry.links()}
    online = frozenset(registry.online())
    wanted = sorted((start, end) for start, end in pairs if {start, end} <= online)
    return [_link_row(registry, start, end, measured.get((start, end))) for start, end in wanted]


def _link_row(registry: Registry, start: str, end: str, link: LinkState | None) -> LinkRow:
    node = registry.node(start)
    reasons = {peer.to: peer.reason for peer in node.links.unreached} if node.links is not None else {}
    if link is None:
        why = reasons.get(end) or f"{start} has not measured it yet"
        return LinkRow(
            from_=start,
            to=end,
            bandwidth_bytes_per_s=None,
            latency_s=None,
            age_s=None,
            origin="missing",
            up=False,
            reason=why,
        )
    return LinkRow(
        from_=start,
        to=end,
        bandwidth_bytes_per_s=link.bandwidth_bytes_per_s,
        latency_s=link.latency_s,
        # What the sender said of the age, and how long ago that was: nobody's clock is held against another's.
        age_s=(link.age_s or 0.0) + registry.clock() - node.links_s,
        origin=link.origin,
        up=link.up,
        reason="" if link.up else reasons.get(end, ""),
        error=link.error or None,
        latency_error_s=link.latency_error_s or None,
    )
