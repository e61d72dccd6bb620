"""Random plans through live agents, without a controller's choice: the harness says what each node holds.

Owns: following what agents hold, and the controller's side of the protocol, cut down to pushing given plans. Its rule: agents
are the real processes and cannot tell the difference. Not here: random plans (`random_plans.py`), processes
(`demo/fleet.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Self

from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, OBSERVED, Deployment, Desired, EpochSpec, Observed
from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_STATUS, ControllerStatus, NodeStatus
from edgesplit.mqtt.bus import MessageBus
from edgesplit.release import PROTOCOL
from edgesplit_controller.artifacts.artifact_server import ArtifactServer
from edgesplit_controller.artifacts.upload_receiver import UploadReceiver
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.graph_refs import request_specs
from edgesplit_controller.graph.model_graph import ModelGraph

__all__ = ["AgentWatch", "PlanPusher"]

PREPARE_TIMEOUT_S = 120.0


class AgentWatch:
    """Follows agents on the broker; an async context manager.

    Args:
        broker: URL of the broker the agents use.
        name: This client's.
    """

    def __init__(self, broker: str, name: str = "bench-watch") -> None:
        self._bus = MessageBus(broker, client_id=name)
        self._statuses: dict[str, NodeStatus] = {}
        self._observed: dict[tuple[str, str], Observed] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._bus.subscribe(NODE_STATUS, self._on_status)
        self._bus.subscribe(OBSERVED, self._on_observed)
        await self._bus.connect(10.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._bus.close()

    async def nodes(self, names: tuple[str, ...]) -> dict[str, str]:
        """Wait until these nodes are online; their data-plane addresses."""
        await self._until(lambda: all(name in self._statuses and self._statuses[name].online for name in names))
        return {name: self._statuses[name].advertise for name in names}

    async def gone(self, model: str, epoch: int) -> None:
        """Wait until no node holds an epoch."""
        await self._until(lambda: epoch not in self._held(model))

    def _held(self, model: str) -> set[int]:
        """Epochs that any node holds."""
        of_model = (held for (_, of), held in self._observed.items() if of == model)
        return {state.epoch for held in of_model for state in held.epochs}

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _on_status(self, topic: str, message: NodeStatus | None) -> None:
        if message is not None:
            self._statuses[message.node] = message
        self._changed.set()

    def _on_observed(self, topic: str, message: Observed | None) -> None:
        node, model = OBSERVED.names(topic)
        if message is None:
            self._observed.pop((node, model), None)  # it holds nothing of it any more
        else:
            self._observed[(node, model)] = message
        self._changed.set()


class PlanPusher(AgentWatch):
    """Speaks to agents as the controller does.

    Args:
        broker: URL of the broker the agents use.
        blobs: Served to them.
        port: Of the artifact server on loopback.
    """

    def __init__(self, broker: str, blobs: BlobStore, port: int) -> None:
        super().__init__(broker, "plan-pusher")
        self._blobs = blobs
        self._port = port
        self._told: dict[tuple[str, str], Desired] = {}

    async def __aenter__(self) -> Self:
        self._server = ArtifactServer(
            self._blobs, UploadReceiver(self._blobs.folder, 1), metrics=lambda: b"", health=lambda: (True, "bench")
        )
        await self._server.start("127.0.0.1", self._port)
        await super().__aenter__()
        status = ControllerStatus(
            online=True,
            protocol=PROTOCOL,
            version="bench",
            instance="bench",
            artifacts=f"http://127.0.0.1:{self._port}",
        )
        self._bus.publish(CONTROLLER_STATUS, status)
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await self._server.close()

    async def serve(self, model: str, graph: ModelGraph, specs: Mapping[str, EpochSpec]) -> None:
        """Have every participant prepare its part, then the source serve it; the epoch before is dropped."""
        source = next(iter(specs.values())).source
        epoch = specs[source].epoch
        inputs, outputs = request_specs(graph, graph.inputs), request_specs(graph, graph.outputs)
        for node in self._statuses:
            parts = (specs[node],) if node in specs else ()
            desired = Desired(node=node, model=model, inputs=inputs, outputs=outputs, epochs=parts)
            self._bus.publish(DESIRED, desired, node, model)
        await self._until(lambda: all(self._state(node, model, epoch) == "prepared" for node in specs))
        deployment = Deployment(
            model=model, source=source, advertise=self._statuses[source].advertise, inputs=inputs, outputs=outputs
        )
        self._bus.publish(DEPLOYMENT, deployment, model)
        serving = Desired(
            node=source, model=model, inputs=inputs, outputs=outputs, epochs=(specs[source],), serve=epoch
        )
        self._bus.publish(DESIRED, serving, source, model)
        await self._until(lambda: self._observed[(source, model)].serving == epoch)

    def _state(self, node: str, model: str, epoch: int) -> str:
        observed = self._observed.get((node, model))
        found = next((state for state in observed.epochs if state.epoch == epoch), None) if observed else None
        if found is not None and found.state == "failed":
            raise RuntimeError(f"{node} could not prepare epoch {epoch}: {found.detail}")
        return found.state if found is not None else "unknown"
