"""Steps of a run in their order, and how long they may take.

Owns: the list, its ids, estimates before and while it is gone through. Its rule: pure; the order follows from the scenario alone, so
that a resumed run knows what is left; rounds of what is undecided come behind it (`visiting/undecided.py`). Not here: taking steps
(`lab.py`), what was finished (`journal.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lab.results import ANSWERING_METHOD
from lab.running.visiting.cells import Visit, visits
from lab.scenarios.scenario import GridSpec, Scenario

__all__ = ["RunStep", "left_s", "steps_of", "visiting_steps"]

Kind = Literal["model", "edgesplit", "baseline", "dynamics"]

MODEL_S, CANDIDATE_S, GOALS_S, PLAN_S, BESIDE_S, STRATEGY_S = 15.0, 3.0, 1.5, 1.5, 4.0, 10.0
"""Of adding a model and each of its int8 candidates, setting goals, making a baseline's plan, what a measured cell takes beside its
requests (control loops and reports), and what a strategy takes beside its script. [s]"""
SHARED = 0.5
"""Of cells, those whose plan another cell of the round has. [1]"""
ENOUGH = 5
"""Steps of a kind after which what they took says more than the estimate."""


@dataclass(frozen=True)
class RunStep:
    """One entry of the journal to be.

    Attributes:
        id: Unique in a run.
        kind: Of steps that take alike long.
        subject: Model of a model's step; strategy of dynamics; empty of cells.
        visit: Of a cell.
        seconds: Estimated. [s]
    """

    id: str
    kind: Kind
    seconds: float
    subject: str = ""
    visit: Visit | None = None


def steps_of(scenario: Scenario) -> list[RunStep]:
    """Models, rounds of cells, strategies."""
    found: list[RunStep] = []
    grid = scenario.grid
    if grid is not None:
        for model in scenario.model:
            seconds = MODEL_S + 2 * CANDIDATE_S * model.max_quantizable
            found.append(RunStep(f"model:{model.called}", "model", seconds, subject=model.called))
        for number in range(1, grid.rounds + 1):
            found += visiting_steps(grid, visits(scenario, number))
    if scenario.dynamics is not None:
        for strategy in scenario.dynamics.strategies:
            seconds = scenario.dynamics.duration_s + STRATEGY_S
            found.append(RunStep(f"dynamics:{strategy}", "dynamics", seconds, subject=strategy))
    return found


def visiting_steps(grid: GridSpec, visits: Iterable[Visit]) -> list[RunStep]:
    """Of visits, in their order."""
    measured_s = (1 - SHARED) * (BESIDE_S + grid.seconds / 2)
    found: list[RunStep] = []
    for visit in visits:
        ours = visit.method == ANSWERING_METHOD
        seconds = (GOALS_S if ours else PLAN_S) + measured_s
        found.append(RunStep(visit.id, "edgesplit" if ours else "baseline", seconds, visit=visit))
    return found


def left_s(steps: Sequence[RunStep], done: Collection[str], taken_s: Mapping[Kind, Sequence[float]]) -> float:
    """How long the steps that are left may take. [s]

    Args:
        steps: All of a run.
        done: Ids of those that are not left.
        taken_s: What steps took so far, by their kind. [s]
    """
    left = 0.0
    for step in steps:
        if step.id not in done:
            taken = taken_s.get(step.kind, ())
            left += sum(taken) / len(taken) if len(taken) >= ENOUGH else step.seconds
    return left
