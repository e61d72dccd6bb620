"""Speed factors: how fast a node computes a model now, against the profile it once measured.

Owns: what live timings of components, and whole models timed again, say about that. Its rule: pure; a node's factor
changes at once when two reports in a row agree on it, else it follows smoothly, so that noise moves nothing. Not here:
what the profile says of a component (`fleet/unit_times.py`), who listens (`fleet/node_speeds.py`).

A component's time is taken apart as

    measured = factor x error x (float seconds + int8 seconds of its units by the profile)

where `factor` is the node's, the same for all it computes of the model, and `error` the component's own: what the
profile, which adds up units, gets wrong about it. A component that was timed is predicted with its own error, another
with the typical one: least squares over the timed ones, with float and int8 apart as far as they tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.significance import SPEED_AGREEMENT, SPEED_CHANGE, UNSEEN_SPEED_CHANGE
from edgesplit_controller.storage.saved_speeds import Known, TimingOrigin

__all__ = [
    "Factors",
    "NodeSpeed",
    "Timed",
    "expected_s",
    "factors",
    "rested_factor",
    "served",
    "timed_again",
]

NO_TIME_S = 1e-12
"""Less is no time that anything could be compared with. [s]"""
SMOOTHING = 0.3
"""Share of a small difference that each report corrects."""
SLACK_S, KNOWN_SLACK_S = 1e-3, 2e-4
"""What a component may take beyond its profile, or beyond what it took before, without the node being slower: the start
of a session's run, a cold cache. [s]"""
LEAST_ERROR, MOST_ERROR = 0.5, 2.0
LEAST_FACTOR, MOST_FACTOR = 0.01, 1000.0
COMMON_SPREAD, PRECISION_SPREAD, OWN_SPREAD = 0.1, 0.1, 0.05
"""Expected spread of typical errors around 1, of int8's around float's, of a component's around the typical one. [1]"""
WHOLE = "whole"
"""Key of the whole model, timed again."""
KEPT_COMPONENTS = 64
RELAPSE_S = 120.0
"""A node that becomes slow so soon after it was found recovered only seemed so: without its work it is fast. [s]"""
FIRST_HOLD_S, LONGEST_HOLD_S = 30.0, 1800.0


@dataclass(frozen=True)
class Timed:
    """A component as it was timed lately, beside what the profile says of it.

    Attributes:
        key: Equal for equal components.
        float_s: Of its units in float, by the profile. [s]
        int8_s: Of its units in int8, by the profile. [s]
        measured_s: [s]
    """

    key: str
    float_s: float
    int8_s: float
    measured_s: float

    @property
    def profiled_s(self) -> float:
        """Of all its units. [s]"""
        return self.float_s + self.int8_s


@dataclass(frozen=True)
class Factors:
    """What the profile's times are multiplied with for components that were never timed. [1]"""

    in_float: float = 1.0
    in_int8: float = 1.0


@dataclass(frozen=True)
class NodeSpeed:
    """One node and one model.

    Attributes:
        factor: The node's time over the profile's. [1]
        known: Components that were timed, by key, the latest last.
        suspected: A factor that one report said and none confirmed yet.
        origin: What the factor rests on.
        slow_since_s: When serving last showed that the node became slower. [s]
        recovered_s: When timing the whole model again last showed that it became faster. [s]
        relapses: How often in a row it became slow again right after.
        slow_down: Emulated slowness within the profile: what a run takes besides its units is stretched with them. [1]
    """

    factor: float = 1.0
    known: Mapping[str, Known] = field(default_factory=dict[str, Known])
    suspected: float | None = None
    origin: TimingOrigin = "profile"
    slow_since_s: float = float("-inf")
    recovered_s: float = float("-inf")
    relapses: int = 0
    slow_down: float = 1.0

    @property
    def hold_s(self) -> float:
        """How long a slow node is believed to be so, whatever it says while it has nothing to do. [s]"""
        return min(FIRST_HOLD_S * 2.0 ** (self.relapses - 1), LONGEST_HOLD_S) if self.relapses else 0.0


def rested_factor(profile: ExecutionProfile) -> float:
    """A node's factor before anything was served: requests come with pauses, a profile's runs come in a row. [1]"""
    if not profile.rested_s > 0 or not profile.whole_s > 0:
        return 1.0
    return min(max(profile.rested_s / profile.whole_s, 1.0), MOST_ERROR)


def factors(speed: NodeSpeed) -> Factors:
    """The node's factor times the typical errors of float and of int8.

    Ridge regression: the measured seconds of the timed components are explained by the two errors; each row weighs by
    the error a component has of its own, and what the rows leave open is drawn towards 1 and towards each other.
    """
    # Normal equations of (float error, int8 error) around (1, 1), the prior's two rows first.
    common, apart = 1.0 / COMMON_SPREAD**2, 1.0 / PRECISION_SPREAD**2
    a, b, c = common / 4 + apart, common / 4 - apart, common / 4 + apart
    p = q = 0.0
    for part in speed.known.values():
        profiled_s = part.float_s + part.int8_s
        weight = 1.0 / (OWN_SPREAD * profiled_s + speed.slow_down * KNOWN_SLACK_S) ** 2
        excess_s = (part.error - 1.0) * profiled_s
        a += weight * part.float_s**2
        b += weight * part.float_s * part.int8_s
        c += weight * part.int8_s**2
        p += weight * part.float_s * excess_s
        q += weight * part.int8_s * excess_s
    determinant = a * c - b * b
    in_float, in_int8 = 1.0 + (c * p - b * q) / determinant, 1.0 + (a * q - b * p) / determinant
    return Factors(
        speed.factor * min(max(in_float, LEAST_ERROR), MOST_ERROR),
        speed.factor * min(max(in_int8, LEAST_ERROR), MOST_ERROR),
    )


