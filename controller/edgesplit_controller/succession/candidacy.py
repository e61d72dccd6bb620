"""Candidacy: a controller that does not serve yet holds the controller's name at the broker, or waits for it.

Owns: this connection and what it hears of the fleet. Its rule: while another controller holds the name nothing is published but
claims; the name is held from the moment it becomes this one's until a service holds it under the same instance, so that nobody
comes between a look at the fleet and what follows from it. Not here: what follows (`takeover.py`), who is right about a name
(`edgesplit.mqtt.name_registration`).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from typing import TypeVar

from edgesplit.control.archive_messages import ARCHIVE, KEPT_ARCHIVE, Archive, KeptArchive
from edgesplit.control.plan_messages import OBSERVED, Observed
from edgesplit.control.registration_messages import (
    CONTROLLER_CLAIM,
    CONTROLLER_STATUS,
    NODE_STATUS,
    ControllerStatus,
    NodeStatus,
)
from edgesplit.errors import NameTaken
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.name_claim import Registered
from edgesplit.mqtt.signed.sealing import Sealing
from edgesplit.release import PROTOCOL, installed_version
from edgesplit_controller.succession.takeover import FleetView

__all__ = ["Candidacy"]

K = TypeVar("K")
V = TypeVar("V")
SETTLE_S = 1.5
"""What the broker retained, and what nodes repeat to a broker that lost its memory, needs a moment to arrive. [s]"""
MOST_NAMES = 20_000
"""Of nodes, and of nodes' deployments, that are listened to: who may write to the broker can write any number."""


class Candidacy:
    """One controller's.

    Args:
        broker: Where the name is claimed.
        instance: Under which the service will hold the name.
        sealing: Signs claims and judges what arrives, in a fleet with an authority.
        stands_by: Wait while another holds the name; else that is an error.
        refusal: The sentence that says who holds it, given where.

    Attributes:
        rival: The sentence that says who holds the name; empty where nobody else does.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        instance: str,
        *,
        sealing: Sealing | None,
        stands_by: bool,
        refusal: Callable[[str], str],
    ) -> None:
        self.rival = ""
        self._instance = instance
        self._stands_by = stands_by
        self._broker_archive: Archive | None = None
        self._kept: dict[str, Archive] = {}
        self._nodes: dict[str, NodeStatus] = {}
        self._observed: dict[tuple[str, str], Observed] = {}
        self._held = asyncio.Event()
        self._taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bus = MessageBus(
            broker,
            client_id=f"edgesplit-candidate-{secrets.token_hex(8)}",
            will=(CONTROLLER_STATUS.of(), _status(instance, online=False)),
            sealing=sealing,
            registered=Registered(
                CONTROLLER_STATUS.of(),
                CONTROLLER_CLAIM.of(),
                instance,
                refusal,
                standby=socket.gethostname()[:100] if stands_by else "",
            ),
            on_connection=self._on_connection,
            on_refused=self._on_refused,
        )
        self._bus.subscribe(ARCHIVE, self._on_archive)
        self._bus.subscribe(KEPT_ARCHIVE, self._on_kept)
        self._bus.subscribe(NODE_STATUS, self._on_node)
        self._bus.subscribe(OBSERVED, self._on_observed)
        # What answers the claims of others; it is said once the name is held.
        self._bus.publish(CONTROLLER_STATUS, _status(instance, online=True))

    @property
    def fault(self) -> str:
        """Why there is no connection to the broker; empty while nothing is known."""
        return "" if self.rival else self._bus.fault

    async def held(self) -> None:
        """Wait until the name is held and what the broker keeps has arrived, however long that takes.

        Raises:
            NameTaken: Another controller holds it, and this one does not stand by.
        """
        self._bus.start()
        holding = asyncio.create_task(self._first_held())
        try:
            done, _ = await asyncio.wait({holding, self._taken}, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            holding.cancel()
        await asyncio.sleep(SETTLE_S)

    async def _first_held(self) -> None:
        await self._held.wait()

    @property
    def holds(self) -> bool:
        """Whether the name is this one's now."""
        return self._held.is_set()

    def view(self) -> FleetView:
        """What is known of the fleet now."""
        archive = self._broker_archive
        kept = [one for one in self._kept.values() if not one.is_empty]
        if kept and (archive is None or archive.is_empty):
            # The broker lost its memory, and perhaps heard of an empty store since: the last list that a node kept whole.
            archive = max(kept, key=lambda one: one.order)
        there = tuple(node for _, node in sorted(self._nodes.items()) if node.online and node.http)
        return FleetView(archive=archive, nodes=there, observed=dict(self._observed))

    async def close(self, *, served: bool) -> None:
        """Leave the name; `served`: to a service that holds it under the same instance."""
        if not served and self._held.is_set():
            self._bus.publish(CONTROLLER_STATUS, _status(self._instance, online=False))
        await self._bus.close()

    def _on_connection(self, up: bool, _reason: str) -> None:
        if up:
            self.rival = ""
            self._held.set()
        else:
            self._held.clear()

    def _on_refused(self, sentence: str) -> None:
        self._held.clear()
        self.rival = sentence
        if not self._stands_by and not self._taken.done():
            self._taken.set_exception(NameTaken(sentence))

    def _on_archive(self, _topic: str, archive: Archive | None) -> None:
        if archive is not None:
            self._broker_archive = archive

    def _on_kept(self, topic: str, archive: KeptArchive | None) -> None:
        _keep(self._kept, KEPT_ARCHIVE.names(topic)[0], archive)

    def _on_node(self, topic: str, status: NodeStatus | None) -> None:
        (name,) = NODE_STATUS.names(topic)
        _keep(self._nodes, name, status if status is not None and status.node == name else None)

    def _on_observed(self, topic: str, observed: Observed | None) -> None:
        node, model = OBSERVED.names(topic)
        _keep(self._observed, (node, model), observed)


def _status(instance: str, *, online: bool) -> ControllerStatus:
    return ControllerStatus(
        online=online, protocol=PROTOCOL, version=installed_version(), instance=instance, artifacts=""
    )


def _keep(table: dict[K, V], name: K, message: V | None) -> None:
    if message is None:
        table.pop(name, None)
    elif name in table or len(table) < MOST_NAMES:
        table[name] = message
