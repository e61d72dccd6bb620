"""A model's network as the planner moves it: units, and the tensors between them.

Owns: the building of `GraphDocument`. Its rule: pure. Not here: where units run (`plan_documents.py`), how they were found
(`graph/units.py`).
"""

from __future__ import annotations

from edgesplit.operations.inspection.graph_operation import GraphDocument, GraphEdge, GraphEnd, GraphUnit
from edgesplit_controller.graph.model_graph import ModelGraph, Unit
from edgesplit_controller.models.model_record import ModelRecord

__all__ = ["graph_document"]


def graph_document(record: ModelRecord) -> GraphDocument:
    """`splitctl model graph`."""
    graph = record.graph
    numbers = {unit.name: number for number, unit in enumerate(graph.units)}
    unit_of = {operator: numbers[unit] for operator, unit in graph.unit_of.items()}
    return GraphDocument(
        model=record.name,
        sha256=record.sha256,
        units=tuple(_unit(graph, number, unit) for number, unit in enumerate(graph.units)),
        edges=tuple(
            GraphEdge(from_=numbers[unit.name], to=reader, tensor=name, nbytes=graph.tensors[name].nbytes)
            for unit in graph.units
            for name in unit.outputs
            for reader in _readers(graph, unit_of, name)
            if reader != numbers[unit.name]
        ),
        inputs=tuple(_end(graph, name, _readers(graph, unit_of, name)) for name in graph.inputs),
        outputs=tuple(_end(graph, name, _maker(graph, unit_of, name)) for name in graph.outputs),
    )


def _unit(graph: ModelGraph, number: int, unit: Unit) -> GraphUnit:
    operators = [graph.operator[name] for name in unit.operators]
    return GraphUnit(
        id=number,
        name=unit.name,
        operators=unit.operators,
        kinds=tuple(dict.fromkeys(operator.op_type for operator in operators)),
        flops=sum(operator.flops for operator in operators),
        weight_bytes=sum(operator.weight_bytes for operator in operators),
    )


def _readers(graph: ModelGraph, unit_of: dict[str, int], tensor: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(unit_of[reader] for reader in graph.tensors[tensor].consumers if reader in unit_of))


def _maker(graph: ModelGraph, unit_of: dict[str, int], tensor: str) -> tuple[int, ...]:
    producer = graph.tensors[tensor].producer
    return () if producer is None or producer not in unit_of else (unit_of[producer],)


def _end(graph: ModelGraph, tensor: str, units: tuple[int, ...]) -> GraphEnd:
    return GraphEnd(tensor=tensor, nbytes=graph.tensors[tensor].nbytes, units=units)
