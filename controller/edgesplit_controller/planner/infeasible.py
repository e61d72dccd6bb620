"""Why there is no plan, and the nearest one.

Owns: naming the constraints in conflict and the nearest feasible value. Its rule: every sentence rests on a solve.
Not here: planning.

A constraint is named when dropping it alone makes a plan possible; how far it must give way comes from minimising
what it limits.
"""

from __future__ import annotations

import msgspec

from edgesplit.problem import Problem
from edgesplit_controller.planner.costs import DEVICE_ENERGY
from edgesplit_controller.planner.decode import to_assignment
from edgesplit_controller.planner.evaluation import evaluate
from edgesplit_controller.planner.measure import Plan
from edgesplit_controller.planner.objective import Goal
from edgesplit_controller.planner.session import DEVICE_GOAL, LATENCY_GOAL, Session
from edgesplit_controller.planner.stage import Clock

__all__ = ["explain_infeasible"]

_RESERVE_S = 5.0


def explain_infeasible(problem: Problem, clock: Clock) -> str:
    """One sentence that names the constraints in conflict and the nearest feasible value.

    Args:
        problem: Proven to have no plan.
        clock: Of the solve; what is left of it, and a little more, may be used.
    """
    clock = Clock(max(clock.left_s(), _RESERVE_S))
    roles = _misplaced_roles(problem)
    if roles:
        return roles
    for explain in (_energy, _memory, _noise, _pins):
        sentence = explain(problem, clock)
        if sentence:
            return sentence
    return (
        "No plan satisfies the constraints together: no single one of device energy, memory, noise and pins gives a "
        "plan when dropped; check that links join the nodes the pins ask for, and relax several."
    )


def _misplaced_roles(problem: Problem) -> str:
    pins = problem.constraints.pins or {}
    for operator in problem.operators:
        if operator.role and problem.source not in pins.get(operator.name, (problem.source,)):
            return (
                f"The {operator.role} {operator.name!r} stays on the source {problem.source!r} but its pin allows "
                f"only {', '.join(pins[operator.name])}; drop the pin."
            )
    return ""


def _relaxed(problem: Problem, **constraints: object) -> Problem:
    return msgspec.structs.replace(problem, constraints=msgspec.structs.replace(problem.constraints, **constraints))


def _try(problem: Problem, goal: Goal, clock: Clock) -> tuple[Plan | None, bool, Session]:
    """The best plan of a relaxed problem, and whether it is proven."""
    session = Session(problem, None, Clock(max(clock.left_s(), 0.1)))
    outcome = session.best(goal)
    return outcome.plan, outcome.proven, session


def _energy(problem: Problem, clock: Clock) -> str:
    limit_j = problem.constraints.device_energy_limit_j
    if limit_j is None:
        return ""
    plan, proven, _ = _try(_relaxed(problem, device_energy_limit_j=None), DEVICE_GOAL, clock)
    if plan is None:
        return ""
    least_j = float(plan.measures[DEVICE_ENERGY])
    others = _others(problem)
    reach = "the least that is reachable is" if proven else "the least found is"
    return (
        f"The device energy limit of {limit_j:.6g} J conflicts with {others}: {reach} {least_j:.6g} J; raise "
        f"device_energy_limit_j to at least that or relax the other."
    )


def _others(problem: Problem) -> str:
    """What else holds the device's energy up."""
    parts: list[str] = []
    if problem.constraints.max_noise is not None and any(o.quantizable for o in problem.operators):
        parts.append(f"max_noise {problem.constraints.max_noise:.6g}")
    if problem.constraints.pins:
        parts.append("the pins")
    parts.append("keeping input and output on the source")
    return " and ".join(parts)


def _memory(problem: Problem, clock: Clock) -> str:
    roomy = tuple(msgspec.structs.replace(node, memory_bytes=None) for node in problem.nodes)
    plan, _, session = _try(msgspec.structs.replace(problem, nodes=roomy), LATENCY_GOAL, clock)
    if plan is None:
        return ""
    used = evaluate(session.problem, to_assignment(plan.labels, session.costs)).memory_bytes
    short = [
        f"{node.name!r} has {node.memory_bytes:.0f} B and a plan without the limit uses {used[node.name]:.0f} B"
        for node in problem.nodes
        if node.memory_bytes is not None and used[node.name] > node.memory_bytes
    ]
    return f"The nodes' memory cannot hold the weights: {'; '.join(short)}; give memory or add a node."


def _noise(problem: Problem, clock: Clock) -> str:
    limit = problem.constraints.max_noise
    if limit is None:
        return ""
    plan, _, session = _try(_relaxed(problem, max_noise=None), LATENCY_GOAL, clock)
    if plan is None:
        return ""
    noise = evaluate(session.problem, to_assignment(plan.labels, session.costs)).noise
    return (
        f"The noise bound of {limit:.6g} conflicts with the limits on memory or links: a plan without it has noise "
        f"{noise:.6g}; raise max_noise towards that."
    )


def _pins(problem: Problem, clock: Clock) -> str:
    pins = problem.constraints.pins
    if not pins:
        return ""
    if _try(_relaxed(problem, pins=None), LATENCY_GOAL, clock)[0] is None:
        return ""
    for name, allowed in pins.items():
        others = {other: nodes for other, nodes in pins.items() if other != name}
        if _try(_relaxed(problem, pins=others), LATENCY_GOAL, clock)[0] is not None:
            return f"The pin of operator {name!r} to {', '.join(allowed)} leaves no plan that the links can carry."
    return "The pins together leave no plan that the links can carry; drop some of them."
