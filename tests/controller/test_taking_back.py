"""Nodes that were away when a plan ended start on it again, and are told so once they are heard."""

from __future__ import annotations

import msgspec

from edgesplit.control.plan_messages import OBSERVED, EpochState, Observed
from edgesplit.operations.model_operations import RemoveModel
from edgesplit.operations.plan_operations import DeployModel, UndeployModel
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until


async def deployed(fleet: Fleet, name: str = "tiny") -> None:
    await fleet.client.add(name, convolutions())
    await fleet.client.ask(DeployModel(name=name, source="device"))


async def test_what_was_undeployed_meanwhile_ends_once_the_node_says_that_it_holds_it(fleet: Fleet) -> None:
    await deployed(fleet)
    device = fleet.agents["device"]
    held = device.desired["tiny"]
    await fleet.client.ask(UndeployModel(name="tiny"))
    await until(lambda: "tiny" not in device.desired)
    device.heard.clear()
    device.desired["tiny"] = held
    device.observe("tiny")
    await until(lambda: None in device.heard)


async def test_what_was_removed_meanwhile_ends_after_a_restart_of_the_controller_too(fleet: Fleet) -> None:
    await deployed(fleet)
    device = fleet.agents["device"]
    held = device.desired["tiny"]
    await fleet.client.ask(RemoveModel(name="tiny"))
    await until(lambda: "tiny" not in device.desired)
    await fleet.stop_controller()
    device.heard.clear()
    device.desired["tiny"] = held
    device.observe("tiny")
    await fleet.start_controller()
    await until(lambda: None in device.heard)


async def test_what_drains_is_let_be_and_so_is_what_a_plan_gives(fleet: Fleet) -> None:
    await deployed(fleet)
    await deployed(fleet, "other")
    device = fleet.agents["device"]
    held = device.desired["other"]
    await fleet.client.ask(UndeployModel(name="other"))
    await until(lambda: "other" not in device.desired)
    device.heard.clear()
    draining = Observed(
        node="device",
        instance=device.instance,
        model="other",
        epochs=tuple(EpochState(epoch=spec.epoch, state="draining") for spec in held.epochs),
    )
    device.bus.publish(OBSERVED, draining, "device", "other")
    device.observe("tiny")
    # Messages of one program come in their order: the first two are answered by nothing.
    prepared = tuple(msgspec.structs.replace(state, state="prepared") for state in draining.epochs)
    device.bus.publish(OBSERVED, msgspec.structs.replace(draining, epochs=prepared), "device", "other")
    await until(lambda: None in device.heard)
    assert device.heard.count(None) == 1
    assert "tiny" in device.desired
