"""The parallel execution graph with its timeline: components as they ran, the predicted timeline beside.

Owns: the study's last figure. Its rule: executed bars are one request's, as agents timed it; predicted bars are the planner's simulated
request; both begin at 0 and share the axis. Not here: which plan (`timeline_drawing` says how it is chosen).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from lab.comparing.cell_goals import goals_of
from lab.reporting.figures.drawing import Drawing, Panel
from lab.reporting.figures.palette import Palette
from lab.reporting.wording import of_seconds, slug
from lab.results import Cell

__all__ = ["overlap_s", "timeline_drawing"]


@dataclass(frozen=True)
class _Span:
    row: str
    name: str
    start_s: float
    end_s: float


def timeline_drawing(model: str, cells: Sequence[Cell]) -> Drawing | None:
    """Of the plan whose nodes computed side by side longest; then most nodes, then the study's goals (energy weight 1, largest bound).

    None where no plan has a timeline. Plans that were executed with times go before those that are only predicted.
    """
    own = [cell for cell in cells if cell.model == model and (cell.executed or cell.plan.timeline) and cell.latencies_s]
    if not own:
        return None
    cell = max(own, key=_merit)
    predicted = [
        _Span(step.node or step.link or "", step.what, step.start_s, step.end_s) for step in cell.plan.timeline
    ]
    executed = [_Span(step.node, step.component, step.start_s, step.end_s) for step in cell.executed or []]
    rows = list(
        dict.fromkeys(
            [*cell.nodes, *(span.row for span in sorted((*predicted, *executed), key=lambda span: span.start_s))]
        )
    )
    rows = [row for row in rows if any(span.row == row for span in (*predicted, *executed))]
    beside = overlap_s([span for span in (executed or predicted) if span.row in cell.nodes])
    last = max(span.end_s for span in (*predicted, *executed))
    return Drawing(
        name=f"parallel-{slug(model)}",
        title=f"Parallel execution graph ({model})",
        caption=(
            f"Components of one request over time: {goals_of(cell).text} ({cell.id}). "
            + ("Filled: as executed, by agents' clocks. " if executed else "Times of execution were not recorded. ")
            + "Hatched: as predicted, the planner's simulated request, with transfers on rows of their links."
        ),
        alternative=(
            f"Gantt chart of {len(executed or predicted)} spans on {len(rows)} rows over {of_seconds(last)}; "
            f"nodes compute side by side for {of_seconds(beside)}."
        ),
        panels=(
            Panel(
                "components over time", _Gantt(executed, predicted, rows, cell.nodes), 1.3 + 0.48 * len(rows), wide=True
            ),
        ),
        published=(("study", "device and edge components run side by side at energy weight 1, max noise 0.5"),),
        notes=() if executed else ("Not measured: when components ran.",),
        data="timelines.csv",
    )


def overlap_s(spans: Sequence[_Span]) -> float:
    """How long two rows or more are busy at a time. [s]"""
    moments = sorted({moment for span in spans for moment in (span.start_s, span.end_s)})
    return sum(
        end - start
        for start, end in itertools.pairwise(moments)
        if len({span.row for span in spans if span.start_s <= start and end <= span.end_s}) > 1
    )


def _merit(cell: Cell) -> tuple[bool, float, int, float, float]:
    spans = [_Span(step.node, step.component, step.start_s, step.end_s) for step in cell.executed or []] or [
        _Span(step.node, step.what, step.start_s, step.end_s) for step in cell.plan.timeline if step.node
    ]
    whole = max((span.end_s for span in spans), default=0.0)
    return (
        bool(cell.executed),
        round(overlap_s(spans) / whole, 2) if whole else 0.0,
        len({span.row for span in spans}),
        cell.energy_weight,
        cell.max_noise,
    )


class _Gantt:
    def __init__(
        self, executed: Sequence[_Span], predicted: Sequence[_Span], rows: Sequence[str], nodes: Sequence[str]
    ) -> None:
        self._executed = executed
        self._predicted = predicted
        self._rows = rows
        self._nodes = list(nodes)
        self._last_s = max(span.end_s for span in (*predicted, *executed))

    def __call__(self, axes: Axes, palette: Palette) -> None:
        for span in self._executed:
            self._bar(axes, palette, span, executed=True)
        for span in self._predicted:
            self._bar(axes, palette, span, executed=False)
        axes.barh(0, 0, color=palette.other, label="executed")
        axes.barh(0, 0, color="none", edgecolor=palette.other, hatch="////", label="predicted")
        axes.set_yticks(range(len(self._rows)), [row.replace("->", " → ") for row in self._rows])
        axes.set_ylim(len(self._rows) - 0.45, -0.95)
        axes.set_xlim(0, self._last_s * 1.02)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("time since the request's begin [s]")
        axes.legend(loc="upper right", ncols=2, borderaxespad=0)

    def _bar(self, axes: Axes, palette: Palette, span: _Span, *, executed: bool) -> None:
        row = self._rows.index(span.row)
        node = span.row in self._nodes
        colour = palette.node(span.row, self._nodes.index(span.row)) if node else palette.other
        place = row if not node else row - 0.18 if executed else row + 0.2
        axes.barh(
            place, span.end_s - span.start_s, 0.4 if executed else 0.28, left=span.start_s,
            color=colour if executed else "none", edgecolor=palette.ground if executed else colour,
            hatch="" if executed else "////", linewidth=0.8,
        )  # fmt: skip
        if executed and span.end_s - span.start_s > self._last_s * 0.12:
            axes.text(
                (span.start_s + span.end_s) / 2, place, _short(span.name), ha="center", va="center", fontsize=8.5,
                color=palette.ground, clip_on=True,
            )  # fmt: skip


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
