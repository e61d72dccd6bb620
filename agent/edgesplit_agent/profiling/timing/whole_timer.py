"""Whole-model timer: the float model at several moments, and everything else in turn with it.

Owns: which runs make a moment, and how many. Its rule: nothing is compared across time; what is to be held against the whole
model runs in turn with it, so that a slower spell of the machine, which catches both, does not show. Each such stretch is a
further moment of the whole. Not here: how a run is timed (`timed_runs.py`), what is compared (`profile_measurement.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgesplit.wire.tensors import Array
from edgesplit_agent.profiling.timing.robust_statistics import location
from edgesplit_agent.profiling.timing.timed_runs import TimedRuns

__all__ = ["WholeTimer", "series"]

REST_LIMIT_S, REST_RUNS = 0.5, 3.0
"""A pause as long as some runs, and at most so long, stands for the time between requests. [s, 1]"""
MOMENT_S = 1.0
"""Aimed at for a moment. [s]"""
LEAST_RESTED, MOST_RESTED = 2, 8
"""Runs after a pause that a moment has."""
ROW_S, MOST_IN_ROW = 0.05, 4
"""Short runs are followed by a few more in a row, for about so long. [s, 1]"""
MOST_PAIRS = 40
SERIES_S = 3.0
"""Aimed at for a series that is only watched. [s]"""
LEAST_RUNS, MOST_RUNS = 3, 40


@dataclass
class WholeTimer:
    """Times the whole float model over the course of a profiling.

    Attributes:
        runs: Times each.
        inputs: Of the whole float model.
        session: Of it, once it is open.
        moments: Where its runs in a row lay at each moment. [s]
        rested: Time of a run after a pause over those in a row right behind it. [1]
        count: Runs that moments stand on.
    """

    runs: TimedRuns
    inputs: Mapping[str, Array]
    session: Any = None
    moments: list[float] = field(default_factory=list[float])
    rested: list[float] = field(default_factory=list[float])
    count: int = 0

    async def run(self) -> float:
        """Run it once. [s]"""
        return await self.runs.once(self.session, self.inputs)

    async def moment(self) -> None:
        """Runs after pauses and runs in a row, in turn."""
        in_row: list[float] = []
        about_s = self.moments[-1] if self.moments else await self.run()
        pause_s = min(REST_LIMIT_S, REST_RUNS * about_s)
        behind = min(max(int(ROW_S / about_s), 1), MOST_IN_ROW)
        wanted = min(max(int(MOMENT_S / (pause_s + (1 + behind) * about_s)), LEAST_RESTED), MOST_RESTED)
        for _ in range(wanted):
            await self.runs.pause(pause_s)
            rested_s = await self.run()
            row = [await self.run() for _ in range(behind)]
            self.rested.append(rested_s / location(row))
            in_row += [self.runs.typical(self.session, seconds) for seconds in row]
        self._add(in_row)

    async def ratios(self, session: Any, inputs: Mapping[str, Array], budget_s: float, least: int) -> list[float]:
        """Time of another session over that of the whole, run in turn. [1]

        Args:
            session: Warm.
            inputs: Its inputs.
            budget_s: Aimed at. [s]
            least: Of pairs.
        """
        found, whole = list[float](), list[float]()
        wanted = least
        while len(found) < wanted:
            whole.append(self.runs.typical(self.session, await self.run()))
            other_s = self.runs.typical(session, await self.runs.once(session, inputs))
            found.append(other_s / whole[-1])
            if len(found) == 1:
                wanted = min(max(int(budget_s / (whole[0] + other_s)), least), MOST_PAIRS)
        self._add(whole)
        return found

    def _add(self, seconds: Sequence[float]) -> None:
        self.moments.append(location(seconds))
        self.count += len(seconds)


async def series(
    runs: TimedRuns, session: Any, inputs: Mapping[str, Array], between: Callable[[], Awaitable[None]]
) -> None:
    """One run more than fit the budget, and something else halfway.

    Args:
        runs: Times each.
        session: That is watched.
        inputs: Its inputs.
        between: Done halfway, so that both halves do not fall into one spell of the machine.
    """
    await runs.once(session, inputs)
    first_s = await runs.once(session, inputs)
    wanted = min(max(int(SERIES_S / first_s), LEAST_RUNS), MOST_RUNS)
    for number in range(1, wanted):
        if number == (wanted + 1) // 2:
            await between()
        await runs.once(session, inputs)
