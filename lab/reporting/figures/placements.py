"""Operators and components per node over the bound on noise.

Owns: the study's figures of what was placed where. Its rule: counts are of the plans that were deployed, the mean of the rounds' where a goal
was planned more than once. Not here: when they run (`timelines.py`).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lab.comparing.cell_goals import configuration
from lab.reporting.figures.drawing import Drawing, Panel
from lab.reporting.figures.noise_axis import bounds_of, cells_at, draw_noise_axis, node_order, weightings
from lab.reporting.figures.palette import Palette
from lab.reporting.wording import slug
from lab.results import Cell

__all__ = ["components_drawing", "operators_drawings"]

HATCHES = ("", "//", "\\\\", "xx", "--")
"""By node, for whoever cannot tell the colours apart."""


def operators_drawings(model: str, cells: Sequence[Cell]) -> list[Drawing]:
    """One for each configuration of two nodes or more."""
    own = [cell for cell in cells if cell.model == model]
    found = []
    for nodes in sorted({tuple(cell.nodes) for cell in own if len(cell.nodes) > 1}, key=len):
        there = [cell for cell in own if tuple(cell.nodes) == nodes]
        found.append(
            Drawing(
                name=f"operators-{slug(model)}-{slug(configuration(nodes))}",
                title=f"Operators per node: {configuration(nodes)} ({model})",
                caption="Operators of the plans that were deployed, over the bound on noise; mean of rounds.",
                alternative=_spoken("Operators", nodes, there, lambda cell: cell.plan.operators),
                panels=_panels(there, nodes, "operators", lambda cell: cell.plan.operators),
            )
        )
    return found


def components_drawing(model: str, cells: Sequence[Cell]) -> Drawing | None:
    """Of the configuration with most nodes; None where every plan was for one node."""
    own = [cell for cell in cells if cell.model == model and len(cell.nodes) > 1]
    if not own:
        return None
    nodes = tuple(node_order(own))
    there = [cell for cell in own if len(cell.nodes) == len(nodes)]
    return Drawing(
        name=f"components-{slug(model)}",
        title=f"Components per node: {configuration(nodes)} ({model})",
        caption="Submodels that the deployed plans cut the model into, by node, over the bound on noise; mean of rounds.",
        alternative=_spoken("Components", nodes, there, lambda cell: cell.plan.components),
        panels=_panels(there, nodes, "components", lambda cell: cell.plan.components),
        published=(("study", "up to 4 components on the device, 1 on the edge, 1 on the cloud"),),
    )


def _panels(
    cells: Sequence[Cell], nodes: Sequence[str], what: str, of: Callable[[Cell], Mapping[str, int]]
) -> tuple[Panel, ...]:
    return tuple(
        Panel(weights.text, _Stacks(cells_at(cells, weights), nodes, what, of)) for weights in weightings(cells)
    )


def _spoken(what: str, nodes: Sequence[str], cells: Sequence[Cell], of: Callable[[Cell], Mapping[str, int]]) -> str:
    ranges = []
    for node in nodes:
        counts = [of(cell).get(node, 0) for cell in cells]
        ranges.append(f"{min(counts)} to {max(counts)} on {node}")
    return f"{what} per node over max noise: {', '.join(ranges)}."


class _Stacks:
    def __init__(
        self, cells: Sequence[Cell], nodes: Sequence[str], what: str, of: Callable[[Cell], Mapping[str, int]]
    ) -> None:
        self._cells = cells
        self._nodes = nodes
        self._what = what
        self._of = of

    def __call__(self, axes: Axes, palette: Palette) -> None:
        bounds = bounds_of(self._cells)
        below = [0.0] * len(bounds)
        for number, node in enumerate(self._nodes):
            counts = [
                statistics.mean(self._of(cell).get(node, 0) for cell in self._cells if cell.max_noise == bound)
                for bound in bounds
            ]
            axes.bar(
                range(len(bounds)), counts, 0.72, bottom=below, label=node, color=palette.node(node, number),
                hatch=HATCHES[number % len(HATCHES)], edgecolor=palette.ground, linewidth=0.8,
            )  # fmt: skip
            below = [low + count for low, count in zip(below, counts, strict=True)]
        axes.set_ylim(0, max(below, default=1.0) * 1.2 or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(self._what)
        draw_noise_axis(axes, bounds)
        axes.legend(loc="upper center", ncols=3)
