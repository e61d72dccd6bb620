"""Helpers of the quantization tests: a small network that has every form worth testing, and what runs it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.quantizable import candidates
from edgesplit_controller.graph.runner import open_session
from edgesplit_controller.graph.units import find_units
from edgesplit_controller.quantization.saturation import weight_bits

MATERIALIZED = Path(__file__).parents[3] / "materialized"


class Network:
    """Builds a model node by node."""

    def __init__(self, *, opset: int = 17, seed: int = 0) -> None:
        self.opset = opset
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        node = helper.make_node(kind, inputs, [f"{name}.out"], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return f"{name}.out"

    def conv(
        self, name: str, source: str, channels: tuple[int, int], kernel: int = 3, group: int = 1, bias: bool = True
    ) -> str:
        shape = (channels[1], channels[0] // group, kernel, kernel)
        weight = self.random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        inputs = [source, self.constant(f"{name}.w", weight)]
        if bias:
            inputs.append(self.constant(f"{name}.b", self.random.normal(0, 0.1, channels[1]).astype(np.float32)))
        return self.add("Conv", name, inputs, pads=[kernel // 2] * 4, group=group)

    def norm(self, name: str, source: str, channels: int) -> str:
        uniform = self.random.uniform
        values = {"g": uniform(0.2, 2, channels), "o": uniform(-0.3, 0.3, channels)}
        values |= {"m": uniform(-0.2, 0.2, channels), "v": uniform(0.5, 2, channels)}
        names = [self.constant(f"{name}.{key}", array.astype(np.float32)) for key, array in values.items()]
        return self.add("BatchNormalization", name, [source, *names])

    def proto(self, shape: tuple[int, ...], outputs: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs.items()],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def branched(*, opset: int = 17, seed: int = 0) -> onnx.ModelProto:
    """Conv + BatchNormalization + Relu, two branches, convolutions in a row, Gemm and MatMul heads; 8 candidates."""
    net = Network(opset=opset, seed=seed)
    stem = net.add("Relu", "stem.relu", [net.norm("stem.norm", net.conv("stem", "image", (3, 16)), 16)])
    left = net.add("Relu", "left.relu", [net.conv("left", stem, (16, 16))])
    right = net.conv("right", stem, (16, 16), bias=False)
    right = net.add("Mul", "right.mul", [right, net.add("Sigmoid", "right.sigmoid", [right])])
    depth = net.conv("depth", right, (16, 16), group=16)
    joined = net.add("Concat", "join", [left, depth], axis=1)
    row = net.conv("row2", net.conv("row1", joined, (32, 24), kernel=1), (24, 8))
    pooled = net.add("Flatten", "flat", [net.add("GlobalAveragePool", "pool", [row])])
    head_weight = net.constant("head.w", net.random.normal(0, 0.4, (10, 8)).astype(np.float32))
    head_bias = net.constant("head.b", net.random.normal(0, 0.1, 10).astype(np.float32))
    net.add("Gemm", "head", [pooled, head_weight, head_bias], transB=1)
    net.add(
        "MatMul", "scores", [pooled, net.constant("scores.w", net.random.normal(0, 0.4, (8, 6)).astype(np.float32))]
    )
    return net.proto((1, 3, 20, 20), {"head.out": (1, 10), "row2.out": (1, 8, 20, 20), "scores.out": (1, 6)})


def imported(proto: onnx.ModelProto, folder: Path, *, limit: int = 12) -> tuple[ModelGraph, BlobStore, tuple[str, ...]]:
    """Import a model and choose its candidates; its units end at theirs."""
    path = folder / "model.onnx"
    onnx.save(proto, str(path))
    return opened(path, folder, limit=limit)


def opened(path: Path, folder: Path, *, limit: int = 12) -> tuple[ModelGraph, BlobStore, tuple[str, ...]]:
    """Import a file and choose its candidates; its units end at theirs."""
    blobs = BlobStore(folder / "blobs")
    graph = import_model(path, blobs)
    chosen = candidates(graph, limit)
    graph = dataclasses.replace(graph, weight_bits=weight_bits())
    return graph.with_units(find_units(graph.operators, graph.tensors, chosen, graph.size_tensors)), blobs, chosen


def run(proto: onnx.ModelProto, blobs: BlobStore, feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs of a model."""
    return [np.asarray(output) for output in open_session(proto, blobs).run(None, feed)]


def optimised_kinds(proto: onnx.ModelProto, blobs: BlobStore, folder: Path) -> list[str]:
    """Operator types that onnxruntime really runs."""
    import onnxruntime

    source, target = blobs.folder / "whole.onnx", folder / "optimised.onnx"
    onnx.save(proto, str(source))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(str(target), load_external_data=False).graph.node]
