"""Where plans change the form of tensors: counted for hand-made networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.quantization.calibration import load_calibration
from edgesplit_controller.quantization.calibration_graphs import calibration_plan
from edgesplit_controller.quantization.noise.noise_model import calibrate
from edgesplit_controller.quantization.transitions import find_transitions, float_targets
from tests.quantization.support import Network, imported

SIDE = 8
TENSOR_BYTES = 4 * 16 * SIDE * SIDE


def chain() -> onnx.ModelProto:
    """Three convolutions with Relus between."""
    net = Network()
    first = net.add("Relu", "first.relu", [net.conv("first", "image", (16, 16))])
    second = net.add("Relu", "second.relu", [net.conv("second", first, (16, 16))])
    net.conv("third", second, (16, 16))
    return net.proto((1, 16, SIDE, SIDE), {"third.out": (1, 16, SIDE, SIDE)})


def counted(
    graph: ModelGraph, quantizable: tuple[str, ...], quantized: set[str], place_of: dict[str, str] | None = None
) -> dict[str, float]:
    places = place_of or dict.fromkeys((unit.name for unit in graph.units), "here")
    nbytes: dict[str, float] = {}
    for entry in find_transitions(graph, float_targets(graph, quantizable), quantized, places):
        nbytes[entry.kind] = nbytes.get(entry.kind, 0.0) + entry.nbytes
    return {kind: size / TENSOR_BYTES for kind, size in nbytes.items() if size}


def test_the_float_model_in_one_piece_changes_nothing(tmp_path: Path) -> None:
    graph, _, quantizable = imported(chain(), tmp_path)
    assert counted(graph, quantizable, set()) == {}


def test_one_int8_operator_is_quantized_in_front_of_and_dequantized_behind(tmp_path: Path) -> None:
    graph, _, quantizable = imported(chain(), tmp_path)
    found = counted(graph, quantizable, {"second"})
    assert found["to-int8"] == 1
    assert found["to-float"] == 1
    assert found["unfused"] == 1  # its Relu, which no float convolution takes in any more


def test_int8_neighbours_exchange_integers_through_a_relu(tmp_path: Path) -> None:
    graph, _, quantizable = imported(chain(), tmp_path)
    found = counted(graph, quantizable, {"first", "second", "third"})
    assert found["to-int8"] == 1
    assert found["to-float"] == 1
    assert "unfused" not in found


def test_a_cut_costs_reordering_on_both_sides_and_the_boundary_twice(tmp_path: Path) -> None:
    graph, _, quantizable = imported(chain(), tmp_path)
    places = {unit.name: "here" if unit.name.startswith("first") else "there" for unit in graph.units}
    found = counted(graph, quantizable, set(), places)
    assert found == {"reorder": 2, "boundary": 2}


def test_a_cut_behind_an_int8_operator_sends_a_quarter(tmp_path: Path) -> None:
    graph, _, quantizable = imported(chain(), tmp_path)
    places = {unit.name: "here" if unit.name == "first" else "there" for unit in graph.units}
    found = counted(graph, quantizable, {"first"}, places)
    assert found["boundary"] == 0.5
    assert found["to-float"] == 1


def test_calibration_parts_cover_the_model_and_can_be_run(tmp_path: Path) -> None:
    import onnxruntime

    graph, blobs, quantizable = imported(chain(), tmp_path)
    ranges = calibrate(graph, blobs, quantizable, load_calibration(None, graph, samples=4))
    plan = calibration_plan(graph, blobs, quantizable, ranges)
    units = [unit.name for unit in graph.units]
    for name in {part.name.rsplit("-", 1)[0] for part in plan.graphs}:
        covered = [unit for part in plan.graphs if part.name.rsplit("-", 1)[0] == name for unit in part.units]
        assert covered == units
    assert {kind for part in plan.graphs for kind in part.transition_bytes} >= {"to-int8", "to-float", "boundary"}
    for part in plan.graphs:
        session = onnxruntime.InferenceSession(str(blobs.path(part.graph.digest)), providers=["CPUExecutionProvider"])
        session.run(None, {spec.name: np.zeros(spec.shape, spec.dtype) for spec in part.inputs})
    assert calibration_plan(graph, blobs, quantizable, ranges) == plan
