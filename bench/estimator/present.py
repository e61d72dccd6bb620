"""Frozen baseline: how release 0.1 estimated a node's speed, kept to be compared with.

Owns: the reasoning of 0.1's `speed_factors` (commit 09e813f), and of its agents' means over a window of the last runs. Its rule: never
improved, else nothing is compared; pure but for the window. Not here: how nodes' speeds are estimated now.

A factor of the node changes at once when two reports in a row agree that it is another by more than a fifth, else it follows
each report by 0.3 of the difference; a component that was timed has an error of its own, smoothed alike, another one the typical
error of float or int8, by least squares drawn towards 1.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

__all__ = [
    "BaselineSpeed",
    "BaselineTiming",
    "RunWindow",
    "baseline_begun",
    "baseline_expected_s",
    "baseline_served",
    "baseline_timed_again",
    "middle_mean_s",
]

NO_TIME_S = 1e-12
SMOOTHING = 0.3
SPEED_CHANGE, UNSEEN_SPEED_CHANGE, SPEED_AGREEMENT = 0.2, 0.35, 0.15
SLACK_S, KNOWN_SLACK_S = 1e-3, 2e-4
LEAST_ERROR, MOST_ERROR = 0.5, 2.0
LEAST_FACTOR, MOST_FACTOR = 0.01, 1000.0
COMMON_SPREAD, PRECISION_SPREAD, OWN_SPREAD = 0.1, 0.1, 0.05
WHOLE = "whole"
KEPT_COMPONENTS = 64
RELAPSE_S = 120.0
FIRST_HOLD_S, LONGEST_HOLD_S = 30.0, 1800.0
WINDOW_S, ENOUGH_RUNS, LEAST_RUNS, KEPT_RUNS = 2.0, 5, 3, 64


class RunWindow:
    """The last runs of one component, as 0.1's agent averaged them."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, float]] = deque(maxlen=KEPT_RUNS)

    def mean_s(self, at_s: float, samples: Sequence[float]) -> float | None:
        """Middle mean of the runs that are recent, once new ones ended; None where they say nothing yet. [s]"""
        self._ended.extend((at_s, seconds) for seconds in samples)
        recent: list[float] = []
        for ended_s, seconds in reversed(self._ended):
            enough = len(recent) >= ENOUGH_RUNS or sum(recent) >= WINDOW_S
            if enough and ended_s < at_s - WINDOW_S:
                break
            recent.append(seconds)
        return middle_mean_s(recent) if len(recent) >= LEAST_RUNS or sum(recent) >= WINDOW_S else None


