"""Sources of a blob in order of latency: peers and the controller.

Owns: the order of sources. Its rule: pure; nearest means least measured latency, and the controller stands among the
peers by its own. Not here: asking (`transfer.py`), the folder (`cache.py`).

A peer helps only where its HTTP endpoint can be reached: one that listens on its own loopback is passed over, unless all
nodes live on this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgesplit.control.figure_messages import LinkState
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.wire.address import host_of, is_loopback

__all__ = ["CONTROLLER", "Source", "in_order", "peer_sources"]

CONTROLLER = "controller"
"""Name of the controller as a source. No node can have it: its blobs come from the intake of the model itself."""
ASKED_PEERS = 3
"""At most so many, the nearest, are asked what they hold."""


@dataclass(frozen=True)
class Source:
    """Who may have blobs.

    Attributes:
        name: Of the node, or `CONTROLLER`.
        url: Its base, without a slash at its end.
        is_peer: Whether it is a node; only a peer may turn out to lie.
        latency_s: One way, measured; None where unknown. [s]
    """

    name: str
    url: str
    is_peer: bool
    latency_s: float | None = None


def peer_sources(
    nodes: Iterable[NodeStatus], links: Iterable[LinkState], advertise: str, *, secured: bool = False
) -> tuple[Source, ...]:
    """Peers that can be asked, nearest first.

    Args:
        nodes: Online nodes but this one.
        links: Those that leave this node, as measured.
        advertise: This node's own data-plane address.
        secured: Whether peers are asked over TLS; an endpoint on loopback speaks none then, and gives no blobs.
    """
    latency_s = {link.to: link.latency_s for link in links if link.up}
    one_machine = is_loopback(host_of(advertise)) and not secured
    scheme = "https" if secured else "http"
    sources = [
        Source(node.node, f"{scheme}://{node.http}", True, latency_s[node.node])
        for node in nodes
        if node.http and node.node in latency_s and (one_machine or not is_loopback(host_of(node.http)))
    ]
    return tuple(sorted(sources, key=lambda source: (source.latency_s or 0.0, source.name)))


def in_order(peers: Sequence[Source], controller: Source | None) -> tuple[Source, ...]:
    """The nearest peers and the controller, by latency; a controller of unknown latency comes last."""
    asked = peers[:ASKED_PEERS]
    if controller is None:
        return tuple(asked)
    if controller.latency_s is None:
        return (*asked, controller)
    limit_s = controller.latency_s
    nearer = [peer for peer in asked if peer.latency_s is not None and peer.latency_s < limit_s]
    return (*nearer, controller, *(peer for peer in asked if peer not in nearer))
