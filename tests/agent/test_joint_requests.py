"""Requests that come together are computed as one, once that was seen to give the same."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.control.plan_messages import EpochSpec, FootprintTerm, OpenAxis
from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array, as_bfloat16
from edgesplit_agent.reporting.collectors.power.sensor import Power
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.serving_counters import ServingCounters
from edgesplit_agent.reporting.usage import UsageBook
from edgesplit_agent.serving.machine.actions import (
    Action,
    CompleteRequest,
    EmitEvent,
    FailRequest,
    PrepareEpoch,
    RunComponent,
    SendAbort,
    WakeAt,
)
from edgesplit_agent.serving.machine.admitting.gathering import MOST_ROWS, rows_of, same_rows
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import (
    Awoken,
    ComponentFailed,
    ComponentFinished,
    DesiredChanged,
    EpochPrepared,
    MachineEvent,
    PeerLost,
    PeerUp,
    RequestArrived,
    RequestCancelled,
    Tick,
)
from tests.agent.graphs import desired, device_part, local_part
from tests.agent.test_machine import of

WINDOW_S = 0.01
WIDTH = 3


def rows_spec(name: str) -> TensorSpec:
    """Rows of three numbers."""
    return TensorSpec(name=name, dtype="float32", shape=(-1, WIDTH), typical=(1, WIDTH))


def of_rows(part: EpochSpec, *, joinable: bool = True) -> EpochSpec:
    """A hand-cut part, of any number of rows."""
    components = tuple(
        msgspec.structs.replace(
            component,
            inputs=tuple(rows_spec(tensor.name) for tensor in component.inputs),
            outputs=tuple(rows_spec(tensor.name) for tensor in component.outputs),
        )
        for component in part.components
    )
    return msgspec.structs.replace(
        part,
        components=components,
        open_axes=(OpenAxis(input="x", axis=0, size=1),),
        footprint_terms={node: (FootprintTerm(nbytes=24, exponents=(1,)),) for node in part.participants},
        joinable=joinable,
    )


def rows(first: float, count: int = 1) -> Array:
    """Rows that no other request has."""
    return np.full((count, WIDTH), first, np.float32) + np.arange(count, dtype=np.float32)[:, None] / 100


class Source:
    """A source alone, whose component multiplies by two, unless it mixes the rows of a request."""

    def __init__(self, *, mixes: bool = False, joinable: bool = True, window_s: float = WINDOW_S) -> None:
        self.machine = AgentMachine("device", batch_window_s=window_s)
        self.now_s = 100.0
        self.mixes = mixes
        self.queue: list[RunComponent] = []
        self.ran: list[int] = []
        self.counted: list[int] = []
        """How many requests each run's name says that it computes."""
        self.answers: dict[str, Array] = {}
        self.failed: list[str] = []
        self.events: list[str] = []
        self.wakes: list[float] = []
        plan = desired("device", local_part(1), serve=1)
        self.say(
            DesiredChanged(
                "m",
                msgspec.structs.replace(
                    plan,
                    inputs=(rows_spec("x"),),
                    outputs=(rows_spec("y"),),
                    epochs=(of_rows(local_part(1), joinable=joinable),),
                ),
            )
        )

    def say(self, event: MachineEvent) -> list[Action]:
        """Handle an event, and note what comes of it."""
        actions = self.machine.handle(event, self.now_s)
        self.wakes += [action.at_s for action in of(WakeAt, actions)]
        for action in actions:
            if isinstance(action, PrepareEpoch):
                self.say(EpochPrepared(action.model, action.spec.epoch, action.generation))
        self.queue += of(RunComponent, actions)
        self.answers |= {action.request: action.outputs["y"] for action in of(CompleteRequest, actions)}
        self.failed += [action.request for action in of(FailRequest, actions)]
        self.events += [action.kind for action in of(EmitEvent, actions)]
        return actions

    def ask(self, name: str, x: Array, deadline_s: float | None = None) -> None:
        """A request comes."""
        self.say(RequestArrived(name, "m", {"x": x}, deadline_s))

    def compute(self) -> None:
        """Run the component that waits longest."""
        run = self.queue.pop(0)
        if not self.machine.wants(run.key):
            return
        x = run.arrays["x"]
        self.ran.append(len(x))
        self.counted.append(run.key.requests)
        y = 2 * x + (x.mean() if self.mixes else 0)
        self.say(ComponentFinished(run.key, 0, {"y": y.astype(np.float32)}))

    def pass_window(self) -> None:
        """Time passes, and those who wait are woken."""
        self.now_s += WINDOW_S
        self.say(Awoken())

    def finish(self) -> None:
        """Compute all that there is."""
        while self.queue:
            self.compute()

    def trust(self) -> None:
        """Have the epoch pass its trial."""
        for number in range(3):
            self.ask(f"trial{number}", rows(number))
        self.pass_window()
        self.finish()
        self.ran.clear()
        self.counted.clear()
        self.answers.clear()


