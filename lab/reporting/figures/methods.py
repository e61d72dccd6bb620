"""Latency and energy of every method beside edgesplit's, and by configuration beside the study's.

Owns: the study's figure of baselines. Its rule: bars of one panel were measured in the same rounds; intervals are bootstrapped; energy is
modelled power times measured time. Not here: ratios and verdicts (`lab/comparing`, `analysis/claims.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from lab.comparing.cell_goals import CellGoals, by_goals, called, configuration, usable
from lab.comparing.intervals import Estimate, median
from lab.comparing.wins import Measure, of_interest
from lab.reporting import published
from lab.reporting.figures.drawing import Drawing, Panel
from lab.reporting.figures.palette import Palette
from lab.reporting.wording import counted, of_energy, of_seconds, slug
from lab.results import ANSWERING_METHOD, Cell, Results

__all__ = ["methods_drawing"]

STUDY_BOUND = 0.1
"""Beside 0 the other bound of the study's figure."""
WORDS = {"latency": "latency [s]", "energy": "energy [J], modelled power × measured time"}


@dataclass(frozen=True)
class _Bar:
    name: str
    value: Estimate
    own: bool


def methods_drawing(results: Results, model: str) -> Drawing | None:
    """Of one model; None where nothing was measured beside its plans."""
    there = {goals: cells for goals, cells in by_goals(results.cells).items() if goals.model == model}
    compared = [goals for goals in there if usable(results.baselines, goals)]
    if not compared:
        return None
    most = max(len(goals.nodes) for goals in compared)
    panels: list[Panel] = []
    configurations: list[Panel] = []
    spoken: list[str] = []
    for measure in ("latency", "energy"):
        wanted = [goals for goals in compared if len(goals.nodes) == most and of_interest(goals) == measure]
        for goals in _of_bounds(wanted):
            bars = _bars(there[goals], usable(results.baselines, goals), measure)
            if bars:
                panels.append(
                    Panel(f"{measure}, max noise {goals.max_noise:.4g}", _Bars(bars, measure), 0.95 + 0.32 * len(bars))
                )
                spoken.append(_spoken(bars, measure, goals))
        configurations += _configurations(there, measure)
    panels += configurations
    if not panels:
        return None
    return Drawing(
        name=f"methods-{slug(model)}",
        title=f"Methods beside each other ({model})",
        caption=(
            "Every bar is a plan that live agents ran, measured in interleaved rounds: latency at latency weight 1, energy at energy "
            "weight 1, with the 95 % bootstrap interval of its median where there is one. Energy is modelled power × measured time. The bars by "
            "configuration are edgesplit's own plans, as the study's figure has them."
        ),
        alternative=" ".join(spoken) or "edgesplit's latency and energy by configuration.",
        panels=tuple(panels),
        published=(
            ("study", "max noise", "latency", "energy, modelled"),
            *(
                (
                    counted(entry.nodes, "node"),
                    f"{entry.max_noise:g}",
                    f"{entry.latency_s:g} s",
                    f"{entry.energy_j:g} J",
                )
                for entry in published.BASELINES
            ),
        ),
        data="comparisons.csv",
        columns=2,
    )


def _of_bounds(wanted: Iterable[CellGoals]) -> list[CellGoals]:
    """The least bound, and of the others the nearest to the study's."""
    ordered = sorted(wanted, key=lambda goals: goals.max_noise)
    others = sorted(ordered[1:], key=lambda goals: abs(goals.max_noise - STUDY_BOUND))
    return [*ordered[:1], *others[:1]]


def _bars(cells: Sequence[Cell], others: dict[str, list[Cell]], measure: Measure) -> list[_Bar]:
    """Least first, edgesplit among them."""
    found = []
    for method, same in [(ANSWERING_METHOD, list(cells)), *others.items()]:
        value = _value(same, measure)
        if value is not None:
            found.append(_Bar(called(method), value, method == ANSWERING_METHOD))
    return sorted(found, key=lambda bar: bar.value.value)


def _value(cells: Iterable[Cell], measure: Measure) -> Estimate | None:
    figures = [cell.latencies_s if measure == "latency" else [cell.energy_j] if cell.energy_j else [] for cell in cells]
    there = [list(some) for some in figures if some]
    return median(there) if there else None


