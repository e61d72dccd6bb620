"""A device and an edge under arbitrary orders of everything: no request is lost, answered twice or answered wrongly."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit_agent.serving.actions import (
    Action,
    CompleteRequest,
    FailRequest,
    PrepareEpoch,
    PublishObserved,
    ReleaseEpoch,
    RunComponent,
    SendAbort,
    SendTensors,
)
from edgesplit_agent.serving.events import (
    AbortReceived,
    ComponentFailed,
    ComponentFinished,
    DesiredChanged,
    EpochFailed,
    EpochPrepared,
    Event,
    PeerLost,
    PeerUp,
    RequestArrived,
    RequestCancelled,
    TensorsArrived,
    Tick,
)
from edgesplit_agent.serving.machine import AgentMachine
from tests.agent.graphs import desired, device_part, edge_part, local_part

X = np.ones((1, 4), np.float32)
OTHER = {"device": "edge", "edge": "device"}
FACTORS = {0: ("a", 2.0), 1: ("b", 3.0), 2: ("y", 5.0)}
LOCAL_EPOCHS = {1}


@dataclass
class World:
    """Two machines, the messages between them and the work they have under way."""

    may_fail: bool
    machines: dict[str, AgentMachine] = field(default_factory=lambda: {name: AgentMachine(name) for name in OTHER})
    pending: list[tuple[str, str, Event]] = field(default_factory=list)
    prepared: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in OTHER})
    ended: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    submitted: int = 0
    linked: bool = False
    now_s: float = 0.0

    def feed(self, node: str, event: Event) -> None:
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
                (value,) = arrays.values()
                name, factor = ("y", 30.0) if key.epoch in LOCAL_EPOCHS else FACTORS[component]
                self.pending.append((node, "work", ComponentFinished(key, component, {name: value * factor})))
            case SendTensors(key, peer, tensors, deadline_s):
                if self.linked:
                    arrays = {name: array for name, array, _ in tensors}
                    self.pending.append((peer, "wire", TensorsArrived(node, key, arrays, deadline_s)))
            case SendAbort(key, peer, code, message):
                if self.linked:
                    self.pending.append((peer, "wire", AbortReceived(node, key, code, message)))
            case CompleteRequest(request, _, _, outputs):
                self.ended[request] += 1
                np.testing.assert_allclose(outputs["y"], 30 * X)
            case FailRequest(request):
                self.ended[request] += 1
                self.failed.append(request)
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
        if fail and self.may_fail:
            match event:
                case EpochPrepared(model, epoch, generation):
                    event = EpochFailed(model, epoch, generation, "injected")
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

    def link(self, up: bool) -> None:
        """Connect or part the two; what is on the wire is lost."""
        if up == self.linked:
            return
        self.linked = up
        if not up:
            self.pending = [item for item in self.pending if item[1] != "wire"]
        for node, other in OTHER.items():
            self.feed(node, PeerUp(other) if up else PeerLost(other, "injected"))

    def want(self, epochs: list[int], serve: int | None) -> None:
        """The controller changes its mind, on both nodes."""
        parts = [local_part(number) if number in LOCAL_EPOCHS else device_part(number) for number in epochs]
        fallback = 1 if 1 in epochs else None
        self.feed("device", DesiredChanged("m", desired("device", *parts, serve=serve, fallback=fallback)))
        remote = [edge_part(number) for number in epochs if number not in LOCAL_EPOCHS]
        self.feed("edge", DesiredChanged("m", desired("edge", *remote)))

    def settle(self) -> None:
        """Let everything happen."""
        while self.pending:
            self.step(0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("step"), st.integers(0, 30), st.just(False)),
        st.just(("submit",)),
        st.tuples(st.just("link"), st.booleans()),
        st.tuples(
            st.just("want"), st.lists(st.integers(1, 3), unique=True, max_size=3), st.sampled_from([None, 1, 2, 3])
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
            case ("link", bool(up)):
                world.link(up)
            case ("want", list(epochs), serve):
                world.want(epochs, serve)  # type: ignore[arg-type]
            case ("tick", float(seconds)):
                world.now_s += seconds
                for node in OTHER:
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
        for node in OTHER:
            world.feed(node, Tick())
        world.settle()
    for number in range(1, world.submitted + 1):
        name = f"r{number}"
        assert world.ended[name] == 1 or (name in cancelled and world.ended[name] <= 1)
    for machine in world.machines.values():
        assert not machine.busy


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 30), st.sampled_from(["submit", "up", "down", "two", "three"])), max_size=60))
def test_with_a_fallback_no_request_fails_through_losses_and_switches(steps: list[int | str]) -> None:
    world = World(may_fail=False)
    world.link(True)
    world.want([1, 2], 2)
    world.settle()
    for step in steps:
        match step:
            case int():
                world.step(step)
            case "submit":
                world.submit()
            case "up" | "down":
                world.link(step == "up")
            case _:
                world.want([1, 2, 3], 2 if step == "two" else 3)
    world.settle()
    assert world.failed == []
    assert sum(world.ended.values()) == world.submitted
