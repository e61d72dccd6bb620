"""Agents that start with no broker, no controller and no network serve what they were told last, and obey again once the world is back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from demo.ports import free_port
from edgesplit.client.asynchronous import AsyncClient, InferResult
from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, OBSERVED
from edgesplit.control.registration_messages import CONTROLLER_STATUS, ControllerStatus
from edgesplit.daemon.configuration_sections import BrokerSection
from edgesplit.errors import EdgesplitError
from edgesplit_agent import control
from edgesplit_agent.autonomy.kept_file import kept_path, pinned_blobs
from edgesplit_agent.configuration import AgentConfiguration, CacheSection, DataSection, HttpSection, PowerSection
from edgesplit_agent.daemon import Agent
from tests.agent.graphs import Blobs, deployment, desired, device_part, edge_part, local_part, serve_blobs
from tests.agent.test_advertising import Manager
from tests.agent.test_live_agents import Observer, running
from tests.brokers import start_mosquitto
from tests.waiting import until, until_answered

X = np.arange(4, dtype=np.float32).reshape(1, 4)


class Site:
    """A broker that can go and come, and two machines that stay where they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.ports = {"device": free_port(), "edge": free_port()}
        self.manager = Manager()
        self.broker_on()

    def broker_on(self) -> None:
        """It remembers nothing."""
        self._broker = start_mosquitto(self.port, self.folder)

    def broker_off(self) -> None:
        self._broker.kill()
        self._broker.wait()

    def agent(self, name: str) -> Agent:
        configuration = AgentConfiguration(
            name=name,
            broker=BrokerSection(url=self.url),
            data=DataSection(listen=f"127.0.0.1:{self.ports[name]}"),
            power=PowerSection(source="constant", compute_w=3.0, transmit_w=2.0),
            http=HttpSection(listen=""),
            cache=CacheSection(path=str(self.folder / name)),
        )
        return Agent(configuration, self.manager if name == "device" else None)

    async def answer(self) -> InferResult:
        """Of the device to a request; it is the whole model's whatever the plan."""
        async with AsyncClient(f"127.0.0.1:{self.ports['device']}") as client:
            found = await client.infer_detailed("m", {"x": X})
        np.testing.assert_allclose(found.outputs["y"], 30 * X)
        return found

    async def answers_on(self, epoch: int) -> bool:
        return (await self.answer()).epoch == epoch

    async def observer(self, artifacts: str = "") -> Observer:
        """A controller that is there, and says nothing more by itself."""
        made = Observer(self.url)
        await made.start()
        status = ControllerStatus(online=True, protocol=1, version="1", instance="i", artifacts=artifacts)
        made.bus.publish(CONTROLLER_STATUS, status)
        return made

    async def deploy(self) -> None:
        """Have a plan over both serve, with everything on the device to fall back to; then all of it goes off."""
        blobs = Blobs(self.folder / "blobs")
        runner, base = await serve_blobs(blobs.folder)
        first, middle, last = blobs.affine("x", "a", 2.0), blobs.affine("a", "b", 3.0), blobs.affine("b", "y", 5.0)
        self.local = local_part(1, blobs.affine("x", "y", 30.0))
        self.split = device_part(2, first, last)
        observer = await self.observer(base)
        device_desired = desired("device", self.local, self.split, serve=2, fallback=1)
        observer.bus.publish(DESIRED, desired("edge", edge_part(2, middle)), "edge", "m")
        observer.bus.publish(DESIRED, device_desired, "device", "m")
        observer.bus.publish(DEPLOYMENT, deployment("device", f"127.0.0.1:{self.ports['device']}"), "m")
        async with running(self.agent("edge")), running(self.agent("device")):
            await until(lambda: observer.serving("device") == 2 and observer.states("edge") == {2: "prepared"})
            await until_answered(lambda: self.answers_on(2), "the split plan serves")
        await observer.bus.close()
        await runner.cleanup()
        self.broker_off()
        self.manager.told.clear()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    await made.deploy()
    yield made
    made.broker_off()


