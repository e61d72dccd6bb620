"""Two real agents behind a real broker serve a model that leaves a size open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from edgesplit.client.asynchronous import AsyncClient
from edgesplit.control.figure_messages import USAGE, AskedSizes, Usage
from edgesplit.control.plan_messages import DESIRED
from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_STATUS, ControllerStatus, NodeStatus
from edgesplit.errors import SizesRefused
from edgesplit_agent.daemon import Agent
from tests.agent.graphs import Blobs, desired, device_part, edge_part, local_part, serve_blobs
from tests.agent.open_graphs import halving, opened_desired, scaling
from tests.agent.test_live_agents import Observer, agent, running
from tests.brokers import running_mosquitto
from tests.waiting import until

FACTOR = 30
"""Of the whole model."""


@dataclass
class Fleet:
    """A device that splits the model with an edge."""

    observer: Observer
    device: Agent
    client: AsyncClient

    async def outcome(self, length: int) -> str | int:
        """Epoch that answered a row of this length rightly, or the code of the error."""
        x = np.random.default_rng(length).random((1, length), np.float32)
        try:
            result = await self.client.infer_detailed("m", {"x": x})
        except SizesRefused as error:
            assert f"does not run at x [1, {length}] (x [1, 4] was planned for)" in str(error)
            return error.code
        np.testing.assert_allclose(result.outputs["y"], FACTOR * x, rtol=1e-6)
        return result.epoch


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """x -> a on the device, a -> b on the edge in two halves, b -> y on the device."""
    blobs = Blobs(tmp_path / "blobs")
    runner, base = await serve_blobs(blobs.folder)
    first, middle, last = scaling(blobs, "x", "a", 2.0), halving(blobs, "a", "b", 3.0), scaling(blobs, "b", "y", 5.0)
    whole = halving(blobs, "x", "y", float(FACTOR))
    with running_mosquitto(tmp_path) as broker:
        observer = Observer(broker)
        await observer.start()
        controller = ControllerStatus(online=True, protocol=1, version="1", instance="i", artifacts=base)
        observer.bus.publish(CONTROLLER_STATUS, controller)
        device, edge = agent("device", broker, tmp_path), agent("edge", broker, tmp_path)
        async with running(device), running(edge):
            await until(lambda: device.plane.is_up("edge") and edge.plane.is_up("device"))
            observer.bus.publish(DESIRED, opened_desired(desired("edge", edge_part(2, middle))), "edge", "m")
            await until(lambda: observer.states("edge") == {2: "prepared"})
            plan = desired("device", local_part(1, whole), device_part(2, first, last), serve=2, fallback=1)
            observer.bus.publish(DESIRED, opened_desired(plan), "device", "m")
            await until(lambda: observer.serving("device") == 2)
            status = observer.heard[NODE_STATUS.of("device")]
            assert isinstance(status, NodeStatus)
            async with AsyncClient(status.advertise) as client:
                yield Fleet(observer, device, client)
        await observer.bus.close()
    await runner.cleanup()


async def test_sizes_that_do_not_add_up_are_the_error_of_their_request_alone(fleet: Fleet) -> None:
    lengths = [4, 7, 1000, 5, 2, 8, 100_001, 4, 60_000]
    outcomes = await asyncio.gather(*(fleet.outcome(length) for length in lengths))
    assert outcomes == ["sizes-refused" if length % 2 else 2 for length in lengths]
    assert fleet.observer.serving("device") == 2
    assert fleet.device.plane.is_up("edge")
    kinds = {event.kind for event in fleet.observer.events}
    assert not kinds & {"fallback-engaged", "peer-back", "peer-lost"}


async def test_sizes_that_were_asked_are_counted_and_told(fleet: Fleet) -> None:
    for length in (8, 4, 8, 6, 8, 6, 5):
        await fleet.outcome(length)

    def told() -> Usage | None:
        usage = fleet.observer.heard.get(USAGE.of("device", "m"))
        return usage if isinstance(usage, Usage) and (usage.requests, usage.failed) == (6, 1) else None

    usage = await until(told)
    assert usage.unplanned == 5
    assert usage.sizes == tuple(
        AskedSizes(inputs={"x": (1, length)}, requests=requests) for length, requests in ((8, 3), (6, 2), (4, 1))
    )


async def test_http_clients_see_which_axes_are_open_and_are_told_that_their_sizes_are_wrong(fleet: Fleet) -> None:
    base = f"http://{fleet.device.control.status.http}/v2/models/m"
    async with aiohttp.ClientSession() as session:
        async with session.get(base) as answer:
            assert (await answer.json())["inputs"][0]["shape"] == [1, -1]
        for length, status in ((6, 200), (5, 400)):
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, length], "data": [1.0] * length}
            async with session.post(f"{base}/infer", data=json.dumps({"inputs": [tensor]})) as answer:
                assert answer.status == status
                document = await answer.json()
        assert document["code"] == "sizes-refused"
        raw = np.arange(6, dtype=np.float32)
        headers = {"Inference-Header-Content-Length": "0"}
        async with session.post(f"{base}/infer", data=raw.tobytes(), headers=headers) as answer:
            assert (await answer.read()).endswith((FACTOR * raw).tobytes())
