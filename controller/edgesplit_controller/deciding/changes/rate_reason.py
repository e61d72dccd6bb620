"""Rate reason: whether the plan that serves still sustains the rate its goals ask for.

Owns: how far below it a serving plan may fall, and when that is reason to plan again. Its rule: pure. Not here: what a plan sustains
(`planner/meaning/throughput.py`), whether the new plan is worth a switch (`switch_decision.py`).

Links scatter, so that a plan chosen to be just within its rate would be planned again with every measurement: what serves is
forgiven a little, new plans are not.
"""

from __future__ import annotations

import msgspec

from edgesplit.formatting import rate
from edgesplit.planning.plan import Evaluation
from edgesplit.planning.problem import Problem
from edgesplit.significance import RATE_SLACK, differs

__all__ = ["forgiving", "rate_reason"]


def forgiving(problem: Problem) -> Problem:
    """A problem under the rate that a serving plan is held to."""
    asked_hz = problem.constraints.min_rate_hz
    if asked_hz is None:
        return problem
    constraints = msgspec.structs.replace(problem.constraints, min_rate_hz=asked_hz * (1 - RATE_SLACK))
    return msgspec.structs.replace(problem, constraints=constraints)


def rate_reason(asked_hz: float, now: Evaluation, considered_hz: float | None, change: float) -> str:
    """Why a plan is to be made again for its rate's sake, in one sentence; empty where it need not be.

    Args:
        asked_hz: By the goals. [1/s]
        now: The serving plan under the present figures.
        considered_hz: Its rate when it was planned again for this reason last; None: it never was. [1/s]
        change: Relative change that is enough to consider it again. [1]
    """
    rate_hz = now.rate_hz
    if rate_hz is None or rate_hz >= asked_hz * (1 - RATE_SLACK):
        return ""
    if considered_hz is not None and not differs(considered_hz, rate_hz, change):
        return ""
    return f"the plan sustains {rate(rate_hz)}, bounded by {now.bottleneck}, and {rate(asked_hz)} are asked for"
