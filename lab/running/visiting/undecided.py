"""Visits of one more round: of comparisons that the rounds before have not decided.

Owns: which these are. Its rule: pure, of results of earlier rounds alone, so that a resumed run makes the same list; what is decided, either
way, is not visited again. Not here: what decides (`lab/comparing`), the grid's own rounds (`cells.py`).
"""

from __future__ import annotations

import random
from collections.abc import Collection

import msgspec

from lab.comparing.cell_goals import CellGoals
from lab.comparing.verdicts import AT_MOST_SLOWER, at_most
from lab.comparing.wins import Win, best_of_each, of_interest, wins
from lab.results import ANSWERING_METHOD, Results
from lab.running.visiting.cells import GoalsCell, Visit, comparisons, methods_of
from lab.scenarios.scenario import Scenario

__all__ = ["undecided_visits"]


def undecided_visits(scenario: Scenario, results: Results, round_number: int) -> list[Visit]:
    """Edgesplit's plan beside the baselines that its figures are not told apart from yet, comparison by comparison, shuffled.

    Args:
        scenario: Its grid and baselines.
        results: Those of earlier rounds count.
        round_number: Of the round to be.
    """
    before = msgspec.structs.replace(
        results,
        cells=[cell for cell in results.cells if cell.round < round_number],
        baselines=[cell for cell in results.baselines if cell.round < round_number],
    )
    found = [win for win in wins(before) if of_interest(win.goals) == win.measure]
    best = {win.goals for win in best_of_each(found, "latency") + best_of_each(found, "energy") if _undecided(win)}
    pairs = {(win.goals, win.method) for win in found if win.goals in best and _undecided(win)}
    drawn = random.Random(f"{scenario.scenario.seed}/{round_number}")
    asked = [comparison for model in scenario.model for comparison in comparisons(scenario, model.called)]
    drawn.shuffle(asked)
    visits: list[Visit] = []
    for comparison in asked:
        methods = _of(comparison, methods_of(scenario, comparison), pairs)
        if methods:
            drawn.shuffle(methods)
            visits += [Visit(comparison, method, round_number) for method in (ANSWERING_METHOD, *methods)]
    return visits


def _undecided(win: Win) -> bool:
    return at_most(win.ratio.interval, AT_MOST_SLOWER) == "undecided"


def _of(comparison: GoalsCell, methods: Collection[str], pairs: Collection[tuple[CellGoals, str]]) -> list[str]:
    """Methods of a comparison that are among some pairs."""
    goals = CellGoals(comparison.model, comparison.nodes, *comparison.weights, comparison.max_noise)
    return [method for method in methods if (goals, method) in pairs]
