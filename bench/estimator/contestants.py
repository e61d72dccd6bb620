"""Estimators behind one protocol, so that they can be given the same recording.

Owns: the protocol, the estimator of this checkout, and 0.1's. Its rule: each sees observations alone, in their order. Not here:
the oracle, which sees the truth (`scores.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bench.estimator.present import (
    BaselineSpeed,
    BaselineTiming,
    RunWindow,
    baseline_begun,
    baseline_expected_s,
    baseline_served,
    baseline_timed_again,
    middle_mean_s,
)
from edgesplit_controller.fleet.estimation.observations import PartsRan, ProfileSeen, SpeedObservation, WholeRan
from edgesplit_controller.fleet.estimation.speed_belief import NodeSpeed, begun, expected
from edgesplit_controller.fleet.estimation.speed_estimate import taken

__all__ = ["CONTESTANTS", "Contestant", "Predicted", "Timeable"]


class Timeable(Protocol):
    """A component, beside what the profile says of it."""

    @property
    def key(self) -> str:
        """Equal for equal components."""
        ...

    @property
    def float_s(self) -> float:
        """Of its units in float. [s]"""
        ...

    @property
    def int8_s(self) -> float:
        """Of its units in int8. [s]"""
        ...


@dataclass(frozen=True)
class Predicted:
    """What a component should take.

    Attributes:
        seconds: [s]
        deviation: Standard deviation of the logarithm; None where the estimator says none. [1]
    """

    seconds: float
    deviation: float | None = None


class Contestant(Protocol):
    """An estimator of one node and one model."""

    def take(self, observation: SpeedObservation) -> None:
        """Something was observed; the first is a profile."""
        ...

    def predicted(self, part: Timeable) -> Predicted:
        """What a component should take from now on."""
        ...


class NewEstimator:
    """The one of this checkout."""

    def __init__(self) -> None:
        self._speed: NodeSpeed | None = None

    def take(self, observation: SpeedObservation) -> None:
        """As `Contestant`."""
        if isinstance(observation, ProfileSeen):
            self._speed = begun(observation)
        elif self._speed is not None:
            self._speed = taken(self._speed, observation)

    def predicted(self, part: Timeable) -> Predicted:
        """As `Contestant`."""
        if self._speed is None:
            return Predicted(part.float_s + part.int8_s)
        found = expected(self._speed, part.key, part.float_s, part.int8_s)
        return Predicted(found.seconds, found.deviation)


class PresentEstimator:
    """0.1's, fed with the means that 0.1's agent said."""

    def __init__(self) -> None:
        self._speed = BaselineSpeed()
        self._windows: dict[str, RunWindow] = {}
        self._is_first = True

    def take(self, observation: SpeedObservation) -> None:
        """As `Contestant`."""
        if isinstance(observation, ProfileSeen):
            self._speed = baseline_begun(observation.whole_s, observation.rested_s)
            self._windows, self._is_first = {}, True
        elif isinstance(observation, WholeRan):
            measured_s = middle_mean_s(observation.samples)
            self._speed = baseline_timed_again(self._speed, observation.profiled_s, measured_s, observation.at_s)
            self._is_first = False
        elif isinstance(observation, PartsRan):
            self._take_parts(observation)

    def _take_parts(self, observation: PartsRan) -> None:
        timed: list[BaselineTiming] = []
        for part in observation.parts:
            mean_s = self._windows.setdefault(part.key, RunWindow()).mean_s(observation.at_s, part.samples)
            if mean_s is not None:
                timed.append(BaselineTiming(part.key, part.float_s, part.int8_s, mean_s))
        if timed:
            self._speed = baseline_served(self._speed, timed, observation.at_s, first=self._is_first)
            self._is_first = False

    def predicted(self, part: Timeable) -> Predicted:
        """As `Contestant`."""
        return Predicted(baseline_expected_s(self._speed, BaselineTiming(part.key, part.float_s, part.int8_s)))


CONTESTANTS: dict[str, type[NewEstimator] | type[PresentEstimator]] = {
    "new": NewEstimator,
    "present": PresentEstimator,
}
