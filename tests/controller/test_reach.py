"""Which nodes plans may use, and so between which links are measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgesplit.control.profile_messages import ExecutionProfile, ProfileReport
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.planning.goals import Goals, PinRule
from edgesplit.release import PROTOCOL
from edgesplit_controller.deciding.measured_links import MeasuredLinks
from edgesplit_controller.fleet.reach.candidates import Candidates, may_use
from edgesplit_controller.fleet.reach.peers import among_sites, peers_of_groups
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.deployment_state import DeploymentState, State
from edgesplit_controller.storage.rollout_state import Epoch, Rollout

RECORD = cast("ModelRecord", SimpleNamespace(name="m", sha256="1"))


def status(name: str, *, online: bool = True, **labels: str) -> NodeStatus:
    return NodeStatus(
        node=name, online=online, protocol=PROTOCOL, version="", instance="1", advertise="127.0.0.1:1", labels=labels
    )


def registered(*nodes: NodeStatus) -> Registry:
    registry = Registry()
    for node in nodes:
        registry.set_status(node.node, node)
    return registry


def profiled(registry: Registry, name: str, whole_s: float) -> None:
    profile = ExecutionProfile(
        time_s={}, quantized_time_s={}, whole_s=whole_s, runs=1, provider="", threads=1, runtime=""
    )
    report = ProfileReport(node=name, instance="1", model="m", sha256="1", state="done", fraction=1.0, profile=profile)
    registry.set_profile(name, "m", report)


@pytest.fixture
def sites() -> Registry:
    return registered(
        status("cam", site="home", role="device"),
        status("edge", site="home", role="edge"),
        status("far", site="work", role="edge"),
        status("cloud", role="cloud"),
    )


@pytest.mark.parametrize(
    ("on", "used"),
    [
        ("", {"cam", "edge", "cloud"}),
        ("role=edge", {"cam", "edge", "far"}),
        ("site=home,role=edge", {"cam", "edge"}),
        ("role!=cloud", {"cam", "edge", "far"}),
        ("site=nowhere", {"cam"}),
    ],
)
def test_a_plan_may_use_its_source_and_what_is_selected(sites: Registry, on: str, used: set[str]) -> None:
    assert Candidates(sites, 16).of(RECORD, "cam", Goals(on=on)) == used


def test_a_source_of_no_site_may_use_shared_nodes_alone() -> None:
    assert may_use("", {}, {})
    assert not may_use("", {}, {"site": "home"})
    assert may_use("", {"site": "home"}, {})


def test_forbidden_nodes_are_no_candidates(sites: Registry) -> None:
    assert Candidates(sites, 16).of(RECORD, "cam", Goals(forbidden=("edge",))) == {"cam", "cloud"}


def test_labels_that_change_are_followed(sites: Registry) -> None:
    candidates = Candidates(sites, 16)
    assert "far" not in candidates.of(RECORD, "cam", Goals())
    sites.set_status("far", status("far", site="home"))
    assert "far" in candidates.of(RECORD, "cam", Goals())


def test_of_many_the_fastest_that_are_online_are_taken_beside_those_that_are_used_or_pinned() -> None:
    registry = registered(*(status(f"n{number:03d}") for number in range(100)), status("gone", online=False))
    for number in range(100):
        profiled(registry, f"n{number:03d}", whole_s=1.0 + (number * 37) % 100)
    profiled(registry, "gone", whole_s=0.1)
    goals = Goals(pins=(PinRule(kind="input", nodes=("n050",)),))
    rollout = Rollout(active=Epoch(number=1, source="n099", participants=("n099", "n098")))
    deployment = DeploymentState(
        source="n099",
        inputs=(),
        outputs=(),
        rollout=rollout,
        plans={1: cast("Any", SimpleNamespace(epoch=rollout.active))},
    )
    found = Candidates(registry, 5).of(RECORD, "n099", goals, deployment)
    fastest = sorted(range(100), key=lambda number: (number * 37) % 100)[:2]
    assert found == {"n099", "n098", "n050", *(f"n{number:03d}" for number in fastest)}


def test_links_count_within_groups() -> None:
    assert peers_of_groups([{"a", "b"}, {"b", "c"}, {"d"}]) == {"a": {"b"}, "b": {"a", "c"}, "c": {"b"}, "d": set()}


def test_nodes_without_a_site_belong_to_every_site() -> None:
    assert set(among_sites({"a": "x", "b": "y", "c": ""})) == {frozenset("ac"), frozenset("bc")}
    assert among_sites({"a": "", "b": ""}) == (frozenset("ab"),)


class Told:
    """What agents were told."""

    def __init__(self) -> None:
        self.peers: dict[str, tuple[str, ...]] = {}
        self.messages = 0

    def publish_peers(self, node: str, peers: tuple[str, ...]) -> None:
        self.peers[node] = peers
        self.messages += 1


def measured_links(registry: Registry, state: State, most: int) -> tuple[MeasuredLinks, Told]:
    told, rollouts = Told(), SimpleNamespace(state=state, settled=True)
    links = MeasuredLinks(registry, Candidates(registry, most), cast("Rollouts", rollouts), {"m": RECORD}, told)
    links.look()
    return links, told


def test_in_a_small_fleet_all_links_within_sites_are_measured(sites: Registry) -> None:
    _, told = measured_links(sites, State(), most=16)
    assert told.peers == {
        "cam": ("cloud", "edge"),
        "edge": ("cam", "cloud"),
        "far": ("cloud",),
        "cloud": ("cam", "edge", "far"),
    }


def test_in_a_large_fleet_links_are_measured_where_plans_may_use_them() -> None:
    nodes = [status(f"n{number:04d}", site=f"s{number // 3}") for number in range(999)]
    registry = registered(*nodes, status("cloud"))
    deployed = State(deployments={"m": DeploymentState(source="n0004", inputs=(), outputs=())})
    links, told = measured_links(registry, deployed, most=16)
    used = {"n0003", "n0004", "n0005", "cloud"}
    assert {name: set(peers) for name, peers in told.peers.items() if peers} == {one: used - {one} for one in used}
    assert len(told.peers) == 1000  # an agent that is told nothing would keep links to all
    assert links.concerned("n0005") == ("m",)
    assert links.concerned("n0006") == ()


def test_agents_are_told_again_only_what_changed(sites: Registry) -> None:
    links, told = measured_links(sites, State(), most=16)
    before = told.messages
    links.look()
    sites.set_status("edge", status("edge", online=False, site="home"))
    links.look()
    assert told.messages == before  # who comes back is heard without anybody's help
    sites.set_status("new", status("new", site="work"))
    links.look()
    assert told.messages == before + 3
    assert told.peers["new"] == ("cloud", "far")


def test_links_of_a_deployment_that_is_about_to_come_are_measured_and_missed_until_they_are() -> None:
    registry = registered(*(status(f"n{number:02d}", site=f"s{number // 2}") for number in range(40)))
    links, told = measured_links(registry, State(), most=16)
    assert not any(told.peers.values())
    with links.expecting("m", "n00", Goals()):
        assert told.peers["n00"] == ("n01",)
        assert links.missing("m", "n00", Goals()) == {"n01"}
    links.look()
    assert not told.peers["n00"]
