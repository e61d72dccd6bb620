"""The engine between machine, data plane, sessions and clients, all of them fakes but the machine."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgesplit.control.component_messages import ComponentSpec
from edgesplit.control.plan_messages import EpochState, Shadowing
from edgesplit.errors import NodeUnreachable, Overloaded, PeerUnreachable, PreparationFailed, RequestFailed
from edgesplit.wire.frames import PackedTensor, pack_tensor
from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.background_work import BackgroundWork
from edgesplit_agent.compute.coding import Coder
from edgesplit_agent.compute.session_pool import LoadedComponent, RuntimeOptions
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.live_timings import TimingBook
from edgesplit_agent.reporting.collectors.power.sensor import Power
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.run_trace import RunTrace, TracedRun
from edgesplit_agent.reporting.serving_counters import ServingCounters
from edgesplit_agent.reporting.usage import UsageBook
from edgesplit_agent.serving import forwarded_requests
from edgesplit_agent.serving.engine import Engine
from edgesplit_agent.serving.machine.actions import PublishNoise
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import DeploymentChanged, DesiredChanged, PeerUp, TensorsArrived
from edgesplit_agent.serving.machine.joint_requests import JointRequests
from edgesplit_agent.serving.shadow_runs import ShadowRunner
from tests.agent.graphs import deployment, desired, device_part, local_part
from tests.agent.open_graphs import opened_desired
from tests.agent.test_joint_requests import of_rows, rows_spec
from tests.waiting import let_others_run, until

X = np.ones((1, 4), np.float32)
AGES_S = 1000.0
"""Longer than a test runs. [s]"""


class Session:
    """Multiplies its input by two, or fails."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.rows: list[int] = []

    def run(self, outputs: list[str], arrays: dict[str, Array], _options: object = None) -> list[Array]:
        """As onnxruntime's."""
        if self.error is not None:
            raise self.error
        (value,) = arrays.values()
        self.rows.append(len(value))
        return [value * 2 for _ in outputs]


@dataclass
class Preparer:
    """Prepares at once, unless it is held up."""

    session: Session = field(default_factory=Session)
    error: Exception | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def prepare(self, wanted: Sequence[ComponentSpec]) -> dict[int, LoadedComponent]:
        """One session for all."""
        self.asked.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return {
            part.component: LoadedComponent(self.session, [output.name for output in part.outputs], inputs=part.inputs)
            for part in wanted
        }

    def release(self, prepared: Sequence[ComponentSpec]) -> None:
        """Nothing was taken."""


