"""The axis of bounds on noise, and who stands at which: the study's figures share it.

Owns: the axis and the choice of cells for it. Its rule: bounds stand side by side at equal distances, for they are settings, not
measurements. Not here: what is drawn over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from lab.results import Cell

__all__ = ["Weighting", "bounds_of", "cells_at", "draw_noise_axis", "node_order", "weightings"]


class Weighting(NamedTuple):
    """Weights of latency and energy. [1]"""

    latency: float
    energy: float

    @property
    def text(self) -> str:
        """As panels are called."""
        return f"latency weight {self.latency:g}, energy weight {self.energy:g}"


def bounds_of(cells: Iterable[Cell]) -> list[float]:
    """Bounds, ascending."""
    return sorted({cell.max_noise for cell in cells})


def weightings(cells: Iterable[Cell]) -> list[Weighting]:
    """Latency first."""
    return sorted({Weighting(cell.latency_weight, cell.energy_weight) for cell in cells}, reverse=True)


def cells_at(cells: Iterable[Cell], weights: Weighting) -> list[Cell]:
    """Those with these weights."""
    return [cell for cell in cells if (cell.latency_weight, cell.energy_weight) == weights]


def node_order(cells: Iterable[Cell]) -> list[str]:
    """Names of nodes as the cell with most of them has them, then others."""
    found = dict.fromkeys(node for cell in sorted(cells, key=lambda cell: -len(cell.nodes)) for node in cell.nodes)
    return list(found)


def draw_noise_axis(axes: Axes, bounds: Sequence[float]) -> None:
    """One tick a bound."""
    labels = [f"{bound:.4g}" for bound in bounds]
    turned = len(bounds) > 5
    axes.set_xticks(range(len(bounds)), labels, rotation=45 if turned else 0, ha="right" if turned else "center")
    if turned:
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
    beside = 0.6 if len(bounds) > 3 else 1.4
    axes.set_xlim(-beside, len(bounds) - 1 + beside)
    axes.set_xlabel("max noise")
