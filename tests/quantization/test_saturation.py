"""Weights have as many bits as this machine's kernels can compute with, and plans are cut with those that were measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest

from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.quantization.calibration import load_calibration
from edgesplit_controller.quantization.noise.noise_model import calibrate
from edgesplit_controller.quantization.qdq import QuantizedModel, quantize
from edgesplit_controller.quantization.saturation import weight_bits
from tests.quantization.support import branched, imported, run
from tests.quantization.test_quantized_graphs import FEED, relative_noise


def unfused(proto: onnx.ModelProto, blobs: BlobStore) -> list[np.ndarray]:
    """Outputs without integer kernels: what the integers mean, exactly."""
    path = blobs.folder / "unfused.onnx"
    onnx.save(proto, str(path))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, FEED)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[BlobStore, dict[int, QuantizedModel], list[np.ndarray]]:
    graph, blobs, chosen = imported(branched(), tmp_path_factory.mktemp("model"))
    ranges = calibrate(graph, blobs, chosen, load_calibration(None, graph))
    each = {bits: quantize(dataclasses.replace(graph, weight_bits=bits), blobs, chosen, ranges) for bits in (7, 8)}
    return blobs, each, run(graph.proto, blobs, FEED)


def test_kernels_of_this_machine_compute_what_the_integers_mean(
    models: tuple[BlobStore, dict[int, QuantizedModel], list[np.ndarray]],
) -> None:
    blobs, each, reference = models
    model = each[weight_bits()]
    meant = relative_noise(reference, unfused(model.proto, blobs))
    assert relative_noise(reference, run(model.proto, blobs, FEED)) == pytest.approx(meant, rel=0.2)


def test_seven_bits_are_right_everywhere_and_eight_are_less_noisy_where_they_are(
    models: tuple[BlobStore, dict[int, QuantizedModel], list[np.ndarray]],
) -> None:
    blobs, each, reference = models
    meant = {bits: relative_noise(reference, unfused(model.proto, blobs)) for bits, model in each.items()}
    assert relative_noise(reference, run(each[7].proto, blobs, FEED)) == pytest.approx(meant[7], rel=0.2)
    assert meant[8] < meant[7] < 2 * meant[8]
    clipped = relative_noise(reference, run(each[8].proto, blobs, FEED)) > 2 * meant[8]
    assert clipped == (weight_bits() == 7)