def test_a_request_alone_starts_at_once() -> None:
    source = Source()
    source.ask("a", rows(1))
    assert len(source.queue) == 1
    assert not source.wakes


def test_requests_that_come_meanwhile_wait_for_each_other_and_get_their_own_rows() -> None:
    source = Source()
    source.trust()
    inputs = {"a": rows(1), "b": rows(2, 2), "c": rows(5)}
    for name, x in inputs.items():
        source.ask(name, x)
    assert len(source.queue) == 1
    assert source.wakes[-1] == pytest.approx(source.now_s + WINDOW_S)
    source.pass_window()
    source.finish()
    assert source.ran == [1, 3]
    for name, x in inputs.items():
        np.testing.assert_array_equal(source.answers[name], 2 * x)


def test_nothing_waits_where_the_window_is_0_or_the_model_takes_no_rows() -> None:
    for source in (Source(window_s=0.0), Source(joinable=False)):
        for name in "abc":
            source.ask(name, rows(1))
        assert len(source.queue) == 3


def test_requests_of_other_sizes_are_not_joined() -> None:
    source = Source()
    source.trust()
    wide = TensorSpec(name="x", dtype="float32", shape=(-1, -1), typical=(1, WIDTH))
    model = source.machine.models["m"]
    assert model.desired is not None
    model.desired = msgspec.structs.replace(model.desired, inputs=(wide,))
    held = model.held[1].spec
    for component in held.components:
        assert component.inputs[0].shape == (-1, WIDTH)
    source.ask("a", rows(1))
    source.ask("b", rows(2))
    source.ask("c", np.ones((1, WIDTH + 1), np.float32))
    source.pass_window()
    assert "c" in source.failed
    source.finish()
    assert source.ran == [1, 1]


def test_the_first_joint_request_is_a_trial_beside_its_members() -> None:
    source = Source()
    for number, name in enumerate("abc"):
        source.ask(name, rows(number))
    source.pass_window()
    source.finish()
    assert source.ran == [1, 1, 1, 2]
    assert set(source.answers) == set("abc")
    assert source.machine.models["m"].held[1].joins is True


def test_a_model_that_mixes_rows_is_found_out_and_its_requests_are_not_joined() -> None:
    source = Source(mixes=True)
    for number, name in enumerate("abc"):
        source.ask(name, rows(number))
    source.pass_window()
    source.finish()
    for number, name in enumerate("abc"):
        np.testing.assert_allclose(source.answers[name], 3 * rows(number))
    assert source.events == ["requests-not-joined"]
    for name in "def":
        source.ask(name, rows(1))
    assert len(source.queue) == 3


def test_requests_that_are_all_the_same_prove_nothing() -> None:
    source = Source(mixes=True)
    for name in "abc":
        source.ask(name, rows(1))
    source.pass_window()
    source.finish()
    assert source.ran == [1, 1, 1]
    assert source.machine.models["m"].held[1].joins is None


def test_a_joint_request_that_fails_is_run_again_one_by_one() -> None:
    source = Source()
    source.trust()
    for number, name in enumerate("abc"):
        source.ask(name, rows(number))
    source.pass_window()
    source.compute()
    joint = source.queue.pop(0)
    assert len(joint.arrays["x"]) == 2
    source.say(ComponentFailed(joint.key, 0, "no"))
    source.finish()
    assert source.ran == [1, 1, 1]
    assert not source.failed
    np.testing.assert_array_equal(source.answers["c"], 2 * rows(2))


