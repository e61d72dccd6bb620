"""Measured noise of plans beside the bound they were asked to keep.

Owns: which plans were checked, and whether they kept it. Its rule: a plan whose noise was not measured is not counted as one that kept it.
Not here: noise models (`figures/noise_fits.py` draws their fit).
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.comparing.cell_goals import CellGoals, goals_of
from lab.results import Cell, Results

__all__ = ["NoiseCheck", "noise_checks"]

ROUNDING = 1e-3
"""Share of the fully quantized model's noise that two ways of rounding the same plan may differ by. [1]"""


@dataclass(frozen=True)
class NoiseCheck:
    """One plan's.

    Attributes:
        cell: Its cell, the first round's of its goals that was measured.
        measured: In the unit of the model's outputs.
        kept: Whether that is within the bound, but for rounding.
    """

    cell: Cell
    measured: float
    kept: bool


def noise_checks(results: Results) -> list[NoiseCheck]:
    """Of edgesplit's plans, goals in the order of their cells."""
    first: dict[CellGoals, NoiseCheck] = {}
    for cell in sorted(results.cells, key=lambda cell: cell.round):
        if cell.noise_measured is None or goals_of(cell) in first:
            continue
        model = results.models.get(cell.model)
        rounding = ROUNDING * (model.full_noise or 0.0) if model is not None else 0.0
        kept = cell.noise_measured <= cell.max_noise + rounding
        first[goals_of(cell)] = NoiseCheck(cell, cell.noise_measured, kept)
    return list(first.values())