@dataclass
class Peers:
    """Notes what is sent; fails on request."""

    error: Exception | None = None
    sent: list[str] = field(default_factory=list)
    tensors: list[PackedTensor] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def send_tensors(
        self,
        peer: str,
        key: ExecutionKey,
        tensors: Sequence[PackedTensor],
        deadline_s: float | None = None,
    ) -> None:
        """Note the peer."""
        if self.error is not None:
            raise self.error
        self.sent.append(peer)
        self.tensors += tensors

    def send_abort(self, peer: str, key: ExecutionKey, code: str, message: str) -> None:
        """Note the peer."""
        self.aborted.append(peer)

    async def forward_infer(
        self, address: str, model: str, arrays: Mapping[str, Array], deadline_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        """Answer from far away."""
        if self.error is not None:
            raise self.error
        self.asked.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise
        return {"y": arrays["x"] * 7}, 9


@dataclass
class Publisher:
    """Notes what is said."""

    states: dict[int, str] = field(default_factory=dict)
    details: dict[int, str] = field(default_factory=dict)
    serving: int | None = None
    kinds: list[str] = field(default_factory=list)
    noise: PublishNoise | None = None

    def publish_observed(self, model: str, epochs: tuple[EpochState, ...], serving: int | None) -> None:
        """Note it."""
        self.states = {state.epoch: state.state for state in epochs}
        self.details = {state.epoch: state.detail for state in epochs}
        self.serving = serving

    def clear_observed(self, model: str) -> None:
        """Note it."""
        self.states = {}

    def publish_noise(self, found: PublishNoise) -> None:
        """Note it."""
        self.noise = found

    def emit(self, kind: str, text: str, *, model: str, data: Mapping[str, str | float | int | bool | None]) -> None:
        """Note it."""
        self.kinds.append(kind)


class Clock:
    """The engine's."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@dataclass
class Bench:
    """An engine and its fakes."""

    engine: Engine
    preparer: Preparer
    peers: Peers
    publisher: Publisher
    usage: UsageBook
    timings: TimingBook
    worker: Worker
    clock: Clock

    async def until_serving(self, epoch: int) -> None:
        """Wait."""
        await until(lambda: self.publisher.serving == epoch)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A device's."""
    preparer, worker, peers, publisher = Preparer(), Worker(), Peers(), Publisher()
    usage, clock = UsageBook("device", Power(1.0, 1.0, "configured", "constant")), Clock()
    timings = TimingBook("device", "i", BackgroundWork())
    engine = Engine(
        AgentMachine("device"),
        instance="i",
        preparer=preparer,
        worker=worker,
        counters=ServingCounters(usage, PrometheusMetrics("device", "1")),
        timings=timings,
        coder=Coder(worker, RuntimeOptions),
        shadower=ShadowRunner(worker),
        trace=RunTrace(tmp_path / "trace.jsonl"),
        clock=clock,
    )
    engine.peers, engine.publisher = peers, publisher
    yield Bench(engine, preparer, peers, publisher, usage, timings, worker, clock)
    await engine.close()
    await worker.close()


async def test_a_request_is_computed_and_answered(bench: Bench) -> None:
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(1), serve=1)))
    outputs, epoch = await bench.engine.infer("m", {"x": X}, None)
    assert epoch == 1
    np.testing.assert_array_equal(outputs["y"], 2 * X)
    # It is remembered with its steps, though its answer left before the last of them was written down.
    told = bench.engine.traces.told("m", "", bench.clock())
    assert (told.request, [step.kind for step in told.steps]) == ("i-1", ["compute"])
    assert told.began_s is not None and told.ended_s is not None
    assert told.began_s <= told.steps[0].start_s <= told.steps[0].end_s <= told.ended_s


async def test_every_run_is_traced_with_its_begin_and_end(bench: Bench, tmp_path: Path) -> None:
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(1), serve=1)))
    for _ in range(2):
        await bench.engine.infer("m", {"x": X}, None)
    runs = [msgspec.json.decode(line, type=TracedRun) for line in (tmp_path / "trace.jsonl").read_bytes().splitlines()]
    assert [(run.model, run.epoch, run.component) for run in runs] == [("m", 1, 0)] * 2
    assert len({run.request for run in runs}) == 2
    assert all(run.start_s <= run.end_s for run in runs)


async def test_a_trace_that_cannot_be_written_disturbs_nobody(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").mkdir()
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(1), serve=1)))
    for _ in range(2):
        assert (await bench.engine.infer("m", {"x": X}, None))[1] == 1


async def test_a_runtime_error_ends_that_request_only(bench: Bench) -> None:
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(1), serve=1)))
    bench.preparer.session.error = RuntimeError("first line\nsecond line")
    with pytest.raises(RequestFailed, match=r"component 0 failed on device: first line$"):
        await bench.engine.infer("m", {"x": X}, None)
    bench.preparer.session.error = None
    assert (await bench.engine.infer("m", {"x": X}, None))[1] == 1


async def test_a_full_queue_to_a_peer_sends_the_request_to_the_fallback(bench: Bench) -> None:
    bench.engine.feed(PeerUp("edge"))
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(1), device_part(2), serve=2, fallback=1)))
    await bench.until_serving(2)
    bench.peers.error = PeerUnreachable("the queue to edge is full")
    assert (await bench.engine.infer("m", {"x": X}, None))[1] == 1


