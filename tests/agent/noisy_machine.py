"""A machine whose speed wanders, simulated: slow spells, a drift, jitter and accidents, all of a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.runtime import RuntimeOptions
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.profiling.timing.timed_runs import Taken, TimedRuns

SLOWER = 1.25
"""How much slower it is in a spell. [1]"""
DRIFT = 0.02
"""Standard deviation of the drift within a minute. [1]"""
JITTER, ACCIDENTS, ACCIDENT = 0.02, 0.04, 1.6
"""Standard deviation of a run; share of runs that take so much longer. [1]"""
RESTED = 1.1
"""A run after a pause takes longer by so much. [1]"""


class NoisyMachine:
    """Its clock, and how much longer than usual things take.

    Args:
        seed: Decides everything.
        spell_s: How long slow spells last on average. [s]
        between_s: The same of what is between them. [s]
    """

    def __init__(self, seed: int, spell_s: float = 8.0, between_s: float = 12.0) -> None:
        self._spell_s, self._between_s = spell_s, between_s
        self._random = random.Random(seed)
        self.now_s = 0.0
        self._slow = self._random.random() < spell_s / (spell_s + between_s)
        self._changes_s = self._until_change_s()
        self._drift = self._random.gauss(0.0, DRIFT)

    @property
    def mean_slowness(self) -> float:
        """Over all time. [1]"""
        return math.exp(math.log(SLOWER) * self._spell_s / (self._spell_s + self._between_s))

    def advance(self, seconds: float) -> None:
        """Let time pass. [s]"""
        self.now_s += seconds
        self._drift += self._random.gauss(0.0, DRIFT * math.sqrt(seconds / 60))
        while self._changes_s < self.now_s:
            self._slow = not self._slow
            self._changes_s += self._until_change_s()

    def take(self, seconds: float) -> float:
        """Do something that usually takes so long; what it took. [s]"""
        slowness = (SLOWER if self._slow else 1.0) * math.exp(self._drift + self._random.gauss(0.0, JITTER))
        taken_s = seconds * slowness * (ACCIDENT if self._random.random() < ACCIDENTS else 1.0)
        self.advance(taken_s)
        return taken_s

    def _until_change_s(self) -> float:
        return self._random.expovariate(1 / (self._spell_s if self._slow else self._between_s))


class SimulatedRuns(TimedRuns):
    """Times runs on such a machine; a session is what a run in a row takes. [s]"""

    def __init__(self, machine: NoisyMachine) -> None:
        super().__init__(Worker(), RuntimeOptions)
        self._machine = machine
        self._rested = True

    async def attempt(self, session: Any, inputs: Mapping[str, Array]) -> Taken:
        """One run."""
        seconds = self._machine.take(session * (RESTED if self._rested else 1.0))
        self._rested = False
        self.spent_s += seconds
        return Taken(seconds, seconds, seconds)

    async def pause(self, seconds: float) -> None:
        """Nothing runs meanwhile."""
        self._machine.advance(seconds)
        self._rested = True
