"""Cells of the grid and of baselines: which there are, and in which order a round visits them.

Owns: comparisons, visits, their ids and order. Its rule: pure and seeded; a baseline is visited right beside the plan it is compared
with, so that both meet the same moments of the machine. Not here: how a visit goes (`measuring.py`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from lab.results import ANSWERING_METHOD
from lab.scenarios.scenario import Scenario, Weights

__all__ = ["GoalsCell", "Visit", "comparisons", "methods_of", "visits"]


@dataclass(frozen=True)
class GoalsCell:
    """Goals and nodes under which methods are compared.

    Attributes:
        model: Its name.
        nodes: That may compute.
        weights: Of latency and energy. [1]
        max_noise: Absolute bound. [1]
    """

    model: str
    nodes: tuple[str, ...]
    weights: Weights
    max_noise: float

    @property
    def id(self) -> str:
        """Such as `yolo_seg/device+edge/1:0/0.05`."""
        latency, energy = self.weights
        return f"{self.model}/{'+'.join(self.nodes)}/{latency:g}:{energy:g}/{self.max_noise:g}"


@dataclass(frozen=True)
class Visit:
    """One method's plan under a comparison's goals, in one round."""

    comparison: GoalsCell
    method: str
    round: int

    @property
    def id(self) -> str:
        """Unique in a run."""
        return f"cell:{self.comparison.id}/{self.method}/{self.round}"


def comparisons(scenario: Scenario, model: str) -> list[GoalsCell]:
    """Of a model, in the file's order."""
    grid = scenario.grid
    if grid is None:
        return []
    spec = next(entry for entry in scenario.model if entry.called == model)
    return [
        GoalsCell(model, nodes, weights, bound)
        for nodes in grid.configurations or (scenario.machines,)
        for weights in grid.weights
        for bound in scenario.bounds(spec)
    ]


def methods_of(scenario: Scenario, comparison: GoalsCell) -> tuple[str, ...]:
    """Baselines that a comparison has: those that may use its nodes, under its goals."""
    baselines = scenario.baselines
    if baselines is None:
        return ()
    if baselines.weights and comparison.weights not in baselines.weights:
        return ()
    if baselines.max_noise is not None and comparison.max_noise not in baselines.max_noise:
        return ()
    split = len(comparison.nodes) > 1
    return tuple(
        method for method in baselines.methods if (method in comparison.nodes if method in scenario.machines else split)
    )


def visits(scenario: Scenario, round_number: int) -> list[Visit]:
    """All of a round: models in turn, configurations in turn, comparisons and methods shuffled.

    Changing configurations costs a plan, so that comparisons of one stay together.
    """
    drawn = random.Random(f"{scenario.scenario.seed}/{round_number}")
    found: list[Visit] = []
    models = [model.called for model in scenario.model]
    drawn.shuffle(models)
    for model in models:
        by_nodes: dict[tuple[str, ...], list[GoalsCell]] = {}
        for comparison in comparisons(scenario, model):
            by_nodes.setdefault(comparison.nodes, []).append(comparison)
        groups = list(by_nodes.values())
        drawn.shuffle(groups)
        for group in groups:
            drawn.shuffle(group)
            for comparison in group:
                # The goals are set by the first: what a method plans under them needs them.
                methods = list(methods_of(scenario, comparison))
                drawn.shuffle(methods)
                found += [Visit(comparison, method, round_number) for method in (ANSWERING_METHOD, *methods)]
    return found
