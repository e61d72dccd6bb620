"""Neurosurgeon: the best single cut of a chain of layers, between the device and one server.

Owns: that search. Its rule: all cuts of the operators in topological order are tried, for every server; what comes before runs at the
source, what comes after on the server, in float, tensors as they are. Not here: cuts of branches (`dads.py`).

As the paper has it, either latency or energy is minimised, and a cut behind the last layer or before the first is one, too. Three things
are decided in the method's favour: energy is that of all nodes, which is what is measured here, not the mobile device's alone; the answer's
way back is counted; cuts that break a memory limit are left out, of which the paper knows nothing. Operators that must stay at the
source stay there whatever the cut. In a graph that is no chain the cut may cross several tensors; all are counted. With weights on both
latency and energy, each counts as a multiple of its best.

References: Y. Kang, J. Hauswald, C. Gao, A. Rovinski, T. Mudge, J. Mars, L. Tang, Neurosurgeon: Collaborative Intelligence Between the
Cloud and Mobile Edge, ASPLOS 2017.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgesplit.planning.problem import Problem
from edgesplit.planning.problem_validation import topological_order
from lab.baselines.prices import Cost, MethodHasNoPlan, RawPrices, weigher

__all__ = ["best_chain_cut", "chain_cuts"]


def chain_cuts(problem: Problem) -> Iterator[dict[str, str]]:
    """Every plan of one cut that keeps pins; the one without a server first."""
    prices, source = RawPrices(problem), problem.source
    operators = {operator.name: operator for operator in problem.operators}
    order = [name for name in topological_order(problem) if operators[name].role is None]
    places = {name: prices.places(operator) for name, operator in operators.items()}
    for server in (source, *prices.others):
        for cut in range(len(order) + 1 if server != source else 1):
            before = set(order[:cut])
            node_of: dict[str, str] = {}
            for name in operators:
                wanted, instead = (source, server) if name in before else (server, source)
                allowed = next((node for node in (wanted, instead) if node in places[name]), None)
                if allowed is None:
                    break
                node_of[name] = allowed
            else:
                yield node_of


def best_chain_cut(problem: Problem) -> dict[str, str]:
    """Operator to node.

    Raises:
        MethodHasNoPlan: No cut keeps pins and memory.
    """
    prices = RawPrices(problem)
    found: list[tuple[Cost, dict[str, str]]] = []
    for node_of in chain_cuts(problem):
        cost = prices.total(node_of)
        if cost is not None and prices.fits(node_of):
            found.append((cost, node_of))
    if not found:
        raise MethodHasNoPlan("no single cut of the chain keeps pins and memory limits")
    per_s, per_j = weigher(problem.objective, [cost for cost, _ in found])
    return min(found, key=lambda one: per_s * one[0].latency_s + per_j * one[0].energy_j)[1]
