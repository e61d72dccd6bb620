"""Quantization sites: operators that can be quantized, what follows them, which tensors need a range.

Owns: the question "has this operator an int8 form, and where does its int8 output stand". Its rule: reads a graph,
never changes it. Not here: scales, new nodes, the choice of candidates by cost.

A BatchNormalization that alone reads a Conv is folded into it when the Conv is quantized: the int8 output then
stands behind the normalisation, where onnxruntime's float fusion puts it too, and channels of different size share
one scale without loss. An output that is read only by Relu or Clip is quantized over the range that passes them:
finer steps, and the saturation of QuantizeLinear does their work.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.protos import used_names
from edgesplit_controller.quantization.weights import read_initializer

__all__ = ["Site", "attributes", "channel_axis", "find_sites", "observed_tensors", "passing_range", "quantizable"]


@dataclass(frozen=True)
class Site:
    """One operator to quantize.

    Attributes:
        node: The operator.
        normalisation: The BatchNormalization that is folded into it, if any.
    """

    node: onnx.NodeProto
    normalisation: onnx.NodeProto | None = None

    @property
    def source(self) -> str:
        """The activation it reads."""
        return str(self.node.input[0])

    @property
    def target(self) -> str:
        """The float tensor that its int8 output stands for."""
        return str((self.normalisation or self.node).output[0])


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def channel_axis(node: onnx.NodeProto) -> int:
    """The axis of the weight that counts output channels."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and attributes(node).get("transB", 0) else 1


def quantizable(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether the operator has an int8 form here.

    Args:
        node: The operator.
        weights: Initializers by name.

    Returns:
        True for a Conv, a MatMul or a plain Gemm whose weight (and bias, if any) is a float32 constant.
        onnxruntime's CPU provider has no integer ConvTranspose.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "MatMul", "Gemm"):
        return False
    constants = [name for name in node.input[1:] if name]
    if not constants or node.input[0] in weights:
        return False
    if any(name not in weights or weights[name].data_type != onnx.TensorProto.FLOAT for name in constants):
        return False
    dims = [len(weights[name].dims) for name in constants]
    if node.op_type == "Conv":
        return True
    # A Gemm's bias may be any shape that broadcasts; only one value for each channel has an integer form.
    return dims[0] == 2 and (node.op_type == "MatMul" or _plain_gemm(node, weights))


def _plain_gemm(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    values = attributes(node)
    if values.get("alpha", 1.0) != 1.0 or values.get("beta", 1.0) != 1.0 or values.get("transA", 0):
        return False
    channels = weights[node.input[1]].dims[channel_axis(node)]
    return len(node.input) < 3 or not node.input[2] or tuple(weights[node.input[2]].dims) == (channels,)


def find_sites(proto: onnx.ModelProto, operators: Collection[str]) -> dict[str, Site]:
    """Find the operators to quantize.

    Args:
        proto: The float graph.
        operators: Their names.

    Returns:
        One site for each name, in graph order.

    Raises:
        InvalidModel: A name is unknown or the operator has no int8 form.
    """
    weights = {initializer.name: initializer for initializer in proto.graph.initializer}
    readers = _readers(proto)
    outputs = {entry.name for entry in proto.graph.output}
    wanted = set(operators)
    chosen = {node.name: node for node in proto.graph.node if node.name in wanted}
    if unknown := sorted(wanted - chosen.keys()):
        raise InvalidModel(f"operator {unknown[0]!r} is not in the model; see the names in splitctl model show")
    for name, node in chosen.items():
        if not quantizable(node, weights):
            raise InvalidModel(f"operator {name!r} ({node.op_type}) has no int8 form; exclude it with --exclude")
    return {
        name: Site(node, _foldable(readers.get(node.output[0], []), weights) if _inner(node, outputs) else None)
        for name, node in chosen.items()
    }


def _readers(proto: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        for name in used_names(node):
            readers.setdefault(name, []).append(node)
    return readers


def _inner(node: onnx.NodeProto, outputs: set[str]) -> bool:
    return node.op_type == "Conv" and node.output[0] not in outputs


def _foldable(readers: list[onnx.NodeProto], weights: Mapping[str, onnx.TensorProto]) -> onnx.NodeProto | None:
    if len(readers) != 1 or readers[0].op_type != "BatchNormalization":
        return None
    node = readers[0]
    constant = all(name in weights and weights[name].data_type == onnx.TensorProto.FLOAT for name in node.input[1:])
    training = attributes(node).get("training_mode", 0) or len([name for name in node.output if name]) > 1
    return node if constant and not training else None


def observed_tensors(proto: onnx.ModelProto, operators: Collection[str]) -> tuple[str, ...]:
    """Tensors whose ranges `quantize` needs for these operators.

    Args:
        proto: The float graph.
        operators: Names of operators.

    Returns:
        The float tensors that get an int8 form, each once, in graph order.

    Raises:
        InvalidModel: A name is unknown or the operator has no int8 form.
    """
    sites = find_sites(proto, operators).values()
    return tuple(dict.fromkeys(tensor for site in sites for tensor in (site.source, site.target)))


def passing_range(
    proto: onnx.ModelProto, tensor: str, full: tuple[float, float], blobs: BlobStore
) -> tuple[float, float]:
    """The part of a tensor's range that its readers let through.

    Args:
        proto: The float graph.
        tensor: The tensor.
        full: Its calibrated least and greatest value.
        blobs: Where the graph's constants lie.

    Returns:
        `full`, cut where every reader is a Relu or Clip that cuts there as well.
    """
    readers = [node for node in proto.graph.node if tensor in used_names(node)]
    if not readers or any(entry.name == tensor for entry in proto.graph.output):
        return full
    weights = {initializer.name: initializer for initializer in proto.graph.initializer}
    bounds = [_bounds(node, weights, blobs) for node in readers]
    low, high = full
    least, greatest = min(bound[0] for bound in bounds), max(bound[1] for bound in bounds)
    return (min(max(low, least), high), max(min(high, greatest), low))


def _bounds(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto], blobs: BlobStore) -> tuple[float, float]:
    """Values below the first are as good as the first to this reader, those above the second as the second."""
    unbounded = (-np.inf, np.inf)
    if node.op_type == "Relu":
        return (0.0, np.inf)
    if node.op_type != "Clip":
        return unbounded
    limits = attributes(node)
    for position, key in ((1, "min"), (2, "max")):
        name = node.input[position] if position < len(node.input) else ""
        if name and name not in weights:
            return unbounded
        if name:
            limits[key] = read_initializer(weights[name], blobs).item()
    return (float(limits.get("min", -np.inf)), float(limits.get("max", np.inf)))
