"""Belief about a node's speed: how fast it computes a model now, against the profile it once measured, and how sure that is.

Owns: the quantities a component's time is taken apart into, what is expected of them before anything ran, and what follows
for components and codings. Its rule: pure, values only. Not here: how observations change it (`speed_estimate.py`), what the
profile says of a component (`fleet/unit_times.py`).

The logarithm of a component's time is taken apart as

    log(measured / profiled) = node + spell + (1 - c) (typical + sized(c) + a precision) + b start + own + noise of the run

`node` is the node's factor, the same for all it computes of the model; it drifts slowly and may jump. `spell` is how its host is
just now: it returns to zero within a minute and is as large as the node turned out restless. `typical` is what profiles, which
add up units, get wrong about components; `precision` in what int8 (a = 1) and float (a = -1) differ in that; `own` is one
component's. The more of the whole model a component is (`c`, as a share of its time), the less there was to add up; `sized` is what
profiles get wrong about components of about that size alone: a hundred small ones that err alike say little of larger ones, and
nothing of the node. `start` is what
each run takes beside its units: nothing to a large component and much to one of a few operators (`b`), of which a hundred would else
be taken for what the node, or the typical component, is. Whole models timed again observe the node with an error of their own: after a pause caches are colder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgesplit_controller.fleet.estimation.gaussian_filter import GaussianFilter, Kind
from edgesplit_controller.fleet.estimation.observations import CodingRan, ProfileSeen
from edgesplit_controller.storage.saved_speeds import TimingOrigin

__all__ = [
    "Expectation",
    "Factors",
    "KnownPart",
    "NodeSpeed",
    "begun",
    "coding_factor",
    "common_deviation",
    "expected",
    "expected_parts",
    "factors",
    "tensor_factors",
    "with_codecs_of",
]

NODE, SPELL, TYPICAL, PRECISION, START, IDLE = "node", "spell", "typical", "precision", "start", "idle"
NODE_DRIFT = Kind(drift=0.015**2 / 60)
"""One and a half hundredths in a minute. [1/s]"""
SPELL_S = 20.0
"""A virtual machine's slow spells last some ten seconds to a minute. [s]"""
LEAST_SPELL, FIRST_SPELL, MOST_SPELL = 0.005, 0.015, 0.1
"""Standard deviation of spells; larger ones would hide that a node became half as fast. [1]"""
AHEAD_S = 10.0
"""Predictions are for the requests of the next so many seconds: spells pass. [s]"""
PROFILE_ERROR, UNKNOWN_SPREAD = 0.02, 0.03
"""What a profile is off by when requests come, beside its own spread; that spread where it is not known. [1]"""
REST_PRIOR = 0.05
"""How much longer runs after a pause take, before it was measured: a noisy measurement of it counts less. [1]"""
SIZES = 8
"""Classes of a component's share of the model: more than a half, more than a quarter, and so on, and all that is less. [1]"""
TYPICAL_ERROR, SIZED_ERROR, PRECISION_ERROR, OWN_ERROR, WHOLE_ERROR = 0.03, 0.03, 0.03, 0.03, 0.01
"""Standard deviations expected of what profiles get wrong. [1]"""
IDLE_ERROR = 0.03
QUICK_ERROR, QUICK_OWN_ERROR = 0.1, 0.35
"""The same of a quick profile: of its whole, timed once beside whatever else began then, and of components, whose units share it by
their operations alone. [1]"""
CODINGS_ERROR, CODE_ERROR, TENSOR_ERROR = 0.25, 0.15, 0.1
"""The same of codings: of all codecs, which share what a profile does not see, of one codec, of one tensor. [1]"""
FIRST_SCATTER, LEAST_SCATTER, SCATTER_RUNS = 0.03, 0.01, 15
"""Standard deviation of single runs: before and at least, and over how many of them it is taken. [1]"""
SLACK_S, RUN_SLACK_S = 2e-4, 5e-5
"""What a component takes beside its units, the start of a session, and by how much that differs from run to run. [s]"""
START_SHARE, MOST_START = 0.5, 0.5
"""Of that variance, what all have in common; and the most that it is taken for of the logarithm. [1]"""
CODINGS = ("encode", "decode")
MOST_DEVIATION = 1.0
MOST_LOG = math.log(1000.0)
NO_TIME_S = 1e-12
"""Less is no time that anything could be compared with. [s]"""
KEPT_COMPONENTS = 64
"""And tensors and codecs twice as many: the latest."""
FIRST_HOLD_S, LONGEST_HOLD_S = 30.0, 1800.0


