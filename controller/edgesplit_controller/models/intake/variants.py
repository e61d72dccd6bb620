"""Variants of a model: the record of a further planning shape, made of that of the first one.

Owns: that record. Its rule: both have the same operators, units and open form, so that nodes hold one copy of the weights; what was
found out at the first shape about int8, noise and codecs is taken over, bytes scaled. Not here: what planning shapes are called
(`planning_shapes.py`), who keeps the records (`catalog.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec
import numpy as np

from edgesplit.control.profile_messages import ProfilePlan
from edgesplit.errors import InvalidInput
from edgesplit.names import base_name
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing.opening.graphs_at_sizes import graph_at
from edgesplit_controller.graph.importing.opening.open_axes import OpenAxes, PlannedShapes, planned_shapes
from edgesplit_controller.graph.model_graph import ModelGraph, OpenForm
from edgesplit_controller.models.intake.stages import model_offer
from edgesplit_controller.models.model_record import ModelRecord, OpenManifest
from edgesplit_controller.models.named_shapes import Shape
from edgesplit_controller.models.planning_shapes import planned_for, shape_text
from edgesplit_controller.quantization.codecs.codec_figures import CodecFigure

__all__ = ["variant"]


def variant(
    first: ModelRecord, name: str, shapes: Mapping[str, Shape], blobs: BlobStore, *, automatic: bool = False
) -> ModelRecord:
    """Make the record of a further planning shape.

    Args:
        first: The model's record, at its first planning shape.
        name: Of the variant.
        shapes: Of inputs with open axes; sizes that none of them has stay as they are in the first.
        blobs: Holds the model's weights; receives graphs to time.
        automatic: Whether it is planned for because requests ask it, and not because the user named it.

    Raises:
        InvalidInput: The model takes no other sizes, or is another one at these.
        InvalidModel: It does not take these.
    """
    graph = _graph_at(first, shapes, blobs)
    manifest, form = first.manifest, graph.open
    profiled = msgspec.json.decode(blobs.read(manifest.offer.profile_plan), type=ProfilePlan)
    values = {
        entry: tuple(int(value) for value in np.resize(np.array(given, np.int64), graph.tensors[entry].shape).flat)
        for entry, given in profiled.values.items()
    }
    told = f"planned for {shape_text(_open_shapes(graph))}; int8 ranges, noise and codecs are as measured at the first planning shape"
    changed = msgspec.structs.replace(
        manifest,
        name=name,
        operators=graph.operators,
        tensors=tuple(graph.tensors.values()),
        offer=model_offer(name, graph, manifest.quantizable, manifest.ranges, blobs, values=values),
        codecs=_scaled(manifest.codecs, first.graph, graph),
        open=None if form is None else OpenManifest.of(form),
        warnings=(told,),
        automatic=automatic,
    )
    return ModelRecord(changed, graph)


def _graph_at(first: ModelRecord, shapes: Mapping[str, Shape], blobs: BlobStore) -> ModelGraph:
    form = first.graph.open
    if form is None:
        raise InvalidInput(
            f"{base_name(first.name)} takes no other sizes than those it is planned for: name one --shape an input"
        )
    planned = _planned(first, form, shapes, blobs)
    fixed = {name: tensor.shape for name, tensor in first.graph.tensors.items() if name not in form.shapes}
    graph, _ = graph_at(form.proto, planned.shapes, blobs, sha256=first.sha256, declared=fixed)
    if _parts(graph) != _parts(first.graph):
        raise InvalidInput(
            f"at {shape_text(shapes)} {base_name(first.name)} has other operators than at {shape_text(planned_for(first))}: "
            "only one of them can be planned for; requests may have the other"
        )
    return dataclasses.replace(
        graph,
        units=first.graph.units,
        notes=first.graph.notes,
        open=dataclasses.replace(form, sizes=planned.sizes),
        weight_bits=first.graph.weight_bits,
    )


def _planned(first: ModelRecord, form: OpenForm, shapes: Mapping[str, Shape], blobs: BlobStore) -> PlannedShapes:
    """Check sizes against the model, and fill in those that are not named."""
    tensors = first.graph.tensors
    axes = OpenAxes(
        {size.name: size.places for size in form.sizes},
        {name: form.shapes.get(name, tensors[name].shape) for name in first.graph.inputs},
    )
    as_before = {name: (1, *tensors[name].shape) for name in first.graph.inputs}
    return planned_shapes(form.proto, axes, blobs, given=shapes, samples=as_before)


def _open_shapes(graph: ModelGraph) -> dict[str, Shape]:
    form = graph.open
    return {} if form is None else {name: graph.tensors[name].shape for name in graph.inputs if name in form.shapes}


def _parts(graph: ModelGraph) -> tuple[object, ...]:
    """What units and cuts of a graph refer to."""
    return (
        tuple((operator.name, operator.op_type, operator.inputs, operator.outputs) for operator in graph.operators),
        {name: (tensor.dtype, tensor.cuttable) for name, tensor in graph.tensors.items()},
    )


def _scaled(
    figures: Mapping[str, tuple[CodecFigure, ...]], before: ModelGraph, after: ModelGraph
) -> dict[str, tuple[CodecFigure, ...]]:
    """Coded bytes by the size of each tensor; its noise is a share of what it carries, and stays."""
    scaled: dict[str, tuple[CodecFigure, ...]] = {}
    for name, rows in figures.items():
        old, new = before.tensors[name].nbytes, after.tensors[name].nbytes
        ratio = new / old if old else 1.0
        scaled[name] = tuple(msgspec.structs.replace(row, bytes=row.bytes * ratio) for row in rows)
    return scaled
