"""Simulated node: the true time of its components as a function of time, and what its agent would report of them.

Owns: the noise of runs as it was measured on a virtual machine, components with errors of their own, reports and retimings as
agents make them, and the truth beside them. Its rule: pure and seeded; the same scenario and seed give the same recording. Not
here: which scenarios there are (`scenarios.py`), estimating.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesplit_controller.fleet.estimation.observations import (
    PartRan,
    PartsRan,
    ProfileSeen,
    SpeedObservation,
    WholeRan,
)

__all__ = ["DURATION_S", "Noise", "Scenario", "SimulatedPart", "Simulation", "simulated"]

Array = npt.NDArray[np.float64]

DURATION_S = 600.0
BEFORE_S = 30.0
"""The profile is taken within so long before the first second. [s]"""
GRID_S = 0.5
MOMENTS = 5
WHOLE_S = 0.2
TYPICAL, PRECISION, OWN, IDLE, REST = 0.04, 0.03, 0.03, 0.015, 0.01
"""Standard deviations of what a profile gets wrong: of all components, of int8 against float, of one, of the whole after a
pause, of requests against runs in a row. [1]"""
REST_ERROR = 0.02
"""With which that last one is measured. [1]"""
REPORT_EVERY_S, MOST_SAMPLES = 1.0, 16
IDLE_S, RETIMED_SOON_S, RETIMED_RARELY_S, RETIMED_RUNS = 10.0, 10.0, 60.0, 6
"""As `edgesplit_agent/profiling/retiming.py` has them."""
OUTLIERS = 0.005
"""Share of runs that something else interrupted."""


@dataclass(frozen=True)
class SimulatedPart:
    """A component: its key and what it takes when the node is as fast as it was meant. [s]"""

    key: str
    float_s: float
    int8_s: float


PARTS = (
    SimulatedPart("float, served", 0.04, 0.0),
    SimulatedPart("int8, served", 0.0, 0.025),
    SimulatedPart("float, spare", 0.05, 0.0),
    SimulatedPart("int8, spare", 0.005, 0.03),
)


@dataclass(frozen=True)
class Noise:
    """How a machine's time varies while nothing about it changes; standard deviations of logarithms.

    Attributes:
        scatter: From run to run. [1]
        spell, spell_s: Of slow and fast spells, and how long they last. [1, s]
        slow, slow_every_s: Now and then something takes that much for some seconds. [1, s]
        held: Spells last 5 to 30 s each and change at once, with that deviation. [1]
        burst: Every 40 s something takes that much for 5 s. [1]
    """

    scatter: float = 0.015
    spell: float = 0.01
    spell_s: float = 20.0
    slow: float = 0.1
    slow_every_s: float = 120.0
    held: float = 0.0
    burst: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """What happens to a node within ten minutes.

    Attributes:
        name: For people.
        level: Logarithm of what a request's components take, by time. [1]
        arrivals: When requests come. [s]
        noise: Of the machine.
        steps: When `level` changes at once. [s]
        idle_level: The same while nothing is served, where it is another.
        served: Which of `PARTS` run at a time; the others are never timed until they do.
        constant: Whether what is predicted should stay between steps.
    """

    name: str
    level: Callable[[float], float]
    arrivals: tuple[float, ...]
    noise: Noise = Noise()
    steps: tuple[float, ...] = ()
    idle_level: Callable[[float], float] | None = None
    served: Callable[[float], tuple[int, ...]] = lambda _: (0, 1)
    constant: bool = True


@dataclass(frozen=True)
class Simulation:
    """One recording and the truth beside it.

    Attributes:
        observations: As a controller would take them in.
        parts: With the seconds that the profile says. [s]
        arrivals: When requests came. [s]
        runs: What each component took, or would have, by key: one value a request. [s]
        truth: The same without the noise of single runs. [s]
        excess: Logarithm of the true time over the profile's while nothing passes, `level` aside. [1]
    """

    scenario: Scenario
    observations: tuple[SpeedObservation, ...]
    parts: tuple[SimulatedPart, ...]
    arrivals: Array
    runs: Mapping[str, Array]
    truth: Mapping[str, Array]
    excess: Mapping[str, float]
    passing: Array

    def steady_s(self, part: SimulatedPart, at_s: float) -> float:
        """What a component takes at a time, passing spells left out. [s]"""
        return (part.float_s + part.int8_s) * math.exp(self.scenario.level(at_s) + self.excess[part.key])

    def true_s(self, part: SimulatedPart, at_s: float) -> float:
        """What it takes with the spell of that moment, without the noise of a run. [s]"""
        return self.steady_s(part, at_s) * math.exp(_at(self.passing, at_s))


def simulated(scenario: Scenario, seed: int) -> Simulation:
    """A scenario with the noise of a seed."""
    draw = np.random.default_rng([seed, *scenario.name.encode()])
    passing, idle_level = _passing(scenario.noise, draw), scenario.idle_level or scenario.level
    moments = [
        idle_level(at_s) + _at(passing, at_s) + draw.normal(0, scenario.noise.scatter / 2)
        for at_s in np.linspace(-BEFORE_S + 1, -1.0, MOMENTS)
    ]
    bias = float(np.median(moments))
    rest, idle = float(draw.normal(0, REST)), float(draw.normal(0, IDLE))
    typical, precision = float(draw.normal(0, TYPICAL)), float(draw.normal(0, PRECISION))
    parts = tuple(
        SimulatedPart(part.key, part.float_s * math.exp(bias), part.int8_s * math.exp(bias)) for part in PARTS
    )
    excess = {
        part.key: rest + typical + precision * (part.int8_s - part.float_s) / (part.int8_s + part.float_s)
        + float(draw.normal(0, OWN)) - bias
        for part in parts
    }  # fmt: skip
    whole_s = WHOLE_S * math.exp(bias)
    profile = ProfileSeen(
        at_s=0.0,
        node="node",
        model="model",
        whole_s=whole_s,
        rested_s=whole_s * math.exp(rest + float(draw.normal(0, REST_ERROR))),
        whole_spread=float(np.std(moments, ddof=1)),
        moments=MOMENTS,
        rested_spread=REST_ERROR,
    )
    arrivals = np.array(scenario.arrivals)
    moving = np.array([scenario.level(at_s) + _at(passing, at_s) for at_s in arrivals])
    truth = {p.key: (p.float_s + p.int8_s) * np.exp(moving + excess[p.key]) for p in parts}
    runs = {key: values * _scatter(scenario.noise, len(arrivals), draw) for key, values in truth.items()}

    def whole(at_s: float) -> WholeRan:
        middle_s = WHOLE_S * math.exp(idle_level(at_s - 1.0) + _at(passing, at_s - 1.0) + idle)
        samples = tuple(middle_s * float(value) for value in _scatter(scenario.noise, RETIMED_RUNS, draw))
        return WholeRan(at_s=at_s, node="node", model="model", profiled_s=whole_s, samples=samples)

    observations = (profile, *_reports(scenario, parts, runs, whole))
    return Simulation(scenario, observations, parts, arrivals, runs, truth, excess, passing)


def _reports(
    scenario: Scenario,
    parts: Sequence[SimulatedPart],
    runs: Mapping[str, Array],
    whole: Callable[[float], WholeRan],
) -> list[SpeedObservation]:
    """What the agent says: once a second what ran, and between requests that are rare the whole model, timed again."""
    said: list[SpeedObservation] = []
    arrivals = np.array(scenario.arrivals)
    served_s, timed_s, first = -math.inf, 0.0, 0
    for at_s in np.arange(REPORT_EVERY_S, DURATION_S + REPORT_EVERY_S, REPORT_EVERY_S).tolist():
        end = int(np.searchsorted(arrivals, at_s, side="right"))
        if end > first:
            served_s = float(arrivals[end - 1])
            ran: dict[int, list[float]] = {}
            for place in range(first, end):
                for number in scenario.served(float(arrivals[place])):
                    ran.setdefault(number, []).append(float(runs[parts[number].key][place]))
            rows = tuple(
                PartRan(
                    key=parts[number].key,
                    float_s=parts[number].float_s,
                    int8_s=parts[number].int8_s,
                    samples=tuple(samples[-MOST_SAMPLES:]),
                )
                for number, samples in sorted(ran.items())
            )
            said.append(PartsRan(at_s=at_s, node="node", model="model", parts=rows))
            first = end
        elif at_s - served_s > IDLE_S and at_s - timed_s >= (
            RETIMED_SOON_S if served_s > timed_s else RETIMED_RARELY_S
        ):
            timed_s = at_s
            said.append(whole(at_s))
    return said


def _passing(noise: Noise, draw: np.random.Generator) -> Array:
    """Logarithm of what passes, on a grid of half seconds that begins before the profile. [1]"""
    count = int((BEFORE_S + DURATION_S) / GRID_S) + 2
    stay = math.exp(-GRID_S / noise.spell_s)
    values = np.zeros(count)
    value = float(draw.normal(0, noise.spell))
    for place in range(count):
        value = stay * value + math.sqrt(1 - stay * stay) * float(draw.normal(0, noise.spell))
        values[place] = value
    for begin in np.flatnonzero(draw.random(count) < GRID_S / noise.slow_every_s):
        values[begin : begin + int(draw.uniform(1, 5) / GRID_S) + 1] += noise.slow
    held = 0
    while noise.held and held < count:
        length = int(draw.uniform(5, 30) / GRID_S)
        values[held : held + length] += float(draw.normal(0, noise.held))
        held += length
    if noise.burst:
        seconds = np.arange(count) * GRID_S + float(draw.uniform(0, 40))
        values[np.mod(seconds, 40.0) < 5.0] += noise.burst
    return values


def _at(passing: Array, at_s: float) -> float:
    return float(passing[min(max(int((at_s + BEFORE_S) / GRID_S), 0), len(passing) - 1)])


def _scatter(noise: Noise, count: int, draw: np.random.Generator) -> Array:
    """What single runs take over the truth; a few of them were interrupted."""
    values = np.exp(draw.normal(0, noise.scatter, count))
    return np.where(draw.random(count) < OUTLIERS, values * draw.uniform(1.2, 2.0, count), values)
