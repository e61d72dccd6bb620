"""Standing of a fixed plan: whether what somebody asked for can be served as the fleet is now.

Owns: this check, and its sentence. Its rule: pure; a fixed plan that cannot be served is told and kept, for its nodes may come
back. Not here: what serves meanwhile (fallbacks, by the agents), telling (`relevance.py`).
"""

from __future__ import annotations

from edgesplit.planning.problem import Problem
from edgesplit_controller.stating.assignment_fit import fits
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["missed"]


def missed(problem: Problem, plan: PlanRecord) -> str:
    """What keeps a fixed plan from serving, or what limit it breaks, as a clause; empty if nothing does.

    Args:
        problem: As the fleet is now.
        plan: With its latest evaluation.
    """
    until = "fallbacks serve until it can be"
    node_of = plan.assignment.node_of
    gone = sorted(set(node_of.values()) - {node.name for node in problem.nodes})
    if gone:
        return f"cannot be served without {', '.join(gone)}: {until}"
    if not fits(problem, plan.assignment):
        return "cannot be served, for int8 or codecs that it uses are not available now"
    links = {(link.source, link.target) for link in problem.links}
    for tensor in problem.tensors:
        sender = node_of[tensor.producer]
        for receiver in sorted({node_of[consumer] for consumer in tensor.consumers} - {sender}):
            if (sender, receiver) not in links:
                return f"cannot be served without a link from {sender} to {receiver}: {until}"
    broken = plan.evaluation.violations
    return f"breaks a limit and stays, for it is fixed: {broken[0].rstrip('.')}" if broken else ""
