"""A plan over three nodes in a row, under arbitrary orders of losses, returns, aborts and late news.

Every direction of every pair is a connection of its own, as between real agents, so a tensor or an abort can get lost
where nobody but its sender can see it. No time passes in these
tests: a request that only its deadline could end would show as one that never ended.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.control.plan_messages import EpochSpec
from edgesplit.wire.headers import ExecutionKey
from edgesplit_agent.serving.machine.actions import (
    Action,
    CompleteRequest,
    FailRequest,
    PrepareEpoch,
    RunComponent,
    SendAbort,
    SendTensors,
)
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    ComponentFinished,
    DesiredChanged,
    EpochPrepared,
    MachineEvent,
    PeerLost,
    PeerUp,
    RequestArrived,
    SendFailed,
    TensorsArrived,
)
from tests.agent.graphs import ADDRESSES, NO_GRAPH, component, desired, local_part, route

X = np.ones((1, 4), np.float32)
NODES = ("device", "edge", "cloud")
LINKS = tuple(permutations(NODES, 2))
CHAIN, LOCAL = 2, 1
FACTORS = {0: ("a", 2.0), 1: ("b", 3.0), 2: ("c", 5.0), 3: ("y", 7.0)}
Link = tuple[str, str]


def chain(node: str) -> EpochSpec:
    """x -> a on the device, a -> b on the edge, b -> c on the cloud, c -> y on the device."""
    parts = {
        "device": (component(0, NO_GRAPH, ["x"], ["a"], [route("a", "edge")]), component(3, NO_GRAPH, ["c"], ["y"])),
        "edge": (component(1, NO_GRAPH, ["a"], ["b"], [route("b", "cloud")]),),
        "cloud": (component(2, NO_GRAPH, ["b"], ["c"], [route("c", "device")]),),
    }
    return EpochSpec(
        epoch=CHAIN,
        source="device",
        participants={name: ADDRESSES[name] for name in NODES},
        components=parts[node],
        outputs=("y",) if node == "device" else (),
    )


@dataclass
class Chain:
    """Three machines and what is under way: work, and frames on each link."""

    machines: dict[str, AgentMachine] = field(default_factory=lambda: {name: AgentMachine(name) for name in NODES})
    work: list[tuple[str, MachineEvent]] = field(default_factory=list[tuple[str, MachineEvent]])
    frames: list[tuple[Link, MachineEvent]] = field(default_factory=list[tuple[Link, MachineEvent]])
    """Sender and receiver, and what the receiver learns."""
    up: set[Link] = field(default_factory=set[Link])
    ended: Counter[str] = field(default_factory=Counter[str])
    failed: list[str] = field(default_factory=list[str])
    submitted: int = 0

    def __post_init__(self) -> None:
        for link in LINKS:
            self.connect(link)
        wanted = desired("device", local_part(LOCAL), chain("device"), serve=CHAIN, fallback=LOCAL)
        self.feed("device", DesiredChanged("m", wanted))
        for node in ("edge", "cloud"):
            self.feed(node, DesiredChanged("m", desired(node, chain(node))))
        self.settle()

    def feed(self, node: str, event: MachineEvent) -> None:
        """Give a machine an event and carry out what follows."""
        for action in self.machines[node].handle(event, 0.0):
            self.do(node, action)

    def do(self, node: str, action: Action) -> None:
        """Carry an action out, later where that takes time."""
        match action:
            case PrepareEpoch(model, generation, spec):
                self.work.append((node, EpochPrepared(model, spec.epoch, generation)))
            case RunComponent(key, number, _, arrays):
                (value,) = arrays.values()
                name, factor = ("y", 210.0) if key.epoch == LOCAL else FACTORS[number]
                self.work.append((node, ComponentFinished(key, number, {name: value * factor})))
            case SendTensors(key, peer, arrays, deadline_s):
                self.send(node, peer, TensorsArrived(node, key, arrays, deadline_s), key)
            case SendAbort(key, peer, code, message):
                self.send(node, peer, AbortReceived(node, key, code, message), None)
            case CompleteRequest(request, _, _, outputs):
                self.ended[request] += 1
                np.testing.assert_allclose(outputs["y"], 210 * X)
            case FailRequest(request):
                self.ended[request] += 1
                self.failed.append(request)
            case _:
                pass

    def send(self, node: str, peer: str, event: MachineEvent, key: ExecutionKey | None) -> None:
        """Put a frame on its connection; the sender of tensors learns at once where there is none."""
        if (node, peer) in self.up:
            self.frames.append(((node, peer), event))
        elif key is not None:
            self.work.append((node, SendFailed(key, peer, "not connected")))

    def connect(self, link: Link) -> None:
        """A node reaches another."""
        if link not in self.up:
            self.up.add(link)
            self.feed(link[0], PeerUp(link[1]))

    def part(self, link: Link) -> None:
        """It does not any more, and nobody knows of what was on its way whether it arrived."""
        if link not in self.up:
            return
        self.up.remove(link)
        lost = [event for on, event in self.frames if on == link]
        self.frames = [frame for frame in self.frames if frame[0] != link]
        node, peer = link
        self.feed(node, PeerLost(peer, "injected"))
        for event in lost:
            if isinstance(event, TensorsArrived):
                self.feed(node, SendFailed(event.key, peer, "on its way"))

    def step(self, choice: int) -> None:
        """Let one thing that is under way happen."""
        at = choice % max(len(self.work) + len(self.frames), 1)
        if at < len(self.work):
            node, event = self.work.pop(at)
            self.feed(node, event)
        elif self.frames:
            (_, node), event = self.frames.pop(at - len(self.work))
            self.feed(node, event)

    def submit(self) -> None:
        """A client sends a request."""
        self.submitted += 1
        self.feed("device", RequestArrived(f"r{self.submitted}", "m", {"x": X}))

    def settle(self) -> None:
        """Let everything happen."""
        while self.work or self.frames:
            self.step(0)


STEPS = st.lists(
    st.one_of(
        st.integers(0, 40),
        st.just("submit"),
        st.tuples(st.sampled_from(LINKS), st.booleans()),
    ),
    max_size=80,
)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_no_request_waits_for_its_deadline_whatever_gets_lost_between_whomever(
    steps: list[int | str | tuple[Link, bool]],
) -> None:
    world = Chain()
    for step in steps:
        match step:
            case int():
                world.step(step)
            case "submit":
                world.submit()
            case (link, True):
                world.connect(link)
            case (link, _):
                world.part(link)
            case _:
                raise AssertionError(step)
    world.settle()
    for link in LINKS:
        world.connect(link)
    world.settle()
    assert world.failed == []
    assert all(world.ended[f"r{number}"] == 1 for number in range(1, world.submitted + 1))