async def test_a_coded_tensor_is_coded_once_and_counts_as_compute(bench: Bench) -> None:
    bench.engine.feed(PeerUp("edge"))
    bench.engine.feed(DesiredChanged("m", desired("device", device_part(2, codec="int8"), serve=2)))
    await bench.until_serving(2)
    client = asyncio.create_task(bench.engine.infer("m", {"x": X}, None))
    await until(lambda: bench.peers.sent)
    (tensor,) = bench.peers.tensors
    assert (tensor.head.name, tensor.head.codec, tensor.payload.nbytes) == ("a", "int8", X.size)
    back = pack_tensor("b", X, "fp16")
    key = ExecutionKey("m", 2, "i-1")
    arrays = await bench.engine.decode(key, (back.head,), (back.payload,))
    assert arrays["b"].dtype == np.float32
    bench.engine.feed(TensorsArrived("edge", key, arrays))
    await client
    (usage,) = [usage for usage in bench.usage.take_changed() if usage.epoch == 2]
    assert 0 < usage.coding_s < usage.compute_s
    assert usage.latency_p50_s == usage.latency_sum_s
    told = bench.engine.traces.told("m", "", 0.0)
    assert told.request == "i-1"
    seen = [(step.kind, step.tensors, step.peer) for step in told.steps if step.kind != "compute"]
    assert seen == [
        ("encode", ("a",), ""),
        ("send", ("a",), "edge"),
        ("arrive", ("b",), ""),
        ("decode", ("b",), ""),
        ("arrive", ("b",), "edge"),
    ]


async def test_what_requests_wait_for_the_nodes_turn_is_counted_apart_from_handling_them(bench: Bench) -> None:
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(1), serve=1)))
    await bench.until_serving(1)
    await bench.engine.infer("m", {"x": X}, None)
    (alone,) = bench.usage.take_changed()
    assert alone.waiting_s == 0
    assert alone.handling_s > 0
    gate = threading.Event()
    busy = asyncio.ensure_future(bench.worker.run(gate.wait, priority=0))
    await let_others_run()
    client = asyncio.create_task(bench.engine.infer("m", {"x": X}, 10 * AGES_S))
    await let_others_run()  # the component is with the worker then
    bench.clock.ahead_s += AGES_S
    gate.set()
    await asyncio.gather(busy, client)
    (after,) = bench.usage.take_changed()
    assert AGES_S <= after.waiting_s < 2 * AGES_S
    assert 0 < after.handling_s < AGES_S


async def test_what_coding_took_is_said_in_both_directions_from_the_second_request_on(bench: Bench) -> None:
    bench.engine.feed(PeerUp("edge"))
    bench.engine.feed(DesiredChanged("m", desired("device", device_part(2, codec="int8"), serve=2)))
    await bench.until_serving(2)
    for number in range(3):
        bench.peers.sent.clear()
        client = asyncio.create_task(bench.engine.infer("m", {"x": X}, None))
        await until(lambda: bench.peers.sent)
        key = ExecutionKey("m", 2, f"i-{number + 1}")
        back = pack_tensor("b", X, "fp16")
        bench.engine.feed(TensorsArrived("edge", key, await bench.engine.decode(key, (back.head,), (back.payload,))))
        await client
    (timings,) = bench.timings.take_changed()
    said = [(coding.tensor, coding.codec, coding.direction, coding.nbytes) for coding in timings.codings]
    assert said == [("a", "int8", "encode", X.nbytes), ("b", "fp16", "decode", X.nbytes)]
    assert [len(coding.samples) for coding in timings.codings] == [2, 2]
    assert all(seconds > 0 for coding in timings.codings for seconds in coding.samples)


async def test_a_codec_that_is_unknown_here_fails_the_epoch_and_not_its_requests(bench: Bench) -> None:
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(1), device_part(2, codec="int3"))))
    await until(lambda: bench.publisher.states == {1: "prepared", 2: "failed"})
    assert "wire codec 'int3' of tensor 'a' is unknown" in bench.publisher.details[2]


