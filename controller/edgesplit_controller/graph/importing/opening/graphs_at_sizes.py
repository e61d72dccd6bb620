"""The closed graph of an open form at one planning shape, as nodes time it.

Owns: fixing an open form's sizes, and that onnxruntime takes the result. Its rule: every planning shape of a model comes from here,
the first as the later ones. Not here: choosing the sizes (`open_axes.py`), the open form (`open_forms.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.building import build_graph
from edgesplit_controller.graph.importing.opening.open_forms import closed_at
from edgesplit_controller.graph.importing.shapes import complete_types
from edgesplit_controller.graph.importing.value_types import ValueType
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.protos import subgraphs
from edgesplit_controller.graph.runner import GraphRefused, open_session

__all__ = ["graph_at"]


def graph_at(
    form: onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    blobs: BlobStore,
    *,
    sha256: str,
    declared: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[ModelGraph, dict[str, ValueType]]:
    """Describe an open form at some sizes by operators and tensors; units, notes and the open form are left empty.

    Args:
        form: Is not changed.
        shapes: Of every input.
        blobs: Where the weights lie; receives large results.
        sha256: Of the model's file.
        declared: Shapes that the file claims for inner values.

    Returns:
        The graph, and what is known of its values.

    Raises:
        InvalidModel: onnxruntime does not load or run it, or an output is no tensor that an answer may hold.
    """
    closed, types = closed_at(form, shapes, blobs)
    _check_loads(closed, form, blobs)
    complete = complete_types(closed, blobs, types, declared)
    return build_graph(closed, complete, sha256), complete


def _check_loads(closed: onnx.ModelProto, form: onnx.ModelProto, blobs: BlobStore) -> None:
    """Make sure that onnxruntime loads the graph at the planning shape, optimized too where it has bodies.

    With all sizes fixed it infers and inlines branches that are not taken at these sizes, and may refuse the model for what
    never runs. Then the inputs are described as open as they are in the file; their planned sizes stand beside the graph.
    """
    optimize = any(True for node in closed.graph.node for _ in subgraphs(node))
    try:
        open_session(closed, blobs, optimize=optimize)
    except GraphRefused:
        for value, described in zip(closed.graph.input, form.graph.input, strict=True):
            value.CopyFrom(described)
        open_session(closed, blobs, optimize=optimize)
