"""Memory footprints of requests: bytes that the tensors of one may take at a time, on each node of its epoch.

Owns: what a request takes, by its sizes. Its rule: pure; one of the planning shape takes what the plan says, one of other sizes
as much more or less as the plan's terms grow or shrink with them. Not here: the terms (the controller's compilation), who is
admitted (`admission.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgesplit.control.plan_messages import EpochSpec, FootprintTerm
from edgesplit.wire.tensors import Array, tensor_bytes

__all__ = ["Footprint", "Footprints", "inputs_alone"]

MOST_BYTES = 1 << 62
"""What no machine has stands for anything beyond it. [B]"""


@dataclass(frozen=True)
class Footprint:
    """Of one request.

    Attributes:
        here: On its source. [B]
        on_peers: On the other participants. [B]
        larger: It takes more somewhere than a request of the planning shape.
    """

    here: int
    on_peers: Mapping[str, int] = field(default_factory=dict[str, int])
    larger: bool = False


class Footprints:
    """Of the requests of one epoch, at their source.

    Args:
        spec: The source's part.
    """

    def __init__(self, spec: EpochSpec) -> None:
        self._spec = spec
        self._last: tuple[tuple[int, ...], Footprint] | None = None
        self._always: Footprint | None = None
        """Of every request, where no size is open."""

    def of(self, inputs: Mapping[str, Array]) -> Footprint:
        """Of a request with these inputs, which passed the check against the model's."""
        if self._always is not None:
            return self._always
        sizes = tuple(_size(inputs, axis.input, axis.axis, axis.size) for axis in self._spec.open_axes)
        if not sizes:
            self._always = self._fixed(inputs)
            return self._always
        if self._last is None or self._last[0] != sizes:
            self._last = sizes, self._at(sizes)
        return self._last[1]

    def _fixed(self, inputs: Mapping[str, Array]) -> Footprint:
        """Where no size is open, every request takes the same."""
        tensors = {name: array.nbytes for name, array in inputs.items()}
        for component in self._spec.components:
            tensors |= {tensor.name: tensor_bytes(tensor) for tensor in (*component.inputs, *component.outputs)}
        return Footprint(sum(tensors.values()), self._spec.footprints)

    def _at(self, sizes: tuple[int, ...]) -> Footprint:
        planned = tuple(axis.size for axis in self._spec.open_axes)
        ratios = [size / max(usual, 1) for size, usual in zip(sizes, planned, strict=True)]
        terms = self._spec.footprint_terms
        taken = {node: _grown(terms[node], ratios) for node in terms}
        larger = any(taken[node] > sum(term.nbytes for term in terms[node]) for node in terms)
        here = taken.pop(self._spec.source, 0)
        return Footprint(here, taken, larger)


def inputs_alone(inputs: Mapping[str, Array]) -> Footprint:
    """Of a request while no epoch can take it."""
    return Footprint(sum(array.nbytes for array in inputs.values()))


def _size(inputs: Mapping[str, Array], name: str, axis: int, otherwise: int) -> int:
    """How large an input is along an axis; one that the epoch's model knows and the request's does not is as planned."""
    array = inputs.get(name)
    return array.shape[axis] if array is not None and axis < array.ndim else otherwise


def _grown(terms: Sequence[FootprintTerm], ratios: Sequence[float]) -> int:
    """What terms come to at sizes of these ratios to the planned ones. [B]"""
    total = 0.0
    for term in terms:
        try:
            total += term.nbytes * math.prod(
                ratio**exponent for ratio, exponent in zip(ratios, term.exponents, strict=False)
            )
        except OverflowError:
            return MOST_BYTES
    return math.ceil(min(total, MOST_BYTES))
