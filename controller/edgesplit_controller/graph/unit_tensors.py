"""Tensors between units, for the planner's problem.

Owns: the tensors that could be cut, with one planning operator per unit. Its rule: facts of the graph only. Not here:
times, links, goals, solving.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesplit_controller.graph.model_graph import ModelGraph

__all__ = ["INPUT", "OUTPUT", "UnitTensor", "unit_tensors"]

INPUT = "edgesplit:input"
"""Name of the planning operator that stands for the request; role `input`."""
OUTPUT = "edgesplit:output"
"""Name of the planning operator that stands for the answer; role `output`."""
_SIZE_BYTES = 8


@dataclass(frozen=True, slots=True)
class UnitTensor:
    """A tensor that crosses from one unit to others.

    Attributes:
        name: ONNX name.
        nbytes: Size in its own type, as of `GraphTensor`. [B]
        dtype: numpy's name of the element type.
        shape: Static shape.
        producer: Unit, or INPUT.
        consumers: Units in topological order; OUTPUT last if it is an output of the model.
    """

    name: str
    nbytes: int
    dtype: str
    shape: tuple[int, ...]
    producer: str
    consumers: tuple[str, ...]


def unit_tensors(graph: ModelGraph) -> tuple[UnitTensor, ...]:
    """Return every tensor that somebody outside its producer's unit reads, in topological order; then tensors' sizes."""
    rank = {unit.name: index for index, unit in enumerate(graph.units)}
    crossing: list[UnitTensor] = []
    for tensor in graph.tensors.values():
        producer = INPUT if tensor.producer is None else graph.unit_of[tensor.producer]
        readers = {graph.unit_of[consumer] for consumer in tensor.consumers} - {producer}
        consumers = (*sorted(readers, key=rank.__getitem__), *((OUTPUT,) if tensor.is_output else ()))
        if consumers:
            crossing.append(UnitTensor(tensor.name, tensor.nbytes, tensor.dtype, tensor.shape, producer, consumers))
    for entry in graph.size_tensors:
        producer = INPUT if entry.producer is None else graph.unit_of[entry.producer]
        readers = {graph.unit_of[consumer] for consumer in entry.consumers} - {producer}
        if readers:
            consumers = tuple(sorted(readers, key=rank.__getitem__))
            crossing.append(
                UnitTensor(entry.name, _SIZE_BYTES * entry.rank, "int64", (entry.rank,), producer, consumers)
            )
    return tuple(crossing)
