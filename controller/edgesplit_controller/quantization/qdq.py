"""QDQ quantization per operator: QuantizeLinear and DequantizeLinear around the operators a plan quantizes.

Owns: the form of a quantized graph. Its rule: any subset of operators can be quantized with the same calibration
ranges, and no tensor keeps its name but changes its values' meaning: float tensors stay float under their names,
integer tensors have names of their own. Not here: the ranges, the choice of operators, cutting.

Around an operator with input x, weight w, bias b and output y:

    x -> Q -> DQ ----.
    w (int8) -> DQ --+--> operator -> Q -> "y@int8" -> DQ -> y
    b (int32) -> DQ -'

onnxruntime turns the middle into one integer kernel. The DQ of the constants and the last Q belong to the operator.
The other three are *replicated*: every component that reads what they make has its own copy. So a cut in front of
the operator sends x in float, a cut behind it 8 bit integers, and operators that read the same x share its round
trip. When x is itself the output of a quantized operator, the first pair is left out: x comes out of a DQ already.
When a BatchNormalization is folded in (see `sites`), the last DQ takes its place and its name, and belongs to it.

Models below opset 13 (no per-channel DequantizeLinear) and from 28 on use the same two operators of onnxruntime's own
domain, `com.microsoft`, which exist at any opset and fuse alike (only opsets 7 to 9 are taken to 10, see `opset`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgesplit.errors import InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.protos import used_names
from edgesplit_controller.quantization.opset import opset_of, upgrade_opset
from edgesplit_controller.quantization.parameters import (
    ActivationParameters,
    activation_parameters,
    quantize_bias,
    quantize_weight,
)
from edgesplit_controller.quantization.sites import Site, attributes, channel_axis, find_sites, passing_range
from edgesplit_controller.quantization.weights import read_initializer, store_initializer

__all__ = ["QuantizedModel", "Ranges", "float_name", "is_wire_name", "quantize", "wire_name"]

Ranges = Mapping[str, tuple[float, float]]
"""Least and greatest value of float tensors, by name."""

_OWN_FORM_OPSETS = range(13, 28)
"""Before, DequantizeLinear had no channels; from 28 on onnxruntime 1.32 has no kernels for ONNX's own form."""
_VENDOR_DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class QuantizedModel:
    """A graph with some operators in int8.

    Attributes:
        proto: The graph; large integer weights are blob references like the float ones.
        owner: Added node name -> the operator it belongs to.
        replicated: Added nodes that belong to nobody: every component that reads their output copies them.
        wire: A quantized operator's float output -> the integer tensor [uint8] that stands for it at a cut.
    """

    proto: onnx.ModelProto
    owner: Mapping[str, str]
    replicated: frozenset[str]
    wire: Mapping[str, str]


IN_INTEGERS = "@int8"


def wire_name(tensor: str) -> str:
    """The integer tensor that stands for a quantized operator's float output at a cut."""
    return f"{tensor}{IN_INTEGERS}"


def float_name(tensor: str) -> str:
    """The float output that a tensor on the wire stands for, or is."""
    return tensor.removesuffix(IN_INTEGERS)


def is_wire_name(tensor: str) -> bool:
    """Whether a tensor that travels is one of integers that stand for a quantized operator's output."""
    return tensor.endswith(IN_INTEGERS)


