"""The zoo: right topologies, seeded weights, outputs worth comparing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from bench import zoo
from bench.zoo.__main__ import main
from edgesplit.errors import InvalidInput

# Small enough for a test, deep as the real ones.
SMALL = {
    "resnet50": (0.25, 64),
    "mobilenet_v2": (0.25, 64),
    "yolo_seg": (0.1, 64),
    "transformer_encoder": (0.17, 32),
}


def build_small(name: str, seed: int = 0) -> onnx.ModelProto:
    scale, size = SMALL[name]
    return zoo.build(name, seed=seed, scale=scale, size=size)


def run(model: onnx.ModelProto, seed: int) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(seed)
    feeds = {value.name: generator.random(value.shape, np.float32) for value in session.get_inputs()}
    return list(session.run(None, feeds))


def weights(model: onnx.ModelProto) -> int:
    floats = (entry for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.FLOAT)
    return sum(int(np.prod(entry.dims)) for entry in floats)


def test_the_small_variants_cover_the_zoo() -> None:
    assert set(SMALL) == set(zoo.names())


@pytest.mark.parametrize("name", zoo.names())
def test_inferred_shapes_are_those_the_builder_declared(name: str) -> None:
    model = build_small(name)
    declared = {value.name: value.type for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(output) for output in declared)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    assert {value.name: value.type for value in inferred.graph.output} == declared


@pytest.mark.parametrize("name", zoo.names())
def test_outputs_are_finite_and_depend_on_the_input(name: str) -> None:
    model = build_small(name)
    for left, right in zip(run(model, 1), run(model, 2), strict=True):
        assert np.isfinite(left).all()
        spread = float(left.std())
        assert 1e-3 < spread < 1e3
        assert float(np.abs(left - right).mean()) > 1e-3 * spread


@pytest.mark.parametrize("name", zoo.names())
def test_the_seed_decides_the_weights(name: str) -> None:
    assert build_small(name).SerializeToString() == build_small(name).SerializeToString()
    assert build_small(name).SerializeToString() != build_small(name, seed=1).SerializeToString()


@pytest.mark.parametrize("name", zoo.names())
def test_every_operator_has_a_name_of_its_own(name: str) -> None:
    operators = [node.name for node in build_small(name).graph.node]
    assert all(operators)
    assert len(set(operators)) == len(operators)


def test_resnet50_has_the_papers_layers_and_weights() -> None:
    model = zoo.build("resnet50")
    assert Counter(node.op_type for node in model.graph.node)["Conv"] == 53
    assert weights(model) == pytest.approx(25.5e6, rel=0.01)


def test_mobilenet_v2_has_the_papers_layers_and_weights() -> None:
    model = zoo.build("mobilenet_v2")
    counted = Counter(node.op_type for node in model.graph.node)
    assert counted["Conv"] == 52
    assert counted["BatchNormalization"] == 52
    assert counted["Add"] == 10
    assert weights(model) == pytest.approx(3.5e6, rel=0.02)


def test_yolo_seg_has_some_650_operators_whatever_its_width() -> None:
    model = build_small("yolo_seg")
    assert 630 <= len(model.graph.node) <= 670
    outputs = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in model.graph.output
    }
    # A 64 pixel image has 8 x 8 + 4 x 4 + 2 x 2 cells.
    assert outputs == {"predictions": [1, 4 + 80 + 32, 84], "prototypes": [1, 32, 16, 16]}


def test_yolo_boxes_are_in_pixels_around_their_cells() -> None:
    predictions, _ = run(build_small("yolo_seg"), 1)
    centres = predictions[0, :2]
    # The finest cells are 8 pixels wide and a box's sides lie at most 15 cells away from its cell.
    first_cell = centres[:, 0]
    assert np.all(np.abs(first_cell - 4.0) <= 8 * 15 / 2)
    scores = predictions[0, 4:84]
    assert float(scores.min()) >= 0.0
    assert float(scores.max()) <= 1.0


def test_the_encoder_has_two_layers_at_a_sixth_of_its_size() -> None:
    counted = Counter(node.op_type for node in build_small("transformer_encoder").graph.node)
    assert counted["Softmax"] == 2
    assert counted["LayerNormalization"] == 1 + 2 * 2
    assert counted["Erf"] == 2


@pytest.mark.parametrize(
    ("name", "scale", "size", "message"),
    [
        ("resnet51", 1.0, None, "resnet50"),
        ("resnet50", 0.0, None, "scale"),
        ("resnet50", 1.0, 0, "size"),
        ("yolo_seg", 0.1, 70, "multiple of 32"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(name: str, scale: float, size: int | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        zoo.build(name, scale=scale, size=size)


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    arguments = ["mobilenet_v2", str(output), "--scale", "0.25", "--size", "32", "--seed", "3"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert onnx.load(str(output)) == zoo.build("mobilenet_v2", seed=3, scale=0.25, size=32)


def test_the_command_names_a_missing_folder(tmp_path: Path) -> None:
    output = tmp_path / "absent" / "small.onnx"
    arguments = ["mobilenet_v2", str(output), "--scale", "0.25", "--size", "32"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "is not a folder" in result.output