def middle_mean_s(samples: Sequence[float]) -> float:
    """Mean of the middle half. [s]"""
    ordered = sorted(samples)
    cut = max(len(ordered) // 4, 1) if len(ordered) >= LEAST_RUNS else 0
    middle = ordered[cut : len(ordered) - cut]
    return sum(middle) / len(middle)


@dataclass(frozen=True)
class BaselineTiming:
    """A component as it was timed lately, beside what the profile says of it. [s]"""

    key: str
    float_s: float
    int8_s: float
    measured_s: float = 0.0

    @property
    def profiled_s(self) -> float:
        """Of all its units. [s]"""
        return self.float_s + self.int8_s


@dataclass(frozen=True)
class BaselineError:
    """A component that was timed: the profile's seconds, and what it takes over them, the node's factor aside."""

    float_s: float
    int8_s: float
    error: float


@dataclass(frozen=True)
class BaselineSpeed:
    """One node and one model; as 0.1's `NodeSpeed`."""

    factor: float = 1.0
    known: Mapping[str, BaselineError] = field(default_factory=dict[str, BaselineError])
    suspected: float | None = None
    slow_since_s: float = float("-inf")
    recovered_s: float = float("-inf")
    relapses: int = 0

    @property
    def hold_s(self) -> float:
        """How long a slow node is believed to be so, whatever it says while it has nothing to do. [s]"""
        return min(FIRST_HOLD_S * 2.0 ** (self.relapses - 1), LONGEST_HOLD_S) if self.relapses else 0.0

    def typical(self) -> tuple[float, float]:
        """Factor of what was never timed, in float and in int8: ridge regression over what was timed."""
        common, apart = 1.0 / COMMON_SPREAD**2, 1.0 / PRECISION_SPREAD**2
        a, b, c = common / 4 + apart, common / 4 - apart, common / 4 + apart
        p = q = 0.0
        for part in self.known.values():
            profiled_s = part.float_s + part.int8_s
            weight = 1.0 / (OWN_SPREAD * profiled_s + KNOWN_SLACK_S) ** 2
            excess_s = (part.error - 1.0) * profiled_s
            a += weight * part.float_s**2
            b += weight * part.float_s * part.int8_s
            c += weight * part.int8_s**2
            p += weight * part.float_s * excess_s
            q += weight * part.int8_s * excess_s
        determinant = a * c - b * b
        in_float, in_int8 = 1.0 + (c * p - b * q) / determinant, 1.0 + (a * q - b * p) / determinant
        return (
            self.factor * min(max(in_float, LEAST_ERROR), MOST_ERROR),
            self.factor * min(max(in_int8, LEAST_ERROR), MOST_ERROR),
        )


def baseline_begun(whole_s: float, rested_s: float) -> BaselineSpeed:
    """Before anything was served: requests come with pauses, a profile's runs come in a row. [s]"""
    known = rested_s > 0 and whole_s > 0
    return BaselineSpeed(factor=min(max(rested_s / whole_s, 1.0), MOST_ERROR) if known else 1.0)


def baseline_expected_s(speed: BaselineSpeed, part: BaselineTiming) -> float:
    """What a component should take. [s]"""
    known = speed.known.get(part.key)
    if known is not None:
        return speed.factor * known.error * part.profiled_s
    in_float, in_int8 = speed.typical()
    return in_float * part.float_s + in_int8 * part.int8_s


def baseline_served(
    speed: BaselineSpeed, parts: Sequence[BaselineTiming], now_s: float, *, first: bool
) -> BaselineSpeed:
    """Take in components that ran since the last report; `first`: nothing was ever heard of this node."""
    wanted, is_step = _shown(speed, parts)
    if not is_step:
        return _learned(replace(speed, factor=wanted, suspected=None), parts)
    if not first and not _confirmed(speed, wanted):
        return replace(speed, suspected=wanted)
    if wanted > speed.factor:
        relapsed = now_s - speed.recovered_s < RELAPSE_S
        speed = replace(speed, slow_since_s=now_s, relapses=speed.relapses + 1 if relapsed else 0)
    return _learned(replace(speed, factor=wanted, suspected=None), parts)


def baseline_timed_again(speed: BaselineSpeed, profiled_s: float, measured_s: float, now_s: float) -> BaselineSpeed:
    """Take in that the whole model was timed again while nothing of it was served."""
    whole = (BaselineTiming(WHOLE, profiled_s, 0.0, measured_s),)
    wanted, is_step = _shown(speed, whole)
    if is_step and wanted > speed.factor and not _confirmed(speed, wanted):
        return replace(speed, suspected=wanted)
    if is_step and wanted < speed.factor:
        if now_s - speed.slow_since_s < speed.hold_s:
            return speed
        speed = replace(speed, recovered_s=now_s)
    return _learned(replace(speed, factor=wanted, suspected=None), whole)


def _shown(speed: BaselineSpeed, parts: Sequence[BaselineTiming]) -> tuple[float, bool]:
    seen = [part for part in parts if part.key in speed.known]
    compared = seen or parts
    should_s = sum(baseline_expected_s(speed, part) for part in compared)
    measured_s = sum(part.measured_s for part in compared)
    if not should_s > 0 or not measured_s > 0:
        return speed.factor, False
    ratio, slack_s = measured_s / should_s, KNOWN_SLACK_S if seen else SLACK_S
    longer_s, shorter_s = max(measured_s, should_s), min(measured_s, should_s)
    step = SPEED_CHANGE if seen or compared[0].key == WHOLE else UNSEEN_SPEED_CHANGE
    if longer_s > (1 + step) * shorter_s + slack_s:
        return _bounded(speed.factor * ratio), True
    if not seen:
        return speed.factor, False
    weight = SMOOTHING * should_s / (should_s + SLACK_S)
    return _bounded(speed.factor * ratio**weight), False


def _learned(speed: BaselineSpeed, parts: Sequence[BaselineTiming]) -> BaselineSpeed:
    known = dict(speed.known)
    for part in parts:
        if not part.profiled_s > NO_TIME_S:
            continue
        most = MOST_ERROR + SLACK_S / part.profiled_s
        error = min(max(part.measured_s / (speed.factor * part.profiled_s), LEAST_ERROR), most)
        before = known.pop(part.key, None)
        if before is not None:
            error = before.error * (error / before.error) ** SMOOTHING
        known[part.key] = BaselineError(part.float_s, part.int8_s, error)
    latest = list(known)[-KEPT_COMPONENTS:]
    return replace(speed, known={key: known[key] for key in latest})


def _confirmed(speed: BaselineSpeed, factor: float) -> bool:
    return speed.suspected is not None and abs(math.log(speed.suspected / factor)) <= math.log(1 + SPEED_AGREEMENT)


def _bounded(factor: float) -> float:
    return min(max(factor, LEAST_FACTOR), MOST_FACTOR)
