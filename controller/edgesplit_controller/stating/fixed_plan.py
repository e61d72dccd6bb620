"""Fixed plan: from the document of a plan that somebody made to an assignment of the planning problem.

Owns: what its names mean, and the sentence that refuses one that cannot be meant. Its rule: pure; a unit is placed as a
whole, so its operators that are not named follow those that are, and those that are named are on one node. Not here: whether it
keeps the constraints (the planner's `evaluate` says), serving it.
"""

from __future__ import annotations

from collections.abc import Collection

from edgesplit.errors import InvalidInput
from edgesplit.planning.plan import Assignment, FixedPlan
from edgesplit.planning.problem import Problem
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.unit_tensors import INPUT, OUTPUT

__all__ = ["fixed_assignment", "placed_units"]

EXAMPLES = 3
"""Names quoted where one is not known."""


def placed_units(plan: FixedPlan, graph: ModelGraph, source: str) -> dict[str, str]:
    """The node of every unit.

    Args:
        plan: As it was given.
        graph: The model.
        source: Where requests arise and answers are needed.

    Raises:
        InvalidInput: It names an operator that the model does not have, puts operators of a unit on several nodes, takes
            input or output off the source, or leaves a unit without a node.
    """
    node_of: dict[str, str] = {}
    named_by: dict[str, str] = {}
    for operator, node in plan.assignment.items():
        if operator in (INPUT, OUTPUT):
            if node != source:
                raise InvalidInput(f"the plan puts {operator} on {node}: inputs and outputs are at the source {source}")
            continue
        unit = graph.unit_of.get(operator)
        if unit is None:
            raise InvalidInput(
                f"the plan names the operator {operator!r}, which the model does not have: its operators are such as "
                f"{_some(graph.unit_of)}"
            )
        if node_of.setdefault(unit, node) != node:
            raise InvalidInput(
                f"the plan puts operator {operator} on {node} and {named_by[unit]} on {node_of[unit]}, but both are of "
                f"unit {unit}, which is placed as a whole: name one node for them"
            )
        named_by.setdefault(unit, operator)
    missing = [unit.name for unit in graph.units if unit.name not in node_of]
    if missing:
        raise InvalidInput(
            f"the plan names no node for {len(missing)} of {len(graph.units)} units, such as {_some(missing)}: name one "
            "for every operator"
        )
    return node_of


def fixed_assignment(plan: FixedPlan, problem: Problem, graph: ModelGraph) -> Assignment:
    """The assignment that a plan means; codecs of tensors that do not travel are left out.

    Args:
        plan: As it was given.
        problem: Of the model now, with every node that the plan uses.
        graph: The model.

    Raises:
        InvalidInput: As `placed_units`; or an operator cannot run in int8, or a tensor cannot be coded as is said.
    """
    source = problem.source
    node_of = placed_units(plan, graph, source) | {INPUT: source, OUTPUT: source}
    quantized = frozenset(plan.quantized)
    able = {operator.name for operator in problem.operators if operator.quantizable}
    for operator in plan.quantized:
        if operator not in able:
            can = f"those that can are such as {_some(able)}" if able else "none can now"
            raise InvalidInput(f"the plan quantizes {operator!r}, which cannot run in int8: {can}")
    codecs = {
        tensor: codec
        for tensor, codec in plan.codecs.items()
        if _travels_coded(problem, tensor, codec, node_of, quantized)
    }
    return Assignment({operator.name: node_of[operator.name] for operator in problem.operators}, quantized, codecs)


def _travels_coded(problem: Problem, name: str, codec: str, node_of: dict[str, str], quantized: frozenset[str]) -> bool:
    """Whether a tensor travels under a plan; refuses a codec that it does not offer."""
    tensor = next((tensor for tensor in problem.tensors if tensor.name == name), None)
    if tensor is None:
        raise InvalidInput(
            f"the plan codes the tensor {name!r}, which no unit sends to another: tensors that could travel are such as "
            f"{_some([tensor.name for tensor in problem.tensors])}"
        )
    if all(node_of[consumer] == node_of[tensor.producer] for consumer in tensor.consumers):
        return False
    in_int8 = tensor.producer in quantized
    offers = [option.name for option in tensor.codecs or () if option.codes(quantized=in_int8)]
    if codec not in offers:
        form = "int8" if in_int8 else "float"
        has = f"codecs for that are {', '.join(offers)}" if offers else "no codec is known for that"
        raise InvalidInput(f"the plan codes the tensor {name!r}, which travels in {form}, as {codec!r}: {has}")
    return True


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:EXAMPLES])