@dataclass
class _Rewrite:
    """The graph under construction."""

    proto: onnx.ModelProto
    blobs: BlobStore
    domain: str
    reduce_range: bool
    shapes: Mapping[str, tuple[int, ...]]
    weights: Mapping[str, onnx.TensorProto]
    parameters: Mapping[str, ActivationParameters]
    integer_tensors: frozenset[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    added: list[onnx.TensorProto] = field(default_factory=list)
    owner: dict[str, str] = field(default_factory=dict)
    replicated: set[str] = field(default_factory=set)
    wire: dict[str, str] = field(default_factory=dict)
    stepped: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add an initializer and return its name."""
        self.added.append(store_initializer(name, values, self.blobs))
        return name

    def convert(self, kind: str, inputs: list[str], output: str, node_name: str, axis: int | None = None) -> str:
        """Add a QuantizeLinear or DequantizeLinear node and return its output."""
        node = onnx.helper.make_node(kind, inputs, [output], name=node_name, domain=self.domain)
        if axis is not None:
            node.attribute.append(onnx.helper.make_attribute("axis", axis))
        self.nodes.append(node)
        return output

    def dequantized_constant(self, prefix: str, values: NDArray[Any], scales: NDArray[np.float32], axis: int) -> str:
        """Add integers and the node that turns them into floats, and return the float tensor."""
        inputs = [
            self.constant(f"{prefix}-integers", values),
            self.constant(f"{prefix}-scale", scales),
            self.constant(f"{prefix}-zero-point", np.zeros(scales.shape, values.dtype)),
        ]
        return self.convert("DequantizeLinear", inputs, f"{prefix}-float", f"{prefix}-dequantize", axis)

    def describe(self, tensor: str, kind: int, like: str) -> str:
        """State dtype and shape of an added tensor and return its name."""
        shape = [size if size >= 0 else None for size in self.shapes[like]]
        self.proto.graph.value_info.append(onnx.helper.make_tensor_value_info(tensor, kind, shape))
        return tensor

    def steps(self, tensor: str) -> list[str]:
        """Return the names of a float tensor's scale and zero point, added when first needed."""
        names = [f"{tensor}:scale", f"{tensor}:zero-point"]
        if tensor not in self.stepped:
            self.stepped.add(tensor)
            parameters = self.parameters[tensor]
            self.constant(names[0], np.array(parameters.scale, np.float32))
            self.constant(names[1], np.array(parameters.zero_point, np.uint8))
        return names

    def rounded(self, tensor: str) -> str:
        """Return a float tensor after a round trip through integers, added when first needed."""
        rounded = f"{tensor}@rounded"
        if rounded not in self.made:
            self.made.add(rounded)
            integers = self.describe(wire_name(tensor), onnx.TensorProto.UINT8, tensor)
            self.describe(rounded, onnx.TensorProto.FLOAT, tensor)
            steps = self.steps(tensor)
            self.convert("QuantizeLinear", [tensor, *steps], integers, f"{tensor}:quantize")
            self.convert("DequantizeLinear", [integers, *steps], rounded, f"{tensor}:dequantize")
            self.replicated |= {f"{tensor}:quantize", f"{tensor}:dequantize"}
        return rounded


def quantize(
    graph: ModelGraph,
    blobs: BlobStore,
    operators: Collection[str],
    ranges: Ranges,
) -> QuantizedModel:
    """Quantize some operators of a float graph.

    Args:
        graph: The float graph, and how many bits its weights get; it is not changed.
        blobs: Where its weights lie and the integer ones go.
        operators: Names of the operators to quantize; empty gives the float graph.
        ranges: Calibrated ranges, at least those of `observed_tensors`.

    Returns:
        The quantized graph.

    Raises:
        InvalidModel: An operator is unknown, cannot be quantized, or a range is missing.
    """
    proto = upgrade_opset(graph.proto)
    sites = find_sites(proto, operators)
    domain = "" if opset_of(proto) in _OWN_FORM_OPSETS else _VENDOR_DOMAIN
    if sites and domain and domain not in {entry.domain for entry in proto.opset_import}:
        proto.opset_import.add(domain=domain, version=1)
    rewrite = _Rewrite(
        proto,
        blobs,
        domain,
        graph.weight_bits < 8,
        {name: tuple(tensor.shape) for name, tensor in graph.tensors.items()},
        {initializer.name: initializer for initializer in proto.graph.initializer},
        _parameters(proto, sites, ranges, blobs),
        frozenset(site.target for site in sites.values()),
    )
    normalisations = {site.normalisation.name: site for site in sites.values() if site.normalisation is not None}
    integers = {site.target: wire_name(site.node.output[0]) for site in sites.values()}
    for node in proto.graph.node:
        if node.name in sites:
            _add_operator(rewrite, sites[node.name])
        elif node.name in normalisations:
            site = normalisations[node.name]
            _add_output(rewrite, site, node.name)
        elif node.op_type == "Shape" and node.input[0] in integers:
            # Its sizes are those of the integers; reading those leaves the kernel in front of them fused.
            rewrite.nodes.append(_reading(node, integers[node.input[0]]))
        else:
            rewrite.nodes.append(node)
    return _finish(rewrite)


def _reading(node: onnx.NodeProto, tensor: str) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[0] = tensor
    return copy


def _parameters(
    proto: onnx.ModelProto, sites: Mapping[str, Site], ranges: Ranges, blobs: BlobStore
) -> dict[str, ActivationParameters]:
    """Scales by tensor: they depend on the tensor and its readers, never on what else is quantized."""
    parameters: dict[str, ActivationParameters] = {}
    for name, site in sites.items():
        for tensor in (site.source, site.target):
            if tensor not in ranges:
                raise InvalidModel(f"tensor {tensor!r} of operator {name!r} was not calibrated; add the model again")
            if tensor not in parameters:
                parameters[tensor] = activation_parameters(*passing_range(proto, tensor, ranges[tensor], blobs))
    return parameters


def _add_operator(rewrite: _Rewrite, site: Site) -> None:
    """Append an operator in integers, up to its integer output."""
    source = site.source if site.source in rewrite.integer_tensors else rewrite.rounded(site.source)
    first = len(rewrite.nodes)
    name, output = site.node.name, str(site.node.output[0])
    node = onnx.NodeProto()
    node.CopyFrom(site.node)
    node.input[0] = source
    _add_constants(rewrite, site, node)
    node.output[0] = rewrite.describe(f"{output}@float", onnx.TensorProto.FLOAT, output)
    rewrite.nodes.append(node)
    wire = rewrite.describe(wire_name(output), onnx.TensorProto.UINT8, output)
    steps = rewrite.steps(site.target)
    rewrite.convert("QuantizeLinear", [node.output[0], *steps], wire, f"{name}:output-quantize")
    rewrite.owner.update({added.name: name for added in rewrite.nodes[first:] if added.name != name})
    rewrite.wire[output] = wire
    if site.normalisation is None:
        rewrite.replicated.add(f"{name}:output-dequantize")
        _add_output(rewrite, site, f"{name}:output-dequantize")


def _add_output(rewrite: _Rewrite, site: Site, node_name: str) -> None:
    """Append the node that makes the integer output float."""
    inputs = [wire_name(site.node.output[0]), *rewrite.steps(site.target)]
    rewrite.convert("DequantizeLinear", inputs, site.target, node_name)


def _add_constants(rewrite: _Rewrite, site: Site, node: onnx.NodeProto) -> None:
    """Replace weight and bias by dequantized integers."""
    weight, bias = _float_constants(rewrite, site)
    input_scale = rewrite.parameters[site.source].scale
    axis = channel_axis(node)
    integers = quantize_weight(weight, axis, input_scale=input_scale, bias=bias, reduce_range=rewrite.reduce_range)
    inputs = [node.input[0]]
    prefix = f"{node.name}:weight"
    inputs.append(rewrite.dequantized_constant(prefix, integers.values, integers.scales, axis))
    if bias is not None:
        steps, scales = quantize_bias(bias, integers.scales, input_scale)
        inputs.append(rewrite.dequantized_constant(f"{node.name}:bias", steps, scales, 0))
    del node.input[:]
    node.input.extend(inputs)


def _float_constants(rewrite: _Rewrite, site: Site) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Weight and bias, with the normalisation folded in."""
    names = list(site.node.input[1:])
    weight = read_initializer(rewrite.weights[names[0]], rewrite.blobs)
    bias = read_initializer(rewrite.weights[names[1]], rewrite.blobs) if len(names) > 1 and names[1] else None
    if site.normalisation is None:
        return weight, bias
    constants = (read_initializer(rewrite.weights[name], rewrite.blobs) for name in site.normalisation.input[1:5])
    gain, offset, mean, variance = (values.astype(np.float64) for values in constants)
    factor = gain / np.sqrt(variance + attributes(site.normalisation).get("epsilon", 1e-5))
    folded_bias = offset - mean * factor if bias is None else offset + (bias - mean) * factor
    folded = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    return folded.astype(np.float32), folded_bias.astype(np.float32)


def _finish(rewrite: _Rewrite) -> QuantizedModel:
    graph = rewrite.proto.graph
    # Copies, since clearing a repeated field invalidates the messages in it.
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in rewrite.nodes]
    used = {name for node in nodes for name in used_names(node)} | {entry.name for entry in graph.output}
    kept = [*(entry for entry in graph.initializer if entry.name in used), *rewrite.added]
    initializers = [onnx.TensorProto.FromString(entry.SerializeToString()) for entry in kept]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    return QuantizedModel(rewrite.proto, rewrite.owner, frozenset(rewrite.replicated), rewrite.wire)
