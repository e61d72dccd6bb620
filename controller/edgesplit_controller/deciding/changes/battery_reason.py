"""Reason to plan again for the battery's sake.

Owns: when a limit moved so much that a model is planned again. Its rule: pure; a limit that none keeps is no reason, one that
rose waits. Not here: the limit (`stating/battery_limit.py`), telling.
"""

from __future__ import annotations

import math

from edgesplit.formatting import joules
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.significance import differs
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.changes.replan_reasons import Reason
from edgesplit_controller.stating.battery_limit import keeps, limit_or_infinite_j

__all__ = ["battery_reason"]

PATIENCE_S = 60.0
"""How long a decision stands before a limit that rose is reason for another. [s]"""


def battery_reason(
    before: BatteryAllowance | None,
    now: BatteryAllowance | None,
    device_energy_j: float,
    *,
    thresholds: Thresholds,
    since_s: float,
) -> Reason | None:
    """Whether a model is to be planned again for the battery's sake.

    Args:
        before: What the last decision stood on; `kept` says whether a plan kept it.
        now: What holds now.
        device_energy_j: Of the serving plan. [J]
        thresholds: What counts as a change.
        since_s: Since that decision. [s]
    """
    limit_j, was_j = limit_or_infinite_j(now), limit_or_infinite_j(before)
    if not keeps(now, device_energy_j):
        if now is None or (before is not None and not before.kept):
            return None  # what serves is as frugal as can be
        if not keeps(before, device_energy_j) and not differs(was_j, limit_j, thresholds.change):
            return None  # considered before
        text = (
            f"the battery of {now.node} allows {joules(limit_j)} a request and the plan takes {joules(device_energy_j)}"
        )
        return Reason("battery-limit", text)
    if math.isinf(was_j) or since_s < PATIENCE_S:
        return None
    in_reach_j = was_j if before is None or before.kept else max(was_j, device_energy_j)
    if before is None or limit_j <= in_reach_j * (1 + thresholds.change):
        return None
    allows = "limits nothing" if math.isinf(limit_j) else f"allows {joules(limit_j)} a request"
    return Reason("battery-limit", f"the battery of {before.node} {allows} instead of {joules(was_j)}")
