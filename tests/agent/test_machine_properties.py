"""A device, an edge and a cloud under arbitrary orders of everything.

No request is lost, answered twice or answered wrongly; with fallbacks none fails, and they are used when they can be.
Answered requests are checked against the float model one at a time, and nothing waits for that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.control.plan_messages import EpochSpec, Shadowing
from edgesplit_agent.serving.machine.actions import (
    Action,
    CompleteRequest,
    FailRequest,
    PrepareEpoch,
    PublishNoise,
    PublishObserved,
    ReleaseEpoch,
    RunComponent,
    SendAbort,
    SendCoded,
    SendTensors,
    ShadowRequest,
)
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    ComponentFailed,
    ComponentFinished,
    DesiredChanged,
    EpochFailed,
    EpochPrepared,
    MachineEvent,
    PeerLost,
    PeerUp,
    RequestArrived,
    RequestCancelled,
    ShadowChecked,
    ShadowDropped,
    TensorsArrived,
    Tick,
)
from tests.agent.graphs import desired, device_part, edge_part, local_part

X = np.ones((1, 4), np.float32)
NODES = ("device", "edge", "cloud")
PEERS = ("edge", "cloud")
FACTORS = {0: ("a", 2.0), 1: ("b", 3.0), 2: ("y", 5.0)}
LOCAL_EPOCHS = {1}
CODECS = ("int8", "raw")
"""Of tensors that travel on epochs of even and of odd numbers."""
SPARE = 4
"""Epoch that runs on device and cloud, for the loss of the edge."""


@dataclass
class World:
    """Three machines, the messages between them and the work they have under way."""

    may_fail: bool
    machines: dict[str, AgentMachine] = field(default_factory=lambda: {name: AgentMachine(name) for name in NODES})
    pending: list[tuple[str, str, MachineEvent]] = field(default_factory=list)
    """Who it happens to, by which way (`work`, or the peer whose wire to the device it is on), and what."""
    prepared: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in NODES})
    ended: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    submitted: int = 0
    linked: set[str] = field(default_factory=set)
    started: list[int] = field(default_factory=list)
    answered: int | None = None
    """Epoch of the answer that was given last."""
    checking: int = 0
    checked: int = 0
    now_s: float = 0.0

    def feed(self, node: str, event: MachineEvent) -> None:
        """Give a machine an event and take its actions."""
        for action in self.machines[node].handle(event, self.now_s):
            self.do(node, action)

    def do(self, node: str, action: Action) -> None:
        """Carry an action out, later where that takes time."""
        match action:
            case PrepareEpoch(model, generation, spec):
                self.pending.append((node, "work", EpochPrepared(model, spec.epoch, generation)))
            case ReleaseEpoch(generation=generation):
                assert not any(
                    execution.generation == generation for execution in self.machines[node].flow.executions.values()
                ), "an epoch was released under a request"
                self.prepared[node].discard(generation)
            case RunComponent(key, component, generation, arrays):
                assert generation in self.prepared[node], "a component ran that was not prepared"
                if component == 0:
                    self.started.append(key.epoch)
                (value,) = arrays.values()
                name, factor = ("y", 30.0) if key.epoch in LOCAL_EPOCHS else FACTORS[component]
                self.pending.append((node, "work", ComponentFinished(key, component, {name: value * factor})))
            case SendTensors(key, peer, tensors, deadline_s):
                if self.connects(node, peer):
                    self.pending.append((peer, self.wire(node, peer), TensorsArrived(node, key, tensors, deadline_s)))
            case SendCoded(key, name, array, _, peers, deadline_s):
                for peer in filter(lambda peer: self.connects(node, peer), peers):
                    event = TensorsArrived(node, key, {name: array}, deadline_s)
                    self.pending.append((peer, self.wire(node, peer), event))
            case SendAbort(key, peer, code, message):
                if self.connects(node, peer):
                    self.pending.append((peer, self.wire(node, peer), AbortReceived(node, key, code, message)))
            case CompleteRequest(request, _, epoch, outputs):
                self.ended[request] += 1
                self.answered = epoch
                np.testing.assert_allclose(outputs["y"], 30 * X)
            case FailRequest(request):
                self.ended[request] += 1
                self.failed.append(request)
            case ShadowRequest(model, epoch, generation, arrays, outputs):
                assert epoch == self.answered, "a request was checked before it was answered"
                assert generation in self.prepared[node], "the float model was not prepared"
                assert epoch not in LOCAL_EPOCHS
                np.testing.assert_allclose(outputs["y"], 30 * arrays["x"])
                self.checking += 1
                assert self.checking == 1, "two checks were under way"
                self.pending.append((node, "work", ShadowChecked(model, epoch, 0.25)))
            case PublishNoise(_, _, samples, mean):
                assert samples <= self.checked
                assert mean == (0.25 if samples else None)
            case PublishObserved(_, epochs, serving):
                states = {state.epoch: state.state for state in epochs}
                assert serving is None or states[serving] in {"prepared", "draining"}
            case _:
                pass

    def step(self, choice: int, *, fail: bool = False) -> None:
        """Let one thing that is under way happen."""
        if not self.pending:
            return
        node, _, event = self.pending.pop(choice % len(self.pending))
        if isinstance(event, ShadowChecked):
            self.checking -= 1
            self.checked += 1
            if fail:
                event = ShadowDropped(event.model, event.epoch, "injected")
        if fail and self.may_fail:
            match event:
                case EpochPrepared(model, epoch, generation):
                    event = EpochFailed(model, epoch, generation, "injected", passing=True)
                case ComponentFinished(key, component):
                    event = ComponentFailed(key, component, "injected")
                case _:
                    pass
        if isinstance(event, EpochPrepared):
            self.prepared[node].add(event.generation)
        self.feed(node, event)

    def submit(self) -> None:
        """A client sends a request."""
        self.submitted += 1
        self.feed("device", RequestArrived(f"r{self.submitted}", "m", {"x": X}))

    def wire(self, node: str, peer: str) -> str:
        """The wire between two machines, named after the one that is not the device."""
        return peer if node == "device" else node

    def connects(self, node: str, peer: str) -> bool:
        """Whether two machines reach each other now; the peers never reach one another."""
        return "device" in {node, peer} and self.wire(node, peer) in self.linked

    def link(self, peer: str, up: bool) -> None:
        """Connect a peer to the device or part them; what is on the wire is lost."""
        if up == (peer in self.linked):
            return
        (self.linked.add if up else self.linked.discard)(peer)
        if not up:
            self.pending = [item for item in self.pending if item[1] != peer]
        for node, other in (("device", peer), (peer, "device")):
            self.feed(node, PeerUp(other) if up else PeerLost(other, "injected"))

    def want(self, epochs: list[int], serve: int | None, *, spare: bool = False, offered: bool = True) -> None:
        """The controller changes its mind, on all nodes; it keeps a spare for a while that it no longer offers."""
        parts = [local_part(number) if number in LOCAL_EPOCHS else _quantized(number) for number in epochs]
        parts += [device_part(SPARE, peer="cloud")] if spare else []
        fallback = 1 if 1 in epochs else None
        fallbacks = {"edge": SPARE} if spare and offered else {}
        wanted = desired("device", *parts, serve=serve, fallback=fallback, fallbacks=fallbacks)
        shadowing = Shadowing(requests=3, every_s=10.0, bound=0.2)
        self.feed("device", DesiredChanged("m", msgspec.structs.replace(wanted, shadowing=shadowing)))
        remote = [edge_part(number, codec=CODECS[number % 2]) for number in epochs if number not in LOCAL_EPOCHS]
        self.feed("edge", DesiredChanged("m", desired("edge", *remote)))
        kept = [edge_part(SPARE, peer="cloud")] if spare else []
        self.feed("cloud", DesiredChanged("m", desired("cloud", *kept)))

    def settle(self) -> None:
        """Let everything happen."""
        while self.pending:
            self.step(0)


def _quantized(number: int) -> EpochSpec:
    return msgspec.structs.replace(device_part(number, codec=CODECS[number % 2]), quantized=True)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("step"), st.integers(0, 30), st.just(False)),
        st.just(("submit",)),
        st.tuples(st.just("link"), st.sampled_from(PEERS), st.booleans()),
        st.tuples(
            st.just("want"),
            st.lists(st.integers(1, 3), unique=True, max_size=3),
            st.sampled_from([None, 1, 2, 3]),
            st.booleans(),
        ),
        st.tuples(st.just("tick"), st.floats(0.0, 20.0)),
        st.tuples(st.just("cancel"), st.integers(1, 5)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_every_request_ends_exactly_once_and_right_whatever_happens(steps: list[tuple[object, ...]]) -> None:
    world = World(may_fail=True)
    cancelled: set[str] = set()
    for step in steps:
        match step:
            case ("step", int(choice), bool(fail)):
                world.step(choice, fail=fail)
            case ("submit",):
                world.submit()
            case ("link", str(peer), bool(up)):
                world.link(peer, up)
            case ("want", list(epochs), serve, bool(spare)):
                world.want(epochs, serve, spare=spare)  # type: ignore[arg-type]
            case ("tick", float(seconds)):
                world.now_s += seconds
                for node in NODES:
                    world.feed(node, Tick())
            case ("cancel", int(number)):
                if not world.ended[f"r{number}"]:
                    cancelled.add(f"r{number}")
                world.feed("device", RequestCancelled(f"r{number}"))
            case _:
                raise AssertionError(step)
    world.settle()
    for _ in range(4):
        world.now_s += 70.0
        for node in NODES:
            world.feed(node, Tick())
        world.settle()
    for number in range(1, world.submitted + 1):
        name = f"r{number}"
        assert world.ended[name] == 1 or (name in cancelled and world.ended[name] <= 1)
    for machine in world.machines.values():
        assert not machine.busy


SWITCHES = st.lists(
    st.one_of(
        st.integers(0, 30),
        st.sampled_from(["submit", "edge up", "edge down", "cloud up", "cloud down", "two", "three", "two alone"]),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(SWITCHES)
def test_with_fallbacks_no_request_fails_through_losses_and_switches(steps: list[int | str]) -> None:
    world = World(may_fail=False)
    for peer in PEERS:
        world.link(peer, True)
    world.want([1, 2], 2, spare=True)
    world.settle()
    for step in steps:
        match step:
            case int():
                world.step(step)
            case "submit":
                world.submit()
            case "two" | "three" | "two alone":
                world.want([1, 2, 3], 3 if step == "three" else 2, spare=True, offered=step != "two alone")
            case _:
                peer, _, way = step.partition(" ")
                world.link(peer, way == "up")
    world.settle()
    world.want([1, 2], 2, spare=True)
    for peer in PEERS:
        world.link(peer, True)
    world.now_s += 100.0
    world.settle()
    checked = world.checked
    world.submit()
    world.settle()
    assert world.checked == checked + 1
    assert world.failed == []
    assert sum(world.ended.values()) == world.submitted


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PEERS), st.booleans()), max_size=20), st.booleans())
def test_a_request_starts_on_the_best_plan_whose_nodes_are_there(
    steps: list[tuple[str, bool]], cloud_prepares: bool
) -> None:
    world = World(may_fail=False)
    for peer in PEERS:
        world.link(peer, True)
    world.want([1, 2], 2, spare=True)
    world.settle()
    if not cloud_prepares:
        world.want([1, 2], 2)
    for peer, up in steps:
        world.link(peer, up)
        world.now_s += 60.0  # longer than the longest probation
        world.submit()
        best = 2 if "edge" in world.linked else SPARE if "cloud" in world.linked and cloud_prepares else 1
        assert world.started[-1] == best
        world.settle()
    assert world.failed == []
