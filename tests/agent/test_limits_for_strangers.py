"""What strangers may write to the broker takes bounded room at an agent, and nothing that plans need gives way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest

from edgesplit.control.component_messages import GraphRef
from edgesplit.control.plan_messages import Deployment, Desired
from edgesplit.control.profile_messages import ModelOffer
from edgesplit.control.registration_messages import CONTROLLER_STATUS, NODE_STATUS, ControllerStatus, NodeStatus
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.release import PROTOCOL
from edgesplit_agent import control
from edgesplit_agent.control import ControlPlane
from edgesplit_agent.following import known_nodes
from edgesplit_agent.following.known_nodes import MOST_NODES, KnownNodes
from edgesplit_agent.reporting import metrics
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.metrics_page import registry_of
from edgesplit_agent.serving.machine import peers
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import PeerLost, PeerRoom, PeerUp
from edgesplit_agent.serving.machine.peers import PeerTrust
from tests.agent.graphs import deployment, desired, edge_part


def status(name: str, **changes: Any) -> NodeStatus:
    """Of a node that is online."""
    whole = NodeStatus(node=name, online=True, protocol=PROTOCOL, version="", instance="i", advertise="10.0.0.1:1")
    return msgspec.structs.replace(whole, **changes)


def test_a_hundred_thousand_names_leave_a_fleet_and_those_that_plans_need() -> None:
    refused: Counter[str] = Counter()
    nodes = KnownNodes(lambda: ("edge",), refused)
    for number in range(100_000):
        nodes.hear(f"stranger-{number}", status(f"stranger-{number}"))
    assert len(nodes) == MOST_NODES
    nodes.hear("edge", status("edge"))
    nodes.hear("one-more", status("one-more"))
    names = {found.node for found in nodes.online()}
    assert len(names) == MOST_NODES
    assert "edge" in names
    assert refused["nodes"] == 100_000 - MOST_NODES + 2
    nodes.hear("edge", None)
    nodes.hear("stranger-1", status("stranger-1", online=False))
    nodes.hear("stranger-2", status("stranger-2", protocol=PROTOCOL + 1))
    assert len(nodes) == MOST_NODES - 3


def test_where_plans_need_all_of_them_nobody_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_nodes, "MOST_NODES", 2)
    nodes = KnownNodes(lambda: ("a", "b", "c"), Counter())
    for name in ("a", "b", "c"):
        nodes.hear(name, status(name))
    assert [found.node for found in nodes.online()] == ["a", "b"]


def test_nobody_registers_under_anothers_name() -> None:
    refused: Counter[str] = Counter()
    nodes = KnownNodes(tuple, refused)
    nodes.hear("edge", status("edge"))
    nodes.hear("stranger", status("edge", advertise="10.6.6.6:1"))
    assert [found.advertise for found in nodes.online()] == ["10.0.0.1:1"]
    assert refused["nodes-of-other-names"] == 1


class Heard:
    """What the control plane told the agent."""

    def __init__(self) -> None:
        self.models: list[str] = []
        self.nodes: set[str] = set()

    def on_desired(self, model: str, desired: Desired | None) -> None:
        self.models.append(f"desired {model}")

    def on_deployment(self, model: str, deployment: Deployment | None) -> None:
        self.models.append(f"deployment {model}")

    def on_offer(self, model: str, offer: ModelOffer | None) -> None:
        self.models.append(f"offer {model}")

    def on_nodes(self, addresses: Mapping[str, str]) -> None:
        self.nodes = set(addresses)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


async def test_models_that_strangers_name_are_bounded_and_none_is_pushed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MOST_MODELS", 2)
    heard = Heard()
    plane = ControlPlane(BrokerAddress.parse("mqtt://127.0.0.1:1"), status("edge"), heard)
    part = desired("edge", edge_part(2))
    graph = GraphRef(digest="d", nbytes=1)
    offer = ModelOffer(model="m", sha256="s", float_graph=graph, quantized_graph=None, profile_plan="d")
    for name in ("m", "n", "one-more"):
        plane._on_model(f"edgesplit/1/models/{name}", offer)
        plane._on_deployment(f"edgesplit/1/deployments/{name}", deployment("device", "10.0.0.1:1", name))
        plane._on_desired(f"edgesplit/1/nodes/edge/desired/{name}", msgspec.structs.replace(part, model=name))
    assert heard.models == [f"{what} {name}" for name in ("m", "n") for what in ("offer", "deployment", "desired")]
    assert plane.refused["models"] == 3
    plane._on_model("edgesplit/1/models/m", None)
    plane._on_model("edgesplit/1/models/one-more", offer)
    assert heard.models[-1] == "offer one-more"
    await plane.bus.close()


async def test_nodes_of_plans_are_peers_whoever_else_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_nodes, "MOST_NODES", 2)
    heard = Heard()
    plane = ControlPlane(BrokerAddress.parse("mqtt://127.0.0.1:1"), status("edge"), heard)
    older = ControllerStatus(online=True, protocol=PROTOCOL, version="1", instance="1", artifacts="http://c")
    plane._on_controller(CONTROLLER_STATUS.of(), older)  # all nodes are peers to it
    for name in ("stranger", "other-stranger"):
        plane._on_node(NODE_STATUS.of(name), status(name))
    plane._on_desired("edgesplit/1/nodes/edge/desired/m", desired("edge", edge_part(2)))
    plane._on_node(NODE_STATUS.of("device"), status("device"))
    assert "device" in heard.nodes
    assert len(heard.nodes) == 2
    await plane.bus.close()


def test_series_of_metrics_are_bounded_however_many_names_peers_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_PEERS", 3)
    shown = PrometheusMetrics("edge", "1")
    for number in range(100):
        for tell in (shown.sent, shown.probed, shown.fetched):
            tell(f"peer-{number}", 1)
    page = generate_latest(registry_of(shown)).decode()
    assert page.count("edgesplit_probe_bytes_total{") == 4
    assert 'edgesplit_probe_bytes_total{node="edge",peer="others"} 97.0' in page


def test_losses_of_peers_are_remembered_of_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MOST_LOST", 3)
    trust = PeerTrust(2.0)
    for number in range(5):
        trust.lost(f"peer-{number}", 0.0)
    assert [trust.losses(f"peer-{number}") for number in range(5)] == [0, 0, 1, 1, 1]
    trust.lost("peer-2", 0.0)
    assert [trust.losses(f"peer-{number}") for number in range(5)] == [0, 0, 2, 1, 1]


def test_what_a_lost_peer_had_room_for_is_forgotten() -> None:
    machine = AgentMachine("edge")
    for number in range(10):
        for event in (PeerUp(f"peer-{number}"), PeerRoom(f"peer-{number}", 100), PeerLost(f"peer-{number}", "gone")):
            machine.handle(event, 0.0)
    assert not machine.flow.admission.has_credit_limits
