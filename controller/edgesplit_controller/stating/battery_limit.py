"""Battery limit: a battery floor as a limit on the source's energy per request.

Owns: the limit, and the sentence that explains it. Its rule: pure; every figure says where it comes from, and what is not
known limits nothing. Not here: reading batteries (agents), counting requests (`fleet/traffic.py`), planning under the limit
and planning again when it moved (`deciding/`).

At every moment what is left above the floor must last for the horizon at the rate that is served:

    limit_j = ((energy - floor x capacity) / horizon - idle - other models) / rate

The horizon moves along, so a node that is not charged becomes more frugal as it empties and never plans to reach the
floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import msgspec

from edgesplit.formatting import joules, watts
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.significance import BATTERY_LIMIT_SLACK

__all__ = [
    "ASSUMED_PER_S",
    "BatteryState",
    "Demand",
    "battery_allowance",
    "figures_data",
    "judged",
    "keeps",
    "limit_or_infinite_j",
]

ASSUMED_PER_S = 1.0
"""Where nobody said what to expect and nothing was served yet. [1/s]"""


@dataclass(frozen=True)
class BatteryState:
    """What a node says of its battery and of its draw at rest.

    Attributes:
        energy_j: None where it does not say. [J]
        discharging: None where it does not say, which counts as discharging.
        idle_w: Measured; None where not. [W]
        stale: It cannot be read now; the figures are the last ones.
    """

    fraction: float
    energy_j: float | None
    discharging: bool | None = None
    idle_w: float | None = None
    stale: bool = False

    @property
    def full_j(self) -> float | None:
        """What it holds when full; None where unknown. [J]"""
        return None if self.energy_j is None or self.fraction <= 0 else self.energy_j / self.fraction


@dataclass(frozen=True)
class Demand:
    """What is asked of a node.

    Attributes:
        requests_per_s: Of the model. [1/s]
        origin: Where the rate comes from.
        others_w: What serving other models draws on the node. [W]
    """

    requests_per_s: float
    origin: Literal["measured", "configured", "assumed"]
    others_w: float = 0.0


def battery_allowance(
    node: str, floor: float, hours: float, *, state: BatteryState | None, demand: Demand
) -> BatteryAllowance:
    """What a floor allows each request now.

    Args:
        node: The source.
        floor: As a share of what its battery holds. [1]
        hours: The horizon. [h]
        state: None for a node without a battery.
        demand: What is asked of it.
    """
    allowance = BatteryAllowance(
        node=node,
        state="no-battery",
        floor=floor,
        hours=hours,
        fraction=None,
        above_floor_j=None,
        requests_per_s=demand.requests_per_s,
        rate_origin=demand.origin,
        idle_w=None,
        others_w=demand.others_w,
        limit_j=None,
        kept=True,
        stale=False,
        text=f"{node} reports no battery, so a floor of {floor:.0%} limits nothing",
    )
    if state is None:
        return allowance
    allowance = msgspec.structs.replace(
        allowance, fraction=state.fraction, idle_w=state.idle_w, stale=state.stale, state="limited"
    )
    full_j = state.full_j
    if full_j is not None and state.energy_j is not None:
        allowance = msgspec.structs.replace(allowance, above_floor_j=state.energy_j - floor * full_j)
    return _limited(allowance, on_mains=state.discharging is False)


def _limited(allowance: BatteryAllowance, *, on_mains: bool) -> BatteryAllowance:
    """The allowance with state, limit and sentence."""
    fraction = allowance.fraction or 0.0
    now = f"the battery of {allowance.node} {'was last' if allowance.stale else 'is'} at {fraction:.0%}"
    if on_mains:
        text = f"{now} and on mains, so a floor of {allowance.floor:.0%} limits nothing"
        return msgspec.structs.replace(allowance, state="on-mains", text=text)
    if fraction <= allowance.floor:
        text = f"{now}, not above the floor of {allowance.floor:.0%}"
        return msgspec.structs.replace(allowance, state="below-floor", limit_j=0.0, text=text)
    if allowance.above_floor_j is None:
        text = (
            f"{now} but does not say how much it holds, so a floor of {allowance.floor:.0%} limits nothing until it is "
            f"reached: set [power] battery_wh of {allowance.node}"
        )
        return msgspec.structs.replace(allowance, state="no-energy", text=text)
    left_w = allowance.above_floor_j / (allowance.hours * 3600.0) - (allowance.idle_w or 0.0) - allowance.others_w
    limit_j = max(left_w, 0.0) / allowance.requests_per_s
    text = (
        f"{now}, {joules(allowance.above_floor_j)} above the floor of {allowance.floor:.0%}: "
        f"{joules(limit_j)} a request for {allowance.hours:g} h at {_rate(allowance)}{_taken_off(allowance)}"
    )
    return msgspec.structs.replace(allowance, limit_j=limit_j, text=text)


def _rate(allowance: BatteryAllowance) -> str:
    return f"{allowance.requests_per_s:.3g} requests/s ({allowance.rate_origin})"


def _taken_off(allowance: BatteryAllowance) -> str:
    parts = [] if allowance.idle_w is None else [f"{watts(allowance.idle_w)} at rest (measured)"]
    if allowance.others_w > 0:
        parts.append(f"{watts(allowance.others_w)} for other models")
    return f", after {' and '.join(parts)}" if parts else ""


def figures_data(allowance: BatteryAllowance) -> dict[str, str | float | int | bool | None]:
    """The figures behind an event."""
    return {
        "limit_j": allowance.limit_j,
        "battery_fraction": allowance.fraction,
        "above_floor_j": allowance.above_floor_j,
        "hours": allowance.hours,
        "requests_per_s": allowance.requests_per_s,
        "rate_origin": allowance.rate_origin,
        "idle_w": allowance.idle_w,
        "others_w": allowance.others_w,
    }


def judged(limit_j: float) -> float:
    """The limit a serving plan is held to: batteries and rates are not known to the percent. [J]"""
    return limit_j * (1 + BATTERY_LIMIT_SLACK)


def keeps(allowance: BatteryAllowance | None, device_energy_j: float) -> bool:
    """Whether a plan that serves keeps what the floor allows."""
    return allowance is None or allowance.limit_j is None or device_energy_j <= judged(allowance.limit_j)


def limit_or_infinite_j(allowance: BatteryAllowance | None) -> float:
    """What is allowed; infinite where nothing limits. [J]"""
    return math.inf if allowance is None or allowance.limit_j is None else allowance.limit_j