def expected_s(speed: NodeSpeed, part: Timed) -> float:
    """What a component should take: as it did if it was timed, else by the profile and the typical error. [s]"""
    known = speed.known.get(part.key)
    if known is not None:
        return speed.factor * known.error * part.profiled_s
    typical = factors(speed)
    return typical.in_float * part.float_s + typical.in_int8 * part.int8_s


def served(speed: NodeSpeed, parts: Sequence[Timed], now_s: float, *, first: bool = False) -> NodeSpeed:
    """Take in components that ran since the last report.

    Args:
        speed: Before.
        parts: At least one.
        now_s: [s]
        first: Nothing was ever heard of this node: what it says holds without a second report.
    """
    wanted, is_step = _shown(speed, parts)
    if not is_step:
        return _learned(replace(speed, factor=wanted, suspected=None, origin="live timings"), parts)
    if not first and not _confirmed(speed, wanted):
        return replace(speed, suspected=wanted)
    if wanted > speed.factor:
        relapsed = now_s - speed.recovered_s < RELAPSE_S
        speed = replace(speed, slow_since_s=now_s, relapses=speed.relapses + 1 if relapsed else 0)
    return _learned(replace(speed, factor=wanted, suspected=None, origin="live timings"), parts)


def timed_again(speed: NodeSpeed, profiled_s: float, measured_s: float, now_s: float) -> NodeSpeed:
    """Take in that the whole model was timed again while nothing of it was served.

    It counts as a component of its own, with an error of its own: after a pause caches are colder than they were while
    the profile was taken. One report that it is fast is enough, for nothing makes a slow node look fast.

    Args:
        speed: Before.
        profiled_s: What the profile says of the whole. [s]
        measured_s: What it took now. [s]
        now_s: [s]
    """
    whole = (Timed(WHOLE, profiled_s, 0.0, measured_s),)
    wanted, is_step = _shown(speed, whole)
    if is_step and wanted > speed.factor and not _confirmed(speed, wanted):
        return replace(speed, suspected=wanted)
    if is_step and wanted < speed.factor:
        if now_s - speed.slow_since_s < speed.hold_s:
            return speed
        speed = replace(speed, recovered_s=now_s)
    return _learned(replace(speed, factor=wanted, suspected=None, origin="timed again"), whole)


def _shown(speed: NodeSpeed, parts: Sequence[Timed]) -> tuple[float, bool]:
    """The factor that components show, and whether it is another one rather than the same seen through noise."""
    seen = [part for part in parts if part.key in speed.known]
    compared = seen or parts
    should_s = sum(expected_s(speed, part) for part in compared)
    measured_s = sum(part.measured_s for part in compared)
    if not should_s > 0 or not measured_s > 0:
        return speed.factor, False
    ratio, slack_s = measured_s / should_s, speed.slow_down * (KNOWN_SLACK_S if seen else SLACK_S)
    longer_s, shorter_s = max(measured_s, should_s), min(measured_s, should_s)
    step = SPEED_CHANGE if seen or compared[0].key == WHOLE else UNSEEN_SPEED_CHANGE
    if longer_s > (1 + step) * shorter_s + slack_s:
        return _bounded(speed.factor * ratio), True
    if not seen:
        return speed.factor, False  # the difference is these components' own
    weight = SMOOTHING * should_s / (should_s + speed.slow_down * SLACK_S)
    return _bounded(speed.factor * ratio**weight), False


def _learned(speed: NodeSpeed, parts: Sequence[Timed]) -> NodeSpeed:
    """Every component's own error under the node's factor."""
    known = dict(speed.known)
    for part in parts:
        if not part.profiled_s > NO_TIME_S:
            continue
        # A small component's start may cost more than its units.
        most = MOST_ERROR + speed.slow_down * SLACK_S / part.profiled_s
        error = min(max(part.measured_s / (speed.factor * part.profiled_s), LEAST_ERROR), most)
        before = known.pop(part.key, None)
        if before is not None:
            error = before.error * (error / before.error) ** SMOOTHING
        known[part.key] = Known(part.float_s, part.int8_s, error)
    latest = list(known)[-KEPT_COMPONENTS:]
    return replace(speed, known={key: known[key] for key in latest})


def _confirmed(speed: NodeSpeed, factor: float) -> bool:
    """Whether the report before said the same."""
    return speed.suspected is not None and abs(math.log(speed.suspected / factor)) <= math.log(1 + SPEED_AGREEMENT)


def _bounded(factor: float) -> float:
    return min(max(factor, LEAST_FACTOR), MOST_FACTOR)
