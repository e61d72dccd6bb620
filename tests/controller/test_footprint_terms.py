"""What plans say of the memory that requests take, held against the tensors that there really are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from bench.random_plans import PlacedPlan, random_plan
from edgesplit.control.plan_messages import OpenAxis
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_agent.compute.runtime import RuntimeOptions, open_session, warm_up
from edgesplit_agent.serving.machine.admitting.footprints import Footprints
from edgesplit_agent.serving.machine.execution import request_tensors
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.graph_refs import request_specs
from tests.graph.support import constant, feeds_of, imported, model, tensor
from tests.graph.test_open_sizes import CASES

node = helper.make_node


def taken(plan: PlacedPlan, blobs: BlobStore, inputs: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Bytes of the tensors that each node has of a request, each once."""
    source = next(iter(plan.specs.values())).source
    tensors = dict(request_tensors(plan.specs[source], inputs))
    components = sorted(
        ((part, name) for name, spec in plan.specs.items() for part in spec.components),
        key=lambda entry: entry[0].component,
    )
    held: dict[str, dict[str, int]] = {name: {} for name in plan.specs}
    held[source] |= {name: array.nbytes for name, array in inputs.items()}
    while components:
        part, name = next(entry for entry in components if all(wanted.name in tensors for wanted in entry[0].inputs))
        components.remove((part, name))
        session = open_session(blobs.path(part.graph.digest), RuntimeOptions())
        warm_up(session, part)
        wanted = {spec.name: tensors[spec.name] for spec in part.inputs}
        made = dict(zip((spec.name for spec in part.outputs), session.run(None, wanted), strict=True))
        tensors |= made
        for spec in (*part.inputs, *part.outputs):
            assert spec.admits(tensors[spec.name].shape), spec
        held[name] |= {key: array.nbytes for key, array in (wanted | made).items()}
    return {name: sum(nbytes.values()) for name, nbytes in held.items()}


@pytest.mark.parametrize("case", CASES)
def test_a_source_counts_what_requests_of_any_size_really_take(tmp_path: Path, case: str) -> None:
    build, shapes, requests = CASES[case]
    graph, blobs, _ = imported(build(), tmp_path, shapes)
    for seed in range(3):
        plan = random_plan(graph, blobs, seed)
        source = next(iter(plan.specs.values())).source
        footprints = Footprints(plan.specs[source])
        for sizes in requests:
            inputs = feeds_of(graph, sizes)
            counted, real = footprints.of(inputs), taken(plan, blobs, inputs)
            said = {source: counted.here, **counted.on_peers}
            assert said.keys() == real.keys()
            for name, nbytes in real.items():
                # Bytes grow by whole steps of a stride, and constants beside what grows are few.
                assert said[name] == pytest.approx(nbytes, rel=0.35, abs=600), (case, seed, sizes, name)
            if not sizes:
                assert said == real
                assert not counted.larger


def test_a_plan_of_fixed_sizes_says_what_it_said_before(tmp_path: Path) -> None:
    proto = model([node("Relu", ["x"], ["y"], name="relu")], [tensor("x", (1, 4))], [tensor("y", (1, 4))])
    graph, blobs, _ = imported(proto, tmp_path)
    spec = random_plan(graph, blobs, 0).specs["device"]
    assert (spec.open_axes, spec.footprint_terms, spec.joinable) == ((), {}, False)


def rows(*, second: str = "batch", out: str = "batch", name: str = "Relu") -> onnx.ModelProto:
    """Two inputs, added, in rows."""
    nodes = [node("Add", ["x", "z"], ["sum"], name="add"), node(name, ["sum"], ["y"], name="last")]
    return model(
        nodes,
        [tensor("x", ("batch", 4)), tensor("z", (second, 4))],
        [tensor("y", (out, 4) if name == "Relu" else (4, out))],
        [constant("unused", [0.0])],
    )


@pytest.mark.parametrize(
    ("proto", "joinable"),
    [(rows(), True), (rows(second="other"), False), (rows(name="Transpose"), False)],
    ids=["rows", "another size", "turned"],
)
def test_requests_may_be_joined_where_the_first_axis_of_everything_is_one_open_size(
    tmp_path: Path, proto: onnx.ModelProto, joinable: bool
) -> None:
    graph, blobs, _ = imported(proto, tmp_path, {"x": (1, 4), "z": (1, 4)})
    spec = random_plan(graph, blobs, 1).specs["device"]
    assert spec.joinable == joinable
    assert spec.open_axes[0] == OpenAxis(input="x", axis=0, size=1)
    assert request_specs(graph, ["x"]) == (TensorSpec(name="x", dtype="float32", shape=(-1, 4), typical=(1, 4)),)
