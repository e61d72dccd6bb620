"""tritonclient on a model split over two real agents, through the source and through the other node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED
from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_STATUS, ControllerStatus, NodeStatus
from tests.agent.graphs import Blobs, deployment, desired, device_part, edge_part, serve_blobs
from tests.agent.test_live_agents import Observer, agent, broker, running
from tests.openinference.triton import infer
from tests.waiting import until

__all__ = ["broker"]

X = np.arange(4, dtype=np.float32).reshape(1, 4)


@dataclass
class Split:
    """x -> a on the device, a -> b on the edge, b -> y on the device: y = 30 x."""

    observer: Observer

    def http(self, node: str) -> str:
        """A node's HTTP endpoint."""
        status = self.observer.heard[NODE_STATUS.of(node)]
        assert isinstance(status, NodeStatus)
        return status.http


@asynccontextmanager
async def split(broker: str, folder: Path) -> AsyncIterator[Split]:
    """Two agents serving."""
    blobs = Blobs(folder / "blobs")
    runner, base = await serve_blobs(blobs.folder)
    observer = Observer(broker)
    await observer.start()
    controller = ControllerStatus(online=True, protocol=1, version="1", instance="i", artifacts=base)
    observer.bus.publish(CONTROLLER_STATUS, controller)
    first, middle, last = blobs.affine("x", "a", 2.0), blobs.affine("a", "b", 3.0), blobs.affine("b", "y", 5.0)
    async with running(agent("device", broker, folder)) as device, running(agent("edge", broker, folder)) as edge:
        await until(lambda: device.plane.is_up("edge") and edge.plane.is_up("device"))
        observer.bus.publish(DESIRED, desired("edge", edge_part(2, middle)), "edge", "m")
        await until(lambda: observer.states("edge") == {2: "prepared"})
        part = device_part(2, first, last)
        observer.bus.publish(DESIRED, desired("device", part, serve=2), "device", "m")
        status = observer.heard[NODE_STATUS.of("device")]
        assert isinstance(status, NodeStatus)
        observer.bus.publish(DEPLOYMENT, deployment("device", status.advertise), "m")
        await until(lambda: observer.serving("device") == 2)
        await until(lambda: "m" in edge.engine.machine.flow.deployments)
        yield Split(observer)
    await observer.bus.close()
    await runner.cleanup()


async def test_both_nodes_answer_for_the_split_model(broker: str, tmp_path: Path) -> None:
    async with split(broker, tmp_path) as nodes:
        for node in ("device", "edge"):
            outputs = await asyncio.to_thread(infer, nodes.http(node), "m", {"x": X})
            np.testing.assert_array_equal(outputs["y"], 30 * X)
            numbers = await asyncio.to_thread(infer, nodes.http(node), "m", {"x": X}, {"y": False}, binary=False)
            np.testing.assert_array_equal(numbers["y"], 30 * X)
            with pytest.raises(InferenceServerException, match="dtype float64, expected float32") as caught:
                await asyncio.to_thread(infer, nodes.http(node), "m", {"x": X.astype(np.float64)})
            assert caught.value.status() == "400"
            with pytest.raises(InferenceServerException, match="no model 'other'") as caught:
                await asyncio.to_thread(infer, nodes.http(node), "other", {"x": X})
            assert caught.value.status() == "404"
