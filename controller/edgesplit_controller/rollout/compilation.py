"""Compilation of a plan: from an assignment to what every node holds, component graphs, routes and epochs.

Owns: cutting the float or quantized graph along a plan and addressing the tensors that cross. Its rule: a pure
function of model and assignment but for the blobs it writes; names of tensors are those that travel (int8 ones have
their own). Not here: choosing the assignment, telling the nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from edgesplit.control.component_messages import ComponentSpec, Route, WeightRef
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.planning.plan import Assignment, Component, Evaluation
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.cut import ComponentGraph, cut_deployed
from edgesplit_controller.graph.graph_refs import graph_ref, value_specs
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.quantization.qdq import Ranges, float_name, quantize, wire_name
from edgesplit_controller.rollout.footprint_terms import with_footprints
from edgesplit_controller.stating.codec_offers import is_lossy

__all__ = ["compile_local", "compile_plan"]

RAW = "raw"


@dataclass(frozen=True)
class _Placed:
    """A component with its graph."""

    component: Component
    graph: ComponentGraph


def compile_plan(
    graph: ModelGraph,
    blobs: BlobStore,
    ranges: Ranges,
    assignment: Assignment,
    evaluation: Evaluation,
    *,
    epoch: int,
    source: str,
    addresses: Mapping[str, str],
) -> dict[str, EpochSpec]:
    """Make every participant's part of a plan; the source always has one.

    Args:
        graph: The float model.
        blobs: Holds its weights; receives component graphs and int8 weights.
        ranges: Calibrated ranges of the quantizable operators.
        assignment: Units to nodes; quantized units are named after their quantized operator.
        evaluation: Its components and timeline.
        epoch: Number of the plan.
        source: Where requests arise.
        addresses: Data-plane address of every node.

    Returns:
        Node to its part.
    """
    groups = [component.operators for component in evaluation.components]
    cuts = _cut(graph, blobs, ranges, groups, assignment.quantized)
    placed = [
        _Placed(component, component_graph)
        for component, component_graph in zip(evaluation.components, cuts, strict=True)
    ]
    return _specs(graph, blobs, placed, assignment, evaluation, epoch=epoch, source=source, addresses=addresses)


def compile_local(graph: ModelGraph, blobs: BlobStore, *, epoch: int, source: str, address: str) -> EpochSpec:
    """Make the plan that needs nobody else: the whole model in float on the source."""
    operators = tuple(operator.name for operator in graph.operators)
    placed: list[_Placed] = []
    if operators:
        (whole,) = _cut(graph, blobs, {}, [operators], frozenset())
        component = Component(id=0, node=source, operators=operators, inputs=graph.inputs, outputs=graph.outputs)
        placed.append(_Placed(component, whole))
    specs = _specs(graph, blobs, placed, Assignment({}), None, epoch=epoch, source=source, addresses={source: address})
    return specs[source]


def _cut(
    graph: ModelGraph,
    blobs: BlobStore,
    ranges: Ranges,
    groups: Sequence[Collection[str]],
    quantized: Collection[str],
) -> list[ComponentGraph]:
    if not quantized:
        return cut_deployed(graph, groups)
    model = quantize(graph.deployed, blobs, tuple(sorted(quantized)), ranges)
    return cut_deployed(graph, groups, proto=model.proto, owner=model.owner, replicated=model.replicated)


def _specs(
    graph: ModelGraph,
    blobs: BlobStore,
    placed: Sequence[_Placed],
    assignment: Assignment,
    evaluation: Evaluation | None,
    *,
    epoch: int,
    source: str,
    addresses: Mapping[str, str],
) -> dict[str, EpochSpec]:
    receivers = _receivers(placed, graph, source)
    predicted = _predicted_s(evaluation)
    nodes = list(dict.fromkeys([source, *(entry.component.node for entry in placed)]))
    participants = {node: addresses[node] for node in nodes}
    asked = {entry.name: entry.of for entry in graph.size_tensors if entry.producer is None and entry.name in receivers}
    specs: dict[str, EpochSpec] = {}
    for node in nodes:
        components = tuple(
            _component_spec(entry, graph, blobs, receivers=receivers, assignment=assignment, predicted=predicted)
            for entry in placed
            if entry.component.node == node
        )
        at_source = node == source
        specs[node] = EpochSpec(
            epoch=epoch,
            source=source,
            participants=participants,
            components=components,
            input_routes=_routes((*graph.inputs, *asked), source, receivers, assignment) if at_source else (),
            outputs=graph.outputs if at_source else (),
            quantized=bool(assignment.quantized) or any(map(is_lossy, assignment.codecs.values())),
            input_shapes=asked if at_source else {},
        )
    return with_footprints(graph, specs, source)


def _receivers(placed: Sequence[_Placed], graph: ModelGraph, source: str) -> dict[str, tuple[str, ...]]:
    """Wire tensor to the nodes that need it, in plan order."""
    receivers: dict[str, dict[str, None]] = {}
    for entry in placed:
        for tensor in entry.graph.inputs:
            receivers.setdefault(tensor, {})[entry.component.node] = None
    for tensor in graph.outputs:
        receivers.setdefault(tensor, {})[source] = None
    return {tensor: tuple(nodes) for tensor, nodes in receivers.items()}


def _component_spec(
    entry: _Placed,
    graph: ModelGraph,
    blobs: BlobStore,
    *,
    receivers: Mapping[str, tuple[str, ...]],
    assignment: Assignment,
    predicted: Mapping[int, float],
) -> ComponentSpec:
    weights = [
        WeightRef(name=weight.name, digest=weight.digest, dtype=weight.dtype, shape=weight.shape, nbytes=weight.nbytes)
        for weight in entry.graph.weights
    ]
    proto = entry.graph.proto
    return ComponentSpec(
        component=entry.component.id,
        graph=graph_ref(proto, blobs, weights),
        inputs=value_specs(proto.graph.input, graph, stands_for=float_name),
        outputs=value_specs(proto.graph.output, graph, stands_for=float_name),
        routes=_routes(entry.graph.outputs, entry.component.node, receivers, assignment),
        predicted_s=predicted.get(entry.component.id, 0.0),
        values=_planned_sizes(graph, [value.name for value in proto.graph.input]),
    )


def _planned_sizes(graph: ModelGraph, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Those of the tensors whose sizes a component is given, by the wire tensor that holds them."""
    sized = {entry.name: graph.tensors[entry.of].shape for entry in graph.size_tensors}
    return {name: sized[name] for name in names if min(sized.get(name, (-1,)), default=0) >= 0}


def _routes(
    tensors: Sequence[str], node: str, receivers: Mapping[str, tuple[str, ...]], assignment: Assignment
) -> tuple[Route, ...]:
    # Integers have a name of their own on the wire, and nothing but compression applies to them.
    codecs = {wire_name(tensor): codec for tensor, codec in assignment.codecs.items() if not is_lossy(codec)}
    codecs |= assignment.codecs
    routes: list[Route] = []
    for tensor in tensors:
        others = tuple(receiver for receiver in receivers.get(tensor, ()) if receiver != node)
        if others:
            routes.append(Route(tensor=tensor, codec=codecs.get(tensor, RAW), to=others))
    return tuple(routes)


def _predicted_s(evaluation: Evaluation | None) -> dict[int, float]:
    seconds: dict[int, float] = {}
    for entry in evaluation.timeline if evaluation is not None else ():
        if entry.kind == "compute" and entry.component is not None:
            seconds[entry.component] = seconds.get(entry.component, 0.0) + entry.end_s - entry.start_s
    return seconds
