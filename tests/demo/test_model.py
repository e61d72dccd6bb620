"""The shipped demo model: its graph, its accuracy, and what int8 costs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

import demo
from demo.network import LAYERS, Convolution, Folded, spread_channels, write_onnx
from demo.scoring import mean_iou
from demo.shapes import CLASSES, IMAGE_SIZE, calibration, held_out
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.quantizable import candidates
from edgesplit_controller.graph.runner import open_session
from edgesplit_controller.quantization.calibration import load_calibration
from edgesplit_controller.quantization.noise.noise_model import calibrate
from edgesplit_controller.quantization.qdq import quantize

SHAPES_ONNX = Path(str(demo.__file__)).with_name("shapes.onnx")
IMAGES = 32


@pytest.fixture(scope="module")
def float_logits() -> NDArray[np.float32]:
    return run(SHAPES_ONNX.read_bytes())


def run(model: bytes, count: int = IMAGES) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    images = held_out(count).images
    return np.concatenate([session.run(["logits"], {"image": image[None]})[0] for image in images])


def random_parameters() -> dict[str, Folded]:
    generator = np.random.default_rng(3)
    parameters = {}
    for layer in LAYERS:
        if isinstance(layer, Convolution):
            shape = (layer.channels_out, layer.channels_in, layer.kernel, layer.kernel)
            sigma = np.sqrt(2 / (layer.channels_in * layer.kernel**2))
            weight = generator.normal(0, sigma, shape).astype(np.float32)
            parameters[layer.name] = Folded(weight, generator.normal(0, 0.1, shape[0]).astype(np.float32))
    return parameters


def test_the_shipped_file_is_small_valid_and_named_after_the_layers() -> None:
    assert SHAPES_ONNX.stat().st_size <= 5_000_000
    model = onnx.load(str(SHAPES_ONNX))
    onnx.checker.check_model(model, full_check=True)
    expected = write_onnx(random_parameters(), {})
    assert [(node.op_type, node.name) for node in model.graph.node] == [
        (node.op_type, node.name) for node in expected.graph.node
    ]
    assert 20 <= len(model.graph.node) <= 40


def test_input_and_output_are_as_documented() -> None:
    session = onnxruntime.InferenceSession(str(SHAPES_ONNX), providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape, image.type) == ("image", [1, 3, IMAGE_SIZE, IMAGE_SIZE], "tensor(float)")
    assert (logits.name, logits.shape) == ("logits", [1, len(CLASSES), IMAGE_SIZE, IMAGE_SIZE])


def test_the_stated_accuracy_is_reached(float_logits: NDArray[np.float32]) -> None:
    model = onnx.load(str(SHAPES_ONNX))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["training_script"] == "demo/train.py"
    assert facts["classes"] == ",".join(CLASSES)
    stated = float(facts["miou_held_out"])
    assert stated > 0.75
    assert mean_iou(float_logits, held_out(IMAGES).labels, len(CLASSES)) == pytest.approx(stated, abs=0.05)


def test_int8_costs_a_little_accuracy(float_logits: NDArray[np.float32], tmp_path: Path) -> None:
    np.savez(tmp_path / "calibration.npz", allow_pickle=False, **calibration(16))
    blobs = BlobStore(tmp_path / "blobs")
    graph = import_model(SHAPES_ONNX, blobs)
    operators = candidates(graph)
    ranges = calibrate(graph, blobs, operators, load_calibration(tmp_path / "calibration.npz", graph))
    session = open_session(quantize(graph, blobs, operators, ranges).proto, blobs)
    held = held_out(IMAGES)
    quantized_logits = np.concatenate([session.run(["logits"], {"image": image[None]})[0] for image in held.images])
    truth, classes = held.labels, len(CLASSES)
    lost = mean_iou(float_logits, truth, classes) - mean_iou(quantized_logits, truth, classes)
    assert 0.0 < lost < 0.1
    noise = float(np.abs(float_logits - quantized_logits).mean())
    assert 0.2 < noise < 1.0


def test_a_cut_inside_the_model_is_smaller_than_its_input() -> None:
    model = onnx.load(str(SHAPES_ONNX))
    elements = {
        value.name: int(np.prod([axis.dim_value for axis in value.type.tensor_type.shape.dim]))
        for value in model.graph.value_info
    }
    crossing = elements["encoder/squeeze"] + elements["encoder/skip"]
    assert crossing * 4 < 3 * IMAGE_SIZE**2


def test_spreading_the_channels_keeps_the_function() -> None:
    parameters = random_parameters()
    plain = run(write_onnx(parameters, {}).SerializeToString(), count=1)
    spread_parameters = spread_channels(parameters, sigma=0.7, seed=4)
    spread = run(write_onnx(spread_parameters, {}).SerializeToString(), count=1)
    np.testing.assert_allclose(spread, plain, atol=1e-4 * float(np.ptp(plain)))
    ranges = np.abs(spread_parameters["encoder/stem"].weight).max(axis=(1, 2, 3))
    assert float(ranges.max() / ranges.min()) > 5