async def test_a_client_that_leaves_ends_its_request_everywhere(bench: Bench) -> None:
    bench.engine.feed(PeerUp("edge"))
    bench.engine.feed(DesiredChanged("m", desired("device", device_part(2), serve=2)))
    await bench.until_serving(2)
    client = asyncio.create_task(bench.engine.infer("m", {"x": X}, None))
    await until(lambda: bench.peers.sent)
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    assert bench.peers.aborted == ["edge"]
    assert not bench.engine.machine.busy


@pytest.mark.parametrize("error", [PreparationFailed("no blob"), ValueError("a defect")])
async def test_what_cannot_be_prepared_is_said_and_does_not_stop_the_agent(bench: Bench, error: Exception) -> None:
    bench.preparer.error = error
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(1))))
    await until(lambda: bench.publisher.states == {1: "failed"})


async def test_an_epoch_dropped_while_it_is_prepared_leaves_nothing(bench: Bench) -> None:
    bench.preparer.open.clear()
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(1))))
    await asyncio.wait_for(bench.preparer.asked.wait(), 30)
    bench.engine.feed(DesiredChanged("m", None))
    assert (bench.publisher.states, bench.engine.machine.models) == ({}, {})
    bench.preparer.open.set()
    # By the time that a later epoch is prepared the dropped one would have been, too.
    bench.engine.feed(DesiredChanged("m", desired("device", local_part(2))))
    await until(lambda: bench.publisher.states == {2: "prepared"})
    bench.engine.feed(DesiredChanged("m", None))
    assert (bench.publisher.states, bench.engine.machine.models) == ({}, {})


async def test_requests_are_forwarded_to_the_source_and_its_errors_come_back(bench: Bench) -> None:
    bench.engine.feed(DeploymentChanged("m", deployment("edge", "10.0.0.2:7400")))
    outputs, epoch = await bench.engine.infer("m", {"x": X}, None)
    assert epoch == 9
    np.testing.assert_array_equal(outputs["y"], 7 * X)
    bench.peers.error = NodeUnreachable("edge does not answer")
    with pytest.raises(NodeUnreachable):
        await bench.engine.infer("m", {"x": X}, None)
    bench.peers.error = OSError("something else")
    with pytest.raises(RequestFailed, match="something else"):
        await bench.engine.infer("m", {"x": X}, None)


async def test_requests_that_are_passed_on_are_bounded_in_number(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarded_requests, "MOST_FORWARDED", 2)
    bench.peers.open.clear()
    bench.engine.feed(DeploymentChanged("m", deployment("edge", "127.0.0.1:2")))
    waiting = [asyncio.create_task(bench.engine.infer("m", {"x": X}, None)) for _ in range(2)]
    await asyncio.wait_for(bench.peers.asked.wait(), 30)
    with pytest.raises(Overloaded, match="passes 2 requests on already"):
        await bench.engine.infer("m", {"x": X}, None)
    bench.peers.open.set()
    assert [epoch for _, epoch in await asyncio.gather(*waiting)] == [9, 9]
    assert (await bench.engine.infer("m", {"x": X}, None))[1] == 9


async def test_a_forwarded_request_whose_client_is_gone_is_not_forwarded_any_longer(bench: Bench) -> None:
    bench.peers.open.clear()
    bench.engine.feed(DeploymentChanged("m", deployment("edge", "127.0.0.1:2")))
    task = asyncio.create_task(bench.engine.infer("m", {"x": X}, None))
    await asyncio.wait_for(bench.peers.asked.wait(), 30)
    task.cancel()
    await asyncio.wait_for(bench.peers.gone.wait(), 30)


async def test_an_answered_request_is_checked_against_the_float_model(bench: Bench) -> None:
    plan = msgspec.structs.replace(local_part(2), quantized=True)
    wanted = desired("device", local_part(1), plan, serve=2, fallback=1)
    shadowing = Shadowing(requests=1, every_s=0.0, bound=0.1)
    bench.engine.feed(DesiredChanged("m", msgspec.structs.replace(wanted, shadowing=shadowing)))
    await bench.until_serving(2)
    await bench.engine.infer("m", {"x": X}, None)
    noise = await until(lambda: bench.publisher.noise)
    assert (noise.epoch, noise.samples, noise.mean) == (2, 1, 0.0)


