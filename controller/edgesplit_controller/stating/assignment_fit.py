"""Fit of an assignment: whether one of an earlier problem can be evaluated on another.

Owns: this check. Its rule: pure; that it can be evaluated does not say that it keeps the constraints. Not here: evaluating.
"""

from __future__ import annotations

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.stating.codec_offers import offers_hold

__all__ = ["fits"]


def fits(problem: Problem, assignment: Assignment) -> bool:
    """Whether all nodes and operators of an assignment are in a problem, and can be what it makes of them."""
    able = {operator.name for operator in problem.operators if operator.quantizable}
    offers = {tensor.name: [codec.name for codec in tensor.codecs or ()] for tensor in problem.tensors}
    return (
        set(assignment.node_of.values()) <= {node.name for node in problem.nodes}
        and set(assignment.node_of) == {operator.name for operator in problem.operators}
        and assignment.quantized <= able
        and offers_hold(offers, assignment.codecs)
    )
