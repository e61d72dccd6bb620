"""edgesplit's plans beside each baseline's, goal by goal: ratios of medians with paired bootstrap intervals.

Owns: which cells are paired, and the ratios. Its rule: only rounds that have both are compared; what could not be compared has a reason.
Not here: resampling (`intervals.py`), verdicts (`claims.py`).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from lab.comparing.cell_goals import CellGoals, by_goals, measurement, usable
from lab.comparing.intervals import RESAMPLES, Estimate, RoundSpread, paired_ratio, round_spread
from lab.results import Cell, Results

__all__ = ["Measure", "Win", "best_of_each", "of_interest", "wins"]

Measure = Literal["latency", "energy"]
_MEASURES: tuple[Measure, ...] = ("latency", "energy")


class Pairing(NamedTuple):
    """What is compared."""

    goals: CellGoals
    method: str
    measure: Measure


@dataclass(frozen=True)
class Win:
    """One measure of edgesplit's plans for some goals, beside one baseline's.

    Attributes:
        goals: Of both.
        method: The baseline.
        measure: Latency [s], or modelled energy [J].
        own: edgesplit's median over all its paired cells.
        other: The baseline's.
        ratio: edgesplit's over the baseline's, paired by round; below 1 edgesplit takes less.
        cells: Identifiers of all that went into it.
        same_plan: In every round both were the very same plan, measured once.
    """

    goals: CellGoals
    method: str
    measure: Measure
    own: float
    other: float
    ratio: Estimate
    cells: tuple[str, ...]
    same_plan: bool


def of_interest(goals: CellGoals) -> Measure | None:
    """What goals of one kind are judged by: latency or energy alone; None for mixed weights."""
    if goals.energy_weight == 0 and goals.latency_weight > 0:
        return "latency"
    if goals.latency_weight == 0 and goals.energy_weight > 0:
        return "energy"
    return None


def wins(results: Results, *, resamples: int = RESAMPLES) -> list[Win]:
    """Of all goals, methods and both measures that have a round in common."""
    found = list(_comparisons(results))
    spreads = {
        measure: round_spread(one.pairs for one in found if one.pairing.measure == measure) for measure in _MEASURES
    }
    return [_win(one, spreads[one.pairing.measure], resamples) for one in found]


def best_of_each(found: Iterable[Win], measure: Measure, *, without: Sequence[str] = ()) -> list[Win]:
    """For each goals, edgesplit beside the baseline that took least."""
    by: dict[CellGoals, list[Win]] = defaultdict(list)
    for win in found:
        if win.measure == measure and win.method not in without:
            by[win.goals].append(win)
    return [max(same, key=lambda win: win.ratio.value) for same in by.values()]


class _Comparison(NamedTuple):
    """A pairing's figures, round by round, and whose they are."""

    pairing: Pairing
    pairs: list[tuple[list[float], list[float]]]
    ids: list[str]


def _comparisons(results: Results) -> Iterator[_Comparison]:
    for goals, cells in by_goals(results.cells).items():
        for method, others in usable(results.baselines, goals).items():
            for measure in _MEASURES:
                rounds = _common(_by_round(cells, measure), _by_round(others, measure))
                if rounds:
                    ids = [cell.id for cell in (*cells, *others) if cell.round in rounds and _figures(cell, measure)]
                    yield _Comparison(Pairing(goals, method, measure), list(rounds.values()), ids)


def _win(comparison: _Comparison, spread: RoundSpread | None, resamples: int) -> Win:
    pairs = comparison.pairs
    return Win(
        *comparison.pairing,
        own=statistics.median(figure for first, _second in pairs for figure in first),
        other=statistics.median(figure for _first, second in pairs for figure in second),
        ratio=paired_ratio(pairs, spread=spread, resamples=resamples),
        cells=tuple(comparison.ids),
        same_plan=all(first is second for first, second in pairs),
    )


class _Round(NamedTuple):
    """Figures of one round, and whose they are."""

    measurements: frozenset[str]
    figures: list[float]


def _common(own: dict[int, _Round], other: dict[int, _Round]) -> dict[int, tuple[list[float], list[float]]]:
    """Rounds that both have; one list for both where both are one measurement."""
    return {
        number: (
            own[number].figures,
            own[number].figures if own[number].measurements == other[number].measurements else other[number].figures,
        )
        for number in sorted(own.keys() & other.keys())
    }


def _by_round(cells: Iterable[Cell], measure: Measure) -> dict[int, _Round]:
    found: dict[int, _Round] = {}
    for cell in cells:
        if figures := _figures(cell, measure):
            before = found.get(cell.round, _Round(frozenset(), []))
            found[cell.round] = _Round(before.measurements | {measurement(cell)}, before.figures + figures)
    return found


def _figures(cell: Cell, measure: Measure) -> list[float]:
    """Of one cell; an energy is one figure, as agents count it over all requests."""
    if measure == "latency":
        return cell.latencies_s
    return [cell.energy_j] if cell.energy_j else []
