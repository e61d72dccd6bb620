"""Components of quantized models give what the whole quantized model gives."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from bench import zoo
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.cut import ComponentGraph, cut
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import open_session
from edgesplit_controller.quantization.calibration import load_calibration
from edgesplit_controller.quantization.noise.noise_model import calibrate
from edgesplit_controller.quantization.qdq import quantize
from tests.graph.support import random_feeds, random_groups, run_components
from tests.quantization.support import MATERIALIZED, branched, imported, opened, run

Values = dict[str, NDArray[Any]]


def _run(proto: onnx.ModelProto, graph: ModelGraph, blobs: BlobStore, feeds: Values) -> Values:
    session = open_session(proto, blobs, optimize=False)
    return dict(zip(graph.outputs, map(np.asarray, session.run(list(graph.outputs), feeds)), strict=True))


def _run_parts(parts: list[ComponentGraph], graph: ModelGraph, blobs: BlobStore, feeds: Values) -> Values:
    values, waiting = dict(feeds), list(parts)
    while waiting:
        part = next(part for part in waiting if all(name in values for name in part.inputs))
        waiting.remove(part)
        session = open_session(part.proto, blobs, optimize=False)
        outputs = session.run(list(part.outputs), {name: values[name] for name in part.inputs})
        values.update(zip(part.outputs, map(np.asarray, outputs), strict=True))
    return {name: values[name] for name in graph.outputs}


def check_cuts(graph: ModelGraph, blobs: BlobStore, chosen: tuple[str, ...], seeds: range) -> set[str]:
    """Compare for random subsets and groupings; returns the integer tensors that were cut."""
    ranges = calibrate(graph, blobs, chosen, load_calibration(None, graph, samples=4))
    feeds = dict(random_feeds(graph))
    travelled: set[str] = set()
    for seed in seeds:
        draw = random.Random(seed)
        model = quantize(graph, blobs, [name for name in chosen if draw.random() < 0.7], ranges)
        parts = cut(
            model.proto, random_groups(graph, seed), graph.tensors, owner=model.owner, replicated=model.replicated
        )
        for part in parts:
            described = {entry.name: entry.type.tensor_type.elem_type for entry in part.proto.graph.input}
            for name in set(part.inputs) & set(model.wire.values()):
                assert described[name] == 2  # uint8
                travelled.add(name)
            # A quantized operator's float output never travels.
            assert not set(part.inputs) & set(model.wire)
        # Without fusion both run the same kernels on the same values, so that nothing may differ. With it, sums in
        # another order can tip a value over to the next integer: noise of a size that quantization has anyway.
        expected = _run(model.proto, graph, blobs, feeds)
        parted = _run_parts(parts, graph, blobs, feeds)
        for name in graph.outputs:
            assert np.array_equal(parted[name], expected[name]), name
    return travelled


@pytest.mark.parametrize("opset", [9, 17])
def test_random_cuts_send_integers_and_equal_the_whole(opset: int, tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(opset=opset), tmp_path)
    assert len(check_cuts(graph, blobs, chosen, range(12))) >= 4


def test_a_cut_behind_a_quantized_operator_sends_a_quarter(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    ranges = calibrate(graph, blobs, chosen, load_calibration(None, graph))
    model = quantize(graph, blobs, ("left",), ranges)
    names = [operator.name for operator in graph.operators]
    at = names.index("left") + 1
    first, second = cut(
        model.proto, [names[:at], names[at:]], graph.tensors, owner=model.owner, replicated=model.replicated
    )
    assert "left.out@int8" in first.outputs and "left.out@int8" in second.inputs
    assert "left.out" not in first.outputs
    assert any(node.name == "left:output-dequantize" for node in second.proto.graph.node)


@pytest.mark.parametrize("name", ["version-RFB-640", "yolo11n-seg"])
def test_real_models_cut_after_quantization_equal_the_whole(name: str, tmp_path: Path) -> None:
    path = MATERIALIZED / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    graph, blobs, chosen = opened(path, tmp_path)
    assert len(chosen) == 12
    assert check_cuts(graph, blobs, chosen, range(3))


def test_integer_outputs_of_the_whole_model_are_deterministic(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    ranges = calibrate(graph, blobs, chosen, load_calibration(None, graph))
    feeds = dict(random_feeds(graph))
    one, other = (run(quantize(graph, blobs, chosen, ranges).proto, blobs, feeds) for _ in range(2))
    assert all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


class Noise(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not typed
    """Seeded inputs to calibrate with."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        draw = np.random.default_rng(0)
        self._rest = iter([{name: draw.random(shape, np.float32)} for _ in range(2)])

    def get_next(self) -> Values | None:
        """The next of them."""
        return next(self._rest, None)


def test_a_model_that_was_quantized_before_gives_the_same_integers_wherever_it_is_cut(tmp_path: Path) -> None:
    proto = zoo.build("mobilenet_v2", scale=0.25, size=64)
    (tmp_path / "plain").mkdir()
    onnx.save(proto, tmp_path / "plain" / "model.onnx")
    file = tmp_path / "quantized.onnx"
    reader = Noise(proto.graph.input[0].name, (1, 3, 64, 64))
    quantize_static(str(tmp_path / "plain" / "model.onnx"), str(file), reader, activation_type=QuantType.QUInt8)
    blobs = BlobStore(tmp_path / "blobs")
    graph = import_model(file, blobs)
    assert any("was quantized before" in note for note in graph.notes)
    readers = Counter(name for node in graph.proto.graph.node for name in node.input)
    dequantized = [node.output[0] for node in graph.proto.graph.node if node.op_type == "DequantizeLinear"]
    assert {readers[name] for name in dequantized if name not in graph.outputs} == {1}
    feeds = dict(random_feeds(graph))
    expected = run(graph.proto, blobs, feeds)
    apart = cut(graph.proto, [unit.operators for unit in graph.units], graph.tensors)
    for groups in (apart, *(cut(graph.proto, random_groups(graph, seed), graph.tensors) for seed in range(4))):
        parted = run_components(groups, blobs, feeds, graph.outputs)
        for name, value in zip(graph.outputs, expected, strict=True):
            assert np.array_equal(parted[name], value), name
