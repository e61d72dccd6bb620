"""What fails because something is away passes when it returns, with nobody doing anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from demo.ports import free_port
from edgesplit.daemon.configuration_sections import BrokerSection
from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.fleet_operations import ListNodes
from edgesplit.operations.model_operations import ProfileModel, ShowModel
from edgesplit_agent.configuration import AgentConfiguration, CacheSection, DataSection, HttpSection, PowerSection
from edgesplit_agent.daemon import Agent
from edgesplit_controller.configuration import (
    ArtifactsSection,
    ControllerBrokerSection,
    ControllerConfiguration,
    DashboardSection,
    PlanningSection,
    StoreSection,
)
from edgesplit_controller.service import Service
from edgesplit_controller.storage.store import Store
from tests.brokers import running_mosquitto
from tests.controller.fleet import Client
from tests.controller.tiny_models import convolutions
from tests.waiting import until_answered

NAMES = ("device", "edge", "cloud")


class Gate:
    """The way to the artifact server: nobody listens until it is opened."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Let connections through from now on."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Nobody listens any more."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection("127.0.0.1", self._target)
        for source, sink in ((reader, before), (behind, writer)):
            task = asyncio.create_task(_forward(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()


class Site:
    """A controller behind a gate, and three agents of one machine with the same cache folder."""

    def __init__(self, broker: str, folder: Path) -> None:
        listens = free_port()
        self.gate = Gate(listens)
        self.cache = folder / "cache"
        store = Store(folder / "store")
        self.service = Service(
            ControllerConfiguration(
                broker=ControllerBrokerSection(url=broker),
                store=StoreSection(path=str(folder / "store")),
                artifacts=ArtifactsSection(listen=f"127.0.0.1:{listens}", advertise=f"127.0.0.1:{self.gate.port}"),
                dashboard=DashboardSection(listen=""),
                planning=PlanningSection(debounce_s=0.05),
            ),
            store,
        )
        self.client = Client(broker)
        self.direct = f"http://127.0.0.1:{listens}"
        self.agents = [
            Agent(
                AgentConfiguration(
                    name=name,
                    broker=BrokerSection(url=broker),
                    data=DataSection(listen="127.0.0.1:0"),
                    power=PowerSection(source="constant", compute_w=3.0, transmit_w=2.0),
                    http=HttpSection(listen=""),
                    cache=CacheSection(path=str(self.cache)),
                )
            )
            for name in NAMES
        ]

    async def model(self) -> Any:
        """As `splitctl model show` has it."""
        return await self.client.ask(ShowModel(name="tiny"))

    async def all_online(self) -> bool:
        """The controller knows every agent."""
        return {row["name"] for row in await self.client.ask(ListNodes()) if row["online"]} == set(NAMES)

    async def nothing_fails(self) -> bool:
        """No agent has anything to try again."""
        return not any(row["failing"] for row in await self.client.ask(ListNodes()))

    async def all_profiled(self) -> bool:
        """Every agent has measured it, not only timed it as a whole."""
        rows = (await self.model())["profiling"]
        return {row["node"] for row in rows if row["state"] == "done"} == set(NAMES)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Up, with the gate shut."""
    async with AsyncExitStack() as stack:
        (tmp_path / "mosquitto").mkdir()
        site = Site(stack.enter_context(running_mosquitto(tmp_path / "mosquitto")), tmp_path)
        await site.service.start()
        stack.push_async_callback(site.service.close)
        await site.client.start()
        stack.push_async_callback(site.client.bus.close)
        stack.push_async_callback(site.gate.close)
        for agent in site.agents:
            await agent.start()
            stack.push_async_callback(agent.stop)
        await until_answered(site.all_online, "three nodes")
        yield site


async def test_agents_that_met_an_artifact_server_that_was_down_profile_by_themselves_once_it_is_there(
    site: Site,
) -> None:
    site.client.artifacts = site.direct
    added = await site.client.add("tiny", convolutions(2))
    assert added["profiled"] == []
    assert {row["node"] for row in added["not_profiled"]} == set(NAMES)
    rows = (await site.model())["profiling"]
    assert {row["state"] for row in rows} <= {"retrying", "running"}
    assert all(str(site.gate.port) in row["reason"] for row in rows if row["state"] == "retrying")
    nodes = await site.client.ask(ListNodes())
    # The shape that is planned by itself fails alike once it is offered.
    failing = {failing["what"] for row in nodes for failing in row["failing"]}
    assert {"profiling tiny"} <= failing <= {"profiling tiny", "profiling tiny@2"}

    await site.gate.open()
    await until_answered(site.all_profiled, "three profiles", within_s=120)
    assert not [path.name for path in site.cache.iterdir() if ".part" in path.name]
    # The shape that is planned by itself is profiled behind, and tried again at a time of its own.
    await until_answered(site.nothing_fails, "an end of all failures", within_s=120)
    texts = [event["text"] for event in await site.client.ask(ListEvents(limit=1000))]
    for name in NAMES:
        # Once for each offer: in float at first, in the end with int8.
        assert sum(text.startswith(f"node {name} could not profile tiny") for text in texts) in {1, 2}
        assert any(text.startswith(f"node {name} profiled tiny") and "failed within" in text for text in texts)


async def test_one_node_can_be_asked_to_profile_once_more(site: Site) -> None:
    await site.gate.open()
    site.client.artifacts = site.direct
    added = await site.client.add("tiny", convolutions(2))
    assert set(added["profiled"]) == set(NAMES)
    (row,) = await site.client.ask(ProfileModel(name="tiny", node="edge"))
    assert (row["node"], row["state"], row["reason"]) == ("edge", "done", "")
    assert row["whole_s"] > 0
    assert set((await site.model())["profiled"]) == set(NAMES)