@dataclass(frozen=True)
class KnownPart:
    """A component that was timed.

    Attributes:
        float_s: Of its units in float, by the profile. [s]
        int8_s: Of its units in int8, by the profile. [s]
        scatter: Standard deviation of a single run. [1]
        runs: How many it stands on, up to `SCATTER_RUNS`.
        last: Logarithm of its last run over the profile. [1]
        doubts: What the last reports said of it alone, which agree and are too few to be believed. [1]
    """

    float_s: float
    int8_s: float
    scatter: float = FIRST_SCATTER
    runs: int = 0
    last: float | None = None
    doubts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Factors:
    """What the profile's times are multiplied with for components that were never timed. [1]"""

    in_float: float = 1.0
    in_int8: float = 1.0


@dataclass(frozen=True)
class Expectation:
    """What something should take.

    Attributes:
        seconds: Median. [s]
        deviation: Standard deviation of its logarithm, a single run's own noise left out. [1]
    """

    seconds: float
    deviation: float


@dataclass(frozen=True)
class NodeSpeed:
    """One node and one model.

    Attributes:
        belief: In the quantities above.
        known: Components that were timed, by key, the latest last.
        whole_s: Of the whole model, by the profile. [s]
        at_s: Of the belief. [s]
        suspected: Jumps of the node that the last reports said, which agree and are too few to be believed. [1]
        origin: What the belief rests on.
        slow_since_s: When serving last showed that the node became slower. [s]
        recovered_s: When timing the whole model again last showed that it became faster. [s]
        relapses: How often in a row it became slow again right after.
        slow_down: Emulated slowness within the profile: what a run takes besides its units is stretched with them. [1]
        unrest: Standard deviation that all predictions have in common beside what the belief explains, as large as makes
            nine of ten intervals hold. [1]
        first_scatter: Standard deviation of single runs of a component that is not known yet. [1]
        own_error: Standard deviation of what the profile gets wrong about one component, before that was timed. [1]
        awaited: Components to the mean and variance that was expected of them. [1]
        awaited_s: When that was. [s]
    """

    belief: GaussianFilter
    known: Mapping[str, KnownPart] = field(default_factory=dict[str, KnownPart])
    whole_s: float = 0.0
    at_s: float = 0.0
    suspected: tuple[float, ...] = ()
    origin: TimingOrigin = "profile"
    slow_since_s: float = float("-inf")
    recovered_s: float = float("-inf")
    relapses: int = 0
    slow_down: float = 1.0
    unrest: float = 0.0
    first_scatter: float = FIRST_SCATTER
    own_error: float = OWN_ERROR
    awaited: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    awaited_s: float = float("-inf")

    @property
    def hold_s(self) -> float:
        """How long a slow node is believed to be so, whatever it says while it has nothing to do. [s]"""
        return min(FIRST_HOLD_S * 2.0 ** (self.relapses - 1), LONGEST_HOLD_S) if self.relapses else 0.0

    @property
    def factor(self) -> float:
        """The node's time over the profile's, its host's present spell left out. [1]"""
        return _bounded(self.belief.expected({NODE: 1.0})[0])

    @property
    def spell(self) -> float:
        """Standard deviation of its host's spells. [1]"""
        return math.sqrt(self.belief.kinds[SPELL].settled)


