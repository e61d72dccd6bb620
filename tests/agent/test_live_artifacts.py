"""A real agent gets its blobs from another while the controller is away."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from edgesplit.control.plan_messages import DESIRED
from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_STATUS, ControllerStatus, NodeStatus
from tests.agent.graphs import Blobs, desired, edge_part, serve_blobs
from tests.agent.test_live_agents import Observer, agent, broker, running
from tests.waiting import until

__all__ = ["broker"]


async def test_a_node_prepares_from_a_peers_cache_when_the_controller_is_gone(broker: str, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    graph = blobs.affine("a", "b", 3.0)
    runner, base = await serve_blobs(blobs.folder)
    observer = Observer(broker)
    await observer.start()
    controller = ControllerStatus(online=True, protocol=1, version="1", instance="i", artifacts=base)
    observer.bus.publish(CONTROLLER_STATUS, controller)
    async with running(agent("device", broker, tmp_path)) as device, running(agent("edge", broker, tmp_path)) as edge:
        await until(lambda: device.plane.is_up("edge") and edge.plane.is_up("device"))
        observer.bus.publish(DESIRED, desired("edge", edge_part(2, graph)), "edge", "m")
        await until(lambda: observer.states("edge") == {2: "prepared"})
        await runner.cleanup()
        await until(lambda: any(link.to == "edge" for link in device.plane.links()))
        # The same component, now wanted on the device.
        part = edge_part(3, graph)
        observer.bus.publish(DESIRED, desired("device", part), "device", "m")
        await until(lambda: observer.states("device") == {3: "prepared"})
        status = observer.heard[NODE_STATUS.of("device")]
        assert isinstance(status, NodeStatus)
        async with aiohttp.ClientSession() as client, client.get(f"http://{status.http}/metrics") as answer:
            assert 'edgesplit_artifact_bytes_total{node="device",source="edge"}' in await answer.text()
    await observer.bus.close()
