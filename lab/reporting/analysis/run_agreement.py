"""Runs of one scenario beside each other: whether the same cells' medians and the same wins agree within their intervals.

Owns: what is compared between runs. Its rule: two intervals that have a point in common agree; a cell that one run lacks is named, and a value
without interval agrees with nothing and disagrees with nothing. Not here: statistics of one run (`lab/comparing/wins.py`).

Medians tell of the host as much as of a plan: another hour may be slower as a whole. Ratios to baselines were measured in the same minutes, so
they are what must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from lab.comparing.cell_goals import by_goals, called
from lab.comparing.intervals import Estimate, median
from lab.comparing.wins import wins
from lab.results import Cell, Results

__all__ = ["Agreement", "agreements"]


@dataclass(frozen=True)
class Agreement:
    """One figure in two runs.

    Attributes:
        what: In words.
        kind: `median` of a method's latency [s], or `ratio` to a baseline's [1].
        runs: Places of the two runs, from 0.
        first: In the one; None where it lacks it.
        second: In the other.
    """

    what: str
    kind: str
    runs: tuple[int, int]
    first: Estimate | None
    second: Estimate | None

    @property
    def agree(self) -> bool | None:
        """Whether the intervals have a point in common; None where there is nothing to say."""
        if self.first is None or self.second is None:
            return None
        one, other = self.first.interval, self.second.interval
        return None if one is None or other is None else one[0] <= other[1] and other[0] <= one[1]


def agreements(runs: Sequence[Results]) -> list[Agreement]:
    """Of every two runs and every figure that either has."""
    figures = [dict(_figures(run)) for run in runs]
    return [
        Agreement(what, kind, (one, other), figures[one].get((kind, what)), figures[other].get((kind, what)))
        for one, other in combinations(range(len(runs)), 2)
        for kind, what in dict.fromkeys([*figures[one], *figures[other]])
    ]


def _figures(run: Results) -> Iterator[tuple[tuple[str, str], Estimate]]:
    of_method: dict[str, list[Cell]] = {}
    for cell in (*run.cells, *run.baselines):
        of_method.setdefault(cell.method, []).append(cell)
    for method, cells in of_method.items():
        for goals, same in by_goals(cells).items():
            yield ("median", f"{called(method)}: {goals.text}"), median([cell.latencies_s for cell in same])
    for win in wins(run):
        yield ("ratio", f"{win.measure} beside {called(win.method)}: {win.goals.text}"), win.ratio
