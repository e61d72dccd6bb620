"""Compiled plans, run in this process, give what the whole model gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesplit.control.component_messages import ComponentSpec
from edgesplit.control.figure_messages import LinkState
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.runner import open_session
from edgesplit_controller.graph.unit_tensors import INPUT, OUTPUT
from edgesplit_controller.models.intake.stages import take_in
from edgesplit_controller.models.model_record import ModelRecord, read_record, write_record
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.rollout.compilation import compile_local, compile_plan
from edgesplit_controller.rollout.draft import is_local
from edgesplit_controller.stating.problem_statement import Candidate, build_problem
from tests.controller.splitting import ADDRESSES, NODES, Arrays, served
from tests.controller.tiny_models import convolutions


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    return BlobStore(tmp_path_factory.mktemp("store") / "blobs")


@pytest.fixture(scope="module")
def record(blobs: BlobStore, tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    return taken_in(convolutions(), blobs, tmp_path_factory.mktemp("upload"))


def taken_in(content: bytes, blobs: BlobStore, folder: Path) -> ModelRecord:
    """A model as the controller has it, three operators of which may run in int8."""
    file = folder / "tiny"
    file.write_bytes(content)
    return take_in(Submission("tiny", file, {}, None, 3, ()), blobs, lambda _text, _fraction: None)


def profile(record: ModelRecord, unit_s: float) -> ExecutionProfile:
    units = [unit.name for unit in record.graph.units]
    return ExecutionProfile(
        time_s=dict.fromkeys(units, unit_s),
        quantized_time_s=dict.fromkeys(record.manifest.quantizable, unit_s / 2),
        whole_s=unit_s * len(units),
        runs=1,
        provider="CPUExecutionProvider",
        threads=1,
        runtime="",
    )


def link(to: str, *, up: bool = True) -> LinkState:
    return LinkState(to=to, up=up, bandwidth_bytes_per_s=1e6, latency_s=0.001, measured_at_unix_s=0.0)


def problem_of(record: ModelRecord, **changes: Any) -> Any:
    links = [(start, link(end)) for start in NODES for end in NODES if start != end]
    values: dict[str, Any] = {
        "quantizable": record.manifest.quantizable,
        "noise": record.manifest.noise,
        "source": "device",
        "candidates": [Candidate(name, 3.0, 1.0, None, profile(record, 0.01)) for name in NODES],
        "links": links,
        "goals": Goals(max_noise=None),
    }
    return build_problem("tiny", record.graph, **(values | changes))


def run(specs: Mapping[str, EpochSpec], source: str, blobs: BlobStore, inputs: Arrays) -> Arrays:
    """What agents make of it, in plain onnxruntime."""

    def compute(component: ComponentSpec, visible: Arrays) -> Arrays:
        session = open_session(onnx.ModelProto.FromString(blobs.read(component.graph.digest)), blobs)
        names = [tensor.name for tensor in component.outputs]
        feeds = {tensor.name: visible[tensor.name] for tensor in component.inputs}
        made: Arrays = dict(zip(names, session.run(names, feeds), strict=True))
        for tensor in component.outputs:
            assert (str(made[tensor.name].dtype), made[tensor.name].shape) == (tensor.dtype, tensor.shape)
        return made

    return served(specs, source, inputs, compute)


def image() -> Arrays:
    return {"image": np.random.default_rng(1).random((1, 3, 16, 16), dtype=np.float32)}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_assignment_gives_the_whole_models_outputs(
    record: ModelRecord, blobs: BlobStore, data: st.DataObject
) -> None:
    problem = problem_of(record)
    node_of = {operator.name: data.draw(st.sampled_from(NODES)) for operator in problem.operators}
    node_of |= {INPUT: "device", OUTPUT: "device"}
    quantized = data.draw(st.frozensets(st.sampled_from(record.manifest.quantizable)))
    assignment = Assignment(node_of, quantized)
    evaluation = evaluate(problem, assignment)
    split = compile_plan(
        record.graph,
        blobs,
        record.manifest.ranges,
        assignment,
        evaluation,
        epoch=2,
        source="device",
        addresses=ADDRESSES,
    )
    alone = Assignment(dict.fromkeys(node_of, "device"), quantized)
    whole = compile_plan(
        record.graph,
        blobs,
        record.manifest.ranges,
        alone,
        evaluate(problem, alone),
        epoch=1,
        source="device",
        addresses=ADDRESSES,
    )
    assert set(split) == {"device", *node_of.values()}
    assert split["device"].quantized == bool(quantized)
    expected, got = run(whole, "device", blobs, image()), run(split, "device", blobs, image())
    np.testing.assert_allclose(got["scores"], expected["scores"], rtol=0, atol=1e-4 * np.ptp(expected["scores"]))


def test_the_local_plan_needs_nobody_and_is_the_float_model(record: ModelRecord, blobs: BlobStore) -> None:
    spec = compile_local(record.graph, blobs, epoch=1, source="edge", address="10.0.0.1:7400")
    assert spec.participants == {"edge": "10.0.0.1:7400"}
    assert [component.routes for component in spec.components] == [()]
    whole = open_session(record.graph.proto, blobs).run(None, image())[0]
    np.testing.assert_allclose(run({"edge": spec}, "edge", blobs, image())["scores"], whole, rtol=0, atol=1e-5)


def test_local_means_everything_on_the_source_in_float() -> None:
    assert is_local(Assignment({"a": "device"}), "device")
    assert not is_local(Assignment({"a": "device"}, frozenset({"a"})), "device")
    assert not is_local(Assignment({"a": "device", "b": "edge"}), "device")


def test_a_problem_has_one_operator_a_unit_and_is_solvable(record: ModelRecord) -> None:
    problem = problem_of(record)
    assert [operator.name for operator in problem.operators if operator.role is None] == [
        unit.name for unit in record.graph.units
    ]
    assert sum(len(operator.listed) for operator in problem.operators) == len(record.graph.operators)
    quantizable = {operator.name for operator in problem.operators if operator.quantizable}
    assert quantizable == set(record.manifest.quantizable)
    for tensor in problem.tensors:
        expected = tensor.bytes / 4 if tensor.name.startswith("conv") and tensor.producer in quantizable else None
        assert tensor.quantized_bytes == expected
    assert solve(problem, time_limit_s=20.0).status == "optimal"


def test_nodes_that_cannot_be_reached_both_ways_are_left_out(record: ModelRecord) -> None:
    links = [("device", link("edge")), ("edge", link("device")), ("device", link("cloud")), ("cloud", link("x"))]
    problem = problem_of(record, links=links)
    assert [node.name for node in problem.nodes] == ["device", "edge"]
    problem = problem_of(record, links=[("device", link("edge", up=False)), ("edge", link("device"))])
    assert [node.name for node in problem.nodes] == ["device"]


def test_a_record_reads_back_as_it_was_written(record: ModelRecord, tmp_path: Path) -> None:
    write_record(tmp_path / "tiny", record)
    again = read_record(tmp_path / "tiny")
    assert again is not None
    assert again.manifest == record.manifest
    assert again.graph.units == record.graph.units
    assert again.graph.proto == record.graph.proto
