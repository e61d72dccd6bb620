"""Nearest planning shape of a request: which of a model's plans serves its sizes.

Owns: the distance between sizes and which shape is nearest. Its rule: of the shapes that can serve now; the first shape where two
are as near, and where none can; a request whose shape is taken away, or whose nodes are, goes on with the next one; of several
deployments of a shape, those whose source this node is. Not here: which
plan of a shape serves (`epochs.py`), what becomes of the request (`request_flow.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence, Set

import msgspec

from edgesplit.names import base_name, variant_number
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.client_request import ClientRequest
from edgesplit_agent.serving.machine.epochs import ModelEpochs
from edgesplit_agent.serving.machine.events import RequestArrived

__all__ = ["NearestShapes", "distance", "further_shapes"]


def further_shapes(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Models that have several deployments here, or one under another name, with the names of these: shape by shape."""
    found: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (variant_number(name), name)):
        found.setdefault(base_name(name), []).append(name)
    return {model: tuple(shapes) for model, shapes in found.items() if shapes != [model]}


def distance(open_inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> float:
    """How far a request's sizes are from those planned; infinite where it is no request of the model."""
    if any(spec.name not in arrays for spec in open_inputs):
        return math.inf
    return sum(spec.distance(arrays[spec.name].shape) for spec in open_inputs)


class NearestShapes:
    """The planning shapes of the models of one node.

    Args:
        models: What the node holds, by the names of planning shapes.

    Attributes:
        peers_up: Peers that answer.
    """

    def __init__(self, models: Mapping[str, ModelEpochs], peers_up: Collection[str]) -> None:
        self.peers_up = peers_up
        self._models = models
        self._further: dict[str, tuple[str, ...]] = {}

    def __bool__(self) -> bool:
        """Whether any model has several, or one under another name."""
        return bool(self._further)

    def follow(self) -> None:
        """Take over what the node holds now."""
        self._further = further_shapes(self._models)

    def of(self, event: RequestArrived, probation: Set[str], now_s: float) -> RequestArrived:
        """The same request, of the planning shape that serves it.

        Args:
            event: Names the model.
            probation: Peers that came back only lately.
            now_s: The machine's clock. [s]
        """
        shapes = self._further.get(event.model)
        best = (
            None if shapes is None else self._nearest(event.arrays, shapes, probation, now_s) or self.own(event.model)
        )
        return event if best in (None, event.model) else msgspec.structs.replace(event, model=best)

    def own(self, model: str) -> str | None:
        """The deployment of a model whose source this node is: the first shape's, whether it serves yet or not."""
        for name in self._further.get(model, (model,)):
            held = self._models.get(name)
            if held is not None and held.is_source:
                return name
        return None

    def move(self, request: ClientRequest, probation: Set[str], now_s: float) -> bool:
        """Have a request go on with the plan of another planning shape; False where none can serve it.

        Args:
            request: Its own shape cannot, so it does not come back to that.
            probation: Peers that came back only lately.
            now_s: The machine's clock. [s]
        """
        request.left_shapes.add(request.model)
        shapes = self._further.get(base_name(request.model), (base_name(request.model),))
        others = [name for name in shapes if name not in request.left_shapes]
        best = self._nearest(request.arrays, others, probation, now_s)
        if best is None:
            return False
        request.move(best, self._models[best].open_inputs)
        return True

    def _nearest(
        self, arrays: Mapping[str, Array], shapes: Sequence[str], probation: Set[str], now_s: float
    ) -> str | None:
        best, least = None, math.inf
        for name in shapes:
            held = self._models.get(name)
            if held is None or not held.is_source:
                continue
            number = held.choose(self.peers_up, now_s, probation=probation)
            if number is None or held.lost_peers(number, self.peers_up):
                continue
            far = distance(held.open_inputs, arrays)
            if far < least:
                best, least = name, far
        return best
