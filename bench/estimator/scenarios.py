"""Scenarios: steps, drifts, bursts and noise, each with requests now and then, often, and in bursts.

Owns: the list. Its rule: each shows one thing that an estimate must bear. Not here: making recordings of them
(`simulation.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from bench.estimator.simulation import BEFORE_S, DURATION_S, Noise, Scenario

__all__ = ["scenarios"]

STEP_S, BACK_S = 200.0, 400.0
DOUBLE, HALF, TENTH = math.log(2.0), math.log(0.5), math.log(1.1)
DRIFT = math.log(1.2)
SLOW_PROFILE = math.log(1.25)
NOISY = 0.2
BURST = math.log(1.3)


def _every(apart_s: float) -> tuple[float, ...]:
    return tuple((number + 0.5) * apart_s for number in range(int(DURATION_S / apart_s)))


def _bursts(apart_s: float, many: int = 12) -> tuple[float, ...]:
    return tuple(
        burst * apart_s + 2.0 + 0.15 * number for burst in range(int(DURATION_S / apart_s)) for number in range(many)
    )


TRAFFIC = {"1 s": _every(1.0), "0.1 s": _every(0.1), "bursts": _bursts(30.0)}


def _steady(_at_s: float) -> float:
    return 0.0


def _there_and_back(by: float) -> Callable[[float], float]:
    return lambda at_s: by if STEP_S <= at_s < BACK_S else 0.0


def _step(by: float) -> Callable[[float], float]:
    return lambda at_s: by if at_s >= STEP_S else 0.0


def _drift(at_s: float) -> float:
    return DRIFT * max(at_s, 0.0) / DURATION_S


def _profiled_slow(at_s: float) -> float:
    return SLOW_PROFILE if -BEFORE_S <= at_s < 0 else 0.0


def _in_turn(at_s: float) -> tuple[int, ...]:
    """Plans change: a component after another is timed for the first time."""
    return ((0,), (1,), (0, 1), (2,), (3,))[min(int(at_s / 120), 4)]


def _with_pauses() -> tuple[float, ...]:
    """Requests for two minutes, then none for three."""
    return tuple(at_s for at_s in _every(1.0) if at_s % 300.0 < 120.0)


PLAIN = (
    Scenario("steady", _steady, ()),
    Scenario("20 % noise of runs", _steady, (), Noise(scatter=NOISY)),
    Scenario("20 % noise in spells", _steady, (), Noise(held=NOISY)),
    Scenario("twice and back", _there_and_back(DOUBLE), (), steps=(STEP_S, BACK_S)),
    Scenario("half and back", _there_and_back(HALF), (), steps=(STEP_S, BACK_S)),
    Scenario("10 % step", _step(TENTH), (), steps=(STEP_S,)),
    Scenario("20 % drift", _drift, (), constant=False),
    Scenario("bursts of 30 %", _steady, (), Noise(burst=BURST)),
    Scenario("profiled slow", _profiled_slow, ()),
    Scenario("timed in turn", _steady, (), served=_in_turn),
)
OWN_TRAFFIC = (
    Scenario("twice while idle", _there_and_back(DOUBLE), _with_pauses(), steps=(STEP_S, BACK_S), constant=False),
    Scenario("slow while it works", _step(DOUBLE), _bursts(60.0), steps=(STEP_S,), idle_level=_steady, constant=False),
)


def scenarios() -> tuple[Scenario, ...]:
    """All of them."""
    plain = tuple(
        replace(scenario, name=f"{scenario.name}, {traffic}", arrivals=arrivals)
        for scenario in PLAIN
        for traffic, arrivals in TRAFFIC.items()
    )
    return (*plain, *OWN_TRAFFIC)
