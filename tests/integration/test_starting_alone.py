"""Real processes: a fleet that was switched off starts without broker and controller, serves, and obeys when they are back."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from demo.fleet import CommandFailed, EmulatedNode, LocalFleet
from demo.ports import free_port
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.control.plan_messages import DESIRED, Desired
from edgesplit.errors import EdgesplitError, NotDeployed, UnknownModel
from edgesplit_agent.autonomy.kept_file import kept_path, read_kept
from tests.brokers import start_mosquitto
from tests.waiting import blocking_until

NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=3.5, slow_down=6.0),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0, slow_down=2.0),
    EmulatedNode("cloud", compute_w=35.0, transmit_w=0.01),
)


class World:
    """A broker that forgets everything each time it ends, and a fleet."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder, self.port = folder, free_port()
        with np.load(image) as arrays:
            self.request = dict(arrays)
        self._broker: subprocess.Popen[bytes] | None = None
        self.broker_on()
        self.fleet = LocalFleet(folder, NODES, broker=f"mqtt://127.0.0.1:{self.port}")

    def broker_on(self) -> None:
        self._broker = start_mosquitto(self.port, self.folder)

    def broker_off(self) -> None:
        if self._broker is not None:
            self._broker.kill()
            self._broker.wait()
            self._broker = None

    def ask(self, model: str) -> tuple[int, Mapping[str, Any]] | EdgesplitError:
        """The device's answer, with its epoch; or why there is none."""

        async def asked() -> tuple[int, Mapping[str, Any]]:
            async with AsyncClient(self.fleet.address("device")) as client:
                found = await client.infer_detailed(model, self.request)
            return found.epoch, found.outputs

        try:
            return asyncio.run(asked())
        except EdgesplitError as error:
            return error

    def answers(self, model: str, wanted: Mapping[str, Any], *epochs: int) -> bool:
        """Whether a request is answered rightly, on one of these epochs where any are named."""
        found = self.ask(model)
        if isinstance(found, EdgesplitError):
            return False
        epoch, outputs = found
        for name, array in wanted.items():
            np.testing.assert_allclose(outputs[name], array, rtol=1e-3, atol=1e-5)
        return not epochs or epoch in epochs

    def told(self, model: str) -> Desired:
        """What the device was told last to hold of a model, as its disk has it."""
        kept = read_kept(kept_path(self.folder / "cache" / "device", "device"), "device")
        assert kept is not None
        (message,) = [one for one in kept.messages if one.topic == DESIRED.of("device", model)]
        return msgspec.json.decode(message.payload, type=Desired)

    def epoch(self, model: str) -> int:
        """Of the plan that the controller says serves, and the source serves; 0 while they do not agree."""
        try:
            plan = self.fleet.splitctl("plan", model)
        except CommandFailed:
            return 0
        return int(plan["epoch"])


@pytest.fixture
def world(tmp_path: Path, image: Path) -> Iterator[World]:
    made = World(tmp_path, image)
    with made.fleet:
        yield made
    made.broker_off()


def test_a_fleet_that_was_switched_off_serves_alone_and_obeys_when_the_world_is_back(
    world: World, small_model: Path
) -> None:
    fleet = world.fleet
    fleet.start()
    fleet.await_nodes()
    fleet.splitctl("model", "add", "m", str(small_model), "--max-quantizable", "1")
    fleet.splitctl("deploy", "m", "--source", "device")
    found = world.ask("m")
    assert not isinstance(found, EdgesplitError)
    wanted = found[1]
    blocking_until(lambda: world.answers("m", wanted, world.epoch("m")), "the split plan serves")
    fleet.stop()
    world.broker_off()
    told = world.told("m")
    (plan,) = [spec for spec in told.epochs if spec.epoch == told.serve]
    assert set(plan.participants) > {"device"}

    # Nobody else is there.
    fleet.start_agent("device")
    blocking_until(lambda: world.answers("m", wanted), "the device serves by itself")
    fleet.start_agent("edge")
    fleet.start_agent("cloud")
    blocking_until(lambda: world.answers("m", wanted, plan.epoch), "the split plan serves without a broker")

    # The world is back; the broker remembers nothing.
    world.broker_on()
    fleet.start_controller()
    blocking_until(lambda: world.epoch("m"), "the controller is there")
    blocking_until(lambda: world.answers("m", wanted, world.epoch("m")), "nodes and controller agree")
    fleet.await_nodes()
    assert "started-alone" in {event["kind"] for event in fleet.splitctl("events", "--limit", "1000")}
    (changed,) = fleet.splitctl("set-weights", "--energy", "1", "--latency", "0", "--model", "m")
    blocking_until(lambda: world.answers("m", wanted, changed["epoch"], world.epoch("m")), "what it says wins")

    # What ended while the device was away ends there once the controller hears of it.
    fleet.kill("device")
    fleet.splitctl("undeploy", "m")
    world.broker_off()
    fleet.start_agent("device")
    blocking_until(lambda: world.answers("m", wanted), "the device does not know yet")
    world.broker_on()
    blocking_until(lambda: isinstance(world.ask("m"), NotDeployed | UnknownModel), "it knows")
    assert fleet.ended() == {}
