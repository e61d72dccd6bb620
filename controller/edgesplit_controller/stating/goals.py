"""Goals of a model as commands change them.

Owns: the changes of goals: weights, limits, pins, forbidden nodes. Its rule: pure; goals go in and goals come out, or
one sentence says why they cannot be. Not here: what pins reach (`stating/pinning.py`), planning, keeping.
"""

from __future__ import annotations

import math

import msgspec

from edgesplit.errors import InvalidInput
from edgesplit.formatting import rate
from edgesplit.operations.goal_operations import LimitChange
from edgesplit.planning.goals import Goals, PinRule

__all__ = ["goals_text", "merged_goals", "with_forbidden", "with_pin", "without_forbidden", "without_pin"]


def merged_goals(
    goals: Goals,
    *,
    latency: float | None = None,
    energy: float | None = None,
    max_noise: LimitChange | None = None,
    device_energy_j: LimitChange | None = None,
    min_rate: LimitChange | None = None,
    min_battery: LimitChange | None = None,
    battery_hours: float | None = None,
    battery_requests_per_s: LimitChange | None = None,
) -> Goals:
    """Goals after `set-weights`: naming one weight sets the other to 0, naming neither keeps both, the rest persists.

    Raises:
        InvalidInput: A weight or limit is negative or not finite, a rate is not above 0, both weights are 0, or a battery
            floor cannot be.
    """
    latency_weight, energy_weight = goals.latency_weight, goals.energy_weight
    if latency is not None or energy is not None:
        latency_weight, energy_weight = latency or 0.0, energy or 0.0
    noise = goals.max_noise if max_noise is None else max_noise.value
    device_j = goals.device_energy_limit_j if device_energy_j is None else device_energy_j.value
    named = {
        "latency_weight": latency_weight,
        "energy_weight": energy_weight,
        "max_noise": noise,
        "device_energy_limit_j": device_j,
    }
    for name, value in named.items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InvalidInput(f"the goal {name} is {value}: give a number of 0 or more")
    rate_hz = goals.min_rate_hz if min_rate is None else min_rate.value
    if rate_hz is not None and not (math.isfinite(rate_hz) and rate_hz > 0):
        raise InvalidInput(f"the goal min_rate_hz is {rate_hz}: give a number above 0")
    if latency_weight + energy_weight <= 0:
        raise InvalidInput("both weights are 0: give latency or energy a weight greater than 0")
    return msgspec.structs.replace(
        _with_battery(goals, min_battery, battery_hours, battery_requests_per_s),
        latency_weight=latency_weight,
        energy_weight=energy_weight,
        max_noise=noise,
        device_energy_limit_j=device_j,
        min_rate_hz=rate_hz,
    )


def _with_battery(goals: Goals, floor: LimitChange | None, hours: float | None, expected: LimitChange | None) -> Goals:
    """Goals with another battery floor; what is None persists.

    Raises:
        InvalidInput: The floor is no share below 1, or a horizon or rate is not above 0.
    """
    share = goals.min_battery if floor is None else floor.value
    if share is not None and not 0 <= share < 1:
        raise InvalidInput(f"the battery floor is {share:g}: give a share from 0% to below 100%")
    horizon_h = goals.battery_hours if hours is None else hours
    per_s = goals.battery_requests_per_s if expected is None else expected.value
    for name, value in (("horizon of the battery floor", horizon_h), ("rate expected of the battery", per_s)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InvalidInput(f"the {name} is {value:g}: give a number above 0")
    return msgspec.structs.replace(goals, min_battery=share, battery_hours=horizon_h, battery_requests_per_s=per_s)


def with_pin(goals: Goals, rule: PinRule) -> Goals:
    """Goals with a pin added, in place of one with the same selector."""
    kept = tuple(pin for pin in goals.pins if not _same_selector(pin, rule))
    return msgspec.structs.replace(goals, pins=(*kept, rule))


def without_pin(goals: Goals, select: str | None) -> Goals:
    """Goals without the pin of a selector, or without any.

    Args:
        goals: As they are.
        select: The pattern, `--input`, `--first N` or `--first` (whatever its N); None for all pins.

    Raises:
        InvalidInput: There is no such pin.
    """
    if select is None:
        return msgspec.structs.replace(goals, pins=())
    kept = tuple(
        pin for pin in goals.pins if pin.selector != select and not (select == "--first" and pin.kind == "first")
    )
    if len(kept) == len(goals.pins):
        there = ", ".join(pin.selector for pin in goals.pins)
        raise InvalidInput(
            f"nothing is pinned as {select!r}: " + (f"the pins are {there}" if there else "there are no pins")
        )
    return msgspec.structs.replace(goals, pins=kept)


def with_forbidden(goals: Goals, node: str) -> Goals:
    """Goals under which a node is not used."""
    return msgspec.structs.replace(goals, forbidden=tuple(sorted({*goals.forbidden, node})))


def without_forbidden(goals: Goals, node: str) -> Goals:
    """Goals under which a node may be used."""
    return msgspec.structs.replace(goals, forbidden=tuple(name for name in goals.forbidden if name != node))


def goals_text(goals: Goals) -> str:
    """Goals in a few words, for events."""
    noise = "any" if goals.max_noise is None else f"{goals.max_noise:g}"
    limit_j = goals.device_energy_limit_j
    device = "" if limit_j is None else f", device energy at most {limit_j:g} J"
    sustained = "" if goals.min_rate_hz is None else f", at least {rate(goals.min_rate_hz)}"
    floor = goals.min_battery
    battery = "" if floor is None else f", battery at least {floor:.0%} for {goals.battery_hours:g} h"
    pins = "; ".join(f"{pin.selector} on {', '.join(pin.nodes) or 'the source'}" for pin in goals.pins)
    pinned = f", pinned: {pins}" if pins else ""
    forbidden = f", not on {', '.join(goals.forbidden)}" if goals.forbidden else ""
    among = f", among nodes with {goals.on}" if goals.on else ""
    weights = f"latency {goals.latency_weight:g}, energy {goals.energy_weight:g}"
    return f"{weights}, noise at most {noise}{device}{sustained}{battery}{pinned}{among}{forbidden}"


def _same_selector(left: PinRule, right: PinRule) -> bool:
    return left.kind == right.kind and (left.kind != "pattern" or left.pattern == right.pattern)
