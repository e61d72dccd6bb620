"""What the controller publishes for nodes: models to profile, plans to hold, peers, who the source of a model is.

Owns: which topic each goes to, and what is removed with a model. Its rule: it only publishes, whoever calls it decides. Not here:
the connection (`edgesplit.mqtt.bus`), the controller's registration (`service.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgesplit.control.inquiry_messages import INQUIRY, Inquiry
from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, Deployment, Desired
from edgesplit.control.profile_messages import MODEL_OFFER, PROFILE_REQUEST, ModelOffer, ProfileRequest
from edgesplit.control.registration_messages import NODE_PEERS, NodePeers
from edgesplit.mqtt.bus import MessageBus
from edgesplit.topic_table import written_by

__all__ = ["BusOutbox"]


class BusOutbox:
    """The port of catalog, roll-outs, links, profiling and inquiries to the bus.

    Args:
        bus: Where it is published.
        nodes: Every node that ever registered.

    Attributes:
        on_offer: Called when a model comes, changes or goes.
    """

    def __init__(self, bus: MessageBus, nodes: Callable[[], Iterable[str]]) -> None:
        self._bus = bus
        self._nodes = nodes
        self.on_offer: Callable[[], None] = _nobody

    def publish_desired(self, desired: Desired) -> None:
        """What a node should hold of a model."""
        self._bus.publish(DESIRED, desired, desired.node, desired.model)

    def clear_desired(self, node: str, model: str) -> None:
        """A node should hold nothing of a model."""
        self._bus.clear(DESIRED, node, model)

    def publish_deployment(self, deployment: Deployment) -> None:
        """Who the source of a model is."""
        self._bus.publish(DEPLOYMENT, deployment, deployment.model)

    def clear_deployment(self, model: str) -> None:
        """A model has no source any more."""
        self._bus.clear(DEPLOYMENT, model)

    def publish_peers(self, node: str, peers: tuple[str, ...]) -> None:
        """To which nodes a node keeps links."""
        self._bus.publish(NODE_PEERS, NodePeers(node=node, peers=peers), node)

    def publish_offer(self, offer: ModelOffer) -> None:
        """Every node should profile a model."""
        self._bus.publish(MODEL_OFFER, offer, offer.model)
        self.on_offer()

    def ask_profile(self, node: str, request: ProfileRequest) -> None:
        """A node should measure a model once more."""
        self._bus.publish(PROFILE_REQUEST, request, node)

    def inquire(self, node: str, inquiry: Inquiry) -> None:
        """A node should tell something."""
        self._bus.publish(INQUIRY, inquiry, node)

    def clear_offer(self, model: str) -> None:
        """A model is gone, and with it what offline nodes reported on it."""
        self._bus.clear(MODEL_OFFER, model)
        self.on_offer()
        for node in self._nodes():
            for row in written_by("agent"):
                # Nodes' own topics: repeated after a reconnect, this would remove what they say of a later model.
                if row.lives_with is not None:
                    self._bus.wipe(row.of(node, model))


def _nobody() -> None:
    """Nobody wants to know yet."""
