"""Nearest planning shape of a request: which of a model's plans serves its sizes.

Owns: the distance between sizes and which shape is nearest. Its rule: of the shapes that can serve now; the first shape where two
are as near, and where none can. Not here: which plan of a shape serves (`epochs.py`), what becomes of the request
(`request_flow.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence, Set

import msgspec

from edgesplit.names import base_name, variant_number
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.epochs import ModelEpochs
from edgesplit_agent.serving.machine.events import RequestArrived

__all__ = ["distance", "further_shapes", "of_nearest_shape"]


def further_shapes(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Models that have several planning shapes here, with the names of these in their order."""
    found: dict[str, list[str]] = {}
    for name in sorted(names, key=variant_number):
        found.setdefault(base_name(name), []).append(name)
    return {model: tuple(shapes) for model, shapes in found.items() if shapes != [model]}


def distance(open_inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> float:
    """How far a request's sizes are from those planned; infinite where it is no request of the model."""
    if any(spec.name not in arrays for spec in open_inputs):
        return math.inf
    return sum(spec.distance(arrays[spec.name].shape) for spec in open_inputs)


def of_nearest_shape(
    event: RequestArrived,
    shapes: Sequence[str],
    models: Mapping[str, ModelEpochs],
    *,
    peers_up: Collection[str],
    probation: Set[str],
    now_s: float,
) -> RequestArrived:
    """The same request, of the planning shape that serves it.

    Args:
        event: Names the model.
        shapes: Names of its planning shapes, the first one first.
        models: What the node holds, by these names.
        peers_up: Peers that answer.
        probation: Those of them that came back only lately.
        now_s: The machine's clock. [s]
    """
    best, least = event.model, math.inf
    for name in shapes:
        held = models.get(name)
        if held is None or not held.is_source:
            continue
        number = held.choose(peers_up, now_s, probation=probation)
        if number is None or held.lost_peers(number, peers_up):
            continue
        far = distance(held.open_inputs, event.arrays)
        if far < least:
            best, least = name, far
    return event if best == event.model else msgspec.structs.replace(event, model=best)
