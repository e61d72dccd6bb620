"""Significance thresholds: when a figure counts as changed, on both sides.

Owns: the comparisons, and how much is enough for whom, from the measurement to the plan. Its rule: pure; each threshold says
who acts on it, and whoever stands later in the list acts on what earlier ones let pass. Not here: what follows from a change.
"""

from __future__ import annotations

import math

__all__ = [
    "BATTERY_LIMIT_SLACK",
    "BATTERY_REPORTED_CHANGE",
    "BUSY_REPORTED_PERCENT",
    "CERTAINTY_CHANGE",
    "CORRECTION_CHANGE",
    "EQUAL_GAIN",
    "LARGE_RATE_CHANGE",
    "LATENCY_FLOOR_S",
    "LATENCY_REPORTED_FLOOR_S",
    "MEMORY_REPORTED_CHANGE",
    "NEAR_SIZES",
    "OWN_TIME_CHANGE",
    "PLANNED_LINK_SHARE",
    "PLANNED_POWER_CHANGE",
    "PLAN_TOLERANCE",
    "PREDICTION_CHANGE",
    "RATE_CHANGE",
    "RATE_SLACK",
    "REPLAN_CHANGE",
    "REPORTED_CHANGE",
    "REPORTED_SCATTER_SHARE",
    "RESTLESS_SPREAD",
    "RETIMING_CHANGE",
    "SHAPE_KEPT_WORTH",
    "SHAPE_WORTH",
    "SMALL_RATE_CHANGE",
    "SPEED_AGREEMENT",
    "SPEED_STEP",
    "STEADY_SPREAD",
    "SWITCH_GAIN",
    "WORKLOAD_CHANGE",
    "beyond_scatter",
    "differs",
    "ratio_differs",
]

# --- The agent believes what it measures -------------------------------------------------------------------------------
RATE_CHANGE = 0.25
"""Of a link's rate: no noise once several samples in a row show it and agree. [1]"""
LARGE_RATE_CHANGE = 0.4
"""Of a link's rate: two such samples are enough; a smaller one takes three (a busy machine makes some). [1]"""
OWN_TIME_CHANGE = 0.05
"""Of what an emulated node's work takes the machine itself: no noise once a few runs in a row lie beyond all before. [1]"""
SMALL_RATE_CHANGE = 0.08
"""Of a link's rate: looked for over seconds to a minute, and told apart from drift; less is followed slowly. [1]"""
RETIMING_CHANGE = 0.15
"""Of a model's time against its profile: in doubt, and timed again soon. [1]"""
WORKLOAD_CHANGE = 0.15
"""Of a fixed workload's time, twice in a row: the machine became faster, and what was slow is timed again. [1]"""
RESTLESS_SPREAD, STEADY_SPREAD = 0.06, 0.04
"""Of the time of the same work from one moment to another: from the first on a machine is restless, below the second it is
steady again. [1]"""

# --- The agent reports at once what it believes --------------------------------------------------------------------------
REPORTED_CHANGE = 0.05
"""Of any figure. [1]"""
REPORTED_SCATTER_SHARE = 0.5
"""What is believed of a link wanders by a small part of its measurements' scatter; beyond this share it is news. [1]"""
LATENCY_REPORTED_FLOOR_S = 2e-4
"""Round trips on one machine or in one room differ by more than a few percent all the time. [s]"""
MEMORY_REPORTED_CHANGE = 0.1
"""Of the memory that is available. [1]"""
BATTERY_REPORTED_CHANGE = 0.005
"""Of the charge, as a share of a full battery. [1]"""
BUSY_REPORTED_PERCENT = 10.0
"""Of the processor's use. [percent]"""

# --- The controller's predictions follow ---------------------------------------------------------------------------------
SPEED_STEP = 0.05
"""Of a node: a jump, however sure; less is followed smoothly. [1]"""
SPEED_AGREEMENT = 0.15
"""Two reports that differ by less say the same of a node. [1]"""
CERTAINTY_CHANGE = 0.25
"""Of how sure a component's time is. [1]"""
CORRECTION_CHANGE = 0.01
"""Of what live timings correct a profile by. [1]"""
PLANNED_POWER_CHANGE = 0.02
"""Of a node's power. [1]"""
PLANNED_LINK_SHARE = 0.01
"""Of a plan, by what one of its links became. [1]"""
PREDICTION_CHANGE = 0.01
"""Of a prediction that is shown. [1]"""

# --- The controller plans again and switches -----------------------------------------------------------------------------
REPLAN_CHANGE = 0.2
"""Of a link's or node's figure: the default of `[planning] change_threshold`. [1]"""
LATENCY_FLOOR_S = 0.0005
"""Latencies that differ by less are the same when plans are at stake. [s]"""
BATTERY_LIMIT_SLACK = 0.05
"""A serving plan may exceed a battery's limit by this much before another one is looked for. [1]"""
RATE_SLACK = 0.05
"""A serving plan may sustain that much less than the rate asked for before another one is looked for. [1]"""
SWITCH_GAIN = 0.05
"""Of the objective: the default of `[planning] gain_threshold`. [1]"""
PLAN_TOLERANCE = 0.02
"""Of the objective: the default of `[planning] tolerance`; below what justifies a switch, so that it brings about none. [1]"""
NEAR_SIZES = 1.5
"""Ratio of the sizes of two requests, all open axes together: one plan for both. [1]"""
SHAPE_WORTH, SHAPE_KEPT_WORTH = 0.01, 0.004
"""Of latency and energy of all requests of a model: what a plan for some sizes of their own has to save (their share of the
requests times what it saves them) to be made by itself, and to be kept. [1]"""
EQUAL_GAIN = 1e-6
"""Plans that differ by less are equally good (the planner's own tolerance). [1]"""


def differs(before: float, now: float, share: float, floor: float = 0.0) -> bool:
    """Whether a figure changed by more than a share of itself, and by more than a floor in its own unit."""
    return abs(now - before) > max(share * abs(before), floor)


def ratio_differs(before: float, now: float, share: float) -> bool:
    """Whether a figure above 0 grew or shrank by more than a factor of 1 + share, the same both ways."""
    return not 1 / (1 + share) <= now / before <= 1 + share


def beyond_scatter(before: float, now: float, share: float, scatter: float) -> bool:
    """Whether a figure above 0 changed by more than a share of itself and than its own measurements scatter.

    Args:
        before: When it was last acted on.
        now: As told now; filtered, so that it wanders by a small part of the scatter.
        share: Relative change that always counts as noise. [1]
        scatter: Standard deviation of one measurement, relative. [1]
    """
    return differs(before, now, share) and abs(math.log(now / before)) > math.log1p(scatter)
