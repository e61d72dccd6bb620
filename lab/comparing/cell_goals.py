"""Cells by their goals: which belong to one comparison, and how they are called.

Owns: keys of comparisons and their names. Its rule: cells are of one comparison if a user who has those goals and nodes could have had
either. Not here: statistics.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lab.results import ANSWERING_METHOD, Cell, Results

__all__ = [
    "CellGoals",
    "by_goals",
    "called",
    "configuration",
    "goals_of",
    "measured",
    "measurement",
    "median_s",
    "missing_goals",
    "usable",
    "used_nodes",
]


class CellGoals(NamedTuple):
    """What a plan was asked for.

    Attributes:
        model: Its name.
        nodes: Allowed ones, in the order of the scenario.
        latency_weight: [1]
        energy_weight: [1]
        max_noise: Absolute bound.
    """

    model: str
    nodes: tuple[str, ...]
    latency_weight: float
    energy_weight: float
    max_noise: float

    @property
    def text(self) -> str:
        """In words."""
        return (
            f"{self.model}, {configuration(self.nodes)}, latency weight {self.latency_weight:g}, "
            f"energy weight {self.energy_weight:g}, max noise {self.max_noise:g}"
        )


def configuration(nodes: Sequence[str]) -> str:
    """Name of a set of nodes."""
    return " + ".join(nodes)


def called(method: str) -> str:
    """Name of a method in tables and figures."""
    names = {
        "device": "device only",
        "edge": "edge only",
        "cloud": "cloud only",
        "neurosurgeon": "Neurosurgeon",
        "dads": "DADS",
        "heft": "HEFT",
        "study": "study's plan",
    }
    return names.get(method, method.replace("-", " ") if method.startswith("random") else method)


def goals_of(cell: Cell) -> CellGoals:
    """Of a cell."""
    return CellGoals(cell.model, tuple(cell.nodes), cell.latency_weight, cell.energy_weight, cell.max_noise)


def measured(cell: Cell) -> bool:
    """Whether any request of it was answered."""
    return bool(cell.latencies_s)


def median_s(cell: Cell) -> float:
    """Of a cell that was measured. [s]"""
    return statistics.median(cell.latencies_s)


def measurement(cell: Cell) -> str:
    """Identifier of the cell whose requests these are: plans that are one in a round are measured once."""
    return cell.shared_with or cell.id


def used_nodes(cell: Cell) -> list[str]:
    """Nodes that have an operator."""
    return [node for node, count in cell.plan.operators.items() if count]


def by_goals(cells: Iterable[Cell]) -> dict[CellGoals, list[Cell]]:
    """Cells that were measured, by goals, in the order of goals' first visit and then of rounds."""
    found: dict[CellGoals, list[Cell]] = defaultdict(list)
    for cell in cells:
        if measured(cell):
            found[goals_of(cell)].append(cell)
    return {goals: sorted(same, key=lambda cell: cell.round) for goals, same in found.items()}


def usable(baselines: Iterable[Cell], goals: CellGoals) -> dict[str, list[Cell]]:
    """Baselines' cells by method that somebody with those goals could have had instead.

    Model, weights and bound are the same, and no operator is on a node that is not allowed. A method that was measured for
    exactly these nodes is taken from there alone.
    """
    found: dict[str, list[Cell]] = defaultdict(list)
    for cell in baselines:
        same = goals_of(cell)._replace(nodes=goals.nodes) == goals
        if same and measured(cell) and cell.method != ANSWERING_METHOD and set(used_nodes(cell)) <= set(goals.nodes):
            found[cell.method].append(cell)
    return {
        method: [cell for cell in cells if tuple(cell.nodes) == goals.nodes] or cells for method, cells in found.items()
    }


def missing_goals(results: Results) -> list[CellGoals]:
    """CellGoals that the scenario's grid asks for, or that others of the run suggest, and edgesplit has no measured cell of."""
    there = by_goals(results.cells)
    grid = results.scenario.get("grid", {})
    configurations = _configurations(results)
    weights = [(float(pair[0]), float(pair[1])) for pair in grid.get("weights", [])]
    bounds = [float(bound) for bound in grid.get("max_noise", [])]
    found = []
    for model in results.models:
        own = [goals for goals in there if goals.model == model]
        for nodes in configurations or dict.fromkeys(goals.nodes for goals in own):
            for latency_weight, energy_weight in weights or dict.fromkeys(goals[2:4] for goals in own):
                for bound in _bounds(results, model) or bounds or dict.fromkeys(goals.max_noise for goals in own):
                    goals = CellGoals(model, tuple(nodes), latency_weight, energy_weight, bound)
                    if goals not in there:
                        found.append(goals)
    return found


def _configurations(results: Results) -> list[tuple[str, ...]]:
    """Of the scenario, in the order of its machines; the source may always compute."""
    machines = [str(entry["name"]) for entry in results.scenario.get("machine", [])]
    source = results.scenario.get("scenario", {}).get("source") or next(iter(machines), "")
    asked = results.scenario.get("grid", {}).get("configurations", [])
    if not machines:
        return [tuple(nodes) for nodes in asked]
    return [tuple(name for name in machines if name == source or name in nodes) for nodes in asked]


def _bounds(results: Results, model: str) -> list[float]:
    """A model's own, where the scenario gives it some."""
    for entry in results.scenario.get("model", []):
        names = {entry.get("name"), entry.get("zoo"), "shapes" if entry.get("demo") else None}
        if model in names and entry.get("max_noise") is not None:
            return [float(bound) for bound in entry["max_noise"]]
    return []