def begun(profile: ProfileSeen) -> NodeSpeed:
    """What is believed of a node before anything ran there but its profile."""
    rest, rest_variance = _rest(profile)
    spread = profile.whole_spread or UNKNOWN_SPREAD
    spell = min(max(FIRST_SPELL, profile.host_spread), MOST_SPELL)
    error = QUICK_ERROR if profile.quick else PROFILE_ERROR
    variance = spread**2 / max(profile.moments, 1) + error**2 + rest_variance
    belief = (
        GaussianFilter()
        .with_quantity(NODE, rest, variance, NODE_DRIFT)
        .with_quantity(SPELL, 0.0, spell**2, spells(spell))
        .with_quantity(TYPICAL, 0.0, TYPICAL_ERROR**2)
        .with_quantity(PRECISION, 0.0, PRECISION_ERROR**2)
        .with_quantity(START, 0.0, START_SHARE)
        .with_quantity(IDLE, -rest, IDLE_ERROR**2)
    )
    for size in range(SIZES):
        belief = belief.with_quantity(_sized(size), 0.0, SIZED_ERROR**2)
    return NodeSpeed(
        belief,
        whole_s=profile.whole_s,
        at_s=profile.at_s,
        slow_down=profile.slow_down,
        first_scatter=max(FIRST_SCATTER, profile.whole_spread),
        own_error=QUICK_OWN_ERROR if profile.quick else OWN_ERROR,
    )


def factors(speed: NodeSpeed) -> Factors:
    """The node's factor times the typical errors of float and of int8."""
    belief, common = speed.belief.after(AHEAD_S), {NODE: 1.0, SPELL: 1.0, TYPICAL: 1.0}
    in_float, _ = belief.expected({**common, PRECISION: -1.0})
    in_int8, _ = belief.expected({**common, PRECISION: 1.0})
    return Factors(_bounded(in_float), _bounded(in_int8))


def expected(speed: NodeSpeed, key: str, float_s: float, int8_s: float) -> Expectation:
    """What a component should take: as it did if it was timed, else by the profile and the typical error.

    Args:
        speed: Of the node.
        key: The component's.
        float_s: Of its units in float, by the profile. [s]
        int8_s: Of its units in int8, by the profile. [s]
    """
    return _expected(speed, speed.belief.after(AHEAD_S), key, float_s, int8_s)


def _expected(speed: NodeSpeed, ahead: GaussianFilter, key: str, float_s: float, int8_s: float) -> Expectation:
    """As `expected`; `ahead` is the belief at the time that is predicted."""
    profiled_s = float_s + int8_s
    if not profiled_s > NO_TIME_S:
        return Expectation(0.0, 0.0)
    mean, variance = ahead.expected(weights_of(speed, key, float_s, int8_s))
    if own(key) not in speed.belief:
        variance += own_variance(speed, profiled_s)
    # Of next to no time a start's slack is many times as much, and no normal deviate of a logarithm.
    deviation = min(math.hypot(speed.unrest, math.sqrt(variance)), MOST_DEVIATION)
    return Expectation(profiled_s * _bounded(mean), deviation)


def expected_parts(speed: NodeSpeed) -> dict[str, Expectation]:
    """What components that were timed should take, by key."""
    if not speed.known:
        return {}  # most nodes of a large fleet serve nothing
    ahead = speed.belief.after(AHEAD_S)
    return {key: _expected(speed, ahead, key, part.float_s, part.int8_s) for key, part in speed.known.items()}


def common_deviation(speed: NodeSpeed) -> float:
    """Standard deviation that all components of a node have in common, of the logarithm. [1]"""
    return math.hypot(speed.unrest, math.sqrt(speed.belief.after(AHEAD_S).expected({NODE: 1.0, SPELL: 1.0})[1]))


def coding_factor(speed: NodeSpeed, codec: str, direction: str, tensor: str = "") -> Expectation:
    """What the profile's time of a coding is multiplied with, and how sure that is.

    Args:
        speed: Of the node.
        codec: Name of the wire codec.
        direction: `encode` or `decode`.
        tensor: One that may have been coded before; empty for any.
    """
    quantities = coding_quantities(codec, direction, tensor)
    mean, variance = speed.belief.after(AHEAD_S).expected({NODE: 1.0, SPELL: 1.0, **dict.fromkeys(quantities, 1.0)})
    for name, prior in quantities.items():
        variance += 0.0 if name in speed.belief else prior**2
    return Expectation(_bounded(mean), math.sqrt(variance))


