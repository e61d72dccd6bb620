"""Infeasibility: which constraints leave no plan, and the nearest one that does.

Owns: naming the constraints in conflict and the nearest feasible value. Its rule: every sentence rests on a solve.
Not here: planning; what limits there are and their sentences (`meaning.limiting.limits`).

A constraint is named when dropping it alone makes a plan possible; how far it must give way comes from minimising
what it limits, or from halving between a limit that gives a plan and one that does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.cpsat.minimisation import SolveOutcome
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.exact import exact_costs
from edgesplit_controller.planner.meaning.indexed_plan import to_assignment
from edgesplit_controller.planner.meaning.limiting.limit_form import Conflict, Limit, Nearest
from edgesplit_controller.planner.meaning.limiting.limits import KINDS, DeviceEnergyLimit, NoiseLimit, RateLimit
from edgesplit_controller.planner.meaning.measures import DEVICE_ENERGY, DEVICE_ENERGY_ALONE
from edgesplit_controller.planner.meaning.tolerance import told
from edgesplit_controller.planner.solving.reasons.reachable_rate import highest_rate
from edgesplit_controller.planner.solving.session import Session

__all__ = ["explain_infeasible"]

_RESERVE_S = 5.0
_MORE_S = 1.0
"""For each further way out once one is known. [s]"""

NEAR = 1e-3
"""Relative distance to the nearest feasible value that is near enough."""


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
    conflicts: list[Conflict] = []
    # Sums come first: where they leave no plan, noise is what they make necessary.
    kinds = sorted(KINDS, key=lambda kind: kind is NoiseLimit)
    explanations: list[Callable[[Problem, Clock], Conflict | None]] = [partial(_sums, kind) for kind in kinds]
    for explain in (*explanations, _pins):
        if conflicts:
            # One cause is enough; further remedies are worth little time.
            clock = Clock(min(clock.left_s(), _MORE_S))
            if clock.left_s() <= 0:
                break
        conflict = explain(problem, clock)
        if conflict is not None:
            conflicts.append(conflict)
    if conflicts:
        return "; or ".join([conflicts[0].sentence, *(conflict.remedy for conflict in conflicts[1:])]) + "."
    return (
        "No plan satisfies the constraints together: no single one of rate, device energy, memory, noise and pins gives a "
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


def _sums(kind: type[Limit], problem: Problem, clock: Clock) -> Conflict | None:
    """Name the limit of one kind that is the matter, or say how much all of them need."""
    limits = kind.of(problem)
    if len(limits) > 1 and _first(_restated(problem, limits, None), clock).plan is None:
        return None
    for limit in limits:
        if kind is DeviceEnergyLimit:
            nearest = _least_device_energy(problem, limit, clock)
        elif kind is RateLimit:
            nearest = _highest_rate(problem, limit, clock)
        else:
            nearest = _nearest(partial(_used, problem, [limit], clock), limit.bound, clock)
        if nearest is not None:
            return limit.conflict(problem, nearest)
    if len(limits) < 2:
        return None
    return limits[0].together(problem, limits, _nearest(partial(_used, problem, limits, clock), 1.0, clock))


def _least_device_energy(problem: Problem, limit: Limit, clock: Clock) -> Nearest | None:
    session = Session(limit.restated(problem, None), None, Clock(max(clock.left_s(), 0.1)))
    outcome = session.best(DEVICE_ENERGY_ALONE)
    if outcome.plan is None:
        return None
    return Nearest(float(outcome.plan.measures[DEVICE_ENERGY]), outcome.proven)


def _highest_rate(problem: Problem, limit: Limit, clock: Clock) -> Nearest | None:
    found = highest_rate(problem, clock, refused_s=limit.bound)
    return None if found is None else Nearest(found.period_s, found.settled, found.subject)


def _restated(problem: Problem, limits: Sequence[Limit], factor: float | None) -> Problem:
    """The problem with limits so many times as high; None drops them."""
    for limit in limits:
        problem = limit.restated(problem, None if factor is None else factor * limit.bound)
    return problem


def _used(problem: Problem, limits: Sequence[Limit], clock: Clock, bound: float | None) -> float | None:
    """What any plan under other bounds uses.

    Args:
        problem: With the limits.
        limits: One, or several that grow together.
        clock: Gives the time left.
        bound: Of the one, or by which factor several grow; None drops them.

    Returns:
        What is used of the one limit, or the largest share of several; infinity when there is no plan, None when time
        did not suffice to tell.
    """
    together = len(limits) > 1
    relaxed = _restated(problem, limits, bound) if together else limits[0].restated(problem, bound)
    session = Session(relaxed, None, Clock(max(clock.left_s(), 0.1)))
    outcome = session.first()
    if outcome.plan is None:
        return math.inf if outcome.proven else None
    usage = exact_costs(problem, to_assignment(outcome.plan, session.costs)).usage
    if not together:
        return told(*limits[0].exact(usage), bound)
    return max(float(limit.exact(usage)[0]) / max(limit.bound, 1.0) for limit in limits)


def _nearest(used: Callable[[float | None], float | None], refused: float, clock: Clock) -> Nearest | None:
    """Halve the distance between a limit that gives a plan and one that does not.

    Args:
        used: A limit, or None for none, to what a plan under it uses; infinity when there is no plan, None when
            time did not suffice to tell.
        refused: A limit that gives no plan.
        clock: Gives the time left.
    """
    best = used(None)
    if best is None or math.isinf(best):
        return None
    while best - refused > NEAR * best and clock.left_s() > 0:
        middle = (best + refused) / 2
        found = used(middle)
        if found is None:
            return Nearest(best, False)
        if math.isinf(found):
            refused = middle
        else:
            best = min(best, found)
    return Nearest(best, best - refused <= NEAR * best)


def _first(problem: Problem, clock: Clock) -> SolveOutcome:
    return Session(problem, None, Clock(max(clock.left_s(), 0.1))).first()


def _pins(problem: Problem, clock: Clock) -> Conflict | None:
    pins = problem.constraints.pins
    if not pins or _first(_pinned(problem, None), clock).plan is None:
        return None
    for name, allowed in pins.items():
        if clock.left_s() <= 0:
            break
        others = {other: nodes for other, nodes in pins.items() if other != name}
        if _first(_pinned(problem, others), clock).plan is not None:
            pin = f"the pin of operator {name!r} to {', '.join(allowed)}"
            return Conflict(f"T{pin[1:]} leaves no plan; drop it", f"drop {pin}")
    return Conflict("The pins together leave no plan; drop some of them", "drop some of the pins")


def _pinned(problem: Problem, pins: dict[str, tuple[str, ...]] | None) -> Problem:
    return msgspec.structs.replace(problem, constraints=msgspec.structs.replace(problem.constraints, pins=pins))
