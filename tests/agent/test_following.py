"""Which other nodes an agent hears of and keeps links to: those that the controller and its own plans name, or all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from edgesplit.control.registration_messages import NODE_PEERS, NODE_STATUS, ControllerStatus, NodePeers
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.topic import Topic
from edgesplit_agent.following import peer_choice
from edgesplit_agent.following.followed_peers import FollowedPeers
from edgesplit_agent.following.peer_choice import LINGER_S, PATIENCE_S, PeerChoice

EVERYBODY = "edgesplit/1/nodes/+/status"


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Heard:
    """A bus that knows what is subscribed to, and hands over what a test says."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[str, Any], None]] = {}

    def subscribe(self, topic: Topic[Any], handler: Callable[[str, Any], None], *names: str) -> None:
        self.handlers[topic.filter(*names)] = handler

    def unsubscribe(self, topic: Topic[Any], *names: str) -> None:
        del self.handlers[topic.filter(*names)]

    def say(self, topic: Topic[Any], message: msgspec.Struct | None, *names: str) -> None:
        self.handlers[topic.of(*names)](topic.of(*names), message)


def controller(*, names_peers: bool) -> ControllerStatus:
    return ControllerStatus(
        online=True, protocol=1, version="1", instance="1", artifacts="http://c", names_peers=names_peers
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_controllers_peers_and_those_of_own_plans_are_followed(clock: Clock) -> None:
    choice = PeerChoice("a", clock)
    choice.hear_controller(names_peers=True, known=())
    assert choice.followed(()) == frozenset()
    choice.hear_peers(("a", "b"))
    assert choice.followed(("a", "c")) == frozenset({"b", "c"})


def test_without_a_controller_that_names_peers_all_nodes_are_followed(clock: Clock) -> None:
    choice = PeerChoice("a", clock)
    assert choice.followed(()) == frozenset()
    choice.listens()
    clock.now_s += PATIENCE_S / 2
    assert choice.followed(()) == frozenset()
    clock.now_s += PATIENCE_S
    assert choice.followed(()) is None
    older = PeerChoice("a", clock)
    older.hear_controller(names_peers=False, known=())
    assert older.followed(()) is None


def test_who_is_named_no_more_stays_for_a_while(clock: Clock) -> None:
    choice = PeerChoice("a", clock)
    choice.hear_controller(names_peers=True, known=())
    choice.hear_peers(("b", "c"))
    choice.followed(())
    choice.hear_peers(("c",))
    clock.now_s += LINGER_S - 1
    assert choice.followed(()) == frozenset({"b", "c"})
    clock.now_s += 2
    assert choice.followed(()) == frozenset({"c"})


def test_peers_of_before_stay_until_a_controller_that_has_just_come_names_them(clock: Clock) -> None:
    choice = PeerChoice("a", clock)
    choice.hear_controller(names_peers=False, known=())
    choice.hear_controller(names_peers=True, known=("b", "c"))
    assert choice.followed(()) == frozenset({"b", "c"})
    choice.hear_peers(("b",))
    clock.now_s += LINGER_S + 1
    assert choice.followed(()) == frozenset({"b"})


@pytest.fixture
def bus() -> Heard:
    return Heard()


@pytest.fixture
def planned() -> set[str]:
    return set()


@pytest.fixture
def forgotten() -> list[str]:
    return []


@pytest.fixture
def peers(
    bus: Heard, planned: set[str], forgotten: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> FollowedPeers:
    followed = FollowedPeers(
        cast("MessageBus", bus),
        "a",
        hear=lambda _name, _status: None,
        planned=lambda: planned,
        known=lambda: ["b", "old"],
        forget=forgotten.extend,
    )
    monkeypatch.setattr(followed, "_choice", peer_choice.PeerChoice("a", clock))
    return followed


def test_registrations_of_peers_alone_are_heard(bus: Heard, peers: FollowedPeers, forgotten: list[str]) -> None:
    peers.hear_controller(controller(names_peers=True))
    bus.say(NODE_PEERS, NodePeers(node="a", peers=("b", "c")), "a")
    assert {NODE_STATUS.of("b"), NODE_STATUS.of("c"), NODE_PEERS.of("a")} < bus.handlers.keys()
    assert EVERYBODY not in bus.handlers
    assert "c" in peers
    assert "d" not in peers


def test_a_list_for_another_node_is_ignored(bus: Heard, peers: FollowedPeers) -> None:
    peers.hear_controller(controller(names_peers=True))
    bus.say(NODE_PEERS, NodePeers(node="other", peers=("x",)), "a")
    assert "x" not in peers


def test_nodes_of_plans_are_heard_at_once(bus: Heard, peers: FollowedPeers, planned: set[str]) -> None:
    peers.hear_controller(controller(names_peers=True))
    planned.add("z")
    peers.look()
    assert NODE_STATUS.of("z") in bus.handlers


def test_an_older_controller_has_everybody_heard_and_its_broker_is_not_asked_for_peers(
    bus: Heard, peers: FollowedPeers
) -> None:
    peers.hear_controller(controller(names_peers=False))
    assert bus.handlers.keys() == {EVERYBODY}
    assert "anybody" in peers


def test_what_is_heard_no_more_is_forgotten(
    bus: Heard, peers: FollowedPeers, forgotten: list[str], clock: Clock
) -> None:
    peers.hear_controller(controller(names_peers=False))
    peers.hear_controller(controller(names_peers=True))
    bus.say(NODE_PEERS, NodePeers(node="a", peers=("b",)), "a")
    assert EVERYBODY not in bus.handlers
    assert NODE_STATUS.of("old") in bus.handlers  # for a while
    clock.now_s += LINGER_S + 1
    peers.look()
    assert NODE_STATUS.of("old") not in bus.handlers
    assert forgotten == ["old"]
    assert NODE_STATUS.of("b") in bus.handlers
