"""Switch decision: whether a new plan is worth a switch from the one that serves.

Owns: the weighing and its hysteresis. Its rule: pure; every decision comes with the sentence and the figures behind it. Not
here: when to plan again (`replan_reasons.py`), solving, how sure durations are (`stating/predicting/prediction_spreads.py`).

A gain must exceed its threshold, and nothing in nine of ten cases (one-sided): else a switch would follow the error of a
prediction, and the next one lead back. Both plans are compared sample by sample, so that what they share does not count.

No plan is held back for ever because it never serves and so is never timed. What both compute on one node errs alike and leaves
the gain as it is; a node's speed and its links are measured whether or not a plan uses them, which shrinks what they err by; what
remains is what components err by that never ran where they would, some percent by its prior. So only a gain of about as
much waits, and what waiting costs is no more than that gain; as what is known grows without any figure changing, it is looked at
again, ever later (`replanner.py`), and goals that are set force it. A plan that is better by far is taken at once, and its timings
then say what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgesplit.control.event_messages import EventData
from edgesplit.planning.plan import Assignment, Evaluation, Ranges
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import Interval
from edgesplit.significance import EQUAL_GAIN
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.planner.studies.sampling import SampledPlan, gain_interval, interval_of

__all__ = ["Decision", "decide", "decide_fixed"]

_Value = TypeVar("_Value", float, NDArray[np.float64])
"""Of one plan, or of each of its samples."""


@dataclass(frozen=True)
class Decision:
    """Whether to switch.

    Attributes:
        adopt: Switch to the new assignment.
        same: The new assignment is the old one.
        unsure: Only the gain's uncertainty holds the new plan back: it is worth another look when more is known.
        text: The verdict in one sentence.
        data: Old and new prediction with their intervals, gain and switch cost, keys with units. The gain lies above
            `gain_low`, and below `gain_high`, in nine of ten cases.
    """

    adopt: bool
    same: bool
    text: str
    data: EventData
    unsure: bool = False


def decide(
    old: Evaluation | None,
    new: Evaluation,
    problem: Problem,
    ranges: Ranges,
    *,
    assignments: tuple[Assignment | None, Assignment],
    forced: str,
    thresholds: Thresholds,
    samples: tuple[SampledPlan | None, SampledPlan | None] = (None, None),
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
        samples: Of serving and new; without both the gain counts as sure.
    """
    before, after = assignments
    data: dict[str, str | float | int | bool | None] = {"switch_cost_bytes": _switch_cost_bytes(problem, before, after)}
    for prefix, evaluation, sampled in (("new", new, samples[1]), ("old", old, samples[0])):
        data |= _figures_data(prefix, evaluation, sampled)
    if before is None or old is None:
        return Decision(True, False, forced or "the serving plan cannot run any more", data)
    if _equal(before, after):
        return Decision(False, True, "the serving plan is still the best", data)
    if old.violations:
        return Decision(True, False, f"the serving plan breaks a constraint: {old.violations[0]}", data)
    old_value = max(_objective(old.latency_s, old.energy_j, problem, ranges), 1e-300)
    gain = 1.0 - _objective(new.latency_s, new.energy_j, problem, ranges) / old_value
    sure = _sure_gain(gain, samples, problem, ranges)
    data["gain"] = gain
    if sure is not None:
        data["gain_low"], data["gain_high"] = sure
    return _weighed(gain, sure, forced, thresholds, data)


def decide_fixed(
    new: Evaluation,
    problem: Problem,
    *,
    assignments: tuple[Assignment | None, Assignment],
    sampled: SampledPlan | None,
    made: str = "fixed",
) -> Decision:
    """Take a plan that was made elsewhere, whatever it is worth.

    Args:
        new: Its evaluation.
        problem: The present figures and goals.
        assignments: Serving, where it can run, and new.
        sampled: Of the new one.
        made: How.
    """
    before, after = assignments
    data: dict[str, str | float | int | bool | None] = {"switch_cost_bytes": _switch_cost_bytes(problem, before, after)}
    data |= _figures_data("new", new, sampled)
    if before is not None and _equal(before, after):
        return Decision(False, True, f"the {made} plan serves already", data)
    return Decision(True, False, f"the plan is {made}", data)


def _weighed(gain: float, sure: Interval | None, forced: str, thresholds: Thresholds, data: EventData) -> Decision:
    """The verdict where both plans can run."""
    if gain <= EQUAL_GAIN:
        return Decision(False, False, "the serving plan is as good as the best", data)
    if forced:
        return Decision(True, False, forced, data)
    if gain < thresholds.gain:
        text = f"the best plan gains {gain:.1%}, less than the {thresholds.gain:.0%} that justify a switch"
        return Decision(False, False, text, data)
    if sure is not None and sure[0] <= 0.0:
        text = f"the best plan gains {gain:.1%}, which is within what it is uncertain by ({_range(sure)})"
        return Decision(False, False, text, data, unsure=True)
    return Decision(True, False, f"the new plan gains {gain:.1%}" + (f" ({_range(sure)})" if sure else ""), data)


def _range(sure: Interval) -> str:
    return f"{100 * sure[0]:.0f} to {sure[1]:.0%}"


def _sure_gain(
    gain: float, samples: tuple[SampledPlan | None, SampledPlan | None], problem: Problem, ranges: Ranges
) -> Interval | None:
    """Where the gain lies, by comparing both plans sample by sample."""
    before, after = samples
    if before is None or after is None:
        return None
    added = problem.objective.latency_model == "sum"
    old, new = (
        _objective(plan.added_s if added else plan.timeline_s, plan.energy_j, problem, ranges)
        for plan in (before, after)
    )
    return gain_interval(np.maximum(old, 1e-300), new, gain)


def _equal(before: Assignment, after: Assignment) -> bool:
    return (
        dict(before.node_of) == dict(after.node_of)
        and before.quantized == after.quantized
        and dict(before.codecs) == dict(after.codecs)
    )


def _objective(latency_s: _Value, energy_j: _Value, problem: Problem, ranges: Ranges) -> _Value:
    """Weighted latency and energy, each as a multiple of its best value, so that a gain is a share of the whole."""
    objective = problem.objective
    total = objective.latency_weight + objective.energy_weight
    best_latency_s, best_energy_j = ranges.best_latency_s, ranges.best_energy_j
    value = latency_s * (objective.latency_weight / total / (best_latency_s or 1.0))
    return value + energy_j * (objective.energy_weight / total / (best_energy_j or 1.0))


def _figures_data(
    prefix: str, evaluation: Evaluation | None, sampled: SampledPlan | None
) -> dict[str, str | float | int | bool | None]:
    """What is predicted of a plan; keys begin with the prefix."""
    if evaluation is None:
        return {}
    data: dict[str, str | float | int | bool | None] = {
        "latency_s": evaluation.timeline_s,
        "energy_j": evaluation.energy_j,
        "noise": evaluation.noise,
    }
    if sampled is not None:
        interval = interval_of(sampled, evaluation)
        data["latency_low_s"], data["latency_high_s"] = interval.latency_s
        data["energy_low_j"], data["energy_high_j"] = interval.energy_j
    return {f"{prefix}_{key}": value for key, value in data.items()}


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
        cost += operator.weights_on(after.node_of[operator.name], quantized=quantized)
    return cost
