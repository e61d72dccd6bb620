"""A graph as messages name it: its blob, its weights, its tensors.

Owns: these references. Its rule: a reference is made once its blob is there. Not here: cutting (`cut.py`), the blobs
(`blobs.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import onnx
from msgspec.structs import replace

from edgesplit.control.component_messages import GraphRef, WeightRef
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.protos import external_fields, is_external, numpy_name, static_shape

__all__ = ["graph_ref", "request_specs", "tensor_specs", "value_specs", "whole_graph_ref"]


def graph_ref(proto: onnx.ModelProto, blobs: BlobStore, weights: Sequence[WeightRef]) -> GraphRef:
    """Store a graph without its weights as a blob."""
    content = proto.SerializeToString()
    return GraphRef(digest=blobs.put(content), nbytes=len(content), weights=tuple(weights))


def whole_graph_ref(proto: onnx.ModelProto, blobs: BlobStore) -> GraphRef:
    """Store a whole graph, whose large initializers refer to blobs already."""
    weights: list[WeightRef] = []
    for tensor in proto.graph.initializer:
        if not is_external(tensor):
            continue
        digest = external_fields(tensor)["location"]
        weights.append(
            WeightRef(
                name=tensor.name,
                digest=digest,
                dtype=numpy_name(tensor.data_type),
                shape=tuple(tensor.dims),
                nbytes=blobs.nbytes(digest),
            )
        )
    return graph_ref(proto, blobs, weights)


def tensor_specs(graph: ModelGraph, names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Describe activation tensors of a model at its planning shape."""
    return tuple(
        TensorSpec(
            name=name,
            dtype=graph.tensors[name].dtype,
            shape=graph.tensors[name].shape,
            any_rank=not graph.tensors[name].is_ranked,
        )
        for name in names
    )


def request_specs(graph: ModelGraph, names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Describe inputs or outputs of a model as requests may have them: of any size on open axes."""
    shapes = graph.open.shapes if graph.open is not None else {}
    return tuple(
        replace(planned, shape=shapes[planned.name], typical=planned.shape) if planned.name in shapes else planned
        for planned in tensor_specs(graph, names)
    )


def value_specs(
    values: Iterable[onnx.ValueInfoProto], graph: ModelGraph, *, stands_for: Callable[[str], str]
) -> tuple[TensorSpec, ...]:
    """Describe inputs or outputs of a part of a model, with the sizes that are planned for where they are open.

    Args:
        values: As the part's graph describes them.
        graph: The model.
        stands_for: A tensor of the part to the model's of the same sizes: integers have names of their own.
    """
    specs: list[TensorSpec] = []
    for value in values:
        shape = static_shape(value) or ()
        planned = graph.tensors.get(value.name) or graph.tensors.get(stands_for(value.name))
        typical: tuple[int, ...] = ()
        if planned is not None and (not planned.is_static or planned.shape != shape):
            typical = planned.shape if planned.is_static else planned.seen or ()
        specs.append(
            TensorSpec(
                name=value.name,
                dtype=numpy_name(value.type.tensor_type.elem_type),
                shape=shape,
                typical=typical,
                any_rank=planned is not None and not planned.is_ranked,
            )
        )
    return tuple(specs)