async def test_a_float_model_released_before_its_check_costs_only_the_check(bench: Bench) -> None:
    plan = msgspec.structs.replace(local_part(2), quantized=True)
    wanted = desired("device", local_part(1), plan, serve=2, fallback=1)
    shadowing = Shadowing(requests=1, every_s=0.0, bound=0.1)
    bench.engine.feed(DesiredChanged("m", msgspec.structs.replace(wanted, shadowing=shadowing)))
    await bench.until_serving(2)
    await bench.engine.infer("m", {"x": X}, None)
    bench.engine.feed(DesiredChanged("m", desired("device", plan, serve=2)))
    assert (await bench.engine.infer("m", {"x": X}, None))[1] == 2


async def test_times_of_other_sizes_than_planned_teach_nothing_and_are_counted_apart(bench: Bench) -> None:
    bench.engine.feed(DesiredChanged("m", opened_desired(desired("device", local_part(1), serve=1))))
    await bench.until_serving(1)
    for length in (4, 4, 6, 9, 6, 4, 4):
        await bench.engine.infer("m", {"x": np.ones((1, length), np.float32)}, None)
    (usage,) = bench.usage.take_changed()
    assert (usage.requests, usage.unplanned) == (7, 3)
    assert [(entry.inputs["x"][1], entry.requests) for entry in usage.sizes] == [(4, 4), (6, 2), (9, 1)]
    await until(lambda: not bench.engine.machine.busy)
    known = bench.timings.take_changed()
    assert sum(len(component.samples) for timing in known for component in timing.components) == 3


async def test_requests_that_come_together_are_computed_together(bench: Bench) -> None:
    bench.engine.machine.flow.joints = JointRequests(bench.engine.machine.flow, 0.005)
    plan = desired("device", local_part(1), serve=1)
    rows = msgspec.structs.replace(
        plan, inputs=(rows_spec("x"),), outputs=(rows_spec("y"),), epochs=(of_rows(local_part(1)),)
    )
    bench.engine.feed(DesiredChanged("m", rows))
    await bench.until_serving(1)
    session = bench.preparer.session
    gate = threading.Event()
    for _ in range(3):
        busy = asyncio.ensure_future(bench.worker.run(gate.wait, priority=0))
        await let_others_run()
        inputs = [np.full((1, 3), number, np.float32) for number in range(5)]
        waiting = [asyncio.create_task(bench.engine.infer("m", {"x": x}, None)) for x in inputs]
        await asyncio.sleep(0.05)
        gate.set()
        for task, x in zip(waiting, inputs, strict=True):
            np.testing.assert_array_equal((await task)[0]["y"], 2 * x)
        await busy
        gate.clear()
    assert session.rows[-2:] == [1, 4]


async def test_an_agent_that_is_to_stop_ends_what_it_has_and_takes_nothing_new(bench: Bench) -> None:
    bench.engine.feed(PeerUp("edge"))
    bench.engine.feed(DesiredChanged("m", desired("device", device_part(2), serve=2)))
    await bench.until_serving(2)
    client = asyncio.create_task(bench.engine.infer("m", {"x": X}, None))
    await until(lambda: bench.peers.sent)
    stopping = asyncio.create_task(bench.engine.drained(AGES_S))
    await let_others_run()
    with pytest.raises(NodeUnreachable, match="device is shutting down: send again elsewhere, or once it is back"):
        await bench.engine.infer("m", {"x": X}, None)
    assert not stopping.done()
    bench.engine.feed(TensorsArrived("edge", ExecutionKey("m", 2, "i-1"), {"b": X}))
    outputs, _ = await client
    np.testing.assert_array_equal(outputs["y"], 2 * X)
    assert await stopping
