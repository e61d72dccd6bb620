"""Memory footprints of a plan's requests, and the terms in which they grow with the sizes that requests choose.

Owns: what a source is told of them, of the axes that say these sizes, and of joining requests. Its rule: pure; tensors that grow
alike are one term. Not here: how a tensor grows (`graph/importing`), what is made of terms (the agents' `admitting/footprints.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec.structs import replace

from edgesplit.control.plan_messages import EpochSpec, FootprintTerm, OpenAxis
from edgesplit.wire.tensors import tensor_bytes
from edgesplit_controller.graph.graph_refs import tensor_specs
from edgesplit_controller.graph.model_graph import ModelGraph, OpenForm
from edgesplit_controller.quantization.qdq import float_name

__all__ = ["with_footprints"]


def with_footprints(graph: ModelGraph, specs: Mapping[str, EpochSpec], source: str) -> dict[str, EpochSpec]:
    """Tell the source of a plan what requests take on each participant.

    Args:
        graph: The model.
        specs: Node to its part of the plan.
        source: Where requests arise.
    """
    told = replace(
        specs[source],
        footprints={node: sum(_tensors(spec).values()) for node, spec in specs.items() if node != source},
    )
    if graph.open is not None:
        at_source = {tensor.name: tensor_bytes(tensor) for tensor in tensor_specs(graph, graph.inputs)}
        tensors = {node: _tensors(spec) for node, spec in specs.items()}
        tensors[source] |= at_source
        told = replace(
            told,
            open_axes=tuple(_axis(*size.places[0], size.planned) for size in graph.open.sizes),
            footprint_terms={node: _terms(graph.open, tensors[node]) for node in specs},
            joinable=_is_joinable(graph, graph.open),
        )
    return {**specs, source: told}


def _tensors(spec: EpochSpec) -> dict[str, int]:
    """What the components of a node take and yield, each tensor once, at the planning shape. [B]"""
    tensors = [tensor for component in spec.components for tensor in (*component.inputs, *component.outputs)]
    return {tensor.name: tensor_bytes(tensor) for tensor in tensors}


def _axis(name: str, axis: int, size: int) -> OpenAxis:
    return OpenAxis(input=name, axis=axis, size=size)


def _terms(form: OpenForm, tensors: Mapping[str, int]) -> tuple[FootprintTerm, ...]:
    alike: Counter[tuple[int, ...]] = Counter()
    for name, nbytes in tensors.items():
        alike[_exponents(form, name)] += nbytes
    return tuple(FootprintTerm(nbytes=nbytes, exponents=exponents) for exponents, nbytes in sorted(alike.items()))


def _exponents(form: OpenForm, name: str) -> tuple[int, ...]:
    """Of a wire tensor; integers grow as the floats that they stand for, and sizes do not."""
    found = form.growth.get(name, form.growth.get(float_name(name)))
    return (0,) * len(form.sizes) if found is None else found


def _is_joinable(graph: ModelGraph, form: OpenForm) -> bool:
    """Whether the first axis of all inputs and outputs is one open size, so that requests can be put row under row."""
    rows = {(name, 0) for name in graph.inputs}
    for number, size in enumerate(form.sizes):
        if rows and rows <= set(size.places):
            return all(
                form.shapes.get(name, (0,))[:1] == (-1,)
                and graph.tensors[name].shape[0] == size.planned
                and _exponents(form, name)[number] == 1
                for name in graph.outputs
            )
    return False