def weights_of(speed: NodeSpeed, key: str, float_s: float, int8_s: float) -> dict[str, float]:
    """Quantities of a component's time."""
    share = _share_of_whole(speed, float_s + int8_s)
    added_up = 1.0 - share
    precision = (int8_s - float_s) / (float_s + int8_s)
    start = min(speed.slow_down * SLACK_S / (float_s + int8_s), MOST_START)
    common = {NODE: 1.0, SPELL: 1.0, TYPICAL: added_up, PRECISION: added_up * precision, START: start}
    size = min(int(-math.log2(max(share, NO_TIME_S))), SIZES - 1)
    return {**common, _sized(size): added_up, own(key): 1.0}


def _share_of_whole(speed: NodeSpeed, profiled_s: float) -> float:
    return min(profiled_s / speed.whole_s, 1.0) if speed.whole_s > 0 else 0.0


def own_variance(speed: NodeSpeed, profiled_s: float) -> float:
    """Of a component's own error before it was timed. [1]"""
    added_up = 1.0 - _share_of_whole(speed, profiled_s)
    start = (1 - START_SHARE) * (speed.slow_down * SLACK_S / profiled_s) ** 2
    return added_up * speed.own_error**2 + WHOLE_ERROR**2 + start


def coding_weights(coding: CodingRan) -> dict[str, float]:
    """Quantities of a coding's time."""
    quantities = coding_quantities(coding.codec, coding.direction, coding.tensor)
    return {NODE: 1.0, SPELL: 1.0, **dict.fromkeys(quantities, 1.0)}


def _sized(size: int) -> str:
    """Name of what profiles get wrong about components of one size."""
    return f"sized {size}"


def own(key: str) -> str:
    """Name of a component's own error."""
    return f"own {key}"


def with_codecs_of(speed: NodeSpeed, other: NodeSpeed) -> NodeSpeed:
    """What another model taught of the same node's codecs holds for this one, too, but for what tensors differ in."""
    belief = speed.belief
    for name in other.belief.kinds:
        direction, _, rest = name.partition(" ")
        if direction in CODINGS and " " not in rest and name not in belief:
            mean, variance = other.belief.expected({name: 1.0})
            belief = belief.with_quantity(name, mean, variance + TENSOR_ERROR**2)
    return replace(speed, belief=belief)


def tensor_factors(speed: NodeSpeed) -> dict[tuple[str, str, str], float]:
    """What single tensors take over others of their codec, by tensor, codec and direction. [1]"""
    found: dict[tuple[str, str, str], float] = {}
    for name in speed.belief.kinds:
        direction, _, rest = name.partition(" ")
        codec, _, tensor = rest.partition(" ")
        if direction in CODINGS and tensor:
            found[tensor, codec, direction] = _bounded(speed.belief.expected({name: 1.0})[0])
    return found


def coding_quantities(codec: str, direction: str, tensor: str) -> dict[str, float]:
    """Names of what a coding's time may be off by, and what each is expected to be, before anything was coded. [1]"""
    return {
        direction: CODINGS_ERROR,
        f"{direction} {codec}": CODE_ERROR,
        f"{direction} {codec} {tensor}": TENSOR_ERROR,
    }


def _rest(profile: ProfileSeen) -> tuple[float, float]:
    """By how much runs after pauses take longer, as far as its measurement can be trusted, and what is left open. [1, 1]"""
    if not profile.rested_s > 0 or not profile.whole_s > 0:
        return 0.0, 0.0
    noise = (profile.rested_spread or UNKNOWN_SPREAD) ** 2
    trust = REST_PRIOR**2 / (REST_PRIOR**2 + noise)
    return trust * math.log(profile.rested_s / profile.whole_s), trust * noise


def spells(settled: float) -> Kind:
    """Spells of a standard deviation."""
    return Kind(returns_in_s=SPELL_S, settled=settled**2)


def _bounded(logarithm: float) -> float:
    return math.exp(min(max(logarithm, -MOST_LOG), MOST_LOG))