async def test_a_source_alone_serves_by_itself_then_with_its_peer_and_obeys_once_the_world_is_back(site: Site) -> None:
    async with running(site.agent("device")) as device:
        await until(lambda: device.ready)
        assert any(
            told.startswith("READY=1\nSTATUS=serving m as told in an earlier run, without a broker")
            for told in site.manager.told
        )
        assert (await site.answer()).epoch == 1  # nobody else is there
        async with running(site.agent("edge")):
            # Both knew where the other was, and what it is to compute.
            await until_answered(lambda: site.answers_on(2), "the split plan serves without a broker")
            site.broker_on()
            observer = await site.observer()
            await until(lambda: observer.serving("device") == 2 and observer.states("edge") == {2: "prepared"})
            await until(lambda: any(event.kind == "started-alone" for event in observer.events))
            assert (await site.answer()).epoch == 2  # that the broker knows of no plan ends none
            observer.bus.publish(DESIRED, desired("device", site.local, serve=1), "device", "m")
            await until(lambda: observer.states("device") == {1: "prepared"} and observer.serving("device") == 1)
            assert (await site.answer()).epoch == 1
            observer.bus.clear(DESIRED, "device", "m")
            await until(lambda: observer.heard[OBSERVED.of("device", "m")] is None)
            with pytest.raises(EdgesplitError):
                await site.answer()
            await observer.bus.close()
    site.broker_off()
    async with running(site.agent("device")) as device:
        # What the controller took back is not there the next time either.
        assert not device.ready
        assert device.engine.machine.models == {}


async def test_peers_that_heard_a_source_leave_find_the_way_back_when_it_starts_without_a_broker(
    site: Site,
) -> None:
    site.broker_on()
    observer = await site.observer()
    async with running(site.agent("edge")) as edge:
        async with running(site.agent("device")) as device:
            await until(lambda: observer.states("edge") == {2: "prepared"} and edge.plane.is_up("device"))
            await until(lambda: device.control.bus.connected)
        await until(lambda: "device" not in {status.node for status in edge.control.online_nodes()})
        site.broker_off()
        async with running(site.agent("device")):
            # What the edge computes finds the way back, or the source hears that it does not; nobody waits for a deadline.
            await until_answered(lambda: site.answers_on(2), "the split plan serves")
        site.broker_on()

        async def is_taken_back() -> bool:
            # A broker tells nobody who subscribes later that a message is gone: a controller says it again, and so does this one.
            observer.bus.clear(DESIRED, "edge", "m")
            return edge.engine.machine.models == {}

        await until_answered(is_taken_back, "the plan is taken back")
        site.broker_off()
        async with running(site.agent("device")):
            # Its peer has nothing of this plan any more, and says so.
            await until(lambda: edge.plane.callers == {"device"})
            assert (await site.answer()).epoch == 1
    await observer.bus.close()


async def test_a_damaged_file_ends_no_start_and_the_controller_says_again_what_to_hold(site: Site) -> None:
    path = kept_path(site.folder / "device", "device")
    path.write_bytes(path.read_bytes()[:-100])
    async with running(site.agent("device")):
        assert not path.exists()
        site.broker_on()
        observer = await site.observer()
        await until(lambda: any(event.kind == "plan-set-aside" for event in observer.events))
        observer.bus.publish(DESIRED, desired("device", site.local, serve=1), "device", "m")
        await until(lambda: observer.serving("device") == 1)  # its blobs were here
        assert (await site.answer()).epoch == 1
        await observer.bus.close()


async def test_what_a_plan_needs_stays_in_the_cache_while_the_node_is_off(site: Site) -> None:
    pinned = pinned_blobs(site.folder / "device")
    parts = [*site.local.components, *site.split.components]
    assert {part.graph.digest for part in parts} <= pinned
    assert {weight.digest for part in parts for weight in part.graph.weights} <= pinned


async def test_the_name_being_anothers_does_not_end_what_serves(site: Site) -> None:
    async with running(site.agent("device")) as device:
        await until(lambda: device.ready)
        device.on_name_taken("another agent is registered as 'device'")
        assert not device._failed.done()
        assert (await site.answer()).epoch == 1


async def test_a_source_that_the_controller_does_not_name_any_more_is_forgotten(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SETTLE_S", 0.1)
    async with running(site.agent("edge")) as edge:
        assert set(edge.engine.machine.flow.deployments) == {"m"}
        site.broker_on()
        observer = await site.observer()
        await until(lambda: not edge.engine.machine.flow.deployments)
        assert observer.states("edge") == {2: "prepared"}  # what it should hold is another matter
        await observer.bus.close()


async def test_a_node_that_moved_while_all_were_off_is_found_once_it_says_where_it_is(site: Site) -> None:
    site.ports["edge"] = free_port()
    async with running(site.agent("device")), running(site.agent("edge")) as edge:
        await until(lambda: edge.plane.is_up("device"))
        assert (await site.answer()).epoch == 1  # the device looks for it in vain
        site.broker_on()
        await until_answered(lambda: site.answers_on(2), "the device finds the edge")
    kept = msgspec.json.decode(kept_path(site.folder / "device", "device").read_bytes().splitlines()[1])
    assert [node["advertise"] for node in kept["nodes"] if node["node"] == "edge"] == [
        f"127.0.0.1:{site.ports['edge']}"
    ]
