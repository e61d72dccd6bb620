"""Whatever strangers write to the broker damages nothing, is put right, and is said once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from edgesplit.control.figure_messages import LINK_METRICS, NODE_METRICS, USAGE, LinkMetrics, LinkState, Usage
from edgesplit.control.plan_messages import (
    DEPLOYMENT,
    DESIRED,
    OBSERVED,
    Deployment,
    Desired,
    EpochSpec,
    EpochState,
    Observed,
)
from edgesplit.control.profile_messages import MODEL_OFFER
from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_STATUS, ControllerStatus, NodeStatus
from edgesplit.operations.fleet_operations import ListNodes
from edgesplit.operations.goal_operations import ForbidNode
from edgesplit.operations.model_operations import ListModels
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.release import PROTOCOL
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until

HUGE = (1 << 63) - 1


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    running = Fleet(tmp_path)
    await running.start()
    await running.client.add("tiny", convolutions(2))
    await running.client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: bool(running.agents["device"].desired["tiny"].fallbacks))
    yield running
    await running.stop()


def forge(fleet: Fleet, topic: str, message: msgspec.Struct | bytes) -> None:
    fleet.stranger.write(topic, message)


def told(fleet: Fleet, kind: str) -> list[str]:
    return [event.text for event in fleet.told(kind)]


def observed(node: str, *epochs: int, serving: int | None = None, model: str = "tiny") -> Observed:
    states = tuple(EpochState(epoch=epoch, state="prepared", in_flight=1) for epoch in epochs)
    return Observed(node=node, instance="x", model=model, epochs=states, serving=serving)


def desired(node: str, epoch: int, model: str = "tiny") -> Desired:
    spec = EpochSpec(epoch=epoch, source=node, participants={node: "1.2.3.4:1"}, components=(), input_routes=())
    return Desired(node=node, model=model, inputs=(), outputs=(), epochs=(spec,), serve=epoch)


async def served_on(fleet: Fleet, epoch: int) -> int:
    """Change the plan, as somebody would later, and look that its number is the next."""
    await fleet.client.ask(ForbidNode(node="cloud", model="tiny"))
    now = int((await fleet.client.ask(ShowPlan(name="tiny")))["epoch"])
    assert epoch < now < epoch + 10
    return now


@pytest.mark.parametrize(
    "message",
    [
        observed("stranger", HUGE),
        observed("stranger", 1, serving=HUGE),
        observed("device", 1 << 40),
        observed("device", -5),
        observed("device", 0),
        observed("edge", 1 << 31, model="nobody"),
    ],
)
async def test_epochs_that_were_not_handed_out_are_nobodys(fleet: Fleet, message: Observed) -> None:
    before = fleet.plan("tiny").epoch.number
    forge(fleet, OBSERVED.of(message.node, message.model), message)
    await until(lambda: len(told(fleet, "message-ignored")) == 1)
    forge(fleet, OBSERVED.of(message.node, message.model), message)
    await served_on(fleet, before)
    assert len(told(fleet, "message-ignored")) == 1
    assert "handed out" in told(fleet, "message-ignored")[0]


async def test_what_others_write_to_the_controllers_topics_is_put_right(fleet: Fleet) -> None:
    before = fleet.plan("tiny").epoch.number
    fleet.stranger.listen()
    heard = fleet.stranger.heard
    own = [CONTROLLER_STATUS.of(), MODEL_OFFER.of("tiny"), DEPLOYMENT.of("tiny"), DESIRED.of("device", "tiny")]
    await until(lambda: all(topic in heard for topic in own))
    right = {topic: heard[topic] for topic in own}
    status = ControllerStatus(online=True, protocol=99, version="x", instance="0", artifacts="http://127.0.0.1:1")
    place = Deployment(model="tiny", source="edge", advertise="1.2.3.4:1", inputs=(), outputs=())
    forgeries: dict[str, msgspec.Struct | bytes] = {
        CONTROLLER_STATUS.of(): status,
        MODEL_OFFER.of("tiny"): b"{}",
        DEPLOYMENT.of("tiny"): place,
        DESIRED.of("device", "tiny"): desired("device", 1 << 40),
        DESIRED.of("stranger", "tiny"): desired("stranger", HUGE),
        DESIRED.of("edge", "ghost"): desired("edge", 3, "ghost"),
        MODEL_OFFER.of("ghost"): b"[" * 5000,
        DEPLOYMENT.of("ghost"): b"\x00",
    }
    for topic, message in forgeries.items():
        forge(fleet, topic, message)
    await until(lambda: len(told(fleet, "retained-restored")) == len(forgeries))
    await until(lambda: all(heard.get(topic) == right.get(topic, b"") for topic in forgeries))
    for topic in own:
        forge(fleet, topic, b"")  # a deletion is a forgery too
    await until(lambda: all(heard.get(topic) == right[topic] for topic in own))
    await served_on(fleet, before)  # by now the controller has answered whatever it would answer
    unchanged = set(own) - {DESIRED.of("device", "tiny")}
    assert {topic: heard[topic] for topic in unchanged} == {topic: right[topic] for topic in unchanged}
    assert len(told(fleet, "retained-restored")) == len(forgeries)


async def test_what_was_forged_while_the_controller_was_away_is_put_right_when_it_is_back(fleet: Fleet) -> None:
    before = fleet.plan("tiny").epoch.number
    await fleet.stop_controller()
    forge(fleet, DESIRED.of("edge", "ghost"), desired("edge", 3, "ghost"))
    forge(fleet, DESIRED.of("device", "tiny"), desired("device", 1 << 40))
    await until(lambda: "ghost" in fleet.agents["edge"].desired)
    await fleet.start_controller()
    await until(lambda: "ghost" not in fleet.agents["edge"].desired)
    await until(lambda: fleet.agents["device"].desired["tiny"].serve == before)
    await served_on(fleet, before)


async def test_a_controller_with_a_store_that_knows_nothing_ends_nothing(fleet: Fleet) -> None:
    serving = dict(fleet.agents["device"].desired)
    await fleet.stop_controller()
    (fleet.configuration.store_path / "state.json").unlink()
    await fleet.start_controller()
    await until(lambda: fleet.rollouts.settled)
    assert fleet.agents["device"].desired == serving


async def test_whoever_insists_is_answered_ever_later(fleet: Fleet) -> None:
    topic = DEPLOYMENT.of("tiny")
    place = Deployment(model="tiny", source="edge", advertise="1.2.3.4:1", inputs=(), outputs=())
    forged = msgspec.json.encode(place)
    fleet.stranger.listen(topic)

    def answers() -> int:
        return sum(payload != forged for _, payload in fleet.stranger.said)

    await until(lambda: answers() == 1)  # what was there before
    for _ in range(200):
        forge(fleet, topic, place)
        await asyncio.sleep(0.005)  # an insistent writer's pace
    assert 2 <= answers() <= 11
    await until(lambda: getattr(fleet.client.deployments["tiny"], "source", "") == "device")


async def test_figures_that_cannot_be_and_giants_are_ignored_and_said_once(fleet: Fleet) -> None:
    before = fleet.plan("tiny").epoch.number
    link = LinkState(to="edge", up=True, bandwidth_bytes_per_s=-1.0, latency_s=0.1, measured_at_unix_s=0.0)
    links = LinkMetrics(node="device", instance="x", links=(link,))
    usage = Usage(
        node="device", model="tiny", epoch=HUGE, requests=-1, failed=0, compute_s=1.0, transmit_s=0.0, energy_j=1e300,
        energy_origin="measured",
    )  # fmt: skip
    status = NodeStatus(node="another", online=True, protocol=PROTOCOL, version="", instance="x", advertise="evil:1")
    forge(fleet, LINK_METRICS.of("device"), links)
    forge(fleet, USAGE.of("device", "tiny"), usage)
    forge(fleet, NODE_STATUS.of("edge"), status)
    forge(fleet, NODE_METRICS.of("device"), b"{" + b" " * (1 << 20) + b"}")
    forge(fleet, NODE_STATUS.of("bad name!"), msgspec.structs.replace(status, node="bad name!"))
    forge(fleet, NODE_STATUS.of("deep"), b'{"node": "deep", "x": ' + b"[" * 60_000)
    await until(lambda: len(told(fleet, "message-ignored")) >= 4 and len(told(fleet, "malformed-message")) >= 2)
    nodes = await fleet.client.ask(ListNodes())
    assert [(node["name"], node["online"]) for node in nodes] == [("cloud", True), ("device", True), ("edge", True)]
    assert [model["name"] for model in await fleet.client.ask(ListModels())] == ["tiny"]
    await served_on(fleet, before)
