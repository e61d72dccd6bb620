"""Errors of predictions, by configuration, told apart from the host's own spread and beside the interval that was stated.

Owns: the error of a cell and its summary. Its rule: an error is of the prediction that was read before the first request, raw; what the
host did meanwhile stands beside it and is never taken off. Not here: verdicts (`claims.py`).

The host's own spread is seen by the control, a plain loop of the same model on each node's core right before and after the requests: how
far the two are apart in a cell, and how far all of a core scatter over the run (relative standard deviation).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.comparing.cell_goals import configuration, measured, measurement, median_s
from lab.comparing.intervals import Estimate, mean, share
from lab.results import Cell

__all__ = ["CellError", "ConfigurationErrors", "cell_errors", "each_once", "errors_by_configuration", "loop_spread"]


@dataclass(frozen=True)
class CellError:
    """A prediction beside what it was of.

    Attributes:
        cell: What was measured.
        error: predicted / median measured - 1. [1]
        inside: Whether the median lies in the stated interval; None where none was stated.
        loop_drift: Control after over before - 1, of the node where that is farthest from 0; None without control. [1]
        request_spread: Half of the range of the middle 90 % of requests over their median. [1]
    """

    cell: Cell
    error: float
    inside: bool | None
    loop_drift: float | None
    request_spread: float


@dataclass(frozen=True)
class ConfigurationErrors:
    """Of all cells with the same nodes.

    Attributes:
        nodes: Allowed ones.
        cells: Error of each prediction of a measurement.
        visits: Cells that they are of; more, where several goals gave one plan.
        mean: Of the errors' absolute values. [1]
        worst: Largest of them. [1]
        worst_cell: Its identifier.
        covered: Share of medians inside the stated interval; None where none was stated. [1]
        loop_drift: Mean absolute difference of the control after and before; None without control. [1]
        loop_spread: Of the control over the run, of the core where it is largest. [1]
    """

    nodes: tuple[str, ...]
    cells: tuple[CellError, ...]
    visits: int
    mean: Estimate
    worst: float
    worst_cell: str
    covered: Estimate | None
    loop_drift: float | None
    loop_spread: float | None

    @property
    def name(self) -> str:
        """Of the configuration."""
        return configuration(self.nodes)


def cell_errors(cells: Iterable[Cell]) -> list[CellError]:
    """Of cells that were measured."""
    return [_cell_error(cell) for cell in cells if measured(cell)]


def errors_by_configuration(cells: Sequence[Cell]) -> list[ConfigurationErrors]:
    """Fewest nodes first."""
    by: dict[tuple[str, ...], list[CellError]] = defaultdict(list)
    for found in cell_errors(cells):
        by[tuple(found.cell.nodes)].append(found)
    return [_summary(nodes, each_once(by[nodes]), len(by[nodes])) for nodes in sorted(by, key=len)]


def each_once(found: Iterable[CellError]) -> list[CellError]:
    """One of those that share a measurement and a prediction: goals that ask for the same plan do not make it count twice."""
    first: dict[tuple[str, float], CellError] = {}
    for one in found:
        first.setdefault((measurement(one.cell), one.cell.plan.predicted_s), one)
    return list(first.values())


def loop_spread(cells: Iterable[Cell]) -> dict[tuple[str, str], float]:
    """Relative standard deviation of the control over the run, by model and core, where there are three or more. [1]"""
    seen: dict[tuple[str, str], list[float]] = defaultdict(list)
    for cell in cells:
        for core, both in {loop.core: (loop.before_s, loop.after_s) for loop in cell.controls.values()}.items():
            seen[cell.model, core] += both
    return {
        where: statistics.stdev(figures) / statistics.mean(figures)
        for where, figures in seen.items()
        if len(figures) > 2
    }


def _cell_error(cell: Cell) -> CellError:
    median = median_s(cell)
    ends = cell.plan.interval_s
    drifts = [loop.after_s / loop.before_s - 1 for loop in cell.controls.values() if loop.before_s > 0]
    ordered = sorted(cell.latencies_s)
    cut = int(0.05 * len(ordered))
    return CellError(
        cell=cell,
        error=cell.plan.predicted_s / median - 1,
        inside=None if ends is None else ends[0] <= median <= ends[1],
        loop_drift=max(drifts, key=abs) if drifts else None,
        request_spread=(ordered[-1 - cut] - ordered[cut]) / (2 * median),
    )


def _summary(nodes: tuple[str, ...], found: Sequence[CellError], goals: int) -> ConfigurationErrors:
    worst = max(found, key=lambda one: abs(one.error))
    stated = [one.inside for one in found if one.inside is not None]
    drifts = [abs(one.loop_drift) for one in found if one.loop_drift is not None]
    spreads = loop_spread(one.cell for one in found)
    return ConfigurationErrors(
        nodes=nodes,
        cells=tuple(found),
        visits=goals,
        mean=mean([abs(one.error) for one in found]),
        worst=abs(worst.error),
        worst_cell=worst.cell.id,
        covered=share(sum(stated), len(stated)) if stated else None,
        loop_drift=statistics.mean(drifts) if drifts else None,
        loop_spread=max(spreads.values(), default=None),
    )
