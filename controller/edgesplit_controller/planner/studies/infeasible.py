"""Why there is no plan, and the nearest one.

Owns: naming the constraints in conflict and the nearest feasible value. Its rule: every sentence rests on a solve.
Not here: planning.

A constraint is named when dropping it alone makes a plan possible; how far it must give way comes from minimising
what it limits, or from halving between a limit that gives a plan and one that does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from edgesplit.planning.plan import Evaluation
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.cpsat.decode import to_assignment
from edgesplit_controller.planner.cpsat.stage import StageOutcome
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.costs import DEVICE_ENERGY
from edgesplit_controller.planner.meaning.evaluation import evaluate
from edgesplit_controller.planner.session import DEVICE_GOAL, Session

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
    conflicts: list[_Conflict] = []
    for explain in (_energy, _memory, _noise, _pins):
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
        "No plan satisfies the constraints together: no single one of device energy, memory, noise and pins gives a "
        "plan when dropped; check that links join the nodes the pins ask for, and relax several."
    )


@dataclass(frozen=True, slots=True)
class _Conflict:
    """A constraint without which there is a plan: its own sentence, and its remedy beside another's; no full stop."""

    sentence: str
    remedy: str


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


def _energy(problem: Problem, clock: Clock) -> _Conflict | None:
    limit_j = problem.constraints.device_energy_limit_j
    if limit_j is None:
        return None
    session = Session(_relaxed(problem, device_energy_limit_j=None), None, Clock(max(clock.left_s(), 0.1)))
    outcome = session.best(DEVICE_GOAL)
    if outcome.plan is None:
        return None
    digits = _telling(float(outcome.plan.measures[DEVICE_ENERGY]), limit_j)
    least_j = _rounded_up(float(outcome.plan.measures[DEVICE_ENERGY]), digits)
    others = _others(problem)
    reach = "the least that is reachable is" if outcome.proven else "the least found is"
    return _Conflict(
        f"The device energy limit of {limit_j:.{digits}g} J conflicts with {others}: {reach} {least_j:.{digits}g} J; "
        f"raise device_energy_limit_j to at least that or relax the other",
        f"raise device_energy_limit_j to {least_j:.{digits}g} J",
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


def _memory(problem: Problem, clock: Clock) -> _Conflict | None:
    """Name one node whose memory is the matter, or say how much all need."""
    rooms = {node.name: node.memory_bytes for node in problem.nodes if node.memory_bytes is not None}
    if not rooms or _first(_with_memory(problem, dict.fromkeys(rooms)), clock).plan is None:
        return None
    for name, room in rooms.items():

        def held(room_bytes: float | None, name: str = name) -> float | None:
            found = _evaluated(_with_memory(problem, {name: room_bytes}), clock)
            return found.memory_bytes[name] if isinstance(found, Evaluation) else found

        nearest = _nearest(held, room, clock)
        if nearest is not None:
            least_bytes = math.ceil(nearest.value)
            return _Conflict(
                f"The memory of {name!r}, {room:.0f} B, cannot hold the weights it would have to: "
                f"{nearest.phrase} {least_bytes} B; give it that much, or more to another node",
                f"give {name!r} a memory of {least_bytes} B",
            )

    def largest(factor: float | None) -> float | None:
        grown = {name: None if factor is None else factor * room for name, room in rooms.items()}
        found = _evaluated(_with_memory(problem, grown), clock)
        if not isinstance(found, Evaluation):
            return found
        return max(found.memory_bytes[name] / max(room, 1.0) for name, room in rooms.items())

    nearest = _nearest(largest, 1.0, clock)
    total = sum(operator.weight_bytes for operator in problem.operators)
    factor = "more" if nearest is None else f"{nearest.value:.4g} times as much"
    return _Conflict(
        f"The nodes' memory, {sum(rooms.values()):.0f} B where it is limited, cannot hold weights of {total:.0f} B: no "
        f"single node's memory is the matter, a plan needs {factor} on every limited node; give memory or add a node",
        f"give every limited node {factor} memory",
    )


def _with_memory(problem: Problem, rooms: Mapping[str, float | None]) -> Problem:
    nodes = tuple(
        msgspec.structs.replace(node, memory_bytes=rooms[node.name]) if node.name in rooms else node
        for node in problem.nodes
    )
    return msgspec.structs.replace(problem, nodes=nodes)


def _noise(problem: Problem, clock: Clock) -> _Conflict | None:
    limit = problem.constraints.max_noise
    if limit is None:
        return None

    def made(max_noise: float | None) -> float | None:
        found = _evaluated(_relaxed(problem, max_noise=max_noise), clock)
        return found.noise if isinstance(found, Evaluation) else found

    nearest = _nearest(made, limit, clock)
    if nearest is None:
        return None
    digits = _telling(nearest.value, limit)
    least = _rounded_up(nearest.value, digits)
    return _Conflict(
        f"The noise bound of {limit:.{digits}g} conflicts with the limits on memory or links: {nearest.phrase} "
        f"{least:.{digits}g}; raise max_noise to at least that",
        f"raise max_noise from {limit:.{digits}g} to {least:.{digits}g}",
    )


@dataclass(frozen=True, slots=True)
class _Nearest:
    """The least value of a limit that gives a plan, as far as time sufficed to find it."""

    value: float
    settled: bool

    @property
    def phrase(self) -> str:
        return "the least that gives a plan is" if self.settled else "a plan is known with"


def _nearest(used: Callable[[float | None], float | None], refused: float, clock: Clock) -> _Nearest | None:
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
            return _Nearest(best, False)
        if math.isinf(found):
            refused = middle
        else:
            best = min(best, found)
    return _Nearest(best, best - refused <= NEAR * best)


def _telling(value: float, limit: float) -> int:
    """As many digits as it takes to tell a value from the limit that it exceeds; six at least."""
    return next((digits for digits in range(6, 17) if f"{value:.{digits}g}" != f"{limit:.{digits}g}"), 17)


def _rounded_up(value: float, digits: int = 6) -> float:
    """To so many digits, so that the value a sentence names suffices; rounding errors aside."""
    if value <= 0:
        return value
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return math.ceil(value / unit - 1e-6) * unit


def _first(problem: Problem, clock: Clock) -> StageOutcome:
    return Session(problem, None, Clock(max(clock.left_s(), 0.1))).first()


def _evaluated(problem: Problem, clock: Clock) -> Evaluation | float | None:
    """Any plan's costs; infinity when there is none, None when time did not suffice to tell."""
    session = Session(problem, None, Clock(max(clock.left_s(), 0.1)))
    outcome = session.first()
    if outcome.plan is None:
        return math.inf if outcome.proven else None
    return evaluate(problem, to_assignment(outcome.plan.labels, session.costs))


def _pins(problem: Problem, clock: Clock) -> _Conflict | None:
    pins = problem.constraints.pins
    if not pins:
        return None
    if _first(_relaxed(problem, pins=None), clock).plan is None:
        return None
    for name, allowed in pins.items():
        if clock.left_s() <= 0:
            break
        others = {other: nodes for other, nodes in pins.items() if other != name}
        if _first(_relaxed(problem, pins=others), clock).plan is not None:
            pin = f"the pin of operator {name!r} to {', '.join(allowed)}"
            return _Conflict(f"T{pin[1:]} leaves no plan; drop it", f"drop {pin}")
    return _Conflict("The pins together leave no plan; drop some of them", "drop some of the pins")
