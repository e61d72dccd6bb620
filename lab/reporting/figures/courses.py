"""Strategies over time while the world changes: latency, failures, energy, regret; changes as numbered lines.

Owns: the figure of a script of changes. Its rule: the oracle is drawn as a line of its own, and what was lost stands on a row of its own, for a
median shows no failure. Not here: what a reaction is (`analysis/over_time.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from lab.play_results import DynamicRun
from lab.reporting.analysis.claims import IN_TIME_S
from lab.reporting.analysis.over_time import OverTime, over_time, regret_course, rolling_median
from lab.reporting.figures.drawing import Drawing, Panel
from lab.reporting.figures.palette import Palette
from lab.reporting.wording import of_seconds, slug
from lab.results import ANSWERING_METHOD

__all__ = ["ORDER", "dynamics_drawing"]

ORDER = ("edgesplit", "oracle", "pause-resume", "static:split", "static:device", "static:edge", "static:cloud")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (1, 1)))
"""By place in ORDER, for whoever cannot tell the colours apart."""
STRETCH = 60
"""A course is drawn by so many medians."""


def dynamics_drawing(model: str, runs: Sequence[DynamicRun]) -> Drawing | None:
    """Of one model's strategies, the first run of each."""
    own: dict[str, DynamicRun] = {}
    for run in runs:
        if run.model == model and run.requests:
            own.setdefault(run.strategy, run)
    if not own:
        return None
    ordered = sorted(own.values(), key=lambda run: (_place(run.strategy), run.strategy))
    found = [over_time(run, in_time_s=IN_TIME_S) for run in ordered]
    script = ordered[0].changes
    listed = "; ".join(f"{number}: {change.what} (at {change.at_s:.0f} s)" for number, change in enumerate(script, 1))
    compared = [run for run in ordered if run.oracle_s and run.strategy != "oracle"]
    panels = [
        Panel("latency", _LatencyCourse(ordered), 3.8, wide=True, legend_below=True),
        Panel("requests lost", _LostRequests(ordered), 1.2 + 0.27 * len(ordered), wide=True),
    ]
    if any(run.energy for run in ordered):
        panels.append(Panel("energy per request", _EnergyCourse(ordered), 3.4, wide=True, legend_below=True))
    if compared:
        panels.append(
            Panel(
                "regret against the oracle, added up",
                _RegretCourse(compared, script_end(ordered)),
                3.4,
                wide=True,
                legend_below=True,
            )
        )
    return Drawing(
        name=f"over-time-{slug(model)}",
        title=f"While the world changes ({model})",
        caption=(
            "Every strategy was put through the same script. Lines are medians of stretches of time; latency is measured, energy is "
            "modelled power × measured time; regret is what requests took above the oracle's. "
            f"Changes: {listed or 'none'}."
        ),
        alternative=" ".join(_spoken(one) for one in found),
        panels=tuple(panels),
        notes=() if compared else ("Not measured: an oracle, so that there is no regret.",),
        data="requests_over_time.csv",
    )


def script_end(runs: Sequence[DynamicRun]) -> float:
    """When the last request of any was sent. [s]"""
    return max(request.at_s for run in runs for request in run.requests)


def _place(strategy: str) -> int:
    return ORDER.index(strategy) if strategy in ORDER else len(ORDER)


def _spoken(found: OverTime) -> str:
    regret = "" if found.regret_share is None else f", regret {of_seconds(found.regret_s)}"
    return f"{found.run.strategy}: median {of_seconds(found.median_s)}, {found.lost} of {found.requests} requests lost{regret}."


def _colour(strategy: str, palette: Palette) -> str:
    return {
        "edgesplit": palette.own,
        "oracle": palette.ink,
        "pause-resume": palette.published,
        "static:split": palette.third,
        "static:device": palette.device,
        "static:edge": palette.edge,
        "static:cloud": palette.cloud,
    }.get(strategy, palette.other)


def _line(axes: Axes, run: DynamicRun, points: Sequence[tuple[float, float | None]], palette: Palette) -> None:
    axes.plot(
        [at_s for at_s, _value in points],
        [float("nan") if value is None else value for _at_s, value in points],
        linestyle=LINES[min(_place(run.strategy), len(LINES) - 1)],
        color=_colour(run.strategy, palette),
        linewidth=2.2 if run.strategy == ANSWERING_METHOD else 1.3,
        zorder=3 if run.strategy == ANSWERING_METHOD else 2,
        label=run.strategy,
    )


def _changes(axes: Axes, run: DynamicRun, palette: Palette) -> None:
    for number, change in enumerate(run.changes, 1):
        axes.axvline(change.at_s, color=palette.faint, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
        axes.text(
            change.at_s, 0.99, str(number), transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=9,
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": palette.ground, "edgecolor": palette.faint, "linewidth": 0.8},
            zorder=4,
        )  # fmt: skip
    axes.set_xlabel("time [s]")


class _LatencyCourse:
    def __init__(self, runs: Sequence[DynamicRun]) -> None:
        self._runs = runs

    def __call__(self, axes: Axes, palette: Palette) -> None:
        end_s = script_end(self._runs)
        seen: list[float] = []
        for run in self._runs:
            medians = rolling_median(run.requests, max(end_s / STRETCH, 1e-3))
            seen += [value for _at_s, value in medians if value is not None]
            _line(axes, run, medians, palette)
        low, high = min(seen, default=1.0), max(seen, default=1.0)
        if high > 4 * low:
            axes.set_yscale("log")
            axes.set_ylim(low * 0.85, high * (high / low) ** 0.15)
        else:
            axes.set_ylim(0, high * 1.15)
        axes.set_ylabel("latency [s]")
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _place: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
        axes.set_xlim(0, end_s)
        _changes(axes, self._runs[0], palette)


class _LostRequests:
    def __init__(self, runs: Sequence[DynamicRun]) -> None:
        self._runs = runs

    def __call__(self, axes: Axes, palette: Palette) -> None:
        names = []
        for place, run in enumerate(self._runs):
            lost = [request.at_s for request in run.requests if request.failed]
            axes.plot(lost, [place] * len(lost), "|", color=palette.bad, markersize=9, markeredgewidth=1.2)
            names.append(f"{run.strategy}: {len(lost)}")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, script_end(self._runs))
        axes.tick_params(axis="y", length=0)
        _changes(axes, self._runs[0], palette)


class _EnergyCourse:
    def __init__(self, runs: Sequence[DynamicRun]) -> None:
        self._runs = runs

    def __call__(self, axes: Axes, palette: Palette) -> None:
        for run in self._runs:
            if run.energy:
                _line(axes, run, [(sample.at_s, sample.joules) for sample in run.energy], palette)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
        axes.set_xlim(0, script_end(self._runs))
        axes.set_ylabel("modelled energy [J]")
        _changes(axes, self._runs[0], palette)


class _RegretCourse:
    def __init__(self, runs: Sequence[DynamicRun], end_s: float) -> None:
        self._runs = runs
        self._end_s = end_s

    def __call__(self, axes: Axes, palette: Palette) -> None:
        for run in self._runs:
            _line(axes, run, list(regret_course(run)), palette)
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        axes.set_ylim(0, axes.get_ylim()[1] * 2.5)
        axes.set_xlim(0, self._end_s)
        axes.set_ylabel("regret [s]")
        _changes(axes, self._runs[0], palette)