def _spoken(bars: Sequence[_Bar], measure: Measure, goals: CellGoals) -> str:
    wording = of_seconds if measure == "latency" else of_energy
    listed = ", ".join(f"{bar.name} {wording(bar.value.value)}" for bar in bars)
    return f"{measure.capitalize()} at max noise {goals.max_noise:.4g}: {listed}."


class _Bars:
    def __init__(self, bars: Sequence[_Bar], measure: Measure) -> None:
        self._bars = bars
        self._measure = measure

    def __call__(self, axes: Axes, palette: Palette) -> None:
        top = max(bar.value.high or bar.value.value for bar in self._bars)
        wording = of_seconds if self._measure == "latency" else of_energy
        for place, bar in enumerate(reversed(self._bars)):
            axes.barh(place, bar.value.value, 0.66, color=palette.own if bar.own else palette.other)
            if bar.value.low is not None and bar.value.high is not None:
                axes.plot([bar.value.low, bar.value.high], [place, place], color=palette.ink, linewidth=1.3)
            right = bar.value.high or bar.value.value
            axes.text(right + top * 0.02, place, wording(bar.value.value), va="center", fontsize=9)
        axes.set_yticks(range(len(self._bars)), [bar.name for bar in reversed(self._bars)])
        for label, bar in zip(axes.get_yticklabels(), reversed(self._bars), strict=True):
            label.set_fontweight("bold" if bar.own else "normal")
        axes.set_xlim(0, top * 1.3)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(WORDS[self._measure])


def _configurations(there: dict[CellGoals, list[Cell]], measure: Measure) -> list[Panel]:
    """Edgesplit's own by configuration, and the study's on axes of their own."""
    wanted = {goals: cells for goals, cells in there.items() if of_interest(goals) == measure}
    bounds = [goals.max_noise for goals in _of_bounds({goals.max_noise: goals for goals in wanted}.values())]
    nodes = sorted({goals.nodes for goals in wanted}, key=len)
    if len(nodes) < 2:
        return []
    ours = {
        bound: [
            value.value
            if (
                value := _value(
                    [c for g in wanted if g.nodes == some and g.max_noise == bound for c in wanted[g]], measure
                )
            )
            else math.nan
            for some in nodes
        ]
        for bound in bounds
    }
    names = [_added(some, before) for before, some in zip([(), *nodes], nodes, strict=False)]
    theirs = {
        bound: [
            entry.latency_s if measure == "latency" else entry.energy_j
            for entry in published.BASELINES
            if entry.max_noise == bound
        ]
        for bound in (0.0, STUDY_BOUND)
    }
    return [
        Panel(f"{measure} by configuration, here", _Groups(names, ours, measure, study=False)),
        Panel(
            f"{measure} by configuration, the study",
            _Groups(["device", "+ edge", "+ cloud"], theirs, measure, study=True),
        ),
    ]


def _added(nodes: Sequence[str], before: Sequence[str]) -> str:
    """What a configuration has beyond the one before it, as the study's axis says it."""
    more = [node for node in nodes if node not in before]
    return " ".join(f"+ {node}" for node in more) if before and more else configuration(nodes)


class _Groups:
    def __init__(
        self, names: Sequence[str], by_bound: dict[float, list[float]], measure: Measure, *, study: bool
    ) -> None:
        self._names = names
        self._by_bound = by_bound
        self._measure = measure
        self._study = study

    def __call__(self, axes: Axes, palette: Palette) -> None:
        colour = palette.published if self._study else palette.own
        width = 0.76 / max(len(self._by_bound), 1)
        top = max(
            (value for values in self._by_bound.values() for value in values if not math.isnan(value)), default=1.0
        )
        for number, (bound, values) in enumerate(self._by_bound.items()):
            for place, value in enumerate(values):
                if math.isnan(value):
                    continue
                x = place + (number - (len(self._by_bound) - 1) / 2) * width
                axes.bar(
                    x, value, width * 0.92, color=colour, hatch="///" if number else "", edgecolor=palette.ground,
                    label=f"max noise {bound:.4g}" if value == values[0] and place == 0 else None,
                )  # fmt: skip
                axes.text(x, value + top * 0.02, f"{value:.3g}", ha="center", fontsize=9)
        axes.set_xticks(range(len(self._names)), self._names)
        axes.tick_params(axis="x", length=0)
        axes.set_ylim(0, top * 1.32)
        axes.set_ylabel("latency [s]" if self._measure == "latency" else "modelled energy [J]")
        axes.legend(loc="upper right", ncols=2)
