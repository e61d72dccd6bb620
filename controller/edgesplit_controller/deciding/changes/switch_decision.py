"""Switch decision: whether a new plan is worth a switch from the one that serves.

Owns: the weighing and its hysteresis. Its rule: pure; every decision comes with the sentence and the figures behind it. Not
here: when to plan again (`replan_reasons.py`), solving.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesplit.control.event_messages import EventData
from edgesplit.planning.plan import Assignment, Evaluation, Ranges
from edgesplit.planning.problem import Problem
from edgesplit.significance import EQUAL_GAIN
from edgesplit_controller.configuration import Thresholds

__all__ = ["Decision", "decide"]


@dataclass(frozen=True)
class Decision:
    """Whether to switch.

    Attributes:
        adopt: Switch to the new assignment.
        same: The new assignment is the old one.
        text: The verdict in one sentence.
        data: Old and new prediction, gain and switch cost, keys with units.
    """

    adopt: bool
    same: bool
    text: str
    data: EventData


def decide(
    old: Evaluation | None,
    new: Evaluation,
    problem: Problem,
    ranges: Ranges,
    *,
    assignments: tuple[Assignment | None, Assignment],
    forced: str,
    thresholds: Thresholds,
) -> Decision:
    """Weigh the plan that serves against the one the planner found.

    Args:
        old: The serving assignment under the present figures; None where it cannot run any more.
        new: The planner's.
        problem: The present figures and goals.
        ranges: Of the planner's solution.
        assignments: Serving and new.
        forced: Why hysteresis does not apply ("goals were set"), or empty.
        thresholds: Hysteresis.
    """
    before, after = assignments
    data = _figures_data(old, new) | {"switch_cost_bytes": _switch_cost_bytes(problem, before, after)}
    if before is None or old is None:
        return Decision(True, False, forced or "the serving plan cannot run any more", data)
    if _equal(before, after):
        return Decision(False, True, "the serving plan is still the best", data)
    if old.violations:
        return Decision(True, False, f"the serving plan breaks a constraint: {old.violations[0]}", data)
    gain = 1.0 - _objective(new, problem, ranges) / max(_objective(old, problem, ranges), 1e-300)
    return _weighed(gain, forced, thresholds, {**data, "gain": gain})


def _weighed(gain: float, forced: str, thresholds: Thresholds, data: EventData) -> Decision:
    """The verdict where both plans can run."""
    if gain <= EQUAL_GAIN:
        return Decision(False, False, "the serving plan is as good as the best", data)
    if forced:
        return Decision(True, False, forced, data)
    if gain < thresholds.gain:
        text = f"the best plan gains {gain:.1%}, less than the {thresholds.gain:.0%} that justify a switch"
        return Decision(False, False, text, data)
    return Decision(True, False, f"the new plan gains {gain:.1%}", data)


def _equal(before: Assignment, after: Assignment) -> bool:
    return (
        dict(before.node_of) == dict(after.node_of)
        and before.quantized == after.quantized
        and dict(before.codecs) == dict(after.codecs)
    )


def _objective(evaluation: Evaluation, problem: Problem, ranges: Ranges) -> float:
    """Weighted latency and energy, each as a multiple of its best value, so that a gain is a share of the whole."""
    objective = problem.objective
    total = objective.latency_weight + objective.energy_weight
    best_latency_s, best_energy_j = ranges.best_latency_s, ranges.best_energy_j
    value = objective.latency_weight / total * evaluation.latency_s / (best_latency_s or 1.0)
    return value + objective.energy_weight / total * evaluation.energy_j / (best_energy_j or 1.0)


def _figures_data(old: Evaluation | None, new: Evaluation) -> dict[str, str | float | int | bool | None]:
    data: dict[str, str | float | int | bool | None] = {
        "new_latency_s": new.timeline_s,
        "new_energy_j": new.energy_j,
        "new_noise": new.noise,
    }
    if old is not None:
        data |= {"old_latency_s": old.timeline_s, "old_energy_j": old.energy_j, "old_noise": old.noise}
    return data


def _switch_cost_bytes(problem: Problem, before: Assignment | None, after: Assignment) -> float:
    """Weights that nodes must fetch because they did not hold them in this form. [B]"""
    cost = 0.0
    for operator in problem.operators:
        quantized = operator.name in after.quantized
        if (
            before is not None
            and before.node_of.get(operator.name) == after.node_of[operator.name]
            and (operator.name in before.quantized) == quantized
        ):
            continue
        cost += operator.weight_bytes * (0.25 if quantized else 1.0)
    return cost
