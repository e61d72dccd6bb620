"""Helpers of the graph tests: grouping, running components one after another, comparing outputs."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesplit.wire.tensors import TEXT, contiguous, dtype_name, widened
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.cut import ComponentGraph, cut, cut_deployed
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import open_session

SHARED_MODELS = Path(__file__).parents[3] / "shared" / "models"


def real_model(name: str, folder: Path) -> Path:
    """Return a real model's file, refilled if its weights were stripped; skips where it is not at hand."""
    whole = SHARED_MODELS / f"{name}.onnx"
    if whole.exists():
        return whole
    stripped = SHARED_MODELS / f"{name}.stripped.onnx"
    if not stripped.exists():
        pytest.skip(f"{stripped} is not here")
    path = folder / f"{name}.onnx"
    script = [sys.executable, str(SHARED_MODELS / "materialize.py"), str(stripped), str(path), "--no-run"]
    subprocess.run(script, check=True, capture_output=True)
    return path


def group_by_level(graph: ModelGraph, node_of: Mapping[str, str]) -> list[list[str]]:
    """Group operators by node and by the number of node changes before them: such groups form a DAG."""
    level: dict[str, int] = {}
    groups: dict[tuple[int, str], list[str]] = {}
    unit_of = graph.unit_of
    for unit in graph.units:
        own = set(unit.operators)
        before = {
            unit_of[producer]
            for name in unit.inputs
            if (producer := graph.tensors[name].producer) is not None and producer not in own
        }
        before |= {
            unit_of[entry.producer]
            for entry in graph.size_tensors
            if entry.producer is not None and entry.producer not in own and own.intersection(entry.consumers)
        }
        level[unit.name] = max((level[other] + (node_of[other] != node_of[unit.name]) for other in before), default=0)
        groups.setdefault((level[unit.name], node_of[unit.name]), []).extend(unit.operators)
    return list(groups.values())


def random_groups(graph: ModelGraph, seed: int, nodes: int = 3) -> list[list[str]]:
    """Assign units at random, in runs, so that components of several sizes arise."""
    draw = random.Random(seed)
    stay = draw.choice([0.0, 0.5, 0.9])
    node_of: dict[str, str] = {}
    node = "0"
    for unit in graph.units:
        if draw.random() >= stay:
            node = str(draw.randrange(nodes))
        node_of[unit.name] = node
    return group_by_level(graph, node_of)


def run_components(
    components: Sequence[ComponentGraph], blobs: BlobStore, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> dict[str, np.ndarray]:
    """Run components as soon as their inputs are there; fails when they wait for each other."""
    values = dict(feeds)
    waiting = list(components)
    while waiting:
        ready = [component for component in waiting if all(name in values for name in component.inputs)]
        assert ready, "components form a cycle"
        for component in ready:
            waiting.remove(component)
            session = open_session(component.proto, blobs)
            results = session.run(list(component.outputs), {name: values[name] for name in component.inputs})
            values.update(zip(component.outputs, results, strict=True))
    return {name: values[name] for name in outputs}


def random_feeds(graph: ModelGraph, seed: int = 0) -> dict[str, np.ndarray]:
    """Uniform noise for every input."""
    draw = np.random.default_rng(seed)
    feeds = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        values = draw.random(tensor.shape)
        feeds[name] = (values if np.dtype(tensor.dtype).kind == "f" else values * 4).astype(tensor.dtype)
    return feeds


def assert_close(actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], relative: float = 1e-4) -> None:
    """Compare within a fraction of each output's range."""
    assert set(actual) == set(expected)
    for name, value in expected.items():
        found = widened(contiguous(name, actual[name]))
        assert dtype_name(actual[name]) == dtype_name(value)
        assert found.shape == value.shape
        if not value.size:
            continue
        if dtype_name(value) == TEXT:
            assert found.tolist() == value.tolist()
            continue
        wide = widened(contiguous(name, value)).astype(np.float64)
        extent = max(float(wide.max() - wide.min()), float(np.abs(wide).max()), 1e-6)
        difference = float(np.abs(found.astype(np.float64) - wide).max())
        assert difference <= relative * extent, f"{name}: {difference} of {extent}"


def original_outputs(path: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the user's file itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def assert_split_equals_whole(graph: ModelGraph, blobs: BlobStore, path: Path, seeds: Sequence[int]) -> None:
    """Cut at random, run the parts, compare with the user's file."""
    feeds = random_feeds(graph)
    expected = original_outputs(path, feeds)
    for seed in seeds:
        components = cut(graph.proto, random_groups(graph, seed), graph.tensors)
        assert_close(run_components(components, blobs, feeds, graph.outputs), expected)
        if graph.open is not None:
            assert_close(run_deployed(graph, blobs, feeds, seed), expected)


def run_deployed(
    graph: ModelGraph, blobs: BlobStore, feeds: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Cut what nodes run at random, and run it on inputs of any size."""
    sizes = {entry.name: np.array(feeds[entry.of].shape) for entry in graph.size_tensors if entry.producer is None}
    components = cut_deployed(graph, random_groups(graph, seed))
    return run_components(components, blobs, {**feeds, **sizes}, graph.outputs)


def feeds_of(graph: ModelGraph, sizes: Mapping[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Uniform noise for every input of an open model, where some sizes differ from the planned ones."""
    assert graph.open is not None
    shapes = {name: list(graph.tensors[name].shape) for name in graph.inputs}
    for size in graph.open.sizes:
        for name, axis in size.places:
            shapes[name][axis] = sizes.get(size.name, size.planned)
    draw = np.random.default_rng(seed)
    return {
        name: (draw.random(shape) * (1 if np.dtype(graph.tensors[name].dtype).kind == "f" else 4)).astype(
            graph.tensors[name].dtype
        )
        for name, shape in shapes.items()
    }


def constant(name: str, value: object, dtype: str = "float32") -> TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(value, dtype=dtype), name)


def tensor(name: str, shape: Sequence[int | str | None], elem_type: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A graph input or output."""
    return helper.make_tensor_value_info(name, elem_type, list(shape))


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[TensorProto] = (),
    *,
    opset: int = 17,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """A model of ONNX's own operators."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def imported(
    proto: onnx.ModelProto, folder: Path, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[ModelGraph, BlobStore, Path]:
    """Save a model and import it."""
    path = folder / "model.onnx"
    onnx.save(proto, str(path))
    blobs = BlobStore(folder / "blobs")
    return import_model(path, blobs, shapes=shapes), blobs, path
