"""How much of a plan sits on each node.

Owns: these counts. Its rule: pure; operators are counted as users know them, not as units. Not here: tables.
"""

from __future__ import annotations

from edgesplit.operations.documents import NodeShare
from edgesplit.planning.plan import Assignment, Evaluation
from edgesplit.planning.problem import Problem

__all__ = ["per_node"]


def per_node(problem: Problem, assignment: Assignment, evaluation: Evaluation) -> dict[str, NodeShare]:
    """Count operators, components and quantized operators on every node of a problem."""
    counts = {node.name: [0, 0, 0] for node in problem.nodes}
    for operator in problem.operators:
        count = counts[assignment.node_of[operator.name]]
        count[0] += len(operator.listed)
        count[2] += operator.name in assignment.quantized
    for component in evaluation.components:
        counts[component.node][1] += 1
    return {
        name: NodeShare(operators=operators, components=components, quantized=quantized)
        for name, (operators, components, quantized) in counts.items()
    }