def test_who_leaves_a_joint_request_ends_it_only_as_the_last_one() -> None:
    source = Source()
    source.trust()
    for number, name in enumerate("abc"):
        source.ask(name, rows(number))
    source.pass_window()
    joint = source.queue[1].key
    source.say(RequestCancelled("b"))
    assert source.machine.wants(joint)
    source.say(RequestCancelled("c"))
    assert not source.machine.wants(joint)
    source.finish()
    assert set(source.answers) == {"a"}
    assert not source.machine.busy


def test_a_request_waits_a_small_share_of_its_time_at_most_and_expires_by_itself() -> None:
    source = Source()
    source.trust()
    source.ask("a", rows(1))
    source.ask("b", rows(2), deadline_s=0.1)
    assert source.wakes[-1] == pytest.approx(source.now_s + 0.005)
    source.ask("c", rows(3), deadline_s=10.0)
    source.now_s += 0.005
    source.say(Awoken())
    assert len(source.queue) == 2
    source.now_s += 1.0
    source.say(Tick())
    assert source.failed == ["b"]
    source.finish()
    assert set(source.answers) == {"a", "c"}


def test_a_gathering_that_is_full_starts_at_once() -> None:
    source = Source()
    source.trust()
    source.ask("a", rows(1))
    source.ask("b", rows(2, MOST_ROWS - 1))
    source.ask("c", rows(3, 2))
    assert [len(run.arrays["x"]) for run in source.queue] == [1, MOST_ROWS - 1]
    source.ask("d", rows(4, MOST_ROWS - 2))
    assert [len(run.arrays["x"]) for run in source.queue] == [1, MOST_ROWS - 1, MOST_ROWS]


def test_who_waits_is_started_by_itself_when_the_plan_changes_and_told_when_there_is_none() -> None:
    source = Source()
    source.trust()
    source.ask("a", rows(1))
    source.ask("b", rows(2))
    desired = source.machine.models["m"].desired
    assert desired is not None
    assert len(source.queue) == 1
    source.say(DesiredChanged("m", desired))
    assert len(source.queue) == 2
    source.ask("c", rows(3))
    source.say(DesiredChanged("m", None))
    assert set(source.failed) >= {"c"}


def test_a_lost_peer_has_the_members_run_again_one_by_one() -> None:
    source = Source(window_s=WINDOW_S)
    local, split = of_rows(local_part(1)), of_rows(device_part(2))
    plan = source.machine.models["m"].desired
    assert plan is not None
    source.say(PeerUp("edge"))
    source.say(DesiredChanged("m", msgspec.structs.replace(plan, epochs=(local, split), serve=2, fallback=1)))
    source.machine.models["m"].held[2].joins = True
    for number, name in enumerate("abc"):
        source.ask(name, rows(number))
    source.pass_window()
    assert [run.key.epoch for run in source.queue] == [2, 2]
    actions = source.say(PeerLost("edge", "gone"))
    assert not of(SendAbort, actions)
    source.finish()
    assert set(source.answers) == set("abc")


def test_rows_are_compared_within_rounding_and_numbers_that_are_none_with_themselves() -> None:
    alone = [{"y": np.array([[1.0, 2.0]], np.float32)}, {"y": np.array([[np.inf, np.nan]], np.float32)}]
    joint = np.concatenate([one["y"] for one in alone])
    assert same_rows({"y": joint}, alone)
    assert same_rows({"y": joint * np.float32(1 + 1e-6)}, alone)
    assert not same_rows({"y": joint + np.float32(0.01)}, alone)
    assert not same_rows({"y": joint[:1]}, alone)
    labels = [{"y": np.array([1, 2])}, {"y": np.array([3])}]
    assert same_rows({"y": np.array([1, 2, 3])}, labels)
    assert not same_rows({"y": np.array([1, 2, 4])}, labels)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 5)),
        st.sampled_from([("compute", 0), ("wake", 0), ("fail", 0), ("tick", 0), ("again", 0)]),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(steps, st.booleans())
