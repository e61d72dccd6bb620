"""A broker, a controller, three agents that only keep the protocol, and a client, in one process."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from bench.fake_agent import FakeAgent
from demo.ports import free_port
from edgesplit.control.event_kinds import EventSelection
from edgesplit.control.event_messages import Event
from edgesplit.control.plan_messages import DEPLOYMENT, Deployment
from edgesplit.control.registration_messages import CONTROLLER_STATUS, ControllerStatus
from edgesplit.errors import error_from_code
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.signed.sealing import Sealing
from edgesplit.operations.model_operations import AddModel
from edgesplit.operations.operation import OPERATION_REQUEST, REPLY, Operation, OperationRequest, Reply
from edgesplit.release import PROTOCOL
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker
from edgesplit_controller.configuration import (
    ArtifactsSection,
    ControllerBrokerSection,
    ControllerConfiguration,
    DashboardSection,
    ModelsSection,
    PlanningSection,
    StoreSection,
)
from edgesplit_controller.deciding.changes.fleet_snapshot import FleetSnapshot
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.fallbacks import Fallbacks
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.intake.intake_process import carry_out, told
from edgesplit_controller.models.intake_messages import (
    IntakeDone,
    IntakeFailed,
    IntakeMessage,
    IntakeProgress,
    IntakeRequest,
)
from edgesplit_controller.models.intake_runs import IntakeRun
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.service import Service
from edgesplit_controller.storage.deployment_state import PlanRecord
from edgesplit_controller.storage.store import Store
from tests.brokers import Stranger
from tests.waiting import until

FAST, SLOW = 0.001, 0.02
METRIC, NO_METRIC = "tests.controller.tiny_models:largest_change", "tests.controller.tiny_models:always_one"
GOOD_LINK, BAD_LINK = (100e6, 0.001), (1e3, 0.1)


async def in_a_thread(request: IntakeRequest, tell: Callable[[IntakeProgress], None]) -> IntakeDone | IntakeFailed:
    """Do the work of an intake as the process does that a controller starts, without what starting one takes."""
    loop = asyncio.get_running_loop()

    def say(message: IntakeMessage) -> None:
        if isinstance(message, IntakeProgress):
            loop.call_soon_threadsafe(tell, message)

    return await asyncio.to_thread(carry_out, request, told(request, say))


class Client:
    """What splitctl does, in a few lines; `tls` is for uploads to a controller of a secured fleet."""

    def __init__(self, url: str, sealing: Sealing | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls if tls is not None else True
        self.name = uuid.uuid4().hex
        self.bus = MessageBus(url, client_id=f"client-{self.name}", sealing=sealing)
        self.artifacts = ""
        self.progress: list[str] = []
        self.deployments: dict[str, Deployment | None] = {}
        self._waiting: dict[str, asyncio.Future[Any]] = {}

    async def start(self) -> None:
        self.bus.subscribe(REPLY, self._on_reply, self.name)
        self.bus.subscribe(CONTROLLER_STATUS, self._on_status)
        self.bus.subscribe(DEPLOYMENT, self._on_deployment)
        await self.bus.connect(5)

    def _on_status(self, _topic: str, status: ControllerStatus | None) -> None:
        self.artifacts = status.artifacts if status is not None and status.online else ""

    def _on_deployment(self, topic: str, deployment: Deployment | None) -> None:
        self.deployments[DEPLOYMENT.names(topic)[0]] = deployment

    def _on_reply(self, _topic: str, reply: Reply | None) -> None:
        assert reply is not None
        if reply.kind == "progress":
            self.progress.append(reply.text)
            return
        future = self._waiting.pop(reply.id)
        if reply.kind == "result":
            future.set_result(msgspec.json.decode(reply.value))
        else:
            error = error_from_code(reply.code, reply.text)
            error.exit_code = reply.exit_code
            future.set_exception(error)

    async def ask(self, operation: Operation, protocol: int = PROTOCOL) -> Any:
        identifier = uuid.uuid4().hex
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[identifier] = future
        self.bus.publish(
            OPERATION_REQUEST, OperationRequest.of(operation, identifier=identifier, protocol=protocol), self.name
        )
        async with asyncio.timeout(60):
            return await future

    async def upload(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"{self.artifacts}/uploads/{digest}", data=content, ssl=self._tls) as response,
        ):
            assert response.status == 201, await response.text()
        return digest

    async def add(self, name: str, content: bytes, **options: Any) -> Any:
        options = {"wait": "all"} | options
        return await self.ask(AddModel(name=name, file=await self.upload(content), **options))


class Fleet:
    """Broker, controller, three agents, one client."""

    def __init__(self, folder: Path, run: IntakeRun = in_a_thread, *, dashboard: str = "") -> None:
        self.run = run
        self.url = f"mqtt://127.0.0.1:{free_port()}"
        self.broker = EmbeddedBroker(self.url)
        self.configuration = ControllerConfiguration(
            broker=ControllerBrokerSection(url=self.url),
            store=StoreSection(path=str(folder / "store")),
            artifacts=ArtifactsSection(listen="127.0.0.1:0"),
            dashboard=DashboardSection(listen=dashboard),
            planning=PlanningSection(debounce_s=0.05, profile_silence_s=5.0, prepare_limit_s=20.0),
            models=ModelsSection(metrics=(METRIC, NO_METRIC)),
        )

    async def start(self) -> None:
        self.broker.start()
        await self.start_controller()
        names = ("device", "edge", "cloud")
        speeds = {"device": SLOW, "edge": FAST, "cloud": FAST / 2}
        self.agents = {
            name: FakeAgent(
                self.url, name, unit_s=speeds[name], peers={peer: GOOD_LINK for peer in names if peer != name}
            )
            for name in names
        }
        for agent in self.agents.values():
            await agent.start()
        self.client = Client(self.url)
        await self.client.start()
        self.stranger = Stranger(self.url)
        await until(lambda: bool(self.client.artifacts))
        await until(lambda: len(self.registry.online()) == 3)
        await self.until_links_known()

    async def start_controller(self) -> None:
        self.store = Store(self.configuration.store_path)
        self.service = Service(self.configuration, self.store, self.run)
        await self.service.start()

    @property
    def registry(self) -> Registry:
        """What the controller knows of its nodes."""
        return self.service.known.registry

    @property
    def deployer(self) -> Deployer:
        """What decides about plans."""
        return self.service.decide.deployer

    @property
    def rollouts(self) -> Rollouts:
        """What brings plans to nodes."""
        return self.service.known.rollouts

    @property
    def fallbacks(self) -> Fallbacks:
        """What plans for the loss of nodes."""
        return self.service.decide.fallbacks

    async def until_links_known(self) -> None:
        """Wait until the controller has heard what the agents' links carry now: agents and clients have connections of
        their own to the broker, so that a command may overtake a measurement."""
        wanted = {(name, peer, *link) for name, agent in self.agents.items() for peer, link in agent.peers.items()}

        def known() -> set[tuple[str, str, float, float]]:
            """As each node said; the round trip of either end counts for both."""
            return {
                (name, link.to, link.bandwidth_bytes_per_s, link.latency_s)
                for name, node in self.registry.nodes.items()
                if node.links is not None
                for link in node.links.links
            }

        await until(lambda: known() == wanted)

    async def until_settled(self) -> None:
        """Wait until a restarted controller waits for no node any more and has looked at fallbacks again."""
        await until(lambda: self.rollouts.settled and not self.rollouts.patient and self.fallbacks.idle)

    def told(self, *kinds: str) -> list[Event]:
        """Events of these kinds or histories, the oldest first."""
        return self.service.known.events.last(100_000, EventSelection(kinds=kinds))

    @property
    def models(self) -> Mapping[str, ModelRecord]:
        """Models that were added."""
        return self.service.known.catalog.records

    def plan(self, model: str) -> PlanRecord:
        plan = self.deployer.deployments[model].active
        assert plan is not None
        return plan

    async def stop_controller(self) -> None:
        await self.service.close()
        self.store.close()

    async def stop(self) -> None:
        await self.client.bus.close()
        self.stranger.close()
        for agent in self.agents.values():
            await agent.bus.close()
        await self.stop_controller()
        self.broker.stop()


def counted_looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows each time the deployer looks at the fleet for a model."""
    looks: list[str] = []
    look = PlanMaker.snapshot

    def counted(maker: PlanMaker, record: ModelRecord, *others: Any) -> FleetSnapshot:
        looks.append(record.name)
        return look(maker, record, *others)

    monkeypatch.setattr(PlanMaker, "snapshot", counted)
    return looks
