"""Methods by name, from a planning problem to a plan's document.

Owns: the names, as scenarios and results have them. Its rule: a document is one that `splitctl deploy --plan` takes as it is. Not here:
any method.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from edgesplit.planning.problem import Problem
from lab.baselines.dads import best_two_way_cut
from lab.baselines.heft import heft_placement
from lab.baselines.neurosurgeon import best_chain_cut
from lab.baselines.prices import MethodHasNoPlan
from lab.baselines.random_plan import drawn_plan
from lab.baselines.study import study_plan
from lab.baselines.unsplit import everything_on

__all__ = ["plan_for"]

FLOAT_METHODS: dict[str, Callable[[Problem], dict[str, str]]] = {
    "neurosurgeon": best_chain_cut,
    "dads": best_two_way_cut,
    "heft": heft_placement,
}
"""Those that place operators and nothing else."""


def plan_for(method: str, problem: Problem) -> dict[str, Any]:
    """A method's plan: `assignment`, `quantized` and `codecs`, as `splitctl solve --json` prints them.

    Args:
        method: `neurosurgeon`, `dads`, `heft`, `study`, `random-N` with the seed N, or a node on which everything is to run.
        problem: Under the goals and with the nodes of the comparison.

    Raises:
        MethodHasNoPlan: One sentence why.
    """
    if method == "study":
        plan = study_plan(problem)
        return {"assignment": dict(plan.node_of), "quantized": sorted(plan.quantized), "codecs": {}}
    seed = re.fullmatch(r"random-(\d+)", method)
    if seed is not None:
        node_of = drawn_plan(problem, int(seed[1]))
    elif method in FLOAT_METHODS:
        node_of = FLOAT_METHODS[method](problem)
    elif method in {node.name for node in problem.nodes}:
        node_of = everything_on(problem, method)
    else:
        known = ", ".join((*FLOAT_METHODS, "study", "random-N", *(node.name for node in problem.nodes)))
        raise MethodHasNoPlan(f"there is no method {method!r} for these nodes: there are {known}")
    return {"assignment": node_of, "quantized": [], "codecs": {}}