def test_under_any_order_of_events_everyone_gets_the_own_rows_or_a_reason(
    steps: Sequence[tuple[str, int]], mixes: bool
) -> None:
    source, asked, gone = Source(mixes=mixes), dict[str, Array](), set[str]()
    for what, number in steps:
        if what == "ask":
            name = f"r{len(asked)}"
            asked[name] = rows(len(asked), number)
            source.ask(name, asked[name])
        elif what == "compute" and source.queue:
            source.compute()
        elif what == "fail" and source.queue:
            run = source.queue.pop(0)
            source.say(ComponentFailed(run.key, 0, "no"))
        elif what == "wake":
            source.pass_window()
        elif what == "tick":
            source.now_s += 0.05
            source.say(Tick())
        elif what == "again":
            source.say(DesiredChanged("m", source.machine.models["m"].desired))
        elif what == "cancel" and (name := f"r{number}") in asked and name not in source.answers:
            gone.add(name)
            source.say(RequestCancelled(name))
    for _ in range(3):
        source.pass_window()
        source.finish()
    source.finish()
    assert set(source.answers) | set(source.failed) | gone >= set(asked)
    for name, y in source.answers.items():
        x = asked[name]
        np.testing.assert_allclose(y, 2 * x + (x.mean() if mixes else 0), rtol=1e-5)
    assert not source.machine.flow.requests
    assert not source.machine.flow.executions


def test_a_trial_that_a_client_leaves_is_held_another_time() -> None:
    source = Source()
    for number, name in enumerate("abc"):
        source.ask(name, rows(number))
    source.pass_window()
    source.say(RequestCancelled("c"))
    source.finish()
    assert source.machine.models["m"].held[1].joins is None
    source.trust()
    assert source.machine.models["m"].held[1].joins is True
    assert source.machine.wants(ExecutionKey("m", 1, "nothing")) is False


def test_rows_of_half_precision_are_compared_by_their_own_steps() -> None:
    alone = [{"y": np.array([[1.0, 2.0]], np.float16)}, {"y": np.array([[3.0, 4.0]], np.float16)}]
    joint = np.concatenate([one["y"] for one in alone])
    assert same_rows({"y": joint + np.float16(0.002)}, alone)
    assert not same_rows({"y": joint + np.float16(0.1)}, alone)
    narrow = [{"y": as_bfloat16(one["y"].astype(np.float32))} for one in alone]
    assert same_rows({"y": as_bfloat16(joint.astype(np.float32) * np.float32(1.005))}, narrow)
    assert not same_rows({"y": as_bfloat16(joint.astype(np.float32) + np.float32(0.5))}, narrow)
    texts = [{"y": np.array([["a"]], object)}, {"y": np.array([["b"]], object)}]
    assert same_rows({"y": np.array([["a"], ["b"]], object)}, texts)
    assert not same_rows({"y": np.array([["a"], ["c"]], object)}, texts)


def test_the_name_of_a_run_says_how_many_requests_it_computes() -> None:
    source = Source()
    for number in range(3):
        source.ask(f"trial{number}", rows(number))
    source.pass_window()
    source.finish()
    assert (source.ran, source.counted) == ([1, 1, 1, 2], [1, 1, 1, 0])  # the trial answers nobody
    source.ask("alone", rows(1))
    for number in range(5):
        source.ask(f"together{number}", rows(number, 2))
    source.pass_window()
    source.finish()
    assert source.counted[4:] == [1, 5]


@pytest.mark.parametrize(
    ("name", "requests"),
    [("edge-1f-7", 1), ("edge-1f-7+12", 12), ("edge-1f-7+0", 0), ("a+3-1f-7", 1), ("edge-7+", 1), ("x+99999999", 1)],
)
def test_a_node_counts_the_requests_of_other_sources_one_by_one(name: str, requests: int) -> None:
    usage = UsageBook("edge", Power(1.0, 1.0, "configured", "constant"))
    counters = ServingCounters(usage, PrometheusMetrics("edge", "1"))
    counters.part_done(ExecutionKey("m", 1, name))
    (said,) = usage.take_changed()
    assert said.requests == requests


def test_requests_whose_inputs_have_different_rows_are_never_joined() -> None:
    """One row of an input may stand for all of another, so that rows of different requests would meet."""
    one, two = rows(1), rows(2, 2)
    assert (rows_of({"a": two, "b": two}), rows_of({"a": one, "b": two}), rows_of({"a": np.array(1.0)})) == (2, 0, 0)


def test_outputs_whose_size_depends_on_the_rows_are_not_the_same() -> None:
    assert not same_rows({"y": np.ones((2, 3))}, [{"y": np.ones((1, 3))}, {"y": np.ones((1, 2))}])
    assert not same_rows({"y": np.array(2.0)}, [{"y": np.array(1.0)}, {"y": np.array(1.0)}])
