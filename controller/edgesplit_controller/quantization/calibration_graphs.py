"""Calibration graphs: parts of a model, float and mixed, whose times show what changes of form cost.

Owns: which parts. Its rule: few, deterministic, and together they show every kind of change in different proportions:
all in int8, two complementary mixtures in one piece, the float model in two halves, two more mixtures in halves. Not
here: timing them and the fit (agents do).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx

from edgesplit.control.component_messages import GraphRef
from edgesplit.control.profile_messages import CalibrationGraph, CalibrationPlan
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.cut import cut
from edgesplit_controller.graph.graph_refs import value_specs
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.quantization.qdq import Ranges, float_name, quantize
from edgesplit_controller.quantization.transitions import find_transitions, float_targets

__all__ = ["calibration_plan"]

SEED = 5
Groups = tuple[tuple[str, ...], ...]


def calibration_plan(
    graph: ModelGraph, blobs: BlobStore, quantizable: Sequence[str], ranges: Ranges
) -> CalibrationPlan:
    """Cut the parts and count their changes of form.

    Args:
        graph: The float model with its units.
        blobs: Holds its weights; receives the parts' graphs.
        quantizable: Operators with an int8 form; each names its unit.
        ranges: Calibrated ranges around them.
    """
    whole: Groups = (tuple(unit.name for unit in graph.units),)
    halves = _halves(graph)
    targets = float_targets(graph, quantizable)
    drawn = np.random.default_rng(SEED).random(len(quantizable)) < 0.5
    mixture = {name for name, chosen in zip(quantizable, drawn, strict=True) if chosen}
    alternate = set(quantizable[::2])
    every = set(quantizable)
    wanted: list[tuple[str, Groups, set[str]]] = [("float-halves", halves, set())]
    if quantizable:
        wanted += [("integer", whole, every)]
    if len(quantizable) > 1:
        wanted += [("mixture", whole, mixture), ("other-mixture", whole, every - mixture)]
        wanted += [("alternate-halves", halves, alternate), ("other-halves", halves, every - alternate)]
    parts: list[CalibrationGraph] = []
    for name, groups, quantized in wanted:
        parts += _parts(graph, blobs, name, groups, quantized, targets=targets, ranges=ranges)
    return CalibrationPlan(graphs=tuple(parts))


def _halves(graph: ModelGraph) -> Groups:
    """Two parts with about the same work, in graph order; one where a half would be empty or could not be run alone."""
    flops = [sum(graph.operator[name].flops for name in unit.operators) for unit in graph.units]
    total, done, first = sum(flops), 0, 0
    while first < len(flops) - 1 and done < total / 2:
        done += flops[first]
        first += 1
    names = [unit.name for unit in graph.units]
    behind = {name for unit in graph.units[first:] for name in unit.inputs}
    if not all(graph.tensors[name].is_static for name in behind):
        # What is made up for a tensor whose size depends on the data may be none that the rest takes.
        return (tuple(names),)
    return tuple(tuple(part) for part in (names[:first], names[first:]) if part)


def _parts(
    graph: ModelGraph,
    blobs: BlobStore,
    name: str,
    groups: Groups,
    quantized: Collection[str],
    *,
    targets: Mapping[str, str],
    ranges: Ranges,
) -> list[CalibrationGraph]:
    members = {unit.name: unit.operators for unit in graph.units}
    operators = [[operator for unit in group for operator in members[unit]] for group in groups]
    if quantized:
        model = quantize(graph, blobs, tuple(sorted(quantized)), ranges)
        pieces = cut(model.proto, operators, graph.described, owner=model.owner, replicated=model.replicated)
    else:
        pieces = cut(graph.proto, operators, graph.described)
    place_of = {unit: index for index, group in enumerate(groups) for unit in group}
    transitions = find_transitions(graph, targets, quantized, place_of)
    parts: list[CalibrationGraph] = []
    for index, (group, piece) in enumerate(zip(groups, pieces, strict=True)):
        nbytes: dict[str, float] = {}
        for entry in transitions:
            if place_of[entry.unit] == index:
                nbytes[entry.kind] = nbytes.get(entry.kind, 0.0) + entry.nbytes
        part = CalibrationGraph(
            name=f"{name}-{index}",
            graph=_stored(piece.proto, blobs),
            inputs=value_specs(piece.proto.graph.input, graph, stands_for=float_name),
            units=group,
            quantized=tuple(unit for unit in group if unit in quantized),
            transition_bytes=nbytes,
        )
        parts.append(part)
    return parts


def _stored(proto: onnx.ModelProto, blobs: BlobStore) -> GraphRef:
    content = proto.SerializeToString()
    # Its weights are those of the two whole models, which every agent that profiles holds anyway.
    return GraphRef(digest=blobs.put(content), nbytes=len(content), weights=())
