"""Transitions: where a plan changes the form of tensors, which costs time that no operator's kernel accounts for.

Owns: the list of such changes for a set of quantized operators and their places. Its rule: facts of the graph and the
assignment only, in bytes; what a byte costs is measured per node (`stating/predicting/predictions.py`). Not here: rewriting
graphs (`qdq.py`).

Five kinds, after what onnxruntime's CPU provider is seen to insert around its kernels:

to-int8:  A float tensor that integer operators read is quantized, once per place.
to-float: An integer tensor that others read is dequantized, once per place.
unfused:  An operator that a float convolution would have taken in runs by itself since its input comes from an
          integer operator; in the float profile it takes no time.
reorder:  A tensor enters or leaves the blocked layout that float convolutions compute in. Those of the float model in
          one piece are in its profile already and count negative where they vanish.
boundary: A tensor that crosses between places is an output on one side and an input on the other.

Operators that pass integers through (a Relu between two integer convolutions is no more than a clip of the first
one's output range) cost none of these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from edgesplit_controller.graph.memo import once_per_graph
from edgesplit_controller.graph.model_graph import GraphOperator, GraphTensor, ModelGraph
from edgesplit_controller.quantization.sites import find_sites

__all__ = ["KINDS", "PASSING", "Kind", "Transition", "find_transitions", "float_targets"]

Kind = Literal["to-int8", "to-float", "unfused", "reorder", "boundary"]
KINDS: tuple[Kind, ...] = ("to-int8", "to-float", "unfused", "reorder", "boundary")

PASSING = frozenset({"Relu", "Clip", "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"})
"""Operators that onnxruntime runs on integers as well, or drops, between two integer operators."""
FUSED = frozenset({"BatchNormalization", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Add", "Mul"})
"""Operators that float convolutions take in."""
KEEPING = FUSED | {"Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
"""Operators that compute in the blocked layout if all they read is in it."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of form.

    Attributes:
        kind: Which.
        unit: The unit that it is counted with, on that unit's place.
        nbytes: Size of the tensor in float, or of what crosses. [B]
    """

    kind: Kind
    unit: str
    nbytes: float


def float_targets(graph: ModelGraph, quantizable: Collection[str]) -> Mapping[str, str]:
    """The float tensor that each quantizable operator's int8 output stands for, and the folded operator between.

    Returns:
        Tensor name to operator name, for every tensor between the operator and its folded normalisation, too.
    """
    return _float_targets(graph, tuple(quantizable))


@once_per_graph
def _float_targets(graph: ModelGraph, quantizable: tuple[str, ...]) -> Mapping[str, str]:
    targets: dict[str, str] = {}
    for name, site in find_sites(graph.proto, quantizable).items():
        targets[str(site.node.output[0])] = name
        targets[site.target] = name
    return targets


def find_transitions(
    graph: ModelGraph, targets: Mapping[str, str], quantized: Collection[str], place_of: Mapping[str, object]
) -> tuple[Transition, ...]:
    """List every change of form that the float model in one piece does not have.

    Args:
        graph: The float model.
        targets: From `float_targets`.
        quantized: Operators in int8.
        place_of: Unit to where it runs (a node, or a component); units that are left out do not run.

    Returns:
        Transitions; changes of the float model that this one does not have count negative.
    """
    found = _Search(graph, targets, frozenset(quantized), place_of).all()
    return (*found, *(entry for entry in _vanished(graph) if entry.unit in place_of))


@once_per_graph
def _vanished(graph: ModelGraph) -> tuple[Transition, ...]:
    """The changes of form of the float model in one piece, as if none of them were left."""
    whole = _Search(graph, {}, frozenset(), dict.fromkeys((unit.name for unit in graph.units), "whole")).all()
    return tuple(Transition(entry.kind, entry.unit, -entry.nbytes) for entry in whole)


class _Search:
    """One set of quantized operators at their places."""

    def __init__(
        self, graph: ModelGraph, targets: Mapping[str, str], quantized: frozenset[str], place_of: Mapping[str, object]
    ) -> None:
        self._graph = graph
        self._place_of = place_of
        self._quantized = quantized
        self._made_integer = {tensor for tensor, name in targets.items() if name in quantized}
        folded = {producer for name in self._made_integer if (producer := graph.tensors[name].producer) is not None}
        self._integer = quantized | folded
        self._add_passing()
        self._blocked: set[str] = set()
        """Tensors that lie in blocked layout where they are made."""
        self._blocking: set[str] = set()
        """Operators that read and write it."""
        self._follow_layout()

    def _add_passing(self) -> None:
        """Extend the integer operators by those that pass integers from one to the next."""
        available = set(self._made_integer)
        candidates: list[GraphOperator] = []
        for operator in self._graph.operators:
            if operator.op_type in PASSING and operator.inputs[:1] and operator.inputs[0] in available:
                candidates.append(operator)
                available.update(operator.outputs)
        wanted: set[str] = set()
        for operator in reversed(candidates):
            results = [self._graph.tensors[name] for name in operator.outputs]
            readers = {reader for tensor in results for reader in tensor.consumers}
            here = self._place(operator.name)
            inside = all(
                (reader in self._quantized or reader in wanted) and self._place(reader) == here for reader in readers
            )
            if readers and inside and not any(tensor.is_output for tensor in results):
                wanted.add(operator.name)
        for operator in candidates:
            if operator.name in wanted and operator.inputs[0] in self._made_integer:
                self._integer |= {operator.name}
                self._made_integer.update(operator.outputs)

    def _follow_layout(self) -> None:
        for operator in self._graph.operators:
            if operator.name in self._integer or self._place(operator.name) is None:
                continue
            keeps = operator.op_type in KEEPING and all(
                self._seen_blocked(name, operator.name) for name in operator.inputs
            )
            if operator.op_type == "Conv" or (keeps and operator.inputs):
                self._blocking.add(operator.name)
                self._blocked.update(operator.outputs)

    def _seen_blocked(self, tensor: str, reader: str) -> bool:
        producer = self._graph.tensors[tensor].producer
        return tensor in self._blocked and producer is not None and self._place(producer) == self._place(reader)

    def _place(self, operator: str) -> object:
        return self._place_of.get(self._graph.unit_of[operator])

    def all(self) -> list[Transition]:
        """All changes, in the order of tensors."""
        found: list[Transition] = []
        for tensor in self._graph.tensors.values():
            if tensor.dtype == "float32":
                found += self._around(tensor)
        return found + self._unfused()

    def _around(self, tensor: GraphTensor) -> list[Transition]:
        unit_of = self._graph.unit_of
        home = self._place(tensor.producer) if tensor.producer is not None else None
        is_integer = tensor.name in self._made_integer
        crossing = tensor.nbytes / 4 if is_integer else float(tensor.nbytes)
        readers: dict[object, list[str]] = {}
        for reader in tensor.consumers:
            if (place := self._place(reader)) is not None:
                readers.setdefault(place, []).append(reader)
        found: list[Transition] = []
        if tensor.producer is not None and home is not None:
            crosses = any(self._place(reader) != home for reader in tensor.consumers)
            maker = unit_of[tensor.producer]
            if crosses:
                found.append(Transition("boundary", maker, crossing))
            plain = any(reader not in self._blocking for reader in readers.get(home, ()))
            if tensor.name in self._blocked and (crosses or plain or tensor.is_output):
                found.append(Transition("reorder", maker, tensor.nbytes))
            if is_integer and tensor.is_output:
                found.append(Transition("to-float", maker, tensor.nbytes))
        for place, names in readers.items():
            found += self._where_read(tensor, home, place, names)
            if place != home and tensor.producer is not None:
                found.append(Transition("boundary", unit_of[names[0]], crossing))
        return found

    def _where_read(self, tensor: GraphTensor, home: object, place: object, names: list[str]) -> list[Transition]:
        """What one place does before its operators can read a tensor."""
        unit_of = self._graph.unit_of
        is_integer = tensor.name in self._made_integer
        found: list[Transition] = []
        other = [name for name in names if (name in self._integer) != is_integer]
        if other and is_integer:
            first = tensor.producer if place == home and tensor.producer is not None else other[0]
            found.append(Transition("to-float", unit_of[first], tensor.nbytes))
        elif other:
            found.append(Transition("to-int8", unit_of[other[0]], tensor.nbytes))
        blocking = [name for name in names if name in self._blocking]
        if blocking and (tensor.name not in self._blocked or place != home):
            found.append(Transition("reorder", unit_of[blocking[0]], tensor.nbytes))
        return found

    def _unfused(self) -> list[Transition]:
        """Operators that run by themselves behind an integer operator."""
        found: list[Transition] = []
        for operator in self._graph.operators:
            if operator.op_type not in FUSED or operator.name in self._integer or self._place(operator.name) is None:
                continue
            if any(name in self._made_integer for name in operator.inputs):
                nbytes = sum(self._graph.tensors[name].nbytes for name in operator.outputs)
                found.append(Transition("unfused", self._graph.unit_of[operator.name], nbytes))
        return found
