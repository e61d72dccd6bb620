r"""Profile graphs: whole models, float and int8, whose runtime profile can be read as times of units.

Owns: the names in the two graphs that every agent profiles. Its rule: a graph's meaning and form stay, only names
change: each node and each tensor it writes starts with its unit's tag, `unit12.` for the unit of index 12. Not here:
running them, reading the profile (agents do).

onnxruntime fuses nodes, changes layouts and inserts kernels, but names what it makes after a node or a tensor it
found: `unit12.7_token_3` or `unit12.7.0_nchwc`. A kernel of the profile therefore belongs to:

1. `kernel_units[tag]` with the tag that `re.search(r"unit\d+", name)` finds in its name (with onnxruntime 1.32 on x86, 97
   to 99 % of the time of float convolutional networks, 82 to 99 % of int8 ones, 74 to 90 % of a transformer);
   A float kernel that took in what follows an operator (Conv with BatchNormalization and Relu) is named after the last
   tensor; that tensor therefore starts with the tag of the operator, which the time is spent on, wherever a unit ends
   in between;
2. without a tag (inserted reorders and transposes, SkipLayerNormalization), the unit of the next kernel that has one
   if it is a `ReorderInput`, of the previous kernel otherwise.

Kernels whose name starts with `nested` belong to the body of a control-flow node, whose own time contains them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.protos import rename_inputs, subgraphs, used_names
from edgesplit_controller.quantization.qdq import QuantizedModel

__all__ = ["ProfileGraphs", "profile_protos"]

FUSING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose kernels take in what follows them."""
FUSED = frozenset({"BatchNormalization", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Add", "Mul"})
"""Operators that such a kernel may take in."""


@dataclass(frozen=True)
class ProfileGraphs:
    """What an agent needs to profile a model.

    Attributes:
        plain: The model in float.
        quantized: The model with all candidates in int8, None without candidates.
        kernel_units: Tags, and node names of both graphs, to unit names.
    """

    plain: onnx.ModelProto
    quantized: onnx.ModelProto | None
    kernel_units: Mapping[str, str]


def profile_protos(graph: ModelGraph, quantized: QuantizedModel | None) -> ProfileGraphs:
    """Make the graphs that agents profile.

    Args:
        graph: The float model with its units.
        quantized: The same with every candidate quantized; None without candidates.

    Returns:
        Both graphs with telling names. Model inputs and weights keep theirs; model outputs do not.
    """
    tags = {unit.name: f"unit{index}" for index, unit in enumerate(graph.units)}
    kernel_units = {tag: unit for unit, tag in tags.items()}
    plain = _tagged(graph.proto, dict(graph.unit_of), tags, kernel_units, credit=_fused_behind(graph.proto))
    if quantized is None:
        return ProfileGraphs(plain, None, kernel_units)
    unit_of = dict(graph.unit_of)
    unit_of.update({added: graph.unit_of[operator] for added, operator in quantized.owner.items()})
    # Shared conversions run once here: those in front of an operator cost it, those behind it cost it as well.
    nodes = list(quantized.proto.graph.node)
    home = {name: unit_of[node.name] for node in nodes if node.name in unit_of for name in node.output}
    for node in nodes:
        if node.name in quantized.replicated and node.input[0] in quantized.wire.values():
            unit_of[node.name] = home[node.input[0]]
    reader = {name: node.name for node in reversed(nodes) for name in used_names(node)}
    for node in reversed(nodes):
        if node.name not in unit_of:
            unit_of[node.name] = unit_of[reader[node.output[0]]]
    return ProfileGraphs(plain, _tagged(quantized.proto, unit_of, tags, kernel_units), kernel_units)


def _tagged(
    proto: onnx.ModelProto,
    unit_of: Mapping[str, str],
    tags: Mapping[str, str],
    kernel_units: dict[str, str],
    *,
    credit: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Rename nodes and tensors; `credit` maps a tensor to the node whose kernel may end in it."""
    tagged = onnx.ModelProto()
    tagged.CopyFrom(proto)
    renamed: dict[str, str] = {}
    for ordinal, node in enumerate(tagged.graph.node):
        unit = unit_of[node.name]
        node.name = f"{tags[unit]}.{ordinal}"
        rename_inputs(node, renamed)
        for position, name in enumerate(node.output):
            if name:
                credited = (credit or {}).get(name)
                before = f"{tags[unit_of[credited]]}.of." if credited is not None else ""
                renamed[name] = f"{before}{node.name}.{position}"
                node.output[position] = renamed[name]
        for body in subgraphs(node):
            _mark_nested(body)
        kernel_units[node.name] = unit
    for value in (*tagged.graph.output, *tagged.graph.value_info):
        value.name = renamed.get(value.name, value.name)
    return tagged


def _fused_behind(proto: onnx.ModelProto) -> dict[str, str]:
    """Tensor at the end of a chain that onnxruntime may fuse, to the node at its start."""
    readers = Counter(name for node in proto.graph.node for name in used_names(node))
    outputs = {value.name for value in proto.graph.output}
    start: dict[str, str] = {}
    for node in proto.graph.node:
        if node.op_type in FUSING:
            start[node.output[0]] = node.name
        elif node.op_type in FUSED:
            behind = [name for name in node.input if name in start and readers[name] == 1 and name not in outputs]
            if len(behind) == 1:
                start[node.output[0]] = start[behind[0]]
    return start


def _mark_nested(body: onnx.GraphProto) -> None:
    for ordinal, node in enumerate(body.node):
        node.name = f"nested.{ordinal}"
        for inner in subgraphs(node):
            _mark_nested(inner)
